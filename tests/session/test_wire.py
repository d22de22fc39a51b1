"""What a discard leaves behind, with a model and a voice on real sockets: T3 and T5."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agentkit import Agent
from agentkit.llm.openai import OpenAILLM
from agentkit.session import Session
from agentkit.testing import ChatReply, Delays, FakeTransport, ScriptedOpenAI, ScriptedSource
from agentkit.tts.openai import OpenAITTS

LONG = "I can do that for you, of course. Let me think of the best way, and of the next best one."


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def throw_away(
    server: ScriptedOpenAI, source: ScriptedSource, words: str, *, voiced: bool
) -> None:
    """A turn whose draft is discarded while it is written, or while it is voiced as well."""
    asked, spoken = len(server.chats), len(server.speeches)
    source.start(words)
    source.maybe_end(words)
    await server.until(lambda: len(server.chats) > asked)
    if voiced:
        await server.until(lambda: len(server.speeches) > spoken)
    source.resume("")
    await server.until(lambda: server.chats[-1].closed_at is not None, within=1.0)
    source.end("")


async def hold(server: ScriptedOpenAI, drafts: int) -> tuple[Any, list[int]]:
    """A call in which so many drafts are thrown away while they are written and voiced."""
    llm = OpenAILLM("any", api_key="none", base_url=server.base_url)
    tts = OpenAITTS("any:alloy", api_key="none", base_url=server.base_url)
    source, line = ScriptedSource(), FakeTransport()
    counts: list[int] = []
    async with Session(Agent(), line, flux=source, llm=llm, tts=tts) as session:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(session.run())
            await source.ready()
            source.connected()
            await server.until(lambda: bool(server.speeches))  # the apology is voiced ahead
            await asyncio.sleep(0.2)
            tasks, files = asyncio.all_tasks(), open_files()
            for number in range(drafts):
                await throw_away(server, source, f"request {number}", voiced=number % 2 == 1)
            await asyncio.sleep(1.0)
            counts = [len(asyncio.all_tasks() - tasks), open_files() - files]
            assert not line.heard
            line.hang_up_remote()
            record = await running
    await llm.aclose()
    await tts.aclose()
    return record, counts


async def test_T3_discards_leave_no_task_and_no_socket_but_the_spares() -> None:
    """No orphan one second after: the warm spares are there before and after."""
    slow = Delays(first_token=0.005, per_token=0.02)
    async with ScriptedOpenAI(ChatReply(LONG, delays=slow)) as server:
        record, (tasks, files) = await hold(server, 12)
        assert record.drafts["begun"] == 12
        assert record.drafts.get("committed", 0) == 0
        assert tasks == 0
        # Both ends of a socket are in this process. The voice makes its spare at its first need.
        assert files <= 2, "what is open is a warm spare"
        assert all(chat.closed_at is not None for chat in server.chats)
