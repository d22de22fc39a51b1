"""What the OpenAI backends share: the client, and what its errors mean.

Importing this module imports the ``openai`` package, which takes more than half a second. Only
the constructors of the backends and their ``preload()`` do.
"""

from __future__ import annotations

import asyncio
import functools
import os
import platform
import re
import ssl
import urllib.request
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn, Protocol, TypeVar

import anyio
import httpx2
import openai
from pydantic_core import from_json, to_json

from agentkit._connections import KEEP_ALIVE, MOST_IDLE, Connections
from agentkit._hosts import is_loopback
from agentkit._sockets import CONNECT_TIMEOUT
from agentkit.errors import BackendError, ConfigError, Failure

DEFAULT_BASE_URL = "https://api.openai.com/v1"


@functools.cache
def tls_context() -> ssl.SSLContext:
    """One TLS context for all clients: making one reads the certificate store, some 30 ms."""
    context = httpx2.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def preload() -> None:
    """Do ahead of time what the first request of a process would spend some 30 ms on."""
    tls_context()
    platform.platform()  # the client sends it along; Python remembers it
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        anyio.run(asyncio.sleep, 0)  # imports what anyio imports at its first use


class Endpoint:
    """One OpenAI-compatible API, and the connections to it.

    Making one opens nothing. Behind an HTTP proxy (``HTTPS_PROXY`` and the like) no spare
    connection is kept.

    Args:
        api_key: None: ``OPENAI_API_KEY``. Another server than OpenAI's own may need none.
        base_url: None: ``OPENAI_BASE_URL``, else OpenAI's own.
        timeout: longest wait for the next bytes of an answer, in seconds.
        spares: how many connections to keep ready at least.

    Raises:
        ConfigError: the key is missing, or the URL is none.
    """

    def __init__(
        self, *, api_key: str | None, base_url: str | None, timeout: float, spares: int
    ) -> None:
        if not timeout > 0:
            raise ConfigError("timeout", f"must be more than 0 seconds, not {timeout}")
        url = _url(base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL)
        self.official = url.host == "api.openai.com" or url.host.endswith(".api.openai.com")
        key = api_key or os.environ.get("OPENAI_API_KEY")
        if not key and self.official:
            raise ConfigError(
                "OPENAI_API_KEY",
                "is not set. Set it, pass api_key=, or name another server with OPENAI_BASE_URL",
            )
        self._root = str(url).rstrip("/")
        self._timeout = timeout
        self._head = _head_of(url, key)
        proxy = _proxy_for(url)
        self._way = _Direct(url, spares) if proxy is None else _Proxied(proxy)

    async def post(self, path: str, body: Mapping[str, Any], *, accept: str) -> Answer:
        """Send a request and return its answer with the body unread; the caller closes it.

        The answer is asked for uncompressed, so that no decompressor holds its first bytes back.
        Cancelling closes the connection. Whether to try again is the session's decision: it knows
        whether the answer still counts.

        Raises:
            Exception: one of `ERRORS`.
        """
        url = httpx2.URL(self._root + path)
        headers = [*self._head, (b"Accept", accept.encode())]
        answer = await self._way.send(url, headers, to_json(body), self._timeout)
        if not 200 <= answer.status < 300:
            await _refused(answer)
        return answer

    async def warm(self) -> None:
        """Make spare connections ready. Raises nothing; safe to cancel."""
        await self._way.warm()

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._way.aclose()


def _head_of(url: httpx2.URL, key: str | None) -> list[tuple[bytes, bytes]]:
    """The headers of every request: those of the official client. Raises ConfigError."""
    # It is asked for its headers; a client of its own would read the certificates once more.
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(_never), trust_env=False)
    client = openai.AsyncOpenAI(api_key=key or "none", base_url=str(url), http_client=http)
    known: dict[str, object] = {
        **client.default_headers,
        **client.auth_headers,
        "Host": url.netloc.decode("ascii"),
        "Accept-Encoding": "identity",
    }
    named = {name: value for name, value in known.items() if isinstance(value, str)}
    for name, value in named.items():
        if not _HEADER.fullmatch(value):
            field = "OPENAI_API_KEY" if name.lower() == "authorization" else name
            raise ConfigError(field, "has a character that a header of HTTP cannot have")
    return [
        (name.encode(), value.encode()) for name, value in named.items() if name.lower() != "accept"
    ]


