"""What an agent sets about listening, silence and handing over, in whole calls: T17, T23, T25."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentkit import Agent, Interruption, Session, Silence, Turn, UserMessage, tool
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall
from agentkit.errors import ConfigError, DraftFenceError, UsageError
from agentkit.testing.backends import ScriptedLLM, ScriptedReply, ScriptedTTS
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.source import ScriptedSource
from agentkit.testing.transport import FakeTransport

Converse = Any
LONG = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen."


async def say_turn(talk: Any, words: str, *, settle: float = 1.0) -> None:
    talk.source.start(words)
    talk.source.maybe_end(words)
    await asyncio.sleep(0.3)
    talk.source.end(words)
    await asyncio.sleep(settle)


# ------------------------------------------------------------------------------------ takes_floor


class Judge(Agent):
    def __init__(self, verdict: Any) -> None:
        self.asked: list[tuple[str, str]] = []
        self.verdict = verdict
        self.errors: list[object] = []

    def takes_floor(self, text: str, saying: str) -> bool | None:
        self.asked.append((text, saying))
        if isinstance(self.verdict, Exception):
            raise self.verdict
        found: bool | None = self.verdict
        return found

    async def on_error(self, error: Any) -> None:
        self.errors.append(error)


@pytest.mark.parametrize(
    ("verdict", "words", "interrupted"),
    [
        (False, "so I told him to wait", False),
        (True, "mm-hm", True),
        (None, "mm-hm", False),
        (None, "stop please", True),
        (ValueError("broken"), "stop please", True),
    ],
)
@in_virtual_time()
async def test_T17_the_agents_own_function_decides(
    verdict: Any, words: str, interrupted: bool, converse: Converse
) -> None:
    async with converse(Judge(verdict), llm=ScriptedLLM([LONG, "Yes?"])) as talk:
        await say_turn(talk, "count")
        talk.source.start(words)
        assert bool(talk.of(cmd.ReplyEnded)) is interrupted
        talk.source.end(words)
        assert talk.agent.asked[0] == (words, LONG)
        verdicts = [event for _, event, _ in talk.seen if isinstance(event, ev.FloorJudged)]
        assert bool(verdicts) is isinstance(verdict, bool), "it is in the record"
        await asyncio.sleep(0.1)
        assert bool(talk.agent.errors) is isinstance(verdict, Exception)


@in_virtual_time()
async def test_T17_nobody_is_asked_while_the_agent_is_silent(converse: Converse) -> None:
    async with converse(Judge(True), llm=ScriptedLLM(["Fine."])) as talk:
        await say_turn(talk, "hello")
        assert talk.agent.asked == []


# ----------------------------------------------------------------------------------------- keys


class Keypad(Agent):
    def __init__(self) -> None:
        self.pressed: list[str] = []
        self.answered: list[tuple[str, str]] = []

    async def on_dtmf(self, digits: str) -> None:
        self.pressed.append(digits)

    async def reply(self, turn: Turn) -> Any:
        self.answered.append((turn.text, turn.digits))
        yield "Thank you."


@in_virtual_time()
async def test_T25_keys_are_a_turn_of_their_own(
    converse: Converse, capsys: pytest.CaptureFixture[str]
) -> None:
    async with converse(Keypad()) as talk:
        await asyncio.sleep(0.1)
        talk.line.press("98127634")
        await asyncio.sleep(6)
        assert talk.agent.pressed == ["98127634"]
        assert talk.agent.answered == [("98127634", "98127634")]
        assert talk.history == ["user: 98127634", "assistant: Thank you."]
    output = capsys.readouterr()
    assert "98127634" not in output.out + output.err, "they never reach a log"


@in_virtual_time()
async def test_a_key_that_is_none_is_passed_over(converse: Converse) -> None:
    async with converse(Keypad()) as talk:
        await asyncio.sleep(0.1)
        talk.session.dtmf("x")
        talk.session.dtmf("")
        await asyncio.sleep(5)
        assert talk.agent.pressed == []


# ------------------------------------------------------------------------------------- silence


class Lonely(Agent):
    greeting = "Hello."
    silence = Silence(after=5.0, times=1, lines=("Are you there?",), farewell="Goodbye then.")

    def __init__(self) -> None:
        self.counts: list[int] = []

    async def on_silence(self, count: int) -> None:
        self.counts.append(count)


@in_virtual_time()
async def test_T23_a_silent_caller_is_asked_and_taken_leave_of(conversation: Any) -> None:
    talk = conversation(Lonely())
    async with talk.session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(talk.session.run())
        await talk.source.ready()
        talk.source.connected()
        record = await running
    assert talk.agent.counts == [1, 2]
    said = [message.text for message in record.messages]
    assert said == ["Hello.", "Are you there?", "Goodbye then."]
    assert talk.of(cmd.HangUp) == [cmd.HangUp("silence")]


@in_virtual_time()
async def test_T23_a_muted_caller_is_not_asked(converse: Converse) -> None:
    async with converse(Lonely()) as talk:
        await asyncio.sleep(2)
        talk.session.mute()
        await asyncio.sleep(30)
        assert talk.agent.counts == []
        talk.session.mute(False)
        await asyncio.sleep(5.5)
        assert talk.agent.counts == [1]


# ------------------------------------------------------------------------------------ hand over


class Billing(Agent):
    instructions = "You are billing."
    greeting = "Billing here."
    language = "de"
    interruption = Interruption(echo_words=0)

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def on_start(self) -> None:
        self.seen.append("start")

    async def on_turn(self, turn: Turn) -> None:
        self.seen.append(turn.text)


class Reception(Agent):
    instructions = "You are reception."

    def __init__(self, other: Agent) -> None:
        self.other = other
        self.seen: list[str] = []

    @tool
    async def to_billing(self) -> str:
        """Hand over to billing."""
        self.session.hand_over(self.other)
        return "Billing takes over."

    @tool(read_only=True)
    async def wrongly(self) -> str:
        """Hand over inside a draft."""
        try:
            self.session.hand_over(self.other)
        except DraftFenceError as error:
            self.seen.append(str(error))
        return "no"

    async def on_end(self, reason: str) -> None:
        self.seen.append(reason)


@in_virtual_time()
async def test_hand_over_carries_the_history_on(converse: Converse) -> None:
    billing = Billing()
    call = ToolCall("c1", "to_billing", "{}")
    llm = ScriptedLLM([ScriptedReply("", tools=(call,)), "I hand you over.", "Your bill is paid."])
    agent = Reception(billing)
    async with converse(agent, llm=llm) as talk:
        await say_turn(talk, "my bill please", settle=4.0)
        assert talk.history[-2:] == ["assistant: I hand you over.", "assistant: Billing here."]
        await say_turn(talk, "is it paid", settle=3.0)
        request = llm.requests[-1]
        assert request.instructions == "You are billing."
        assert not request.tools
        assert request.messages[0] == UserMessage("my bill please", 0)
        assert talk.session.agent is billing
        assert talk.session.policy.language == "de"
    assert agent.seen == ["handed over"]
    assert billing.seen == ["start", "is it paid"]
    with pytest.raises(UsageError, match="not in a conversation"):
        _ = billing.session
    with pytest.raises(UsageError, match="not in a conversation"):
        _ = agent.session


@in_virtual_time()
async def test_T24_no_hand_over_inside_a_draft(converse: Converse) -> None:
    call = ToolCall("c1", "wrongly", "{}")
    agent = Reception(Billing())
    async with converse(agent, llm=ScriptedLLM([ScriptedReply("", tools=(call,)), "Ok."])) as talk:
        talk.source.start("my bill")
        talk.source.maybe_end("my bill")
        await asyncio.sleep(0.5)
        assert "settled" in agent.seen[0] or "committed" in agent.seen[0]
        assert talk.session.agent is agent


@in_virtual_time()
async def test_hand_over_to_an_agent_that_is_busy(converse: Converse) -> None:
    agent = Reception(Billing())
    async with converse(agent) as talk:
        await asyncio.sleep(0.1)
        with pytest.raises(UsageError, match="in a call already"):
            talk.session.hand_over(agent)


@in_virtual_time()
async def test_hand_over_to_another_voice_and_model(converse: Converse) -> None:
    voice, model = ScriptedTTS(name="other"), ScriptedLLM(["Your bill is paid."])
    async with converse(Reception(Billing())) as talk:
        await asyncio.sleep(0.1)
        handle = talk.session.hand_over(Billing(), llm=model, tts=voice)
        assert (await handle).heard == "Billing here."
        await say_turn(talk, "is it paid", settle=3.0)
        assert [piece.text for piece in voice.pieces][1:] == ["Billing here.", "Your bill is paid."]
        assert len(model.requests) == 1


# --------------------------------------------------------------------------- names and objects


async def test_what_is_given_by_name_is_opened_for_the_call_and_closed_with_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    source, voice = ScriptedSource(), ScriptedTTS()
    session = Session(Agent(), FakeTransport(), flux=source, llm="local/script", tts=voice)
    async with session:
        assert session.llm.name.startswith("local/script")
        assert session.tts is voice
    assert source.closed
    assert not voice.closed, "what was given as an object stays open"


async def test_a_name_that_is_none_is_said_before_the_call(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="AGENTKIT_FLUX"):
        async with Session(Agent(), FakeTransport(), flux="deepgramm"):
            pass


# ---------------------------------------------------------------------------------------- mute


@in_virtual_time()
async def test_a_turn_that_began_while_muted_is_answered(converse: Converse) -> None:
    """pipecat#5425: its start was swallowed, and the caller unheard for the rest of the call."""
    async with converse(llm=ScriptedLLM(["Good morning to you."])) as talk:
        await asyncio.sleep(0.1)
        talk.session.mute()
        talk.source.start("hello")
        await asyncio.sleep(0.5)
        talk.session.mute(False)
        talk.source.end("hello there")
        await asyncio.sleep(3)
        assert talk.history == ["user: hello there", "assistant: Good morning to you."]


@in_virtual_time()
async def test_a_muted_caller_is_silence_to_the_source(converse: Converse) -> None:
    """dograh-hq/pipecat#52: speech during mute made phantom turns."""
    async with converse() as talk:
        await asyncio.sleep(0.1)
        loud = b"\x10\x20" * 320
        talk.line.feed(loud)
        talk.session.mute()
        talk.line.feed(loud)
        talk.session.mute(False)
        talk.line.feed(loud)
        assert talk.source.audio_fed() == loud + bytes(640) + loud, "its clock goes on"
