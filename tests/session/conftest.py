"""A conversation in virtual time: a scripted source, model and voice, and a line with a clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agentkit.agent import Agent
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.session import CallRecord, Session
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS
from agentkit.testing.source import ScriptedSource
from agentkit.testing.transport import FakeTransport


class Conversation:
    """What a test of a session holds on to."""

    def __init__(self, agent: Agent, **kinds: Any) -> None:
        self.agent = agent
        self.source: ScriptedSource = kinds.get("source") or ScriptedSource()
        self.llm: ScriptedLLM = kinds.get("llm") or ScriptedLLM(["Sure, I can do that for you."])
        self.tts: ScriptedTTS = kinds.get("tts") or ScriptedTTS()
        self.line: FakeTransport = kinds.get("line") or FakeTransport()
        self.seen: list[tuple[float, ev.Event, tuple[cmd.Command, ...]]] = []
        self.session = Session(
            agent,
            self.line,
            flux=self.source,
            llm=self.llm,
            tts=self.tts,
            observers=[self.watch],
            economy=kinds.get("economy"),
        )
        self.record: CallRecord | None = None
        self.reason = ""

    def watch(self, now: float, event: ev.Event, commands: Any) -> None:
        self.seen.append((now, event, tuple(commands)))

    def of(self, kind: type[Any]) -> list[Any]:
        return [c for _, _, commands in self.seen for c in commands if isinstance(c, kind)]

    @property
    def history(self) -> list[str]:
        lines = []
        for message in self.session.history:
            who = type(message).__name__.removesuffix("Message").lower()
            cut = " (interrupted)" if getattr(message, "interrupted", False) else ""
            lines.append(f"{who}: {message.text}{cut}")
        return lines


@asynccontextmanager
async def conversing(agent: Agent | None = None, **kinds: Any) -> AsyncIterator[Conversation]:
    """Run a session beside the test; at the end the caller hangs up."""
    import asyncio

    talk = Conversation(agent or Agent(), **kinds)
    async with talk.session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(talk.session.run())
        await talk.source.ready()
        talk.source.connected()
        try:
            yield talk
        finally:
            talk.line.hang_up_remote()
            talk.record = await running
            talk.reason = talk.record.reason


@pytest.fixture
def converse() -> Callable[..., Any]:
    return conversing


@pytest.fixture
def conversation() -> type[Conversation]:
    return Conversation
