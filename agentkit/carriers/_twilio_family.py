"""What the dialects of Twilio, SignalWire, Telnyx and Plivo have in common.

All four speak JSON in text messages: an ``event`` with an object of the same name, audio as base64
in ``media.payload``. They differ in names, in what a message carries of its stream's id, and in the
events that only one of them has. Numbers come as numbers or as digits in a text, whatever a page
says, and are read as both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from agentkit.audio.formats import AudioFormat, Encoding
from agentkit.carriers.base import (
    KEYS,
    MULAW_8K,
    CallerAudio,
    CallerKey,
    Codec,
    MarkReached,
    MediaEvent,
    Message,
    StreamStarted,
    StreamStopped,
    Unreadable,
    read_base64,
    read_json,
    write_base64,
    write_json,
)
from agentkit.errors import UsageError

_ENCODINGS: dict[str, Encoding] = {
    "audio/x-mulaw": "mulaw",
    "audio/mulaw": "mulaw",
    "mulaw": "mulaw",
    "pcmu": "mulaw",
    "audio/x-alaw": "alaw",
    "audio/alaw": "alaw",
    "alaw": "alaw",
    "pcma": "alaw",
    "audio/x-l16": "linear16",
    "audio/l16": "linear16",
    "l16": "linear16",
}
_RATES: dict[Encoding, frozenset[int]] = {
    "mulaw": frozenset({8000}),
    "alaw": frozenset({8000}),
    "linear16": frozenset({8000, 16000, 24000, 48000}),
}
_NOT_TAKEN = {"opus": "OPUS", "g722": "G722", "amr-wb": "AMR-WB", "amr_wb": "AMR-WB", "mp3": "MP3"}
_CALLER = frozenset({"inbound", "inbound_track"})
_EARLY = Unreadable("a message before the start")
_LATE = Unreadable("a message after the stop")
_FOREIGN = Unreadable("a message of another stream")
_OTHER_TRACK = Unreadable("a message of another track than the caller's")
_NO_AUDIO = Unreadable("media without audio")
_BAD_BASE64 = Unreadable("media that is no base64")
_HALF_SAMPLE = Unreadable("media that holds half a sample")
_STOPPED = StreamStopped("the carrier ended the stream")


class FamilyCodec(Codec):
    """A dialect of the family, as Twilio speaks it unless a subclass says otherwise.

    Attributes:
        stream_key: under which name a message tells its stream.
        needs_stream: what is sent has to name the stream, so that a start has to tell it.
    """

    stream_key: ClassVar[str] = "streamSid"
    needs_stream: ClassVar[bool] = True

    def __init__(self) -> None:
        self._stream: str | None = None  # known from the start on
        self._stopped = False
        self._sample_bytes = 1
        self._media_head, self._media_tail = "", ""

    def receive(self, message: Message) -> Sequence[MediaEvent]:
        """What a message says. Never raises: what cannot be read is `Unreadable`."""
        found = read_json(message)
        if isinstance(found, Unreadable):
            return (found,)
        event = found.get("event")
        if event == "media":
            misplaced = self._misplaced(found)
            return self._media(found.get("media")) if misplaced is None else (misplaced,)
        if not isinstance(event, str):
            return (Unreadable("a message without an event"),)
        if event == "connected":
            return ()
        if event == "start":
            return (self._start(found),)
        return self._report(event, found)

    def play(self, audio: bytes) -> Sequence[Message]:
        """Queue audio at the far end, behind what is queued there."""
        return (self._media_head + write_base64(audio) + self._media_tail,)

    def mark(self, name: str) -> Sequence[Message]:
        """Ask for `MarkReached` once all that was queued so far has been heard."""
        return (self._write("mark", mark={"name": name}),)

    def clear(self) -> Sequence[Message]:
        """Drop at the far end what has not been heard."""
        return (self._write("clear"),)

    @abstractmethod
    def _describe(
        self, start: Mapping[str, Any], message: Mapping[str, Any], input: AudioFormat
    ) -> StreamStarted:
        """What a message and its object ``start`` say of a stream that brings ``input``."""

    def _report(self, event: str, message: dict[str, Any]) -> Sequence[MediaEvent]:
        """What any other event than media and start says."""
        if event not in ("dtmf", "mark", "stop"):
            return (Unreadable("an unknown event"),)
        if misplaced := self._misplaced(message):
            return (misplaced,)
        if event == "stop":
            return self._stop()
        return (_key(message.get("dtmf")) if event == "dtmf" else _mark(message.get("mark")),)

    def _stop(self) -> Sequence[MediaEvent]:
        self._stopped = True
        return (_STOPPED,)

    def _misplaced(self, message: Mapping[str, Any]) -> Unreadable | None:
        """Why a message is not for the stream as it is now. One that names none is for it."""
        if self._stream is None:
            return _EARLY
        if self._stopped:
            return _LATE
        named = message.get(self.stream_key)
        return None if named is None or named == self._stream or not self._stream else _FOREIGN

    def _media(self, media: Any) -> Sequence[MediaEvent]:
        if not isinstance(media, dict):
            return (_NO_AUDIO,)
        if not _of_caller(media):
            return (_OTHER_TRACK,)
        audio = read_base64(media.get("payload"))
        if audio is None:
            return (_BAD_BASE64,)
        if not audio:
            return (_NO_AUDIO,)
        if len(audio) % self._sample_bytes:
            return (_HALF_SAMPLE,)
        return self._heard(audio, media)

    def _heard(self, audio: bytes, media: Mapping[str, Any]) -> Sequence[MediaEvent]:
        """What is heard of audio that came in the object ``media``."""
        return (CallerAudio(audio),)

    def _start(self, message: dict[str, Any]) -> StreamStarted | Unreadable:
        if self._stream is not None:
            return Unreadable("a second start")
        start = message.get("start")
        if not isinstance(start, dict):
            return Unreadable("a start that says nothing")
        audio = read_format(start.get("mediaFormat", start.get("media_format")))
        if isinstance(audio, Unreadable):
            return audio
        started = self._describe(start, message, audio)
        if self.needs_stream and not started.stream:
            return Unreadable("a start without the stream's id")
        self._stream = started.stream
        self._sample_bytes = audio.sample_bytes
        # The payload is the last text of a media message: what stands around it never changes.
        around = self._around_audio(started)
        self._media_head, self._media_tail = around[:-3], around[-3:]
        return started

    def _around_audio(self, started: StreamStarted) -> str:
        """A media message with an empty payload, its last text: it ends with ``""}}``."""
        return self._write("media", media={"payload": ""})

    def _write(self, event: str, **fields: Any) -> str:
        return write_json({"event": event, self.stream_key: self._stream, **fields})


def _of_caller(track: Mapping[str, Any]) -> bool:
    """Whether an object is about the caller's track; one that names none is."""
    name = track.get("track")
    return name is None or (isinstance(name, str) and name in _CALLER)


