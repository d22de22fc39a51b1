"""The OpenAI language model's connections, as the server sees them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentkit.core.history import UserMessage
from agentkit.llm import LLMEvent, LLMRequest
from agentkit.llm.openai import OpenAILLM, preload
from agentkit.testing.openai import ChatReply, Delays, Fault, ScriptedOpenAI

ASK = LLMRequest("Be short.", (UserMessage("When do you open?", 1),))


@pytest.fixture
async def server() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI(ChatReply("We open at nine.")) as server:
        yield server


@pytest.fixture
async def llm(server: ScriptedOpenAI) -> AsyncIterator[OpenAILLM]:
    llm = OpenAILLM(base_url=server.base_url)
    yield llm
    await llm.aclose()


async def everything(llm: OpenAILLM) -> list[LLMEvent]:
    return [event async for event in llm.stream(ASK)]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_T3_closing_the_stream_closes_the_request(
    server: ScriptedOpenAI, llm: OpenAILLM
) -> None:
    server.chat = ChatReply("a b c d", delays=Delays(first_token=0, per_token=10))
    loop = asyncio.get_running_loop()
    stream = llm.stream(ASK)
    await anext(stream)
    closed = loop.time()
    await stream.aclose()
    await server.until(lambda: server.chats[0].closed_at is not None)
    seen = server.chats[0].closed_at
    assert seen is not None
    assert seen - closed < 0.5
    assert server.chats[0].tokens == 1


@pytest.mark.parametrize("after", [-1, 0, 2])
async def test_T3_cancelling_the_task_closes_the_request(
    server: ScriptedOpenAI, llm: OpenAILLM, after: int
) -> None:
    server.chat = ChatReply("a b c d", fault=Fault("stall", after=after))
    task = asyncio.create_task(everything(llm))
    await server.until(lambda: len(server.chats) == 1 and server.chats[0].tokens == max(after, 0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(lambda: server.chats[0].closed_at is not None)


async def test_T3_stream_given_up_before_it_began_opens_nothing(
    server: ScriptedOpenAI, llm: OpenAILLM
) -> None:
    await llm.stream(ASK).aclose()
    assert server.connections == 0


async def test_read_to_its_end_the_connection_is_used_again(
    server: ScriptedOpenAI, llm: OpenAILLM
) -> None:
    for _ in range(4):
        await everything(llm)
    assert {request.connection for request in server.chats} == {0}


async def test_connection_outlives_a_pause_in_the_call(
    server: ScriptedOpenAI, llm: OpenAILLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP clients forget a connection after 5 s, as a rule; here it may be idle for 240 s."""
    loop = asyncio.get_running_loop()
    now = loop.time
    await everything(llm)
    monkeypatch.setattr(loop, "time", lambda: now() + 120)
    await everything(llm)
    assert {request.connection for request in server.chats} == {0}
    monkeypatch.setattr(loop, "time", lambda: now() + 120 + 241)
    await everything(llm)
    assert server.chats[-1].connection != 0


async def test_T3_request_after_a_discard_finds_a_warm_connection(server: ScriptedOpenAI) -> None:
    """With a server that is 300 ms slow to accept, only a request without a spare shows it."""
    loop = asyncio.get_running_loop()
    server.delays = Delays(accept=0.3)
    server.chat = ChatReply("a b c", delays=Delays(per_token=10))
    llm = OpenAILLM(base_url=server.base_url)
    took = []
    for n in range(4):
        stream = llm.stream(ASK)
        asked = loop.time()
        await anext(stream)
        took.append(loop.time() - asked)
        await stream.aclose()
        await server.until(lambda n=n: server.accepted >= n + 2)  # type: ignore[misc]
    await llm.aclose()
    assert took[0] >= 0.3, "the control: without warm() before it, the first request pays"
    assert max(took[1:]) < 0.15
    assert len({request.connection for request in server.chats}) == 4


async def test_T3_warm_before_the_first_request(server: ScriptedOpenAI) -> None:
    loop = asyncio.get_running_loop()
    server.delays = Delays(accept=0.3)
    llm = OpenAILLM(base_url=server.base_url)
    await llm.warm()
    await server.until(lambda: server.accepted == 1)
    asked = loop.time()
    await everything(llm)
    assert loop.time() - asked < 0.15
    assert [request.path for request in server.requests] == ["/v1/chat/completions"]
    await llm.aclose()


async def test_T3_hundred_starts_and_cancels_leak_nothing(server: ScriptedOpenAI) -> None:
    before = asyncio.all_tasks()
    sockets = open_files()
    llm = OpenAILLM(base_url=server.base_url)
    await llm.warm()
    for n in range(100):
        server.chat = ChatReply("a b c", fault=Fault("stall", after=n % 3 - 1))
        task = asyncio.create_task(everything(llm))
        await server.until(lambda n=n: len(server.chats) == n + 1)  # type: ignore[misc]
        task.cancel()
        await asyncio.wait([task])
        await server.until(lambda n=n: server.chats[n].closed_at is not None)  # type: ignore[misc]
    assert server.open_connections <= 8, "nothing is open but what is kept ready"
    await llm.aclose()
    await llm.aclose()
    await server.until(lambda: server.open_connections == 0)
    for _ in range(5):  # asyncio frees a socket in the loop's round after it is lost
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert open_files() == sockets
    assert len(server.chats) == 100


async def test_preload_is_quick_the_second_time() -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(preload)
    begun = loop.time()
    preload()
    assert loop.time() - begun < 0.1
