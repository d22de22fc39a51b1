"""The caller's end of a line: what was heard, and when.

A carrier queues what a bot sends and plays it in real time, so what was sent is not what was heard.
`Line` is that queue with a caller behind it; its times are of the running loop's clock.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import first_sound
from agentkit.transports.playout import Heard, Playout

_SLACK = 1e-6
"""Seconds by which sums of floating-point times may differ."""


def once(name: str) -> Iterable[float]:
    """Every mark comes back once, in its time."""
    return (0.0,)


@dataclass(frozen=True, slots=True)
class Network:
    """How good the way between the bot and the caller is.

    Args:
        latency: seconds that what the bot sends is on its way to the caller, and that a mark is on
            its way back. What the caller says is there at once.
        jitter: seconds by which the way to the caller may take longer, at random; order is kept.
        buffer: seconds of audio that are gathered before it is played, each time it had run empty.
        marks: the fate of each mark, by its name: the extra seconds after which it comes back.
            ``()`` is a lost mark, ``(0.5,)`` a late one, ``(0.0,) * 100`` a flood.
        seed: makes the jitter the same in each run.
    """

    latency: float = 0.0
    jitter: float = 0.0
    buffer: float = 0.0
    marks: Callable[[str], Iterable[float]] = once
    seed: int = 0

    def delays(self) -> Callable[[], float]:
        """Gives the seconds that each next thing needs to the caller."""
        if not self.jitter:
            return lambda: self.latency
        chance = random.Random(self.seed)
        return lambda: self.latency + chance.uniform(0.0, self.jitter)


@dataclass(slots=True)
class _Mark:
    name: str
    due: float
    cleared: bool = False


class Listening(Protocol):
    """What a caller's end of a line can be asked and told."""

    @property
    def end(self) -> float:
        """When all that is queued will have been heard; in the past if nothing is."""

    def play(self, data: bytes) -> bool:
        """Queue audio; False if there was no room, and it was dropped."""

    def mark(self, name: str) -> None:
        """Report ``name`` once what is queued before it was heard."""

    def clear(self) -> float:
        """Drop what was not heard when this arrives; return that time."""

    def stop(self) -> None:
        """The call is over: nothing more is heard, and no mark comes back."""

    def heard(self, until: float) -> list[Heard]:
        """All that was heard by then, oldest first."""

    def first_sound(self, after: float, until: float) -> float | None:
        """When the first sound between two times was heard, or None."""


class Line:
    """A queue of audio and marks that is played in real time.

    Args:
        audio: what is queued.
        network: how it gets there and back.
        marked: takes each mark that comes back, and whether it was cleared rather than played.
        echo: whether a clear returns the marks that are pending; otherwise they are forgotten.
        limit: seconds of audio that the queue holds.
    """

    def __init__(
        self,
        audio: AudioFormat,
        network: Network,
        marked: Callable[[str, bool], None],
        *,
        echo: bool = True,
        limit: float = math.inf,
    ) -> None:
        self._audio = audio
        self._network = network
        self._marked = marked
        self._echo = echo
        self._limit = limit
        self._delays = network.delays()
        self._arrived = -math.inf
        self._keys = itertools.count()
        self._pending: dict[str, _Mark] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._playout = Playout(
            audio,
            self._reached,
            delay=self._delay,
            back=network.latency,
            buffer=network.buffer,
            echo=echo,
        )

    @property
    def end(self) -> float:
        """When all that is queued will have been heard; in the past if nothing is."""
        return self._playout.end

    def play(self, data: bytes) -> bool:
        """Queue audio; False if there was no room, and it was dropped."""
        waiting = max(0.0, self._playout.end - asyncio.get_running_loop().time())
        if waiting + self._audio.seconds(len(data)) > self._limit + _SLACK:
            return False
        self._playout.play(data)
        return True

    def mark(self, name: str) -> None:
        """Report ``name`` once what is queued before it was heard."""
        key = str(next(self._keys))
        self._playout.mark(key)
        self._pending[key] = _Mark(name, max(self._arrived, self._playout.end))

    def clear(self) -> float:
        """Drop what was not heard when this arrives; return that time."""
        cut = self._playout.clear()
        for key, mark in list(self._pending.items()):
            if mark.due > cut and self._echo:
                mark.due, mark.cleared = cut, True
            elif mark.due > cut:
                del self._pending[key]
        return cut

    def stop(self) -> None:
        """The call is over: nothing more is heard, and no mark comes back."""
        self._playout.stop()
        self._pending.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def heard(self, until: float) -> list[Heard]:
        """All that was heard by then, oldest first."""
        return self._playout.heard(until)

    def first_sound(self, after: float, until: float) -> float | None:
        """When the first sound between two times was heard, or None."""
        return self._playout.first_sound(after, until)

    def _delay(self) -> float:
        delay = self._delays()
        now = asyncio.get_running_loop().time()
        self._arrived = max(self._arrived, now + delay)
        return delay

    def _reached(self, key: str) -> None:
        mark = self._pending.pop(key)
        for extra in self._network.marks(mark.name):
            if extra <= 0:
                self._marked(mark.name, mark.cleared)
            else:
                self._later(extra, mark)

    def _later(self, extra: float, mark: _Mark) -> None:
        def come() -> None:
            self._timers.discard(timer)
            self._marked(mark.name, mark.cleared)

        timer = asyncio.get_running_loop().call_later(extra, come)
        self._timers.add(timer)


