"""Twilio Media Streams, from Twilio's side, on a bidirectional ``<Connect><Stream>``.

Messages: twilio.com/docs/voice/media-streams/websocket-messages. Documents:
twilio.com/docs/voice/twiml/stream. Signatures: twilio.com/docs/usage/webhooks/webhooks-security.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from urllib.parse import urlsplit, urlunsplit

from agentkit.testing.carriers.asking import (
    Answer,
    Connect,
    Question,
    Reply,
    read_xml,
    refusal,
)
from agentkit.testing.carriers.base import FakeCarrier
from agentkit.testing.carriers.wire import Message

_PREFIXES = {"account": "AC", "call": "CA", "stream": "MZ"}


def sign(secret: str, url: str, fields: dict[str, str]) -> str:
    """Twilio's signature: base64 of HMAC-SHA1 over the URL and the sorted fields of the form."""
    whole = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.digest(secret.encode(), whole.encode(), hashlib.sha1)).decode()


class FakeTwilio(FakeCarrier):
    """A call over Twilio. ``secret`` is the account's auth token.

    Every number outside ``mediaFormat`` is text, as with Twilio. A clear returns all pending marks,
    and nothing tells them from marks that were played. Closing the socket ends the call, unless
    the document goes on behind ``<Connect>``.
    """

    name = "twilio"
    signature_header = "X-Twilio-Signature"
    protocol_version = "1.0.0"

    def _new_id(self, of: str) -> str:
        return _PREFIXES[of] + secrets.token_hex(16)

    # ------------------------------------------------------------------------- the webhook

    def _question(self) -> Question:
        return Question(
            {
                "AccountSid": self.account,
                "ApiVersion": "2010-04-01",
                "CallSid": self.call,
                "CallStatus": "ringing",
                "Called": self.callee,
                "Caller": self.caller,
                "Direction": "inbound",
                "From": self.caller,
                "To": self.callee,
            }
        )

    def _sign(self, secret: str, url: str, question: Question) -> dict[str, str]:
        return {self.signature_header: sign(secret, url, dict(question.fields))}

    def _sign_upgrade(self, secret: str, url: str) -> dict[str, str]:
        return {self.signature_header: sign(secret, url, {})}

    def _read_answer(self, reply: Reply) -> Answer:
        root = read_xml(reply)
        stream = root.find("Connect/Stream")
        if stream is None:
            if root.find("Start/Stream") is not None:
                raise ValueError("<Start><Stream> is one way: the caller would hear nothing")
            return refusal(root)
        url = stream.get("url", "")
        parts = urlsplit(url)
        if parts.scheme not in {"ws", "wss"}:
            raise ValueError("<Stream> has no url= with wss://")
        if parts.query:
            self._wrong("the stream's url has a query string, which Twilio does not pass on")
            url = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        parameters = {item.get("name", ""): item.get("value", "") for item in stream}
        for name, value in parameters.items():
            if len(name) + len(value) >= 500:
                self._wrong(f"<Parameter name={name!r}> is longer than 500 characters")
        tags = [child.tag for child in root]
        behind = tags[tags.index("Connect") + 1 :]
        return Connect(
            url,
            parameters,
            keeps_call=behind not in ([], ["Hangup"]),
            headers=self._stream_headers(dict(stream.attrib)),
        )

    def _stream_headers(self, attributes: dict[str, str]) -> dict[str, str]:
        return {}

    # ------------------------------------------------------------------------- to the bot

    def _hello(self) -> list[Message]:
        hello = {"event": "connected", "protocol": "Call", "version": self.protocol_version}
        return [json.dumps(hello)]

    def start_message(self) -> Message:
        """The start of the stream."""
        self._sequence += 1
        start = {
            "accountSid": self.account,
            "streamSid": self.stream,
            "callSid": self.call,
            "tracks": ["inbound"],
            "mediaFormat": self._media_format(),
            "customParameters": self.parameters,
        }
        return json.dumps(
            {
                "event": "start",
                "sequenceNumber": str(self._sequence),
                "start": start,
                **self._named(),
            }
        )

    def _media_format(self) -> dict[str, str | int]:
        return {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}

    def _named(self) -> dict[str, str]:
        """How start, media and stop name the stream."""
        return {"streamSid": self.stream}

    def media_message(self, encoded: str | bytes, *, stream: str = "") -> Message:
        """The next media, of audio in base64."""
        self._sequence += 1
        self._chunk += 1
        return (
            f'{{"event":"media","sequenceNumber":"{self._sequence}","media":{{"track":"inbound",'
            f'"chunk":"{self._chunk}","timestamp":"{self._milliseconds}","payload":"{encoded!s}"}},'
            f'"streamSid":"{stream or self.stream}"}}'
        )

    def foreign_media(self) -> Message:
        """Media of another stream."""
        return self.media_message(self._silence, stream="MZ" + "0" * 32)

    def dtmf_message(self, digit: str) -> Message:
        """A key was pressed."""
        self._sequence += 1
        return json.dumps(
            {
                "event": "dtmf",
                "streamSid": self.stream,
                "sequenceNumber": str(self._sequence),
                "dtmf": {"track": "inbound_track", "digit": digit},
            }
        )

    def mark_message(self, name: str, *, cleared: bool) -> Message:
        """A mark comes back; that it was cleared is not said."""
        self._sequence += 1
        return json.dumps(
            {
                "event": "mark",
                "sequenceNumber": str(self._sequence),
                "streamSid": self.stream,
                "mark": {"name": name},
            }
        )

    def stop_message(self) -> Message | None:
        """The end of the stream."""
        self._sequence += 1
        return json.dumps(
            {
                "event": "stop",
                "sequenceNumber": str(self._sequence),
                "stop": {"accountSid": self.account, "callSid": self.call},
                **self._named(),
            }
        )

    # ------------------------------------------------------------------------- from the bot

    def _read(self, message: Message) -> None:
        if (found := self._object(message)) is None:
            return
        event = found.get("event")
        if found.get("streamSid") != self.stream:
            self._wrong(f"{event!s:.20} without the stream's streamSid")
            return
        inner = found.get(event) if isinstance(event, str) else None
        inner = inner if isinstance(inner, dict) else {}
        if event == "media":
            self._hear_payload(inner.get("payload"))
        elif event == "mark":
            self._mark(inner.get("name"))
        elif event == "clear":
            self._clear()
        elif not self._read_more(event, inner):
            self._wrong(f"an event that {self.name} does not know: {event!s:.20}")

    def _read_more(self, event: object, inner: dict[str, object]) -> bool:
        """Read what this carrier knows beyond Twilio; False if it does not."""
        return False
