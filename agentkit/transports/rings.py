"""Audio on its way between the sound card's threads and the event loop.

A sound card asks for the next buffer on a thread of its own, which must never wait: what it does
here is to copy bytes. Nothing is locked. Each field has one side that writes it, and each queue
one side that puts in and one that takes out, which Python's deque allows between threads.
"""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from agentkit.audio.formats import AudioFormat

FADE = 0.005
"""Seconds in which sound that is cleared dies away: without them it would end in a click."""


_Item = TypeVar("_Item")


class Handed(NamedTuple):
    """A buffer that the loudspeaker was given.

    Args:
        data: all of it, in the loudspeaker's format.
        audio: how many bytes at its beginning are audio; what follows is padding.
        position: how many bytes that were ever queued are over with where the audio ends.
        heard_at: when its first sample is heard, in seconds of the event loop's clock.
    """

    data: bytes
    audio: int
    position: int
    heard_at: float


class _Chunk(NamedTuple):
    epoch: int
    start: int
    data: bytes


class SpeakerRing:
    """What is to be heard. The event loop queues and clears, the sound card's thread reads.

    Args:
        audio: the loudspeaker's format, ``linear16``.

    Attributes:
        queued: bytes that were ever queued. The event loop's side.
    """

    def __init__(self, audio: AudioFormat) -> None:
        self.queued = 0
        self._chunks: deque[_Chunk] = deque()
        self._epoch = 0
        # The reader's own:
        self._reading = 0
        self._at = 0
        self._position = 0
        self._sounding = False
        self._fade = audio.size(FADE)

    def write(self, data: bytes) -> None:
        """Queue whole samples."""
        if data:
            self._chunks.append(_Chunk(self._epoch, self.queued, data))
            self.queued += len(data)

    def clear(self) -> None:
        """Drop what was not read. The next buffer begins with the last of it, dying away."""
        self._epoch += 1

    def read(self, size: int, heard_at: float) -> Handed:
        """Take the next buffer, always whole: what is missing is silence.

        Args:
            size: bytes of it.
            heard_at: when its first sample is heard.
        """
        parts: list[bytes] = []
        filled = 0
        if self._reading != self._epoch:
            filled = self._start_anew(parts, size)
        while filled < size and (chunk := self._next()) is not None:
            part = chunk.data[self._at : self._at + size - filled]
            self._pass(chunk, len(part))
            parts.append(part)
            filled += len(part)
        self._sounding = filled == size
        data = b"".join(parts) + bytes(size - filled)
        return Handed(data, filled, self._position, heard_at)

    def _start_anew(self, parts: list[bytes], size: int) -> int:
        """After a clear: the end of what was playing, faded; what else is of before is dropped."""
        epoch = self._epoch
        if self._sounding:
            parts.append(self._faded(min(size, self._fade)))
        while self._chunks and self._chunks[0].epoch < epoch:
            self._chunks.popleft()
            self._at = 0
        self._reading = epoch
        return len(parts[0]) if parts else 0

    def _faded(self, size: int) -> bytes:
        part = b""
        while len(part) < size and (chunk := self._next()) is not None:
            more = chunk.data[self._at : self._at + size - len(part)]
            self._pass(chunk, len(more))
            part += more
        samples = array("h", part)
        steps = len(samples) + 1
        return array(
            "h", (sample * (steps - at) // steps for at, sample in enumerate(samples, 1))
        ).tobytes()

    def _next(self) -> _Chunk | None:
        """The chunk to read from; one that was queued after a clear waits for the next buffer."""
        chunk = self._chunks[0] if self._chunks else None
        return chunk if chunk is not None and chunk.epoch == self._reading else None

    def _pass(self, chunk: _Chunk, size: int) -> None:
        self._at += size
        self._position = chunk.start + self._at
        if self._at == len(chunk.data):
            self._chunks.popleft()
            self._at = 0


class MicrophoneRing:
    """What was heard and not taken yet; past its bound the oldest is dropped, and counted.

    Args:
        most: buffers that it holds.

    Attributes:
        dropped: buffers that were dropped. The sound card's side.
    """

    def __init__(self, most: int) -> None:
        self.dropped = 0
        self._most = most
        self._buffers: deque[bytes] = deque(maxlen=most)

    def write(self, data: bytes) -> None:
        """Put in a buffer."""
        if len(self._buffers) == self._most:
            self.dropped += 1
        self._buffers.append(data)

    def take(self) -> list[bytes]:
        """All buffers that are there, oldest first."""
        return take_all(self._buffers)


def take_all(queue: deque[_Item]) -> list[_Item]:
    """Take what is in a queue by now; its other side may put in more meanwhile."""
    taken = []
    with contextlib.suppress(IndexError):  # a full queue drops its oldest by itself
        for _ in range(len(queue)):
            taken.append(queue.popleft())  # noqa: PERF401
    return taken


class Doorbell:
    """Calls a function on the event loop when another thread has rung; once for many rings.

    Args:
        loop: where it is called.
        answer: is called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, answer: Callable[[], None]) -> None:
        self._loop = loop
        self._answer = answer
        self._rung = False

    def ring(self) -> None:
        """From any thread. Does nothing once the loop is closed."""
        if not self._rung:
            self._rung = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._open)

    def _open(self) -> None:
        self._rung = False
        self._answer()
