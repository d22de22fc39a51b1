"""Code of the user's own that misbehaves: the call goes on, and nobody waits for ever.

Where a test answers a report it names it: P is pipecat-ai/pipecat.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from agentkit import Agent, Turn, tool
from agentkit.core.history import ToolCall
from agentkit.errors import TTSError, UsageError
from agentkit.testing.backends import ScriptedLLM, ScriptedReply, ScriptedSpeech, ScriptedTTS
from agentkit.testing.clock import in_virtual_time
from agentkit.tts.base import SpeechEvent

Converse = Any


async def say_turn(talk: Any, words: str, *, after: float) -> None:
    talk.source.start(words)
    talk.source.maybe_end(words)
    await asyncio.sleep(0.3)
    talk.source.end(words)
    await asyncio.sleep(after)


async def wait_for_what_is_cancelled() -> None:
    """As a library does whose own task was cancelled: the CancelledError comes out of it."""
    inner = asyncio.ensure_future(asyncio.sleep(10))
    asyncio.get_running_loop().call_later(0.1, inner.cancel)
    await inner


@pytest.mark.parametrize("read_only", [True, False])
@in_virtual_time()
async def test_P3661_a_tool_that_is_cancelled_from_inside_has_failed(
    converse: Converse, read_only: bool
) -> None:
    """Also P#3548, P#5779: it counted as running for ever, and the agent fell silent."""

    class Looker(Agent):
        def __init__(self) -> None:
            self.errors: list[object] = []

        @tool(read_only=read_only)
        async def look(self) -> str:
            """Look it up."""
            await wait_for_what_is_cancelled()
            return "found"

        async def on_error(self, error: object) -> None:
            self.errors.append(error)

    call = ToolCall("c1", "look", "{}")
    llm = ScriptedLLM([ScriptedReply("", tools=(call,)), "I cannot look it up."])
    async with converse(Looker(), llm=llm) as talk:
        await say_turn(talk, "look it up", after=5.0)
        assert talk.history[-2:] == ["tool: look failed.", "assistant: I cannot look it up."]
        assert [type(error) for error in talk.agent.errors] == [RuntimeError]


@in_virtual_time()
async def test_T7_a_brain_that_is_cancelled_from_inside_is_apologised_for(
    converse: Converse,
) -> None:
    class Brain(Agent):
        async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
            await wait_for_what_is_cancelled()
            yield "never"

    async with converse(Brain()) as talk:
        await say_turn(talk, "hello", after=8.0)
        assert talk.history == ["user: hello", f"assistant: {Agent.apology}"]


@in_virtual_time()
async def test_P2999_a_brain_that_takes_no_notice_goes_no_further_than_its_next_word(
    converse: Converse,
) -> None:
    """It swallows the cancellation, and would hold up the end of the call."""

    class Stubborn(Agent):
        said = 0

        async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1.0)
                self.said += 1
                yield "And so on. "

    async with converse(Stubborn()) as talk:
        await say_turn(talk, "hello", after=3.5)
        said = talk.agent.said
        ended = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - ended < 0.1
    assert talk.agent.said == said + 1


class Fading(ScriptedTTS):
    """A voice that gives up in the middle of a reply once ``broken`` is set."""

    broken = False

    def open(self, voice: str | None = None) -> ScriptedSpeech:
        if not self.broken:
            return super().open(voice)
        stream = FadingSpeech(self, voice, None)
        self.streams.append(stream)
        return stream


class FadingSpeech(ScriptedSpeech):
    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        await wait_for_what_is_cancelled()
        async for event in super().__aiter__():
            yield event


@in_virtual_time()
async def test_T7_a_voice_that_is_cancelled_from_inside_is_apologised_for(
    converse: Converse,
) -> None:
    tts = Fading()
    async with converse(tts=tts, llm=ScriptedLLM(lambda request: "Sure, I can do that.")) as talk:
        await asyncio.sleep(5.0)  # the apology is voiced
        tts.broken = True
        await say_turn(talk, "hello", after=8.0)
        assert talk.history == ["user: hello", f"assistant: {Agent.apology}"]


class Words:
    """Words that come slowly, and an account of what became of them."""

    def __init__(self) -> None:
        self.ended = False

    async def tell(self) -> AsyncGenerator[str, None]:
        try:
            yield "One moment please. "
            await asyncio.sleep(1.0)
            yield "Here it is."
        finally:
            self.ended = True


@in_virtual_time()
async def test_P3627_words_that_are_still_coming_survive_a_second_attempt(
    converse: Converse,
) -> None:
    """The voice fails while they come: what came after was missing."""
    words, tts = Words(), ScriptedTTS(first_byte=0.2)
    async with converse(tts=tts) as talk:
        await asyncio.sleep(5.0)
        tts.fail_next(TTSError("down", failure="server"))
        handle = await talk.session.say(words.tell())
        assert handle.heard == "One moment please. Here it is."
        assert words.ended
        assert len(tts.streams) == 3, "the apology's and two attempts"


@in_virtual_time()
async def test_words_that_nobody_wants_any_more_are_let_go(converse: Converse) -> None:
    words = Words()
    async with converse() as talk:
        handle = talk.session.say(words.tell())
        await asyncio.sleep(0.5)
        handle.cancel()
        await handle
        await asyncio.sleep(0)
        assert words.ended


@in_virtual_time()
async def test_words_that_fail_are_apologised_for(converse: Converse) -> None:
    async def words() -> AsyncGenerator[str, None]:
        yield "One moment please."
        await asyncio.sleep(0.1)
        raise ValueError("oops")

    async with converse() as talk:
        await asyncio.sleep(5.0)
        await talk.session.say(words())
        await asyncio.sleep(8.0)
        assert talk.history == ["assistant: One moment please.", f"assistant: {Agent.apology}"]


@in_virtual_time()
async def test_P4765_a_session_does_not_hold_a_second_call_in_silence(conversation: Any) -> None:
    """What was used again dropped all speech without a word."""
    talk = conversation(Agent())
    async with talk.session:
        running = asyncio.ensure_future(talk.session.run())
        await talk.source.ready()
        talk.line.hang_up_remote()
        await running
        with pytest.raises(UsageError, match="make another"):
            await talk.session.run()
