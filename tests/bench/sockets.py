"""As much of WebSocket (RFC 6455) as a load generator needs: whole messages, no extensions."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import cast

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = b"YWdlbnRraXQncyBiZW5jaA=="


def frame(payload: bytes, opcode: int = TEXT, *, masked: bool = False) -> bytes:
    """A message in one frame; a client's is masked, with a key of zeros that changes nothing."""
    mask, size = 0x80 if masked else 0, len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, mask | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, mask | 127)) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def unmasked(payload: bytes, key: bytes) -> bytes:
    """What a client sent."""
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(payload)) if key else payload


class Socket(asyncio.Protocol):
    """One WebSocket. Subclasses say what happens when it is open, with messages, and at its end.

    Args:
        ask: the path to ask a server for, as its client; "": to be asked, as a server.
    """

    def __init__(self, ask: str = "") -> None:
        self.closed = False
        self._ask = ask
        self._open = False
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def opened(self) -> None:
        """Messages can be sent."""

    def took(self, opcode: int, payload: bytes, key: bytes) -> None:
        """A message came: TEXT or BINARY, with the key it is masked with, if it is."""
        raise NotImplementedError

    def ended(self) -> None:
        """The socket is closed."""

    def send(self, whole: bytes) -> None:
        """Send a `frame`; nothing happens once the socket is closed."""
        if self._transport is not None and not self.closed:
            self._transport.write(whole)

    def hang_up(self) -> None:
        """Close the socket, without waiting for the other side's word."""
        if self._transport is not None and not self.closed:
            self.send(frame((1000).to_bytes(2, "big"), CLOSE, masked=bool(self._ask)))
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._ask:
            asking = (
                f"GET {self._ask} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {_KEY.decode()}\r\n"
                "Sec-WebSocket-Version: 13\r\n\r\n"
            )
            self._transport.write(asking.encode())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed:
            self.closed = True
            self.ended()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        if not self._open:
            head, blank, data = data.partition(b"\r\n\r\n")
            if not blank:
                self._rest = head
                return
            self._shake_hands(head)
        self._rest = self._take_frames(data)

    def _shake_hands(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        if self._ask and b" 101 " not in first:
            raise ConnectionError(f"the upgrade was refused: {first.decode('latin-1')}")
        if not self._ask:
            key = next(v for n, _, v in (x.partition(b":") for x in lines) if _is_key(n)).strip()
            accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
            self.send(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
        self._open = True
        self.opened()

    def _take_frames(self, data: bytes) -> bytes:
        """Take all whole frames; what is left of the data waits for the rest."""
        at, end = 0, len(data)
        while end - at >= 2:
            size, begin = data[at + 1] & 0x7F, at + 2
            if size == 126:
                size, begin = int.from_bytes(data[begin : begin + 2], "big"), begin + 2
            elif size == 127:
                size, begin = int.from_bytes(data[begin : begin + 8], "big"), begin + 8
            key = b""
            if data[at + 1] & 0x80:
                key, begin = data[begin : begin + 4], begin + 4
            if begin + size > end:
                break
            self._take(data[at] & 0x0F, data[begin : begin + size], key)
            at = begin + size
        return data[at:]

    def _take(self, opcode: int, payload: bytes, key: bytes) -> None:
        if opcode in (TEXT, BINARY):
            self.took(opcode, payload, key)
        elif opcode == PING:
            self.send(frame(unmasked(payload, key), PONG, masked=bool(self._ask)))
        elif opcode == CLOSE:
            self.hang_up()


def _is_key(name: bytes) -> bool:
    return name.strip().lower() == b"sec-websocket-key"
