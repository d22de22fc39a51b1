"""A conversation with an agent of the examples, and the model's server that its brain asks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agentkit.agent import Agent
from agentkit.loading import load_agent
from agentkit.session import CallRecord, Session
from agentkit.testing import FakeTransport, ScriptedLLM, ScriptedOpenAI, ScriptedSource, ScriptedTTS

BRAINS = Path(__file__).parent.parent.parent / "examples" / "brains"
FRAMEWORKS = ["openai_agents", "langgraph_graph"]


class Talk:
    """An agent, its caller, and all that became of the call."""

    def __init__(self, agent: Any) -> None:
        self.agent = agent
        self.agent.greeting = None
        self.agent.on_error = self._on_error
        self.errors: list[Any] = []
        self.source = ScriptedSource()
        self.line = FakeTransport()
        self.llm = ScriptedLLM([])
        tts = ScriptedTTS(per_character=0.01)
        self.session = Session(agent, self.line, flux=self.source, llm=self.llm, tts=tts)
        self.record: CallRecord | None = None

    async def _on_error(self, error: Any) -> None:
        self.errors.append(error)

    @property
    def history(self) -> list[str]:
        return [
            f"{type(message).__name__.removesuffix('Message').lower()}: {message.text}"
            for message in self.session.history
        ]

    def draft(self, words: str) -> None:
        """The caller may have finished."""
        self.source.start(words)
        self.source.maybe_end(words)

    async def until(self, condition: Callable[[], bool], within: float = 5.0) -> None:
        """Wait until something of the call is so."""
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110 - of what it asks, not all tells of a change
                await asyncio.sleep(0.005)


@asynccontextmanager
async def talking(agent: Agent) -> AsyncIterator[Talk]:
    """Hold a call beside the test; the caller hangs up at its end."""
    talk = Talk(agent)
    async with talk.session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(talk.session.run())
        await talk.source.ready()
        talk.source.connected()
        yield talk
        talk.line.hang_up_remote()
        talk.record = await running


@pytest.fixture
def converse() -> Callable[[Agent], Any]:
    return talking


@pytest.fixture
def plain() -> Any:
    return load_agent(str(BRAINS / "plain.py"))


class Framework:
    """An example that asks a model through a framework, and the server that it asks."""

    def __init__(self, name: str, server: ScriptedOpenAI) -> None:
        self.name = name
        self.server = server
        self.agent = load_agent(str(BRAINS / f"{name}.py"))

    async def aclose(self) -> None:
        """Close the client that the example keeps for the life of its process."""
        client = sys.modules[self.agent.__module__].CLIENT
        await (client.close() if self.name == "openai_agents" else client.aclose())


@pytest.fixture(params=FRAMEWORKS)
async def framework(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Framework]:
    async with ScriptedOpenAI() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        brain = Framework(request.param, server)
        yield brain
        await brain.aclose()
