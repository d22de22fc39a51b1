"""One control of each carrier, at a scripted server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from agentkit.callcontrol import CallControl
from agentkit.callcontrol.jambonz import JambonzControl
from agentkit.callcontrol.plivo import PlivoControl
from agentkit.callcontrol.signalwire import SignalWireControl
from agentkit.callcontrol.telnyx import TelnyxControl
from agentkit.callcontrol.twilio import TwilioControl
from agentkit.callcontrol.vonage import VonageControl

MakeControl = Callable[..., CallControl]


@pytest.fixture(scope="session")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def pem(private_key: rsa.RSAPrivateKey) -> str:
    return private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture
def make_control(pem: str) -> MakeControl:
    """Makes a carrier's control, by its name; all secrets of it have ``s3cret`` in them."""

    def make(carrier: str, base_url: str, **options: str) -> CallControl:
        options["base_url"] = base_url
        match carrier:
            case "twilio":
                return TwilioControl("AC1", "s3cret-token", **options)
            case "signalwire":
                return SignalWireControl("a.signalwire.com", "proj-1", "PTs3cret", **options)
            case "telnyx":
                return TelnyxControl("KEYs3cret", **options)
            case "plivo":
                return PlivoControl("MA1", "s3cret-token", **options)
            case "vonage":
                return VonageControl("app-1", pem, **options)
            case "jambonz":
                return JambonzControl("acc-1", "key-s3cret", **options)
        raise AssertionError(carrier)

    return make
