"""The application's WebSockets, as transports need them.

A phone call brings 50 messages a second. On their usual way, through a queue that ASGI's
``receive`` reads, each wakes a task, and stops and starts the reading of its socket: that costs
more than all that is done with the message. So a transport can ask for its messages where they
arrive, in `DirectProtocol`. Without it all is as it is anywhere with ASGI, only slower.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from agentkit.carriers.base import Message
from agentkit.transports.phone import Wire

Take = Callable[[Message], None]

_DIRECT = "agentkit.direct"
"""The extension of ASGI under which the application finds the protocol."""


class DirectProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, whose messages and whose writing can be had without a task between."""

    take: Take | None = None
    """Called with each message as it arrives; None: they go to ASGI's ``receive``."""

    def handle_connect(self, event: Any) -> None:
        """Answer the upgrade, and let the application know of this."""
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)  # none was made for an upgrade that is refused
        if scope is not None:
            scope["extensions"][_DIRECT] = self

    def send_receive_event_to_app(self) -> None:
        """Hand a message on. What came before it, and is still queued, goes first."""
        if self.take is None or self.close_sent or not self.queue.empty():
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        if self.curr_msg_data_type == "bytes":
            self.take(data)
            return
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            super().send_receive_event_to_app()  # which closes the socket
        else:
            self.take(text)

    def send_now(self, message: Message) -> bool:
        """Send a message without waiting; False, and nothing was sent, where that cannot be."""
        if not self.handshake_complete or self.close_sent or self.disconnected:
            return False
        if not self.writable.is_set() or self.transport.is_closing():
            return False
        try:
            if isinstance(message, str):
                self.conn.send_text(message.encode())
            else:
                self.conn.send_binary(message)
        except InvalidState:
            return False
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True


class SocketWire(Wire):
    """A WebSocket of the application's, accepted."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._direct: DirectProtocol | None = socket.scope.get("extensions", {}).get(_DIRECT)
        self._closed = False

    def hand_over(self, take: Take) -> None:
        """Call ``take``, in this context, with each message that `receive` has not given yet."""
        if self._direct is not None:
            context = copy_context()
            self._direct.take = lambda message: context.run(take, message)

    async def receive(self) -> Message | None:
        """The next message that was not handed over; None once the socket is closed."""
        if self._closed:
            return None
        message = await self._socket.receive()
        if message["type"] != "websocket.receive":
            self._closed = True
            return None
        text: str | None = message.get("text")
        return text if text is not None else message["bytes"]

    def send_now(self, message: Message) -> bool:
        """Send a message if that needs no waiting."""
        return not self._closed and self._direct is not None and self._direct.send_now(message)

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
        if self._direct is not None:
            self._direct.take = None
        if not self._closed:
            self._closed = True
            # The far end may have been faster.
            with suppress(WebSocketDisconnect, RuntimeError, OSError):
                await self._socket.close(code)
