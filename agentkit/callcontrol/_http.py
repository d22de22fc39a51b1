"""Requests to a carrier's REST interface, and what their answers mean."""

from __future__ import annotations

import asyncio
import base64
import functools
import ipaddress
import json
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx2

from agentkit._hosts import is_loopback
from agentkit.callcontrol.base import InvalidCallRequest
from agentkit.errors import CallControlError, ConfigError

CONNECT_SECONDS = 3.0
"""Longest wait for a connection, TLS handshake included."""

REQUEST_SECONDS = 10.0
"""Longest time that a request may take, its connection and its answer included."""

HANG_UP_SECONDS = 5.0
"""Longest time that hanging up may take, its second try included."""

_FIRST_TRY = 0.6  # of the time, so that a server that hangs leaves some for the second
_PAUSE = 0.25  # seconds before the second try
_IDLE_SECONDS = 30.0
_ERROR_CODE = re.compile(r"[0-9]{3,6}")

Form = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a carrier answered.

    Args:
        status: the HTTP status.
        fields: the JSON object in its body; empty if there is none.
    """

    status: int
    fields: Mapping[str, Any] = field(repr=False)

    @property
    def code(self) -> str:
        """The carrier's own number of the error; "" if it names none."""
        listed = self.fields.get("errors")
        first = listed[0] if isinstance(listed, list) and listed else self.fields
        code = str(first.get("code", "")) if isinstance(first, dict) else ""
        return code if _ERROR_CODE.fullmatch(code) else ""

    def text(self, *names: str) -> str:
        """The first of these fields that holds text; "" if none does."""
        found = (self.fields.get(name) for name in names)
        return next((value for value in found if isinstance(value, str) and value), "")


def basic(user: str, password: str) -> Callable[[], str]:
    """HTTP Basic authentication (RFC 7617)."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    return lambda: f"Basic {pair}"


def bearer(token: str) -> Callable[[], str]:
    """A token that stays the same."""
    return lambda: f"Bearer {token}"


class RestClient:
    """One carrier's REST interface and the connections to it.

    It follows no redirect, for the credentials are meant for one host, and asks no proxy for a
    server on this machine. Making one opens nothing.

    Args:
        carrier: its name, for errors.
        base_url: what the paths are appended to: https, or http within this machine or its own
            network.
        authorize: makes the ``Authorization`` of each request.

    Raises:
        ConfigError: ``base_url`` is none, or would send the credentials in the clear.
    """

    def __init__(self, carrier: str, base_url: str, authorize: Callable[[], str]) -> None:
        url = _checked(base_url)
        self._carrier = carrier
        self._base = str(url).rstrip("/")
        self._authorize = authorize
        self._client = httpx2.AsyncClient(
            verify=_tls() if url.scheme == "https" else False,
            trust_env=not is_loopback(url.host),
            follow_redirects=False,
            timeout=httpx2.Timeout(REQUEST_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_keepalive_connections=4, keepalive_expiry=_IDLE_SECONDS),
            headers={"Accept": "application/json", "User-Agent": "agentkit"},
        )

    async def request(
        self,
        what: str,
        method: str,
        path: str,
        *,
        form: Form | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Ask once. Cancelling closes the connection.

        Args:
            what: what is asked for, for errors: ``"transfer the call"``.
            method: of HTTP.
            path: what follows the base URL.
            form: the body, as a form; or
            body: the body, as JSON.

        Raises:
            CallControlError: no answer, or another than 2xx.
        """
        until = asyncio.get_running_loop().time() + REQUEST_SECONDS
        found = await self._ask(method, path, form, body, until)
        return self._good(what, found)

    async def hang_up(
        self,
        method: str,
        path: str,
        *,
        form: Form | None = None,
        body: Mapping[str, Any] | None = None,
        is_over: Callable[[Answer], bool],
    ) -> Answer:
        """Ask that a call be ended; once more if the carrier failed, was busy or out of reach.

        Args:
            method: of HTTP.
            path: what follows the base URL.
            form: the body, as a form; or
            body: the body, as JSON.
            is_over: whether a refusal says that the call has ended already.

        Returns:
            An answer that is good or `is_over`.

        Raises:
            CallControlError: neither try brought an answer that the call has ended.
        """
        now = asyncio.get_running_loop().time()
        until = now + HANG_UP_SECONDS
        found = await self._ask(method, path, form, body, now + HANG_UP_SECONDS * _FIRST_TRY)
        if isinstance(found, str) or found.status == 429 or found.status >= 500:
            await asyncio.sleep(_PAUSE)
            found = await self._ask(method, path, form, body, until)
        if isinstance(found, Answer) and is_over(found):
            return found
        return self._good("hang up the call", found)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._client.aclose()

    async def _ask(
        self,
        method: str,
        path: str,
        form: Form | None,
        body: Mapping[str, Any] | None,
        until: float,
    ) -> Answer | str:
        """The answer, or why there is none.

        An error is returned as words, never raised from here: what httpx raises has the request
        at hand, with its number and its credentials.
        """
        if self._client.is_closed:
            raise InvalidCallRequest(f"{self._carrier}: its call control was closed")
        content, headers = _encoded(form, body)
        headers["Authorization"] = self._authorize()
        try:
            async with asyncio.timeout_at(until):
                response = await self._client.request(
                    method, self._base + path, content=content, headers=headers
                )
        except (TimeoutError, httpx2.TimeoutException):
            return "no answer in time"
        except (httpx2.ConnectError, httpx2.ProxyError):
            return "it cannot be reached"
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
            return "the connection was lost"
        return Answer(response.status_code, _fields(response.content))

    def _good(self, what: str, found: Answer | str) -> Answer:
        problem = f"{self._carrier} did not {what}"
        if isinstance(found, str):
            raise CallControlError(f"{problem}: {found}")
        if not 200 <= found.status < 300:
            code = f" (error {found.code})" if found.code else ""
            text = f"{problem}: HTTP {found.status}, {_words(found.status)}{code}"
            raise CallControlError(text, status=found.status)
        return found


