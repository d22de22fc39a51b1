"""SignalWire's streams, and the cXML that asks for one: Twilio's dialect with differences.

SignalWire's page: "cXML reference, <Stream>". Its examples leave out the stream's id in media and
stop; the audio may be L16, little-endian, as in SignalWire's own bridges to OpenAI's ``pcm16``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from agentkit.carriers._twilio_family import check_keys
from agentkit.carriers._xml import connect_stream, without_query
from agentkit.carriers.base import Codec, Message
from agentkit.carriers.documents import Document, IncomingCall
from agentkit.carriers.twilio import TwilioCodec, TwilioWebhook


class SignalWireCodec(TwilioCodec):
    """One bidirectional stream of SignalWire."""

    name = "signalwire"

    def send_dtmf(self, digits: str) -> Sequence[Message]:
        """Press keys towards the far end, one message a key. Raises UsageError for other keys."""
        return [self._write("dtmf", dtmf={"digit": key}) for key in check_keys(digits)]


class SignalWireWebhook(TwilioWebhook):
    """How SignalWire asks what to do with a call, and is told, in cXML."""

    name = "signalwire"
    codec: ClassVar[type[Codec]] = SignalWireCodec

    def connect(self, url: str, parameters: Mapping[str, str], call: IncomingCall) -> Document:
        """``<Connect><Stream>`` in mu-law: the call ends with the stream.

        Raises:
            ConfigError: the URL has a query, or a parameter holds a control character.
        """
        attributes = {"url": without_query(url, "SignalWire"), "codec": "PCMU@8000h"}
        return connect_stream(attributes, parameters)
