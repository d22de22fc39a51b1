"""Signatures with a time in them, over the body: Telnyx, Vonage, jambonz."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentkit.server.signatures import (
    SignedRequest,
    jambonz_signed,
    telnyx_signed,
    vonage_signed,
)

NOW = 1_760_000_000.0

# Telnyx

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()
TELNYX_BODY = b'{"data":{"event_type":"call.initiated"}}'


def telnyx(timestamp: str = "1760000000", body: bytes = TELNYX_BODY) -> SignedRequest:
    signature = PRIVATE.sign(timestamp.encode() + b"|" + body)
    headers = {
        "telnyx-timestamp": timestamp,
        "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
    }
    return SignedRequest("POST", "https://bot.example/telnyx/voice", headers, (), body)


def test_telnyx_signs_time_and_body() -> None:
    good = telnyx()
    assert telnyx_signed(good, PUBLIC, NOW)
    assert not telnyx_signed(replace(good, body=TELNYX_BODY + b" "), PUBLIC, NOW)
    other = base64.b64encode(bytes(32)).decode()
    assert not telnyx_signed(good, other, NOW)
    later = dict(good.headers) | {"telnyx-timestamp": "1760000001"}
    assert not telnyx_signed(replace(good, headers=later), PUBLIC, NOW)


def test_telnyx_is_believed_for_300_seconds() -> None:
    assert telnyx_signed(telnyx(), PUBLIC, NOW + 300)
    assert telnyx_signed(telnyx(), PUBLIC, NOW - 300)
    assert not telnyx_signed(telnyx(), PUBLIC, NOW + 301)
    assert not telnyx_signed(telnyx(), PUBLIC, NOW - 301)


@pytest.mark.parametrize(
    "timestamp", ["", "soon", "-1", "1e9", "１７６００００００００", "9" * 5000]
)
def test_telnyx_has_to_tell_the_time(timestamp: str) -> None:
    assert not telnyx_signed(telnyx(timestamp), PUBLIC, NOW)


@pytest.mark.parametrize("key", ["", "?", "AAAA", PUBLIC[:-1], PUBLIC * 2, "ä"])
def test_a_key_that_is_none_fits_nothing(key: str) -> None:
    assert not telnyx_signed(telnyx(), key, NOW)


# Vonage

SECRET = "qwertyuiopasdfghjklzxcvbnm123456"
VONAGE_BODY = b'{"from":"447700900000","to":"447700900001","uuid":"u-1"}'


def vonage(body: bytes = VONAGE_BODY, url: str = "https://h/v", **claims: Any) -> SignedRequest:
    told = {
        "iat": 1760000000,
        "jti": "j",
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(body).hexdigest(),
        "api_key": "k",
    }
    told = {name: value for name, value in (told | claims).items() if value is not None}
    return bearer(jwt.encode(told, SECRET, algorithm="HS256"), body, url)


def bearer(token: str, body: bytes = VONAGE_BODY, url: str = "https://h/v") -> SignedRequest:
    return SignedRequest("POST", url, {"authorization": f"Bearer {token}"}, (), body)


def test_vonage_signs_the_bodys_hash() -> None:
    good = vonage()
    assert vonage_signed(good, SECRET, NOW)
    assert vonage_signed(
        vonage(payload_hash=hashlib.sha256(VONAGE_BODY).hexdigest().upper()), SECRET, NOW
    )
    assert not vonage_signed(replace(good, body=VONAGE_BODY[:-1] + b" }"), SECRET, NOW)
    assert not vonage_signed(good, SECRET[1:], NOW)
    assert not vonage_signed(good, "", NOW)


def test_a_short_secret_of_vonage_is_taken_without_a_warning() -> None:
    body = hashlib.sha256(VONAGE_BODY).hexdigest()
    signing_input = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "typ": "JWT"}, {"iat": NOW, "payload_hash": body})
    )
    signature = hmac.digest(b"short", signing_input.encode(), "sha256")
    token = f"{signing_input}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert vonage_signed(bearer(token), "short", NOW)
    assert not vonage_signed(bearer(token), "shor", NOW)


def test_vonage_signs_the_query_of_a_get() -> None:
    query = b'{"to":"447700900001","from":"447700900000"}'
    url = "https://h/v?to=447700900001&from=447700900000"
    good = replace(vonage(query, url), method="GET", body=b"")
    assert vonage_signed(good, SECRET, NOW)
    assert not vonage_signed(replace(good, url=url + "1"), SECRET, NOW)
    assert not vonage_signed(replace(good, url="https://h/v"), SECRET, NOW)


@pytest.mark.parametrize(
    ("offset", "good"), [(300, True), (-300, True), (301, False), (-301, False)]
)
def test_vonage_is_believed_for_300_seconds(offset: int, good: bool) -> None:
    assert vonage_signed(vonage(), SECRET, NOW + offset) is good


@pytest.mark.parametrize(
    "claims",
    [
        {"iat": None},
        {"iat": "1760000000"},
        {"iat": True},
        {"iat": 10**400},
        {"iat": float("nan")},
        {"payload_hash": None},
        {"payload_hash": 7},
        {"payload_hash": ""},
        {"exp": NOW - 1},
        {"exp": "never"},
    ],
)
def test_a_token_that_says_too_little_is_refused(claims: Any) -> None:
    assert not vonage_signed(vonage(**claims), SECRET, NOW)


def test_only_hs256_is_taken() -> None:
    claims = {"iat": NOW, "payload_hash": hashlib.sha256(VONAGE_BODY).hexdigest()}
    assert vonage_signed(bearer(jwt.encode(claims, SECRET, algorithm="HS256")), SECRET, NOW)
    for algorithm, key in (("none", ""), ("HS384", SECRET * 2), ("HS512", SECRET * 2)):
        assert not vonage_signed(
            bearer(jwt.encode(claims, key, algorithm=algorithm)), SECRET * 2, NOW
        )


def test_vonages_own_vector_verifies_but_is_too_old_and_hashes_nothing() -> None:
    token = (  # vonage-python-sdk, jwt/tests/test_verify_jwt.py
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJPbmxpbmUgSldUIEJ1aWxkZXIiLCJpYXQiOjE2OTc2"
        "MzQ2ODAsImV4cCI6MzMyNTQ1NDA4MjgsImF1ZCI6IiIsInN1YiI6IiJ9.88vJc3I2HhuqEDixHXVhc9R30tA6U_HQ"
        "HZTC29y6CGM"
    )
    assert jwt.PyJWS().decode(token, SECRET, algorithms=["HS256"])
    assert not vonage_signed(bearer(token), SECRET, NOW)
    assert not vonage_signed(bearer(token), SECRET, 1697634680)


# jambonz


def jambonz(header: str, body: bytes = b'{"call_sid":"c"}') -> SignedRequest:
    headers = {"jambonz-signature": header}
    return SignedRequest("POST", "https://bot.example/jambonz/voice", headers, (), body)


def test_jambonz_signs_time_and_body() -> None:
    right = hmac.digest(b"whsec", b'1760000000.{"call_sid":"c"}', "sha256").hex()
    good = jambonz(f"t=1760000000,v1={right}")
    assert jambonz_signed(good, "whsec", NOW)
    assert jambonz_signed(jambonz(f"t=1760000000, v1=0, v1={right}"), "whsec", NOW)
    assert not jambonz_signed(good, "whsek", NOW)
    assert not jambonz_signed(good, "whsec", NOW + 301)
    assert not jambonz_signed(good, "whsec", NOW - 301)
    assert not jambonz_signed(replace(good, body=b"{}"), "whsec", NOW)
    for header in (
        f"t=1760000001,v1={right}",
        f"t=1760000000,v0={right}",
        f"t=1760000000,t=1760000000,v1={right}",
        f"v1={right}",
        "t=1760000000",
        "t=1760000000,v1=",
        "",
    ):
        assert not jambonz_signed(jambonz(header), "whsec", NOW)
