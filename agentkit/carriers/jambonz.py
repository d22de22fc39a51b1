"""jambonz: the socket of its ``listen`` verb, and the verbs that connect to it.

Sources: docs.jambonz.org, the verbs ``listen``, ``answer``, ``say``, ``hangup`` and the webhook
"New Call"; jambonz-feature-server, lib/tasks/listen.js; jambonz/freeswitch-modules, mod_audio_fork.
The first message is JSON: what is known of the call, the verb's ``metadata`` merged into it. Audio
is binary, signed 16-bit little-endian, of any length; all else is JSON text. FreeSWITCH alone, with
mod_audio_fork, speaks the same: its metadata then has to name the ``sampleRate``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentkit.audio.dtmf import as_key
from agentkit.audio.formats import AudioFormat
from agentkit.carriers.base import (
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

RATE = 16000
"""Hz of the audio that the verb asks for, in both directions."""

_RATES = frozenset({8000, 16000, 24000, 32000, 48000, 64000})
_TOLD_APART = frozenset(
    {"accountSid", "account_sid", "callSid", "call_sid", "from", "metadata", "mixType",
     "sampleRate", "to"}
)  # fmt: skip
"""What of the first message has a field of its own: no parameter."""


class JambonzCodec(Codec):
    """jambonz's dialect.

    The first message tells the rate of the caller's audio only: the verb has to ask for the same
    one for ours (``bidirectionalAudio.sampleRate``), as `JambonzWebhook` does. Marks that are
    pending at a clear come back as cleared, which is no `MarkReached`. A hang-up ends the verb;
    the call goes on with the verb after it, which is ``hangup`` in `JambonzWebhook`.
    """

    name = "jambonz"
    subprotocols = ("audio.jambonz.org", "audio.drachtio.org")
    hangs_up_on_close = False

    def __init__(self) -> None:
        self._started = False

    def receive(self, message: Message) -> Sequence[MediaEvent]:
        """What a message says; see `Codec.receive`."""
        if isinstance(message, bytes):
            return (self._audio(message),)
        found = read_json(message)
        if isinstance(found, Unreadable):
            return (found,)
        if not self._started:
            return (self._start(found),)
        if found.get("event") == "dtmf":
            key = as_key(found.get("dtmf"))
            return (Unreadable("a key that is none") if key is None else CallerKey(key),)
        if found.get("type") == "mark":
            return _mark(found.get("data"))
        if "sampleRate" in found:
            return (Unreadable("a second start"),)
        return (Unreadable("an unknown event"),)

    def play(self, audio: bytes) -> Sequence[Message]:
        """One message, of any length."""
        return (audio,) if audio else ()

    def mark(self, name: str) -> Sequence[Message]:
        """It comes back as ``playout`` or as ``cleared``."""
        return (write_json({"type": "mark", "data": {"name": name}}),)

    def clear(self) -> Sequence[Message]:
        """Audio and marks are dropped; the marks come back as ``cleared``."""
        return (write_json({"type": "killAudio"}),)

    def hang_up(self) -> Sequence[Message]:
        """End the verb; see the class."""
        return (write_json({"type": "disconnect"}),)

    def _audio(self, data: bytes) -> MediaEvent:
        if not self._started:
            return Unreadable("audio before the start")
        if not data or len(data) % 2:
            return Unreadable("audio that is no whole samples")
        return CallerAudio(data)

    def _start(self, found: Mapping[str, Any]) -> MediaEvent:
        rate = found.get("sampleRate")
        if isinstance(rate, str) and rate.isdecimal() and len(rate) < 6:
            rate = int(rate)
        if type(rate) is not int or rate not in _RATES:
            return Unreadable("a start without a sampleRate that is known")
        # "stereo" has two channels, and in "mixed" the caller's channel holds our own voice.
        if found.get("mixType", "mono") != "mono":
            return Unreadable("a start whose mixType is not mono: set it to mono in the verb")
        self._started = True
        form = AudioFormat("linear16", rate)
        return StreamStarted(
            stream="",
            call=_text(found, "callSid", "call_sid"),
            input=form,
            output=form,
            account=_text(found, "accountSid", "account_sid"),
            caller=_text(found, "from"),
            callee=_text(found, "to"),
            parameters=_parameters(found),
        )


def _text(found: Mapping[str, Any], *names: str) -> str:
    return next((value for name in names if isinstance(value := found.get(name), str)), "")


def _parameters(found: Mapping[str, Any]) -> dict[str, str]:
    """The verb's metadata, which jambonz merges into what it says of the call, or keeps apart."""
    apart = found.get("metadata")
    merged = {name: value for name, value in found.items() if name not in _TOLD_APART}
    both = {**(apart if isinstance(apart, dict) else {}), **merged}
    return {name: value for name, value in both.items() if isinstance(value, str)}


def _mark(data: object) -> Sequence[MediaEvent]:
    name = data.get("name") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(name, str):
        return (Unreadable("a mark without a name"),)
    match data.get("event"):
        case "playout":
            return (MarkReached(name),)
        case "cleared":
            return ()
        case _:
            return (Unreadable("a mark that was neither played nor cleared"),)


class JambonzWebhook(Webhook):
    """jambonz's calling webhook: a POST with a JSON object, or a GET with a query."""

    name = "jambonz"
    codec = JambonzCodec

    def read(self, fields: Mapping[str, str]) -> IncomingCall:
        """What the webhook's fields say; see `Webhook.read`."""
        return IncomingCall(
            call=_text(fields, "call_sid", "callSid"),
            caller=fields.get("from", ""),
            callee=fields.get("to", ""),
            account=_text(fields, "account_sid", "accountSid"),
        )

    def connect(self, url: str, parameters: Mapping[str, str], call: IncomingCall) -> Document:
        """Answer, listen, and hang up after it; see `Webhook.connect`."""
        listen = {
            "verb": "listen",
            "url": url,
            "mixType": "mono",
            "sampleRate": RATE,
            "passDtmf": True,
            # Without `streaming` the caller hears nothing, and the rate has no default.
            "bidirectionalAudio": {"enabled": True, "streaming": True, "sampleRate": RATE},
            "metadata": dict(parameters),
        }
        return _verbs({"verb": "answer"}, listen, {"verb": "hangup"})

    def refuse(self, sentence: str) -> Document:
        """Say the sentence and hang up."""
        return _verbs({"verb": "say", "text": sentence}, {"verb": "hangup"})


def _verbs(*verbs: Mapping[str, Any]) -> Document:
    return Document("application/json", json.dumps(verbs, separators=(",", ":")))
