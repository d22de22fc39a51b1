"""Frames of raw audio: cutting to a fixed size, telling silence from sound."""

from __future__ import annotations

import math
import sys
from array import array
from functools import lru_cache
from operator import mul

from agentkit.audio.formats import AudioFormat, Encoding
from agentkit.audio.g711 import values

AUDIBLE = 200
"""Of 32,768: samples up to this are silence, about -44 dBFS."""

QUIETEST = -96.0
"""dB of full scale: the step of 16 bits, and what silence is called."""

_BLOCK = 1024
"""Samples that are looked through at once, so that sound near the start is found early."""


def first_sound(data: bytes, form: AudioFormat, threshold: int = AUDIBLE) -> int | None:
    """Where the first sample louder than ``threshold`` is, in bytes; None if all is silence.

    Args:
        data: whole samples in ``form``; an odd last byte of linear16 is left aside.
        form: what ``data`` is in.
        threshold: of 32,768, the largest magnitude that is still silence.
    """
    if form.encoding != "linear16":
        at = data.translate(_loud(form.encoding, threshold)).find(1)
        return None if at < 0 else at
    samples = array("h", data if not len(data) & 1 else data[:-1])
    if sys.byteorder == "big":
        samples.byteswap()
    for begin in range(0, len(samples), _BLOCK):
        block = samples[begin : begin + _BLOCK]
        if max(block) > threshold or min(block) < -threshold:
            return 2 * next(
                at
                for at, sample in enumerate(block, begin)
                if sample > threshold or sample < -threshold
            )
    return None


def is_silent(data: bytes, form: AudioFormat, threshold_dbfs: float = -44.0) -> bool:
    """Whether no sample is louder than ``threshold_dbfs`` (0 is full scale). No audio is silent."""
    return first_sound(data, form, int(32768 * 10 ** (threshold_dbfs / 20))) is None


def loudness(data: bytes) -> float:
    """How loud linear16 is, in dB of full scale: the root of its mean square; -96.0: silence."""
    samples = array("h", data if not len(data) & 1 else data[:-1])
    if sys.byteorder == "big":
        samples.byteswap()
    energy = sum(map(mul, samples, samples))
    return 10 * math.log10(energy / len(samples) / 32768**2) if energy else QUIETEST


@lru_cache(maxsize=32)
def _loud(encoding: Encoding, threshold: int) -> bytes:
    """For each G.711 code word, 1 if it is louder than the threshold."""
    return bytes(abs(value) > threshold for value in values(encoding))


class Reframer:
    """Cuts chunks of any size into frames of one size.

    A byte is copied once, into its frame; one that waits for the rest of its frame, twice.

    Args:
        size: bytes of a frame.

    Raises:
        ValueError: ``size`` is below 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a frame has at least one byte, not {size}")
        self.size = size
        self._rest = bytearray()

    def push(self, data: bytes) -> list[bytes]:
        """Add a chunk; return the frames that are whole now."""
        rest, size = self._rest, self.size
        frames: list[bytes] = []
        at = 0
        if rest:
            at = size - len(rest)
            rest += data[:at]
            if len(rest) < size:
                return frames
            frames.append(bytes(rest))
            rest.clear()
        end = len(data) - (len(data) - at) % size
        frames += [data[begin : begin + size] for begin in range(at, end, size)]
        rest += data[end:]
        return frames

    def flush(self, padding: bytes = b"") -> bytes:
        """Return what is left, filled up to a whole frame with ``padding`` if that is given.

        Without anything left this is empty. ``padding`` is repeated as often as it takes:
        ``audio.silence(1 / audio.rate)`` gives one sample of silence.
        """
        rest = bytes(self._rest)
        self._rest.clear()
        if rest and padding:
            missing = self.size - len(rest)
            rest += (padding * (missing // len(padding) + 1))[:missing]
        return rest

    def clear(self) -> None:
        """Forget what is left."""
        self._rest.clear()
