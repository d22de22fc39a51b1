"""What the caller said last, when the call ends before Flux has ended the turn."""

from __future__ import annotations

import asyncio

from agentkit import Agent
from agentkit.core import events as ev
from agentkit.core.history import UserMessage
from agentkit.flux import FluxSource
from agentkit.session import Session
from agentkit.testing import FakeTransport, ScriptedFlux, ScriptedLLM, ScriptedTTS
from agentkit.testing.clock import in_virtual_time


@in_virtual_time(until=60)
async def test_what_flux_still_had_to_say_of_an_open_turn_is_in_the_record() -> None:
    """Flux ends no turn at ``CloseStream``: a last Update has the words, and only that."""
    line, started = FakeTransport(), asyncio.Event()

    def watch(event: ev.Event) -> None:
        if isinstance(event, ev.TurnStarted):
            started.set()

    async with ScriptedFlux() as flux:
        session = Session(
            Agent(),
            line,
            flux=FluxSource(url=flux.url),
            llm=ScriptedLLM(),
            tts=ScriptedTTS(),
            observers=[lambda _now, event, _commands: watch(event)],
        )
        async with session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            flow = await flux.connection()
            line.feed(bytes(range(1, 65)) * 250)
            await flow.heard(0.48)
            await flow.start("how many")
            await started.wait()
            flow.turn.text = "how many do you have"
            line.hang_up_remote()
            record = await running
        assert flow.controls[-1] == {"type": "CloseStream"}
    said = [message.text for message in record.messages if isinstance(message, UserMessage)]
    assert said == ["how many do you have"]
    assert record.reason == "caller hung up"