def _key(dtmf: Any) -> MediaEvent:
    if not isinstance(dtmf, dict):
        return Unreadable("a key press that says nothing")
    if not _of_caller(dtmf):
        return _OTHER_TRACK
    key = read_text(dtmf.get("digit")).upper()
    return CallerKey(key) if key in KEYS else Unreadable("a key press of no key")


def _mark(mark: Any) -> MediaEvent:
    return read_mark(mark.get("name") if isinstance(mark, dict) else None)


def read_mark(name: Any) -> MediaEvent:
    """The mark of that name was reached."""
    text = read_text(name)
    return MarkReached(text) if text else Unreadable("a mark without a name")


def read_format(found: Any) -> AudioFormat | Unreadable:
    """The format that a start describes.

    A start that describes none has the one that our documents ask for, mu-law at 8 kHz.
    """
    if found is None:
        return MULAW_8K
    if not isinstance(found, dict):
        return Unreadable("a start whose audio format is no object")
    name = read_text(found.get("encoding")).partition(";")[0].strip().lower()
    if name in _NOT_TAKEN:
        return Unreadable(f"a stream in {_NOT_TAKEN[name]}, which is not taken")
    encoding = _ENCODINGS.get(name)
    if encoding is None:
        return Unreadable("a stream in an unknown encoding")
    if read_number(found.get("channels", 1)) != 1:
        return Unreadable("a stream that is not mono")
    rate = found.get("sampleRate", found.get("sample_rate"))
    if rate is None and encoding != "linear16":
        rate = 8000  # G.711 has no other
    number = read_number(rate)
    if number not in _RATES[encoding]:
        return Unreadable("a stream at a sampling rate that is not taken")
    return AudioFormat(encoding, number)


def read_number(value: Any) -> int | None:
    """A whole number, or the digits of one, up to 18 of them; else None."""
    if isinstance(value, str):
        plain = value.isascii() and value.isdecimal() and len(value) <= 18
        return int(value) if plain else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_text(value: Any) -> str:
    """A text, or a number as one; else ""."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def read_parameters(found: Any) -> dict[str, str]:
    """Text by name: from an object, or from a list of objects with ``name`` and ``value``.

    A value that is neither text nor a number is left out.
    """
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(found, dict):
        pairs = found.items()
    elif isinstance(found, list):
        pairs = [(p.get("name"), p.get("value")) for p in found if isinstance(p, dict)]
    return {
        name: value if isinstance(value, str) else read_text(value)
        for name, value in pairs
        if isinstance(name, str) and (isinstance(value, str) or read_text(value))
    }


def check_keys(digits: str) -> str:
    """The keys to press, as ``0-9 * # A-D``; raises UsageError for any other, without naming it."""
    keys = digits.upper()
    if not KEYS.issuperset(keys):
        raise UsageError("send_dtmf(digits): only the keys 0-9, *, # and A-D can be pressed")
    return keys
