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
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar, cast

import anyio
import httpx2
import openai
from pydantic_core import from_json, to_json

from agentkit._connections import KEEP_ALIVE, MOST_IDLE, SpareTransport
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
        self._timeouts = httpx2.Timeout(timeout, connect=CONNECT_TIMEOUT).as_dict()
        self._transport = _transport(url, spares)
        # It is asked for its headers; a client of its own would read the certificates once more.
        http = httpx2.AsyncClient(transport=self._transport, trust_env=False)
        client = openai.AsyncOpenAI(api_key=key or "none", base_url=str(url), http_client=http)
        known = {**client.default_headers, **client.auth_headers}
        named = {name: value for name, value in known.items() if isinstance(value, str)}
        self._headers = {**named, "Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        self._root = str(url).rstrip("/")

    async def post(self, path: str, body: Mapping[str, Any], *, accept: str) -> Answer:
        """Send a request and return its answer with the body unread; the caller closes it.

        The answer is asked for uncompressed, so that no decompressor holds its first bytes back.
        Cancelling closes the connection. Whether to try again is the session's decision: it knows
        whether the answer still counts.

        Raises:
            Exception: one of `ERRORS`.
        """
        request = httpx2.Request(
            "POST",
            self._root + path,
            headers={**self._headers, "Accept": accept},
            content=to_json(body),
            extensions={"timeout": self._timeouts},
        )
        response = await self._transport.handle_async_request(request)
        response.request = request
        if not response.is_success:
            await _refused(response)
        return Answer(response)

    async def warm(self) -> None:
        """Make spare connections ready. Raises nothing; safe to cancel."""
        if isinstance(self._transport, SpareTransport):
            await self._transport.warm()

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._transport.aclose()


class Answer:
    """An answer whose body is unread. Close it, or read it to its end."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    def parts(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Iterate it once, and close it. Raises one of `ERRORS`."""
        if self._response.headers.get("Content-Encoding", "identity") != "identity":
            return self._response.aiter_bytes()
        stream = cast("AsyncIterable[bytes]", self._response.stream)
        return cast("AsyncGenerator[bytes, None]", aiter(stream))

    async def aclose(self) -> None:
        """Let go of the connection; unless the body was read to its end, that closes it."""
        await self._response.aclose()


async def _refused(response: httpx2.Response) -> NoReturn:
    """Raise the error that the status is."""
    try:
        body = await response.aread()
    finally:
        await response.aclose()
    try:
        said = from_json(body)
    except ValueError:
        said = None
    error = said.get("error", said) if isinstance(said, dict) else None
    raise openai.APIStatusError("", response=response, body=error)


def _transport(url: httpx2.URL, spares: int) -> httpx2.AsyncBaseTransport:
    proxy = _proxy_for(url)
    if proxy is not None:
        limits = httpx2.Limits(max_keepalive_connections=MOST_IDLE, keepalive_expiry=KEEP_ALIVE)
        return httpx2.AsyncHTTPTransport(verify=tls_context(), limits=limits, proxy=proxy)
    tls = tls_context() if url.scheme == "https" else None
    host = url.raw_host.decode("ascii")
    return SpareTransport(host, url.port or (443 if tls else 80), tls=tls, spares=spares)


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
    openai.OpenAIError,
    httpx2.HTTPError,
    httpx2.StreamError,
    httpx2.InvalidURL,
    httpx2.CookieConflict,
    OSError,
)
"""All that a request, or reading its answer, can raise."""

# The first that fits counts. What is missing here and has no HTTP status is "other".
_FAILURES: tuple[tuple[type[Exception], Failure, str], ...] = (
    (openai.APITimeoutError, "timeout", "no answer in time"),
    (openai.APIConnectionError, "connection", "no connection"),
    (openai.APIResponseValidationError, "protocol", "the answer is not of the API's form"),
    (openai.APIError, "server", "the server reported an error"),
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
            cause = exc.__cause__ if isinstance(exc, openai.APIConnectionError) else None
            return kind(f"{name}: {words}{_listed([_cause(cause or exc)])}", failure=failure)
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
