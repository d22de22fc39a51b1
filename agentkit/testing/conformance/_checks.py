"""What the checks of models and of voices are made of."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from agentkit.errors import BackendError, ConfigError, Failure, UsageError

_POLL = 0.005
"""Seconds between two looks at what the far end sees."""


class Closing(Protocol):
    """A backend, as far as models and voices are alike."""

    name: str

    async def warm(self) -> None:
        """Open what the next request needs."""

    async def aclose(self) -> None:
        """Close all connections."""


B = TypeVar("B", bound=Closing)
R = TypeVar("R", bound="Rig[Any]")


@dataclass(frozen=True, kw_only=True)
class Rig(Generic[B]):
    """What checks of models and of voices have in common; see `LLMRig` and `TTSRig`."""

    make: Callable[[], B]
    open_requests: Callable[[], int] | None = None
    fails: Mapping[Failure, Callable[[], B]] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    spans: float = 0.0
    closes_within: float = 0.25
    limit: float = 10.0

    def __post_init__(self) -> None:
        if 0 < self.spans <= self.closes_within:
            raise ConfigError(
                "spans",
                f"{self.spans} s is not more than closes_within ({self.closes_within} s): what is "
                "never closed would have ended by itself. Slow the far end down",
            )

    @asynccontextmanager
    async def using(self, make: Callable[[], B] | None = None) -> AsyncIterator[B]:
        """A backend for one check, closed at its end."""
        backend = (make or self.make)()
        try:
            yield backend
        except BaseException:
            with suppress(Exception):  # what was found before counts
                await backend.aclose()
            raise
        await backend.aclose()

    async def soon(self, condition: Callable[[], bool]) -> bool:
        """Whether it comes true in ``closes_within`` seconds."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self.closes_within
        while not condition():
            if loop.time() >= due:
                return False
            await asyncio.sleep(_POLL)
        return True

    async def expect(self, condition: Callable[[], bool], problem: str) -> None:
        """Raise NotConforming with the problem if it does not come true in ``closes_within``."""
        require(await self.soon(condition), problem)

    async def cancelled(self, task: asyncio.Task[Any], when: str) -> None:
        """Cancel a task, and require that it ends by that, in ``closes_within`` seconds."""
        require(not task.done(), f"it was over before it could be cancelled {when}")
        task.cancel()
        await asyncio.wait([task], timeout=self.closes_within)
        require(task.done(), f"{self.closes_within} s after it was cancelled {when}, it still runs")
        require(
            task.cancelled(), f"cancelled {when}, it ended as if it had not been ({_end(task)})"
        )


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that is broken.

    Args:
        check: the name of the check that found it.
        problem: what was seen.
        rule: the words of the interface.
        source: the module whose docstrings say so.
    """

    check: str
    problem: str
    rule: str
    source: str

    def __str__(self) -> str:
        return f'{self.check}: {self.problem}\n    {self.source} says: "{self.rule}"'


class NotConforming(AssertionError):
    """A backend breaks rules of its interface; ``broken`` holds each."""

    def __init__(self, broken: Sequence[Broken]) -> None:
        super().__init__("\n".join(map(str, broken)))
        self.broken = tuple(broken)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was checked, and found right.

    Args:
        passed: the names of the checks that were run.
        left_out: those that were not, each with what the rig would have to give for it.
    """

    passed: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        lines = [f"{len(self.passed)} checks passed"]
        lines += [
            f"left out: {name}, which needs {', '.join(needs)}"
            for name, needs in self.left_out.items()
        ]
        return "\n".join(lines)


class _Problem(Exception):
    """What a check found wrong; `Check` adds the rule to it."""


def require(condition: bool, problem: str) -> None:
    """Say what is wrong, unless the condition holds."""
    if not condition:
        raise _Problem(problem)


