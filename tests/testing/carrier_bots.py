"""Tiny bots and webhooks on the loopback interface, to be called by fake carriers."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from agentkit.testing.carriers import (
    FakeAsterisk,
    FakeCarrier,
    FakeJambonz,
    FakePlivo,
    FakeSignalWire,
    FakeTelnyx,
    FakeTwilio,
    FakeVonage,
)

Message = str | bytes


@dataclass(frozen=True)
class Words:
    """How a bot speaks with a carrier: written for these tests, after the carriers' documents."""

    fake: type[FakeCarrier]
    play: Callable[[str, bytes], Message]
    mark: Callable[[str, str], Message]
    clear: Callable[[str], Message]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def twilio_play(stream: str, data: bytes) -> str:
    return json.dumps({"event": "media", "streamSid": stream, "media": {"payload": b64(data)}})


def twilio_mark(stream: str, name: str) -> str:
    return json.dumps({"event": "mark", "streamSid": stream, "mark": {"name": name}})


def twilio_clear(stream: str) -> str:
    return json.dumps({"event": "clear", "streamSid": stream})


TWILIO = Words(FakeTwilio, twilio_play, twilio_mark, twilio_clear)
SIGNALWIRE = Words(FakeSignalWire, twilio_play, twilio_mark, twilio_clear)
TELNYX = Words(
    FakeTelnyx,
    lambda _, data: json.dumps({"event": "media", "media": {"payload": b64(data)}}),
    lambda _, name: json.dumps({"event": "mark", "mark": {"name": name}}),
    lambda _: '{"event":"clear"}',
)
PLIVO = Words(
    FakePlivo,
    lambda stream, data: json.dumps(
        {
            "event": "playAudio",
            "streamId": stream,
            "media": {"contentType": "audio/x-mulaw", "sampleRate": 8000, "payload": b64(data)},
        }
    ),
    lambda stream, name: json.dumps({"event": "checkpoint", "streamId": stream, "name": name}),
    lambda stream: json.dumps({"event": "clearAudio", "streamId": stream}),
)
VONAGE = Words(
    FakeVonage,
    lambda _, data: data,
    lambda _, name: json.dumps({"action": "notify", "payload": {"name": name}}),
    lambda _: '{"action":"clear"}',
)
JAMBONZ = Words(
    FakeJambonz,
    lambda _, data: data,
    lambda _, name: json.dumps({"type": "mark", "data": {"name": name}}),
    lambda _: '{"type":"killAudio"}',
)
ASTERISK = Words(
    FakeAsterisk,
    lambda _, data: data,
    lambda _, name: json.dumps({"command": "MARK_MEDIA", "correlation_id": name}),
    lambda _: '{"command":"FLUSH_MEDIA"}',
)
ALL = [TWILIO, SIGNALWIRE, TELNYX, PLIVO, VONAGE, JAMBONZ, ASTERISK]


def audio(fake: type[FakeCarrier], seconds: float, pitch: int = 1) -> bytes:
    """Noise, of the carrier's default format: no two frames of it are the same."""
    return random.Random(pitch).randbytes(fake.default_audio.size(seconds))


class Bot:
    """A WebSocket server that keeps what it was sent, and does what ``act`` says.

    Args:
        act: is given each connection, once it is there; when it returns, the socket stays open.
        reads: whether what the carrier sends is read.
        refuses: the status that handshakes are answered with; 0: they are accepted.
    """

    def __init__(
        self,
        act: Callable[[Bot], Awaitable[None]] | None = None,
        *,
        reads: bool = True,
        refuses: int = 0,
    ) -> None:
        self.url = ""
        self.received: list[Message] = []
        self.closed_with: int | None = None
        self.request: Any = None
        self._act = act
        self._reads = reads
        self._refuses = refuses
        self._there = asyncio.Event()
        self._changed = asyncio.Event()
        self._socket: ServerConnection | None = None
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol("audio.jambonz.org"), Subprotocol("media")],
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            process_request=self._check,
            compression=None,
            ping_interval=None,
            max_size=None,
            close_timeout=1.0,
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/carrier/media"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def _check(self, connection: ServerConnection, request: Any) -> Any:
        self.request = request
        return connection.respond(self._refuses, "no\n") if self._refuses else None

    async def _handle(self, socket: ServerConnection) -> None:
        self._socket = socket
        self._there.set()
        acting = asyncio.ensure_future(self._act(self)) if self._act else None
        try:
            while self._reads:
                self.received.append(await socket.recv())
                self._changed.set()
            await socket.wait_closed()
        except ConnectionClosed as closed:
            self.closed_with = closed.rcvd.code if closed.rcvd else None
        finally:
            if acting is not None:
                acting.cancel()
                await asyncio.gather(acting, return_exceptions=True)

    async def send(self, *messages: Message) -> None:
        await self._there.wait()
        assert self._socket is not None
        for message in messages:
            await self._socket.send(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        assert self._socket is not None
        await self._socket.close(code, reason)

    async def abort(self) -> None:
        assert self._socket is not None
        self._socket.transport.abort()

    async def until(self, count: int) -> list[Message]:
        """Wait until so many messages have come."""
        while len(self.received) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.received

    def texts(self) -> list[Any]:
        """The JSON of all text messages so far; those that are none as they are."""
        found = []
        for message in self.received:
            if isinstance(message, str):
                try:
                    found.append(json.loads(message))
                except ValueError:
                    found.append(message)
        return found

    def events(self, *names: str) -> list[Any]:
        """The JSON objects whose event or type is one of these."""
        return [
            each
            for each in self.texts()
            if isinstance(each, dict) and (each.get("event") or each.get("type")) in names
        ]


class Webhook:
    """An HTTP server that keeps what it was asked and answers the same always."""

    def __init__(
        self, body: str | Callable[[], str], *, status: int = 200, chunked: bool = False
    ) -> None:
        self.url = ""
        self.headers: dict[str, str] = {}
        self.body = b""
        self._answer = body
        self._status = status
        self._chunked = chunked
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/carrier/voice"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        self.headers = {name.lower(): value for name, value in pairs}
        self.body = await reader.readexactly(int(self.headers.get("content-length", "0")))
        answer = (self._answer if isinstance(self._answer, str) else self._answer()).encode()
        if self._chunked:
            first, second = answer[:7], answer[7:]
            body = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(first), first, len(second), second)
            length = "Transfer-Encoding: chunked"
        else:
            body, length = answer, f"Content-Length: {len(answer)}"
        writer.write(f"HTTP/1.1 {self._status} X\r\n{length}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()
