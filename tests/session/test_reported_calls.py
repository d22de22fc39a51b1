"""What users of other frameworks have reported about whole calls: here it holds, in virtual time.

Each test names the report: a repository's issue or pull request. LK is livekit/agents, JS
livekit/agents-js, P pipecat-ai/pipecat.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from agentkit import Agent, Limits, SpeechHandle, Turn, tool
from agentkit.core import commands as cmd
from agentkit.core.history import ToolCall
from agentkit.errors import SelfWaitError, UsageError
from agentkit.session.audio import AHEAD
from agentkit.testing.backends import ScriptedLLM, ScriptedReply, ScriptedSpeech, ScriptedTTS
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.source import ScriptedSource
from agentkit.tts.base import SpeechEvent

Converse = Any
LONG = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen."


async def say_turn(talk: Any, words: str, *, lead: float = 0.3, after: float = 0.0) -> None:
    """A turn with a draft, ``lead`` seconds before its end; then time passes."""
    talk.source.start(words)
    talk.source.maybe_end(words)
    await asyncio.sleep(lead)
    talk.source.end(words)
    await asyncio.sleep(after)


# --------------------------------------------------------------------------- drafts and replies


@in_virtual_time()
async def test_LK3414_code_of_the_users_own_runs_once_for_what_is_drafted_thrice(
    converse: Converse,
) -> None:
    """A node with side effects ran for every draft; here `on_turn` runs for the settled turn."""

    class Counting(Agent):
        def __init__(self) -> None:
            self.drafts = 0
            self.turns: list[str] = []

        async def on_turn(self, turn: Turn) -> None:
            self.turns.append(turn.text)

        async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
            self.drafts += turn.is_draft
            yield "Sure."
            await turn.settled()

    async with converse(Counting()) as talk:
        talk.source.start("book")
        for words in ("book", "book a", "book a table"):
            talk.source.maybe_end(words)
            await asyncio.sleep(0.1)
            talk.source.resume(words)
        talk.source.end("book a table")
        await asyncio.sleep(3)
        assert talk.agent.drafts == 3
        assert talk.agent.turns == ["book a table"]


@in_virtual_time()
async def test_LK6858_a_parked_draft_does_not_hold_up_a_hand_over(converse: Converse) -> None:
    class Other(Agent):
        instructions = "You are the other."

    llm = ScriptedLLM(["Drafted and parked.", "The other speaks."])
    async with converse(llm=llm) as talk:
        talk.source.start("hello")
        talk.source.maybe_end("hello")
        await asyncio.sleep(0.5)
        talk.source.resume("hello")
        assert talk.of(cmd.Park)
        talk.session.hand_over(Other())
        talk.source.end("hello")
        await asyncio.sleep(3)
        assert talk.history == ["user: hello", "assistant: The other speaks."]
        assert llm.requests[-1].instructions == "You are the other."


class Deaf(ScriptedTTS):
    """A voice that goes on speaking when it is told to stop."""

    def open(self, voice: str | None = None) -> ScriptedSpeech:
        stream = DeafSpeech(self, voice, None)
        self.streams.append(stream)
        return stream


class DeafSpeech(ScriptedSpeech):
    async def cancel(self) -> None:
        """It does not listen."""

    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        events = aiter(super().__aiter__())
        while True:
            waiting = asyncio.ensure_future(anext(events, None))
            while not waiting.done():
                try:
                    await asyncio.shield(waiting)
                except asyncio.CancelledError:
                    continue
            if (event := waiting.result()) is None:
                return
            yield event


@in_virtual_time()
async def test_JS2059_a_reply_whose_voice_does_not_stop_is_not_heard_again(
    converse: Converse,
) -> None:
    """Also P#3986, P#1942, P#754: it was heard in the midst of the next reply."""
    tts = Deaf(pace=1.0)
    llm = ScriptedLLM([LONG, "Yes?"])
    async with converse(llm=llm, tts=tts) as talk:
        await say_turn(talk, "count", after=2.0)
        talk.source.start("stop please")
        await asyncio.sleep(0.2)
        quiet_from = asyncio.get_running_loop().time()
        await asyncio.sleep(1.0)
        assert not talk.line.is_playing
        talk.source.end("stop please")
        await asyncio.sleep(9)
        heard = sum(len(h.data) for h in talk.line.heard if h.time >= quiet_from)
        assert heard == talk.line.output.size(tts.seconds("Yes?"))
        assert talk.history[-1] == "assistant: Yes?"