def found_id(carrier: str, answer: Answer, *names: str) -> str:
    """The id of the call that was placed. Raises CallControlError if the answer has none."""
    call = answer.text(*names)
    if not call:
        raise CallControlError(
            f"{carrier} took the call but named no id of it", status=answer.status
        )
    return call


def _encoded(form: Form | None, body: Mapping[str, Any] | None) -> tuple[bytes, dict[str, str]]:
    if form is not None:
        return urlencode(form).encode("ascii"), {
            "Content-Type": "application/x-www-form-urlencoded"
        }
    if body is not None:
        return json.dumps(body, separators=(",", ":")).encode("ascii"), {
            "Content-Type": "application/json"
        }
    return b"", {}


def _fields(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return {}
    return found if isinstance(found, dict) else {}


def _words(status: int) -> str:
    if status < 400:
        return "redirected elsewhere; give the final address as the base URL"
    if status in (401, 403):
        return "the credentials were refused"
    if status == 404:
        return "no such call or address"
    if status == 429:
        return "too many requests"
    return "the carrier failed" if status >= 500 else "the request was refused"


def _checked(base_url: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, UnicodeError):
        raise ConfigError("base_url", "is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("base_url", "must begin with https:// and name a host")
    if url.userinfo or url.query or url.fragment:
        raise ConfigError("base_url", "may hold a host and a path only")
    if url.scheme == "http" and not _is_near(url.host):
        raise ConfigError("base_url", "must begin with https://, or the credentials are seen")
    return url


def _is_near(host: str) -> bool:
    """On this machine, or by a name or an address that no public network knows."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))


@functools.cache
def _tls() -> ssl.SSLContext:
    """One TLS context for all: making one reads the certificate store, some 30 ms."""
    return httpx2.create_ssl_context()