@dataclass(frozen=True, slots=True)
class Check(Generic[R]):
    """One rule of an interface, and how to find out whether a backend keeps it.

    Args:
        name: what it is called in reports.
        rule: the words of the interface.
        source: the module whose docstrings say so.
        needs: the fields of the rig without which it cannot be run.
        run: does it.
    """

    name: str
    rule: str
    source: str
    needs: tuple[str, ...]
    run: Callable[[R], Awaitable[None]]

    def __str__(self) -> str:
        return self.name

    def missing(self, rig: R) -> tuple[str, ...]:
        """What the rig does not give and the check needs."""
        return tuple(name for name in self.needs if not getattr(rig, name))

    async def __call__(self, rig: R) -> None:
        """Run it. Safe to cancel.

        Raises:
            NotConforming: the rule is broken.
            UsageError: the rig lacks what the check needs.
        """
        if missing := self.missing(rig):
            raise UsageError(f"{self.name} needs a rig with {', '.join(missing)}")
        if (problem := await self._problem(rig)) is not None:
            raise NotConforming([Broken(self.name, problem[0], self.rule, self.source)]) from (
                problem[1]
            )

    async def _problem(self, rig: R) -> tuple[str, Exception | None] | None:
        deadline = asyncio.timeout(rig.limit)
        try:
            async with deadline:
                await self.run(rig)
        except _Problem as found:
            return str(found), None
        except Exception as error:
            if deadline.expired():
                return f"it was not done after {rig.limit} s", None
            return f"it raised {type(error).__name__}: {error}", error
        return None


def rule(
    source: str, words: str, *needs: str
) -> Callable[[Callable[[R], Awaitable[None]]], Check[R]]:
    """Make a check of a coroutine function: the interface's words, and what the rig must give."""

    def decorate(run: Callable[[R], Awaitable[None]]) -> Check[R]:
        return Check(run.__name__.removeprefix("_"), words, source, needs, run)

    return decorate


async def run_all(checks: Sequence[Check[R]], rig: R) -> Outcome:
    """Run all checks for which the rig gives enough, one after the other.

    Raises:
        NotConforming: at least one rule is broken; it names all that are.
    """
    passed: list[str] = []
    broken: list[Broken] = []
    left_out: dict[str, tuple[str, ...]] = {}
    for check in checks:
        if missing := check.missing(rig):
            left_out[check.name] = missing
            continue
        try:
            await check(rig)
        except NotConforming as found:
            broken += found.broken
        else:
            passed.append(check.name)
    if broken:
        raise NotConforming(broken)
    return Outcome(tuple(passed), left_out)


# ------------------------------------------------------------------- what both kinds are asked


async def made_elsewhere(rig: Rig[B], form: str) -> None:
    """Make a backend where no event loop runs, look at its name, and close it unused."""
    backend = await asyncio.to_thread(rig.make)
    try:
        name = backend.name
        parts = name.split("/", 1)
        right = len(parts) == 2 and all(parts) and (":" not in form or ":" in parts[1])
        require(right, f"its name is {name!r}, not of the form {form}")
    finally:
        await backend.aclose()


async def warmed(rig: Rig[B]) -> None:
    """Warm it as a session does: twice, beside a cancellation, and with nobody at the far end."""
    async with rig.using() as backend:
        await backend.warm()
        await backend.warm()
        warming = asyncio.create_task(backend.warm())
        await asyncio.sleep(0)
        warming.cancel()
        await asyncio.wait([warming], timeout=rig.closes_within)
        require(warming.done(), f"warm() still runs {rig.closes_within} s after it was cancelled")
        if not warming.cancelled() and (error := warming.exception()) is not None:
            require(False, f"cancelled, warm() raised {type(error).__name__}")
    for failure, make in rig.fails.items():
        async with rig.using(make) as backend:
            try:
                await backend.warm()
            except Exception as error:
                require(False, f"with a far end that fails ({failure}) it raised {_said(error)}")