def _never(request: httpx2.Request) -> NoReturn:
    raise AssertionError("this client makes no requests")


# ------------------------------------------------------------------------- the way to the server

Headers = Iterable[tuple[bytes, bytes]]


class Answer(Protocol):
    """An answer to a request. Iterate its body once, and close it.

    Unless the body was read to its end, closing it closes the connection. Iterating raises one of
    `ERRORS`. Names of headers are in lower case.
    """

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


class _Direct:
    """Straight to the server, with spare connections."""

    def __init__(self, url: httpx2.URL, spares: int) -> None:
        tls = tls_context() if url.scheme == "https" else None
        host, port = url.raw_host.decode("ascii"), url.port or (443 if tls else 80)
        self._connections = Connections(host, port, tls=tls, spares=spares)
        self.warm, self.aclose = self._connections.warm, self._connections.aclose

    async def send(self, url: httpx2.URL, headers: Headers, body: bytes, timeout: float) -> Answer:  # noqa: ASYNC109
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        head = b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n"
        request = head % (url.raw_path, lines, len(body)) + body
        answer = await self._connections.send(request, timeout)
        if answer.headers.get("content-encoding", "identity") == "identity":
            return answer
        unread = httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer))
        return _Decoded(unread)


class _Proxied:
    """Through an HTTP proxy, as httpx2 does it; no connection is kept ready."""

    def __init__(self, proxy: str) -> None:
        limits = httpx2.Limits(max_keepalive_connections=MOST_IDLE, keepalive_expiry=KEEP_ALIVE)
        self._transport = httpx2.AsyncHTTPTransport(
            verify=tls_context(), limits=limits, proxy=proxy
        )
        self.aclose = self._transport.aclose

    async def send(self, url: httpx2.URL, headers: Headers, body: bytes, timeout: float) -> Answer:  # noqa: ASYNC109
        timeouts = httpx2.Timeout(timeout, connect=CONNECT_TIMEOUT).as_dict()
        request = httpx2.Request(
            "POST", url, headers=[*headers], content=body, extensions={"timeout": timeouts}
        )
        return _Decoded(await self._transport.handle_async_request(request))

    async def warm(self) -> None:
        """There is nothing to make ready."""


class _Decoded:
    """An answer that httpx2 reads: one that is compressed all the same, or that a proxy brings."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._response.aiter_bytes()

    async def aclose(self) -> None:
        await self._response.aclose()


class _Body(httpx2.AsyncByteStream):
    """The body of an answer, as httpx2 has it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._answer)

    async def aclose(self) -> None:
        await self._answer.aclose()


async def _refused(answer: Answer) -> NoReturn:
    """Raise the error that the status is."""
    async with aclosing(answer):
        body = b"".join([part async for part in answer])
    try:
        said = from_json(body)
    except ValueError:
        said = None
    error = said.get("error", said) if isinstance(said, dict) else None
    headers = {"x-request-id": answer.headers.get("x-request-id", "")}
    request = httpx2.Request("POST", "http://server")
    response = httpx2.Response(answer.status, headers=headers, request=request)
    raise openai.APIStatusError("", response=response, body=error)


