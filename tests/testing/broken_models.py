"""A model that keeps all rules of its interface, and many of which each breaks one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any, TypeVar

from agentkit.core.history import ToolCall
from agentkit.errors import LLMError
from agentkit.llm.base import LLM, Finish, LLMEvent, LLMRequest, TextDelta, Usage

KEY = "s3cret-key"
WORDS = ("We", " open", " at", " nine.")


class FarEnd:
    """What a model asks: it says words, asks for a tool, or refuses; it counts what is open."""

    def __init__(self) -> None:
        self.open = 0
        self.refuses = False
        self.asks_for: ToolCall | None = None

    async def words(self) -> AsyncGenerator[str, None]:
        self.open += 1
        try:
            if self.refuses:
                raise ConnectionError(f"refused: Bearer {KEY}")
            for word in WORDS:
                await asyncio.sleep(0.2)
                yield word
        finally:
            self.open -= 1


class Right(LLM):
    """Keeps all rules. ``tasks`` are those that it would have to end."""

    def __init__(self, far: FarEnd) -> None:
        self.name = "acme/right"
        self.far = far
        self.tasks: list[asyncio.Task[Any]] = []

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        failed = False
        try:
            async with contextlib.aclosing(self.far.words()) as words:
                async for word in words:
                    yield TextDelta(word)
        except ConnectionError:
            failed = True
        if failed:
            raise LLMError(f"{self.name}: refused", failure="auth")
        if self.far.asks_for is not None:
            yield self.far.asks_for
        yield Finish("stop", Usage(1, len(WORDS)))


BROKEN: list[tuple[type[Any], str, str]] = []
"""What breaks a rule, the name of the check that finds it, and some of what that says."""

K = TypeVar("K")


def breaks(check: str, problem: str) -> Callable[[type[K]], type[K]]:
    """Take a kind into the list."""

    def decorate(kind: type[K]) -> type[K]:
        BROKEN.append((kind, check, problem))
        return kind

    return decorate


@breaks("making_one_opens_nothing", "no running event loop")
class OpensAtOnce(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(0)))


@breaks("making_one_opens_nothing", "'acme', not of the form backend/model")
class HasNoModel(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.name = "acme"


@breaks("text_is_not_held_back", "all text came within 0.000 s")
class HoldsBack(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        for event in [event async for event in super().stream(request)]:
            yield event


@breaks("one_finish_comes_last", "0 Finish came, not one")
class NeverFinishes(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                if not isinstance(event, Finish):
                    yield event


@breaks("one_finish_comes_last", "TextDelta came after Finish")
class GoesOnAfterFinish(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                yield event
        yield TextDelta("!")


@breaks("one_finish_comes_last", "of 'We open at nine.' came 'WE OPEN AT NINE.'")
class Mangles(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                yield TextDelta(event.text.upper()) if isinstance(event, TextDelta) else event


@breaks("tool_calls_are_whole", "the calls' ids are ['call_1', 'call_1']")
class CallsInParts(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                if isinstance(event, ToolCall):
                    yield replace(event, arguments=event.arguments[:5])
                    yield replace(event, arguments=event.arguments[5:])
                else:
                    yield event


@breaks("every_conversation_is_taken", "nothing said yet: it raised LLMError")
class NeedsWords(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        if not request.messages:
            raise LLMError("messages: must not be empty", failure="bad_request")
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                yield event


@breaks("closing_closes_the_request", "0.25 s after aclose() the request is still open")
@breaks("cancelling_closes_the_request", "0.25 s after the task was cancelled before its")
class ReadsOn(Right):
    """Reads in a task of its own, that nobody cancels."""

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        events: asyncio.Queue[LLMEvent | None] = asyncio.Queue()

        async def read() -> None:
            async for event in super(ReadsOn, self).stream(request):
                events.put_nowait(event)
            events.put_nowait(None)

        self.tasks.append(asyncio.create_task(read()))
        while (event := await events.get()) is not None:
            yield event

    async def aclose(self) -> None:
        for task in self.tasks:
            task.cancel()


@breaks("cancelling_closes_the_request", "cancelled before its first word")
class ClosesLate(Right):
    """Sees to its closing only when it was closed, not when the task that waits was cancelled."""

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        events = super().stream(request)
        reading: asyncio.Task[Any] | None = None
        try:
            while True:
                reading = asyncio.ensure_future(anext(events, None))
                event = await asyncio.shield(reading)
                if event is None:
                    return
                yield event
        except GeneratorExit:
            await events.aclose()
            raise

    async def aclose(self) -> None:
        await asyncio.sleep(1.0)


@breaks("cancelling_is_obeyed", "0.25 s after it was cancelled before its first")
class IgnoresCancelling(Right):
    pace = 0.2

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        for word in WORDS:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(self.pace)
            yield TextDelta(word)
        yield Finish("stop")


@breaks("cancelling_is_obeyed", "it ended as if it had not been (with a result)")
class EndsAllTheSame(IgnoresCancelling):
    pace = 0.04


@breaks("closing_is_safe_at_any_time", "it raised LLMError: closed too early")
class BreaksWhenClosed(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        try:
            async with contextlib.aclosing(super().stream(request)) as events:
                async for event in events:
                    yield event
        except GeneratorExit:
            raise LLMError("closed too early") from None


@breaks("closing_is_safe_at_any_time", "it raised LLMError: too many")
class HasTooFew(Right):
    """Keeps its places taken when a stream is closed early."""

    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.places = 5

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        if not self.places:
            raise LLMError("too many", failure="rate_limit")
        self.places -= 1
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                yield event
        self.places += 1


@breaks("streams_share_nothing", "of two streams at once, one said")
class SharesItsText(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.came: list[str] = []

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    self.came.append(event.text)
                    await asyncio.sleep(0.01)
                    text = "".join(self.came)
                    self.came.clear()
                    if text:
                        yield TextDelta(text)
                else:
                    yield event


@breaks("streams_share_nothing", "it raised LLMError: closed")
class ClosesAll(Right):
    """When one stream is closed, all others are."""

    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.closed = 0

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        closed = self.closed
        try:
            async with contextlib.aclosing(super().stream(request)) as events:
                async for event in events:
                    if closed != self.closed:
                        raise LLMError("closed", failure="connection")
                    yield event
        except GeneratorExit:
            self.closed += 1
            raise


@breaks("failures_are_typed", "raise ConnectionError, not LLMError")
class LetsItThrough(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(self.far.words()) as words:
            async for word in words:
                yield TextDelta(word)
        yield Finish("stop")


@breaks("failures_are_typed", "an error whose failure is 'timeout'")
class SaysAnotherFailure(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        try:
            async with contextlib.aclosing(super().stream(request)) as events:
                async for event in events:
                    yield event
        except LLMError:
            raise LLMError("refused", failure="timeout") from None


@breaks("failures_are_typed", "was taken for one that answers")
class SwallowsFailures(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        with contextlib.suppress(LLMError):
            async with contextlib.aclosing(super().stream(request)) as events:
                async for event in events:
                    yield event
            return
        yield Finish("error")


@breaks("failures_are_typed", "shows a secret")
class ChainsTheSecret(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        try:
            async with contextlib.aclosing(self.far.words()) as words:
                async for word in words:
                    yield TextDelta(word)
        except ConnectionError as error:
            raise LLMError("refused", failure="auth") from error
        yield Finish("stop")


@breaks("failures_are_typed", "shows what was said")
class QuotesTheCaller(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        try:
            async with contextlib.aclosing(super().stream(request)) as events:
                async for event in events:
                    yield event
        except LLMError:
            said = [message.text for message in request.messages]
            raise LLMError(f"refused: {said}", failure="auth") from None


@breaks("failures_are_typed", "still open 0.25 s after the error")
class LeavesItOpen(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        if self.far.refuses:
            self.far.open += 1
            raise LLMError("refused", failure="auth")
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                yield event


@breaks("secrets_do_not_show", "the text form of ShowsItsKey shows a secret")
class ShowsItsKey(Right):
    def __repr__(self) -> str:
        return f"ShowsItsKey(api_key={KEY!r})"


@breaks("warm_never_raises", "with a far end that fails (auth) it raised LLMError")
class WarmRaises(Right):
    async def warm(self) -> None:
        if self.far.refuses:
            raise LLMError("refused", failure="auth")


@breaks("warm_never_raises", "warm() still runs 0.25 s after it was cancelled")
class WarmIgnoresCancelling(Right):
    async def warm(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        await asyncio.sleep(3)


@breaks("closing_it_twice_is_safe", "the second aclose() of an unused backend raised")
class ClosesOnce(Right):
    closed = False

    async def aclose(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


@breaks("nothing_is_left", "tasks still run: LeavesTasks._keep_warm")
class LeavesTasks(Right):
    async def warm(self) -> None:
        self.tasks.append(asyncio.create_task(self._keep_warm()))

    async def _keep_warm(self) -> None:
        await asyncio.sleep(20)


@breaks("nothing_is_left", "Task exception was never retrieved (OSError)")
class LosesErrors(Right):
    async def warm(self) -> None:
        async def fail() -> None:
            raise OSError("unseen")

        task = asyncio.create_task(fail())
        await asyncio.wait([task])
