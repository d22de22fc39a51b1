"""Connections of the OpenAI backends: one is always ready.

A request that is given up closes its connection, and over HTTP/1.1 that leaves none for the next
request: so one that is connected, and past its TLS handshake, is kept ready beside the pool of
the HTTP client (rule T3). This module is the network below httpcore2's pool and the transport of
httpx2 above it; `httpcore2.AsyncNetworkBackend` and `httpx2.AsyncBaseTransport` are the seams.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable
from contextlib import aclosing, contextmanager
from typing import cast

import httpcore2
import httpx2
import structlog

from agentkit._sockets import StaleConnection, Wire, connect

log = structlog.get_logger(__name__)

KEEP_ALIVE = 240.0
"""Seconds that an idle connection is kept: a caller may be silent for a while, and the HTTP
client's own default of 5 s would make most turns of a call pay for a new connection."""

MOST_IDLE = 100
"""Idle connections that the pool keeps."""

_MOST_SPARES = 8
_IN_USE = 120.0  # seconds after the last request or warm() in which a lost spare is replaced
_TOO_SHORT = 5.0  # seconds; a server that closes spares sooner does not want them


class _Opener:
    """Opens all connections to one server, some of them ahead of their need.

    As many spares are kept as ``want`` says. It grows when a request found none ready, and
    shrinks when the server closed one that nobody had used. A spare that the server closes is
    replaced only while the backend is in use, so that an idle program leaves the server in peace.

    A request that is given up while it waits does not stop what was begun for it: that
    connection is the next request's.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, spares: int) -> None:
        self._place = host, port, tls
        self._least = self._want = spares
        self._ready: list[Wire] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[Wire]] = deque()
        self._last_use = 0.0
        self._warmed = False
        self._closed = False

    async def take(self) -> Wire:
        """A ready connection, or else the first that is opened; others are opened in its stead.

        Raises:
            httpcore2.ConnectError, httpcore2.ConnectTimeout: it could not be opened.
        """
        if self._closed:
            raise httpcore2.ConnectError("closed")
        loop = asyncio.get_running_loop()
        asked = self._last_use = loop.time()
        while self._ready:
            wire = self._ready.pop()
            wire.on_end = None
            if wire.alive:
                self._open()
                return wire
        if self._warmed:
            self._want = min(self._want + 1, _MOST_SPARES)
        waiter: asyncio.Future[Wire] = loop.create_future()
        self._waiting.append(waiter)
        self._open()
        try:
            wire = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give(waiter.result())
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        wire.fresh = wire.opened >= asked
        return wire

    async def warm(self) -> None:
        """Open what is missing, and wait until it is open or has failed. Safe to cancel."""
        if self._closed:
            return
        self._last_use = asyncio.get_running_loop().time()
        self._open()
        if self._opening:
            await asyncio.wait(self._opening)
        self._warmed = True

    def _lost(self, wire: Wire) -> None:
        """The server closed a spare."""
        if self._closed or wire not in self._ready:
            return
        self._ready.remove(wire)
        self._want = max(self._want - 1, self._least)
        now = asyncio.get_running_loop().time()
        if now - self._last_use < _IN_USE and now - wire.opened > _TOO_SHORT:
            self._open()

    async def aclose(self) -> None:
        """Close what nobody has taken, and open nothing more."""
        self._closed = True
        tasks = list(self._opening)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while waiter := self._next_waiting():
            waiter.set_exception(httpcore2.ConnectError("closed"))
        for wire in self._ready:
            wire.on_end = None
            wire.abort()
        self._ready.clear()

    def _open(self) -> None:
        missing = self._want + len(self._waiting) - len(self._ready) - len(self._opening)
        for _ in range(0 if self._closed else missing):
            task = asyncio.get_running_loop().create_task(self._open_one())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open_one(self) -> None:
        failed: Exception | None = None
        try:
            wire = await connect(*self._place)
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as exc:
            failed = exc
        self._opening.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if failed is None:
            self._give(wire)
        elif len(self._waiting) > len(self._opening) and (waiter := self._next_waiting()):
            waiter.set_exception(failed)
        else:  # the next request tries by itself
            log.debug("no spare connection", host=self._place[0], error=type(failed).__name__)

    def _give(self, wire: Wire) -> None:
        """Hand it to the request that has waited longest, or keep it ready."""
        if waiter := self._next_waiting():
            waiter.set_result(wire)
        elif wire.alive and len(self._ready) < _MOST_SPARES and not self._closed:
            wire.on_end = self._lost
            self._ready.append(wire)
        else:
            wire.abort()

    def _next_waiting(self) -> asyncio.Future[Wire] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():  # given up, and about to say so
                return waiter
        return None


class _Network(httpcore2.AsyncNetworkBackend):
    """How the pool connects: to one server only."""

    def __init__(self, host: str, port: int, opener: _Opener) -> None:
        self._place = host, port
        self._opener = opener

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        if (host, port) != self._place:
            raise httpcore2.ConnectError("not the server of the base URL")
        return await self._opener.take()


class SpareTransport(httpx2.AsyncBaseTransport):
    """A transport for `httpx2.AsyncClient` to one server, with spare connections.

    Args:
        host: the server's name or address, in ASCII.
        port: its TCP port.
        tls: None: plain HTTP.
        spares: how many connections to keep ready at least.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, spares: int) -> None:
        self._opener = _Opener(host, port, tls, spares)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=None,
            max_keepalive_connections=MOST_IDLE,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=_Network(host, port, self._opener),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request; once more if the connection turned out to be dead already.

        That happens when the server closes an idle connection while the request is on its way
        (RFC 9112, section 9.3.1). Nothing else is tried again here.
        """
        url = request.url
        sent = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=cast("AsyncIterator[bytes]", request.stream),
            extensions=request.extensions,
        )
        with _httpx_errors():
            try:
                response = await self._pool.handle_async_request(sent)
            except StaleConnection:
                response = await self._pool.handle_async_request(sent)
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def warm(self) -> None:
        """Make spare connections ready. Raises nothing; safe to cancel."""
        await self._opener.warm()

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._opener.aclose()
        await self._pool.aclose()


class _Body(httpx2.AsyncByteStream):
    """An answer's body; the client may go on reading it after it has stopped once."""

    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = cast("AsyncIterable[bytes]", self._response.stream)
        parts = cast("AsyncGenerator[bytes, None]", aiter(body))
        with _httpx_errors():
            async with aclosing(parts):
                async for part in parts:
                    yield part

    async def aclose(self) -> None:
        await self._response.aclose()


_HTTPX_NAMES: dict[type[Exception], type[httpx2.TransportError]] = {
    httpcore2.ConnectTimeout: httpx2.ConnectTimeout,
    httpcore2.ReadTimeout: httpx2.ReadTimeout,
    httpcore2.WriteTimeout: httpx2.WriteTimeout,
    httpcore2.PoolTimeout: httpx2.PoolTimeout,
    httpcore2.ConnectError: httpx2.ConnectError,
    httpcore2.ReadError: httpx2.ReadError,
    httpcore2.WriteError: httpx2.WriteError,
    httpcore2.LocalProtocolError: httpx2.LocalProtocolError,
    httpcore2.RemoteProtocolError: httpx2.RemoteProtocolError,
    httpcore2.UnsupportedProtocol: httpx2.UnsupportedProtocol,
}


@contextmanager
def _httpx_errors() -> Generator[None]:
    """Raise httpcore's exceptions as httpx's, which is all that its client knows."""
    try:
        yield
    except tuple(_HTTPX_NAMES) as exc:
        known = next(to for kind, to in _HTTPX_NAMES.items() if isinstance(exc, kind))
        raise known(str(exc)) from None
