"""`examples/brains/`: an OpenAI Agents SDK agent and a LangGraph graph, asking a scripted server.

The model's server, its protocol and the sockets are real, and so is the time.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentkit import ToolCall, tool
from agentkit.errors import DraftFenceError
from agentkit.testing import ChatReply, Delays

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "brains"
SLOW = Delays(first_token=0.05, per_token=0.2)
BOOK = ToolCall("call-1", "book", '{"name": "Ann", "when": "monday"}')
HOURS = ToolCall("call-1", "opening_hours", '{"day": "sunday"}')


def calls(call: ToolCall, after: str, say: str = "") -> Any:
    """The model asks for a tool, and answers once it has its result."""

    def answer(body: Mapping[str, Any]) -> ChatReply:
        if any(message["role"] == "tool" for message in body["messages"]):
            return ChatReply(after)
        return ChatReply(say, tool_calls=(call,))

    return answer


def conversation(request: Any) -> list[tuple[str, str]]:
    """What the model was told, without the system's part."""
    messages = [m for m in request.body["messages"] if m["role"] != "system"]
    return [(m["role"], m.get("content") or "") for m in messages]


def open_files() -> int:
    """How many files and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_T4_a_draft_is_committed_with_one_request(framework: Any, converse: Any) -> None:
    server = framework.server
    server.chat = [ChatReply("We open at eight."), ChatReply("Yes, until six.")]
    async with converse(framework.agent()) as talk:
        talk.draft("when do you open")
        await server.until(lambda: server.chats and server.chats[0].finished_at is not None)
        assert talk.line.heard == []
        talk.source.end("When do you open.")
        await talk.line.until_quiet(0.2)
        assert len(server.chats) == 1
        assert talk.history == ["user: When do you open.", "assistant: We open at eight."]
        talk.draft("and on friday")
        talk.source.end("and on friday")
        await talk.until(lambda: len(talk.history) == 4)
    assert len(server.chats) == 2
    assert conversation(server.chats[0]) == [("user", "when do you open")]
    assert conversation(server.chats[1]) == [
        ("user", "When do you open."),
        ("assistant", "We open at eight."),
        ("user", "and on friday"),
    ]
    assert not talk.errors
    assert not talk.llm.requests, "the session's own model has no part in it"


async def test_T3_a_discarded_draft_is_closed_on_the_wire(framework: Any, converse: Any) -> None:
    server = framework.server
    server.chat = [
        ChatReply("We open at eight in the morning every day.", delays=SLOW),
        ChatReply("On Sunday we are closed."),
    ]
    loop = asyncio.get_running_loop()
    async with converse(framework.agent()) as talk:
        tasks, files = asyncio.all_tasks(), open_files()
        talk.draft("when do you open")
        await server.until(lambda: server.chats and server.chats[0].tokens >= 2)
        assert server.open_connections == 1
        talk.source.resume("when do you open on")
        discarded = loop.time()
        await server.until(lambda: server.chats[0].closed_at is not None, within=1.0)
        await asyncio.sleep(discarded + 1.0 - loop.time())
        assert asyncio.all_tasks() <= tasks
        assert server.open_connections == 0
        assert open_files() <= files
        assert talk.history == []
        talk.source.end("when do you open on sunday")
        await talk.line.until_quiet(0.2)
        assert talk.history == [
            "user: when do you open on sunday",
            "assistant: On Sunday we are closed.",
        ]
    assert conversation(server.chats[1]) == [("user", "when do you open on sunday")]
    assert len(server.chats) == 2
    assert not talk.errors


async def test_T24_an_effect_of_a_discarded_draft_never_happens(
    framework: Any, converse: Any
) -> None:
    server = framework.server
    server.chat = [ChatReply("", tool_calls=(BOOK,)), ChatReply("For which day?")]
    async with converse(framework.agent()) as talk:
        tasks = asyncio.all_tasks()
        talk.draft("book it for Ann")
        await server.until(lambda: server.chats and server.chats[0].finished_at is not None)
        await asyncio.sleep(0.2)
        assert asyncio.all_tasks() > tasks, "the tool waits for the turn to settle"
        talk.source.resume("book it for Ann no")
        await asyncio.sleep(1.0)
        assert asyncio.all_tasks() <= tasks
        talk.source.end("book it for Ann no")
        await talk.line.until_quiet(0.2)
        await asyncio.sleep(0.7)
        assert talk.history == ["user: book it for Ann no", "assistant: For which day?"]
    assert talk.agent.booked == {}
    assert not talk.errors


async def test_T6_an_effect_happens_once_without_asking_again(
    framework: Any, converse: Any
) -> None:
    server = framework.server
    server.chat = calls(BOOK, "It is booked.", say="One moment, I am booking that.")
    loop = asyncio.get_running_loop()
    async with converse(framework.agent()) as talk:
        talk.draft("book it for Ann")
        await server.until(lambda: server.chats and server.chats[0].finished_at is not None)
        talk.source.end("book it for Ann")
        ended = loop.time()
        await talk.until(lambda: talk.line.heard_seconds() > 0.05)
        assert talk.agent.booked == {}, "audio does not wait for settling, effects do"
        await talk.until(lambda: bool(talk.agent.booked))
        assert talk.agent.limits.settle <= loop.time() - ended < talk.agent.limits.settle + 1.0
        await talk.until(lambda: talk.history[-1] == "assistant: It is booked.")
        await talk.line.until_quiet(0.2)
        assert talk.history[1:] == [
            "assistant: One moment, I am booking that.",
            "tool: booked for Ann, monday",
            "assistant: It is booked.",
        ]
    assert len(server.chats) == 2
    assert conversation(server.chats[1])[-1] == ("tool", "booked for Ann, monday")
    assert talk.agent.booked == {"Ann": "monday"}
    assert talk.record.drafts["committed"] == 1
    assert not talk.errors


async def test_T6_what_only_reads_runs_in_the_draft(framework: Any, converse: Any) -> None:
    server = framework.server
    server.chat = calls(HOURS, "We are closed on Sunday.")
    async with converse(framework.agent()) as talk:
        talk.draft("are you open on sunday")
        await server.until(
            lambda: len(server.chats) == 2 and server.chats[1].finished_at is not None
        )
        assert conversation(server.chats[1])[-1] == ("tool", "closed on sunday")
        await asyncio.sleep(0.1)
        talk.source.end("are you open on sunday")
        await talk.until(lambda: talk.line.heard_seconds() > 0, within=1.0)
        await talk.line.until_quiet(0.2)
        assert talk.history[-1] == "assistant: We are closed on Sunday."
    assert len(server.chats) == 2
    assert not talk.errors


async def test_T11_no_effect_for_an_end_that_was_taken_back(framework: Any, converse: Any) -> None:
    server = framework.server
    server.chat = [ChatReply("", tool_calls=(BOOK,)), ChatReply("All right, I won't.")]
    async with converse(framework.agent()) as talk:
        talk.draft("book it for Ann")
        await server.until(lambda: server.chats and server.chats[0].finished_at is not None)
        talk.source.end("book it for Ann")
        await asyncio.sleep(0.1)
        talk.source.start("oh no")
        await asyncio.sleep(1.0)
        talk.source.end("oh no please don't")
        await talk.line.until_quiet(0.2)
        await asyncio.sleep(0.7)
        assert talk.history == [
            "user: book it for Ann oh no please don't",
            "assistant: All right, I won't.",
        ]
    assert talk.agent.booked == {}
    assert not talk.errors


async def test_T19_an_effect_that_has_begun_outlives_an_interruption(
    framework: Any, converse: Any
) -> None:
    server = framework.server
    server.chat = calls(BOOK, "You are booked already.", say="One moment, I am booking that.")
    begun, may_end = asyncio.Event(), asyncio.Event()

    class Slow(framework.agent):  # type: ignore[misc]
        @tool
        async def book(self, name: str, when: str) -> str:
            """Book an appointment."""
            begun.set()
            await may_end.wait()
            self.booked[name] = when
            return f"booked for {name}, {when}"

    agent = Slow()
    async with converse(agent) as talk:
        talk.draft("book it for Ann")
        talk.source.end("book it for Ann")
        await asyncio.wait_for(begun.wait(), 5)
        talk.source.start("what did you say")
        await asyncio.sleep(0.1)
        assert agent.booked == {}
        may_end.set()
        await talk.until(lambda: bool(agent.booked))
        talk.source.end("what did you say")
        await talk.until(lambda: talk.history[-1] == "assistant: You are booked already.")
        assert talk.history.count("tool: booked for Ann, monday") == 1
    assert len(server.chats) == 2
    assert ("tool", "booked for Ann, monday") in conversation(server.chats[1])
    assert not talk.errors


async def test_T24_verbs_in_a_draft_name_the_seam(
    framework: Any, converse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside a tool, which the framework may run in a task of its own."""
    server = framework.server
    server.chat = calls(BOOK, "It is booked.")
    agent = framework.agent()
    reply = sys.modules[framework.agent.__module__].Reply
    really = reply.run

    async def hasty(self: Any, call: ToolCall) -> Any:
        agent.session.say("One moment.")
        return await really(self, call)

    monkeypatch.setattr(reply, "run", hasty)
    async with converse(agent) as talk:
        talk.draft("book it for Ann")
        await talk.until(lambda: bool(talk.errors))
        found = [error for error in causes(talk.errors[0]) if isinstance(error, DraftFenceError)]
        assert len(found) == 1
        assert "session.say()" in str(found[0])
        assert "turn.settled()" in str(found[0])
        talk.source.end("book it for Ann")
        await talk.until(lambda: "assistant: It is booked." in talk.history)
    assert agent.booked == {"Ann": "monday"}


