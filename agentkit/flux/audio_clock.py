"""Where audio lies on the session's clock.

Flux counts seconds of the audio that one connection was sent. The session's clock goes on while
audio is late, missing, replaced by silence, dropped, or sent again on another connection. Two
objects keep the two together: `CaptureClock` says when audio that was given to us was captured,
`AudioMap` says which captured audio a connection's seconds are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque

_WINDOW = 12
_SLACK = 0.005
"""Seconds by which a line may lie too early before a new one is drawn."""
_ROUNDING = 1e-6
_MAX_SEGMENTS = 4096


class CaptureClock:
    """Dates the audio that comes in, by when it came.

    Audio can arrive late but never before it was captured. The line from audio seconds to clock
    seconds is therefore drawn through the earliest of the last arrivals, so that jitter does not
    move it, and follows a real gap or a drift of the sender's clock within a dozen arrivals.
    """

    def __init__(self) -> None:
        self._offsets: deque[float] = deque(maxlen=_WINDOW)
        self.offset = 0.0
        """Clock seconds less audio seconds."""

    def arrived(self, seconds: float, now: float) -> None:
        """Audio up to ``seconds`` (counted from the first that ever came) is here at ``now``."""
        self._offsets.append(now - seconds)
        self.offset = min(self._offsets)

    def restart(self, seconds: float, now: float) -> None:
        """Audio goes on at ``seconds`` and ``now`` after a gap; what came before says nothing."""
        self._offsets.clear()
        self.offset = now - seconds


class AudioMap:
    """One connection's audio seconds on the session's clock."""

    def __init__(self) -> None:
        self._positions: list[float] = []
        self._times: list[float] = []

    def add(self, position: float, time: float) -> None:
        """Audio from ``position`` on was captured from ``time`` on. Positions only grow."""
        if self._positions:
            expected = self._times[-1] + position - self._positions[-1]
            # Never too late: nothing is captured after it came.
            if -_ROUNDING <= time - expected <= _SLACK:
                return
        self._positions.append(position)
        self._times.append(time)
        if len(self._positions) > _MAX_SEGMENTS:
            del self._positions[: _MAX_SEGMENTS // 2]
            del self._times[: _MAX_SEGMENTS // 2]

    def start_time(self, position: float) -> float | None:
        """When the audio that begins at ``position`` was captured; None before any was sent."""
        return self._at(bisect_right(self._positions, position + _SLACK), position)

    def end_time(self, position: float) -> float | None:
        """When the audio that ends at ``position`` was captured; None before any was sent."""
        return self._at(bisect_left(self._positions, position - _SLACK), position)

    def _at(self, segments: int, position: float) -> float | None:
        if not self._positions:
            return None
        index = max(segments - 1, 0)
        return self._times[index] + position - self._positions[index]
