"""Whatever Flux does in a turn, the next one gets one answer: whole calls over a real socket.

The faults are those that Flux integrations have met: each is followed by an orderly turn, which
has to be answered once, with the history in order and no task left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agentkit import Agent, Limits
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.flux import FluxSource
from agentkit.session import Session
from agentkit.testing import FakeTransport, ScriptedFlux, ScriptedLLM, ScriptedTTS
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.flux import ScriptedCall

Fault = Callable[[ScriptedCall, ScriptedFlux], Awaitable[None]]
FAULTS: dict[str, Fault] = {}


def fault(made: Fault) -> Fault:
    FAULTS[made.__name__] = made
    return made


@fault
async def empty_end_of_turn(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.start("first words")
    await flow.end("")


@fault
async def end_without_start(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.end("first words")


@fault
async def words_before_start(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.update("first")
    await flow.start("first words")
    await flow.end("first words")


@fault
async def start_twice(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.start("first")
    await flow.start("first words")
    await flow.end("first words")


@fault
async def everything_twice(flow: ScriptedCall, _: ScriptedFlux) -> None:
    for say in (flow.start, flow.eager, flow.end):
        await say("first words")
        await flow.repeat()


@fault
async def resumed_without_eager(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.resume("first")
    await flow.end("first words")


@fault
async def chatter_of_empty_updates(flow: ScriptedCall, _: ScriptedFlux) -> None:
    for _n in range(50):
        await flow.update("")
    await flow.start("first words")
    await flow.end("first words")


@fault
async def noise_that_ends_by_timeout(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.start("")
    await flow.wait(2.0)
    await flow.end("", trigger="timeout")


@fault
async def unknown_things(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.send({"type": "Weather", "sky": "blue"})
    await flow.turn_info("HalfOfTurn", "first")
    await flow.send("no JSON at all")
    await flow.send(b"\x00\x01")
    await flow.start("first words", mood="fine")
    await flow.end("first words", trigger="moon")


@fault
async def a_warning(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.start("first words")
    await flow.warning("FORCE_END_TURN_NO_ACTIVE_TURN")
    await flow.end("first words")


@fault
async def an_error_then_a_close(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.start("first words")
    await flow.error("INTERNAL", "by the script")


@fault
async def closed_1011(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.start("first words")
    await flow.close(1011)


@fault
async def closed_without_a_code(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.start("first words")
    await flow.close_without_code()


@fault
async def broken_off_after_eager(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.start("first words")
    await flow.eager("first words")
    await flow.abort()


@fault
async def broken_off_twice(flow: ScriptedCall, flux: ScriptedFlux) -> None:
    await flow.start("first words")
    await flow.abort()
    again = await flux.connection(1)
    await again.heard(0.2)
    await again.abort()


@fault
async def stalled_in_a_turn(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.start("first words")
    await flow.eager("first words")
    await flow.stall()
    await flow.gone(timeout=60)


@fault
async def reads_blocked(flow: ScriptedCall, _: ScriptedFlux) -> None:
    await flow.start("first words")
    await flow.block_reads()  # it will not see the client go, either
    await flow.wait(8.0)


LOSSES = {
    "an_error_then_a_close": 1,
    "closed_1011": 1,
    "closed_without_a_code": 1,
    "broken_off_after_eager": 1,
    "broken_off_twice": 2,
    "stalled_in_a_turn": 1,
    "reads_blocked": 1,
}
"""How often the connection was lost; one failure is one loss."""


class Watch:
    def __init__(self) -> None:
        self.commands: list[Any] = []
        self.events: list[Any] = []

    def __call__(self, _now: float, event: Any, commands: Any) -> None:
        self.events.append(event)
        self.commands += commands

    def of(self, kind: type[Any]) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]


class Clerk(Agent):
    limits = Limits(end_of_turn=2.0)


async def talk(line: FakeTransport) -> None:
    """The caller's microphone: frames of 20 ms, each when it has been said."""
    frame = bytes(range(1, 65)) * 10
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        line.feed(frame)
        due += 0.02
        await asyncio.sleep(max(0.0, due - loop.time()))


@pytest.mark.parametrize("name", FAULTS)
@in_virtual_time(until=300)
async def test_after_the_fault_a_turn_gets_one_answer(name: str) -> None:
    """One error for one failure, starts that come twice, ends without a start, among others."""
    watch, line = Watch(), FakeTransport()
    before = asyncio.all_tasks()
    async with ScriptedFlux() as flux:
        session = Session(
            Clerk(),
            line,
            flux=FluxSource(url=flux.url),
            llm=ScriptedLLM(lambda request: f"Answer to {request.messages[-1].text}."),
            tts=ScriptedTTS(per_character=0.02),
            observers=[watch],
        )
        async with session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            flow = await flux.connection()
            speaking = tasks.create_task(talk(line))
            await flow.heard(0.5)
            await FAULTS[name](flow, flux)
            await asyncio.sleep(8.0)
            flow = flux.calls[-1]
            await flow.start("what time is it")
            await flow.eager("what time is it")
            await asyncio.sleep(0.3)
            await flow.end("what time is it")
            await asyncio.sleep(4.0)
            speaking.cancel()
            line.hang_up_remote()
            record = await running
    said = [message.text for message in record.messages]
    assert said[-2].endswith("what time is it"), said
    assert said[-1] == f"Answer to {said[-2]}."
    assert " ".join(said).count("what time is it") == 2, "once asked, once answered"
    closed = [command.turn for command in watch.of(cmd.TurnClosed)]
    assert sorted(closed) == [command.turn for command in watch.of(cmd.TurnCommitted)]
    lost = sum(isinstance(event, ev.SourceLost) for event in watch.events)
    assert lost == LOSSES.get(name, 0)
    if name != "noise_that_ends_by_timeout":
        assert "first" in said[0], "no word was lost"
    await asyncio.sleep(1.0)
    assert not asyncio.all_tasks() - before
