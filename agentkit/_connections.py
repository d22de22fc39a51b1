"""Connections of the OpenAI backends: one is always ready.

A request that is given up closes its connection, and over HTTP/1.1 that leaves none for the next
request: so one that is connected, and past its TLS handshake, is kept ready beside those in use
and those that are idle (rule T3).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import cast

import httpx2
import structlog

from agentkit._http import Answer, Connection, StaleConnection
from agentkit._sockets import connect

log = structlog.get_logger(__name__)

KEEP_ALIVE = 240.0
"""Seconds that an idle connection is kept: a caller may be silent for a while, and the HTTP
client's own default of 5 s would make most turns of a call pay for a new connection."""

MOST_IDLE = 100
"""Idle connections that are kept."""

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
        self._ready: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[Connection]] = deque()
        self._last_use = 0.0
        self._warmed = False
        self._closed = False

    async def take(self) -> Connection:
        """A ready connection, or else the first that is opened; others are opened in its stead.

        Raises:
            httpx2.ConnectError, httpx2.ConnectTimeout: it could not be opened.
        """
        if self._closed:
            raise httpx2.ConnectError("closed")
        loop = asyncio.get_running_loop()
        asked = self._last_use = loop.time()
        while self._ready:
            connection = self._ready.pop()
            connection.on_end = None
            if connection.alive:
                self._open()
                return connection
        if self._warmed:
            self._want = min(self._want + 1, _MOST_SPARES)
        waiter: asyncio.Future[Connection] = loop.create_future()
        self._waiting.append(waiter)
        self._open()
        try:
            connection = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give(waiter.result())
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        connection.fresh = connection.opened >= asked
        return connection

    async def warm(self) -> None:
        """Open what is missing, and wait until it is open or has failed. Safe to cancel."""
        if self._closed:
            return
        self._last_use = asyncio.get_running_loop().time()
        self._open()
        if self._opening:
            await asyncio.wait(self._opening)
        self._warmed = True

    def _lost(self, connection: Connection) -> None:
        """The server closed a spare."""
        if self._closed or connection not in self._ready:
            return
        self._ready.remove(connection)
        self._want = max(self._want - 1, self._least)
        now = asyncio.get_running_loop().time()
        if now - self._last_use < _IN_USE and now - connection.opened > _TOO_SHORT:
            self._open()

    async def aclose(self) -> None:
        """Close what nobody has taken, and open nothing more."""
        self._closed = True
        tasks = list(self._opening)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while waiter := self._next_waiting():
            waiter.set_exception(httpx2.ConnectError("closed"))
        for connection in self._ready:
            connection.on_end = None
            connection.abort()
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
            connection = await connect(Connection, *self._place)
            connection.opened = asyncio.get_running_loop().time()
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as exc:
            failed = exc
        self._opening.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if failed is None:
            self._give(connection)
        elif len(self._waiting) > len(self._opening) and (waiter := self._next_waiting()):
            waiter.set_exception(failed)
        else:  # the next request tries by itself
            log.debug("no spare connection", host=self._place[0], error=type(failed).__name__)

    def _give(self, connection: Connection) -> None:
        """Hand it to the request that has waited longest, or keep it ready."""
        if waiter := self._next_waiting():
            waiter.set_result(connection)
        elif connection.alive and len(self._ready) < _MOST_SPARES and not self._closed:
            connection.on_end = self._lost
            self._ready.append(connection)
        else:
            connection.abort()

    def _next_waiting(self) -> asyncio.Future[Connection] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():  # given up, and about to say so
                return waiter
        return None


class Connections:
    """Connections to one server: those that have served a request, and spares.

    Args:
        host: the server's name or address, in ASCII.
        port: its TCP port.
        tls: None: plain HTTP.
        spares: how many connections to keep ready at least.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, spares: int) -> None:
        self._opener = _Opener(host, port, tls, spares)
        self._idle: dict[Connection, float] = {}  # and since when; the latest comes last
        self._busy: set[Connection] = set()
        self._closed = False

    async def send(self, request: bytes, timeout: float) -> Answer:  # noqa: ASYNC109
        """Make a request; once more if the connection turned out to be dead already.

        That happens when the server closes an idle connection while the request is on its way
        (RFC 9112, section 9.3.1). Nothing else is tried again here.

        Args:
            request: head and body.
            timeout: longest wait for the next bytes of the answer, in seconds.

        Returns:
            The answer, its head read. The caller closes it.

        Raises:
            httpx2.TransportError: no connection, no answer, or none in time.
        """
        try:
            return await self._ask(request, timeout)
        except StaleConnection:
            return await self._ask(request, timeout)

    async def _ask(self, request: bytes, timeout: float) -> Answer:  # noqa: ASYNC109
        connection = self._take_idle() or await self._opener.take()
        connection.on_end = self._lost
        self._busy.add(connection)
        return await connection.ask(request, (timeout, timeout), self._keep)

    def _take_idle(self) -> Connection | None:
        """The one that was used last; those that were idle for too long are closed."""
        until = asyncio.get_running_loop().time() - KEEP_ALIVE
        for connection in [each for each, since in self._idle.items() if since < until]:
            del self._idle[connection]
            connection.abort()
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.alive:
                connection.fresh = False
                return connection
        return None

    def _keep(self, connection: Connection) -> None:
        """It has served a request."""
        self._busy.discard(connection)
        if self._closed or len(self._idle) >= MOST_IDLE:
            connection.abort()
        else:
            self._idle[connection] = asyncio.get_running_loop().time()

    def _lost(self, connection: Connection) -> None:
        """It was closed, be it idle or busy."""
        self._busy.discard(connection)
        self._idle.pop(connection, None)

    async def warm(self) -> None:
        """Make spare connections ready. Raises nothing; safe to cancel."""
        await self._opener.warm()

    async def aclose(self) -> None:
        """Close all connections; requests that use one fail. Safe to call twice."""
        self._closed = True
        await self._opener.aclose()
        for connection in [*self._idle, *self._busy]:
            connection.give_up(httpx2.ReadError("closed"))
        self._idle.clear()
