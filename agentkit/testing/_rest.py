"""A scripted REST interface, for tests of what is asked of a carrier.

    async with ScriptedRest(RestReply(404, {"code": 20404})) as server:
        await TwilioControl("AC1", "token", base_url=server.base_url).hang_up("CA1")
        assert server.requests[0].method == "POST"

A real HTTP/1.1 server on a loopback socket.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from agentkit.testing._http import Connection, RawRequest


@dataclass(frozen=True, slots=True)
class RestReply:
    """How a request is answered.

    Args:
        status: the HTTP status.
        body: a JSON value, or bytes as they are; None: there is none.
        headers: besides type and length.
        delay: seconds before it is sent.
        cut: close the connection after so many bytes of it; None: send all of it and keep it.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None

    def encoded(self) -> bytes:
        """What goes over the wire."""
        body = self.body if isinstance(self.body, bytes) else b""
        if self.body is not None and not isinstance(self.body, bytes):
            body = json.dumps(self.body).encode()
        lines = [f"HTTP/1.1 {self.status} Scripted", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if body:
            lines.append("content-type: application/json")
        whole = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        return whole if self.cut is None else whole[: self.cut]


class ScriptedRest:
    """The server. An async context manager; leaving it closes everything.

    Args:
        replies: one each for the requests, in order; the last for all that follow. None at all:
            200 with an empty object.
        tls: serve https with this context.

    Attributes:
        requests: what was asked, in order of arrival.
        times: when each came, by the loop's clock.
        connections: how many were made.
        open: how many there are.
    """

    def __init__(self, *replies: RestReply, tls: ssl.SSLContext | None = None) -> None:
        self.replies = list(replies) or [RestReply(body={})]
        self.requests: list[RawRequest] = []
        self.times: list[float] = []
        self.connections = 0
        self.port = 0
        self._tls = tls
        self._links: set[Connection] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._link, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        for link in list(self._links):
            link.abort()
        await self.all_closed()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def drop(self) -> None:
        """Close all connections."""
        for link in list(self._links):
            link.close()

    async def asked(self, count: int = 1) -> None:
        """Wait until so many requests have come."""
        while len(self.requests) < count:
            await self._change()

    async def all_closed(self) -> None:
        """Wait until there is no connection."""
        while self._links:
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _link(self) -> Connection:
        return Connection(0.0, self._on_made, lambda: None, self._on_request, self._on_closed)

    def _on_made(self, link: Connection) -> None:
        self.connections += 1
        self._links.add(link)
        self._changed.set()

    def _on_closed(self, link: Connection) -> None:
        self._links.discard(link)
        self._changed.set()

    def _on_request(self, link: Connection, request: RawRequest) -> None:
        loop = asyncio.get_running_loop()
        reply = self.replies[min(len(self.requests), len(self.replies) - 1)]
        self.requests.append(request)
        self.times.append(loop.time())
        self._changed.set()
        self._timers.add(loop.call_later(reply.delay, self._answer, link, reply))

    def _answer(self, link: Connection, reply: RestReply) -> None:
        link.write(reply.encoded())
        if reply.cut is not None:
            link.close()
