"""Asterisk's WebSocket channel (chan_websocket), which connects to us with ``Dial(WebSocket/...)``.

Sources: docs.asterisk.org, Configuration, Channel Drivers, WebSocket; asterisk/asterisk,
channels/chan_websocket.c. Audio is binary: what the channel's format holds, 20 ms a message from
Asterisk, any number of whole frames to it. Control is text, in plain words or as JSON, as the
channel was dialled (``f(json)``).

    Dial(WebSocket/agentkit/c(slin16)f(json))       ; in the dialplan
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentkit.audio.dtmf import as_key
from agentkit.audio.formats import AudioFormat
from agentkit.carriers.base import (
    ALAW_8K,
    FRAME,
    LINEAR_8K,
    LINEAR_16K,
    LINEAR_24K,
    MULAW_8K,
    CallerAudio,
    CallerKey,
    Codec,
    MarkReached,
    MediaEvent,
    Message,
    SendingPaused,
    SendingResumed,
    StreamStarted,
    Unreadable,
    read_json,
    write_json,
)

MOST_AUDIO = 32_000
"""Bytes of audio in one message; past 65,500 Asterisk closes the call."""

_FORMATS = {
    "ulaw": MULAW_8K,
    "alaw": ALAW_8K,
    "slin": LINEAR_8K,
    "slin12": AudioFormat("linear16", 12000),
    "slin16": LINEAR_16K,
    "slin24": LINEAR_24K,
    "slin32": AudioFormat("linear16", 32000),
    "slin44": AudioFormat("linear16", 44100),
    "slin48": AudioFormat("linear16", 48000),
}


class AsteriskCodec(Codec):
    """Asterisk's dialect.

    It is answered in the form that its first message has. Marks that are pending at a clear are
    dropped without a word. A control message of more than 128 bytes is not heard, so the name of a
    mark has at most 80. Asterisk answers the call by itself once the socket is there, unless it was
    dialled with ``n``: then `answer` does.
    """

    name = "asterisk"
    subprotocols = ("media",)

    def __init__(self) -> None:
        self._format: AudioFormat | None = None
        self._frame = 0
        self._json = False

    def receive(self, message: Message) -> Sequence[MediaEvent]:
        """What a message says; see `Codec.receive`."""
        if isinstance(message, bytes):
            return (self._audio(message),)
        is_json = message.lstrip().startswith("{")
        found = read_json(message) if is_json else _read_plain(message)
        if isinstance(found, Unreadable):
            return (found,)
        match found.get("event"):
            case "MEDIA_START":
                return (self._start(found, is_json),)
            case _ if self._format is None:
                return (Unreadable("an event before the start"),)
            case "DTMF_END":
                key = as_key(found.get("digit"))
                return (Unreadable("a key that is none") if key is None else CallerKey(key),)
            case "MEDIA_MARK_PROCESSED":
                name = _text(found.get("correlation_id"))
                return (MarkReached(name) if name else Unreadable("a mark without a name"),)
            case "MEDIA_XOFF":
                return (SendingPaused(),)
            case "MEDIA_XON":
                return (SendingResumed(),)
            case "ERROR":
                return (Unreadable("an error that Asterisk reports"),)
            case _:
                return (Unreadable("an unknown event"),)

    def play(self, audio: bytes) -> Sequence[Message]:
        """Whole frames in messages of at most 32,000 bytes: a part of a frame would be dropped."""
        most = MOST_AUDIO // self._frame * self._frame
        return [audio[at : at + most] for at in range(0, len(audio), most)]

    def mark(self, name: str) -> Sequence[Message]:
        """It comes back when Asterisk takes what stands behind it off its queue."""
        return (self._command("MARK_MEDIA", name),)

    def clear(self) -> Sequence[Message]:
        """Audio and marks are dropped; there is no answer."""
        return (self._command("FLUSH_MEDIA"),)

    def hang_up(self) -> Sequence[Message]:
        """Asterisk hangs up the channel and closes the socket."""
        return (self._command("HANGUP"),)

    def answer(self) -> Sequence[Message]:
        """Answer a call that was dialled with ``n``; for any other, Asterisk has done so."""
        return (self._command("ANSWER"),)

    def _command(self, command: str, correlation_id: str = "") -> str:
        if self._json:
            both = {"command": command, "correlation_id": correlation_id}
            return write_json({name: value for name, value in both.items() if value})
        return f"{command} {correlation_id}".rstrip()

    def _audio(self, data: bytes) -> MediaEvent:
        if self._format is None:
            return Unreadable("audio before the start")
        if not data or len(data) % self._format.sample_bytes:
            return Unreadable("audio that is no whole samples")
        return CallerAudio(data)

    def _start(self, found: Mapping[str, Any], is_json: bool) -> MediaEvent:
        if self._format is not None:
            return Unreadable("a second start")
        name = found.get("format")
        form = _FORMATS.get(name) if isinstance(name, str) else None
        if form is None:
            return Unreadable("a start in a format that is not spoken: dial c(ulaw) or c(slin16)")
        if not _fits(found.get("optimal_frame_size"), form.size(FRAME)):
            return Unreadable("a start whose frames do not fit into 20 ms")
        self._format = form
        self._frame = form.size(FRAME)
        self._json = is_json
        variables = found.get("channel_variables")
        return StreamStarted(
            stream=_text(found.get("connection_id")),
            call=_text(found.get("channel_id")),
            input=form,
            output=form,
            parameters={
                name: value
                for name, value in (variables if isinstance(variables, dict) else {}).items()
                if isinstance(value, str)
            },
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _fits(size: object, frame: int) -> bool:
    """Whether whole frames of ours are whole frames of Asterisk's; an older one may not say."""
    if size is None:
        return True
    number = int(size) if isinstance(size, str) and size.isdecimal() and len(size) < 6 else size
    return type(number) is int and number > 0 and frame % number == 0


def _read_plain(message: str) -> dict[str, Any] | Unreadable:
    """``EVENT name:value name:value``, where the one value of a mark stands without a name."""
    event, *words = message.split()[:64] or [""]
    if not event.isascii() or not event.replace("_", "").isupper():
        return Unreadable("a message that is no event")
    found: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition(":")
        found[name] = value
    if event == "MEDIA_MARK_PROCESSED":
        found["correlation_id"] = " ".join(words).removeprefix("correlation_id:")
    return {**found, "event": event}
