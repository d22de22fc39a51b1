"""Tools while speculating, in whole calls: rules T6, T19, T20 and T24."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from agentkit import Agent, Call, Limits, UserMessage, tool
from agentkit.core.history import ToolCall
from agentkit.errors import LLMError, UsageError
from agentkit.testing.backends import ScriptedLLM, ScriptedReply, ScriptedTTS
from agentkit.testing.clock import in_virtual_time

Converse = Any


def asks(*names: str, text: str = "") -> ScriptedReply:
    calls = tuple(ToolCall(f"{name}-id", name, "{}") for name in names)
    return ScriptedReply(text, tools=calls)


class Clinic(Agent):
    """Looks things up and books; takes note of what was really done."""

    def __init__(self, *, slow: float = 0.0) -> None:
        self.slow = slow
        self.done: list[str] = []
        self.cancelled: list[str] = []
        self.keys: list[str] = []
        self.turns: list[str] = []

    @tool(read_only=True)
    async def hours(self) -> str:
        """When we are open."""
        try:
            await asyncio.sleep(self.slow)
        except asyncio.CancelledError:
            self.cancelled.append("hours")
            raise
        self.done.append("hours")
        return "nine to five"

    @tool(timeout=5)
    async def book(self, call: Call) -> str:
        """Book an appointment."""
        self.keys.append(call.id)
        await asyncio.sleep(self.slow)
        self.done.append("book")
        return "booked"

    @tool(timeout=5)
    async def send(self) -> str:
        """Send a confirmation."""
        self.done.append("send")
        return "sent"

    async def on_turn(self, turn: Any) -> None:
        self.turns.append(turn.text)


async def drafted(talk: Any, words: str = "when are you open", lead: float = 1.0) -> None:
    talk.source.start(words)
    await asyncio.sleep(0.2)
    talk.source.maybe_end(words)
    await asyncio.sleep(lead)


@in_virtual_time()
async def test_T6_a_lookup_in_a_draft_is_ready_at_the_commit(converse: Converse) -> None:
    llm = ScriptedLLM([asks("hours"), "From nine to five."], first_token=0.3)
    async with converse(Clinic(slow=0.2), llm=llm, tts=ScriptedTTS(first_byte=0.1)) as talk:
        await drafted(talk)
        assert talk.agent.done == ["hours"]
        talk.source.end("when are you open")
        assert talk.line.is_playing, "both of the model's steps were done ahead"
        await asyncio.sleep(3)
        assert len(llm.requests) == 2
        assert [request.draft for request in llm.requests] == [True, True]
        assert talk.agent.done == ["hours"]
        assert talk.history == [
            "user: when are you open",
            "assistant: ",
            "tool: nine to five",
            "assistant: From nine to five.",
        ]


@in_virtual_time()
async def test_T6_a_lookup_is_cancelled_with_its_draft(converse: Converse) -> None:
    llm = ScriptedLLM([asks("hours"), "Sure."])
    async with converse(Clinic(slow=3.0), llm=llm) as talk:
        await drafted(talk)
        before = len(asyncio.all_tasks())
        talk.source.resume("when are you open on")
        await asyncio.sleep(0.01)
        assert talk.agent.cancelled == ["hours"]
        assert len(asyncio.all_tasks()) < before
        assert talk.history == []


@in_virtual_time()
async def test_T6_an_effect_waits_for_the_turn_to_settle_while_audio_does_not(
    converse: Converse,
) -> None:
    llm = ScriptedLLM([asks("book", text="I will book that."), "It is booked."])
    async with converse(Clinic(), llm=llm) as talk:
        await drafted(talk, "book Friday")
        talk.source.end("book Friday")
        assert talk.line.is_playing
        await asyncio.sleep(0.5)
        assert talk.agent.done == []
        await asyncio.sleep(0.2)
        assert talk.agent.done == ["book"]
        await asyncio.sleep(5)
        assert talk.agent.done == ["book"]
        assert talk.agent.keys == ["book-id"]
        assert len(llm.requests) == 2


@in_virtual_time()
async def test_T6_an_effect_of_an_end_that_was_taken_back_never_runs(converse: Converse) -> None:
    llm = ScriptedLLM([asks("book"), "For how many people?"])
    async with converse(Clinic(), llm=llm) as talk:
        await drafted(talk, "book Friday")
        talk.source.end("book Friday")
        await asyncio.sleep(0.3)
        talk.source.start("no Monday")
        talk.source.end("no Monday")
        await asyncio.sleep(5)
        assert talk.agent.done == []
        assert talk.history[0] == "user: book Friday no Monday"
        assert talk.agent.turns == ["book Friday no Monday"]


@in_virtual_time()
async def test_T6_effects_run_in_the_order_of_the_model(converse: Converse) -> None:
    llm = ScriptedLLM([asks("book", "hours", "send"), "All done."])
    async with converse(Clinic(slow=0.4), llm=llm) as talk:
        await drafted(talk, "book Friday")
        talk.source.end("book Friday")
        await asyncio.sleep(5)
        assert talk.agent.done == ["hours", "book", "send"]
        results = [message.text for message in llm.requests[1].messages[-3:]]
        assert results == ["booked", "nine to five", "sent"], "results in the order of the calls"


@in_virtual_time()
async def test_ids_that_come_again_are_told_apart(converse: Converse) -> None:
    """Some servers count a reply's calls from 0 in each request."""
    llm = ScriptedLLM([asks("hours"), asks("hours"), "From nine to five."])
    async with converse(Clinic(), llm=llm) as talk:
        await drafted(talk)
        talk.source.end("when are you open")
        await asyncio.sleep(3)
        assert talk.agent.done == ["hours", "hours"]
        assert talk.history[-1] == "assistant: From nine to five."


