"""Plivo's audio streams, and the XML that asks for one.

Plivo's pages: "Audio Streaming Guide", "Audio Streaming Protocol Reference", "XML: <Stream>".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from agentkit.audio.formats import AudioFormat, Encoding
from agentkit.carriers._twilio_family import (
    FamilyCodec,
    check_keys,
    read_mark,
    read_parameters,
    read_text,
)
from agentkit.carriers._xml import check_parameter, refuse_call, write_xml
from agentkit.carriers.base import (
    Codec,
    MediaEvent,
    Message,
    StreamStarted,
    read_json,
    write_json,
)
from agentkit.carriers.documents import Document, IncomingCall, Webhook
from agentkit.errors import ConfigError

_MOST_HEADERS = 512
"""Bytes of ``extraHeaders``."""

_CONTENT_TYPES: dict[Encoding, str] = {
    "mulaw": "audio/x-mulaw",
    "alaw": "audio/x-alaw",
    "linear16": "audio/x-l16",
}
_PAIR = re.compile(r"\s*\"?(?:X-PH-)?([^=:\"]+?)\"?\s*[=:]\s*\"?(.*?)\"?\s*", re.I | re.S)


class PlivoCodec(FamilyCodec):
    """One bidirectional stream of Plivo.

    A checkpoint is reported only if what stands before it was really played: after a clear those
    that were pending never are. The call outlives the socket (``keepCallAlive``).
    """

    name = "plivo"
    hangs_up_on_close = False
    stream_key: ClassVar[str] = "streamId"

    def mark(self, name: str) -> Sequence[Message]:
        """Ask for `MarkReached` once all that was queued so far has been heard."""
        return (self._write("checkpoint", name=name),)

    def clear(self) -> Sequence[Message]:
        """Drop at the far end what has not been heard."""
        return (self._write("clearAudio"),)

    def send_dtmf(self, digits: str) -> Sequence[Message]:
        """Press keys towards the far end, one message a key. Raises UsageError for other keys."""
        return [write_json({"event": "sendDTMF", "dtmf": key}) for key in check_keys(digits)]

    def _describe(
        self, start: Mapping[str, Any], message: Mapping[str, Any], input: AudioFormat
    ) -> StreamStarted:
        headers = message.get("extra_headers", start.get("extra_headers"))
        return StreamStarted(
            stream=read_text(start.get("streamId")) or read_text(message.get("streamId")),
            call=read_text(start.get("callId")),
            input=input,
            output=input,
            account=read_text(start.get("accountId")) or read_text(start.get("auth_id")),
            parameters=read_parameters(start.get("customParameters")) | read_headers(headers),
        )

    def _report(self, event: str, message: dict[str, Any]) -> Sequence[MediaEvent]:
        if event == "end":  # another name that Plivo's SDKs know for it
            event = "stop"
        if event not in ("playedStream", "clearedAudio"):
            return super()._report(event, message)
        if misplaced := self._misplaced(message):
            return (misplaced,)
        return (read_mark(message.get("name")),) if event == "playedStream" else ()

    def _around_audio(self, started: StreamStarted) -> str:
        audio = started.output
        content = {"contentType": _CONTENT_TYPES[audio.encoding], "sampleRate": audio.rate}
        return write_json({"event": "playAudio", "media": content | {"payload": ""}})


class PlivoWebhook(Webhook):
    """How Plivo asks what to do with a call, and is told, in Plivo XML."""

    name = "plivo"
    codec: ClassVar[type[Codec]] = PlivoCodec

    def read(self, fields: Mapping[str, str]) -> IncomingCall:
        """What the fields of the request say of the call."""
        return IncomingCall(
            call=fields.get("CallUUID", ""),
            caller=fields.get("From", ""),
            callee=fields.get("To", ""),
            account=fields.get("ParentAuthID", ""),
        )

    def connect(self, url: str, parameters: Mapping[str, str], call: IncomingCall) -> Document:
        """``<Stream>`` both ways in mu-law, which Plivo's pages do not agree to be its default.

        Raises:
            ConfigError: the parameters make more than the 512 bytes that ``extraHeaders`` holds.
        """
        attributes = {
            "bidirectional": "true",
            "keepCallAlive": "true",
            "audioTrack": "inbound",
            "contentType": "audio/x-mulaw;rate=8000",
        }
        if parameters:
            attributes["extraHeaders"] = write_headers(parameters)
        response = ElementTree.Element("Response")
        ElementTree.SubElement(response, "Stream", attributes).text = url
        return write_xml(response)

    def refuse(self, sentence: str) -> Document:
        """Say a sentence and hang up; without one, reject the call as busy."""
        return refuse_call(sentence, say="Speak", reject="Hangup")


def write_headers(parameters: Mapping[str, str]) -> str:
    """Parameters as ``extraHeaders``: ``name=value,name=value``, percent-encoded as in a URL.

    Raises:
        ConfigError: they make more than 512 bytes. No value shows in its text.
    """
    for name, value in parameters.items():
        check_parameter(name, value)
    headers = ",".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in parameters.items())
    if len(headers) > _MOST_HEADERS:
        raise ConfigError(
            "parameters",
            f"make {len(headers)} bytes of extraHeaders, where Plivo takes {_MOST_HEADERS}; "
            "send an id, and look the rest up by it",
        )
    return headers


def read_headers(found: Any) -> dict[str, str]:
    """The parameters in ``extra_headers``, in any of the forms that Plivo's pages show.

    ``a=1,b=2`` and ``a=1;b=2``; ``{X-PH-a: 1, X-PH-b: 2}``; a JSON object, or the text of one.
    """
    if isinstance(found, str):
        json = read_json(found)
        if isinstance(json, dict):
            found = json
    if isinstance(found, dict):
        pairs = list(read_parameters(found).items())
    else:
        pieces = re.split("[,;]", read_text(found).strip().strip("{}"))
        pairs = [(pair[1], pair[2]) for piece in pieces if (pair := _PAIR.fullmatch(piece))]
    return {_plain(name): unquote(value) for name, value in pairs}


def _plain(name: str) -> str:
    bare = name[5:] if name[:5].lower() == "x-ph-" else name
    return unquote(bare)
