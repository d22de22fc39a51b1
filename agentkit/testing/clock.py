"""Virtual time: an event loop that does not wait.

Time stands still while there is something to do. When there is nothing, the clock jumps to the
next timer. A call of ten minutes is over in a fraction of a second, and its times are exact and
the same on every machine: what was set for 1.5 s happens at 1.5.

    def test_the_agent_waits() -> None:
        async def call() -> float:
            await asyncio.sleep(600)
            return asyncio.get_running_loop().time()

        assert run_virtual(call()) == 600.0

It works for code that takes its time from the loop: `asyncio.sleep`, `asyncio.timeout`,
``loop.call_at``, ``loop.time()``. `time.time()` and `time.sleep` are not touched.

What is not virtual, and how it is kept right:

- *Sockets and pipes* are real. They are polled without waiting; before a jump, if any are open,
  the loop waits ``settle`` seconds of real time for bytes in flight. On loopback a byte is there
  within microseconds, so the default of 1 ms is ample. It is paid once a jump: a test with open
  sockets and a frame every 20 ms runs about 15 times faster than real time, one without sockets
  thousands of times. For a peer in another thread or process, raise ``settle`` above its slowest
  answer, or put `VirtualLoop.hold` around the wait. Ten messages or more one way with none coming
  back wait up to 40 real ms for the kernel's acknowledgement: let time pass between them.
- *Executors* (`asyncio.to_thread`, ``loop.run_in_executor``, name look-ups): while a job runs,
  time stands still and the loop really waits for it. A job that runs as long as the call does
  therefore stops the clock: give such work a thread of its own.
- *Other threads* that use ``call_soon_threadsafe``: `VirtualLoop.hold` keeps the clock while an
  answer is due.

A loop where nothing can ever happen again raises `Deadlock`, which names each waiting task and the
line it waits in; a sleep of ``math.inf`` is nothing. ``until`` does the same for a loop that goes
on for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
import itertools
import math
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextvars import Context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

_T = TypeVar("_T")
_P = ParamSpec("_P")
_Ts = TypeVarTuple("_Ts")
_Ready = list[tuple[selectors.SelectorKey, int]]

_PATIENCE = 1.0
"""Real seconds without a byte, a timer or a job, before open sockets count as dead."""

_TO_CLOSE = 60.0
"""Virtual seconds that tasks have to close in, after `OutOfTime`."""


class Deadlock(RuntimeError):
    """Nothing can happen any more: tasks wait, but no timer, socket or thread will wake them."""


class OutOfTime(RuntimeError):
    """The clock would pass ``until``."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when there is nothing else to do.

    Timers of the same time run in the order they were set.

    Args:
        until: `OutOfTime` is raised instead of passing this time, in seconds of the clock.
        settle: how long to wait in real seconds, before each jump, for bytes in flight between
            open sockets. Without sockets there is no wait.
        start: what the clock shows first, in seconds.
    """

    if TYPE_CHECKING:
        _scheduled: list[asyncio.TimerHandle]  # asyncio's own heap of timers
        _clock_resolution: float
        _check_closed: Callable[[], None]
        _check_thread: Callable[[], None]

    def __init__(
        self, *, until: float | None = None, settle: float = 0.001, start: float = 0.0
    ) -> None:
        self._now = start
        self._until = until
        self._settle = settle
        self._held = 0
        self._count = itertools.count()
        super().__init__(_Selector(self._idle))
        self._clock_resolution = math.ulp(start)

    def time(self) -> float:
        """The virtual clock, in seconds."""
        return self._now

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the clock, and really wait, until a thread outside asyncio has answered.

        To be used on the loop's thread, around the wait for the answer.
        """
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As in asyncio; timers of the same time run in the order of the calls."""
        self._check_closed()
        if self.get_debug():
            self._check_thread()
        timer = _Timer(when, callback, args, self, context)
        timer.order = next(self._count)
        if timer._source_traceback:
            del timer._source_traceback[-1]  # this frame says nothing about who set the timer
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[_Ts]], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """As in asyncio; the clock stands still until the job is done."""
        future = super().run_in_executor(executor, func, *args)
        self._held += 1
        future.add_done_callback(self._release)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """As in asyncio; ``timeout`` is not used, since the clock stands still meanwhile."""
        with self.hold():
            await super().shutdown_default_executor()

    def _release(self, _: object) -> None:
        self._held -= 1

    def _idle(self, real: selectors.BaseSelector) -> _Ready:
        """Nothing is ready: wait for what is outside of the loop, or move the clock."""
        if self._held:
            return real.select(None)
        sockets = len(real.get_map()) > 1  # one is the loop's own, which other threads wake it by
        if sockets and (ready := real.select(self._settle)):
            return ready
        if self._scheduled and (when := self._scheduled[0].when()) < math.inf:
            self._jump(when)
            return []
        if sockets and (ready := real.select(_PATIENCE)):
            return ready
        raise Deadlock(f"nothing can happen any more: no timer is due\n{self._waiting()}")

    def _jump(self, when: float) -> None:
        if self._until is not None and when > self._until:
            until, self._until = self._until, self._until + _TO_CLOSE
            raise OutOfTime(f"not done at {until:g} s\n{self._waiting()}")
        self._now = max(self._now, when)
        # asyncio runs timers early that are due within the clock's resolution. With the real
        # clock's 1 ns, code that waits until its time has come would wait at one time for ever.
        self._clock_resolution = math.ulp(self._now)

    def _waiting(self) -> str:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        lines = [f"at {self._now:g} s of virtual time, {len(tasks)} tasks wait:"]
        lines += [f"  {task.get_name()}: {_where(task)}" for task in tasks]
        return "\n".join(lines)


class _Timer(asyncio.TimerHandle):
    """A timer that remembers when it was set: a heap alone keeps no order among equals."""

    __slots__ = ("order",)
    order: int
    if TYPE_CHECKING:
        _scheduled: bool
        _source_traceback: list[object]
        _when: float

    def __lt__(self, other: asyncio.TimerHandle) -> bool:
        # A simulation spends a tenth of its time here, so it takes no detour.
        if isinstance(other, _Timer):
            if self._when != other._when:
                return self._when < other._when
            return self.order < other.order
        return super().__lt__(other)


class _Selector(selectors.BaseSelector):
    """The system's selector, which asks ``idle`` instead of waiting."""

    def __init__(self, idle: Callable[[selectors.BaseSelector], _Ready]) -> None:
        self._real = selectors.DefaultSelector()
        self._idle = idle

    def select(self, timeout: float | None = None) -> _Ready:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        return self._idle(self._real)

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Any:
        return self._real.get_map()


