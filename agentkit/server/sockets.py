"""The application's WebSockets, as transports need them.

A phone call brings 50 messages a second. On their usual way, through a general parser and a queue
that ASGI's ``receive`` reads, each passes a dozen generators and objects, wakes a task, and stops
and starts the reading of its socket: that costs more than all that is done with the message. So a
transport can ask for its messages where they arrive, in `DirectProtocol`. Without it all is as it
is anywhere with ASGI, only slower.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # in C, where it was built
from websockets.protocol import State

from agentkit.carriers.base import Message
from agentkit.transports.phone import Wire

Take = Callable[[Message], None]

_DIRECT = "agentkit.direct"
"""The extension of ASGI under which the application finds the protocol."""

# The first byte of a frame that is a whole message, and uses nothing reserved (RFC 6455, 5.2).
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
_USUAL = frozenset({_TEXT, _BINARY, _CLOSE, _PING, _PONG})


class DirectProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, whose messages and whose writing can be had without a task between.

    A message that is one frame, and all that carriers send is, is read here once somebody takes it.
    The library behind uvicorn reads every other frame, which it gets whole. After the first that is
    not a usual one it reads all.
    """

    take: Take | None = None
    """Called with each message as it arrives; None: they go to ASGI's ``receive``."""

    _library_reads = False
    _unread = b""
    """The beginning of a frame."""

    def handle_connect(self, event: Any) -> None:
        """Answer the upgrade, and let the application know of this."""
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)  # none was made for an upgrade that is refused
        if scope is not None:
            scope["extensions"][_DIRECT] = self

    def data_received(self, data: bytes) -> None:
        """Read what has arrived."""
        if self._library_reads or not self.handshake_complete:
            # Before the answer to the request nobody is to send; who does may end within a frame.
            self._library_reads = self.handshake_initiated
            super().data_received(data)
            return
        if self._unread:
            data = self._unread + data
        at, size = 0, len(data)
        while size - at >= 2 and not self.transport.is_closing():
            first = data[at]
            extent = _extent(data, at)
            if extent is None:
                self._library_reads = True
                super().data_received(data[at:])
                return
            body, end = extent
            if end > size:
                break
            if first > _BINARY or not self._read(data, body, end, text=first == _TEXT):
                super().data_received(data[at:end])
            at = end
        self._unread = data[at:]

    def _read(self, data: bytes, body: int, end: int, *, text: bool) -> bool:
        """Hand a message on whose masked payload stands there; False: the library has to."""
        if self.take is None or self.conn.state is not State.OPEN:
            return False
        unmasked: bytes = apply_mask(data[body:end], data[body - 4 : body])
        return self._hand_on(unmasked, text=text)

    def send_receive_event_to_app(self) -> None:
        """Hand a message on that the library has read."""
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        if not self._hand_on(data, text=self.curr_msg_data_type == "text"):
            super().send_receive_event_to_app()

    def _hand_on(self, data: bytes, *, text: bool) -> bool:
        """Give a message to who takes it; what came before, and is still queued, goes first."""
        if self.take is None or self.close_sent or not self.queue.empty():
            return False
        if not text:
            self.take(data)
            return True
        try:
            message = str(data, "utf-8")
        except UnicodeDecodeError:
            return False  # uvicorn closes the socket for it
        self.take(message)
        return True

    def send_now(self, *messages: Message) -> bool:
        """Send messages without waiting; False, and none was sent, where that cannot be."""
        if not self.handshake_complete or self.close_sent or self.disconnected:
            return False
        if not self.writable.is_set() or self.transport.is_closing():
            return False
        try:
            for message in messages:
                if isinstance(message, str):
                    self.conn.send_text(message.encode())
                else:
                    self.conn.send_binary(message)
        except InvalidState:
            return False
        self.transport.write(b"".join(self.conn.data_to_send()))
        return True


def _extent(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame at ``at`` begins and ends, by as much of it as is there.

    None for what is none of `_USUAL`, is not masked as a client's has to be, or is too large for
    the application (64 KiB).
    """
    first, second = data[at], data[at + 1]
    if first not in _USUAL or second < 0x80 or second == 0xFF:
        return None
    if second < 0xFE:
        return at + 6, at + 6 + second - 0x80
    # As long as these two bytes are not there, neither is what comes after the mask.
    return at + 8, at + 8 + int.from_bytes(data[at + 2 : at + 4], "big")


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

    def send_now(self, *messages: Message) -> bool:
        """Send them, in one packet, if that needs no waiting."""
        return not self._closed and self._direct is not None and self._direct.send_now(*messages)

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
