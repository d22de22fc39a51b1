"""Three hundred turns with faults at random: fifty calls at once, in virtual time, on real sockets.

Every word that a caller says is unlike all others, so that the end can be checked word by word:
each stands in the history once, in the order it was said, and each turn has its one answer.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agentkit import Agent, Limits
from agentkit.core import commands as cmd
from agentkit.core.history import AssistantMessage, UserMessage
from agentkit.errors import LLMError
from agentkit.flux import FluxSource, FluxTimings
from agentkit.llm import LLMRequest
from agentkit.session import CallRecord, Session
from agentkit.testing import (
    FakeTransport,
    ScriptedCall,
    ScriptedFlux,
    ScriptedLLM,
    ScriptedReply,
    ScriptedTTS,
)
from agentkit.testing.clock import in_virtual_time

CALLS, TURNS = 50, 6
FRAME, STEP = 0.16, 0.08
COARSE = FluxTimings(tries=50, chunk=FRAME, catch_up=10.0, burst=1.0)
"""Times of the client's that keep the number of things to do low: how it sends is tested apart."""
PATIENCE = 45.0
"""Virtual seconds after which a turn without an end counts as starved."""


class Clerk(Agent):
    limits = Limits(end_of_turn=2.0)


def answer_to(text: str) -> str:
    """Names the caller's words, but in none of them: those would pass for an echo of the agent."""
    return f"You said {text[::-1]}. That is all there is to say."


class Grid(random.Random):
    """Chance in whole steps of time: the more happens at once, the less often the clock jumps."""

    def uniform(self, a: float, b: float) -> float:
        return round(super().uniform(a, b) / STEP) * STEP