def _where(task: asyncio.Task[Any]) -> str:
    """The lines that a task waits in, from its own function inwards."""
    awaited: Any = task.get_coro()
    lines = []
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                name = getattr(awaited, "__qualname__", frame.f_code.co_name)
                lines.append(f"{name} ({frame.f_code.co_filename}:{frame.f_lineno})")
        awaited = (
            getattr(awaited, "cr_await", None)
            or getattr(awaited, "gi_yieldfrom", None)
            or getattr(awaited, "ag_await", None)
        )
    return " > ".join(lines) or repr(task)


def run_virtual(
    main: Coroutine[Any, Any, _T],
    *,
    until: float | None = None,
    settle: float = 0.001,
    start: float = 0.0,
    debug: bool | None = None,
) -> _T:
    """Run a coroutine to its end in virtual time, as `asyncio.run` does in real time.

    Args:
        main: what to run.
        until: the clock may not pass this, in seconds.
        settle: real seconds to wait before each jump while sockets are open.
        start: what the clock shows first, in seconds.
        debug: asyncio's debug mode.

    Returns:
        What ``main`` returns.

    Raises:
        Deadlock: every task waits for something that cannot come.
        OutOfTime: ``main`` is not done at ``until``.
        RuntimeError: an event loop is running in this thread already.
    """
    if _is_running():
        main.close()
        raise RuntimeError("an event loop is running already: call run_virtual where none is")
    make_loop = functools.partial(VirtualLoop, until=until, settle=settle, start=start)
    with asyncio.Runner(debug=debug, loop_factory=make_loop) as runner:
        return runner.run(main)


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def in_virtual_time(
    *, until: float | None = None, settle: float = 0.001
) -> Callable[[Callable[_P, Coroutine[Any, Any, _T]]], Callable[_P, _T]]:
    """Make a plain function of an async one, for test runners: each call is a `run_virtual`.

    Fixtures that are async themselves run on another loop: make what a test needs inside it.
    """

    def decorate(function: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, _T]:
        @functools.wraps(function)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            return run_virtual(function(*args, **kwargs), until=until, settle=settle)

        return run

    return decorate
