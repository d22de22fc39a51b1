"""A WebSocket of the application's, as a transport needs it."""

from __future__ import annotations

from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from agentkit.carriers.base import Message


class SocketWire:
    """A WebSocket that was accepted.

    Args:
        socket: the application's.
    """

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._closed = False

    async def receive(self) -> Message | None:
        """The next message; None once the socket is closed."""
        if self._closed:
            return None
        message = await self._socket.receive()
        if message["type"] != "websocket.receive":
            self._closed = True
            return None
        text: str | None = message.get("text")
        return text if text is not None else message["bytes"]

    async def send(self, message: Message) -> None:
        """Send a message. Raises ConnectionError if the socket is closed."""
        if self._closed:
            raise ConnectionError("the socket is closed")
        kind = "text" if isinstance(message, str) else "bytes"
        try:
            await self._socket.send({"type": "websocket.send", kind: message})
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            self._closed = True
            raise ConnectionError("the socket is closed") from error

    async def close(self, code: int = 1000) -> None:
        """Close the socket. Safe to call twice."""
        if not self._closed:
            self._closed = True
            # The far end may have been faster.
            with suppress(WebSocketDisconnect, RuntimeError, OSError):
                await self._socket.close(code)
