"""One timer for all that a load generator has to do on time."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import heapq
import os
import time
from array import array
from collections.abc import Callable
from types import TracebackType
from typing import Self

TICK = 0.0005
"""Seconds between two looks at what is due: nothing is done before its time, so up to this late."""

# Linux, sys/timerfd.h; `os.timerfd_create` is Python 3.13's.
_NONBLOCK, _CLOEXEC, _ABSOLUTE = os.O_NONBLOCK, os.O_CLOEXEC, 1


class Wheel:
    """Calls functions when they are due, by CLOCK_MONOTONIC. An async context manager.

    A loop's own timers are a millisecond coarse, and one each for fifty calls' frames, tokens,
    marks and turns would be thousands a second. Here one timer of the kernel ticks for all.

    Attributes:
        lateness: of everything that was done, in seconds after it was due.
    """

    def __init__(self) -> None:
        self.lateness = array("d")
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._timer = -1

    def at(self, due: float, call: Callable[[], None]) -> None:
        """Call a function at that time of `time.monotonic`."""
        self._count += 1
        heapq.heappush(self._due, (due, self._count, call))

    async def __aenter__(self) -> Self:
        self._timer = _ticking(TICK)
        asyncio.get_running_loop().add_reader(self._timer, self._tick)
        # A collection would hold everybody up; what a benchmark leaves behind is little.
        gc.collect()
        gc.freeze()
        gc.disable()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        gc.enable()
        asyncio.get_running_loop().remove_reader(self._timer)
        os.close(self._timer)

    def _tick(self) -> None:
        os.read(self._timer, 8)
        due, now = self._due, time.monotonic()
        while due and due[0][0] <= now:
            planned, _, call = heapq.heappop(due)
            now = time.monotonic()
            self.lateness.append(now - planned)
            call()


def _ticking(seconds: float) -> int:
    """A file descriptor that is readable every so often, on multiples of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer = libc.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK | _CLOEXEC)
    interval = round(seconds * 1e9)
    first = (time.monotonic_ns() // interval + 2) * interval
    spec = (ctypes.c_long * 4)(0, interval, first // 10**9, first % 10**9)
    if timer < 0 or libc.timerfd_settime(timer, _ABSOLUTE, ctypes.byref(spec), None) < 0:
        raise OSError(ctypes.get_errno(), "no timer could be had")
    return int(timer)
