"""The checks of a model: a right one passes all, one that breaks a rule fails that one."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest

from agentkit.core.history import ToolCall
from agentkit.errors import ConfigError, LLMError, UsageError
from agentkit.llm import base
from agentkit.llm.base import LLM, Finish, LLMEvent, LLMRequest, TextDelta, Usage
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.conformance import LLM_CHECKS, LLMRig, NotConforming, check_llm

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


class OpensAtOnce(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(0)))


class HasNoModel(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.name = "acme"


class HoldsBack(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        for event in [event async for event in super().stream(request)]:
            yield event


class NeverFinishes(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                if not isinstance(event, Finish):
                    yield event


class GoesOnAfterFinish(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                yield event
        yield TextDelta("!")


class Mangles(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                yield TextDelta(event.text.upper()) if isinstance(event, TextDelta) else event


class CallsInParts(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                if isinstance(event, ToolCall):
                    yield replace(event, arguments=event.arguments[:5])
                    yield replace(event, arguments=event.arguments[5:])
                else:
                    yield event


class NeedsWords(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        if not request.messages:
            raise LLMError("messages: must not be empty", failure="bad_request")
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                yield event


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


class IgnoresCancelling(Right):
    pace = 0.2

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        for word in WORDS:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(self.pace)
            yield TextDelta(word)
        yield Finish("stop")


class EndsAllTheSame(IgnoresCancelling):
    pace = 0.04


class BreaksWhenClosed(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        try:
            async with contextlib.aclosing(super().stream(request)) as events:
                async for event in events:
                    yield event
        except GeneratorExit:
            raise LLMError("closed too early") from None


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


class LetsItThrough(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        async with contextlib.aclosing(self.far.words()) as words:
            async for word in words:
                yield TextDelta(word)
        yield Finish("stop")


class SaysAnotherFailure(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        try:
            async with contextlib.aclosing(super().stream(request)) as events:
                async for event in events:
                    yield event
        except LLMError:
            raise LLMError("refused", failure="timeout") from None


class SwallowsFailures(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        with contextlib.suppress(LLMError):
            async with contextlib.aclosing(super().stream(request)) as events:
                async for event in events:
                    yield event
            return
        yield Finish("error")


class ChainsTheSecret(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        try:
            async with contextlib.aclosing(self.far.words()) as words:
                async for word in words:
                    yield TextDelta(word)
        except ConnectionError as error:
            raise LLMError("refused", failure="auth") from error
        yield Finish("stop")


class QuotesTheCaller(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        try:
            async with contextlib.aclosing(super().stream(request)) as events:
                async for event in events:
                    yield event
        except LLMError:
            said = [message.text for message in request.messages]
            raise LLMError(f"refused: {said}", failure="auth") from None


class LeavesItOpen(Right):
    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        if self.far.refuses:
            self.far.open += 1
            raise LLMError("refused", failure="auth")
        async with contextlib.aclosing(super().stream(request)) as events:
            async for event in events:
                yield event


class ShowsItsKey(Right):
    def __repr__(self) -> str:
        return f"ShowsItsKey(api_key={KEY!r})"


class WarmRaises(Right):
    async def warm(self) -> None:
        if self.far.refuses:
            raise LLMError("refused", failure="auth")


class WarmIgnoresCancelling(Right):
    async def warm(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        await asyncio.sleep(3)


class ClosesOnce(Right):
    closed = False

    async def aclose(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class LeavesTasks(Right):
    async def warm(self) -> None:
        self.tasks.append(asyncio.create_task(self._keep_warm()))

    async def _keep_warm(self) -> None:
        await asyncio.sleep(20)


class LosesErrors(Right):
    async def warm(self) -> None:
        async def fail() -> None:
            raise OSError("unseen")

        task = asyncio.create_task(fail())
        await asyncio.wait([task])


TOOL = ToolCall("call_1", "opening_hours", '{"day": "Sunday"}')


def rig_of(kind: Callable[[FarEnd], LLM]) -> LLMRig:
    """A rig with all that there is, around one kind of model."""
    far, refusing, calling = FarEnd(), FarEnd(), FarEnd()
    refusing.refuses, calling.asks_for = True, TOOL
    return LLMRig(
        make=lambda: kind(far),
        open_requests=lambda: far.open + refusing.open,
        fails={"auth": lambda: kind(refusing)},
        secrets=(KEY,),
        spans=0.6,
        answer=lambda _: "".join(WORDS),
        calls_tool=lambda: kind(calling),
    )


@in_virtual_time()
async def test_a_right_model_passes_all_checks() -> None:
    outcome = await check_llm(rig_of(Right))
    assert outcome.passed == tuple(check.name for check in LLM_CHECKS)
    assert not outcome.left_out


BROKEN: list[tuple[type[Right], str, str]] = [
    (OpensAtOnce, "making_one_opens_nothing", "no running event loop"),
    (HasNoModel, "making_one_opens_nothing", "'acme', not of the form backend/model"),
    (HoldsBack, "text_is_not_held_back", "all text came within 0.000 s"),
    (NeverFinishes, "one_finish_comes_last", "0 Finish came, not one"),
    (GoesOnAfterFinish, "one_finish_comes_last", "TextDelta came after Finish"),
    (Mangles, "one_finish_comes_last", "of 'We open at nine.' came 'WE OPEN AT NINE.'"),
    (CallsInParts, "tool_calls_are_whole", "the calls' ids are ['call_1', 'call_1']"),
    (NeedsWords, "every_conversation_is_taken", "nothing said yet: it raised LLMError"),
    (ReadsOn, "closing_closes_the_request", "0.25 s after aclose() the request is still open"),
    (ReadsOn, "cancelling_closes_the_request", "0.25 s after the task was cancelled before its"),
    (ClosesLate, "cancelling_closes_the_request", "cancelled before its first word"),
    (IgnoresCancelling, "cancelling_is_obeyed", "0.25 s after it was cancelled before its first"),
    (EndsAllTheSame, "cancelling_is_obeyed", "it ended as if it had not been (with a result)"),
    (BreaksWhenClosed, "closing_is_safe_at_any_time", "it raised LLMError: closed too early"),
    (HasTooFew, "closing_is_safe_at_any_time", "it raised LLMError: too many"),
    (SharesItsText, "streams_share_nothing", "of two streams at once, one said"),
    (ClosesAll, "streams_share_nothing", "it raised LLMError: closed"),
    (LetsItThrough, "failures_are_typed", "raise ConnectionError, not LLMError"),
    (SaysAnotherFailure, "failures_are_typed", "an error whose failure is 'timeout'"),
    (SwallowsFailures, "failures_are_typed", "was taken for one that answers"),
    (ChainsTheSecret, "failures_are_typed", "shows a secret"),
    (QuotesTheCaller, "failures_are_typed", "shows what was said"),
    (LeavesItOpen, "failures_are_typed", "still open 0.25 s after the error"),
    (ShowsItsKey, "secrets_do_not_show", "the text form of ShowsItsKey shows a secret"),
    (WarmRaises, "warm_never_raises", "with a far end that fails (auth) it raised LLMError"),
    (WarmIgnoresCancelling, "warm_never_raises", "warm() still runs 0.25 s after it was cancelled"),
    (ClosesOnce, "closing_it_twice_is_safe", "the second aclose() of an unused backend raised"),
    (LeavesTasks, "nothing_is_left", "tasks still run: LeavesTasks._keep_warm"),
    (LosesErrors, "nothing_is_left", "Task exception was never retrieved (OSError)"),
]


@pytest.mark.parametrize(
    ("kind", "check", "problem"),
    BROKEN,
    ids=[f"{kind.__name__}-{name}" for kind, name, _ in BROKEN],
)
@in_virtual_time()
async def test_each_check_bites(kind: type[Right], check: str, problem: str) -> None:
    [found] = [known for known in LLM_CHECKS if known.name == check]
    with pytest.raises(NotConforming) as raised:
        await found(rig_of(kind))
    [broken] = raised.value.broken
    assert broken.check == check
    assert problem in broken.problem
    assert f'agentkit.llm.base says: "{found.rule}"' in str(raised.value)


def test_no_check_is_without_one_that_it_bites() -> None:
    assert {name for _, name, _ in BROKEN} == {check.name for check in LLM_CHECKS}


@in_virtual_time()
async def test_all_broken_rules_are_told_at_once() -> None:
    with pytest.raises(NotConforming) as raised:
        await check_llm(rig_of(ReadsOn))
    found = {broken.check for broken in raised.value.broken}
    assert {"closing_closes_the_request", "cancelling_closes_the_request"} <= found


@in_virtual_time()
async def test_what_the_rig_does_not_give_is_told() -> None:
    far = FarEnd()
    rig = LLMRig(make=lambda: Right(far))
    outcome = await check_llm(rig)
    assert outcome.left_out == {
        "tool_calls_are_whole": ("calls_tool",),
        "closing_closes_the_request": ("open_requests",),
        "cancelling_closes_the_request": ("open_requests",),
        "failures_are_typed": ("fails",),
        "secrets_do_not_show": ("secrets",),
    }
    assert "left out: secrets_do_not_show, which needs secrets" in str(outcome)
    [check] = [known for known in LLM_CHECKS if known.name == "failures_are_typed"]
    with pytest.raises(UsageError, match="failures_are_typed needs a rig with fails"):
        await check(rig)


@in_virtual_time()
async def test_a_check_that_hangs_ends_at_its_limit() -> None:
    class Hangs(Right):
        async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
            await asyncio.sleep(1000)
            yield Finish("stop")

    [check] = [known for known in LLM_CHECKS if known.name == "one_finish_comes_last"]
    with pytest.raises(NotConforming, match=r"it was not done after 2\.0 s"):
        await check(replace(rig_of(Hangs), limit=2.0))


@in_virtual_time()
async def test_a_timeout_of_the_backend_s_own_is_no_hang() -> None:
    class TimesOut(Right):
        async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
            raise TimeoutError("no answer")
            yield Finish("stop")

    [check] = [known for known in LLM_CHECKS if known.name == "one_finish_comes_last"]
    with pytest.raises(NotConforming, match="it raised TimeoutError: no answer"):
        await check(rig_of(TimesOut))


def test_the_rules_are_in_the_words_of_the_interface() -> None:
    words = " ".join(inspect.getsource(base).split())
    assert [check.name for check in LLM_CHECKS if check.rule not in words] == []


def test_a_far_end_that_is_too_quick_to_show_anything_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"spans: 0\.2 s is not more than closes_within"):
        replace(rig_of(Right), spans=0.2)
