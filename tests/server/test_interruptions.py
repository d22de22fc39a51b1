"""The caller takes the floor: what is heard stops, and the history says no more than was heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from agentkit.core.history import AssistantMessage
from agentkit.testing.backends import ScriptedTTS
from agentkit.testing.carriers import FakeCarrier, Network
from agentkit.testing.carriers.line import once
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.source import ScriptedSource
from tests.server.reception import ALL, TWILIO, Line, Reception, calling, serving, until

each_carrier = pytest.mark.parametrize("line", ALL, ids=lambda line: line.name)

Marks = Callable[[str], Iterable[float]]

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen."
SHORT = "one two three four."
"""1.14 s: all of it is sent at once, ahead of what is heard."""

MARK = 0.2
"""Seconds between two marks."""


def now() -> float:
    return asyncio.get_running_loop().time()


def lost(name: str) -> Iterable[float]:
    return ()


def late(name: str) -> Iterable[float]:
    return (0.7,)


def flooded(name: str) -> Iterable[float]:
    return (0.0,) * 20


async def answer(server: Reception, caller: FakeCarrier, ears: ScriptedSource, text: str) -> float:
    """Have a turn answered; returns how many seconds were heard before the answer's first sound."""
    before = caller.heard_seconds()
    ears.start("tell me")
    ears.end(text)
    await until(lambda: caller.heard_seconds() > before)
    return before


async def more_heard(caller: FakeCarrier, seconds: float) -> None:
    """Wait until more than that was heard."""
    await until(lambda: caller.heard_seconds() > seconds)


async def silence(caller: FakeCarrier, seconds: float = 0.5) -> float:
    """Assert that nothing more is heard for a while; return how many seconds were, in all."""
    await asyncio.sleep(0.02)  # a frame that was begun is heard to its end
    heard = caller.heard_seconds()
    await asyncio.sleep(seconds)
    assert caller.heard_seconds() == heard
    return heard


def cut_replies(server: Reception, call: int = 0) -> list[AssistantMessage]:
    history = server.agents[call].session.history
    return [one for one in history if isinstance(one, AssistantMessage) and one.interrupted]


def said_to_be_heard(server: Reception, call: int = 0) -> float:
    """How long the words of the reply that was cut last take to say."""
    cut = cut_replies(server, call)
    return server.tts.seconds(cut[-1].text) if cut else 0.0


@each_carrier
@pytest.mark.parametrize("marks", [once, lost, late, flooded])
@in_virtual_time(until=60)
async def test_the_history_says_no_more_than_was_heard(line: Line, marks: Marks) -> None:
    """It stops, at all and in the history: others' agents talked on for want of a clear
    (cloudflare/agents #2261, #2270; pipecat PR #422) or remembered what nobody had heard (pipecat
    #5426, #2791, #4055, #4996; twilio-agent-connect-python #118; livekit PR #640).
    """
    network = Network(latency=0.05, marks=marks)
    async with (
        serving(voice=line.voice, replies=[LONG, "Yes."]) as server,
        calling(line, server, network=network) as caller,
    ):
        ears = await server.ears()
        await caller.until_quiet(0.3)
        before = await answer(server, caller, ears, "tell me more")
        await asyncio.sleep(2.0)
        ears.start("no wait stop")
        await caller.wait_for("clear")
        await asyncio.sleep(0.1)  # the clear is on its way
        heard = await silence(caller) - before
        assert 1.9 < heard < 2.3
        assert len(cut_replies(server)) == 1 or marks is lost
        assert said_to_be_heard(server) <= heard + MARK
        if marks is once:
            assert said_to_be_heard(server) >= heard - 2 * MARK - 0.4  # whole words, and the way
        ears.end("no wait stop that")
        await until(lambda: caller.heard_audio().endswith(server.spoken("Yes.")))
    assert caller.protocol_errors == []


@each_carrier
@in_virtual_time(until=60)
async def test_what_was_all_sent_but_is_still_being_heard_is_cleared(line: Line) -> None:
    """Others send no clear once the model has finished (openai-agents-js #1184; elizaOS #19407)."""
    async with (
        serving(voice=line.voice, replies=[SHORT, "Yes."]) as server,
        calling(line, server) as caller,
    ):
        ears = await server.ears()
        await caller.until_quiet(0.3)
        before = await answer(server, caller, ears, "tell me more")
        await until(lambda: server.llm.generations[0].closed is not None)
        await asyncio.sleep(0.3)
        sent = sum(int(one.detail) for one in caller.events if one.kind == "media")
        assert caller.audio.seconds(sent) - before >= server.tts.seconds(SHORT) - 0.02
        ears.start("no wait stop")
        await caller.wait_for("clear")
        heard = await silence(caller, 2.0) - before
        assert heard < 0.5
        assert said_to_be_heard(server) <= heard + MARK
        ears.end("no wait stop that")
        await until(lambda: caller.heard_audio().endswith(server.spoken("Yes.")))


