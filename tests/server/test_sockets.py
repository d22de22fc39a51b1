"""The application's WebSockets: messages handed over as they arrive, and sending without waiting.

Real sockets: uvicorn as `agentkit serve` sets it up on one side, the `websockets` package's client
on the other.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agentkit.carriers.base import Message
from agentkit.carriers.twilio import TwilioCodec
from agentkit.server.run import Server, uvicorn_config
from agentkit.server.sockets import DirectProtocol, SocketWire
from agentkit.transports.phone import PhoneTransport, admit

Serve = Callable[[SocketWire], Awaitable[None]]
whose: ContextVar[str] = ContextVar("whose", default="nobody's")


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[str]:
    """A server whose one socket is given to a function; its URL."""

    async def route(websocket: WebSocket) -> None:
        await websocket.accept()
        await serve(SocketWire(websocket))

    server = Server(uvicorn_config(Starlette(routes=[WebSocketRoute("/", route)])))
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110  uvicorn has no other way to tell
        await asyncio.sleep(0.01)
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        await serving


class Taken:
    """What was handed over, with the socket it came on."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.contexts: set[str] = set()
        self._changed = asyncio.Event()

    def __call__(self, message: Message) -> None:
        self.messages.append(message)
        self.contexts.add(whose.get())
        self._changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.messages) < count:
                self._changed.clear()
                await self._changed.wait()


async def test_messages_are_handed_over_in_order_behind_those_that_wait() -> None:
    """None is lost or overtaken, and only those from before come through `receive`."""
    taken, received = Taken(), []
    handed = asyncio.Event()
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(wire: SocketWire) -> None:
        await handed.wait()
        whose.set("this call's")
        wire.hand_over(taken)
        while (message := await wire.receive()) is not None:
            received.append(message)
            taken(message)
        ended.set_result(None)

    async with served(serve) as url, connect(url) as client:
        for number in range(5):
            await client.send(str(number))
        await asyncio.sleep(0.05)
        handed.set()
        await taken.until(5)
        await client.send(["5", "", "0"])  # one message in three frames
        await client.send(b"\x00")
        for number in range(100):
            await client.send(str(number))
        await taken.until(107)
        await client.close()
        await asyncio.wait_for(ended, 10)
    assert taken.messages == ["0", "1", "2", "3", "4", "50", b"\x00", *map(str, range(100))]
    assert received == ["0", "1", "2", "3", "4"]
    assert taken.contexts == {"this call's"}


async def test_text_that_is_none_closes_the_socket() -> None:
    """1007: "data within a message that was not consistent with the type" (RFC 6455, 7.4.1)."""
    taken = Taken()

    async def serve(wire: SocketWire) -> None:
        wire.hand_over(taken)
        assert await wire.receive() is None

    async with served(serve) as url, connect(url) as client:
        await client.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1007
    assert taken.messages == []


async def test_what_can_be_sent_at_once_is_and_what_cannot_is_sent_in_its_turn() -> None:
    sent: list[bool] = []
    over = asyncio.Event()

    async def serve(wire: SocketWire) -> None:
        sent.append(wire.send_now("text"))
        sent.append(wire.send_now(b"binary"))
        while wire.send_now("x" * 10_000):  # until the client's socket is full
            sent.append(True)
        await wire.send("last")
        assert await wire.receive() is None
        sent.append(wire.send_now("too late"))
        over.set()

    async with served(serve) as url:
        async with connect(url, max_queue=1) as client:
            assert [await client.recv(), await client.recv()] == ["text", b"binary"]
            await asyncio.sleep(0.2)
            got = [await client.recv()]
            while got[-1] != "last":
                got.append(await client.recv())
        async with asyncio.timeout(10):
            await over.wait()
        assert sent.pop() is False
        assert got == ["x" * 10_000] * (len(sent) - 2) + ["last"]


async def test_without_the_protocol_messages_come_through_receive() -> None:
    """Another server of ASGI has no such extension."""
    taken, received = Taken(), []
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(wire: SocketWire) -> None:
        bare = SocketWire(WebSocketWithout(wire))
        bare.hand_over(taken)
        assert not bare.send_now("hello")
        await bare.send("hello")
        while (message := await bare.receive()) is not None:
            received.append(message)
        over.set_result(None)

    async with served(serve) as url, connect(url) as client:
        assert await client.recv() == "hello"
        await client.send("one")
        await client.close()
        await asyncio.wait_for(over, 10)
    assert (taken.messages, received) == ([], ["one"])


class WebSocketWithout(WebSocket):
    """A socket as another server would give it to the application."""

    def __init__(self, wire: SocketWire) -> None:
        theirs = wire._socket
        scope = {**theirs.scope, "extensions": {}}
        super().__init__(scope, theirs._receive, theirs._send)
        self.client_state = theirs.client_state
        self.application_state = theirs.application_state


START = json.dumps({"event": "start", "streamSid": "MZ1", "start": {"callSid": "CA1"}})
MEDIA = json.dumps({"event": "media", "streamSid": "MZ1", "media": {"payload": "AAAA"}})
STOP = json.dumps({"event": "stop", "streamSid": "MZ1", "stop": {}})


class Ears:
    """A sink that counts what it hears, and may not be up to it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.heard = 0
        self._error = error

    def audio(self, data: bytes) -> None:
        if self._error is not None:
            raise self._error
        self.heard += 1

    def marked(self, name: str) -> None:
        """Nothing was played."""

    def dtmf(self, digit: str) -> None:
        """No key is pressed."""


async def a_call(
    ears: Ears, say: Callable[[ClientConnection], Awaitable[None]]
) -> tuple[str | Exception, bool]:
    """How a call ended, and whether its messages were handed over."""
    ended: asyncio.Future[str | Exception] = asyncio.get_running_loop().create_future()
    direct = False

    async def serve(wire: SocketWire) -> None:
        nonlocal direct
        codec = TwilioCodec()
        transport = PhoneTransport(codec, wire, await admit(codec, wire))
        running = asyncio.create_task(transport.run(ears))
        for _ in range(3):  # it reads in a task of its own
            await asyncio.sleep(0)
        assert isinstance(wire._direct, DirectProtocol)
        direct = wire._direct.take is not None
        try:
            ended.set_result(await running)
        except ValueError as error:
            ended.set_result(error)
        await transport.aclose()

    async with served(serve) as url, connect(url) as client:
        await client.send(START)
        await say(client)
        return await asyncio.wait_for(ended, 10), direct


async def test_a_call_ends_with_its_stream_and_hears_nothing_after() -> None:
    async def say(client: ClientConnection) -> None:
        for message in (MEDIA, MEDIA, MEDIA, STOP, MEDIA):
            await client.send(message)

    ears = Ears()
    assert await a_call(ears, say) == ("caller hung up", True)
    assert ears.heard == 3


async def test_a_fault_while_hearing_ends_the_call_and_is_told() -> None:
    async def say(client: ClientConnection) -> None:
        await asyncio.sleep(0.1)
        await client.send(MEDIA)

    fault = ValueError("no ears")
    assert await a_call(Ears(fault), say) == (fault, True)
