"""A model or a voice that stalls, in calls of virtual time: rule T7, `Limits.stalled_reply`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from agentkit import Agent, Limits, Turn, tool
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall
from agentkit.testing.backends import (
    ScriptedLLM,
    ScriptedReply,
    ScriptedSpeech,
    ScriptedTTS,
)
from agentkit.testing.clock import in_virtual_time
from agentkit.tts.base import SpeechEvent

Converse = Any
NEVER = 1e6
"""Seconds."""
STALLS = ScriptedReply("Never said.", first_token=NEVER)
APOLOGY = "I am sorry."


class Sorry(Agent):
    apology = APOLOGY

    def __init__(self) -> None:
        self.errors: list[str] = []

    async def on_error(self, error: Any) -> None:
        self.errors.append(error.code)


class Stalling(ScriptedTTS):
    """A voice that stops in its streams of these numbers after so many seconds of speech."""

    def __init__(self, *numbers: int, after: float = 0.0) -> None:
        super().__init__()
        self.numbers, self.after = numbers, after

    def open(self, voice: str | None = None) -> ScriptedSpeech:
        stream = StallingSpeech(self, voice, None)
        stream.stalls = len(self.streams) in self.numbers
        self.streams.append(stream)
        return stream


class StallingSpeech(ScriptedSpeech):
    stalls = False

    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        made = 0.0
        async for event in super().__aiter__():
            if self.stalls and made >= self._tts.after:  # type: ignore[attr-defined]
                await self._cancelled.wait()
                return
            made += self._tts.chunk
            yield event


async def ask(talk: Any, words: str = "hello") -> None:
    talk.source.start(words)
    talk.source.end(words)


# ------------------------------------------------------------------------------------- the model


@in_virtual_time()
async def test_T7_a_model_that_never_answers_is_apologised_for(converse: Converse) -> None:
    llm = ScriptedLLM([STALLS, STALLS])
    agent = Sorry()
    async with converse(agent, llm=llm) as talk:
        await asyncio.sleep(1)
        begun = asyncio.get_running_loop().time()
        await ask(talk)
        await asyncio.sleep(20)
        assert talk.history == ["user: hello", f"assistant: {APOLOGY}"]
        assert talk.line.first_heard_at == pytest.approx(begun + 12.0, abs=0.1)
        assert agent.errors == ["llm.timeout"]
        llm.assert_complete()  # both requests are closed on the wire


@in_virtual_time()
async def test_T7_a_model_that_stops_after_its_first_words(converse: Converse) -> None:
    first = "Here is the first sentence of it."
    llm = ScriptedLLM([ScriptedReply(first + " And the second.", per_token=0.05)])

    class Stops(ScriptedLLM):
        async def stream(self, request: Any) -> AsyncGenerator[Any, None]:
            async for event in llm.stream(request):
                if llm.generations[-1].text == first + " And":
                    await asyncio.sleep(NEVER)
                yield event

    agent = Sorry()
    async with converse(agent, llm=Stops()) as talk:
        await ask(talk)
        await asyncio.sleep(20)
        assert talk.history == ["user: hello", f"assistant: {first}", f"assistant: {APOLOGY}"]
        assert agent.errors == ["llm.timeout"]


@in_virtual_time()
async def test_T7_a_caller_who_asks_again_does_not_wait_for_the_limit(converse: Converse) -> None:
    async with converse(Sorry(), llm=ScriptedLLM([STALLS, STALLS, "Here I am."])) as talk:
        await ask(talk)
        await asyncio.sleep(5)
        await ask(talk, "are you there")
        await asyncio.sleep(15)
        assert talk.history == ["user: hello are you there", "assistant: Here I am."]


@in_virtual_time()
async def test_T7_what_the_agent_says_unasked_stalls_too(converse: Converse) -> None:
    async with converse(Sorry(), llm=ScriptedLLM([STALLS, "It is about your order."])) as talk:
        handle = talk.session.reply("Say why you call.")
        async with asyncio.timeout(20):
            await handle
        assert handle.heard == "It is about your order."


@in_virtual_time()
async def test_T19_after_an_effect_the_reply_is_not_begun_again(converse: Converse) -> None:
    booked = []

    class Clerk(Sorry):
        @tool
        async def book(self) -> str:
            """Book it."""
            booked.append(1)
            await asyncio.sleep(15)
            return "booked"

    asks = ScriptedReply(tools=(ToolCall("a", "book", "{}"),))
    async with converse(Clerk(), llm=ScriptedLLM([asks, STALLS])) as talk:
        await ask(talk, "book it")
        await asyncio.sleep(40)
        assert talk.agent.errors == ["llm.timeout"]
        assert booked == [1]
        assert talk.history[-1] == f"assistant: {APOLOGY}"
        assert "tool: booked" in talk.history


# ------------------------------------------------------------------------------------- the voice


@in_virtual_time()
async def test_T7_a_voice_that_makes_no_sound_is_asked_once_more(converse: Converse) -> None:
    tts = Stalling(1)  # the first stream is the apology's
    llm = ScriptedLLM(["Sure, I can.", "Sure, I can do that."])
    async with converse(Sorry(), llm=llm, tts=tts) as talk:
        await asyncio.sleep(1)
        await ask(talk)
        await asyncio.sleep(20)
        assert talk.history == ["user: hello", "assistant: Sure, I can do that."]
        assert talk.agent.errors == []
        tts.assert_complete()


@in_virtual_time()
async def test_T7_a_voice_that_stops_in_the_midst(converse: Converse) -> None:
    tts = Stalling(1, after=1.0)
    llm = ScriptedLLM(["Sure, I can do that for you today."])
    async with converse(Sorry(), llm=llm, tts=tts) as talk:
        await asyncio.sleep(1)
        await ask(talk)
        await asyncio.sleep(20)
        assert talk.history == [
            "user: hello",
            "assistant: Sure, I can do",
            f"assistant: {APOLOGY}",
        ]
        assert talk.agent.errors == ["tts.timeout"]
        tts.assert_complete()


@in_virtual_time()
async def test_T7_a_greeting_is_told_again(converse: Converse) -> None:
    class Greeter(Sorry):
        greeting = "Rosewood Clinic."

    async with converse(Greeter(), tts=Stalling(0)) as talk:
        await asyncio.sleep(15)
        assert talk.history == ["assistant: Rosewood Clinic."]


@in_virtual_time()
async def test_T7_a_voice_that_is_down_for_good_ends_the_call(converse: Converse) -> None:
    """It was down before the apology could be voiced ahead."""

    class Greeter(Sorry):
        greeting = "Rosewood Clinic."

    async with converse(Greeter(), tts=Stalling(*range(9))) as talk:
        await asyncio.sleep(60)
    assert talk.reason == "failed"


# ------------------------------------------------------------------------ code of the user's own


@in_virtual_time()
async def test_T7_code_of_the_users_own_may_wait_as_long_as_it_likes(converse: Converse) -> None:
    class Patient(Sorry):
        async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
            await asyncio.sleep(60)
            yield "I have asked the warehouse."
            await asyncio.sleep(60)
            yield " It is there."

    async def slowly() -> AsyncIterator[str]:
        yield "One thing."
        await asyncio.sleep(60)
        yield " Another."

    async with converse(Patient()) as talk:
        await ask(talk)
        await asyncio.sleep(130)
        assert talk.history == [
            "user: hello",
            "assistant: I have asked the warehouse. It is there.",
        ]
        handle = talk.session.say(slowly())
        await handle
        assert handle.heard == "One thing. Another."


@in_virtual_time()
async def test_T7_the_model_that_such_code_asks_may_not(converse: Converse) -> None:
    class Wrapping(Sorry):
        async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
            await asyncio.sleep(30)
            async for text in self.session.generate(turn):
                yield text

    async with converse(Wrapping(), llm=ScriptedLLM([STALLS, "Here you are."])) as talk:
        await ask(talk)
        await asyncio.sleep(39.9)
        assert len(talk.llm.requests) == 1
        await asyncio.sleep(40)
        assert talk.history == ["user: hello", "assistant: Here you are."]


@in_virtual_time()
async def test_T7_a_model_whose_text_is_kept_back_goes_on(converse: Converse) -> None:
    class Collecting(Sorry):
        async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
            texts = [text async for text in self.session.generate(turn)]
            await asyncio.sleep(30)
            yield "".join(texts).upper()

    text = " ".join(["word"] * 20)
    async with converse(Collecting(), llm=ScriptedLLM([text], per_token=1.5)) as talk:
        await ask(talk)
        await asyncio.sleep(80)
        assert talk.history == ["user: hello", f"assistant: {text.upper()}"]
        told = [event for _, event, _ in talk.seen if isinstance(event, ev.ModelAnswered)]
        assert [event.end for event in told] == [False] * 19 + [True]


@in_virtual_time()
async def test_T7_the_machine_is_told_of_a_model_only_what_it_cannot_see(
    converse: Converse,
) -> None:
    async with converse(Sorry(), llm=ScriptedLLM(["So it is."], first_token=1.9)) as talk:
        await ask(talk)
        await asyncio.sleep(10)
        told = [event for _, event, _ in talk.seen if isinstance(event, ev.ModelAnswered)]
        assert told == [ev.ModelAnswered(0)]


@in_virtual_time()
async def test_T7_a_limit_of_0_waits_for_ever(converse: Converse) -> None:
    class Waiting(Sorry):
        limits = Limits(stalled_reply=0)

    late = ScriptedReply("At last.", first_token=500)
    async with converse(Waiting(), llm=ScriptedLLM([late, late])) as talk:
        await ask(talk)
        await asyncio.sleep(520)
        assert talk.history == ["user: hello", "assistant: At last."]
        assert not talk.of(cmd.ErrorRaised)