@in_virtual_time()
async def test_JS2059_what_it_makes_of_a_parked_draft_is_not_heard_twice(
    converse: Converse,
) -> None:
    """The draft is parked while its voice speaks, and is voiced once more when it is adopted."""
    text = "This is the answer to the question."
    tts = Deaf(pace=1.0)
    async with converse(llm=ScriptedLLM([text]), tts=tts) as talk:
        await asyncio.sleep(8.0)  # the apology is voiced
        talk.source.start("hello")
        talk.source.maybe_end("hello")
        await asyncio.sleep(1.0)
        talk.source.resume("hello")
        await asyncio.sleep(0.5)
        talk.source.end("hello")
        await asyncio.sleep(8.0)
        assert talk.of(cmd.Park)
        assert talk.of(cmd.Commit)
        assert talk.line.heard_seconds() == pytest.approx(tts.seconds(text), abs=0.001)
        assert talk.history == ["user: hello", f"assistant: {text}"]


@in_virtual_time()
async def test_P2941_many_pieces_are_heard_without_a_gap_and_without_a_word_of_the_caller(
    converse: Converse,
) -> None:
    """It stopped after the first sentence for 17 s, until the caller spoke."""
    text = " ".join(f"This is sentence number {number}." for number in range(8))
    tts = ScriptedTTS(first_byte=0.2)
    async with converse(llm=ScriptedLLM([text], per_token=0.02), tts=tts) as talk:
        await say_turn(talk, "tell me", after=30.0)
        assert talk.history[-1] == f"assistant: {text}"
        assert len(tts.pieces) >= 4
        assert talk.line.longest_gap() < 0.001


@in_virtual_time()
async def test_docs1049_no_more_speech_is_made_ahead_than_is_bounded(converse: Converse) -> None:
    """Audio that nobody had heard yet was kept without a bound."""
    text = " ".join(f"This is sentence number {number}." for number in range(100))
    tts = ScriptedTTS()
    async with converse(llm=ScriptedLLM([text]), tts=tts) as talk:
        await say_turn(talk, "tell me", after=5.0)
        made = sum(piece.seconds for piece in tts.pieces[1:])  # the first is the apology
        assert made < 5.0 + AHEAD + 1.0 < tts.seconds(text)


# ------------------------------------------------------------------------------ tools and waits


@in_virtual_time()
async def test_LK4413_what_a_tool_says_is_told_of_when_it_is_cut_off(converse: Converse) -> None:
    """The agent waited for silence for ever."""
    handles: list[SpeechHandle] = []

    class Talker(Agent):
        @tool
        async def book(self) -> str:
            """Book it."""
            handles.append(self.session.say(LONG))
            await asyncio.sleep(1.0)
            return "booked"

    call = ToolCall("c1", "book", "{}")
    llm = ScriptedLLM([ScriptedReply("", tools=(call,)), "Booked.", "Yes?"])
    async with converse(Talker(), llm=llm) as talk:
        await say_turn(talk, "book it", after=3.0)
        assert not handles[0].done
        talk.source.start("stop please")
        talk.source.end("stop please")
        async with asyncio.timeout(1):
            await handles[0]
        assert handles[0].interrupted
        await asyncio.sleep(3)
        assert talk.history[-1] == "assistant: Yes?"