@each_carrier
@in_virtual_time(until=60)
async def test_a_second_interruption_is_one_too(line: Line) -> None:
    async with (
        serving(voice=line.voice, replies=[LONG, LONG, "Yes."]) as server,
        calling(line, server, network=Network(latency=0.05)) as caller,
    ):
        ears = await server.ears()
        await caller.until_quiet(0.3)
        before = await answer(server, caller, ears, "tell me more")
        for count in (1, 2):
            await asyncio.sleep(1.2)
            ears.start("no wait stop")
            await caller.wait_for("clear", count)
            await asyncio.sleep(0.1)
            heard = await silence(caller, 0.3)
            assert len(cut_replies(server)) == count
            assert said_to_be_heard(server) <= heard - before + MARK
            before = heard
            ears.end("no wait stop that")
            await more_heard(caller, before)
        await caller.until_quiet(0.3)
        assert caller.heard_audio().endswith(server.spoken("Yes."))
    assert caller.protocol_errors == []


@each_carrier
@in_virtual_time(until=60)
async def test_a_sound_of_attention_holds_and_loses_no_word(line: Line) -> None:
    """What is cleared for a moment is sent again: nothing is wiped (vellum-assistant #37061)."""
    async with (
        serving(voice=line.voice, replies=[LONG]) as server,
        calling(line, server) as caller,
    ):
        ears = await server.ears()
        await caller.until_quiet(0.3)
        before = await answer(server, caller, ears, "tell me more")
        await asyncio.sleep(1.0)
        ears.start("mm-hm")
        await caller.wait_for("clear")
        ears.end("mm-hm")
        await until(lambda: "agent: " + LONG in server.agents[0].said, seconds=20.0)
        heard = caller.heard_seconds() - before
        whole = server.tts.seconds(LONG)
        assert whole <= heard + 0.05 < whole + 1.2
        assert not cut_replies(server)
    assert caller.protocol_errors == []


@in_virtual_time(until=60)
async def test_a_mark_of_before_the_clear_proves_nothing_when_it_comes_late() -> None:
    """Twilio returns a pending mark on clear like one that was played (vocode PR #586)."""
    async with (
        serving(replies=[LONG, "Yes."]) as server,
        calling(TWILIO, server, network=Network(latency=0.3)) as caller,
    ):
        ears = await server.ears()
        await caller.until_quiet(0.5)
        before = await answer(server, caller, ears, "tell me more")
        await asyncio.sleep(0.5)
        ears.start("no wait stop")
        await caller.wait_for("clear")
        await asyncio.sleep(0.4)
        marked = [one for one in caller.events if one.kind == "marked"]
        assert marked[-1].time > [one for one in caller.events if one.kind == "clear"][-1].time
        assert said_to_be_heard(server) <= await silence(caller) - before + MARK


@in_virtual_time(until=60)
async def test_no_sound_of_the_reply_that_was_cut_is_in_the_next_one() -> None:
    """Neither a resampler nor a rest of a frame carries any over (timbal #112)."""
    tts = ScriptedTTS()  # has to be resampled
    async with (
        serving(tts=tts, replies=[LONG, "Yes."]) as server,
        calling(TWILIO, server) as caller,
    ):
        ears = await server.ears()
        await caller.until_quiet(0.3)
        alone = caller.heard_audio()
        await answer(server, caller, ears, "tell me more")
        await asyncio.sleep(0.5)
        ears.start("no wait stop")
        await caller.wait_for("clear")
        heard = len(caller.heard_audio())
        ears.end("no wait stop that")
        await until(lambda: len(caller.heard_audio()) > heard)
        await caller.until_quiet(0.3)
        after = caller.heard_audio()[heard:]
    async with serving(tts=ScriptedTTS(), replies=["Yes."]) as server:
        async with calling(TWILIO, server) as caller:
            ears = await server.ears()
            await caller.until_quiet(0.3)
            assert caller.heard_audio() == alone
            ears.start("no wait stop")
            ears.end("no wait stop that")
            await until(lambda: server.llm.requests)
            await until(lambda: len(caller.heard_audio()) > len(alone))
            await caller.until_quiet(0.3)
            fresh = caller.heard_audio()[len(alone) :]
    assert after == fresh
