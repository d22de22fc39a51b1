"""Small servers which Asterisk calls: they hear, note what comes and when, and answer as told.

They know of the two protocols what the tests need, and nothing of agentkit.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

HANG_UP, CALL, KEY, SOUND, ERROR = 0x00, 0x01, 0x03, 0x10, 0xFF
"""Kinds of AudioSocket's packets; sound has one for each rate, from 8000 Hz on."""


class Came(NamedTuple):
    """A message and when it came, in seconds of the monotonic clock."""

    time: float
    data: bytes


class Told(NamedTuple):
    """A control message of the WebSocket: its name, the rest by name, the text as it came."""

    time: float
    name: str
    rest: dict[str, Any]
    text: str


def read_control(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the fields of a control message, in either form.

    What stands alone behind a name in the plain form is a mark's name.
    """
    if text.startswith("{"):
        found = json.loads(text)
        return found.pop("event"), found
    name, _, rest = text.partition(" ")
    if name in ("MEDIA_MARK_PROCESSED", "MEDIA_BUFFERING_COMPLETED"):
        return name, {"correlation_id": rest}
    return name, dict(pair.split(":", 1) for pair in rest.split(" ") if ":" in pair)


@dataclass
class Hearing:
    """What came over one call's socket.

    Args:
        echo: send back whatever is heard, at once.
    """

    echo: bool
    sound: list[Came] = field(default_factory=list)
    keys: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def heard(self) -> bytes:
        """All the sound, in the socket's own form."""
        return b"".join(came.data for came in self.sound)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true of what has come."""
        while not true():
            self.changed.clear()
            await self.changed.wait()

    async def until_heard(self, seconds: float, rate: int) -> None:
        """Wait for so much sound, at a rate in bytes a second."""
        await self.until(lambda: len(self.heard) >= seconds * rate)

    def gaps(self) -> list[float]:
        """Seconds between one frame and the next, shortest first."""
        times = [came.time for came in self.sound]
        return sorted(b - a for a, b in itertools.pairwise(times))


@dataclass
class SocketCall(Hearing):
    """One call over AudioSocket.

    See https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/.
    """

    writer: asyncio.StreamWriter = field(kw_only=True)
    call: UUID | None = None
    kinds: list[int] = field(default_factory=list)

    def send(self, kind: int, data: bytes = b"") -> None:
        self.writer.write(struct.pack(">BH", kind, len(data)) + data)

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Hear until the far end is gone."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, length = struct.unpack(">BH", await reader.readexactly(3))
                data = await reader.readexactly(length)
                self.take(kind, data)
                self.changed.set()
        self.ended.set()

    def take(self, kind: int, data: bytes) -> None:
        if kind not in self.kinds:
            self.kinds.append(kind)
        if kind == CALL:
            self.call = UUID(bytes=data)
        elif kind == KEY:
            self.keys += data.decode()
        elif SOUND <= kind < ERROR:
            self.sound.append(Came(time.monotonic(), data))
            if self.echo:
                self.send(kind, data)


@dataclass
class MediaCall(Hearing):
    """One call over a media WebSocket.

    See https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket/.
    """

    socket: ServerConnection = field(kw_only=True)
    told: list[Told] = field(default_factory=list)
    speaks_json: bool = False

    async def command(self, name: str, mark: str = "") -> None:
        """Send a command, in the form in which we were spoken to."""
        if self.speaks_json:
            rest = {"correlation_id": mark} if mark else {}
            await self.socket.send(json.dumps({"command": name, **rest}))
        else:
            await self.socket.send(f"{name} {mark}".rstrip())

    async def until_told(self, name: str, count: int = 1) -> Told:
        """Wait for a control message; ``count`` is how many have to have come with that name."""
        await self.until(lambda: self.names().count(name) >= count)
        return [told for told in self.told if told.name == name][count - 1]

    def names(self) -> list[str]:
        return [told.name for told in self.told]

    def marks(self) -> list[str]:
        """The marks that came back, in order."""
        return [t.rest["correlation_id"] for t in self.told if t.name == "MEDIA_MARK_PROCESSED"]

    async def run(self) -> None:
        """Hear until the far end is gone."""
        with contextlib.suppress(ConnectionClosed):
            async for message in self.socket:
                await self.take(message)
                self.changed.set()
        self.ended.set()

    async def take(self, message: str | bytes) -> None:
        now = time.monotonic()
        if isinstance(message, bytes):
            self.sound.append(Came(now, message))
            if self.echo:
                await self.socket.send(message)
            return
        name, rest = read_control(message)
        self.speaks_json = message.startswith("{")
        self.told.append(Told(now, name, rest, message))
        if name == "DTMF_END":
            self.keys += rest["digit"]


Call = TypeVar("Call", bound=Hearing)


@dataclass
class FarEnd(Generic[Call]):
    """A server and the calls that have come to it."""

    port: int
    _calls: asyncio.Queue[Call]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/media"

    async def call(self) -> Call:
        """The next call that comes."""
        return await self._calls.get()


@contextlib.asynccontextmanager
async def audiosocket(*, echo: bool = False) -> AsyncIterator[FarEnd[SocketCall]]:
    """An AudioSocket server on a free port; all its calls end with it."""
    calls: asyncio.Queue[SocketCall] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            call = SocketCall(echo, writer=writer)
            calls.put_nowait(call)
            await call.run(reader)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield FarEnd(server.sockets[0].getsockname()[1], calls)


@contextlib.asynccontextmanager
async def media_websocket(*, echo: bool = False) -> AsyncIterator[FarEnd[MediaCall]]:
    """A server of media WebSockets on a free port; all its calls end with it."""
    calls: asyncio.Queue[MediaCall] = asyncio.Queue()

    async def answer(socket: ServerConnection) -> None:
        call = MediaCall(echo, socket=socket)
        calls.put_nowait(call)
        await call.run()

    async with serve(answer, "127.0.0.1", 0, subprotocols=[Subprotocol("media")]) as server:
        yield FarEnd(next(iter(server.sockets)).getsockname()[1], calls)
