"""SignalWire's cXML streams: Twilio's protocol with differences of its own.

Messages: signalwire.com/docs, cXML ``<Stream>``. Signatures: the validators of SignalWire's SDKs.
"""

from __future__ import annotations

import json
import uuid
from typing import ClassVar

from agentkit.audio.formats import AudioFormat
from agentkit.testing.carriers.asking import Answer, Connect, Reply, read_xml
from agentkit.testing.carriers.base import MULAW_8K
from agentkit.testing.carriers.call import KEYS
from agentkit.testing.carriers.twilio import FakeTwilio
from agentkit.testing.carriers.wire import Message

_CODECS = {
    "PCMU@8000h": MULAW_8K,
    "L16@16000h": AudioFormat("linear16", 16000),
    "L16@24000h": AudioFormat("linear16", 24000),
}


class FakeSignalWire(FakeTwilio):
    """A call over SignalWire. ``secret`` is the project's signing key.

    Ids are UUIDs, start, media and stop do not name the stream, marks have no number, and the bot
    may press keys. Audio may be linear, 16-bit little-endian.
    """

    name: ClassVar[str] = "signalwire"
    signature_header = "X-SignalWire-Signature"
    protocol_version = "0.2.0"

    def _new_id(self, of: str) -> str:
        return str(uuid.uuid4())

    def _read_answer(self, reply: Reply) -> Answer:
        answer = super()._read_answer(reply)
        if not isinstance(answer, Connect):
            return answer
        stream = read_xml(reply).find("Connect/Stream")
        codec = "PCMU@8000h" if stream is None else stream.get("codec", "PCMU@8000h")
        if codec not in _CODECS:
            raise ValueError(f"codec={codec!r}: it is one of {', '.join(_CODECS)}")
        return Connect(
            answer.url, answer.parameters, _CODECS[codec], answer.keeps_call, answer.headers
        )

    def _stream_headers(self, attributes: dict[str, str]) -> dict[str, str]:
        token = attributes.get("authBearerToken")
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _media_format(self) -> dict[str, str | int]:
        encoding = "audio/x-mulaw" if self.audio.encoding == "mulaw" else "audio/x-L16"
        return {"encoding": encoding, "sampleRate": self.audio.rate, "channels": 1}

    def _named(self) -> dict[str, str]:
        return {}

    def media_message(self, encoded: str | bytes, *, stream: str = "") -> Message:
        """The next media, of audio in base64; another stream's is named."""
        self._sequence += 1
        self._chunk += 1
        named = f',"streamSid":"{stream}"' if stream else ""
        return (
            f'{{"event":"media","sequenceNumber":"{self._sequence}","media":{{"track":"inbound",'
            f'"chunk":"{self._chunk}","timestamp":"{self._milliseconds}","payload":"{encoded!s}"}}'
            f"{named}}}"
        )

    def foreign_media(self) -> Message:
        """Media of another stream."""
        return self.media_message(self._silence, stream=str(uuid.UUID(int=0)))

    def dtmf_message(self, digit: str) -> Message:
        """A key was pressed; ``duration`` is in milliseconds."""
        self._sequence += 1
        return json.dumps(
            {
                "event": "dtmf",
                "streamSid": self.stream,
                "sequenceNumber": str(self._sequence),
                "dtmf": {"digit": digit, "duration": 100},
            }
        )

    def mark_message(self, name: str, *, cleared: bool) -> Message:
        """A mark comes back; it has no number."""
        return json.dumps({"event": "mark", "streamSid": self.stream, "mark": {"name": name}})

    def _read_more(self, event: object, inner: dict[str, object]) -> bool:
        if event != "dtmf":
            return False
        digit = inner.get("digit")
        if isinstance(digit, str) and digit in KEYS:
            self._log("dtmf", digit)
        else:
            self._wrong("a dtmf without a digit")
        return True
