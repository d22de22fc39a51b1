"""Telnyx media streaming, from Telnyx's side, in bidirectional RTP mode.

Messages: developers.telnyx.com, "Media streaming over WebSocket". Documents: TeXML ``<Stream>``.
Signatures: developers.telnyx.com, "Webhook signing" (Ed25519).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agentkit.audio.formats import AudioFormat
from agentkit.testing.carriers.asking import (
    Answer,
    Connect,
    Question,
    Reply,
    read_xml,
    refusal,
)
from agentkit.testing.carriers.base import MULAW_8K, FakeCarrier
from agentkit.testing.carriers.wire import Message

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_CODECS = {"PCMU": MULAW_8K, "PCMA": AudioFormat("alaw", 8000)}
_NAMES = {"mulaw": "PCMU", "alaw": "PCMA", "linear16": "L16"}
_SHORTEST, _LONGEST = 0.02, 30.0


class FakeTelnyx(FakeCarrier):
    """A call over Telnyx. ``secret`` makes the key that signs; the bot is given `public_key`.

    The stream is named by every message's ``stream_id``, and by none of the bot's. A clear returns
    all pending marks. Closing the socket does not end the call: it lasts until the bot hangs up
    over REST. Messages may come in the wrong order: ``caller.faults.reorder()``.
    """

    name = "telnyx"
    closing_ends_call = False

    @property
    def public_key(self) -> str:
        """The account's public key in base64, as Telnyx's portal shows it."""
        from cryptography.hazmat.primitives import serialization

        key = _key(self.secret or "").public_key()
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return base64.b64encode(raw).decode()

    def _new_id(self, of: str) -> str:
        return f"v3:{secrets.token_urlsafe(32)}" if of == "call" else str(uuid.uuid4())

    # ------------------------------------------------------------------------- the webhook

    def _question(self) -> Question:
        return Question(
            {
                "AccountSid": self.account,
                "CallSid": self.call,
                "CallSidLegacy": self.call,
                "CallStatus": "ringing",
                "ConnectionId": "1234567890",
                "Direction": "inbound",
                "From": self.caller,
                "To": self.callee,
            }
        )

    def _sign(self, secret: str, url: str, question: Question) -> dict[str, str]:
        stamp = str(int(self._wall_clock()))
        signature = _key(secret).sign(stamp.encode() + b"|" + question.body())
        return {
            "telnyx-timestamp": stamp,
            "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
        }

    def _read_answer(self, reply: Reply) -> Answer:
        root = read_xml(reply)
        stream = root.find("Connect/Stream")
        if stream is None:
            stream = root.find("Start/Stream")
        if stream is None:
            return refusal(root)
        if stream.get("bidirectionalMode") != "rtp":
            raise ValueError('<Stream> needs bidirectionalMode="rtp": the default is mp3')
        codec = stream.get("bidirectionalCodec", "PCMU")
        rate = int(stream.get("bidirectionalSamplingRate", "8000"))
        audio = AudioFormat("linear16", rate) if codec == "L16" else _CODECS.get(codec)
        if audio is None:
            raise ValueError(f"bidirectionalCodec={codec!r} is none that this fake plays")
        parameters = {
            item.get("name", ""): item.get("value", "") for item in stream.findall("Parameter")
        }
        return Connect(stream.get("url", ""), parameters, audio, keeps_call=True)

    # ------------------------------------------------------------------------- to the bot

    def _hello(self) -> list[Message]:
        return ['{"event":"connected","version":"1.0.0"}']

    def _numbered(self, event: str, **fields: object) -> Message:
        self._sequence += 1
        return json.dumps(
            {
                "event": event,
                "sequence_number": str(self._sequence),
                **fields,
                "stream_id": self.stream,
            }
        )

    def start_message(self) -> Message:
        """The start of the stream."""
        media_format = {
            "encoding": _NAMES[self.audio.encoding],
            "sample_rate": self.audio.rate,
            "channels": 1,
        }
        start = {
            "user_id": self.account,
            "call_control_id": self.call,
            "call_session_id": str(uuid.uuid4()),
            "from": self.caller,
            "to": self.callee,
            "tags": [],
            "client_state": "",
            "custom_parameters": self.parameters,
            "media_format": media_format,
        }
        return self._numbered("start", start=start)

    def media_message(self, encoded: str | bytes, *, stream: str = "") -> Message:
        """The next media, of audio in base64."""
        self._sequence += 1
        self._chunk += 1
        return (
            f'{{"event":"media","sequence_number":"{self._sequence}","media":{{"track":"inbound",'
            f'"chunk":"{self._chunk}","timestamp":"{self._milliseconds}","payload":"{encoded!s}"}},'
            f'"stream_id":"{stream or self.stream}"}}'
        )

    def foreign_media(self) -> Message:
        """Media of another stream."""
        return self.media_message(self._silence, stream=str(uuid.UUID(int=0)))

    def dtmf_message(self, digit: str) -> Message:
        """A key was pressed; ``occurred_at`` orders them."""
        at = datetime.fromtimestamp(self._wall_clock(), UTC).isoformat().replace("+00:00", "Z")
        return self._numbered("dtmf", occurred_at=at, dtmf={"digit": digit})

    def mark_message(self, name: str, *, cleared: bool) -> Message:
        """A mark comes back; that it was cleared is not said."""
        return self._numbered("mark", mark={"name": name})

    def stop_message(self) -> Message | None:
        """The end of the stream."""
        stop = {"user_id": self.account, "call_control_id": self.call}
        return self._numbered("stop", stop=stop)

    def _complain(self, code: int, title: str, detail: str) -> None:
        """Tell the bot what was wrong, as Telnyx does."""
        self._wrong(detail)
        payload = {"code": code, "title": title, "detail": detail}
        self._post(json.dumps({"event": "error", "payload": payload, "stream_id": self.stream}))

    # ------------------------------------------------------------------------- from the bot

    def _read(self, message: Message) -> None:
        errors = len(self.protocol_errors)
        found = self._object(message)
        if found is None:
            how = self.protocol_errors.pop(errors)
            self._complain(100003, "malformed_frame", how)
            return
        event = found.get("event")
        inner = found.get(event) if isinstance(event, str) else None
        inner = inner if isinstance(inner, dict) else {}
        if event == "media":
            self._read_media(inner.get("payload"))
        elif event == "mark":
            self._mark(inner.get("name"))
        elif event == "clear":
            self._clear()
        else:
            detail = f"an event that telnyx does not know: {event!s:.20}"
            self._complain(100002, "unknown_error", detail)

    def _read_media(self, payload: object) -> None:
        errors = len(self.protocol_errors)
        if not (size := self._hear_payload(payload)):
            self._complain(100004, "invalid_media", self.protocol_errors.pop(errors))
            return
        if not _SHORTEST <= self.audio.seconds(size) <= _LONGEST:
            self._wrong("media shorter than 20 ms or longer than 30 s")


def _key(secret: str) -> Ed25519PrivateKey:
    """The signing key that a secret stands for."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(secret.encode()).digest())
