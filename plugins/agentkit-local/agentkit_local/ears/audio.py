"""A client's audio, whatever its form, to 16 kHz samples in hops."""

from __future__ import annotations

import numpy as np

from agentkit.audio.g711 import decode
from agentkit.audio.resample import Resampler
from agentkit_local.ears.recognizer import RATE, Samples
from agentkit_local.ears.vad import HOP

MAX_HEADER = 1 << 16
"""Bytes of a WAV file before its samples: more is no recording of a call."""


LOWEST_RATE, HIGHEST_RATE = 8000, 48000
"""Hz, of a WAV file."""


class UndecodableAudio(ValueError):
    """The bytes are not what was declared (Flux closes with 1008 DATA-0000)."""


class Intake:
    """Takes bytes of any length, gives hops.

    Args:
        encoding: ``linear16``, ``linear32``, ``mulaw`` or ``alaw``; None: a WAV file.
        rate: in Hz; None with a WAV file.
    """

    def __init__(self, encoding: str | None, rate: int | None) -> None:
        self._encoding = encoding
        self._header = bytearray()
        self._rest = b""
        self._samples = np.zeros(0, np.float32)
        self._resampler = Resampler(rate, RATE) if rate else None

    def push(self, data: bytes) -> list[Samples]:
        """Add bytes; return the hops that are whole now. Raises UndecodableAudio."""
        if self._encoding is None:
            data = self._past_header(data)
        if not data or self._resampler is None or self._encoding is None:
            return []
        width = {"linear32": 4, "linear16": 2}.get(self._encoding, 1)
        data = self._rest + data
        whole = len(data) // width * width
        data, self._rest = data[:whole], data[whole:]
        if self._encoding == "linear32":
            linear = (np.frombuffer(data, "<i4") >> 16).astype("<i2").tobytes()
        elif self._encoding == "linear16":
            linear = data
        else:
            linear = decode(data, "mulaw" if self._encoding == "mulaw" else "alaw")
        made = np.frombuffer(self._resampler.push(linear), "<i2").astype(np.float32) / 32768
        self._samples = np.concatenate([self._samples, made])
        count = len(self._samples) // HOP
        hops = [self._samples[at * HOP : (at + 1) * HOP] for at in range(count)]
        self._samples = self._samples[count * HOP :]
        return hops

    def _past_header(self, data: bytes) -> bytes:
        """Read a WAV file's header (RIFF: chunks of a name, a length and that many bytes)."""
        self._header += data
        head = bytes(self._header)
        if len(head) < 12:
            return b""
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            raise UndecodableAudio("without an encoding, the audio has to be a WAV file")
        at = 12
        while at + 8 <= len(head):
            name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
            if name == b"data":
                if self._resampler is None:
                    raise UndecodableAudio("a WAV file without a format")
                self._header.clear()
                return head[at + 8 :]
            if at + 8 + size > MAX_HEADER:
                raise UndecodableAudio("a WAV file's header is too long")
            if at + 8 + size > len(head):
                return b""
            if name == b"fmt ":
                self._read_format(head[at + 8 : at + 8 + size])
            at += 8 + size + size % 2
        return b""

    def _read_format(self, chunk: bytes) -> None:
        if len(chunk) < 16:
            raise UndecodableAudio("a WAV file with a format that is too short")
        kind, channels = (int.from_bytes(chunk[i : i + 2], "little") for i in (0, 2))
        rate, bits = int.from_bytes(chunk[4:8], "little"), int.from_bytes(chunk[14:16], "little")
        known = {(1, 16): "linear16", (1, 32): "linear32", (7, 8): "mulaw", (6, 8): "alaw"}
        encoding = known.get((kind, bits))
        if encoding is None or channels != 1:
            raise UndecodableAudio("a WAV file has to be mono, of 16 or 32 bits, mu-law or A-law")
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise UndecodableAudio(f"a WAV file's rate is {rate} Hz")
        self._resampler = Resampler(rate, RATE)
        self._encoding = encoding
