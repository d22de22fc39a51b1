"""Opening a socket to Flux, and what it means when that fails."""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import json
import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.http11 import Response

from agentkit._hosts import is_loopback
from agentkit.errors import ConfigError, FluxConnectionError, FluxHandshakeError, FluxProtocolError
from agentkit.flux.messages import Connected, ErrorMessage, UnknownMessage, parse_message
from agentkit.flux.options import FluxDialect
from agentkit.flux.timings import FluxTimings

# websockets writes headers and payloads to its logger at DEBUG. Here those are keys and what a
# caller said, so that level stays off whatever the application's logging says.
_wire_log: Final = logging.getLogger("agentkit.flux.websocket")
_wire_log.setLevel(logging.WARNING)

_MAX_REASON_CHARS: Final = 300
_CLOSE_TIMEOUT: Final = 1.0
"""Seconds that a peer has to end a closing handshake before the socket is dropped."""

Secrets = tuple[str, ...]


def check_url(url: str) -> str:
    """The URL as it may be shown: without its query. Raises ConfigError if it cannot be Flux's."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(
            "url", "it is not a URL; Flux's looks like wss://HOST/v2/listen"
        ) from None
    where = f"{parts.scheme}://{parts.hostname or ''}{f':{port}' if port else ''}{parts.path}"
    if parts.scheme in ("http", "https"):
        raise ConfigError("url", f"{where}: Flux speaks WebSocket only; write ws:// or wss://")
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigError("url", "it must look like wss://HOST/v2/listen")
    if parts.username or parts.password:
        raise ConfigError(
            "url", f"{where}: credentials do not belong in the URL; use key or headers"
        )
    if parts.fragment:
        raise ConfigError("url", f"{where}: a # and what follows does not belong in it")
    if parts.path.rstrip("/").endswith("/v1/listen"):
        raise ConfigError("url", f"{where}: Flux is at /v2/listen, not /v1/listen")
    return where


def join_query(url: str, query: str) -> str:
    """The URL with our parameters after those it has."""
    separator = "&" if urlsplit(url).query else "?"
    return f"{url.rstrip('?')}{separator}{query}" if query else url


class _Connect(connect):
    """`connect` that follows no redirect: the headers carry a key meant for one host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@functools.cache
def _user_agent() -> str:
    try:
        version = importlib.metadata.version("agentkit")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    return f"agentkit/{version}"


async def open_socket(
    url: str,
    headers: Mapping[str, str],
    *,
    dialect: FluxDialect,
    timings: FluxTimings,
    secrets: Secrets,
) -> tuple[ClientConnection, list[bytes]]:
    """Connect and wait until Flux is ready for audio.

    Returns:
        The socket, and what it said besides `Connected`, for the listener to read.

    Raises:
        FluxHandshakeError: the server refused, with an HTTP status.
        FluxConnectionError: it could not be reached, or was not ready in ``timings.connect`` s.
        FluxProtocolError: it was not content with the connection.

    Cancelling closes the socket.
    """
    socket: ClientConnection | None = None
    ready = False
    try:
        async with asyncio.timeout(timings.connect):
            # A compressed socket costs CPU and memory, and audio hardly shrinks.
            socket = await _Connect(
                url,
                additional_headers=dict(headers),
                user_agent_header=_user_agent(),
                compression=None,
                proxy=None if is_loopback(urlsplit(url).hostname or "") else True,
                open_timeout=None,
                ping_interval=timings.ping_interval,
                ping_timeout=timings.ping_timeout,
                close_timeout=_CLOSE_TIMEOUT,
                logger=_wire_log,
            )
            said = [] if dialect.ready_on_open else await _until_ready(socket, secrets)
        ready = True
        return socket, said
    except InvalidStatus as error:
        raise _refusal(error.response, dialect, secrets) from None
    except TimeoutError:
        problem = "it was not ready" if socket else "it did not answer"
        raise FluxConnectionError(f"Flux: {problem} within {timings.connect:g} s") from None
    except ConnectionClosed as error:
        raise FluxConnectionError(f"Flux was not ready: {closing(error, secrets)}") from None
    except (OSError, WebSocketException, EOFError, UnicodeError, ImportError) as error:
        # UnicodeError: a host name that cannot be one. ImportError: a proxy that needs a package.
        raise FluxConnectionError(f"Flux cannot be reached: {scrub(str(error), secrets)}") from None
    finally:
        if socket is not None and not ready:
            socket.transport.abort()


async def _until_ready(socket: ClientConnection, secrets: Secrets) -> list[bytes]:
    """Wait for `Connected`. A server that says something else first is taken as ready."""
    while True:
        data = await socket.recv(decode=False)
        message = parse_message(data)
        if isinstance(message, Connected):
            return []
        if isinstance(message, ErrorMessage):
            raise reported(message, secrets)
        if not isinstance(message, UnknownMessage):
            return [data]


def request_id(response: Response) -> str | None:
    """The server's own name for a handshake, for a support request: Deepgram's, or Cloudflare's."""
    return response.headers.get("dg-request-id") or response.headers.get("cf-ray")


def _refusal(response: Response, dialect: FluxDialect, secrets: Secrets) -> FluxHandshakeError:
    # The reason is in a header, and again in the body (Deepgram docs on WebSocket errors).
    reason = response.headers.get("dg-error") or _body_reason(response.body)
    status = response.status_code
    if status == 401:
        reason += f"; {dialect.on_401}"
    elif status == 405 or "V2_MODEL_ON_V1" in reason:
        reason += "; Flux is a WebSocket at /v2/listen"
    elif status in (301, 302, 303, 307, 308):
        reason += "; redirects are not followed, put the final address in `url`"
    return FluxHandshakeError(status, scrub(reason, secrets), request_id(response))


def _body_reason(body: bytes | bytearray) -> str:
    text = bytes(body).decode(errors="replace").strip()
    try:
        fields = json.loads(text)
    except ValueError:
        return text or "no reason given"
    if not isinstance(fields, dict):
        return text
    said = [str(fields[name]) for name in ("err_code", "err_msg") if fields.get(name)]
    for name in ("error", "errors"):
        said += _problems(fields.get(name))
    return ": ".join(said) or text


def _problems(found: Any) -> list[str]:
    """Errors as text, or as Cloudflare lists them: objects of ``code`` and ``message``."""
    if not found:
        return []
    if isinstance(found, list):
        return [text for each in found for text in _problems(each)]
    if isinstance(found, dict):
        return [str(found[name]) for name in ("code", "message") if name in found] or [str(found)]
    return [str(found)]


def reported(message: ErrorMessage, secrets: Secrets) -> FluxProtocolError:
    """Flux's own fatal error, with no secret in it."""
    return FluxProtocolError(
        scrub(message.code or "an error", secrets), scrub(message.description, secrets)
    )


def closing(error: ConnectionClosed, secrets: Secrets) -> str:
    """Why a socket closed, in words."""
    if error.rcvd is not None:
        said = f"closed by the server with {error.rcvd.code} {error.rcvd.reason}".strip()
    elif error.sent is not None:
        said = f"given up: {error.sent.reason or error.sent.code}"
    else:
        said = "the connection broke off"
    return scrub(said, secrets)


def scrub(text: str, secrets: Secrets) -> str:
    """The text with no secret in it, and not too long."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text[:_MAX_REASON_CHARS]
