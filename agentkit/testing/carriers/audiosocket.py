"""Asterisk's AudioSocket, from Asterisk's side: plain TCP, packets of a kind, a length and bytes.

As ``res/res_audiosocket.c`` and ``apps/app_audiosocket.c`` of asterisk/asterisk do it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import uuid
from collections.abc import Callable, Iterable
from typing import Final

from agentkit.audio.formats import AudioFormat
from agentkit.testing.carriers.call import KEYS, FakeCall
from agentkit.testing.carriers.line import Line, Network

HANGUP: Final = 0x00
UUID: Final = 0x01
DTMF: Final = 0x03
ERROR: Final = 0xFF
RATES: Final = {
    0x10: 8000, 0x11: 12000, 0x12: 16000, 0x13: 24000, 0x14: 32000, 0x15: 44100, 0x16: 48000,
    0x17: 96000, 0x18: 192000,
}  # fmt: skip
KINDS: Final = {rate: kind for kind, rate in RATES.items()}

BURST = 0.2
"""Seconds of audio that may be ahead of its time before it is garbled: nothing buffers it but the
phone at the far end."""


def whole(data: bytes) -> Iterable[bytes]:
    """Each packet in one piece."""
    return (data,)


def packet(kind: int, payload: bytes = b"") -> bytes:
    """A packet as it stands on the wire."""
    return struct.pack(">BH", kind, len(payload)) + payload


class FakeAudioSocket(FakeCall):
    """A call over AudioSocket: Asterisk connects to the bot's TCP port.

    The first packet tells the call's UUID. Then there is one packet of 16-bit linear audio for each
    20 ms, both ways. What the bot sends is heard as it comes: it has to be sent when it is due,
    which is by the bot's clock. More than 0.2 s ahead is lost and is a protocol error.

        async with FakeAudioSocket("127.0.0.1", port, call=expected) as caller:
            caller.say(speech)
            await caller.until_quiet()

    Args:
        host: where the bot listens.
        port: where the bot listens.
        call: the call's UUID; None: a new one.
        rate: of the audio, in Hz; the dialplan application does 8,000 only.
        sends_silence: False: no packets while the caller says nothing, as with silence suppression.
        pieces: cuts the bytes of each write into pieces that go out one by one: TCP keeps no
            packets together. To merge packets instead, see ``together``.
        together: so many packets go out in one write.
        network: how good the way to the caller is. There are no marks.
        starts: False: the UUID is never sent, nor any audio.
        receive_buffer: of the socket in bytes, to be small where a stalled reader is to be felt.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        call: uuid.UUID | None = None,
        rate: int = 8000,
        sends_silence: bool = True,
        pieces: Callable[[bytes], Iterable[bytes]] = whole,
        together: int = 1,
        network: Network | None = None,
        starts: bool = True,
        receive_buffer: int | None = None,
    ) -> None:
        if rate not in KINDS:
            raise ValueError(f"rate={rate}: AudioSocket has {', '.join(map(str, KINDS))} Hz")
        super().__init__(sends_silence=sends_silence, network=network)
        self.audio = AudioFormat("linear16", rate)
        self.call = call or uuid.uuid4()
        self._address = (host, port)
        self._pieces = pieces
        self._together = together
        self._starts = starts
        self._receive_buffer = receive_buffer
        self._waiting = bytearray()
        self._packets = 0
        self._writer: asyncio.StreamWriter | None = None
        self._received = bytearray()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def dial(self) -> None:
        """Connect and tell the UUID.

        Raises:
            OSError: nothing listens there.
        """
        plug = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        plug.setblocking(False)
        if self._receive_buffer is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(plug, self._address)
        except BaseException:
            plug.close()
            raise
        reader, self._writer = await asyncio.open_connection(sock=plug)
        self._line = Line(self.audio, self.network, self._no_mark, limit=BURST)
        self._own(self._listen(reader))
        if self._starts:
            await self.send_raw(packet(UUID, self.call.bytes))
            self._start_speaking()

    async def press(self, digits: str) -> None:
        """The caller presses keys: ``0-9 * # A-D``."""
        self._check_running()
        for digit in digits:
            if digit not in KEYS:
                raise ValueError(f"{digit!r} is not a key: press 0-9, *, # or A-D")
            await self.send_raw(packet(DTMF, digit.encode()))

    async def hang_up(self) -> None:
        """The caller hangs up: a packet says so, and the connection closes."""
        if self.ended is not None or self._writer is None:
            return
        self._finish("caller hung up")
        await self.send_raw(packet(HANGUP))
        self.flow()
        self._writer.close()

    async def drop(self) -> None:
        """The connection is reset."""
        self._check_running()
        self._finish("dropped")
        self._open_writer.transport.abort()

    def stall(self) -> None:
        """Read nothing any more of what the bot sends, until `flow`."""
        self._check_running()
        self._flowing.clear()

    def flow(self) -> None:
        """Read on."""
        self._flowing.set()

    async def send_error(self, code: bytes = b"\x01") -> None:
        """Send an error packet."""
        await self.send_raw(packet(ERROR, code))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, in pieces. Nothing happens once the connection is closed."""
        if self._writer is None or self._writer.is_closing():
            return
        try:
            for piece in self._pieces(bytes(self._waiting) + data):
                self._writer.write(piece)
                await self._writer.drain()
                if piece is not data:
                    await asyncio.sleep(0)
        except ConnectionError:
            self._finish("bot vanished")
        self._waiting.clear()
        self._packets = 0

    @property
    def _open_writer(self) -> asyncio.StreamWriter:
        if self._writer is None:
            raise RuntimeError("the call was not made yet: use `async with`")
        return self._writer

    async def _send_frame(self, frame: bytes, *, is_silence: bool) -> None:
        self.frames_sent += 1
        self._packets += 1
        sent = packet(KINDS[self.audio.rate], frame)
        if self._packets < self._together:
            self._waiting += sent
        else:
            await self.send_raw(sent)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(4096):
                await self._flowing.wait()
                self._received += data
                while self.ended is None and self._take():
                    pass
        except ConnectionError:
            self._finish("bot vanished")
        self._finish("bot closed")
        self._open_writer.close()

    def _take(self) -> bool:
        """Take a packet of what was received; False if none is whole."""
        if len(self._received) < 3:
            return False
        kind, length = struct.unpack_from(">BH", self._received)
        if len(self._received) < 3 + length:
            return False
        payload = bytes(self._received[3 : 3 + length])
        del self._received[: 3 + length]
        self._read(kind, payload)
        return True

    def _read(self, kind: int, payload: bytes) -> None:
        if kind == HANGUP:
            self._log("hang_up")
            self._close()
        elif kind not in RATES:
            self._wrong(f"a packet of kind 0x{kind:02x}, which ends the call")
            self._close()
        elif not payload:
            self._wrong("an empty packet of audio, which ends the call")
            self._close()
        elif RATES[kind] != self.audio.rate or len(payload) % 2:
            self._wrong("audio at another rate, or half a sample")
        else:
            self._hear(payload)

    def _close(self) -> None:
        self._finish("bot closed")
        self._open_writer.close()

    def _no_mark(self, name: str, cleared: bool) -> None:
        raise NotImplementedError("AudioSocket has no marks")
