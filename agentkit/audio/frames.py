"""Frames of raw audio: cutting to a fixed size, and finding the first sound."""

from __future__ import annotations

import sys
from array import array

from agentkit.audio.formats import AudioFormat
from agentkit.audio.g711 import decode

AUDIBLE = 200
"""Of 32,768: samples up to this are silence, about -44 dBFS."""


def first_sound(data: bytes, form: AudioFormat, threshold: int = AUDIBLE) -> int | None:
    """Where the first sample louder than ``threshold`` is, in bytes; None if all is silence."""
    samples = array("h", decode(data, form.encoding)[: len(data) // form.sample_bytes * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    if not samples or (max(samples) <= threshold and min(samples) >= -threshold):
        return None
    for at, sample in enumerate(samples):
        if sample > threshold or sample < -threshold:
            return at * form.sample_bytes
    return None


class Reframer:
    """Cuts chunks of any size into frames of one size.

    Args:
        size: bytes of a frame.
    """

    def __init__(self, size: int) -> None:
        if size <= 0:
            raise ValueError(f"a frame has at least one byte, not {size}")
        self.size = size
        self._rest = bytearray()

    def push(self, data: bytes) -> list[bytes]:
        """Add a chunk; return the frames that are whole now."""
        self._rest += data
        whole = len(self._rest) // self.size * self.size
        if not whole:
            return []
        view = bytes(self._rest[:whole])
        del self._rest[:whole]
        return [view[at : at + self.size] for at in range(0, whole, self.size)]

    def flush(self, padding: bytes = b"") -> bytes:
        """Return what is left, filled up to a whole frame with ``padding`` if that is given."""
        rest = bytes(self._rest)
        self._rest.clear()
        if rest and padding:
            missing = self.size - len(rest)
            rest += (padding * (missing // len(padding) + 1))[:missing]
        return rest

    def clear(self) -> None:
        """Forget what is left."""
        self._rest.clear()
