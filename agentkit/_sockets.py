"""Connecting: to the first of a server's addresses that answers, TLS handshake included."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

import httpx2

CONNECT_TIMEOUT = 5.0
"""Seconds to connect in, TLS handshake included."""

_STAGGER = 0.25  # seconds after which the next address is tried too

P = TypeVar("P", bound=asyncio.Protocol)


async def connect(protocol: Callable[[], P], host: str, port: int, tls: ssl.SSLContext | None) -> P:
    """Connect within `CONNECT_TIMEOUT`.

    Args:
        protocol: makes what gets the bytes.
        host: a name or an address, in ASCII.
        port: a TCP port.
        tls: None: plain.

    Raises:
        httpx2.ConnectTimeout, httpx2.ConnectError: it could not be opened.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            sock = await _reach(host, port)
            _keep_alive(sock)
            _, made = await loop.create_connection(
                protocol, sock=sock, ssl=tls, server_hostname=host if tls else None
            )
    except TimeoutError:
        raise httpx2.ConnectTimeout("no connection in time") from None
    except OSError as exc:  # ssl.SSLError and socket.gaierror are OSErrors too
        raise httpx2.ConnectError(type(exc).__name__) from None
    return made


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
