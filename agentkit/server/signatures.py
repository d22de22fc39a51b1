"""Whether a request comes from the carrier that it claims to come from.

One function a scheme. Each compares in constant time, answers False to whatever it cannot read,
and never raises. A secret that is empty signs nothing. What a scheme does not sign, as a URL or a
query, is not to be believed; each function says what it covers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, parse_qsl, urlsplit, urlunsplit

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TOLERANCE = 300.0
"""Seconds by which the time in a signature may differ from ours."""

_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


def basic_password(headers: Mapping[str, str], password: str) -> bool:
    """The password of HTTP's Basic scheme (RFC 7617), whoever the user is."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    try:
        found = base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    except ValueError:
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(found, password.encode())


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A webhook's request, or the upgrade to a WebSocket.

    Nothing of it but the method shows in its ``repr``.

    Args:
        method: of HTTP, e.g. ``POST``.
        url: the public one, as the carrier was told it: ``https://`` for webhooks and ``wss://``
            for upgrades, with its query. Never made from a header of the request.
        headers: by name in lower case.
        form: the body's fields as they came, those with empty values too: they are signed.
        body: as it came.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    form: Sequence[tuple[str, str]] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


def twilio_signed(request: SignedRequest, auth_token: str) -> bool:
    """Twilio: ``X-Twilio-Signature``, over the URL and the form, or the body by its hash.

    A body that is no form is signed only by ``bodySHA256`` in the query; one without it is
    refused. The URL is tried with and without its port, as in Twilio's own libraries
    (twilio-python, ``request_validator.py``; Twilio's page "Webhooks security"). An upgrade is
    signed for the ``wss://`` URL, without fields.
    """
    signature = request.headers.get("x-twilio-signature", "")
    return _twilio_matches(request, signature, auth_token, _distinct(request.form))


def signalwire_signed(request: SignedRequest, signing_key: str) -> bool:
    """SignalWire: over the URL and the form as at Twilio, or over the URL and the raw body.

    The first is cXML's, base64 in ``X-SignalWire-Signature`` or, as SignalWire's libraries have
    it, ``X-Twilio-Signature``; a field's values stay in their order there. The second is hex in
    ``X-SignalWire-Signature`` (SHA-1) or ``X-SignalWire-SHA256-Signature`` (signalwire-python,
    ``webhook_validator.py``; SignalWire's page "Webhook Security"). Upgrades are not signed.
    """
    headers = request.headers
    over_body = _bytes(request.url) + request.body
    strong = headers.get("x-signalwire-sha256-signature", "").lower()
    if _same(_hmac(signing_key, over_body, "sha256").hex(), strong, signing_key):
        return True
    for name in ("x-signalwire-signature", "x-twilio-signature"):
        signature = headers.get(name, "")
        if (
            _same(_hmac(signing_key, over_body, "sha1").hex(), signature.lower(), signing_key)
            or _twilio_matches(request, signature, signing_key, _in_order(request.form))
            or _twilio_matches(request, signature, signing_key, _distinct(request.form))
        ):
            return True
    return False


def telnyx_signed(request: SignedRequest, public_key: str, now: float) -> bool:
    """Telnyx: Ed25519 over the time and the body. Neither URL nor query are covered.

    Args:
        request: the webhook's; upgrades are not signed.
        public_key: base64, from Telnyx' portal.
        now: the time, in seconds since 1970.
    """
    timestamp = request.headers.get("telnyx-timestamp", "")
    if not _fresh(_seconds(timestamp), now):
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(_base64(public_key))
        signature = _base64(request.headers.get("telnyx-signature-ed25519", ""))
        key.verify(signature, _bytes(timestamp) + b"|" + request.body)
    except (InvalidSignature, ValueError):
        return False
    return True


def plivo_signed(request: SignedRequest, auth_token: str) -> bool:
    """Plivo: ``X-Plivo-Signature-V3``, over URL, query, form and nonce; upgrades as GET.

    The header may hold several signatures, one for each of the account's tokens. The older V2
    signs neither query nor form, so that it would vouch for any: it is not taken (plivo-python,
    ``signature_v3.py``). A body that is no form is not signed, and refused.
    """
    signatures = request.headers.get("x-plivo-signature-v3", "")
    nonce = request.headers.get("x-plivo-signature-v3-nonce", "")
    method = request.method.upper()
    if not nonce or method not in ("GET", "POST") or (request.body and not request.form):
        return False
    signed = _plivo_text(request.url, request.form if method == "POST" else ())
    if signed is None:
        return False
    expected = _hmac(auth_token, _bytes(f"{signed}.{nonce}"), "sha256")
    text = base64.b64encode(expected).decode("ascii")
    return any(_same(text, one.strip(), auth_token) for one in signatures.split(","))


