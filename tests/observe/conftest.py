"""A call that is really held, in virtual time: drafts, a pause, a backchannel, an interruption."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from agentkit import Agent, Session
from agentkit.observe import LiveView, RecordWriter
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS
from agentkit.testing.clock import run_virtual
from agentkit.testing.source import ScriptedSource
from agentkit.testing.transport import FakeTransport


class Greeter(Agent):
    greeting = "Good morning."


async def hold(path: Path, view: LiveView) -> None:
    """A greeting; a turn with a pause in it; one that is interrupted; a backchannel."""
    source, line = ScriptedSource(), FakeTransport()
    agent = Greeter()
    llm = ScriptedLLM(
        lambda request: "Certainly, I can do that for you right away. Which day?", first_token=0.2
    )
    with RecordWriter(path, agent.policy()) as writer:
        session = Session(
            agent, line, flux=source, llm=llm, tts=ScriptedTTS(), observers=[view, writer]
        )
        async with session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            await source.ready()
            source.connected()
            await asyncio.sleep(2)
            source.start("book a")
            source.maybe_end("book a table")
            await asyncio.sleep(0.3)
            source.resume("book a table for")
            source.maybe_end("book a table for two")
            await asyncio.sleep(0.5)
            source.end("book a table for two")
            await asyncio.sleep(1.2)
            source.start("mm-hm")
            source.end("mm-hm")
            await asyncio.sleep(0.8)
            source.start("no wait for three")
            source.end("no wait for three")
            await asyncio.sleep(6)
            line.hang_up_remote()
            await running


@pytest.fixture
def call(tmp_path: Path) -> tuple[Path, str]:
    shown = io.StringIO()
    path = tmp_path / "call" / "record.jsonl"
    run_virtual(hold(path, LiveView(shown, tty=False)))
    return path, shown.getvalue()
