"""Only what means nothing to XML, JSON, a form or a path gets into a request."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.callcontrol import CallControl, InvalidCallRequest
from agentkit.callcontrol._checks import (
    asking,
    call_id,
    destination,
    keys,
    number,
    transfer_webhook,
    webhook,
)
from agentkit.errors import CallControlError, ConfigError
from agentkit.testing._rest import ScriptedRest

MakeControl = Callable[..., CallControl]

CARRIERS = ["twilio", "signalwire", "telnyx", "plivo", "vonage", "jambonz"]


@pytest.mark.parametrize("to", ["+1234567", "+123456789012345", "+15551234567"])
def test_numbers(to: str) -> None:
    found = destination(to)
    assert found.is_number
    assert (found.text, found.digits) == (to, to[1:])
    assert to not in repr(found)
    assert number(to, "caller") == found


@pytest.mark.parametrize(
    "to",
    [
        "sip:pbx.example.com",
        "sip:+15551234567@pbx.example.com",
        "sips:front-desk@pbx.example.com:5061",
        "sip:1001@10.0.0.7;transport=tcp;user=phone",
        "sip:1001@[2001:db8::7]:5060",
    ],
)
def test_sip_uris(to: str) -> None:
    found = destination(to)
    assert not found.is_number
    assert (found.text, found.digits) == (to, to)
    with pytest.raises(InvalidCallRequest):
        number(to, "caller")


@pytest.mark.parametrize(
    "to",
    [
        "", "+", "15551234567", "+123456", "+1234567890123456", "+0123456789", "+1 555 123 4567",
        "+1555-123-4567", "+1555123456７", "+15551234567\n", " +15551234567", "+15551234567<+1900",
        "</Number><Say>x</Say>", '+1555123456"', "tel:+15551234567", "sip:", "sip:@x.example",
        "sip:a@b@c", "sip:a:password@x.example", "sip:a@x.example?Subject=x", "sip:a@x.example>",
        "sip:a@x.example&amp;", "sip:a b@x.example", 'sip:a"@x.example', "sip:a@x.example\r\n",
        "sip:a@x.example;p=<", "sip:a@-x", "SIP:a@x.example", "sip:" + "a" * 65 + "@x.example",
        "sip:a@" + "x" * 260, "client:bob", "https://x.example",
    ],
)  # fmt: skip
def test_anything_else_is_no_destination(to: str) -> None:
    with pytest.raises(CallControlError, match=r"^to: must be a number") as caught:
        destination(to)
    assert isinstance(caught.value, InvalidCallRequest)
    assert not caught.value.retryable


@given(
    st.text(alphabet=string.printable, max_size=40), st.sampled_from(["", "+", "sip:", "sip:a@"])
)
def test_no_destination_means_anything_to_a_markup(text: str, start: str) -> None:
    try:
        found = destination(start + text).text
    except InvalidCallRequest:
        return
    assert found == start + text
    assert not set(found) & set("<>&\"'\\{}` \t\r\n\0,?#%/")


@pytest.mark.parametrize("call", ["CA" + "0f" * 16, "v3:KBnLO0ZK3D_-khw", "3c90c3cc-0d44-4b50"])
def test_ids_of_calls(call: str) -> None:
    assert call_id(call) == call


@pytest.mark.parametrize(
    "call", ["", ".", "..", "a/b", "a?b", "a#b", "a b", "a%2fb", "é", "a" * 257]
)
def test_what_is_no_id_of_a_call(call: str) -> None:
    with pytest.raises(InvalidCallRequest, match=r"^call: "):
        call_id(call)


def test_keys() -> None:
    assert keys("0123456789*#") == "0123456789*#"
    for digits in ("", "12w", "A", "1 2", "١"):
        with pytest.raises(InvalidCallRequest, match=r"^digits: ") as caught:
            keys(digits)
        assert "12" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "/voice", "x.example", "wss://x.example", "https://", "https://[x", "https://x y#"]
)
def test_what_is_no_webhook(url: str) -> None:
    with pytest.raises(InvalidCallRequest, match=r"^answer_url: must be a whole URL"):
        webhook(url, "answer_url")


def test_a_transfer_is_asked_for_at_a_whole_url_or_at_none() -> None:
    assert transfer_webhook("") == ""
    assert transfer_webhook("https://b/t?c=d") == "https://b/t?c=d"
    for url in ("/t", "https://b/t#d"):
        with pytest.raises(ConfigError, match="must be a whole URL") as caught:
            transfer_webhook(url)
        assert caught.value.field == "transfer_url"


def test_the_webhook_of_a_transfer_finds_the_destination_in_its_query() -> None:
    to = destination("sip:a@x.example;p=1")
    assert asking("https://b/t", to) == "https://b/t?to=sip%3Aa%40x.example%3Bp%3D1"
    assert asking("https://b/t?c=d", to) == "https://b/t?c=d&to=sip%3Aa%40x.example%3Bp%3D1"


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_every_control_checks_before_it_asks(make_control: MakeControl, carrier: str) -> None:
    good, webhook_url = "+15551234567", "https://bot.example.com/voice"
    async with ScriptedRest() as server:
        options = {"connection_id": "17"} if carrier == "telnyx" else {}
        control = make_control(carrier, server.base_url, **options)
        asks = [
            control.hang_up("../../x"),
            control.transfer("a/b", good),
            control.transfer("c-1", "911"),
            control.send_dtmf("c-1", "1;2"),
            control.dial("911", caller=good, answer_url=webhook_url),
            control.dial(good, caller="sip:a@x.example", answer_url=webhook_url),
            control.dial(good, caller=good, answer_url="/voice"),
            control.dial(good, caller=good, answer_url=webhook_url, status_url="/status"),
        ]
        for ask in asks:
            with pytest.raises(InvalidCallRequest):
                await ask
        await control.aclose()
        assert server.connections == 0