def vonage_signed(request: SignedRequest, signature_secret: str, now: float) -> bool:
    """Vonage: a JWT (HS256) in ``Authorization`` with the hash of what was sent, and its time.

    Of a POST the body is hashed, of a GET its query as a JSON object (Vonage's pages "Decoding
    signed webhooks" and "How do I verify that the Voice API Webhook request and its payload has
    not been tampered"). The URL's path is not covered; a token without a hash is refused.

    Args:
        request: the webhook's.
        signature_secret: from Vonage's dashboard; not the API secret.
        now: the time, in seconds since 1970.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not signature_secret:
        return False
    # HMAC pads a short key with zeros itself; done here, PyJWT does not warn of its length.
    key = _bytes(signature_secret).ljust(32, b"\0")
    try:
        claims = json.loads(jwt.PyJWS().decode(token.strip(), key, algorithms=["HS256"]))
    except (jwt.PyJWTError, ValueError, RecursionError):
        return False
    if not isinstance(claims, dict) or not _fresh(_number(claims.get("iat")), now):
        return False
    expires = _number(claims["exp"]) if "exp" in claims else now
    if expires is None or expires < now:
        return False
    payload = request.body or _query_as_json(request)
    found = claims.get("payload_hash")
    expected = hashlib.sha256(payload).hexdigest()
    return isinstance(found, str) and _same(expected, found.lower(), signature_secret)


def jambonz_signed(request: SignedRequest, webhook_secret: str, now: float) -> bool:
    """jambonz: ``Jambonz-Signature: t=TIME,v1=HEX``, over the time and the body.

    Neither URL nor query are covered; there may be several ``v1`` (``@jambonz/node-client``,
    ``verifyJambonzSignature``).

    Args:
        request: the webhook's.
        webhook_secret: from jambonz' portal.
        now: the time, in seconds since 1970.
    """
    parts = request.headers.get("jambonz-signature", "").split(",")
    pairs = [(name.strip(), value.strip()) for name, _, value in (p.partition("=") for p in parts)]
    times = [value for name, value in pairs if name == "t"]
    if len(times) != 1 or not _fresh(_seconds(times[0]), now):
        return False
    expected = _hmac(webhook_secret, _bytes(times[0]) + b"." + request.body, "sha256").hex()
    return any(_same(expected, value, webhook_secret) for name, value in pairs if name == "v1")


def _twilio_matches(request: SignedRequest, signature: str, secret: str, fields: str) -> bool:
    """Whether Twilio's scheme gives that signature, for the URL with or without its port."""
    urls = _with_and_without_port(request.url)
    if urls is None or (request.body and not request.form and not _body_is_hashed(request)):
        return False
    expected = [base64.b64encode(_hmac(secret, _bytes(url + fields), "sha1")) for url in urls]
    return any(_same(one.decode("ascii"), signature, secret) for one in expected)


def _body_is_hashed(request: SignedRequest) -> bool:
    """Whether the URL's query holds the body's hash, once."""
    query = parse_qsl(urlsplit(request.url).query)
    hashes = [value for name, value in query if name == "bodySHA256"]
    expected = hashlib.sha256(request.body).hexdigest()
    return len(hashes) == 1 and hmac.compare_digest(_bytes(hashes[0].lower()), _bytes(expected))


def _distinct(form: Sequence[tuple[str, str]]) -> str:
    """The fields, sorted by name and value, each pair once."""
    return "".join(name + value for name, value in sorted(set(form)))


def _in_order(form: Sequence[tuple[str, str]]) -> str:
    """The fields, sorted by name alone."""
    return "".join(name + value for name, value in sorted(form, key=lambda pair: pair[0]))


def _with_and_without_port(url: str) -> tuple[str, str] | None:
    """The URL with a port, the scheme's own if it names none, and without; None if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    host = parts.netloc.rpartition("@")
    bare = host[2][: host[2].rfind(":")] if parts.port else host[2]
    user = host[0] + host[1]
    with_port, without = (parts._replace(netloc=user + name) for name in (f"{bare}:{port}", bare))
    return urlunsplit(with_port), urlunsplit(without)


def _plivo_text(url: str, form: Sequence[tuple[str, str]]) -> str | None:
    """What Plivo signs, but for the nonce; None if the URL is none."""
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query, keep_blank_values=True)
    except ValueError:
        return None
    pairs = [(name, value) for name in sorted(query) for value in sorted(query[name])]
    asked = "&".join(f"{name}={value}" for name, value in pairs)
    sent = "".join(name + value for name, value in sorted(form))
    base = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    if sent and asked:
        return f"{base}?{asked}.{sent}"
    return f"{base}?{asked or sent}" if asked or sent else base


def _query_as_json(request: SignedRequest) -> bytes:
    """The query's fields as a JSON object in their order, without spaces."""
    try:
        pairs = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
    except ValueError:
        return b""
    fields = dict(pairs)
    return _bytes(json.dumps(fields, ensure_ascii=False, separators=(",", ":"))) if fields else b""


def _fresh(time: float | None, now: float) -> bool:
    return time is not None and abs(now - time) <= TOLERANCE


def _seconds(text: str) -> float | None:
    """Whole seconds in a text, else None."""
    plain = text.isascii() and text.isdecimal() and len(text) <= 18
    return float(text) if plain else None


def _number(value: object) -> float | None:
    """A number that fits into a float, else None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _hmac(secret: str, data: bytes, digest: str) -> bytes:
    return hmac.digest(_bytes(secret), data, digest)


def _same(expected: str, found: str, secret: str) -> bool:
    """Whether two signatures are the same, in a time that tells nothing; never without a secret."""
    return hmac.compare_digest(_bytes(expected), _bytes(found)) and secret != ""


def _base64(text: str) -> bytes:
    """Raises ValueError where it is none."""
    try:
        return base64.b64decode(_bytes(text), validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def _bytes(text: str) -> bytes:
    """UTF-8, also of what is no text: a lone surrogate has no other encoding."""
    return text.encode("utf-8", "surrogatepass")