@in_virtual_time()
async def test_T19_an_effect_outlives_the_call_to_its_timeout(conversation: Any) -> None:
    talk = conversation(Clinic(slow=60.0), llm=ScriptedLLM([asks("book", text="Booking."), "."]))
    loop = asyncio.get_running_loop()
    async with talk.session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(talk.session.run())
        await talk.source.ready()
        talk.source.connected()
        await drafted(talk, "book Friday")
        talk.source.end("book Friday")
        await asyncio.sleep(1.0)
        talk.line.hang_up_remote()
        hung_up = loop.time()
        record = await running
    assert 4.0 < loop.time() - hung_up <= 5.0
    assert "did not answer within 5 seconds" in record.messages[-1].text


@in_virtual_time()
async def test_a_lookup_does_not_outlive_the_call(converse: Converse) -> None:
    loop = asyncio.get_running_loop()
    async with converse(Clinic(slow=15.0), llm=ScriptedLLM([asks("hours"), "."])) as talk:
        await drafted(talk)
        talk.source.end("when are you open")
        await asyncio.sleep(1.0)
        ended = loop.time()
    assert loop.time() - ended < 0.1
    assert talk.agent.cancelled == ["hours"]


class Patient(Clinic):
    filler = "Hm, one moment."
    limits = Limits(filler_after=1.0)

    @tool(read_only=True, filler="Let me look at the calendar.")
    async def calendar(self) -> str:
        """The next free day."""
        await asyncio.sleep(3.0)
        return "Friday"


@in_virtual_time()
async def test_T20_a_slow_tool_is_bridged_by_its_own_filler(converse: Converse) -> None:
    llm = ScriptedLLM([asks("calendar"), "Friday is free."])
    async with converse(Patient(), llm=llm) as talk:
        await drafted(talk, lead=0.1)
        talk.source.end("when are you open")
        await asyncio.sleep(8)
        assert talk.history[-2:] == [
            "assistant: Let me look at the calendar.",
            "assistant: Friday is free.",
        ]
        assert len(llm.requests) == 2


@in_virtual_time()
async def test_T20_a_slow_model_is_bridged_by_the_agents_filler(converse: Converse) -> None:
    async with converse(Patient(), llm=ScriptedLLM(["We are."], first_token=1.8)) as talk:
        talk.source.start("are you open")
        talk.source.end("are you open")
        await asyncio.sleep(6)
        assert talk.history == [
            "user: are you open",
            "assistant: Hm, one moment.",
            "assistant: We are.",
        ]


@pytest.mark.parametrize("seed", range(40))
@in_virtual_time(until=4000)
async def test_T6_no_double_no_orphan_whatever_is_cancelled_when(
    seed: int, conversation: Any
) -> None:
    """A call in which the caller, the tools and the model come at random moments."""
    rng = random.Random(seed)
    count = 0

    def answer(request: Any) -> ScriptedReply:
        nonlocal count
        count += 1
        if any(type(m).__name__ == "ToolMessage" for m in request.messages[-3:]):
            return ScriptedReply("All right, that is done for you now.")
        names = rng.choice([["book"], ["hours", "book"], ["hours"], ["book", "send"], []])
        calls = tuple(ToolCall(f"{name}{count}", name, "{}") for name in names)
        return ScriptedReply(rng.choice(["", "One moment please."]), tools=calls)

    agent = Clinic(slow=rng.choice([0.0, 0.1, 0.7]))
    before = asyncio.all_tasks()
    talk = conversation(agent, llm=ScriptedLLM(answer, first_token=0.2, per_token=0.02))
    async with talk.session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(talk.session.run())
        await talk.source.ready()
        talk.source.connected()
        for number in range(12):
            words = f"request {number}"
            talk.source.start(words)
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(rng.random())
                talk.source.maybe_end(words)
                await asyncio.sleep(rng.random() / 2)
                words += " and"
                talk.source.resume(words)
            talk.source.maybe_end(words)
            await asyncio.sleep(rng.random() / 2)
            talk.source.end(words)
            await asyncio.sleep(rng.choice([0.1, 0.3, 0.8, 3.0, 8.0]))
        talk.line.hang_up_remote()
        record = await running
    await asyncio.sleep(1)
    assert not asyncio.all_tasks() - before, "a task is left one second after the call"
    assert max(Counter(agent.keys).values(), default=0) <= 1, "an effect ran twice"
    assert {turn.outcome for turn in record.turns} <= {"heard", "merged", "cut_off", "silent"}
    said = " ".join(m.text for m in record.messages if isinstance(m, UserMessage))
    assert all(f"request {number}" in said for number in range(12)), "words were lost"
    assert len(set(agent.turns)) == len(agent.turns), "on_turn twice for a turn"