def _url(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        raise ConfigError("base_url", "is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("base_url", "must begin with http:// or https:// and name a host")
    return url


def _proxy_for(url: httpx2.URL) -> str | None:
    """The proxy that the environment names for a server, if any."""
    if is_loopback(url.host):
        return None  # a proxy would look for the server on its own machine
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


# -------------------------------------------------------------------------------------- errors

ERRORS: tuple[type[Exception], ...] = (
    openai.APIStatusError,
    httpx2.HTTPError,
    httpx2.StreamError,
    httpx2.InvalidURL,
    httpx2.CookieConflict,
    OSError,
)
"""All that a request, or reading its answer, can raise."""

# The first that fits counts. What is missing here and has no HTTP status is "other".
_FAILURES: tuple[tuple[type[Exception], Failure, str], ...] = (
    (httpx2.ConnectTimeout, "timeout", "no connection in time"),
    (httpx2.TimeoutException, "timeout", "no answer in time"),
    (httpx2.NetworkError, "connection", "the connection was lost"),
    (httpx2.RemoteProtocolError, "connection", "the answer was cut off"),
    (httpx2.ProxyError, "connection", "the proxy refused"),
    (httpx2.DecodingError, "protocol", "the answer cannot be decompressed"),
    (httpx2.UnsupportedProtocol, "bad_request", "the base URL cannot be used"),
    (httpx2.InvalidURL, "bad_request", "the base URL cannot be used"),
    (OSError, "connection", "the connection was lost"),
)

_STATUS_FAILURES: dict[int, tuple[Failure, str]] = {
    401: ("auth", "the API key was refused"),
    403: ("auth", "the API key may not do this"),
    404: ("bad_request", "no such model or address"),
    408: ("timeout", "the server gave up waiting"),
    409: ("server", "the server is busy with a conflicting request"),
    429: ("rate_limit", "too many requests"),
}
_OUT_OF_MONEY = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
)
_HEADER = re.compile(r"[\x20-\x7e]*")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.\-\[\]]{1,80}")

E = TypeVar("E", bound=BackendError)


def error_from(exc: Exception, kind: type[E], name: str) -> E:
    """What an exception of `ERRORS` means, as the backend's own error.

    Raise it outside the ``except`` block: the exception's own message can quote the key and the
    caller's words, and must not hang on the new one as its context. For the same reason only
    its code, its parameter's name and its request id are taken over.
    """
    if isinstance(exc, openai.APIStatusError):
        details = [exc.code or exc.type, exc.param, exc.request_id]
        return _status_error(exc.status_code, details, kind, name)
    if isinstance(exc, httpx2.HTTPStatusError):
        return _status_error(exc.response.status_code, [], kind, name)
    for known, failure, words in _FAILURES:
        if isinstance(exc, known):
            return kind(f"{name}: {words}{_listed([_cause(exc)])}", failure=failure)
    return kind(f"{name}: the request failed{_listed([type(exc).__name__])}", failure="other")


def error_in_stream(error: object, kind: type[E], name: str) -> E:
    """What an ``error`` object in the midst of an answer means."""
    fields = error if isinstance(error, Mapping) else {}
    code, what = fields.get("code"), fields.get("type")
    if isinstance(code, int) and 400 <= code < 600:  # some gateways put the HTTP status here
        return _status_error(code, [what], kind, name)
    failure: Failure = "server"
    if code in _OUT_OF_MONEY or what in _OUT_OF_MONEY:
        failure = "other"
    elif "rate_limit" in f"{code} {what}":
        failure = "rate_limit"
    elif what == "invalid_request_error":
        failure = "bad_request"
    listed = _listed([code or what])
    return kind(f"{name}: the server reported an error in its answer{listed}", failure=failure)


def _status_error(status: int, details: Iterable[object], kind: type[E], name: str) -> E:
    details = list(details)
    failure, words = _STATUS_FAILURES.get(status, ("bad_request", "the request was refused"))
    if status >= 500:
        failure, words = "server", "the server failed"
    elif status < 400:
        words = "redirected elsewhere; give the final address as the base URL"
    if details and details[0] in _OUT_OF_MONEY:
        failure, words = "other", "the account has no quota left"
    message = f"{name}: HTTP {status}, {words}{_listed(details)}"
    return kind(message, failure=failure, status=status)


def _cause(exc: BaseException) -> str:
    """A connection's failure by its name, for ConnectError says only that it is one."""
    text = str(exc)
    return text if _IDENTIFIER.fullmatch(text) else type(exc).__name__


def _listed(details: Iterable[object]) -> str:
    """Those of them that are identifiers, in brackets; anything else may be private."""
    safe = [d for d in details if isinstance(d, str) and _IDENTIFIER.fullmatch(d)]
    return f" ({', '.join(safe)})" if safe else ""
