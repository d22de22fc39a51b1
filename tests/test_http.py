"""HTTP/1.1 as servers speak it, well and badly."""

import asyncio
import contextlib
import gc
import gzip
import json
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx2
import pytest

from agentkit import _connections, _openai
from agentkit._connections import Connections
from agentkit.errors import ConfigError, LLMError

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nonetwo"
CLOSED = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nonetwo"
UNMEASURED = b"HTTP/1.1 200 OK\r\n\r\nonetwo"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nonetwo"
ASK = b"POST /v1/x HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"

Say = Callable[[asyncio.StreamWriter], Any]


class Server:
    """Answers each request with the next thing it was told to say, bytes or a coroutine.

    Attributes:
        served: for each request, the number of its connection.
        ended: connections that the client closed.
    """

    def __init__(self, *answers: bytes | Say) -> None:
        self.answers = list(answers)
        self.served: list[int] = []
        self.ended: set[int] = set()
        self.port = 0
        self.connections = 0
        self._changed = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        with contextlib.suppress(ConnectionError):
            while head := await self._head(reader):
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                await reader.readexactly(length)
                self.served.append(number)
                answer = self.answers.pop(0)
                if isinstance(answer, bytes):
                    writer.write(answer)
                    if answer in (CLOSED, UNMEASURED):
                        break
                elif await answer(writer) == "end":
                    break
        self.ended.add(number)
        self._changed.set()
        writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return b""

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@asynccontextmanager
async def serving(*answers: bytes | Say) -> AsyncIterator[tuple[Server, Connections]]:
    server = Server(*answers)
    listening = await asyncio.start_server(server._serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    connections = Connections("127.0.0.1", server.port, tls=None, spares=0)
    try:
        yield server, connections
    finally:
        await connections.aclose()
        listening.close()
        await server.until(lambda: len(server.ended) == server.connections)


async def read(connections: Connections, timeout: float = 5.0) -> bytes:
    async with aclosing(await connections.send(ASK, timeout)) as answer:
        return b"".join([part async for part in answer])


@pytest.mark.parametrize("answer", [CHUNKED, SIZED])
async def test_an_answer_with_an_end_leaves_the_connection_to_the_next_request(
    answer: bytes,
) -> None:
    async with serving(answer, answer, answer) as (server, connections):
        for _ in range(3):
            assert await read(connections) == b"onetwo"
        assert server.served == [0, 0, 0]


@pytest.mark.parametrize("answer", [CLOSED, UNMEASURED, OLD])
async def test_a_connection_that_the_server_gives_up_is_not_used_again(answer: bytes) -> None:
    async def say(writer: asyncio.StreamWriter) -> str:
        writer.write(answer)
        return "end" if answer != OLD else ""

    async with serving(say, CHUNKED) as (server, connections):
        assert await read(connections) == b"onetwo"
        assert await read(connections) == b"onetwo"
        assert server.served == [0, 1]


@pytest.mark.parametrize("answer", [CHUNKED, SIZED])
async def test_answers_may_be_cut_anywhere(answer: bytes) -> None:
    async def say(writer: asyncio.StreamWriter) -> None:
        for place in range(len(answer)):
            writer.write(answer[place : place + 1])
            await asyncio.sleep(0)

    async with serving(say, say) as (server, connections):
        assert await read(connections) == b"onetwo"
        assert await read(connections) == b"onetwo"
        assert server.served == [0, 0]


async def test_what_is_told_in_advance_is_no_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    async with (
        serving(b"HTTP/1.1 100 Continue\r\n\r\n" + early + SIZED) as (_, connections),
        aclosing(await connections.send(ASK, 5)) as answer,
    ):
        assert answer.status == 200
        assert answer.headers == {"content-length": "6"}
        assert [part async for part in answer] == [b"onetwo"]


async def test_an_answer_without_a_body_has_an_end() -> None:
    nothing = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with serving(nothing, SIZED) as (server, connections):
        assert await read(connections) == b""
        assert await read(connections) == b"onetwo"
        assert server.served == [0, 0]


async def test_what_follows_the_body_tells_nothing() -> None:
    trailed = CHUNKED.removesuffix(b"\r\n") + b"X-Took: 7\r\n\r\n"
    async with (
        serving(trailed) as (_, connections),
        aclosing(await connections.send(ASK, 5)) as answer,
    ):
        assert [part async for part in answer] == [b"one", b"two"]
        assert answer.headers == {"transfer-encoding": "chunked"}


@pytest.mark.parametrize("answer", [CHUNKED[:-7], SIZED[:-1], SIZED[:20]])
async def test_an_answer_that_is_cut_off_is_none(answer: bytes) -> None:
    async def say(writer: asyncio.StreamWriter) -> str:
        writer.write(answer)
        return "end"

    async with serving(say) as (_, connections):
        with pytest.raises(httpx2.RemoteProtocolError, match="cut off"):
            await read(connections)


@pytest.mark.parametrize(
    "answer",
    [
        b"220 smtp.example.org ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000,
        b"HTTP/1.1 103 Early Hints\r\nX-Many: yes\r\n\r\n" * 3_000,
    ],
)
async def test_what_is_no_answer_is_an_error_and_closes_the_connection(answer: bytes) -> None:
    async with serving(answer) as (server, connections):
        with pytest.raises(httpx2.RemoteProtocolError):
            await read(connections)
        await server.until(lambda: server.ended == {0})


async def test_more_than_was_asked_for_is_dropped_with_its_connection() -> None:
    async with serving(SIZED + SIZED, CHUNKED) as (server, connections):
        assert await read(connections) == b"onetwo"
        assert await read(connections) == b"onetwo"
        assert server.served == [0, 1]


async def test_an_idle_connection_on_which_something_came_is_not_used_again() -> None:
    loop = asyncio.get_running_loop()

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(SIZED)
        loop.call_later(0.01, writer.write, SIZED)

    async with serving(say, CHUNKED) as (server, connections):
        assert await read(connections) == b"onetwo"
        await server.until(lambda: server.ended == {0})
        assert await read(connections) == b"onetwo"
        assert server.served == [0, 1]


async def test_nothing_in_time() -> None:
    async def nothing(writer: asyncio.StreamWriter) -> None:
        pass

    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(SIZED[:-1])

    async with serving(nothing, half) as (server, connections):
        for _ in range(2):
            with pytest.raises(httpx2.ReadTimeout):
                await read(connections, 0.05)
        await server.until(lambda: server.ended == {0, 1})


async def test_a_slow_answer_has_as_long_as_it_goes_on() -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        for place in range(0, len(CHUNKED), 10):
            writer.write(CHUNKED[place : place + 10])
            await asyncio.sleep(0.04)

    async with serving(slowly) as (_, connections):
        assert await read(connections, 0.2) == b"onetwo"


async def test_closing_an_answer_that_has_not_all_come_closes_the_connection() -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(SIZED[:-1])

    async with serving(half) as (server, connections):
        async with aclosing(await connections.send(ASK, 5)) as answer:
            assert await anext(answer) == b"onetw"
        await server.until(lambda: server.ended == {0})


async def test_an_answer_that_is_over_is_no_garbage_that_has_to_be_found() -> None:
    """A collection stops all calls for a moment: what is made for each request goes by itself."""
    async with serving(*[CHUNKED] * 3) as (_, connections):
        await read(connections)
        gc.disable()
        try:
            answer = await connections.send(ASK, 5)
            assert [part async for part in answer] == [b"one", b"two"]
            await answer.aclose()
            gone = weakref.ref(answer)
            del answer
            assert gone() is None
        finally:
            gc.enable()


async def test_closing_all_ends_what_still_runs() -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(SIZED[:-1])

    async with serving(SIZED, half) as (server, connections):
        await read(connections)
        answer = await connections.send(ASK, 5)
        assert await anext(answer) == b"onetw"
        await connections.aclose()
        with pytest.raises(httpx2.ReadError, match="closed"):
            await anext(answer)
        await answer.aclose()
        await server.until(lambda: server.ended == {0})
        with pytest.raises(httpx2.ConnectError, match="closed"):
            await connections.send(ASK, 5)


async def test_idle_connections_are_kept_for_so_long_and_so_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_connections, "MOST_IDLE", 1)
    async with serving(*[SIZED] * 6) as (server, connections):
        assert await asyncio.gather(*[read(connections) for _ in range(3)]) == [b"onetwo"] * 3
        await server.until(lambda: len(server.ended) == 2)
        await read(connections)
        kept = server.served[-1]
        assert kept not in server.ended
        monkeypatch.setattr(_connections, "KEEP_ALIVE", -1.0)
        await read(connections)
        await server.until(lambda: kept in server.ended)
        assert server.served[-1] == 3