class Model:
    """Answers what was said last, and now and then fails the first time."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._failed: set[str] = set()
        self.told_twice: list[str] = []

    def __call__(self, request: LLMRequest) -> ScriptedReply:
        said = " ".join(m.text for m in request.messages if isinstance(m, UserMessage)).split()
        self.told_twice += {word for word in said if said.count(word) > 1}
        text = request.messages[-1].text
        if text not in self._failed and self._chance.random() < 0.05:
            self._failed.add(text)
            return ScriptedReply(error=LLMError("by the script", failure="server"))
        return ScriptedReply(answer_to(text))


class Caller:
    """One call, and who speaks in it."""

    def __init__(self, number: int, flux: ScriptedFlux) -> None:
        self.chance = Grid(f"soak {number}")
        self.flux = flux
        self.line = FakeTransport()
        self.source = FluxSource(url=flux.url, timings=COARSE)
        self.model = Model(self.chance)
        self.llm = ScriptedLLM(self.model, first_token=0.16, per_token=0.08)
        self.commands: list[Any] = []
        self.said: list[str] = []
        self.faults: list[str] = []
        self.record: CallRecord | None = None

    def watch(self, _now: float, _event: Any, commands: Any) -> None:
        self.commands += commands

    def of(self, kind: type[Any]) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]

    async def call(self) -> None:
        session = Session(
            Clerk(),
            self.line,
            flux=self.source,
            llm=self.llm,
            tts=ScriptedTTS(per_character=0.02),
            observers=[self.watch],
        )
        async with session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            await self.flux.connection()
            microphone = tasks.create_task(self.breathe())
            for number in range(TURNS):
                await self.turn(number)
            await self.answered()
            microphone.cancel()
            self.line.hang_up_remote()
            self.record = await running

    async def breathe(self) -> None:
        """What the microphone hears: a frame whenever it is complete."""
        frame = bytes(range(1, 65)) * 80
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self.line.feed(frame)
            due += FRAME
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def turn(self, number: int) -> None:
        words = [f"{letter}{number}" for letter in "abcdef"[: self.chance.randint(2, 6)]]
        fault = self.chance.choice(FAULTS)
        self.faults.append(fault.__name__)
        await fault(self, await self.flow(), words)
        self.said += words
        match self.chance.choices(["hears it out", "goes on", "cuts in"], [6, 1, 1])[0]:
            case "hears it out":
                await self.answered()
                await self.a_while(0.7, 1.2)
            case "goes on":
                await self.a_while(0.0, 0.5)
            case "cuts in":
                await self.answered(begun=True)
                await self.a_while(0.8, 1.2)

    async def answered(self, *, begun: bool = False) -> None:
        """Wait until the words said last are answered, or the answer is begun."""
        last = self.said[-1]
        async with asyncio.timeout(PATIENCE):
            while True:
                turns = {c.turn for c in self.of(cmd.TurnCommitted) if last in c.text.split()}
                heard = {c.turn for c in self.of(cmd.TurnClosed) if c.outcome == "heard"}
                if turns & heard or (begun and turns and self.line.is_playing):
                    return
                await asyncio.sleep(FRAME)

    async def flow(self) -> ScriptedCall:
        """The connection in use; waits while there is none."""
        async with asyncio.timeout(PATIENCE):
            while self.flux.calls[-1].state != "open":
                self.flux.changed.clear()
                await self.flux.changed.wait()
        return self.flux.calls[-1]

    async def a_while(self, least: float = 0.1, most: float = 0.3) -> None:
        await asyncio.sleep(self.chance.uniform(least, most))


# -------------------------------------------------------------------- a turn, and what goes wrong

Fault = Callable[[Caller, ScriptedCall, list[str]], Awaitable[None]]
FAULTS: list[Fault] = []


def fault(made: Fault) -> Fault:
    FAULTS.append(made)
    return made


@fault
async def nothing(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    text = " ".join(words)
    await flow.start(words[0])
    await caller.a_while()
    await flow.update(" ".join(words[:2]))
    await caller.a_while()
    await flow.eager(text)
    await caller.a_while()
    await flow.end(text)


@fault
async def resumed(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await flow.start(words[0])
    for count in range(1, len(words)):
        text = " ".join(words[:count])
        await flow.eager(text)
        await caller.a_while()
        await flow.resume(text)
    await caller.a_while()
    await flow.end(" ".join(words))


@fault
async def no_start(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await caller.a_while()
    await flow.end(" ".join(words))


@fault
async def words_before_the_start(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await flow.update(words[0])
    await caller.a_while()
    await flow.start(" ".join(words[:2]))
    await caller.a_while()
    await flow.end(" ".join(words))


@fault
async def everything_twice(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    for say in (flow.start, flow.start, flow.eager, flow.end):
        await say(" ".join(words))
        await flow.repeat()
        await caller.a_while()


@fault
async def resumed_without_eager(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await flow.resume(words[0])
    await caller.a_while()
    await flow.end(" ".join(words))


@fault
async def empty_end(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await flow.start(words[0])
    await caller.a_while()
    await flow.eager(" ".join(words))
    await caller.a_while()
    await flow.end("")


@fault
async def empty_chatter(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await flow.start(" ".join(words))
    for _ in range(10):
        await flow.update("")
        await caller.a_while()
    await flow.end(" ".join(words))


@fault
async def unknown_things(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await flow.send({"type": "Weather", "sky": "blue"})
    await flow.start(words[0], mood="fine")
    await flow.turn_info("HalfOfTurn", words[0])
    await flow.send("no JSON at all")
    await flow.warning("FORCE_END_TURN_NO_ACTIVE_TURN")
    await caller.a_while()
    await flow.end(" ".join(words), trigger="moon")


@fault
async def noise(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await flow.start("")
    await caller.a_while(0.5, 2.0)
    await flow.end("", trigger="timeout")
    await nothing(caller, flow, words)


@fault
async def an_index_without_an_end(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await flow.start(words[0])
    await caller.a_while()
    flow.reset_index(flow.turn.index + 1)
    await flow.start(" ".join(words[1:]))
    await caller.a_while()
    await flow.end(" ".join(words[1:]))


@fault
async def configure_in_trouble(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    caller.flux.configure = caller.chance.choice(["accept", "ignore", "refuse"])
    caller.flux.configure_delay = caller.chance.uniform(0.0, 7.0)
    for _ in range(3):
        threshold = round(caller.chance.uniform(0.5, 0.9), 2)
        caller.source.configure({"eot_threshold": threshold, "eager_eot_threshold": 0.4})
    await nothing(caller, flow, words)


@fault
async def broken_between_turns(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await break_off(caller, flow)
    await nothing(caller, await caller.flow(), words)


@fault
async def broken_in_a_turn(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    """The new connection hears the words again from anywhere before the break."""
    known = caller.chance.randint(1, len(words) - 1)
    await flow.start(words[0])
    await caller.a_while()
    await flow.update(" ".join(words[:known]))
    await break_off(caller, flow)
    again = await caller.flow()
    text = " ".join(words[caller.chance.randint(0, known) :])
    begins = caller.chance.choice([again.start, again.update])
    await begins(text)
    await caller.a_while()
    await again.end(text)


@fault
async def broken_and_no_more_words(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    """The machine ends the turn; now and then its words come once more after that."""
    text = " ".join(words)
    await flow.start(text)
    if caller.chance.random() < 0.5:
        await flow.eager(text)
    await break_off(caller, flow)
    again = await caller.flow()
    await caller.a_while(2.1, 3.0)
    if caller.chance.random() < 0.5:
        await again.start(text)
        await again.end(text)


@fault
async def stalled(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    text = " ".join(words)
    await flow.start(words[0])
    await flow.eager(text)
    await flow.stall()
    await flow.gone(timeout=20)


@fault
async def reads_blocked(caller: Caller, flow: ScriptedCall, words: list[str]) -> None:
    await flow.start(" ".join(words))
    await flow.block_reads()  # it will not see the client go, either
    while len(caller.flux.calls) == flow.number + 1:
        await caller.a_while()


async def break_off(caller: Caller, flow: ScriptedCall) -> None:
    chance, flux = caller.chance, caller.flux
    flux.accept_delay = chance.choice([0.0, 0.0, 0.5])
    for _ in range(chance.choice([0, 0, 1, 2])):
        chance.choice([flux.drop, lambda: flux.refuse(503)])()
    match chance.choice(["abort", "1011", "no code", "error"]):
        case "abort":
            await flow.abort()
        case "1011":
            await flow.close(1011, "NET-0000")
        case "no code":
            await flow.close_without_code()
        case "error":
            await flow.error("INTERNAL")
    await flow.gone()


# --------------------------------------------------------------------------------- what must hold


def check(caller: Caller) -> None:
    assert caller.record is not None
    messages = caller.record.messages
    asked = [message for message in messages if isinstance(message, UserMessage)]
    told = " ".join(message.text for message in asked).split()
    assert told == caller.said, "every word once, in order"
    assert not caller.model.told_twice
    assert [type(m) for m in messages] == [UserMessage, AssistantMessage] * len(asked)
    for question, answer in zip(asked, messages[1::2], strict=True):
        assert isinstance(answer, AssistantMessage)
        whole = answer_to(question.text)
        assert answer.text == whole or (answer.interrupted and whole.startswith(answer.text))
    committed = [command.turn for command in caller.of(cmd.TurnCommitted)]
    outcomes = {command.turn: command.outcome for command in caller.of(cmd.TurnClosed)}
    assert len(committed) == len(set(committed)) == len(caller.of(cmd.TurnClosed))
    assert set(outcomes) == set(committed)
    assert set(outcomes.values()) <= {"heard", "merged"}
    assert list(outcomes.values()).count("heard") == len(asked)
    caller.llm.assert_complete()


def open_sockets() -> int:
    gc.collect()
    found = [thing for thing in gc.get_objects() if isinstance(thing, socket.socket)]
    return sum(thing.fileno() != -1 for thing in found)


@pytest.mark.timeout(90)
@in_virtual_time(until=3600)
async def test_three_hundred_turns_with_faults_are_each_answered_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentkit.flux.client.random", Grid("waits before another attempt"))
    before, sockets = asyncio.all_tasks(), open_sockets()
    servers = [ScriptedFlux() for _ in range(CALLS)]
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(soak(*pair)) for pair in enumerate(servers)]
    for caller in callers:
        check(caller.result())
    used = {name for caller in callers for name in caller.result().faults}
    assert used == {made.__name__ for made in FAULTS}
    await asyncio.sleep(2.0)
    assert not asyncio.all_tasks() - before
    assert open_sockets() == sockets
    assert all(flow.state == "closed" for server in servers for flow in server.calls)


async def soak(number: int, server: ScriptedFlux) -> Caller:
    async with server:
        caller = Caller(number, server)
        await caller.call()
    return caller