class FrameQueue:
    """A queue of whole frames, of which a timer takes one at a time, as Asterisk's channels do.

    Commands between the frames take no time. Playing can be paused, with all that is queued kept.

    Args:
        audio: what is queued.
        frame: bytes of a frame.
        seconds: of a frame.
        network: how it gets there and back; ``buffer`` and ``jitter`` have no part in it.
        marked: takes each mark that comes back. Those that are cleared do not.
        drained: called when a frame was due and none was there.
        taken: called after a frame was taken.
    """

    def __init__(
        self,
        audio: AudioFormat,
        frame: int,
        seconds: float,
        network: Network,
        marked: Callable[[str, bool], None],
        *,
        drained: Callable[[], None],
        taken: Callable[[], None],
    ) -> None:
        self.paused = False
        self.frames = 0
        """How many frames are queued."""
        self._audio = audio
        self._frame = frame
        self._seconds = seconds
        self._network = network
        self._marked = marked
        self._drained = drained
        self._taken = taken
        self._queue: deque[bytes | str] = deque()
        self._heard: list[Heard] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due = -math.inf
        self._timers: set[asyncio.TimerHandle] = set()

    @property
    def end(self) -> float:
        """When all that is queued will have been heard; in the past if nothing is."""
        if self.frames == 0:
            return self._due
        return max(self._due, asyncio.get_running_loop().time()) + self.frames * self._seconds

    def play(self, data: bytes) -> bool:
        """Queue whole frames, and one short frame at the end."""
        for begin in range(0, len(data), self._frame):
            self._queue.append(data[begin : begin + self._frame])
            self.frames += 1
        self._start()
        return True

    def mark(self, name: str) -> None:
        """Report ``name`` when the frame after it is due."""
        self._queue.append(name)
        self._start()

    def clear(self) -> float:
        """Drop what is queued, marks included."""
        self._queue.clear()
        self.frames = 0
        return asyncio.get_running_loop().time() + self._network.latency

    def stop(self) -> None:
        """The call is over."""
        self.clear()
        for timer in (self._timer, *self._timers):
            if timer is not None:
                timer.cancel()
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._heard and self._heard[-1].time >= now:
            self._heard.pop()
        if self._heard:
            last = self._heard[-1]
            self._heard[-1] = Heard(last.time, last.data[: self._audio.size(now - last.time)])

    def heard(self, until: float) -> list[Heard]:
        """All that was heard by then, oldest first: a frame each."""
        return [
            Heard(time, data[: self._audio.size(min(until - time, self._seconds))])
            for time, data in self._heard
            if time < until
        ]

    def first_sound(self, after: float, until: float) -> float | None:
        """When the first sound between two times was heard, or None."""
        for time, data in self._heard:
            if time + self._seconds < after or time > until:
                continue
            skipped = self._audio.size(max(0.0, after - time))
            if (sound := first_sound(data[skipped:], self._audio)) is not None:
                at = time + self._audio.seconds(skipped + sound)
                return at if at <= until else None
        return None

    def resume(self) -> None:
        """Play on."""
        self.paused = False
        self._start()

    def watch(self) -> None:
        """Call ``drained`` when a frame is due and none is there."""
        self._start()

    def _start(self) -> None:
        """A channel's timer never rests; between two stretches of audio it is not needed here."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._due = max(self._due, loop.time())
            self._timer = loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self.paused:
            return
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, bytes):
                self._take(item)
                return
            self._report(item)
        self._drained()

    def _take(self, frame: bytes) -> None:
        self.frames -= 1
        self._heard.append(Heard(self._due + self._network.latency, frame))
        self._due += self._seconds
        self._taken()
        self._start()

    def _report(self, name: str) -> None:
        for extra in self._network.marks(name):
            self._later(extra + self._network.latency, name)

    def _later(self, extra: float, name: str) -> None:
        def come() -> None:
            self._timers.discard(timer)
            self._marked(name, False)

        timer = asyncio.get_running_loop().call_later(extra, come)
        self._timers.add(timer)
