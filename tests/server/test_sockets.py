"""The application's WebSockets: messages handed over as they arrive, and sending without waiting.

Real sockets: uvicorn as `agentkit serve` sets it up on one side, the `websockets` package's client
on the other.
"""

from __future__ import annotations

import asyncio
import json
import random
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
    """A server whose one socket is given to a function, accepted; its URL."""

    async def route(websocket: WebSocket) -> None:
        await websocket.accept()
        await serve(SocketWire(websocket))

    async with serving(route) as url:
        yield url


@asynccontextmanager
async def serving(route: Callable[[WebSocket], Awaitable[None]]) -> AsyncIterator[str]:
    """A server with one route; its URL."""
    server = Server(uvicorn_config(Starlette(routes=[WebSocketRoute("/", route)])))
    listener = socket.create_server(("127.0.0.1", 0))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110  uvicorn has no other way to tell
        await asyncio.sleep(0.01)
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        await running


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
        sent.append(wire.send_now("text", b"binary"))
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
        assert got == ["x" * 10_000] * (len(sent) - 1) + ["last"]


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


def frame(first: int, payload: bytes, mask: bytes = b"\x07\x70\x01\xff") -> bytes:
    """A frame as it stands on the wire; without a mask, as only a server may send it."""
    size = len(payload)
    if size < 126:
        head = bytes([first, size | 0x80])
    elif size < 2**16:
        head = bytes([first, 126 | 0x80]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 127 | 0x80]) + size.to_bytes(8, "big")
    if not mask:
        return bytes([head[0], head[1] & 0x7F]) + head[2:] + payload
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


TEXT, BINARY, CLOSE, PING = 0x81, 0x82, 0x88, 0x89
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def upgraded(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket that the test writes to byte by byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url[:-1].rpartition(":")[2]))
    writer.write(UPGRADE)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return reader, writer


@asynccontextmanager
async def handed_over(taken: Taken) -> AsyncIterator[str]:
    """A server whose socket's messages are handed over before the client can send one."""

    async def serve(wire: SocketWire) -> None:
        wire.hand_over(taken)
        assert await wire.receive() is None

    async with served(serve) as url:
        yield url


@pytest.mark.parametrize("seed", range(8))
async def test_messages_are_read_however_their_bytes_arrive(seed: int) -> None:
    """Whole, in parts, several at once; pings between them are answered, fragments put together."""
    chance = random.Random(seed)
    sizes = (0, 1, 125, 126, 127, 4000, 65_535, 160, 160)
    texts = ["é" * (size // 2) + "." * (size % 2) for size in sizes]
    wire = b"".join(frame(TEXT, text.encode()) for text in texts)
    wire += frame(PING, b"?") + frame(BINARY, b"\x00\xff")
    wire += frame(0x01, b"be") + frame(PING, b"!") + frame(0x80, b"gun")
    wire += frame(TEXT, b"after a message in fragments") + frame(BINARY, b"last")
    longest = (3, 50, 500, 5000, 70_000, len(wire), 20, 2000)[seed]
    taken = Taken()
    async with handed_over(taken) as url:
        reader, writer = await upgraded(url)
        at = 0
        while at < len(wire):
            # Enough of them that reading finds ends of all kinds, too few to take seconds.
            step = chance.randint(1, longest) if at < 5000 or at > len(wire) - 500 else 5000
            writer.write(wire[at : at + step])
            at += step
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await taken.until(len(texts) + 4)
        pongs = b"\x8a\x01?\x8a\x01!"
        assert await asyncio.wait_for(reader.readexactly(len(pongs)), 10) == pongs
        writer.write(frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"too late"))
        assert (await asyncio.wait_for(reader.read(), 10)) == b"\x88\x02\x03\xe8"
        writer.close()
    assert taken.messages == [
        *texts,
        b"\x00\xff",
        "begun",
        "after a message in fragments",
        b"last",
    ]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param(frame(TEXT, b"hello", mask=b""), 1002, id="without a mask"),
        pytest.param(frame(0xC1, b"hello"), 1002, id="with a reserved bit"),
        pytest.param(frame(0x83, b"hello"), 1002, id="of no known kind"),
        pytest.param(frame(PING, b"x" * 126), 1002, id="a ping that is too long"),
        pytest.param(frame(0x80, b"hello"), 1002, id="the rest of no message"),
        pytest.param(frame(0x01, b"be") + frame(TEXT, b"gun"), 1002, id="within a message"),
        pytest.param(frame(TEXT, b"x" * 65_537)[:50], 1009, id="the beginning of one too large"),
        pytest.param(frame(TEXT, b"\xff"), 1007, id="text that is none"),
    ],
)
async def test_a_frame_that_breaks_the_protocol_closes_the_socket(bad: bytes, code: int) -> None:
    """With the code of RFC 6455, 7.4.1; what came before it was heard, what comes after is not."""
    taken = Taken()
    async with handed_over(taken) as url:
        reader, writer = await upgraded(url)
        writer.write(frame(TEXT, b"before") + bad + frame(TEXT, b"after") * 3)
        said = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert said[0] == CLOSE
    assert int.from_bytes(said[2:4], "big") == code
    assert taken.messages == ["before"]


async def test_who_sends_before_the_upgrade_is_answered_is_heard_all_the_same() -> None:
    """Also where it was within a frame by then."""
    taken, answering = Taken(), asyncio.Event()

    async def route(websocket: WebSocket) -> None:
        await answering.wait()
        await websocket.accept()
        wire = SocketWire(websocket)
        wire.hand_over(taken)
        while (message := await wire.receive()) is not None:
            taken(message)

    async with serving(route) as url:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(url[:-1].rpartition(":")[2])
        )
        early = frame(TEXT, b"early") + frame(TEXT, b"in two parts")
        writer.write(UPGRADE)
        await asyncio.sleep(0.05)
        writer.write(early[:-4])
        await asyncio.sleep(0.05)
        answering.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(early[-4:] + frame(TEXT, b"late"))
        await taken.until(3)
        writer.close()
    assert taken.messages == ["early", "in two parts", "late"]


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
