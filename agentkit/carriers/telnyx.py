"""Telnyx media streaming, and the TeXML that asks for it.

Telnyx's pages: "Media Streaming over WebSockets", "Stream call media over WebSocket", "TeXML
verbs: <Stream>".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from agentkit.audio.formats import AudioFormat
from agentkit.carriers._twilio_family import (
    FamilyCodec,
    read_number,
    read_parameters,
    read_text,
)
from agentkit.carriers._xml import connect_stream, refuse_call
from agentkit.carriers.base import (
    MULAW_8K,
    CallerAudio,
    Codec,
    MediaEvent,
    StreamStarted,
    Unreadable,
    write_json,
)
from agentkit.carriers.documents import Document, IncomingCall, Webhook

_ERRORS = {
    100002: "an unknown error",
    100003: "a malformed message",
    100004: "media that is no base64",
    100005: "too many messages",
}
_LATE = Unreadable("media that came too late or twice")


class Reorder:
    """Chunks of audio in the order of their numbers, as long as a gap is worth waiting for.

    A chunk waits while an earlier one is missing, until three of them wait: 60 ms with Telnyx's
    chunks of 20 ms. Then the gap is given up, and what belongs into it is too late. It knows no
    time: what waits when nothing more comes is had by `flush`.
    """

    waits: ClassVar[int] = 3
    """So many waiting chunks give a gap up."""

    restarts: ClassVar[int] = 50
    """So many late chunks in a row are no late ones: the counter has begun anew."""

    def __init__(self) -> None:
        self._next = 1  # Telnyx counts from 1
        self._begun = False
        self._waiting: dict[int, bytes] = {}
        self._late = 0

    def put(self, chunk: int, data: bytes) -> list[bytes] | None:
        """What is now in order, oldest first; None if this chunk is late or a double."""
        if not self._begun:
            self._begun = True
            self._next = min(chunk, self._next)
        if chunk < self._next or chunk in self._waiting:
            return self._put_late(chunk, data)
        self._late = 0
        if chunk == self._next and not self._waiting:
            self._next += 1
            return [data]
        self._waiting[chunk] = data
        if len(self._waiting) >= self.waits and self._next not in self._waiting:
            self._next = min(self._waiting)
        return self._in_order()

    def flush(self) -> list[bytes]:
        """All that waits, in order, its gaps given up."""
        rest = [self._waiting[chunk] for chunk in sorted(self._waiting)]
        if self._waiting:
            self._next = max(self._waiting) + 1
        self._waiting.clear()
        return rest

    def _put_late(self, chunk: int, data: bytes) -> list[bytes] | None:
        self._late += 1
        if self._late < self.restarts:
            return None
        rest = self.flush()
        self._next, self._late = chunk + 1, 0
        return [*rest, data]

    def _in_order(self) -> list[bytes]:
        found = []
        while (data := self._waiting.pop(self._next, None)) is not None:
            found.append(data)
            self._next += 1
        return found


class TelnyxCodec(FamilyCodec):
    """One bidirectional stream of Telnyx, in its mode ``rtp``.

    Telnyx does not keep messages in order: media is put in order here, other events are taken as
    they come. What the caller's audio is in stands in the start; what Telnyx plays does not, for
    it is set apart from it when the stream is asked for.

    Args:
        output: what was asked for as ``bidirectionalCodec``, by default PCMU; of L16 this takes
            Telnyx's samples as little-endian, which its pages do not say.
    """

    name = "telnyx"
    hangs_up_on_close = False
    stream_key: ClassVar[str] = "stream_id"
    needs_stream: ClassVar[bool] = False

    def __init__(self, output: AudioFormat = MULAW_8K) -> None:
        super().__init__()
        self._output = output
        self._order = Reorder()

    def _describe(
        self, start: Mapping[str, Any], message: Mapping[str, Any], input: AudioFormat
    ) -> StreamStarted:
        parameters = start.get("custom_parameters", start.get("customParameters"))
        return StreamStarted(
            stream=read_text(message.get("stream_id")) or read_text(start.get("stream_id")),
            call=read_text(start.get("call_control_id")),
            input=input,
            output=self._output,
            account=read_text(start.get("user_id")),
            caller=read_text(start.get("from")),
            callee=read_text(start.get("to")),
            parameters=read_parameters(parameters),
        )

    def _report(self, event: str, message: dict[str, Any]) -> Sequence[MediaEvent]:
        if event != "error":
            return super()._report(event, message)
        payload = message.get("payload")
        code = read_number(payload.get("code")) if isinstance(payload, dict) else None
        said = _ERRORS.get(code, "another error") if code is not None else "another error"
        return (Unreadable(f"Telnyx reports {said}"),)

    def _stop(self) -> Sequence[MediaEvent]:
        rest = [CallerAudio(data) for data in self._order.flush()]
        return (*rest, *super()._stop())

    def _heard(self, audio: bytes, media: Mapping[str, Any]) -> Sequence[MediaEvent]:
        chunk = read_number(media.get("chunk"))
        if chunk is None:  # it cannot be put in order, and is heard as it came
            return (CallerAudio(audio),)
        ordered = self._order.put(chunk, audio)
        return (_LATE,) if ordered is None else [CallerAudio(data) for data in ordered]

    def _write(self, event: str, **fields: Any) -> str:
        # One stream a call: what is sent does not name it.
        return write_json({"event": event, **fields})


class TelnyxWebhook(Webhook):
    """How Telnyx asks what to do with a call, and is told, in TeXML."""

    name = "telnyx"
    codec: ClassVar[type[Codec]] = TelnyxCodec
    token_in_path: ClassVar[bool] = True
    # TeXML's CallSid looks like the stream's call_control_id; no page says that it is.
    names_stream: ClassVar[bool] = False

    def read(self, fields: Mapping[str, str]) -> IncomingCall:
        """What the fields of the request say of the call: TeXML's are Twilio's."""
        return IncomingCall(
            call=fields.get("CallSid", ""),
            caller=fields.get("From", ""),
            callee=fields.get("To", ""),
            account=fields.get("AccountSid", ""),
        )

    def connect(self, url: str, parameters: Mapping[str, str], call: IncomingCall) -> Document:
        """``<Connect><Stream>``, mu-law both ways.

        Without ``bidirectionalMode`` Telnyx would take MP3 files, one a second, and without
        ``codec`` send what the call happens to be in.

        Raises:
            ConfigError: a parameter holds a control character.
        """
        attributes = {
            "url": url,
            "track": "inbound_track",
            "codec": "PCMU",
            "bidirectionalMode": "rtp",
            "bidirectionalCodec": "PCMU",
        }
        return connect_stream(attributes, parameters)

    def refuse(self, sentence: str) -> Document:
        """Say a sentence and hang up; without one, reject the call as busy."""
        return refuse_call(sentence)
