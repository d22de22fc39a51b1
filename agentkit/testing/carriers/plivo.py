"""Plivo audio streaming, from Plivo's side.

Messages and ``<Stream>``: plivo.com/docs, "Audio streaming". Signatures: version 3, as Plivo's
SDKs check it (plivo-python, ``plivo/utils/signature_v3.py``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

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
from agentkit.testing.carriers.call import KEYS
from agentkit.testing.carriers.wire import Message

_TYPES = {
    "audio/x-mulaw;rate=8000": MULAW_8K,
    "audio/x-l16;rate=8000": AudioFormat("linear16", 8000),
    "audio/x-l16;rate=16000": AudioFormat("linear16", 16000),
}


def sign(secret: str, url: str, fields: dict[str, str] | None, nonce: str) -> str:
    """Plivo's signature V3 of a POST with these fields, or of a GET."""
    parts = urlsplit(url)
    query = urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True)))
    base = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    if query or fields:
        base += f"?{query}"
    if query and fields:
        base += "."
    base += "".join(name + value for name, value in sorted((fields or {}).items()))
    digest = hmac.digest(secret.encode(), f"{base}.{nonce}".encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


class FakePlivo(FakeCarrier):
    """A call over Plivo. ``secret`` is the account's auth token.

    Numbers are numbers here, and there is no first message before the start. A checkpoint comes
    back only if what stood before it was really played: a clear is confirmed by ``clearedAudio``
    and forgets them. The buffer holds 60 seconds.

    Attributes:
        separator: between the pairs of ``extra_headers``: Plivo's pages show both ``;`` and ``,``.
    """

    name = "plivo"
    echoes_cleared_marks = False
    buffer_limit = 60.0
    separator = ";"

    def _new_id(self, of: str) -> str:
        return "MA" + secrets.token_hex(9).upper() if of == "account" else str(uuid.uuid4())

    # ------------------------------------------------------------------------- the webhook

    def _question(self) -> Question:
        return Question(
            {
                "CallUUID": self.call,
                "CallStatus": "ringing",
                "Direction": "inbound",
                "Event": "StartApp",
                "From": self.caller.lstrip("+"),
                "ParentAuthID": self.account,
                "To": self.callee.lstrip("+"),
            }
        )

    def _sign(self, secret: str, url: str, question: Question) -> dict[str, str]:
        return self._headers_of(secret, url, dict(question.fields))

    def _sign_upgrade(self, secret: str, url: str) -> dict[str, str]:
        return self._headers_of(secret, url, None)

    def _headers_of(self, secret: str, url: str, fields: dict[str, str] | None) -> dict[str, str]:
        nonce = str(secrets.randbelow(10**20))
        signature = sign(secret, url, fields, nonce)
        return {"X-Plivo-Signature-V3": signature, "X-Plivo-Signature-V3-Nonce": nonce}

    def _read_answer(self, reply: Reply) -> Answer:
        root = read_xml(reply)
        stream = root.find("Stream")
        if stream is None:
            return refusal(root)
        if stream.get("bidirectional") != "true":
            raise ValueError('<Stream> needs bidirectional="true": the caller would hear nothing')
        kind = stream.get("contentType", "audio/x-l16;rate=8000").replace(" ", "")
        if kind not in _TYPES:
            raise ValueError(f"contentType={kind!r}: it is one of {', '.join(_TYPES)}")
        extra = stream.get("extraHeaders", "")
        if len(extra.encode()) > 512:
            self._wrong("extraHeaders is longer than 512 bytes")
        pairs = [pair.partition("=") for pair in extra.replace(";", ",").split(",") if pair]
        parameters = {name.strip(): value.strip() for name, _, value in pairs}
        keeps_call = stream.get("keepCallAlive") == "true"
        return Connect((stream.text or "").strip(), parameters, _TYPES[kind], keeps_call)

    # ------------------------------------------------------------------------- to the bot

    @property
    def _extra(self) -> str:
        return self.separator.join(f"{name}={value}" for name, value in self.parameters.items())

    def start_message(self) -> Message:
        """The start of the stream."""
        self._sequence += 1
        encoding = "audio/x-mulaw" if self.audio.encoding == "mulaw" else "audio/x-l16"
        start = {
            "callId": self.call,
            "streamId": self.stream,
            "accountId": self.account,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": encoding, "sampleRate": self.audio.rate},
        }
        return json.dumps(
            {
                "sequenceNumber": self._sequence,
                "event": "start",
                "start": start,
                "extra_headers": self._extra,
            }
        )

    def media_message(self, encoded: str | bytes, *, stream: str = "") -> Message:
        """The next media, of audio in base64; the stamp is the time of day."""
        self._sequence += 1
        self._chunk += 1
        return (
            f'{{"sequenceNumber":{self._sequence},"streamId":"{stream or self.stream}",'
            f'"event":"media","media":{{"track":"inbound","timestamp":"{self._stamp}",'
            f'"chunk":{self._chunk},"payload":"{encoded!s}"}},'
            f'"extra_headers":{json.dumps(self._extra)}}}'
        )

    @property
    def _stamp(self) -> int:
        return int(self._wall_clock() * 1000)

    def foreign_media(self) -> Message:
        """Media of another stream."""
        return self.media_message(self._silence, stream=str(uuid.UUID(int=0)))

    def _numbered(self, event: str, **fields: object) -> Message:
        self._sequence += 1
        return json.dumps(
            {
                "sequenceNumber": self._sequence,
                "streamId": self.stream,
                "event": event,
                **fields,
            }
        )

    def dtmf_message(self, digit: str) -> Message:
        """A key was pressed."""
        dtmf = {"track": "inbound", "digit": digit, "timestamp": str(self._stamp)}
        return self._numbered("dtmf", dtmf=dtmf, extra_headers=self._extra)

    def mark_message(self, name: str, *, cleared: bool) -> Message:
        """A checkpoint was played."""
        return self._numbered("playedStream", name=name)

    def _cleared(self) -> Callable[[], Message] | None:
        return lambda: self._numbered("clearedAudio")

    # ------------------------------------------------------------------------- from the bot

    def _read(self, message: Message) -> None:
        if (found := self._object(message)) is None:
            return
        event = found.get("event")
        if found.get("streamId", self.stream) != self.stream:
            self._wrong(f"{event!s:.20} with another stream's streamId")
        elif event == "playAudio":
            self._read_audio(found.get("media"))
        elif event == "checkpoint":
            self._mark(found.get("name"))
        elif event == "clearAudio":
            self._clear()
        elif event == "sendDTMF":
            self._read_keys(found.get("dtmf"))
        else:
            self._wrong(f"an event that plivo does not know: {event!s:.20}")

    def _read_audio(self, media: object) -> None:
        media = media if isinstance(media, dict) else {}
        kind = f"{media.get('contentType')};rate={media.get('sampleRate')}"
        if _TYPES.get(kind) != self.audio:
            self._wrong("playAudio in another format than the stream's")
            return
        self._hear_payload(media.get("payload"))

    def _read_keys(self, keys: object) -> None:
        if isinstance(keys, str) and keys and set(keys) <= KEYS:
            self._log("dtmf", keys)
        else:
            self._wrong("sendDTMF without keys")
