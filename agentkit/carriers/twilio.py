"""Twilio Media Streams, and the TwiML that asks for one.

Twilio's pages: "Media Streams - WebSocket Messages", "TwiML Voice: <Stream>".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from agentkit.audio.formats import AudioFormat
from agentkit.carriers._twilio_family import FamilyCodec, read_parameters, read_text
from agentkit.carriers._xml import connect_stream, refuse_call, without_query
from agentkit.carriers.base import Codec, StreamStarted
from agentkit.carriers.documents import Document, IncomingCall, Webhook

_PARAMETER_MOST = 499
"""Characters of a ``<Parameter>``'s name and value together: Twilio wants fewer than 500."""


class TwilioCodec(FamilyCodec):
    """One bidirectional stream of Twilio.

    It has no message for keys: tones in the audio, or REST, press them. Closing the socket goes
    on after ``</Connect>``, where our document ends, and so the call does.
    """

    name = "twilio"

    def _describe(
        self, start: Mapping[str, Any], message: Mapping[str, Any], input: AudioFormat
    ) -> StreamStarted:
        return StreamStarted(
            stream=read_text(start.get("streamSid")) or read_text(message.get("streamSid")),
            call=read_text(start.get("callSid")),
            input=input,
            output=input,
            account=read_text(start.get("accountSid")),
            parameters=read_parameters(start.get("customParameters")),
        )


class TwilioWebhook(Webhook):
    """How Twilio asks what to do with a call, and is told, in TwiML."""

    name = "twilio"
    codec: ClassVar[type[Codec]] = TwilioCodec

    def read(self, fields: Mapping[str, str]) -> IncomingCall:
        """What the fields of the request say of the call."""
        return IncomingCall(
            call=fields.get("CallSid", ""),
            caller=fields.get("From", ""),
            callee=fields.get("To", ""),
            account=fields.get("AccountSid", ""),
        )

    def connect(self, url: str, parameters: Mapping[str, str], call: IncomingCall) -> Document:
        """``<Connect><Stream>``: the call ends with the stream.

        Raises:
            ConfigError: the URL has a query, or a parameter is too long (a name and its value
                have fewer than 500 characters together) or holds a control character.
        """
        attributes = {"url": without_query(url, "Twilio")}
        return connect_stream(attributes, parameters, most=_PARAMETER_MOST)

    def refuse(self, sentence: str) -> Document:
        """Say a sentence and hang up; without one, reject the call as busy, which costs nothing."""
        return refuse_call(sentence)
