"""The HTTP/1.1 of the scripted servers: just what clients of an API send.

Requests with a ``Content-Length`` or without a body, keep-alive, answers in chunks. Not a web
server: no limits, no pipelining of answers, nothing for the open internet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

_REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip

LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A whole request: header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def head(status: int, content_type: str, *, length: int | None = None) -> bytes:
    """A status line and headers; without a length the body comes in chunks."""
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n"
        f"content-type: {content_type}\r\n{size}\r\nx-request-id: req_scripted\r\n\r\n"
    ).encode()


def chunk(data: bytes) -> bytes:
    """One chunk of a body (RFC 9112, section 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        accept_delay: seconds before its first byte is read.
        on_made: called when it is there, TLS handshake included.
        on_accepted: called once reading begins.
        on_request: takes each request when it is whole.
        on_closed: called once, when either side has closed.
    """

    def __init__(
        self,
        accept_delay: float,
        on_made: Callable[[Connection], None],
        on_accepted: Callable[[], None],
        on_request: Callable[[Connection, RawRequest], None],
        on_closed: Callable[[Connection], None],
    ) -> None:
        self.closed = False
        self._accept_delay = accept_delay
        self._on_made = on_made
        self._on_accepted = on_accepted
        self._on_request = on_request
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._accepting: asyncio.TimerHandle | None = None
        self._received = b""
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._on_made(self)
        if self._accept_delay > 0:
            self._transport.pause_reading()
            loop = asyncio.get_running_loop()
            self._accepting = loop.call_later(self._accept_delay, self._accept, self._transport)
        else:
            self._on_accepted()

    def _accept(self, transport: asyncio.Transport) -> None:
        transport.resume_reading()
        self._on_accepted()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._next_request()) is not None:
            self._on_request(self, request)

    def eof_received(self) -> None:
        self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._close()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def write(self, data: bytes) -> None:
        """Send; nothing happens once the connection is closed."""
        if self._transport is not None and not self.closed:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client keeps up."""
        await self._writable.wait()

    def close(self) -> None:
        """Close once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._accepting is not None:
            self._accepting.cancel()
        self._writable.set()
        self._on_closed(self)

    def _next_request(self) -> RawRequest | None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        whole = end + 4 + int(headers.get("content-length", "0"))
        if len(self._received) < whole:
            return None
        body, self._received = self._received[end + 4 : whole], self._received[whole:]
        method, path, _ = first.split(" ", 2)
        return RawRequest(method, path.partition("?")[0], headers, body)
