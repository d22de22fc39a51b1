"""G.711: mu-law and A-law to and from signed 16-bit samples, without dependencies.

Decoding is two table translations, encoding one look-up a sample in a table of 65,536 codes that is
made at first need. Values are those of ITU-T G.711; mu-law works on 14 bits, A-law on 13.
"""

from __future__ import annotations

import sys
from array import array
from functools import cache

from agentkit.audio.formats import Encoding

_BIAS, _CLIP = 0x84, 32635


def _mulaw_value(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + _BIAS << ((code & 0x70) >> 4)) - _BIAS
    return -magnitude if code & 0x80 else magnitude


def _alaw_value(code: int) -> int:
    code ^= 0x55
    mantissa, exponent = (code & 0x0F) << 4, (code & 0x70) >> 4
    magnitude = mantissa + 8 if exponent == 0 else (mantissa + 0x108) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


def _mulaw_code(sample: int) -> int:
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _CLIP) + _BIAS
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> exponent + 3 & 0x0F) & 0xFF


def _alaw_code(sample: int) -> int:
    sign = 0x80 if sample >= 0 else 0
    magnitude = min(abs(sample) if sample >= 0 else -sample - 1, 32767)
    exponent = max(magnitude.bit_length() - 8, 0)
    mantissa = magnitude >> (4 if exponent == 0 else exponent + 3) & 0x0F
    return (sign | exponent << 4 | mantissa) ^ 0x55


_VALUES = {"mulaw": _mulaw_value, "alaw": _alaw_value}
_CODES = {"mulaw": _mulaw_code, "alaw": _alaw_code}


@cache
def _decoding(encoding: Encoding) -> tuple[bytes, bytes]:
    values = [_VALUES[encoding](code) & 0xFFFF for code in range(256)]
    return bytes(value & 0xFF for value in values), bytes(value >> 8 for value in values)


@cache
def _encoding(encoding: Encoding) -> bytes:
    """The code of each 16-bit sample, by its unsigned bit pattern."""
    code = _CODES[encoding]
    return bytes(code(bits - 65536 if bits > 32767 else bits) for bits in range(65536))


def decode(data: bytes, encoding: Encoding) -> bytes:
    """G.711 bytes to signed 16-bit little-endian samples; linear16 is given back as it is."""
    if encoding == "linear16":
        return data
    low, high = _decoding(encoding)
    samples = bytearray(2 * len(data))
    samples[0::2] = data.translate(low)
    samples[1::2] = data.translate(high)
    return bytes(samples)


def encode(data: bytes, encoding: Encoding) -> bytes:
    """Signed 16-bit little-endian samples to G.711 bytes; linear16 is given back as it is.

    An odd last byte is left aside.
    """
    if encoding == "linear16":
        return data
    samples = array("H", data[: len(data) & ~1])
    if sys.byteorder == "big":
        samples.byteswap()
    return bytes(map(_encoding(encoding).__getitem__, samples))
