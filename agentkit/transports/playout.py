"""A loudspeaker on the event loop's clock: what was played is heard in real time."""

from __future__ import annotations

import asyncio
import bisect
import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import first_sound

_SLACK = 1e-6
"""Seconds by which sums of floating-point times may differ."""


class Heard(NamedTuple):
    """Audio that was heard from ``time`` on, in seconds of the event loop's clock."""

    time: float
    data: bytes


class Playout:
    """A loudspeaker with a queue, on the running event loop's clock.

    What is queued is heard in order, without a gap where it comes in time. All times are worked
    out when it is queued: there is no task, and one timer, for the next mark.

    Args:
        audio: what is queued.
        marked: takes the name of each mark, in order, once what was queued before it was heard.
            It is called by the loop, never from inside `mark` or `clear`.
        delay: gives the seconds that the next thing needs to get there. Order is kept.
        back: seconds that a mark needs to get back.
        buffer: seconds of audio that are gathered before it begins, each time it had run empty.
        echo: whether a clear returns the marks that were pending; otherwise they are dropped.
    """

    def __init__(
        self,
        audio: AudioFormat,
        marked: Callable[[str], None],
        *,
        delay: Callable[[], float] = lambda: 0.0,
        back: float = 0.0,
        buffer: float = 0.0,
        echo: bool = True,
    ) -> None:
        self.end = -math.inf
        """When all that was queued is over; in the past if nothing is being played."""
        self._audio = audio
        self._marked = marked
        self._delay = delay
        self._back = back
        self._buffer = buffer
        self._echo = echo
        self._heard: list[Heard] = []
        self._marks: deque[tuple[float, str]] = deque()
        self._arrived = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def play(self, data: bytes) -> None:
        """Queue audio."""
        arrived = self._arrive()
        start = self.end if self.end >= arrived else arrived + self._buffer
        self._heard.append(Heard(start, data))
        self.end = start + self._audio.seconds(len(data))

    def mark(self, name: str) -> None:
        """Call ``marked`` once all that is queued so far was heard."""
        self._marks.append((max(self._arrive(), self.end), name))
        self._arm()

    def clear(self) -> float:
        """Drop what has not been heard when this gets there; return that time."""
        cut = self._arrive()
        self._drop(cut)
        if self._echo:
            self._marks = deque((min(at, cut), name) for at, name in self._marks)
        else:
            self._marks = deque((at, name) for at, name in self._marks if at <= cut)
        self._disarm()
        self._arm()
        return cut

    def stop(self) -> None:
        """The line is dead: what was not heard by now never is, and no mark comes back."""
        self._drop(asyncio.get_running_loop().time())
        self._marks.clear()
        self._disarm()

    def heard(self, until: float) -> list[Heard]:
        """All that was heard by then, oldest first."""
        found = self._heard[: bisect.bisect_left(self._heard, until, key=_time)]
        if found:
            found[-1] = self._until(found[-1], until)
        return found

    def first_sound(self, after: float, until: float) -> float | None:
        """When the first sound between two times was heard, or None."""
        begin = max(0, bisect.bisect_right(self._heard, after, key=_time) - 1)
        for time, data in self._heard[begin:]:
            if time > until:
                break
            skipped = self._audio.size(max(0.0, after - time))
            if (sound := first_sound(data[skipped:], self._audio)) is not None:
                at = time + self._audio.seconds(skipped + sound)
                return at if at <= until else None
        return None

    def _arrive(self) -> float:
        now = asyncio.get_running_loop().time()
        self._arrived = max(self._arrived, now + self._delay())
        return self._arrived

    def _until(self, heard: Heard, cut: float) -> Heard:
        return Heard(heard.time, heard.data[: self._audio.size(cut - heard.time)])

    def _drop(self, cut: float) -> None:
        while self._heard and self._heard[-1].time >= cut:
            self._heard.pop()
        if self._heard:
            self._heard[-1] = self._until(self._heard[-1], cut)
        self.end = min(self.end, cut)

    def _arm(self) -> None:
        if self._timer is None and self._marks:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._marks[0][0] + self._back, self._due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time() + _SLACK
        while self._marks and self._marks[0][0] + self._back <= now:
            self._marked(self._marks.popleft()[1])
        self._arm()


def _time(heard: Heard) -> float:
    return heard.time
