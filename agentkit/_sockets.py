"""Sockets for httpcore2, on asyncio's own transports.

They cost less CPU a read than httpcore2's own, which counts when every token is one; they close
at once; and they can be opened ahead of their need. `httpcore2.AsyncNetworkStream` is the seam.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import httpcore2

CONNECT_TIMEOUT = 5.0
"""Seconds to connect in, TLS handshake included."""

_READ_AHEAD = 256 * 1024  # bytes that wait to be read before the server has to wait
_STAGGER = 0.25  # seconds after which the next address is tried too


class StaleConnection(httpcore2.ReadError):
    """The server had closed the connection before the request reached it."""


class Wire(httpcore2.AsyncNetworkStream, asyncio.Protocol):
    """A socket, as httpcore reads and writes it; ``on_end`` is told once it is closed.

    Closing it closes the socket at once, without a TLS farewell and without sending what is
    still queued: it happens when a request is given up, or when nothing is queued.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._error: Exception | None = None
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._read_paused = False
        self._write_paused = False
        self._answered = False  # something came since the last write
        self.fresh = False  # opened since the request that it carries was made
        self.on_end: Callable[[Wire], None] | None = None
        self.opened = 0.0

    @property
    def alive(self) -> bool:
        """Nothing has come on it, and neither side has closed it."""
        return not self._ended and not self._chunks

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._answered = True
        self.fresh = False
        self._chunks.append(data)
        self._size += len(data)
        if self._size > _READ_AHEAD and not self._read_paused and self._transport is not None:
            self._read_paused = True
            self._transport.pause_reading()
        _wake(self._reading)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        _wake(self._writing)

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._error = error
        _wake(self._reading)
        _wake(self._writing)
        if self.on_end is not None:
            self.on_end(self)

    # httpcore's side

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if not self._chunks and not self._ended:
            self._reading = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._reading
            except TimeoutError:
                raise httpcore2.ReadTimeout from None
            finally:
                self._reading = None
        if not self._chunks:
            if not self._answered and not self.fresh:
                raise StaleConnection
            if self._error is not None:
                raise httpcore2.ReadError(type(self._error).__name__)
            return b""
        data = self._chunks.popleft()
        if len(data) > max_bytes:
            self._chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._size -= len(data)
        if self._read_paused and self._size <= _READ_AHEAD // 2 and self._transport is not None:
            self._read_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if self._transport is None or self._transport.is_closing() or self._ended:
            raise httpcore2.WriteError("the connection is closed")
        self._answered = False
        self._transport.write(buffer)
        while self._write_paused and not self._ended:
            self._writing = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._writing
            except TimeoutError:
                raise httpcore2.WriteTimeout from None
            finally:
                self._writing = None

    async def aclose(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Close the socket in the loop's next round."""
        if self._transport is not None:
            self._transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        """The handshake was part of connecting."""
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # how the pool asks whether an idle connection is dead
            return not self.alive
        if self._transport is None:
            return None
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names.get(info, info))


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def connect(host: str, port: int, tls: ssl.SSLContext | None) -> Wire:
    """Connect, with the TLS handshake if there is to be one, within `CONNECT_TIMEOUT`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            sock = await _reach(host, port)
            _keep_alive(sock)
            _, wire = await loop.create_connection(
                Wire, sock=sock, ssl=tls, server_hostname=host if tls else None
            )
    except TimeoutError:
        raise httpcore2.ConnectTimeout from None
    except OSError as exc:  # ssl.SSLError and socket.gaierror are OSErrors too
        raise httpcore2.ConnectError(type(exc).__name__) from None
    wire.opened = loop.time()
    return wire


async def _reach(host: str, port: int) -> socket.socket:
    """Connect to the first of the host's addresses that answers, tried in short order.

    That is RFC 8305 ("happy eyeballs"); asyncio's own can lose a socket when it is cancelled.

    Raises:
        OSError: none answered; it is the last one's.
    """
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    tries: set[asyncio.Task[socket.socket]] = set()
    error = OSError("the host has no address")
    try:
        while addresses or tries:
            if addresses:
                family, kind, protocol, _, address = addresses.pop(0)
                tries.add(loop.create_task(_reach_one(family, kind, protocol, address)))
            done, _ = await asyncio.wait(
                tries, timeout=_STAGGER if addresses else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                tries.discard(task)
                try:
                    return task.result()
                except OSError as exc:
                    error = exc
    finally:
        for task in tries:
            task.add_done_callback(_close_result)
            task.cancel()
    raise error


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    """It came too late to be of use."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _reach_one(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _keep_alive(sock: Any) -> None:
    """Let the kernel notice a peer that is gone, and keep NAT entries on the way open."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
