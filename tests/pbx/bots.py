"""Our own transports on real calls: a bot that a test holds by its transport."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Literal
from uuid import UUID, uuid4

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from agentkit.carriers.asterisk import AsteriskCodec
from agentkit.carriers.base import Message
from agentkit.transports.audiosocket import AudioSocketTransport, serve_audiosocket
from agentkit.transports.base import Transport
from agentkit.transports.phone import PhoneTransport, Wire, admit
from tests.pbx import dialplan
from tests.pbx.asterisk import Asterisk

Kind = Literal["AudioSocket()", "AudioSocket/slin16", "WebSocket/slin", "WebSocket/ulaw plain"]
KINDS: list[Kind] = [
    "AudioSocket()",
    "AudioSocket/slin16",
    "WebSocket/slin",
    "WebSocket/ulaw plain",
]


class Bot:
    """One call at our end. What it hears it keeps, and says again if it is told to.

    Args:
        transport: connected.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.echoes = False
        self.heard = b""
        self.keys = ""
        self.marks: list[tuple[str, float]] = []
        self.reason = ""
        self.ended = asyncio.Event()
        self._changed = asyncio.Event()

    def audio(self, data: bytes) -> None:
        self.heard += data
        self._changed.set()
        if self.echoes:
            self.transport.play(data)

    def marked(self, name: str) -> None:
        self.marks.append((name, time.monotonic()))
        self._changed.set()

    def dtmf(self, digit: str) -> None:
        self.keys += digit
        self._changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true of what has come."""
        while not true():
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        try:
            self.reason = await self.transport.run(self)
        finally:
            await self.transport.aclose()
            self.ended.set()


class SocketWire(Wire):
    """A WebSocket of the `websockets` package, as `PhoneTransport` needs it."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket

    async def receive(self) -> Message | None:
        try:
            return await self._socket.recv()
        except ConnectionClosed:
            return None

    async def send(self, message: Message) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise ConnectionError("the socket is closed") from error

    async def close(self, code: int = 1000) -> None:
        await self._socket.close(code)


class Bots:
    """Where the calls come to.

    Args:
        agent: the extension that calls us.
    """

    def __init__(self, agent: str, calls: asyncio.Queue[Bot]) -> None:
        self.agent = agent
        self._calls = calls

    async def call(self) -> Bot:
        """The next call, which has begun."""
        return await self._calls.get()


@contextlib.asynccontextmanager
async def answering(asterisk: Asterisk, kind: Kind, *, echoes: bool = False) -> AsyncIterator[Bots]:
    """A server of ours, and an extension of Asterisk that calls it."""
    calls: asyncio.Queue[Bot] = asyncio.Queue()

    async def hold(transport: Transport) -> None:
        bot = Bot(transport)
        bot.echoes = echoes
        calls.put_nowait(bot)
        await bot.run()

    async def take_packets(_call: UUID, transport: AudioSocketTransport) -> None:
        await transport.connect()
        await hold(transport)

    async def take_messages(socket: ServerConnection) -> None:
        codec, wire = AsteriskCodec(), SocketWire(socket)
        await hold(PhoneTransport(codec, wire, await admit(codec, wire)))

    async with contextlib.AsyncExitStack() as stack:
        if kind.startswith("AudioSocket"):
            socket = await stack.enter_async_context(
                serve_audiosocket("127.0.0.1", 0, take_packets)
            )
            if kind == "AudioSocket()":
                step = dialplan.run_audiosocket("127.0.0.1", socket.port, uuid4())
            else:
                step = dialplan.dial_audiosocket("127.0.0.1", socket.port, uuid4(), "slin16")
        else:
            server = await stack.enter_async_context(
                serve(take_messages, "127.0.0.1", 0, subprotocols=[Subprotocol("media")])
            )
            port = next(iter(server.sockets)).getsockname()[1]
            client = await asterisk.connects(f"ws://127.0.0.1:{port}/asterisk/media")
            if kind == "WebSocket/slin":
                step = dialplan.dial_websocket(client, "slin", "json")
            else:
                step = dialplan.dial_websocket(client, "ulaw", "plain-text")
        yield Bots(await asterisk.extend(dialplan.answer(), step, dialplan.hang_up()), calls)
