"""How a carrier asks a bot's webhook what to do with a call, and what it is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree

from agentkit.audio.formats import AudioFormat

_LONGEST = 1 << 20
"""Bytes of an answer that are read."""


@dataclass(frozen=True, slots=True)
class Connect:
    """The bot connects the call to its media socket.

    Args:
        url: of the socket, as it stands in the document.
        parameters: what is to be sent along.
        audio: what the bot asked for; None if the document leaves it to the carrier.
        keeps_call: the call goes on when the socket is closed.
        headers: of the socket's handshake.
    """

    url: str = field(repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    audio: AudioFormat | None = None
    keeps_call: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The bot does not take the call.

    Args:
        why: ``hang up`` (after a sentence, if there is one), ``reject`` (the caller hears that the
            line is busy), or ``http``: the webhook answered with a status that is no success.
        sentence: what the caller is told with the carrier's voice.
        status: the HTTP status.
    """

    why: str
    sentence: str = ""
    status: int = 200


Answer = Connect | Refusal


@dataclass(frozen=True, slots=True)
class Reply:
    """What an HTTP server answered; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """A request to a webhook: what a carrier sends, before it is signed.

    Args:
        fields: the fields of the form or of the JSON object.
        is_json: whether they are sent as JSON.
    """

    fields: Mapping[str, str] = field(repr=False)
    is_json: bool = False

    @property
    def content_type(self) -> str:
        """The type of the body."""
        return "application/json" if self.is_json else "application/x-www-form-urlencoded"

    def body(self) -> bytes:
        """The body, to the byte as it is sent and signed."""
        return (json.dumps(self.fields) if self.is_json else urlencode(self.fields)).encode()


async def post(url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    """Send a request to a server on ``http://`` and return the answer.

    Raises:
        OSError: nothing listens there.
        ValueError: what came back is no HTTP.
    """
    parts = urlsplit(url)
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        await writer.drain()
        whole = bytearray()
        while len(whole) < _LONGEST and (data := await reader.read(65536)):
            whole += data
    finally:
        writer.close()
    return _parse(bytes(whole))


def _parse(whole: bytes) -> Reply:
    head, found, body = whole.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    if not found or not first.startswith("HTTP/1."):
        raise ValueError("the webhook's answer is no HTTP/1")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _join(body)
    return Reply(int(first.split(" ")[1]), headers, body)


def _join(chunks: bytes) -> bytes:
    """A body that came in chunks (RFC 9112, section 7.1)."""
    whole = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if length == 0:
            break
        whole += rest[:length]
        chunks = rest[length + 2 :]
    return whole


def read_xml(reply: Reply) -> ElementTree.Element:
    """The root of an XML document: ``<Response>``.

    Raises:
        ValueError: it is no such document.
    """
    try:
        root = ElementTree.fromstring(reply.body)  # noqa: S314 - the answer of the bot under test
    except ElementTree.ParseError as error:
        raise ValueError(f"the webhook's answer is no XML: {error}") from None
    if root.tag != "Response":
        raise ValueError(f"the document's root is <{root.tag}>, which should be <Response>")
    return root


def read_json(reply: Reply) -> list[dict[str, Any]]:
    """The list of verbs or actions that a JSON document holds.

    Raises:
        ValueError: it is no such document.
    """
    try:
        found = json.loads(reply.body)
    except ValueError:
        raise ValueError("the webhook's answer is no JSON") from None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError("the webhook's answer is no JSON list of objects")
    return found


def refusal(root: ElementTree.Element, spoken: tuple[str, ...] = ("Say", "Speak")) -> Refusal:
    """What a document says that connects the call to nothing."""
    sentence = " ".join("".join(child.itertext()).strip() for child in root if child.tag in spoken)
    rejected = root.find("Reject") is not None or any(
        child.get("reason") in {"busy", "rejected"} for child in root.findall("Hangup")
    )
    return Refusal("reject" if rejected else "hang up", sentence)


def as_public(url: str, public_url: str, *, socket: bool = False) -> str:
    """A URL as the bot knows it, which is what signatures are made for.

    Args:
        url: where it really is.
        public_url: where the bot believes to be reached; "": there, too.
        socket: the scheme is ``wss``, not ``https``.
    """
    if not public_url:
        return url
    parts, public = urlsplit(url), urlsplit(public_url)
    scheme = public.scheme.replace("http", "ws", 1) if socket else public.scheme
    return urlunsplit((scheme, public.netloc, parts.path, parts.query, ""))


def as_local(url: str, public_url: str, host: str) -> str:
    """Where the URL of a socket really leads to: what is public is at ``host``."""
    parts = urlsplit(url)
    if not host or not public_url or parts.netloc != urlsplit(public_url).netloc:
        return url
    return urlunsplit(("ws", host, parts.path, parts.query, ""))
