"""Checks of a language model against `agentkit.llm.base`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from agentkit.core.history import (
    STILL_RUNNING,
    AssistantMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from agentkit.errors import LLMError
from agentkit.llm.base import LLM, Finish, LLMEvent, LLMRequest, TextDelta, ToolSpec
from agentkit.testing.conformance._checks import (
    Check,
    Outcome,
    Rig,
    closed_twice,
    failed,
    left_nothing,
    made_elsewhere,
    require,
    rule,
    run_all,
    shows,
    warmed,
)

_BASE = "agentkit.llm.base"
_CYCLES = 10

HOURS = ToolSpec(
    "opening_hours",
    "When the clinic is open on a weekday.",
    {
        "type": "object",
        "properties": {"day": {"type": "string"}},
        "required": ["day"],
        "additionalProperties": False,
    },
)
"""The tool that requests of these checks offer."""

_RULES = "You answer the telephone of Rosewood Clinic, in short sentences."
ASK = LLMRequest(_RULES, (UserMessage("Are you open on Sundays?", 1),))
OTHER = LLMRequest(_RULES, (UserMessage("Is there parking near you?", 1),))
"""What the checks ask; two streams at once ask both."""

_CALL = ToolCall("call_1", HOURS.name, '{"day": "Sunday"}')
_ASKED = UserMessage("And on Sundays?", 1)
CONVERSATIONS: dict[str, LLMRequest] = {
    "a draft": replace(ASK, draft=True),
    "no instructions": replace(ASK, instructions=""),
    "nothing said yet": LLMRequest("Greet the caller.", ()),
    "words of other scripts": LLMRequest(
        _RULES, (UserMessage("¿Abrís el domingo? 日曜日は? 🙂", 1),)
    ),
    "many turns, one reply cut off": LLMRequest(
        _RULES,
        (
            AssistantMessage("Rosewood Clinic, how can I help?", 0),
            UserMessage("When do you open?", 1),
            AssistantMessage("We open at", 1, interrupted=True),
            UserMessage("On Sundays, I mean.", 2),
        ),
    ),
    "the agent spoke last": LLMRequest(
        f"{_RULES} Ask whether the caller is still there.",
        (UserMessage("One moment.", 1), AssistantMessage("Of course.", 1)),
    ),
    "a tool's result": LLMRequest(
        _RULES,
        (
            _ASKED,
            AssistantMessage("", 1, tool_calls=(_CALL,)),
            ToolMessage(_CALL.id, HOURS.name, "closed"),
        ),
        (HOURS,),
    ),
    "a tool that still runs, and more words": LLMRequest(
        _RULES,
        (
            _ASKED,
            AssistantMessage("One moment.", 1, tool_calls=(_CALL,)),
            ToolMessage(_CALL.id, HOURS.name, STILL_RUNNING),
            UserMessage("Hello?", 2),
        ),
        (HOURS,),
    ),
}
"""Every shape that a request has."""


@dataclass(frozen=True, kw_only=True)
class LLMRig(Rig[LLM]):
    """A model to be checked, with a far end that does as the checks need it.

    Args:
        make: makes a backend, as a user would, whose far end answers any request with a text of
            three words or more, a word at a time. Called anew for each check.
        open_requests: how many requests are open, as the far end sees it. Without it nobody looks
            whether requests are closed on the wire.
        fails: for each kind of failure (`agentkit.errors.Failure`) that can be brought about, makes
            a backend each of whose requests fails in that way; an address where nobody listens is
            ``connection``, a far end that stalls is ``timeout``.
        secrets: texts that must not show: the keys that ``make`` gives the backend.
        spans: the far end takes at least so long from the first word to the last, in seconds, which
            has to be more than ``closes_within``. 0: it says all at once, and nobody looks whether
            text is held back, and what becomes of a request that is given up in its midst.
        closes_within: how soon what is given up has to be closed, in seconds.
        limit: how long one check may take before it is taken to hang, in seconds.
        answer: what the far end answers to a request, if that is known.
        calls_tool: makes a backend whose far end asks for the tool ``opening_hours``
            (`agentkit.testing.conformance.llm.HOURS`) of any request.
    """

    spans: float = 0.5
    answer: Callable[[LLMRequest], str] | None = None
    calls_tool: Callable[[], LLM] | None = None


async def check_llm(rig: LLMRig) -> Outcome:
    """Run all checks of a model for which the rig gives enough. Safe to cancel.

    Raises:
        NotConforming: at least one rule is broken; it names all that are.
    """
    return await run_all(LLM_CHECKS, rig)


async def _read(llm: LLM, request: LLMRequest = ASK) -> list[LLMEvent]:
    async with aclosing(llm.stream(request)) as stream:
        return [event async for event in stream]


def _text(events: list[LLMEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def _begun(stream: AsyncGenerator[LLMEvent, None]) -> LLMEvent:
    """The first event of a stream that goes on."""
    first = await anext(stream, None)
    require(first is not None, "a stream ended without a single event")
    require(not isinstance(first, Finish), "a stream ended before any text came")
    assert first is not None  # noqa: S101
    return first


# ------------------------------------------------------------------------------- what it yields


@rule(_BASE, "Making one opens nothing")
async def _making_one_opens_nothing(rig: LLMRig) -> None:
    await made_elsewhere(rig, "backend/model")


@rule(_BASE, "Text is yielded as it arrives and is not held back.", "spans")
async def _text_is_not_held_back(rig: LLMRig) -> None:
    loop = asyncio.get_running_loop()
    async with rig.using() as llm, aclosing(llm.stream(ASK)) as stream:
        times = [loop.time() async for event in stream if isinstance(event, TextDelta)]
    require(len(times) > 1, f"its text came as {len(times)} TextDelta, not a piece at a time")
    took = times[-1] - times[0]
    require(
        took >= rig.spans / 2,
        f"all text came within {took:.3f} s, though the far end says it in {rig.spans} s",
    )


@rule(_BASE, "text as it comes, each tool call once and whole, and last one Finish.")
async def _one_finish_comes_last(rig: LLMRig) -> None:
    async with rig.using() as llm:
        events = await _read(llm)
    for event in events:
        known = isinstance(event, TextDelta | ToolCall | Finish)
        require(known, f"it yielded {type(event).__name__}, which is no LLMEvent")
    finishes = [event for event in events if isinstance(event, Finish)]
    require(len(finishes) == 1, f"{len(finishes)} Finish came, not one")
    require(isinstance(events[-1], Finish), f"{type(events[-1]).__name__} came after Finish")
    usage = finishes[0].usage
    require(bool(finishes[0].reason), "Finish gives no reason")
    require(min(usage.input, usage.output, usage.cached) >= 0, f"{usage} counts below 0")
    require(usage.cached <= usage.input, f"{usage} has more cached than it has input")
    require(bool(_text(events).strip()), "no text came")
    if rig.answer is not None:
        said = rig.answer(ASK)
        require(_text(events) == said, f"of {said!r} came {_text(events)!r}")


@rule(_BASE, "each tool call once and whole", "calls_tool")
async def _tool_calls_are_whole(rig: LLMRig) -> None:
    async with rig.using(rig.calls_tool) as llm:
        events = await _read(llm, replace(ASK, tools=(HOURS,)))
    calls = [event for event in events if isinstance(event, ToolCall)]
    require(bool(calls), "the far end asked for a tool, and no ToolCall came")
    ids = [call.id for call in calls]
    require(all(ids) and len(set(ids)) == len(ids), f"the calls' ids are {ids}")
    for call in calls:
        require(call.name == HOURS.name, f"a call is for {call.name!r}, not {HOURS.name!r}")
        try:
            arguments = json.loads(call.arguments)
        except ValueError:
            arguments = None
        require(isinstance(arguments, dict), f"arguments are no JSON object: {call.arguments!r}")
    require(isinstance(events[-1], Finish), "no Finish came after the calls")


@rule(_BASE, "Tool calls and their results are always paired.")
async def _every_conversation_is_taken(rig: LLMRig) -> None:
    async with rig.using() as llm:
        for shape, request in CONVERSATIONS.items():
            try:
                events = await _read(llm, request)
            except Exception as error:
                require(False, f"{shape}: it raised {type(error).__name__}: {error}")
            require(bool(events) and isinstance(events[-1], Finish), f"{shape}: no Finish came")


# --------------------------------------------------------------------------- how it is given up


@rule(
    _BASE,
    "Closing the generator (``aclose()``, or cancelling the task that waits on it) closes the "
    "request on the wire.",
    "open_requests",
    "spans",
)
async def _closing_closes_the_request(rig: LLMRig) -> None:
    assert rig.open_requests is not None  # noqa: S101
    count = rig.open_requests
    async with rig.using() as llm:
        before = count()
        stream = llm.stream(ASK)
        await _begun(stream)
        require(count() == before + 1, f"{count() - before} requests were open for one stream")
        await stream.aclose()
        await rig.expect(
            lambda: count() <= before,
            f"{rig.closes_within} s after aclose() the request is still open at the far end",
        )


@rule(
    _BASE,
    "cancelling the task that waits on it) closes the request on the wire.",
    "open_requests",
    "spans",
)
async def _cancelling_closes_the_request(rig: LLMRig) -> None:
    assert rig.open_requests is not None  # noqa: S101
    count = rig.open_requests
    async with rig.using() as llm:
        before = count()
        for when in ("before its first word", "after its first word"):
            begun = asyncio.Event()
            task = asyncio.create_task(_listen(llm, begun))
            if when == "after its first word":
                await begun.wait()
            else:
                await rig.expect(lambda: count() > before, "no request reached the far end")
            await rig.cancelled(task, when)
            await rig.expect(
                lambda: count() <= before,
                f"{rig.closes_within} s after the task was cancelled {when} the request is still "
                "open at the far end",
            )


async def _listen(llm: LLM, begun: asyncio.Event) -> None:
    """Iterate as plain code does, which leaves the closing to the generator itself."""
    async for _ in llm.stream(ASK):
        begun.set()


@rule(_BASE, "cancelling the task that waits on it", "spans")
async def _cancelling_is_obeyed(rig: LLMRig) -> None:
    async with rig.using() as llm:
        begun = asyncio.Event()
        task = asyncio.create_task(_listen(llm, begun))
        await asyncio.sleep(0)
        await rig.cancelled(task, "before its first word")
        task = asyncio.create_task(_listen(llm, begun))
        waiting = asyncio.create_task(begun.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await rig.cancelled(task, "after its first word")


@rule(_BASE, "Closing the generator (``aclose()``")
async def _closing_is_safe_at_any_time(rig: LLMRig) -> None:
    async with rig.using() as llm:
        await llm.stream(ASK).aclose()  # never begun
        for _ in range(_CYCLES):
            stream = llm.stream(ASK)
            await _begun(stream)
            await stream.aclose()
            await stream.aclose()
            require(await anext(stream, None) is None, "a closed stream went on")
        whole = llm.stream(ASK)
        events = [event async for event in whole]
        await whole.aclose()
        require(
            bool(events) and isinstance(events[-1], Finish),
            f"after {_CYCLES} streams that were closed early, the next one had no Finish",
        )


@rule(_BASE, "An instance serves many calls at once.")
async def _streams_share_nothing(rig: LLMRig) -> None:
    async with rig.using() as llm:
        one, other = await asyncio.gather(_read(llm, ASK), _read(llm, OTHER))
        for events, request in ((one, ASK), (other, OTHER)):
            require(
                bool(events) and isinstance(events[-1], Finish),
                "of two streams at once, one had no Finish",
            )
            if rig.answer is not None:
                said = rig.answer(request)
                require(
                    _text(events) == said,
                    f"of two streams at once, one said {_text(events)!r} instead of {said!r}",
                )
        given_up, kept = llm.stream(ASK), llm.stream(OTHER)
        async with aclosing(given_up), aclosing(kept):
            await _begun(given_up)
            events = [await _begun(kept)]
            await given_up.aclose()
            events += [event async for event in kept]
        require(isinstance(events[-1], Finish), "when another stream was closed, it had no Finish")
        if rig.answer is not None:
            require(
                _text(events) == rig.answer(OTHER),
                f"when another stream was closed, it said {_text(events)!r}",
            )


# ---------------------------------------------------------------------------- failures and order


@rule(
    _BASE,
    "LLMError: the request failed; ``retryable`` says whether to try again.",
    "fails",
)
async def _failures_are_typed(rig: LLMRig) -> None:
    said = (ASK.instructions, *(message.text for message in ASK.messages))
    await failed(rig, LLMError, said, _read)


@rule(
    _BASE, "Neither its text form nor its errors show a key or anything that was said.", "secrets"
)
async def _secrets_do_not_show(rig: LLMRig) -> None:
    async with rig.using() as llm, aclosing(llm.stream(ASK)) as stream:
        await _begun(stream)
        shows(rig, llm, [stream])


@rule(_BASE, "Never raises for a backend that is out of reach")
async def _warm_never_raises(rig: LLMRig) -> None:
    await warmed(rig)


@rule(_BASE, "Safe to call twice.")
async def _closing_it_twice_is_safe(rig: LLMRig) -> None:
    await closed_twice(rig, _read)


@rule(_BASE, "Close all connections and end all tasks.")
async def _nothing_is_left(rig: LLMRig) -> None:
    await left_nothing(rig, _use)


async def _use(llm: LLM) -> None:
    """Streams that are read whole, closed early, and cancelled; failures are another check's."""
    await llm.warm()
    try:
        await _read(llm)
        async with aclosing(llm.stream(ASK)) as stream:
            await anext(stream, None)
    except LLMError:
        pass
    task = asyncio.create_task(_read(llm))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


LLM_CHECKS: tuple[Check[LLMRig], ...] = (
    _making_one_opens_nothing,
    _text_is_not_held_back,
    _one_finish_comes_last,
    _tool_calls_are_whole,
    _every_conversation_is_taken,
    _closing_closes_the_request,
    _cancelling_closes_the_request,
    _cancelling_is_obeyed,
    _closing_is_safe_at_any_time,
    _streams_share_nothing,
    _failures_are_typed,
    _secrets_do_not_show,
    _warm_never_raises,
    _closing_it_twice_is_safe,
    _nothing_is_left,
)
"""All checks of a model; each is called with a rig."""
