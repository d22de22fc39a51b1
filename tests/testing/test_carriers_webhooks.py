"""What fake carriers ask a webhook, how they sign it, and how they follow what it answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qsl

import jwt
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agentkit.audio.formats import AudioFormat
from agentkit.testing.carriers import (
    Connect,
    FakeCarrier,
    FakeJambonz,
    FakePlivo,
    FakeSignalWire,
    FakeTelnyx,
    FakeTwilio,
    FakeVonage,
    Refusal,
)
from agentkit.testing.carriers import plivo as plivo_side
from agentkit.testing.carriers import twilio as twilio_side
from agentkit.testing.carriers.base import Signature
from agentkit.testing.clock import in_virtual_time
from tests.testing.carrier_bots import Bot, Webhook

PUBLIC = "https://bot.example.com"


def twiml(url: str, more: str = "", behind: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Response><Connect><Stream url="{url}"{more}>'
        f'<Parameter name="token" value="t&amp;0"/></Stream></Connect>{behind}</Response>'
    )


def texml(url: str, more: str = ' bidirectionalMode="rtp"') -> str:
    return f'<Response><Connect><Stream url="{url}"{more}/></Connect></Response>'


def plivo_xml(url: str, more: str = 'keepCallAlive="true"', headers: str = "token=t0,b=2") -> str:
    return (
        f'<Response><Stream bidirectional="true" {more} extraHeaders="{headers}" '
        f'contentType="audio/x-mulaw;rate=8000">{url}</Stream></Response>'
    )


def ncco(url: str, **more: Any) -> str:
    endpoint = {
        "type": "websocket",
        "uri": url,
        "content-type": "audio/l16;rate=8000",
        "headers": {"token": "t0"},
        **more,
    }
    return json.dumps([{"action": "connect", "endpoint": [endpoint]}])


def listen(url: str, **more: Any) -> str:
    verb = {
        "verb": "listen",
        "url": url,
        "sampleRate": 16000,
        "bidirectionalAudio": {"enabled": True, "streaming": True, "sampleRate": 16000},
        "metadata": {"token": "t0"},
        **more,
    }
    return json.dumps([verb])


DOCUMENTS: list[tuple[type[FakeCarrier], Any, dict[str, str], bool, AudioFormat | None]] = [
    (FakeTwilio, twiml, {"token": "t&0"}, False, None),
    (FakeSignalWire, twiml, {"token": "t&0"}, False, AudioFormat("mulaw", 8000)),
    (FakeTelnyx, texml, {}, True, AudioFormat("mulaw", 8000)),
    (FakePlivo, plivo_xml, {"token": "t0", "b": "2"}, True, AudioFormat("mulaw", 8000)),
    (FakeVonage, ncco, {"token": "t0"}, True, AudioFormat("linear16", 8000)),
    (FakeJambonz, listen, {"token": "t0"}, False, AudioFormat("linear16", 16000)),
]


@pytest.mark.parametrize(
    ("fake", "document", "parameters", "keeps_call", "audio"),
    DOCUMENTS,
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("chunked", [False, True])
@in_virtual_time(until=120)
async def test_the_document_leads_to_the_media_socket(
    fake: type[FakeCarrier],
    document: Any,
    parameters: dict[str, str],
    keeps_call: bool,
    audio: AudioFormat | None,
    chunked: bool,
) -> None:
    async with (
        Bot() as bot,
        Webhook(lambda: document(bot.url + "/t0"), chunked=chunked) as webhook,
        fake(webhook=webhook.url) as caller,
    ):
        await asyncio.sleep(0.03)
        assert caller.answer == Connect(bot.url + "/t0", parameters, audio, keeps_call)
        await caller.hang_up()
    assert bot.request.path == "/carrier/media/t0"
    if parameters and fake is not FakePlivo:
        assert all(json.dumps(value) in str(bot.received[:2]) for value in parameters.values())
    told = read_body(webhook)
    assert caller.call in told.values()
    assert any(caller.caller.lstrip("+") in value for value in told.values())
    assert caller.protocol_errors == []


def read_body(webhook: Webhook) -> dict[str, str]:
    if "json" in webhook.headers["content-type"]:
        found = json.loads(webhook.body)
        assert isinstance(found, dict)
        return found
    return dict(parse_qsl(webhook.body.decode(), strict_parsing=True))


@pytest.mark.parametrize(
    ("fake", "document", "refusal"),
    [
        (
            FakeTwilio,
            "<Response><Say>We are <emphasis>full</emphasis>.</Say><Hangup/></Response>",
            Refusal("hang up", "We are full."),
        ),
        (FakeTwilio, '<Response><Reject reason="busy"/></Response>', Refusal("reject")),
        (FakeSignalWire, "<Response><Hangup/></Response>", Refusal("hang up")),
        (FakeTelnyx, "<Response><Reject/></Response>", Refusal("reject")),
        (FakePlivo, '<Response><Hangup reason="busy"/></Response>', Refusal("reject")),
        (
            FakePlivo,
            "<Response><Speak>Later.</Speak><Hangup/></Response>",
            Refusal("hang up", "Later."),
        ),
        (FakeVonage, '[{"action":"talk","text":"Later."}]', Refusal("hang up", "Later.")),
        (
            FakeJambonz,
            '[{"verb":"say","text":"Later."},{"verb":"hangup"}]',
            Refusal("hang up", "Later."),
        ),
        (FakeJambonz, '[{"verb":"sip:decline","status":486}]', Refusal("reject")),
    ],
)
@in_virtual_time(until=120)
async def test_a_refusal_is_told_apart(
    fake: type[FakeCarrier], document: str, refusal: Refusal
) -> None:
    async with Webhook(document) as webhook, fake(webhook=webhook.url) as caller:
        assert caller.answer == refusal
        assert caller.ended is not None
        assert caller.ended.how == "refused"
        assert caller.is_over
        with pytest.raises(RuntimeError, match="the call is over: refused"):
            caller.say(b"\xff")
    assert caller.protocol_errors == []


@in_virtual_time(until=120)
async def test_a_webhook_that_fails_refuses_the_call() -> None:
    async with Webhook("no", status=403) as webhook, FakeTwilio(webhook=webhook.url) as caller:
        assert caller.answer == Refusal("http", status=403)
        assert caller.ended is not None
        assert caller.ended.code == 403


@pytest.mark.parametrize(
    ("fake", "document", "how"),
    [
        (FakeTwilio, "hello", "the webhook's answer is no XML"),
        (FakeTwilio, "<html/>", "the document's root is <html>, which should be <Response>"),
        (
            FakeTwilio,
            '<Response><Start><Stream url="wss://a"/></Start></Response>',
            "<Start><Stream> is one way",
        ),
        (FakeTwilio, twiml("https://a/b"), "<Stream> has no url= with wss://"),
        (FakeSignalWire, twiml("wss://a", ' codec="opus"'), "codec='opus'"),
        (FakeTelnyx, texml("wss://a", ""), '<Stream> needs bidirectionalMode="rtp"'),
        (
            FakeTelnyx,
            texml("wss://a", ' bidirectionalMode="rtp" bidirectionalCodec="OPUS"'),
            "bidirectionalCodec='OPUS'",
        ),
        (FakePlivo, "<Response><Stream>wss://a</Stream></Response>", "<Stream> needs bidirect"),
        (FakeVonage, "{}", "the webhook's answer is no JSON list of objects"),
        (FakeVonage, ncco("wss://a", **{"content-type": "audio/l16"}), "content-type is audio/l16"),
        (FakeJambonz, "{", "the webhook's answer is no JSON"),
        (
            FakeJambonz,
            listen("wss://a", bidirectionalAudio={}),
            "bidirectionalAudio.streaming is not true",
        ),
        (FakeJambonz, listen("wss://a", sampleRate=8000), "bidirectionalAudio.sampleRate has no"),
        (FakeJambonz, listen("wss://a", mixType="stereo"), "mixType is mono"),
    ],
)
@in_virtual_time(until=120)
async def test_a_document_that_a_carrier_cannot_use_is_an_error_of_the_bot(
    fake: type[FakeCarrier], document: str, how: str
) -> None:
    async with Webhook(document) as webhook, fake(webhook=webhook.url) as caller:
        assert isinstance(caller.answer, Refusal)
    assert len(caller.protocol_errors) == 1
    assert caller.protocol_errors[0].startswith(how)


@in_virtual_time(until=120)
async def test_twilio_drops_a_query_string_and_public_sockets_have_to_be_secure() -> None:
    async with (
        Bot() as bot,
        Webhook(lambda: twiml(bot.url + "?token=t0")) as webhook,
        FakeTwilio(webhook=webhook.url, public_url=PUBLIC) as caller,
    ):
        await bot.until(2)
    assert bot.request.path == "/carrier/media"
    assert caller.protocol_errors == [
        "the stream's url has a query string, which Twilio does not pass on",
        "the stream's url is ws://, which should be wss://",
    ]


@pytest.mark.parametrize(
    ("fake", "document", "outlives"),
    [
        (FakeTwilio, lambda url: twiml(url, behind="<Hangup/>"), False),
        (FakeTwilio, lambda url: twiml(url, behind="<Say>Bye.</Say>"), True),
        (FakePlivo, lambda url: plivo_xml(url, ""), False),
        (FakePlivo, plivo_xml, True),
        (FakeVonage, ncco, True),
    ],
)
@in_virtual_time(until=120)
async def test_the_document_says_whether_the_call_outlives_its_stream(
    fake: type[FakeCarrier], document: Any, outlives: bool
) -> None:
    async with (
        Bot() as bot,
        Webhook(lambda: document(bot.url)) as webhook,
        fake(webhook=webhook.url) as caller,
    ):
        await bot.until(1)
        await bot.close()
        await caller.until_ended()
        assert caller.is_over != outlives


@in_virtual_time(until=120)
async def test_documents_say_what_the_handshake_carries() -> None:
    bearer = ' authBearerToken="b0"'
    custom = {"type": "custom", "value": "Bearer b0"}
    basic = "Basic " + base64.b64encode(b"u:p").decode()
    cases: list[tuple[type[FakeCarrier], Any, str]] = [
        (FakeSignalWire, lambda url: twiml(url, bearer), "Bearer b0"),
        (FakeVonage, lambda url: ncco(url, authorization=custom), "Bearer b0"),
        (
            FakeJambonz,
            lambda url: listen(url, wsAuth={"username": "u", "password": "p"}),
            basic,
        ),
    ]
    for fake, document, authorization in cases:
        async with (
            Bot() as bot,
            Webhook(document(bot.url)) as webhook,
            fake(webhook=webhook.url),
        ):
            await bot.until(1)
        assert bot.request.headers["Authorization"] == authorization


# ---------------------------------------------------------------------------- signatures


def test_twilios_signature_is_that_of_twilios_own_tests() -> None:
    # twilio/twilio-python, tests/unit/test_request_validator.py
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert twilio_side.sign("12345", url, fields) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    assert (
        twilio_side.sign("12345", "wss://mycompany.com/media", {}) == "okykUWKkAOgQseVjzERZh4soLeU="
    )


def test_plivos_signature_signs_url_query_fields_and_nonce() -> None:
    def of(text: str) -> str:
        return base64.b64encode(hmac.digest(b"s", text.encode(), hashlib.sha256)).decode()

    url = "https://a.example/answer"
    assert plivo_side.sign("s", url, None, "9") == of("https://a.example/answer.9")
    assert plivo_side.sign("s", url, {"To": "2", "From": "1"}, "9") == of(
        "https://a.example/answer?From1To2.9"
    )
    assert plivo_side.sign("s", url + "?b=2&a=1", {"To": "2"}, "9") == of(
        "https://a.example/answer?a=1&b=2.To2.9"
    )


async def asked(fake: type[FakeCarrier], **options: Any) -> tuple[Webhook, FakeCarrier]:
    refuse = "[]" if fake in {FakeVonage, FakeJambonz} else "<Response/>"
    async with Webhook(refuse) as webhook:
        caller = fake(webhook=webhook.url, public_url=PUBLIC, secret="s3cret", **options)
        async with caller:
            assert isinstance(caller.answer, Refusal)
    return webhook, caller


@pytest.mark.parametrize(
    ("fake", "header"),
    [(FakeTwilio, "x-twilio-signature"), (FakeSignalWire, "x-signalwire-signature")],
)
@in_virtual_time(until=120)
async def test_forms_are_signed_for_the_public_url(fake: type[FakeCarrier], header: str) -> None:
    webhook, _ = await asked(fake)
    expected = twilio_side.sign("s3cret", f"{PUBLIC}/carrier/voice", read_body(webhook))
    assert webhook.headers[header] == expected
    webhook, _ = await asked(fake, webhook_signature="wrong")
    assert webhook.headers[header] != expected
    webhook, _ = await asked(fake, webhook_signature="none")
    assert header not in webhook.headers


@in_virtual_time(until=120)
async def test_plivo_sends_its_nonce() -> None:
    webhook, _ = await asked(FakePlivo)
    nonce = webhook.headers["x-plivo-signature-v3-nonce"]
    fields = read_body(webhook)
    expected = plivo_side.sign("s3cret", f"{PUBLIC}/carrier/voice", fields, nonce)
    assert webhook.headers["x-plivo-signature-v3"] == expected


@in_virtual_time(until=120)
async def test_telnyx_signs_stamp_and_body_with_its_key() -> None:
    webhook, caller = await asked(FakeTelnyx, wall_clock=lambda: 1e9)
    assert isinstance(caller, FakeTelnyx)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(caller.public_key))
    signature = base64.b64decode(webhook.headers["telnyx-signature-ed25519"])
    assert webhook.headers["telnyx-timestamp"] == "1000000000"
    key.verify(signature, b"1000000000|" + webhook.body)
    webhook, _ = await asked(FakeTelnyx, wall_clock=lambda: 1e9, webhook_signature="wrong")
    signature = base64.b64decode(webhook.headers["telnyx-signature-ed25519"])
    with pytest.raises(InvalidSignature):
        key.verify(signature, b"1000000000|" + webhook.body)


@in_virtual_time(until=120)
async def test_vonage_signs_with_a_token_over_the_body() -> None:
    secret = "s3cret" * 8
    async with Webhook("[]") as webhook, FakeVonage(webhook=webhook.url, secret=secret):
        pass
    token = webhook.headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, secret, algorithms=["HS256"])
    assert claims["payload_hash"] == hashlib.sha256(webhook.body).hexdigest()
    assert claims["iss"] == "Vonage"


@pytest.mark.parametrize(("more", "signed"), [({}, False), ({"type": "vonage"}, True)])
@in_virtual_time(until=120)
async def test_vonage_signs_the_handshake_if_it_is_asked_to(
    more: dict[str, str], signed: bool
) -> None:
    secret = "s3cret" * 8
    async with Bot() as bot, Webhook(ncco(bot.url, authorization=more)) as webhook:
        async with FakeVonage(webhook=webhook.url, secret=secret):
            await bot.until(1)
    header = bot.request.headers.get("Authorization", "")
    assert header.startswith("Bearer ") == signed
    if signed:
        token = header.removeprefix("Bearer ")
        assert jwt.decode(token, secret, algorithms=["HS256"])["iss"] == "Vonage"


@in_virtual_time(until=120)
async def test_jambonz_signs_stamp_and_body() -> None:
    webhook, _ = await asked(FakeJambonz, wall_clock=lambda: 1e9)
    digest = hmac.digest(b"s3cret", b"1000000000." + webhook.body, hashlib.sha256).hex()
    assert webhook.headers["jambonz-signature"] == f"t=1000000000,v1={digest}"


@in_virtual_time(until=120)
async def test_the_handshake_is_signed_for_the_public_socket() -> None:
    right = twilio_side.sign("s3cret", "wss://bot.example.com/carrier/media", {})
    https = twilio_side.sign("s3cret", "https://bot.example.com/carrier/media", {})
    async with Bot() as bot:
        cases: list[tuple[Signature, str | None]] = [
            ("right", right),
            ("https", https),
            ("none", None),
        ]
        for kind, expected in cases:
            async with FakeTwilio(
                bot.url, public_url=PUBLIC, secret="s3cret", upgrade_signature=kind
            ):
                pass
            assert bot.request.headers.get("X-Twilio-Signature") == expected


@in_virtual_time(until=120)
async def test_the_public_address_leads_to_the_webhooks_own_host() -> None:
    document = twiml("wss://bot.example.com/carrier/media")
    async with Webhook(document) as webhook:
        async with FakeTwilio(webhook=webhook.url, public_url=PUBLIC) as caller:
            assert isinstance(caller.answer, Connect)
    # It is a webhook, which answers no handshake; what matters is that it was asked.
    assert webhook.headers["upgrade"] == "websocket"
    assert caller.ended is not None
    assert caller.ended.how == "handshake refused"