# --------------------------------------------------------------------------- the way to a server


def endpoint_of(server: Server) -> _openai.Endpoint:
    return _openai.Endpoint(api_key="sk-x", base_url=server.base_url, timeout=5, spares=1)


async def test_a_body_that_is_compressed_all_the_same_is_read() -> None:
    packed = gzip.compress(b"onetwo")
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    async with serving(answer % len(packed) + packed, SIZED) as (server, _):
        endpoint = endpoint_of(server)
        for _ in range(2):
            async with aclosing(await endpoint.post("/x", {}, accept="*/*")) as got:
                assert b"".join([part async for part in got]) == b"onetwo"
        await endpoint.aclose()
        assert server.served == [0, 0]


async def test_a_refusal_is_told_with_its_code_and_leaves_the_connection() -> None:
    said = json.dumps({"error": {"code": "model_not_found", "message": "private"}}).encode()
    head = b"HTTP/1.1 404 Not Found\r\nX-Request-Id: req_1\r\nContent-Length: %d\r\n\r\n"
    async with serving(head % len(said) + said, SIZED) as (server, _):
        endpoint = endpoint_of(server)
        with pytest.raises(_openai.ERRORS) as caught:
            await endpoint.post("/x", {}, accept="*/*")
        assert isinstance(caught.value, Exception)
        told = str(_openai.error_from(caught.value, LLMError, "openai/m"))
        assert "model_not_found" in told
        assert "req_1" in told
        assert "private" not in told
        async with aclosing(await endpoint.post("/x", {}, accept="*/*")) as got:
            assert got.status == 200
            assert [part async for part in got] == [b"onetwo"]
        await endpoint.aclose()
        assert server.served == [0, 0]


@pytest.mark.parametrize("key", ["sk-x\r\nX-Other: 1", "sk-\N{EN DASH}x", "sk\x00"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        _openai.Endpoint(api_key=key, base_url="http://127.0.0.1:1/v1", timeout=5, spares=1)
    assert "sk" not in str(caught.value)
