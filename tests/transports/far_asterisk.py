"""Asterisk's end of an AudioSocket, played by the test, and a call with both its ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from agentkit.audio.formats import AudioFormat
from agentkit.transports.audiosocket import AudioSocketTransport, serve_audiosocket

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
NARROW = AudioFormat("linear16", 8000)
WIDE = AudioFormat("linear16", 16000)
HANG_UP = b"\x00\x00\x00"


def now() -> float:
    return asyncio.get_running_loop().time()


def packet(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


def pcm(seconds: float, form: AudioFormat = NARROW) -> bytes:
    """Sound in which no frame is like another."""
    count = round(seconds * form.rate)
    return b"".join(struct.pack("<h", at % 30_000 + 500) for at in range(count))


FIRST = packet(0x01, CALL.bytes)
FRAME = packet(0x10, pcm(0.02))


class Asterisk:
    """The far end: it dials in, talks, and notes what it is sent and when."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.reader = reader
        self.packets: list[tuple[float, int, bytes]] = []
        self.closed_at: float | None = None
        self.reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        try:
            while True:
                kind, length = struct.unpack(">BH", await self.reader.readexactly(3))
                self.packets.append((now(), kind, await self.reader.readexactly(length)))
        except (EOFError, ConnectionError):
            self.closed_at = now()

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def close(self) -> None:
        """Close as Asterisk does when the channel is gone: at once, with what is unread."""
        self.writer.transport.abort()
        if self.reading is not None:
            await self.reading

    async def until_closed(self) -> float:
        """Wait until the other end has closed; return when."""
        assert self.reading is not None
        await self.reading
        assert self.closed_at is not None
        return self.closed_at

    @property
    def heard(self) -> bytes:
        return b"".join(data for _, kind, data in self.packets if kind in range(0x10, 0x19))

    @property
    def times(self) -> list[float]:
        return [time for time, kind, _ in self.packets if kind in range(0x10, 0x19)]


@asynccontextmanager
async def dialled(
    port: int, hello: bytes = FIRST + FRAME, *, reads: bool = True, room: int = 0
) -> AsyncIterator[Asterisk]:
    """A connection to the server.

    Args:
        port: the server's.
        hello: what is sent first.
        reads: whether it reads what it is sent.
        room: bytes that the system takes for it unread; 0: as the system likes.
    """
    end = socket.socket()
    if room:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    end.setblocking(False)
    await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", port))
    asterisk = Asterisk(*await asyncio.open_connection(sock=end, limit=256))
    asterisk.say(hello)
    if reads:
        asterisk.reading = asyncio.create_task(asterisk.read())
    try:
        yield asterisk
    finally:
        await asterisk.close()


class Sink:
    """What a session would be told, and when."""

    def __init__(self) -> None:
        self.heard = b""
        self.keys = ""
        self.marks: list[tuple[float, str]] = []

    def audio(self, data: bytes) -> None:
        self.heard += data

    def marked(self, name: str) -> None:
        self.marks.append((round(now(), 6), name))

    def dtmf(self, digit: str) -> None:
        self.keys += digit


class Call:
    """One call: both ends of it."""

    def __init__(self, transport: AudioSocketTransport, asterisk: Asterisk, sink: Sink) -> None:
        self.transport = transport
        self.asterisk = asterisk
        self.sink = sink
        self.running = asyncio.create_task(transport.run(sink))


@asynccontextmanager
async def calling(
    hello: bytes = FIRST + FRAME,
    *,
    reads: bool = True,
    room: int = 0,
    form: AudioFormat | None = None,
) -> AsyncIterator[Call]:
    """A call that is connected and runs; at the end both sides are closed."""
    taken: asyncio.Future[AudioSocketTransport] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def handler(uuid: UUID, transport: AudioSocketTransport) -> None:
        assert uuid == CALL
        await transport.connect()
        taken.set_result(transport)
        await over.wait()

    async with serve_audiosocket("127.0.0.1", 0, handler, form=form) as server:
        async with dialled(server.port, hello, reads=reads, room=room) as asterisk:
            call = Call(await taken, asterisk, Sink())
            yield call
            over.set()
        await asyncio.gather(call.running, return_exceptions=True)