async def closed_twice(rig: Rig[B], use: Callable[[B], Awaitable[object]]) -> None:
    """Close it before it was used, and after; each time twice."""
    for state in ("an unused", "a used"):
        backend = rig.make()
        if state == "a used":
            await use(backend)
        for time in ("first", "second"):
            try:
                await backend.aclose()
            except Exception as error:
                require(False, f"the {time} aclose() of {state} backend raised {_said(error)}")


def shows(rig: Rig[B], backend: B, streams: Sequence[object]) -> None:
    """Require that nothing shows a secret as text."""
    for thing in (backend, *streams):
        for shown in (repr(thing), str(thing)):
            _hides(shown, rig.secrets, f"the text form of {type(thing).__name__} shows a secret")
    _hides(backend.name, rig.secrets, "the name shows a secret")


async def failed(
    rig: Rig[B],
    kind: type[BackendError],
    said: Sequence[str],
    use: Callable[[B], Awaitable[object]],
) -> None:
    """Meet each failure of the rig, and require a typed error that tells no more than it may."""
    count = rig.open_requests or (lambda: 0)
    before = count()
    for failure, make in rig.fails.items():
        async with rig.using(make) as backend:
            error = await _error_of(use(backend), failure)
            require(
                isinstance(error, kind),
                f"a far end that fails ({failure}) made it raise {type(error).__name__}, "
                f"not {kind.__name__}",
            )
            assert isinstance(error, kind)  # noqa: S101
            require(
                error.failure == failure,
                f"a far end that fails ({failure}) made it raise an error whose failure is "
                f"{error.failure!r}",
            )
            for text in _told(error):
                where = f"the error of a far end that fails ({failure})"
                _hides(text, rig.secrets, f"{where} shows a secret")
                _hides(text, said, f"{where} shows what was said")
            await rig.expect(
                lambda: count() <= before,
                f"the request of a far end that fails ({failure}) is still open "
                f"{rig.closes_within} s after the error",
            )


async def _error_of(use: Awaitable[object], failure: str) -> Exception:
    try:
        await use
    except Exception as error:
        return error
    raise _Problem(f"a far end that fails ({failure}) was taken for one that answers")


def _told(error: BaseException) -> Iterator[str]:
    """What an error says, and those that its traceback would show with it."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield f"{found} {found!r} {getattr(found, '__notes__', '')}"
        waiting += [found.__cause__, None if found.__suppress_context__ else found.__context__]
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions


def _hides(shown: str, private: Sequence[str], problem: str) -> None:
    require(not any(text in shown for text in private), problem)


@contextmanager
def nothing_lost() -> Iterator[list[str]]:
    """Collects errors that nobody was told of, such as those of tasks that were let go."""
    loop = asyncio.get_running_loop()
    lost: list[str] = []
    usual = loop.get_exception_handler()

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        kind = f" ({type(error).__name__})" if error is not None else ""
        lost.append(f"{context.get('message', '')}{kind}")

    loop.set_exception_handler(note)
    try:
        yield lost
    finally:
        loop.set_exception_handler(usual)


async def left_nothing(rig: Rig[B], use: Callable[[B], Awaitable[None]]) -> None:
    """Use a backend, close it, and require that no task of it is left and no error was lost."""
    before = asyncio.all_tasks()

    def left() -> set[asyncio.Task[Any]]:
        return {task for task in asyncio.all_tasks() - before if not task.done()}

    with nothing_lost() as lost:
        for make in (rig.make, *rig.fails.values()):
            async with rig.using(make) as backend:
                await use(backend)
        await rig.soon(lambda: not left())
        gc.collect()  # an error of a task is told when the task is forgotten
        await asyncio.sleep(0)
    names = ", ".join(sorted(_named(task) for task in left()))
    require(not names, f"{rig.closes_within} s after aclose() tasks still run: {names}")
    require(not lost, f"errors were lost: {'; '.join(lost)}")


def _named(task: asyncio.Task[Any]) -> str:
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", None) or repr(coroutine)


def _end(task: asyncio.Task[Any]) -> str:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return "with a result" if error is None else f"with {type(error).__name__}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