def causes(error: BaseException | None) -> list[BaseException]:
    return [error, *causes(error.__cause__)] if error is not None else []


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("openai_agents", ("agents", "openai", "mcp")),
        ("langgraph_graph", ("langgraph", "langchain_openai", "openai", "langsmith")),
    ],
)
def test_the_first_reply_of_a_process_imports_no_framework(
    name: str, packages: tuple[str, ...]
) -> None:
    """All of it comes with the example's own module, before any call."""
    code = FIRST_REPLY.format(file=str(EXAMPLES / f"{name}.py"))
    env = {**os.environ, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "none"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    late = [module for module in ran.stdout.split() if module.split(".")[0] in packages]
    assert late == []


FIRST_REPLY = """
import asyncio, sys
from agentkit.loading import load_agent
from agentkit.testing import ChatReply, FakeTransport, ScriptedLLM, ScriptedOpenAI, ScriptedSource
from agentkit.testing import ScriptedTTS
import os, socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
os.environ["OPENAI_BASE_URL"] = f"http://127.0.0.1:{{port}}/v1"
agent = load_agent({file!r})
from agentkit.session import Session

async def main():
    server = ScriptedOpenAI(ChatReply("Hello."))
    await server.start(port)
    source, line = ScriptedSource(), FakeTransport()
    session = Session(agent(), line, flux=source, llm=ScriptedLLM([]), tts=ScriptedTTS())
    async with session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(session.run())
        await source.ready()
        source.connected()
        before = set(sys.modules)
        source.end("hello")
        async with asyncio.timeout(10):
            while not server.chats or server.chats[0].finished_at is None:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        print(*(set(sys.modules) - before))
        line.hang_up_remote()
    await server.aclose()

asyncio.run(main())
"""
