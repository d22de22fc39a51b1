"""Asterisk's AudioSocket: packets on a plain TCP socket that Asterisk opens to us.

Sources: docs.asterisk.org, Configuration, Channel Drivers, AudioSocket; asterisk/asterisk,
res/res_audiosocket.c and apps/app_audiosocket.c. A packet is its kind (one byte), the length of
what follows (two bytes, big-endian) and so much payload. The first one holds the UUID that the
dialplan has given the call. Audio is signed 16-bit little-endian; its kind tells the rate.

    AudioSocket(${UUID},127.0.0.1:9092)             ; the application: always 8,000 Hz
    Dial(AudioSocket/127.0.0.1:9092/${UUID}/c(slin16))   ; the channel: the rate of its codec
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from uuid import UUID

from agentkit.audio.dtmf import as_key
from agentkit.audio.formats import AudioFormat
from agentkit.carriers.base import (
    FRAME,
    LINEAR_8K,
    CallerAudio,
    CallerKey,
    Codec,
    MediaEvent,
    Message,
    StreamStarted,
    StreamStopped,
    Unreadable,
)
from agentkit.errors import ConfigError

UUID_PACKET = 3 + 16
"""Bytes of the first packet."""

_HEADER = struct.Struct(">BH")
_HANG_UP, _UUID, _KEY, _ERROR = 0x00, 0x01, 0x03, 0xFF
_ODD = {_UUID: "a second UUID", _ERROR: "an error that Asterisk reports"}
_AUDIO = {
    0x10: LINEAR_8K,
    0x11: AudioFormat("linear16", 12000),
    0x12: AudioFormat("linear16", 16000),
    0x13: AudioFormat("linear16", 24000),
    0x14: AudioFormat("linear16", 32000),
    0x15: AudioFormat("linear16", 44100),
    0x16: AudioFormat("linear16", 48000),
    0x17: AudioFormat("linear16", 96000),
    0x18: AudioFormat("linear16", 192000),
}
_KINDS = {form: kind for kind, form in _AUDIO.items()}


class AudioSocketCodec(Codec):
    """AudioSocket's dialect, on a stream of bytes that comes in any pieces.

    The UUID does not tell the rate. So the stream starts with the first packet of audio, whose
    rate is the one of both directions; keys that come before it are held until then. Where none
    comes, `begin` takes the application's 8,000 Hz for granted. A connection whose first packet is
    no UUID is not Asterisk's: it is stopped, and what follows is not read.

    Args:
        form: the audio in both directions, where it is known: the stream then starts at once.

    Attributes:
        uuid: which call it is; None until the first packet is there.

    Raises:
        ConfigError: AudioSocket does not carry that format.
    """

    name = "audiosocket"

    def __init__(self, form: AudioFormat | None = None) -> None:
        if form is not None and form not in _KINDS:
            rates = ", ".join(str(each.rate) for each in _AUDIO.values())
            raise ConfigError("form", f"AudioSocket carries linear16 at one of {rates} Hz")
        self.uuid: UUID | None = None
        self._form = form
        self._started = False
        self._stopped = False
        self._held: list[MediaEvent] = []
        self._bytes = bytearray()

    def receive(self, message: Message) -> Sequence[MediaEvent]:
        """What the next bytes of the stream say; see `Codec.receive`."""
        if isinstance(message, str):
            return (Unreadable("text on a stream of bytes"),)
        return self.feed(message)

    def feed(self, data: bytes) -> list[MediaEvent]:
        """What the packets say that are whole now. Never more than one packet's bytes are kept."""
        events: list[MediaEvent] = []
        self._bytes += data
        at = 0
        while not self._stopped and (packet := self._packet(at)) is not None:
            kind, payload = packet
            at += _HEADER.size + len(payload)
            events += self._read(kind, payload)
        del self._bytes[: len(self._bytes) if self._stopped else at]
        return events

    def begin(self) -> list[MediaEvent]:
        """Start without having heard anything, at 8,000 Hz. Nothing happens if it has started."""
        return [] if self._started or self._stopped else self._start(self._form or LINEAR_8K)

    def play(self, audio: bytes) -> list[bytes]:
        """A packet for each frame, each to be sent when it is due. None is ever empty.

        Asterisk takes a packet without payload for an error, and ends the call.
        """
        assert self._form is not None  # noqa: S101
        size = self._form.size(FRAME)
        pieces = (audio[at : at + size] for at in range(0, len(audio), size))
        return [_HEADER.pack(_KINDS[self._form], len(piece)) + piece for piece in pieces]

    def mark(self, name: str) -> Sequence[Message]:
        """There are no marks."""
        return ()

    def clear(self) -> Sequence[Message]:
        """Nothing is queued at the far end."""
        return ()

    def hang_up(self) -> tuple[bytes]:
        """Asterisk leaves the application, or hangs up the channel."""
        return (_HEADER.pack(_HANG_UP, 0),)

    def _packet(self, at: int) -> tuple[int, bytes] | None:
        begin = at + _HEADER.size
        if begin > len(self._bytes):
            return None
        kind, length = _HEADER.unpack_from(self._bytes, at)
        if self.uuid is None and (kind, length) != (_UUID, 16):
            return kind, b""  # what a stranger means by a length is not waited for
        end = begin + length
        return None if end > len(self._bytes) else (kind, bytes(self._bytes[begin:end]))

    def _read(self, kind: int, payload: bytes) -> list[MediaEvent]:
        if self.uuid is None:
            return self._first(payload)
        if kind in _AUDIO:
            return self._audio(_AUDIO[kind], payload)
        if kind == _KEY:
            return self._key(payload)
        if kind == _HANG_UP:
            return self._stop("hang-up")
        return [Unreadable(_ODD.get(kind, "an unknown kind of packet"))]

    def _first(self, payload: bytes) -> list[MediaEvent]:
        if not payload:
            return self._stop("the first packet is no UUID")
        self.uuid = UUID(bytes=payload)
        return [] if self._form is None else self._start(self._form)

    def _start(self, form: AudioFormat) -> list[MediaEvent]:
        self._form = form
        self._started = True
        call = "" if self.uuid is None else str(self.uuid)
        held, self._held = self._held, []
        return [StreamStarted(stream=call, call=call, input=form, output=form), *held]

    def _audio(self, form: AudioFormat, payload: bytes) -> list[MediaEvent]:
        if not payload or len(payload) % 2:
            return [Unreadable("audio that is no whole samples")]
        events = [] if self._started else self._start(form)
        if form != self._form:
            return [*events, Unreadable("audio at another rate than the stream's")]
        return [*events, CallerAudio(payload)]

    def _key(self, payload: bytes) -> list[MediaEvent]:
        key = as_key(payload.decode("latin-1"))
        event = Unreadable("a key that is none") if key is None else CallerKey(key)
        if self._started:
            return [event]
        self._held.append(event)
        return []

    def _stop(self, reason: str) -> list[MediaEvent]:
        self._stopped = True
        return [StreamStopped(reason)]
