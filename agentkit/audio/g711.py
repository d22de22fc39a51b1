"""G.711: mu-law and A-law to and from signed 16-bit samples, without dependencies.

Code words are chosen and valued as ITU-T G.711 says (tables 1a to 2b): mu-law works on 14 bits and
A-law on 13, here shifted up to 16. Decoding is two byte translations; encoding is a look-up in a
table of 65,536 codes. The tables are made at first need, in well under a millisecond.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache

from agentkit.audio.formats import Encoding

_MULAW_BIAS = 0x84  # moves the ends of mu-law's segments onto powers of two


def _mulaw_value(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + _MULAW_BIAS << ((code & 0x70) >> 4)) - _MULAW_BIAS
    return -magnitude if code & 0x80 else magnitude


def _alaw_value(code: int) -> int:
    code ^= 0x55
    mantissa, segment = (code & 0x0F) << 4, (code & 0x70) >> 4
    magnitude = mantissa + 8 if segment == 0 else mantissa + 0x108 << segment - 1
    return magnitude if code & 0x80 else -magnitude


@cache
def values(encoding: Encoding) -> tuple[int, ...]:
    """What each of the 256 code words of ``mulaw`` or ``alaw`` stands for, as a 16-bit sample."""
    value = _mulaw_value if encoding == "mulaw" else _alaw_value
    return tuple(value(code) for code in range(256))


@cache
def _decoding(encoding: Encoding) -> tuple[bytes, bytes]:
    """The low and the high byte of each code word's value."""
    bits = [value & 0xFFFF for value in values(encoding)]
    return bytes(value & 0xFF for value in bits), bytes(value >> 8 for value in bits)


def _mulaw_runs() -> Iterator[tuple[int, int]]:
    """Magnitudes from 0 up as (code without sign, how many samples in a row have it)."""
    for step in range(128):
        segment = step >> 4
        # The bias lies inside the first step; what is louder than the last one is clipped to it.
        yield step, (8 << segment) - (4 if step == 0 else 0)
    yield 127, 32769 - (32768 - _MULAW_BIAS)


def _alaw_runs() -> Iterator[tuple[int, int]]:
    for step in range(128):
        yield step, 16 << max(0, (step >> 4) - 1)


@cache
def codes(encoding: Encoding) -> bytes:
    """The code word of each 16-bit sample, by its unsigned bit pattern."""
    if encoding == "mulaw":
        magnitudes = b"".join(bytes([step]) * count for step, count in _mulaw_runs())
        positive = bytes(~code & 0xFF for code in range(256))
        negative = bytes(~(code | 0x80) & 0xFF for code in range(256))
        # -32768 up to -1: mu-law has the same steps on both sides of zero.
        below = magnitudes[32768:0:-1]
    else:
        magnitudes = b"".join(bytes([step]) * count for step, count in _alaw_runs())
        positive = bytes((code | 0x80) ^ 0x55 & 0xFF for code in range(256))
        negative = bytes(code ^ 0x55 for code in range(256))
        # A-law has no zero: its steps below begin at -1.
        below = magnitudes[32767::-1]
    return magnitudes[:32768].translate(positive) + below.translate(negative)


def _decode(data: bytes, encoding: Encoding) -> bytes:
    low, high = _decoding(encoding)
    samples = bytearray(2 * len(data))
    samples[0::2] = data.translate(low)
    samples[1::2] = data.translate(high)
    return bytes(samples)


def _encode(data: bytes, encoding: Encoding) -> bytes:
    table = codes(encoding)
    if len(data) & 1:
        data = data[:-1]
    if sys.byteorder == "big":
        data = _swapped(data)
    return bytes([table[sample] for sample in memoryview(data).cast("H")])


def _swapped(data: bytes) -> bytes:
    swapped = bytearray(data)
    swapped[0::2], swapped[1::2] = data[1::2], data[0::2]
    return bytes(swapped)


def mulaw_to_linear16(data: bytes) -> bytes:
    """G.711 mu-law to signed 16-bit little-endian samples."""
    return _decode(data, "mulaw")


def linear16_to_mulaw(data: bytes) -> bytes:
    """Signed 16-bit little-endian samples to G.711 mu-law; an odd last byte is left aside."""
    return _encode(data, "mulaw")


def alaw_to_linear16(data: bytes) -> bytes:
    """G.711 A-law to signed 16-bit little-endian samples."""
    return _decode(data, "alaw")


def linear16_to_alaw(data: bytes) -> bytes:
    """Signed 16-bit little-endian samples to G.711 A-law; an odd last byte is left aside."""
    return _encode(data, "alaw")


def decode(data: bytes, encoding: Encoding) -> bytes:
    """Any encoding to signed 16-bit little-endian samples; linear16 is given back as it is."""
    return data if encoding == "linear16" else _decode(data, encoding)


def encode(data: bytes, encoding: Encoding) -> bytes:
    """Signed 16-bit little-endian samples to any encoding; linear16 is given back as it is.

    An odd last byte is left aside.
    """
    return data if encoding == "linear16" else _encode(data, encoding)
