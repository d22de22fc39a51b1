"""The carriers that the server answers: how each asks, signs and speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agentkit.carriers.asterisk import AsteriskCodec
from agentkit.carriers.base import Codec
from agentkit.carriers.documents import Webhook
from agentkit.carriers.jambonz import JambonzCodec, JambonzWebhook
from agentkit.carriers.plivo import PlivoCodec, PlivoWebhook
from agentkit.carriers.signalwire import SignalWireCodec, SignalWireWebhook
from agentkit.carriers.telnyx import TelnyxCodec, TelnyxWebhook
from agentkit.carriers.twilio import TwilioCodec, TwilioWebhook
from agentkit.carriers.vonage import VonageCodec, VonageWebhook
from agentkit.server import signatures
from agentkit.server.signatures import SignedRequest

Signed = Callable[[SignedRequest, str, float], bool]
"""Whether a request is the carrier's: the request, the secret, seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """A carrier.

    Args:
        name: as it stands in the routes.
        codec: makes the codec of a socket.
        secret: the name of the setting that signatures are checked with.
        signed: checks one.
        webhook: how it asks what to do with a call; None: it does not.
        signs_upgrade: the upgrade to the media socket has to be signed, too. Where it does not
            have to be, the stream's token alone says that it is right.
    """

    name: str
    codec: Callable[[], Codec]
    secret: str
    signed: Signed
    webhook: Webhook | None = None
    signs_upgrade: bool = False


def _timeless(signed: Callable[[SignedRequest, str], bool]) -> Signed:
    return lambda request, secret, now: signed(request, secret)


def _basic(request: SignedRequest, password: str, _now: float) -> bool:
    return signatures.basic_password(request.headers, password)


CARRIERS: Mapping[str, Carrier] = {
    carrier.name: carrier
    for carrier in (
        Carrier(
            "twilio",
            TwilioCodec,
            "TWILIO_AUTH_TOKEN",
            _timeless(signatures.twilio_signed),
            TwilioWebhook(),
            signs_upgrade=True,
        ),
        Carrier(
            "signalwire",
            SignalWireCodec,
            "SIGNALWIRE_SIGNING_KEY",
            _timeless(signatures.signalwire_signed),
            SignalWireWebhook(),
        ),
        Carrier(
            "telnyx",
            TelnyxCodec,
            "TELNYX_PUBLIC_KEY",
            signatures.telnyx_signed,
            TelnyxWebhook(),
        ),
        Carrier(
            "plivo",
            PlivoCodec,
            "PLIVO_AUTH_TOKEN",
            _timeless(signatures.plivo_signed),
            PlivoWebhook(),
        ),
        Carrier(
            "vonage",
            VonageCodec,
            "VONAGE_SIGNATURE_SECRET",
            signatures.vonage_signed,
            VonageWebhook(),
        ),
        Carrier(
            "jambonz",
            JambonzCodec,
            "JAMBONZ_WEBHOOK_SECRET",
            signatures.jambonz_signed,
            JambonzWebhook(),
        ),
        # A PBX of one's own: it has no webhook and no token, and shows a password instead.
        Carrier("asterisk", AsteriskCodec, "ASTERISK_PASSWORD", _basic, signs_upgrade=True),
    )
}
"""By name."""
