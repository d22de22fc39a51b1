"""What stands between a fake carrier and the bytes of its socket."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

Message = str | bytes

PATIENCE = 1.0
"""Seconds that a carrier waits for a bot that reads nothing, when it ends the stream."""


class Outbox:
    """Messages to the bot, in the order in which they were made: their numbers say that order."""

    def __init__(self) -> None:
        self.is_busy = False
        """Whether somebody is sending; what is put meanwhile is sent, too."""
        self._waiting: deque[Message] = deque()
        self._lock = asyncio.Lock()

    def put(self, message: Message) -> None:
        """Let a message wait for the next `flush`."""
        self._waiting.append(message)

    async def flush(self, socket: ClientConnection) -> None:
        """Send all that waits. Nothing happens once the socket is closed."""
        async with self._lock:
            self.is_busy = True
            try:
                while self._waiting:
                    await socket.send(self._waiting.popleft())
            except ConnectionClosed:
                self._waiting.clear()  # whoever reads from the socket learns why
            finally:
                self.is_busy = False


def plug(url: str, receive_buffer: int | None) -> socket.socket | None:
    """A connected socket with a receive buffer of so many bytes, if one is wanted."""
    if receive_buffer is None:
        return None
    parts = urlsplit(url)
    plugged = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    plugged.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        plugged.connect((parts.hostname or "127.0.0.1", parts.port or 80))
    except OSError:
        plugged.close()
        raise
    return plugged
