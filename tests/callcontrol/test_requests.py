"""What each carrier is asked: method, path, headers and body, to the byte."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from agentkit.callcontrol import CallControl, InvalidCallRequest
from agentkit.callcontrol.jambonz import KEY_SECONDS
from agentkit.testing._http import RawRequest
from agentkit.testing._rest import RestReply, ScriptedRest
from agentkit.testing.clock import in_virtual_time

MakeControl = Callable[..., CallControl]

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
NUMBER = "+15551234567"
SIP = "sip:front.desk@pbx.example.com:5061;transport=tls"
ANSWER = "https://bot.example.com/answer?x=1"
STATUS = "https://bot.example.com/status"
TRANSFER = "https://bot.example.com/transfer"


def user(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


AUTHORIZATION = {
    "twilio": user("AC1", "s3cret-token"),
    "signalwire": user("proj-1", "PTs3cret"),
    "telnyx": "Bearer KEYs3cret",
    "plivo": user("MA1", "s3cret-token"),
    "jambonz": "Bearer key-s3cret",
}

SIGNALWIRE = "/api/laml/2010-04-01/Accounts/proj-1"
TWIML = (
    "Twiml=%3CResponse%3E%3CDial%3E%3CNumber%3E%2B15551234567%3C%2FNumber%3E%3C%2FDial%3E"
    "%3C%2FResponse%3E"
)
TWIML_SIP = (
    "Twiml=%3CResponse%3E%3CDial%3E%3CSip%3Esip%3Afront.desk%40pbx.example.com%3A5061"
    "%3Btransport%3Dtls%3C%2FSip%3E%3C%2FDial%3E%3C%2FResponse%3E"
)
TO_AND_FROM = (
    "To=%2B15551234567&From=%2B15557654321&Url=https%3A%2F%2Fbot.example.com%2Fanswer%3Fx%3D1"
)
STATUS_FORM = (
    "&StatusCallback=https%3A%2F%2Fbot.example.com%2Fstatus"
    "&StatusCallbackEvent=initiated&StatusCallbackEvent=ringing"
    "&StatusCallbackEvent=answered&StatusCallbackEvent=completed"
)
SPEECH = (
    ',"speech_synthesis_vendor":"google","speech_synthesis_language":"en-US"'
    ',"speech_synthesis_voice":"en-US-Wavenet-C","speech_recognizer_vendor":"google"'
    ',"speech_recognizer_language":"en-US"}'
)


def check(carrier: str, request: RawRequest, method: str, path: str, kind: str, body: str) -> None:
    assert (request.method, request.path) == (method, path)
    assert request.body.decode() == body
    assert request.headers.get("content-type", "") == kind
    assert request.headers["accept"] == JSON
    assert request.headers["user-agent"] == "agentkit"
    if carrier in AUTHORIZATION:
        assert request.headers["authorization"] == AUTHORIZATION[carrier]


@pytest.mark.parametrize(
    ("carrier", "call", "method", "path", "kind", "body"),
    [
        (
            "twilio", "CA1", "POST", "/2010-04-01/Accounts/AC1/Calls/CA1.json",
            FORM, "Status=completed",
        ),
        ("signalwire", "c-1", "POST", f"{SIGNALWIRE}/Calls/c-1.json", FORM, "Status=completed"),
        ("telnyx", "v3:Ab-_9", "POST", "/calls/v3:Ab-_9/actions/hangup", JSON, "{}"),
        ("plivo", "c-1", "DELETE", "/v1/Account/MA1/Call/c-1/", "", ""),
        ("vonage", "c-1", "PUT", "/v1/calls/c-1", JSON, '{"action":"hangup"}'),
        (
            "jambonz", "c-1", "PUT", "/v1/Accounts/acc-1/Calls/c-1",
            JSON, '{"call_status":"completed"}',
        ),
    ],
)  # fmt: skip
@in_virtual_time(until=60)
async def test_hang_up(
    make_control: MakeControl,
    carrier: str, call: str, method: str, path: str, kind: str, body: str,
) -> None:  # fmt: skip
    async with ScriptedRest() as server:
        control = make_control(carrier, server.base_url)
        await control.hang_up(call)
        await control.aclose()
        assert len(server.requests) == 1
        check(carrier, server.requests[0], method, path, kind, body)


@pytest.mark.parametrize(
    ("carrier", "to", "options", "method", "path", "kind", "body"),
    [
        ("twilio", NUMBER, {}, "POST", "/2010-04-01/Accounts/AC1/Calls/c-1.json", FORM, TWIML),
        ("twilio", SIP, {}, "POST", "/2010-04-01/Accounts/AC1/Calls/c-1.json", FORM, TWIML_SIP),
        ("signalwire", NUMBER, {}, "POST", f"{SIGNALWIRE}/Calls/c-1.json", FORM, TWIML),
        (
            "signalwire", NUMBER, {"transfer_url": TRANSFER}, "POST",
            f"{SIGNALWIRE}/Calls/c-1.json", FORM,
            "Url=https%3A%2F%2Fbot.example.com%2Ftransfer%3Fto%3D%252B15551234567&Method=POST",
        ),
        (
            "telnyx", NUMBER, {}, "POST", "/calls/c-1/actions/transfer", JSON,
            '{"to":"+15551234567"}',
        ),
        ("telnyx", SIP, {}, "POST", "/calls/c-1/actions/transfer", JSON, f'{{"to":"{SIP}"}}'),
        (
            "plivo", NUMBER, {"transfer_url": TRANSFER}, "POST", "/v1/Account/MA1/Call/c-1/", JSON,
            '{"legs":"aleg","aleg_url":"https://bot.example.com/transfer?to=%2B15551234567",'
            '"aleg_method":"POST"}',
        ),
        (
            "vonage", NUMBER, {}, "PUT", "/v1/calls/c-1", JSON,
            '{"action":"transfer","destination":{"type":"ncco","ncco":[{"action":"connect",'
            '"endpoint":[{"type":"phone","number":"15551234567"}]}]}}',
        ),
        (
            "vonage", SIP, {}, "PUT", "/v1/calls/c-1", JSON,
            '{"action":"transfer","destination":{"type":"ncco","ncco":[{"action":"connect",'
            f'"endpoint":[{{"type":"sip","uri":"{SIP}"}}]}}]}}}}',
        ),
        (
            "jambonz", NUMBER, {"transfer_url": f"{TRANSFER}?a=b"}, "PUT",
            "/v1/Accounts/acc-1/Calls/c-1", JSON,
            '{"call_hook":{"url":"https://bot.example.com/transfer?a=b&to=%2B15551234567",'
            '"method":"POST"}}',
        ),
    ],
)  # fmt: skip
@in_virtual_time(until=60)
async def test_transfer(
    make_control: MakeControl,
    carrier: str, to: str, options: dict[str, str],
    method: str, path: str, kind: str, body: str,
) -> None:  # fmt: skip
    async with ScriptedRest() as server:
        control = make_control(carrier, server.base_url, **options)
        await control.transfer("c-1", to)
        await control.aclose()
        assert len(server.requests) == 1
        check(carrier, server.requests[0], method, path, kind, body)


@pytest.mark.parametrize(
    ("carrier", "to", "kind", "body"),
    [
        (
            "signalwire", NUMBER, "application/xml",
            "<Response><Dial><Number>+15551234567</Number></Dial></Response>",
        ),
        (
            "plivo", NUMBER, "application/xml",
            "<Response><Dial><Number>15551234567</Number></Dial></Response>",
        ),
        ("plivo", SIP, "application/xml", f"<Response><Dial><User>{SIP}</User></Dial></Response>"),
        (
            "jambonz", NUMBER, JSON,
            '[{"verb":"dial","target":[{"type":"phone","number":"+15551234567"}]}]',
        ),
        ("jambonz", SIP, JSON, f'[{{"verb":"dial","target":[{{"type":"sip","sipUri":"{SIP}"}}]}}]'),
    ],
)  # fmt: skip
async def test_what_the_webhook_of_a_transfer_answers(
    make_control: MakeControl, carrier: str, to: str, kind: str, body: str
) -> None:
    control = make_control(carrier, "http://127.0.0.1:9", transfer_url=TRANSFER)
    document = control.transfer_document(to)
    assert (document.content_type, document.body) == (kind, body)
    with pytest.raises(InvalidCallRequest):
        control.transfer_document("</Number>")
    await control.aclose()


@pytest.mark.parametrize("carrier", ["plivo", "jambonz"])
async def test_no_transfer_without_the_webhook_that_is_asked(
    make_control: MakeControl, carrier: str
) -> None:
    async with ScriptedRest() as server:
        control = make_control(carrier, server.base_url)
        with pytest.raises(InvalidCallRequest, match="transfer_url"):
            await control.transfer("c-1", NUMBER)
        await control.aclose()
        assert server.connections == 0


@pytest.mark.parametrize(
    ("carrier", "method", "path", "bodies"),
    [
        ("telnyx", "POST", "/calls/c-1/actions/send_dtmf", ['{"digits":"12#"}']),
        ("vonage", "PUT", "/v1/calls/c-1/dtmf", ['{"digits":"12#"}']),
        (
            "jambonz", "PUT", "/v1/Accounts/acc-1/Calls/c-1",
            ['{"dtmf":{"digit":"1"}}', '{"dtmf":{"digit":"2"}}', '{"dtmf":{"digit":"#"}}'],
        ),
    ],
)  # fmt: skip
@in_virtual_time(until=60)
async def test_keys(
    make_control: MakeControl, carrier: str, method: str, path: str, bodies: list[str]
) -> None:
    async with ScriptedRest() as server:
        control = make_control(carrier, server.base_url)
        await control.send_dtmf("c-1", "12#")
        await control.aclose()
        assert [request.body.decode() for request in server.requests] == bodies
        for request, body in zip(server.requests, bodies, strict=True):
            check(carrier, request, method, path, JSON, body)
        gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
        assert gaps == pytest.approx([KEY_SECONDS] * (len(bodies) - 1), abs=0.01)


@pytest.mark.parametrize("carrier", ["twilio", "signalwire", "plivo"])
async def test_carriers_without_keys_over_rest_say_so(
    make_control: MakeControl, carrier: str
) -> None:
    control = make_control(carrier, "http://127.0.0.1:9")
    with pytest.raises(InvalidCallRequest, match="keys") as caught:
        await control.send_dtmf("c-1", "12")
    assert not caught.value.retryable
    await control.aclose()


@pytest.mark.parametrize(
    ("carrier", "options", "path", "kind", "body", "with_status", "reply", "call"),
    [
        (
            "twilio", {}, "/2010-04-01/Accounts/AC1/Calls.json", FORM, TO_AND_FROM,
            TO_AND_FROM + STATUS_FORM, {"sid": "CA7", "status": "queued"}, "CA7",
        ),
        (
            "signalwire", {}, f"{SIGNALWIRE}/Calls.json", FORM, TO_AND_FROM,
            TO_AND_FROM + STATUS_FORM, {"sid": "c-7"}, "c-7",
        ),
        (
            "telnyx", {"connection_id": "17"}, "/texml/calls/17", JSON,
            f'{{"To":"+15551234567","From":"+15557654321","Url":"{ANSWER}","Method":"POST"}}',
            f'{{"To":"+15551234567","From":"+15557654321","Url":"{ANSWER}","Method":"POST",'
            f'"StatusCallback":"{STATUS}",'
            '"StatusCallbackEvent":"initiated ringing answered completed"}',
            {"call_sid": "v3:x", "status": "queued"}, "v3:x",
        ),
        (
            "telnyx", {"connection_id": "17"}, "/texml/calls/17", JSON,
            f'{{"To":"+15551234567","From":"+15557654321","Url":"{ANSWER}","Method":"POST"}}',
            None, {"data": {"sid": "v2:y"}}, "v2:y",
        ),
        (
            "plivo", {}, "/v1/Account/MA1/Call/", JSON,
            f'{{"from":"15557654321","to":"15551234567","answer_url":"{ANSWER}",'
            '"answer_method":"POST"}',
            f'{{"from":"15557654321","to":"15551234567","answer_url":"{ANSWER}",'
            f'"answer_method":"POST","ring_url":"{STATUS}","ring_method":"POST",'
            f'"hangup_url":"{STATUS}","hangup_method":"POST"}}',
            {"message": "call fired", "request_uuid": "r-7"}, "r-7",
        ),
        (
            "vonage", {}, "/v1/calls", JSON,
            '{"to":[{"type":"phone","number":"15551234567"}],'
            '"from":{"type":"phone","number":"15557654321"},'
            f'"answer_url":["{ANSWER}"],"answer_method":"POST"}}',
            '{"to":[{"type":"phone","number":"15551234567"}],'
            '"from":{"type":"phone","number":"15557654321"},'
            f'"answer_url":["{ANSWER}"],"answer_method":"POST",'
            f'"event_url":["{STATUS}"],"event_method":"POST"}}',
            {"uuid": "u-7", "status": "started"}, "u-7",
        ),
        (
            "jambonz", {}, "/v1/Accounts/acc-1/Calls", JSON,
            '{"from":"+15557654321","to":{"type":"phone","number":"+15551234567"},'
            f'"call_hook":{{"url":"{ANSWER}","method":"POST"}}{SPEECH}',
            '{"from":"+15557654321","to":{"type":"phone","number":"+15551234567"},'
            f'"call_hook":{{"url":"{ANSWER}","method":"POST"}},'
            f'"call_status_hook":{{"url":"{STATUS}","method":"POST"}}{SPEECH}',
            {"sid": "s-7"}, "s-7",
        ),
        (
            "jambonz", {"application_sid": "app-9"}, "/v1/Accounts/acc-1/Calls", JSON,
            '{"application_sid":"app-9","from":"+15557654321",'
            '"to":{"type":"phone","number":"+15551234567"}}',
            '{"application_sid":"app-9","from":"+15557654321",'
            '"to":{"type":"phone","number":"+15551234567"}}',
            {"sid": "s-7"}, "s-7",
        ),
    ],
)  # fmt: skip
@in_virtual_time(until=60)
async def test_dial(
    make_control: MakeControl,
    carrier: str, options: dict[str, str], path: str, kind: str,
    body: str, with_status: str | None, reply: dict[str, Any], call: str,
) -> None:  # fmt: skip
    async with ScriptedRest(RestReply(201, reply)) as server:
        control = make_control(carrier, server.base_url, **options)
        caller = "+15557654321"
        assert await control.dial(NUMBER, caller=caller, answer_url=ANSWER) == call
        check(carrier, server.requests[0], "POST", path, kind, body)
        if with_status is not None:
            await control.dial(NUMBER, caller=caller, answer_url=ANSWER, status_url=STATUS)
            check(carrier, server.requests[1], "POST", path, kind, with_status)
        await control.aclose()
        assert server.connections == 1  # kept alive


async def test_a_carrier_that_can_only_hang_up_says_so() -> None:
    class Bare(CallControl):
        name = "bare"

        async def hang_up(self, call: str) -> None:
            raise AssertionError(call)

        async def aclose(self) -> None:
            return

    bare = Bare()
    with pytest.raises(InvalidCallRequest, match="bare cannot transfer a call"):
        await bare.transfer("c-1", NUMBER)
    with pytest.raises(InvalidCallRequest, match="bare asks no webhook"):
        bare.transfer_document(NUMBER)
    with pytest.raises(InvalidCallRequest, match="bare cannot press keys"):
        await bare.send_dtmf("c-1", "1")
    with pytest.raises(InvalidCallRequest, match="bare cannot place calls"):
        await bare.dial(NUMBER, caller=NUMBER, answer_url=ANSWER)


async def test_telnyx_places_no_calls_without_an_application(make_control: MakeControl) -> None:
    control = make_control("telnyx", "http://127.0.0.1:9")
    with pytest.raises(InvalidCallRequest, match="TELNYX_CONNECTION_ID"):
        await control.dial(NUMBER, caller=NUMBER, answer_url=ANSWER)
    await control.aclose()


async def test_twilio_by_an_api_key(make_control: MakeControl) -> None:
    async with ScriptedRest() as server:
        control = make_control("twilio", server.base_url, api_key_sid="SK1")
        await control.hang_up("CA1")
        await control.aclose()
        assert server.requests[0].headers["authorization"] == user("SK1", "s3cret-token")
        assert server.requests[0].path == "/2010-04-01/Accounts/AC1/Calls/CA1.json"


async def test_vonage_signs_a_token_for_each_request(
    make_control: MakeControl, private_key: rsa.RSAPrivateKey
) -> None:
    async with ScriptedRest() as server:
        control = make_control("vonage", server.base_url)
        await control.hang_up("c-1")
        await control.hang_up("c-2")
        await control.aclose()
        claims = []
        for request in server.requests:
            scheme, _, token = request.headers["authorization"].partition(" ")
            assert scheme == "Bearer"
            claims.append(jwt.decode(token, private_key.public_key(), algorithms=["RS256"]))
    assert [claim["application_id"] for claim in claims] == ["app-1", "app-1"]
    assert claims[0]["jti"] != claims[1]["jti"]
    assert all(claim["exp"] - claim["iat"] == 900 for claim in claims)


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_jambonz_takes_its_address_with_or_without_the_version(
    make_control: MakeControl, suffix: str
) -> None:
    async with ScriptedRest() as server:
        control = make_control("jambonz", f"{server.base_url}/api{suffix}")
        await control.hang_up("c-1")
        await control.aclose()
        assert server.requests[0].path == "/api/v1/Accounts/acc-1/Calls/c-1"


@pytest.mark.parametrize(
    ("carrier", "body"),
    [
        ("vonage", {"type": "sip", "uri": SIP}),
        ("jambonz", {"type": "sip", "sipUri": SIP}),
        ("plivo", SIP),
    ],
)
async def test_dialling_a_sip_uri(make_control: MakeControl, carrier: str, body: object) -> None:
    reply = RestReply(201, {"uuid": "u", "sid": "s", "request_uuid": "r"})
    async with ScriptedRest(reply) as server:
        control = make_control(carrier, server.base_url)
        await control.dial(SIP, caller=NUMBER, answer_url=ANSWER)
        await control.aclose()
        to = json.loads(server.requests[0].body)["to"]
        assert to == ([body] if carrier == "vonage" else body)