@in_virtual_time()
async def test_T24_what_was_done_for_a_settled_turn_is_not_done_again(converse: Converse) -> None:
    """The effect behind `settled()` has happened, nothing was heard, and the caller goes on."""

    class Brain(Agent):
        def __init__(self) -> None:
            self.done: list[str] = []
            self.turns: list[str] = []

        async def on_turn(self, turn: Any) -> None:
            self.turns.append(turn.text)

        async def reply(self, turn: Any) -> Any:
            await turn.settled()
            self.done.append(turn.text)
            await asyncio.sleep(1.0)
            yield "It is booked for you."

    async with converse(Brain()) as talk:
        talk.source.start("book a table")
        talk.source.end("book a table")
        await asyncio.sleep(1.0)
        talk.source.start("for two")
        await asyncio.sleep(0.5)
        talk.source.end("for two")
        await asyncio.sleep(5)
        assert talk.agent.done == talk.agent.turns == ["book a table", "for two"]
        assert talk.history == [
            "user: book a table for two",
            "assistant: It is booked for you.",
        ]


@in_virtual_time()
async def test_T24_settled_returns_also_in_a_second_attempt(converse: Converse) -> None:
    class Brain(Agent):
        attempts = 0

        async def reply(self, turn: Any) -> Any:
            self.attempts += 1
            if self.attempts == 1:
                await asyncio.sleep(1.0)
                raise LLMError("down", failure="server")
            await turn.settled()
            yield "Here you are, all is done."

    async with converse(Brain()) as talk:
        talk.source.start("hello")
        talk.source.end("hello")
        await asyncio.sleep(5)
        assert talk.history[-1] == "assistant: Here you are, all is done."


@in_virtual_time()
async def test_a_brain_runs_the_agents_tools_and_reads_its_prompt(converse: Converse) -> None:
    class Brain(Clinic):
        async def reply(self, turn: Any) -> Any:
            told = self.session.prompt()
            assert told[-1] == UserMessage(turn.text, turn.id)
            found = await self.session.run_tools([ToolCall("a", "hours", "{}")])
            yield f"{found[0].text}.\n"
            done = await self.session.run_tools([ToolCall("a", "book", "{}")])
            yield f"It is {done[0].text}."

    async with converse(Brain()) as talk:
        await drafted(talk, "book Friday")
        assert talk.agent.done == ["hours"]
        talk.source.end("book Friday")
        await asyncio.sleep(5)
        assert talk.agent.done == ["hours", "book"]
        assert talk.agent.keys == ["a-2"], "a key is used once"
        assert talk.history == [
            "user: book Friday",
            "assistant: ",
            "tool: nine to five",
            "assistant: nine to five.",
            "tool: booked",
            "assistant: It is booked.",
        ]
        with pytest.raises(UsageError, match="inside Agent"):
            talk.session.prompt()


@in_virtual_time()
async def test_T7_an_own_brain_that_fails_in_a_draft_is_silent(
    converse: Converse, capsys: pytest.CaptureFixture[str]
) -> None:
    class Brain(Agent):
        def __init__(self) -> None:
            self.errors: list[object] = []

        async def reply(self, turn: Any) -> Any:
            if turn.is_draft:
                raise RuntimeError("the words of the caller")
            yield "Good morning to you."

        async def on_error(self, error: Any) -> None:
            self.errors.append(error)

    async with converse(Brain()) as talk:
        await drafted(talk, "hello")
        talk.source.end("hello")
        await asyncio.sleep(3)
        assert talk.agent.errors == []
        assert talk.history[-1] == "assistant: Good morning to you."
    assert "the words" not in capsys.readouterr().out
