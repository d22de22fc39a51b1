"""Signatures of the carriers, by the vendors' own test vectors where they publish some."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import hypothesis.strategies as st
import pytest
from hypothesis import given

from agentkit.server.signatures import (
    SignedRequest,
    jambonz_signed,
    plivo_signed,
    signalwire_signed,
    telnyx_signed,
    twilio_signed,
    vonage_signed,
)

NOW = 1_760_000_000.0
TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
FORM = (
    ("CallSid", "CA1234567890ABCDE"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
    ("Caller", "+14158675309"),
)


def twilio(signature: str, url: str = URL, form: Any = (), body: bytes = b"") -> SignedRequest:
    return SignedRequest("POST", url, {"x-twilio-signature": signature}, form, body)


def test_a_request_shows_nothing_secret() -> None:
    request = twilio("s1gnature", "https://h/t0ken", (("From", "+1555"),), b"From=%2B1555")
    assert repr(request) == "SignedRequest(method='POST')"


# Twilio: the vectors of twilio-python's tests/unit/test_request_validator.py


def test_twilio_signs_the_form() -> None:
    assert twilio_signed(twilio("RSOYDt4T1cUTdK1PDd93/VVr8B8=", form=FORM, body=b"raw"), TOKEN)
    assert twilio_signed(twilio("RSOYDt4T1cUTdK1PDd93/VVr8B8=", form=FORM[::-1]), TOKEN)


def test_twilio_signs_each_distinct_value_in_order() -> None:
    form = (("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234"))
    for doubled in (form, (*form, ("Digits", "1234"))):
        assert twilio_signed(twilio("IK+Dwps556ElfBT0I3Rgjkr1wJU=", form=doubled), TOKEN)


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        (URL.replace(".com", ".com:1234"), "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (URL.replace(".com", ".com:443"), "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (URL.replace("https", "http").replace(".com", ".com:1234"), "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        (URL, "kvajT1Ptam85bY51eRf/AJRuM3w="),
        (URL.replace("https", "http"), "0ZXoZLH/DfblKGATFgpif+LLRf4="),
    ],
)
def test_twilio_may_sign_the_port_or_not(url: str, signature: str) -> None:
    assert twilio_signed(twilio(signature, url, FORM), TOKEN)


HASHED = f"{URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
BODY = b'{"property": "value", "boolean": true}'


def test_twilio_signs_a_body_by_its_hash() -> None:
    good = twilio("a9nBmqA0ju/hNViExpshrM61xv4=", HASHED, body=BODY)
    assert twilio_signed(good, TOKEN)
    assert not twilio_signed(replace(good, body=BODY + b" "), TOKEN)


def test_a_body_that_twilio_did_not_sign_is_refused() -> None:
    signature = sha1_base64(TOKEN, URL)
    assert twilio_signed(twilio(signature), TOKEN)
    assert not twilio_signed(twilio(signature, body=BODY), TOKEN)


@pytest.mark.parametrize(
    ("signature", "url", "good"),
    [
        ("okykUWKkAOgQseVjzERZh4soLeU=", "wss://mycompany.com/media", True),
        ("y/eZxfvMeXBmejSJYHDm4y/cRMk=", "wss://mycompany.com/media", True),
        ("okykUWKkAOgQseVjzERZh4soLeU=", "wss://mycompany.com:443/media", True),
        ("767ALDRNA8VrAN2kKcJ/ivLgcfQ=", "wss://mycompany.com/media", False),
        ("okykUWKkAOgQseVjzERZh4soLeU=", "https://mycompany.com/media", False),
        ("okykUWKkAOgQseVjzERZh4soLeU=", "wss://mycompany.com/media/", False),
    ],
)
def test_twilio_signs_an_upgrade_for_its_wss_url(signature: str, url: str, good: bool) -> None:
    upgrade = SignedRequest("GET", url, {"x-twilio-signature": signature})
    assert twilio_signed(upgrade, TOKEN) is good


@pytest.mark.parametrize(
    "tampered",
    [
        twilio("RSOYDt4T1cUTdK1PDd93/VVr8B8=", URL + "&baz=3", FORM),
        twilio("RSOYDt4T1cUTdK1PDd93/VVr8B8=", URL.replace("https", "http"), FORM),
        twilio("RSOYDt4T1cUTdK1PDd93/VVr8B8=", form=FORM[1:]),
        twilio("RSOYDt4T1cUTdK1PDd93/VVr8B8=", form=(*FORM, ("Extra", ""))),
        twilio("RSOYDt4T1cUTdK1PDd93/VVr8B8=", form=(*FORM[1:], ("CallSid", "CA2"))),
        twilio("rSOYDt4T1cUTdK1PDd93/VVr8B8=", form=FORM),
        twilio("", form=FORM),
        SignedRequest("POST", URL, {}, FORM),
    ],
)
def test_twilio_signed_nothing_else(tampered: SignedRequest) -> None:
    assert not twilio_signed(tampered, TOKEN)


def sha1_base64(secret: str, text: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()


# SignalWire: the vectors of signalwire-python's tests/unit/security/test_webhook_validator.py

SIGNING_KEY = "PSKtest1234567890abcdef"
SW_URL = "https://example.ngrok.io/webhook"
SW_BODY = b'{"event":"call.state","params":{"call_id":"abc-123","state":"answered"}}'
SW_HEX = "c3c08c1fefaf9ee198a100d5906765a6f394bf0f"


def signalwire(
    signature: str, url: str = SW_URL, form: Any = (), body: bytes = b"", name: str = ""
) -> SignedRequest:
    return SignedRequest("POST", url, {name or "x-signalwire-signature": signature}, form, body)


@pytest.mark.parametrize("name", ["x-signalwire-signature", "x-twilio-signature"])
def test_signalwire_signs_a_form_as_twilio_does(name: str) -> None:
    good = signalwire("RSOYDt4T1cUTdK1PDd93/VVr8B8=", URL, FORM, urlencode(FORM).encode(), name)
    assert signalwire_signed(good, TOKEN)
    assert not signalwire_signed(replace(good, form=FORM[1:]), TOKEN)
    assert not signalwire_signed(replace(good, url=URL + "3"), TOKEN)
    assert not signalwire_signed(good, "54321")


def test_signalwire_signs_the_raw_body() -> None:
    good = signalwire(SW_HEX, body=SW_BODY)
    assert signalwire_signed(good, SIGNING_KEY)
    assert not signalwire_signed(replace(good, body=SW_BODY.replace(b"abc", b"abd")), SIGNING_KEY)
    assert not signalwire_signed(replace(good, url=SW_URL + "/"), SIGNING_KEY)
    strong = hmac.digest(SIGNING_KEY.encode(), SW_URL.encode() + SW_BODY, "sha256").hex()
    name = "x-signalwire-sha256-signature"
    assert signalwire_signed(signalwire(strong, body=SW_BODY, name=name), SIGNING_KEY)
    assert not signalwire_signed(signalwire(strong, body=SW_BODY), SIGNING_KEY)
    assert not signalwire_signed(signalwire(SW_HEX, body=SW_BODY, name=name), SIGNING_KEY)


def test_signalwire_signs_a_body_by_its_hash() -> None:
    body = b'{"event":"call.state"}'
    digest = "69f3cbfc18e386ef8236cb7008cd5a54b7fed637a8cb3373b5a1591d7f0fd5f4"
    good = signalwire("dfO9ek8mxyFtn2nMz24plPmPfIY=", f"{SW_URL}?bodySHA256={digest}", body=body)
    assert signalwire_signed(good, SIGNING_KEY)
    assert not signalwire_signed(replace(good, body=b'{"event":"DIFFERENT"}'), SIGNING_KEY)


def test_signalwire_keeps_the_order_of_a_fields_values() -> None:
    good = signalwire(
        sha1_base64("k", SW_URL + "AxTobToa"), form=[("To", "b"), ("A", "x"), ("To", "a")]
    )
    assert signalwire_signed(good, "k")
    bad = signalwire(sha1_base64("k", SW_URL + "TobToa"), form=[("To", "a"), ("To", "b")])
    assert not signalwire_signed(bad, "k")


def test_signalwire_may_sign_the_port_or_not() -> None:
    with_port = "https://example.com:443/webhook"
    without = "https://example.com/webhook"
    assert signalwire_signed(signalwire(sha1_base64("k", with_port), without), "k")
    assert signalwire_signed(signalwire(sha1_base64("k", without), with_port), "k")


# Plivo: the vectors of plivo-go's utils_test.go

PLIVO_TOKEN = "Y2Q2ZDgxZmY5YWRiOTI5YmQ1Njg0MTAxZWIyOTc4"
NONCE = "31627761595286130198"
PLIVO_URL = "https://plivobin.non-prod.plivops.com/api/v1/validate_signature03.xml"
PLIVO_FORM = (
    ("Direction", "outbound"),
    ("From", "19792014278"),
    ("ALegUUID", "3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36"),
    ("CallStatus", "in-progress"),
    ("BillRate", "0.002"),
    ("ParentAuthID", "MANWVLYTK4ZWU1YTY4QA"),
    ("To", "sip:PlivoSignature382029104058171078704104@phone-qa.voice.plivodev.com"),
    ("ALegRequestUUID", "3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36"),
    ("CallUUID", "3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36"),
    ("RequestUUID", "3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36"),
    ("SIP-H-To", "<sip:PlivoSignature382029104058171078704104@52.9.11.55;transport=udp>;tag=1"),
    ("SessionStart", "2020-04-08 11:34:33.238707"),
    ("Event", "StartApp"),
)
PLIVO_QUERY = urlencode(PLIVO_FORM)


def plivo(
    method: str, signature: str, url: str = PLIVO_URL, form: Any = (), nonce: str = NONCE
) -> SignedRequest:
    headers = {"x-plivo-signature-v3": signature, "x-plivo-signature-v3-nonce": nonce}
    return SignedRequest(method, url, headers, form, urlencode(form).encode())


PLIVO_SLASH = PLIVO_URL + "/"
PLIVO_GOOD = [
    plivo(
        "POST",
        "k7Pusd4OxCIjR5IfA9iedDNu/h/gbdYqdzG/MiYtd1c=",
        f"{PLIVO_SLASH}?a=b&c=d",
        PLIVO_FORM,
    ),
    plivo(
        "GET",
        "UBq8jAtd32wR8EK9VgxbBn4n5rpI/l1H9iN4WfSEHFQ=",
        f"{PLIVO_SLASH}?c=d&a=b&{PLIVO_QUERY}",
    ),
    plivo("POST", "iAjE5QqI37mbkYe4w3jTMudqEzbDufdqi7sYwTu64e0=", PLIVO_URL, PLIVO_FORM),
    plivo("GET", "i/MQsaQSAd6fiKhOh2qeeeLHZ9faldADSb3/7+Akfbc=", f"{PLIVO_URL}?{PLIVO_QUERY}"),
]


@pytest.mark.parametrize("good", PLIVO_GOOD)
def test_plivo_signs_url_query_form_and_nonce(good: SignedRequest) -> None:
    assert plivo_signed(good, PLIVO_TOKEN)
    assert not plivo_signed(good, PLIVO_TOKEN[1:])
    assert not plivo_signed(replace(good, url=good.url + "&z=1"), PLIVO_TOKEN)
    assert not plivo_signed(replace(good, url=good.url.replace("v1", "v2")), PLIVO_TOKEN)
    nonce = dict(good.headers) | {"x-plivo-signature-v3-nonce": "31627761595286130199"}
    assert not plivo_signed(replace(good, headers=nonce), PLIVO_TOKEN)
    if good.form:
        tampered = (*good.form[1:], ("Direction", "inbound"))
        assert not plivo_signed(replace(good, form=tampered), PLIVO_TOKEN)
        assert not plivo_signed(replace(good, form=(*good.form, ("X", "y"))), PLIVO_TOKEN)


def test_plivo_may_send_several_signatures() -> None:
    good = PLIVO_GOOD[2].headers["x-plivo-signature-v3"]
    for header in (f"other=,{good}", f"{good}, other=", f",,{good}"):
        assert plivo_signed(plivo("POST", header, PLIVO_URL, PLIVO_FORM), PLIVO_TOKEN)
    assert not plivo_signed(plivo("POST", "other=,,", PLIVO_URL, PLIVO_FORM), PLIVO_TOKEN)


def plivo_v3(text: str) -> str:
    digest = hmac.digest(PLIVO_TOKEN.encode(), f"{text}.{NONCE}".encode(), "sha256")
    return base64.b64encode(digest).decode()


def test_plivo_signs_an_upgrade_as_a_get_of_its_wss_url() -> None:
    url = "wss://bot.example/plivo/media"
    assert plivo_signed(plivo("GET", plivo_v3(url), url), PLIVO_TOKEN)
    https = plivo_v3("https://bot.example/plivo/media")
    assert not plivo_signed(plivo("GET", https, url), PLIVO_TOKEN)


def test_plivo_signs_no_other_method_and_no_body_that_is_no_form() -> None:
    good = plivo("POST", plivo_v3(PLIVO_URL))
    assert plivo_signed(good, PLIVO_TOKEN)
    assert plivo_signed(replace(good, method="post"), PLIVO_TOKEN)
    assert not plivo_signed(replace(good, body=b"{}"), PLIVO_TOKEN)
    assert not plivo_signed(replace(good, method="PUT"), PLIVO_TOKEN)
    headers = {"x-plivo-signature-v3": plivo_v3(PLIVO_URL)}
    assert not plivo_signed(replace(good, headers=headers), PLIVO_TOKEN)


def test_plivos_older_signature_vouches_for_nothing() -> None:
    headers = {
        "x-plivo-signature-v2": "ehV3IKhLysWBxC1sy8INm0qGoQYdYsHwuoKjsX7FsXc=",
        "x-plivo-signature-v2-nonce": "12345",
    }  # a vector of plivo-node, right for this URL and token
    request = SignedRequest("POST", "https://answer.url", headers)
    assert not plivo_signed(request, "my_auth_token")


# All of them

TELNYX_KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="

CHECKS: list[Callable[[SignedRequest, str], bool]] = [
    twilio_signed,
    signalwire_signed,
    lambda request, secret: telnyx_signed(request, secret, NOW),
    plivo_signed,
    lambda request, secret: vonage_signed(request, secret, NOW),
    lambda request, secret: jambonz_signed(request, secret, NOW),
]
HEADERS = [
    "x-twilio-signature",
    "x-signalwire-signature",
    "x-signalwire-sha256-signature",
    "telnyx-timestamp",
    "telnyx-signature-ed25519",
    "x-plivo-signature-v3",
    "x-plivo-signature-v3-nonce",
    "authorization",
    "jambonz-signature",
]
ANY_TEXT = st.text(st.characters(), max_size=30)
VALUES = st.one_of(
    ANY_TEXT,
    st.sampled_from(["Bearer a.b.c", "Bearer", "t=1760000000,v1=x", "1760000000", "ü\ud800", "="]),
)
URLS = st.one_of(
    ANY_TEXT,
    st.sampled_from(["https://[", "https://h:x/", "https://h:99999/", "//", "https://h/?%ff=%00"]),
)


@given(
    method=st.sampled_from(["GET", "POST", ""]),
    url=URLS,
    headers=st.dictionaries(st.sampled_from(HEADERS), VALUES),
    form=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=3),
    body=st.binary(max_size=20),
    secret=st.one_of(ANY_TEXT, st.just(TELNYX_KEY)),
)
def test_garbage_is_signed_by_nobody_and_raises_nothing(
    method: str,
    url: str,
    headers: dict[str, str],
    form: list[tuple[str, str]],
    body: bytes,
    secret: str,
) -> None:
    request = SignedRequest(method, url, headers, form, body)
    assert [check(request, secret) for check in CHECKS] == [False] * len(CHECKS)


def test_without_a_secret_nothing_is_signed() -> None:
    signed = {
        "x-twilio-signature": sha1_base64("", SW_URL),
        "x-signalwire-signature": sha1_base64("", SW_URL),
        "x-signalwire-sha256-signature": hmac.digest(b"", SW_URL.encode(), "sha256").hex(),
        "x-plivo-signature-v3-nonce": "1",
        "x-plivo-signature-v3": base64.b64encode(
            hmac.digest(b"", f"{SW_URL}.1".encode(), "sha256")
        ).decode(),
        "jambonz-signature": "t=1760000000,v1=" + hmac.digest(b"", b"1760000000.", "sha256").hex(),
    }
    request = SignedRequest("POST", SW_URL, signed)
    assert [check(request, "") for check in CHECKS] == [False] * len(CHECKS)