@in_virtual_time()
async def test_LK4109_a_tool_that_waits_for_speech_behind_it_is_told_so(converse: Converse) -> None:
    """Also LK#5371, PR#7268: the two waited for each other."""
    seen: list[BaseException] = []

    class Waiter(Agent):
        @tool
        async def book(self) -> str:
            """Book it."""
            try:
                await self.session.say("I am booking it.")
            except SelfWaitError as error:
                seen.append(error)
            return "booked"

    call = ToolCall("c1", "book", "{}")
    llm = ScriptedLLM([ScriptedReply("", tools=(call,)), "It is booked."])
    async with converse(Waiter(), llm=llm) as talk:
        await say_turn(talk, "book it", after=6.0)
        assert len(seen) == 1
        assert talk.history[-2:] == ["assistant: It is booked.", "assistant: I am booking it."]


@in_virtual_time()
async def test_LK5371_hooks_may_wait_for_speech(converse: Converse) -> None:
    told: list[str] = []

    class Waiter(Agent):
        async def on_start(self) -> None:
            told.append((await self.session.say("Good morning.")).heard)

        async def on_turn(self, turn: Turn) -> None:
            told.append((await self.session.say("By the way.")).heard)

    async with converse(Waiter()) as talk:
        await asyncio.sleep(3)
        await say_turn(talk, "hello", after=6.0)
        assert told == ["Good morning.", "By the way."]


@in_virtual_time()
async def test_P4997_the_end_of_the_call_ends_speech_that_is_waited_for(converse: Converse) -> None:
    waited = []
    async with converse() as talk:
        handle = talk.session.say(LONG)
        later = talk.session.say("And more.")
        await asyncio.sleep(1.0)
        waited = [asyncio.ensure_future(one) for one in (_wait(handle), _wait(later))]
    heard = [await one for one in waited]
    assert heard[0]
    assert LONG.startswith(heard[0])
    assert heard[1] == ""


async def _wait(handle: SpeechHandle) -> str:
    return (await handle).heard


# ------------------------------------------------------------------------ the caller is heard


@in_virtual_time()
async def test_LK3261_all_the_callers_audio_reaches_the_source(converse: Converse) -> None:
    """Also P#2957: the first sound was lost at an interruption, or while the model connected."""
    fed = b""

    def speak(talk: Any, frames: int = 5) -> None:
        nonlocal fed
        for _ in range(frames):
            frame = bytes([1 + len(fed) // 640 % 250, 7]) * 320
            talk.line.feed(frame)
            fed += frame

    llm = ScriptedLLM([LONG, "Yes?"], first_token=3.0)
    async with converse(llm=llm) as talk:
        await asyncio.sleep(0.1)
        speak(talk)
        await say_turn(talk, "count", after=1.0)
        speak(talk)  # the model has not answered yet
        await asyncio.sleep(3.0)
        speak(talk)  # the agent speaks
        talk.source.start()
        speak(talk)  # it is held
        talk.source.update("stop please")
        speak(talk)
        assert talk.source.audio_fed() == fed


@in_virtual_time()
async def test_P5584_the_agent_can_end_the_callers_turn(converse: Converse) -> None:
    source = ScriptedSource()
    async with converse(source=source) as talk:
        await asyncio.sleep(0.1)
        talk.source.start("four seven one one")
        talk.session.end_turn()
        assert len(source.turns_ended_at) == 1
    async with converse(source=ScriptedSource(can_end_turn=False)) as talk:
        await asyncio.sleep(0.1)
        with pytest.raises(UsageError, match="cannot end a turn"):
            talk.session.end_turn()


@in_virtual_time()
async def test_P4848_a_turn_that_the_machine_ended_is_told_with_its_words(
    converse: Converse,
) -> None:
    """The handler of the timeout was told that there was no transcript."""
    told: list[str] = []

    class Listener(Agent):
        limits = Limits(end_of_turn=2.0)

        async def on_turn(self, turn: Turn) -> None:
            told.append(turn.text)

    async with converse(Listener()) as talk:
        await asyncio.sleep(0.1)
        talk.source.start("book a table")
        talk.source.lose()
        await asyncio.sleep(4.0)
        assert told == ["book a table"]
        assert talk.history[0] == "user: book a table"
