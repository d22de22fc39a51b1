"""What a stretch of raw audio bytes means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Encoding = Literal["linear16", "mulaw", "alaw"]

_BYTES_PER_SAMPLE: dict[Encoding, int] = {"linear16": 2, "mulaw": 1, "alaw": 1}
# G.711's code words for zero (ITU-T G.711): the quietest positive step of each law.
_SILENCE: dict[Encoding, bytes] = {"linear16": b"\x00\x00", "mulaw": b"\xff", "alaw": b"\xd5"}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Headerless mono audio.

    Args:
        encoding: ``linear16`` is signed 16-bit little-endian; ``mulaw`` and ``alaw`` are G.711.
        rate: samples a second, in Hz.
    """

    encoding: Encoding = "linear16"
    rate: int = 16000

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return _BYTES_PER_SAMPLE[self.encoding]

    @property
    def byte_rate(self) -> int:
        """Bytes of one second."""
        return self.rate * _BYTES_PER_SAMPLE[self.encoding]

    def seconds(self, size: int) -> float:
        """How long ``size`` bytes last, in seconds."""
        return size / self.byte_rate

    def size(self, seconds: float) -> int:
        """The number of bytes nearest to ``seconds``, in whole samples."""
        return round(seconds * self.rate) * _BYTES_PER_SAMPLE[self.encoding]

    def silence(self, seconds: float) -> bytes:
        """Digital silence of that length."""
        return _SILENCE[self.encoding] * round(seconds * self.rate)
