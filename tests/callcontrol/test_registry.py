"""Which secrets make which control."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from agentkit.callcontrol import CallControl, load_control
from agentkit.callcontrol.jambonz import JambonzControl
from agentkit.callcontrol.plivo import PlivoControl
from agentkit.callcontrol.signalwire import SignalWireControl
from agentkit.callcontrol.telnyx import TelnyxControl
from agentkit.callcontrol.twilio import TwilioControl
from agentkit.callcontrol.vonage import VonageControl
from agentkit.errors import ConfigError
from agentkit.testing._rest import RestReply, ScriptedRest

SECRETS = {
    "twilio": {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "token"},
    "signalwire": {
        "SIGNALWIRE_SPACE": "a.signalwire.com",
        "SIGNALWIRE_PROJECT_ID": "proj-1",
        "SIGNALWIRE_API_TOKEN": "token",
    },
    "telnyx": {"TELNYX_API_KEY": "key"},
    "plivo": {"PLIVO_AUTH_ID": "MA1", "PLIVO_AUTH_TOKEN": "token"},
    "vonage": {"VONAGE_APPLICATION_ID": "app-1", "VONAGE_PRIVATE_KEY": "(the key)"},
    "jambonz": {
        "JAMBONZ_API_URL": "https://api.jambonz.cloud/v1",
        "JAMBONZ_ACCOUNT_SID": "acc-1",
        "JAMBONZ_API_KEY": "key",
    },
}
KINDS: dict[str, type[CallControl]] = {
    "twilio": TwilioControl,
    "signalwire": SignalWireControl,
    "telnyx": TelnyxControl,
    "plivo": PlivoControl,
    "vonage": VonageControl,
    "jambonz": JambonzControl,
}


def secrets_of(carrier: str, pem: str) -> dict[str, str]:
    return {
        name: pem if name == "VONAGE_PRIVATE_KEY" else value
        for name, value in SECRETS[carrier].items()
    }


@pytest.mark.parametrize("carrier", SECRETS)
async def test_all_secrets_make_a_control(carrier: str, pem: str) -> None:
    control = load_control(carrier, secrets_of(carrier, pem))
    assert type(control) is KINDS[carrier]
    assert control.name == carrier
    await control.aclose()


@pytest.mark.parametrize("carrier", [*SECRETS, "exotel", "audiosocket", ""])
def test_no_secrets_make_none(carrier: str) -> None:
    assert load_control(carrier, {}) is None
    assert load_control(carrier, {"TWILIO_AUTH_TOKEN": " ", "PLIVO_AUTH_ID": ""}) is None


LEFT_ALONE = {("twilio", "TWILIO_ACCOUNT_SID"), ("plivo", "PLIVO_AUTH_ID")}
"""Without these, what is left is a token that webhooks are checked with."""


@pytest.mark.parametrize(("carrier", "missing"), sorted(LEFT_ALONE))
def test_a_token_that_webhooks_are_checked_with_may_stand_alone(
    carrier: str, missing: str, pem: str
) -> None:
    secrets = secrets_of(carrier, pem)
    del secrets[missing]
    assert load_control(carrier, secrets) is None


@pytest.mark.parametrize(
    ("carrier", "missing"),
    [
        (carrier, name)
        for carrier, secrets in SECRETS.items()
        for name in secrets
        if len(secrets) > 1 and (carrier, name) not in LEFT_ALONE
    ],
)
def test_a_missing_secret_is_named(carrier: str, missing: str, pem: str) -> None:
    secrets = secrets_of(carrier, pem)
    del secrets[missing]
    with pytest.raises(ConfigError, match="is not set, but") as caught:
        load_control(carrier, secrets)
    assert caught.value.field == missing
    assert "token" not in str(caught.value).lower().replace("_token", "")


@pytest.mark.parametrize(
    ("carrier", "optional", "missing"),
    [
        ("telnyx", "TELNYX_CONNECTION_ID", "TELNYX_API_KEY"),
        ("jambonz", "JAMBONZ_APPLICATION_SID", "JAMBONZ_API_URL"),
    ],
)
def test_what_is_optional_wants_the_rest(carrier: str, optional: str, missing: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_control(carrier, {optional: "17"})
    assert caught.value.field == missing


@pytest.mark.parametrize(
    ("secrets", "missing"),
    [
        ({"TWILIO_API_KEY_SID": "SK1", "TWILIO_API_KEY_SECRET": "s"}, "TWILIO_ACCOUNT_SID"),
        ({"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_API_KEY_SID": "SK1"}, "TWILIO_API_KEY_SECRET"),
        ({"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_API_KEY_SECRET": "s"}, "TWILIO_API_KEY_SID"),
    ],
)
def test_an_api_key_of_twilio_is_set_whole(secrets: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_control("twilio", {**secrets, "TWILIO_AUTH_TOKEN": "token"})
    assert caught.value.field == missing


async def test_an_api_key_of_twilio_goes_before_the_token() -> None:
    key = {"TWILIO_API_KEY_SID": "SK1", "TWILIO_API_KEY_SECRET": "s"}
    async with ScriptedRest() as server:
        secrets = {**SECRETS["twilio"], **key}
        control = load_control("twilio", secrets, base_url=server.base_url)
        assert control is not None
        await control.hang_up("CA1")
        await control.aclose()
        assert server.requests[0].headers["authorization"] == "Basic U0sxOnM="


@pytest.mark.parametrize("carrier", SECRETS)
async def test_the_address_and_the_webhook_are_handed_on(carrier: str, pem: str) -> None:
    async with ScriptedRest(RestReply(202)) as server:
        control = load_control(
            carrier,
            secrets_of(carrier, pem),
            base_url=server.base_url,
            transfer_url="https://bot.example.com/transfer",
        )
        assert control is not None
        await control.transfer("c-1", "+15551234567")
        await control.aclose()
        asks = b"bot.example.com" in server.requests[0].body
        assert asks == (carrier in ("signalwire", "plivo", "jambonz"))


@pytest.mark.parametrize("carrier", ["telnyx", "jambonz"])
async def test_what_calls_are_placed_with_is_handed_on(carrier: str, pem: str) -> None:
    optional = {"TELNYX_CONNECTION_ID": "17", "JAMBONZ_APPLICATION_SID": "app-17"}
    reply = RestReply(201, {"sid": "s", "call_sid": "s"})
    async with ScriptedRest(reply) as server:
        secrets = secrets_of(carrier, pem) | {
            name: value for name, value in optional.items() if name.startswith(carrier.upper())
        }
        control = load_control(carrier, secrets, base_url=server.base_url)
        assert control is not None
        number = "+15551234567"
        await control.dial(number, caller=number, answer_url="https://bot.example.com/voice")
        await control.aclose()
        request = server.requests[0]
        assert b"17" in request.body or request.path.endswith("/17")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIGNALWIRE_SPACE", "https://a.signalwire.com"),
        ("SIGNALWIRE_SPACE", "b@d"),
        ("SIGNALWIRE_SPACE", "evil.example/a.signalwire.com"),
        ("SIGNALWIRE_PROJECT_ID", "../x"),
        ("SIGNALWIRE_API_TOKEN", "a b"),
        ("PLIVO_AUTH_ID", "MA1/Call"),
        ("JAMBONZ_ACCOUNT_SID", "a?b"),
        ("JAMBONZ_API_URL", "http://api.jambonz.cloud"),
        ("JAMBONZ_API_KEY", "a\nb"),
        ("TWILIO_ACCOUNT_SID", "AC 1"),
        ("VONAGE_APPLICATION_ID", "a.b"),
        ("VONAGE_PRIVATE_KEY", "no-such-file.key"),
    ],
)
def test_a_wrong_secret_is_named(name: str, value: str, pem: str) -> None:
    carrier = next(carrier for carrier, secrets in SECRETS.items() if name in secrets)
    with pytest.raises(ConfigError) as caught:
        load_control(carrier, secrets_of(carrier, pem) | {name: value})
    assert caught.value.field == name
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "", "api.example.com", "ftp://x.example", "https://", "http://api.twilio.com",
        "http://8.8.8.8", "https://user:pass@x.example", "https://x.example?a=b",
        "https://x.example#a", "https://x\ny",
    ],
)  # fmt: skip
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TelnyxControl("key", base_url=url)
    assert caught.value.field == "base_url"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v2/", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:1",
        "http://10.0.0.7:3000", "http://jambonz-api:3000", "http://api.internal",
        "https://127.0.0.1:8443",
    ],
)  # fmt: skip
async def test_plain_http_is_for_this_machine_and_its_own_network(url: str) -> None:
    await TelnyxControl(SecretStr("key"), base_url=url).aclose()


async def test_the_key_of_vonage_may_be_a_file_or_have_its_lines_escaped(
    tmp_path: Path, pem: str
) -> None:
    path = tmp_path / "private.key"
    path.write_text(pem)
    for given in (str(path), pem.replace("\n", "\\n"), pem.strip()):
        await VonageControl("app-1", SecretStr(given)).aclose()


@pytest.mark.parametrize(
    "key",
    [
        "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----",
        "s3cret",
        "s3cret\0",
        "~s3cret/x",
    ],
)
def test_a_wrong_key_of_vonage_is_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="neither an RSA private key in PEM") as caught:
        VonageControl("app-1", key)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_vonage_says_which_package_it_needs(monkeypatch: pytest.MonkeyPatch, pem: str) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ConfigError, match=r"pip install 'agentkit\[serve\]'"):
        VonageControl("app-1", pem)


def test_a_key_of_another_kind_is_none_for_vonage() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(ConfigError, match="must be an RSA key"):
        VonageControl("app-1", pem.decode())
