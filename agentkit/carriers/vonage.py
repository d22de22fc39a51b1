"""Vonage Voice: the WebSocket of a call, and the call control objects (NCCO) that connect to it.

Sources: developer.vonage.com, "WebSockets in the Vonage Voice API", "NCCO reference" and "Voice API
Webhooks Reference". Audio is binary, signed 16-bit little-endian, 20 ms a message; all else is JSON
text. The socket is a participant of its own: closing it leaves the caller in the call, which goes
on with the next action of its NCCO.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentkit.audio.dtmf import as_key
from agentkit.audio.formats import AudioFormat
from agentkit.carriers.base import (
    FRAME,
    CallerAudio,
    CallerKey,
    Codec,
    MarkReached,
    MediaEvent,
    Message,
    StreamStarted,
    Unreadable,
    read_json,
    write_json,
)
from agentkit.carriers.documents import Document, IncomingCall, Webhook
from agentkit.errors import ConfigError

RATE = 16000
"""Hz of the audio that the NCCO asks for."""
MOST_HEADERS = 512
"""Bytes of JSON that an NCCO may hand to the socket."""

_CALL = "uuid"
_RESERVED = frozenset({"event", "content-type", _CALL})
_L16 = re.compile(r"\s*audio/l16\s*;\s*rate\s*=\s*\"?(\d{4,5})\"?\s*", re.IGNORECASE)


class VonageCodec(Codec):
    """Vonage's dialect.

    The socket does not name the call: its uuid arrives as the header ``uuid`` of the NCCO, as
    `VonageWebhook` writes it. What becomes of the marks that are pending at a clear is not
    documented; `CallerAudio` may come in other sizes than 20 ms.
    """

    name = "vonage"
    hangs_up_on_close = False

    def __init__(self) -> None:
        self._frame = 0  # bytes; none before the start

    def receive(self, message: Message) -> Sequence[MediaEvent]:
        """What a message says; see `Codec.receive`."""
        if isinstance(message, bytes):
            return (self._audio(message),)
        found = read_json(message)
        if isinstance(found, Unreadable):
            return (found,)
        match found.get("event"):
            case "websocket:connected":
                return (self._start(found),)
            case _ if not self._frame:
                return (Unreadable("an event before the start"),)
            case "websocket:dtmf":
                return (_key(found),)
            case "websocket:notify":
                return (_mark(found),)
            case "websocket:cleared":
                return ()
            case _:
                return (Unreadable("an unknown event"),)

    def play(self, audio: bytes) -> Sequence[Message]:
        """A message for each frame: Vonage plays no other size."""
        return [audio[at : at + self._frame] for at in range(0, len(audio), self._frame)]

    def mark(self, name: str) -> Sequence[Message]:
        """A notification that comes back once the audio before it was played."""
        return (write_json({"action": "notify", "payload": {"name": name}}),)

    def clear(self) -> Sequence[Message]:
        """Vonage answers ``websocket:cleared``, which says nothing more."""
        return (write_json({"action": "clear"}),)

    def _audio(self, data: bytes) -> MediaEvent:
        if not self._frame:
            return Unreadable("audio before the start")
        if not data or len(data) % 2:
            return Unreadable("audio that is no whole samples")
        return CallerAudio(data)

    def _start(self, found: Mapping[str, Any]) -> MediaEvent:
        if self._frame:
            return Unreadable("a second start")
        form = _format(found.get("content-type"))
        if form is None:
            return Unreadable("a start whose content-type is not audio/l16 at a known rate")
        self._frame = form.size(FRAME)
        call = found.get(_CALL)
        return StreamStarted(
            stream="",
            call=call if isinstance(call, str) else "",
            input=form,
            output=form,
            parameters={
                name: value
                for name, value in found.items()
                if name not in _RESERVED and isinstance(value, str)
            },
        )


def _format(content_type: object) -> AudioFormat | None:
    """8,000 and 16,000 Hz are documented; newer accounts have 24,000 too."""
    match = _L16.fullmatch(content_type) if isinstance(content_type, str) else None
    rate = int(match[1]) if match else 0
    return AudioFormat("linear16", rate) if rate in (8000, 16000, 24000) else None


def _key(found: Mapping[str, Any]) -> MediaEvent:
    """The key stands at the top, or inside ``dtmf``, or is ``dtmf``."""
    dtmf = found.get("dtmf")
    inner = dtmf.get("digit") if isinstance(dtmf, dict) else dtmf
    key = as_key(found.get("digit", inner))
    return Unreadable("a key that is none") if key is None else CallerKey(key)


def _mark(found: Mapping[str, Any]) -> MediaEvent:
    payload = found.get("payload")
    name = payload.get("name") if isinstance(payload, dict) else None
    return MarkReached(name) if isinstance(name, str) else Unreadable("a mark without a name")


class VonageWebhook(Webhook):
    """Vonage's answer URL: a GET with a query, or a POST with a JSON object."""

    name = "vonage"
    codec = VonageCodec

    def read(self, fields: Mapping[str, str]) -> IncomingCall:
        """What the answer webhook's fields say; see `Webhook.read`."""
        return IncomingCall(
            call=fields.get(_CALL, ""), caller=fields.get("from", ""), callee=fields.get("to", "")
        )

    def connect(self, url: str, parameters: Mapping[str, str], call: IncomingCall) -> Document:
        """A ``connect`` action; see `Webhook.connect`.

        Raises:
            ConfigError: the parameters do not fit into the 512 bytes that Vonage hands on, or one
                has a name that the first message has another use for.
        """
        if taken := sorted(_RESERVED & parameters.keys()):
            raise ConfigError("parameters", f"Vonage has its own {taken[0]!r}: choose another name")
        headers = {**parameters, _CALL: call.call}
        size = len(write_json(headers).encode())
        if size > MOST_HEADERS:
            raise ConfigError(
                "parameters",
                f"{size} bytes as JSON, and Vonage hands on {MOST_HEADERS}: send fewer or shorter",
            )
        endpoint = {
            "type": "websocket",
            "uri": url,
            "content-type": f"audio/l16;rate={RATE}",
            "headers": headers,
        }
        return _ncco({"action": "connect", "endpoint": [endpoint]})

    def refuse(self, sentence: str) -> Document:
        """A ``talk`` action: a call whose NCCO is done ends."""
        return _ncco({"action": "talk", "text": sentence})


def _ncco(*actions: Mapping[str, Any]) -> Document:
    return Document("application/json", json.dumps(actions, separators=(",", ":")))
