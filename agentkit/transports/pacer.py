"""Audio that has to be sent when it is due, since nothing at the far end queues it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

from agentkit.carriers.base import FRAME

LATE = 0.1
"""Seconds by which frames may be late and are still made up for; past it the schedule moves."""
STALLED = 2.0
"""Seconds without room for a frame after which the far end is taken for gone."""


class Pacer:
    """Sends frames when they are due: one every 20 ms, on a schedule that does not drift.

    It has one timer, and none while there is nothing to send. Frames are never sent in a burst: up
    to 100 ms are made up for, else the schedule begins anew. A frame that is not whole when it is
    due is filled up with silence, except that the first one after a pause is waited for.

    Args:
        silence: a frame of silence.
        send: takes a frame; False if the far end has no room, and the frame was not taken.
        marked: takes the name of each mark, in order, 20 ms after the last byte before it was
            sent. It is called by the loop, never from inside `mark` or `clear`.
        stalled: told once if there was no room for 2 s.
    """

    def __init__(
        self,
        silence: bytes,
        *,
        send: Callable[[bytes], bool],
        marked: Callable[[str], None],
        stalled: Callable[[], None],
    ) -> None:
        self._silence = silence
        self._send = send
        self._marked = marked
        self._stalled = stalled
        self._audio = bytearray()
        self._keys = bytearray()
        self._marks: deque[tuple[int, str]] = deque()
        self._sent = 0  # bytes of audio, of all that ever was queued and not cleared
        self._next = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._waits = True  # for the rest of a frame that is not whole
        self._full_since: float | None = None
        self._stopped = False

    def play(self, data: bytes) -> None:
        """Queue audio."""
        self._audio += data
        self._start()

    def press(self, sound: bytes) -> None:
        """Queue the sound of keys ahead of all audio. A clear leaves it."""
        self._keys += sound
        self._start()

    def mark(self, name: str) -> None:
        """Call ``marked`` once all audio that is queued so far was heard."""
        self._marks.append((self._sent + len(self._audio), name))
        self._start()

    def clear(self) -> None:
        """Drop the audio that was not sent, and the marks behind it."""
        self._audio.clear()
        self._waits = True
        self._marks = deque(mark for mark in self._marks if mark[0] <= self._sent)

    def stop(self) -> None:
        """Send nothing more; no mark comes back."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    @property
    def pressing(self) -> float:
        """Seconds until all keys have been pressed."""
        return math.ceil(len(self._keys) / len(self._silence)) * FRAME

    def _start(self) -> None:
        if self._timer is None and not self._stopped:
            loop = asyncio.get_running_loop()
            self._next = max(self._next, loop.time())
            self._timer = loop.call_at(self._next, self._due)

    def _due(self) -> None:
        """A frame is due. The timer stays set meanwhile, so that no callback sets another."""
        self._pass_marks()
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._next > LATE:
            self._next = now
        if not self._step(now):
            self._timer = None
            return
        self._timer = loop.call_at(self._next, self._due)

    def _pass_marks(self) -> None:
        while self._marks and self._marks[0][0] <= self._sent and not self._stopped:
            self._marked(self._marks.popleft()[1])

    def _step(self, now: float) -> bool:
        """Send the next frame if there is one and room for it; whether another step is needed."""
        queue = self._keys or self._audio
        if not queue:
            self._waits = True
            return False
        size = len(self._silence)
        if len(queue) < size and self._waits:
            self._waits = False
            self._next += FRAME
            return True
        frame = bytes(queue[:size])
        if not self._send(frame + self._silence[len(frame) :]):
            return self._wait_for_room(now)
        del queue[:size]
        if queue is self._audio:
            self._sent += len(frame)
        self._waits = False
        self._full_since = None
        self._next += FRAME
        return True

    def _wait_for_room(self, now: float) -> bool:
        if self._full_since is None:
            self._full_since = now
        if now - self._full_since >= STALLED:
            self._stopped = True
            self._stalled()
            return False
        self._next = now + FRAME
        return True
