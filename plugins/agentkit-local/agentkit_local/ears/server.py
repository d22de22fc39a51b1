"""A server that speaks Flux's v2 protocol on a WebSocket.

What differs from Deepgram's own is said plainly: it knows English only (``flux-general-multi`` is
taken for it); ``keyterm``, ``language_hint``, ``tag``, ``numerals``, ``profanity_filter`` and
``mip_opt_out`` are checked and taken, and have no effect; ``redact`` knows numbers, and not the
dates and accounts that Deepgram knows by their kind; the times of words are spread over their
utterance, since the recogniser gives none; Opus is refused; a key is taken from the Authorization
header only.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import structlog
from pydantic import SecretStr
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from agentkit_local.ears import call as calls
from agentkit_local.ears.query import BadRequest, parse
from agentkit_local.ears.recognizer import Recognizer
from agentkit_local.ears.vad import VoiceActivity

log = structlog.get_logger(__name__)

PATH = "/v2/listen"
MAX_MESSAGE = 1 << 20
"""Bytes: half a minute of the densest audio in one message is too much for a live call."""


class FluxServer:
    """The server. An async context manager; ``url`` is where it listens.

    Loading the models takes about a second and happens off the event loop, when it is entered.
    Leaving it closes every connection.

    Args:
        host: the interface to listen on.
        port: 0 takes a free one.
        key: refuse connections without ``Authorization: Token <key>``; None: take any.
        recognizer: a model to share; None: one of its own.
        ears: the folder of that one's files; None: the tiny English model.
        threads: how many stretches of audio are worked on at a time.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        key: SecretStr | str | None = None,
        recognizer: Recognizer | None = None,
        ears: Path | None = None,
        threads: int = 2,
    ) -> None:
        self.host = host
        self.port = port
        self._key = SecretStr(key) if isinstance(key, str) else key
        self._recognizer = recognizer
        self._ears = ears
        self._threads = threads
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """What a client connects to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}{PATH}"

    async def __aenter__(self) -> Self:
        """Load the models and listen. Raises ConfigError where a model is missing, or OSError."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="ears")
        self._listening = ThreadPoolExecutor(1, thread_name_prefix="ears-activity")
        loop = asyncio.get_running_loop()
        self._activity = await loop.run_in_executor(self._pool, VoiceActivity)
        if self._recognizer is None:
            self._recognizer = await loop.run_in_executor(self._pool, Recognizer, self._ears)
        self._engine = calls.Engine(
            self._recognizer, self._activity, self._pool, self._listening, self._threads
        )
        self._server = await serve(
            self._serve,
            self.host,
            self.port,
            process_request=self._check,
            process_response=_with_request_id,
            compression=None,
            max_size=MAX_MESSAGE,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection and wait for what is being worked on."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        for pool in (self._pool, self._listening):
            pool.shutdown(wait=True, cancel_futures=True)

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse what cannot be served, with the reason where Deepgram gives it."""
        where = urlsplit(request.path)
        request_id = str(uuid.uuid4())
        connection.request_id = request_id  # type: ignore[attr-defined]
        if where.path != PATH:
            return _refuse(connection, HTTPStatus.NOT_FOUND, f"no {where.path} here: use {PATH}")
        if self._key is not None:
            given = request.headers.get("Authorization", "")
            right = f"Token {self._key.get_secret_value()}"
            if not hmac.compare_digest(given.encode(), right.encode()):
                return _refuse(connection, HTTPStatus.UNAUTHORIZED, "Invalid credentials.")
        try:
            connection.asked = parse(where.query)  # type: ignore[attr-defined]
        except BadRequest as error:
            return _refuse(connection, error.status, str(error))
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        async def send(message: dict[str, Any]) -> None:
            await connection.send(json.dumps(message, separators=(",", ":")))

        call = calls.Call(
            self._engine,
            connection.asked,  # type: ignore[attr-defined]
            connection.request_id,  # type: ignore[attr-defined]
            send,
        )
        try:
            await call.run(connection)
        except* ConnectionClosed:
            pass  # the client went away while something was being sent to it
        # After CloseStream the close frame has no code at all (Deepgram docs, flux/close-stream),
        # which the library's protocol can send but its signature does not tell.
        await connection.close(call.close_code, call.close_reason)  # type: ignore[arg-type]


def _with_request_id(
    connection: ServerConnection, request: Request, response: Response
) -> Response | None:
    """Name the request in every answer, that of an accepted connection included."""
    if "dg-request-id" not in response.headers:
        response.headers["dg-request-id"] = connection.request_id  # type: ignore[attr-defined]
    return response


def _refuse(connection: ServerConnection, status: HTTPStatus, reason: str) -> Response:
    response = connection.respond(status, reason + "\n")
    response.headers["dg-error"] = reason
    response.headers["dg-request-id"] = connection.request_id  # type: ignore[attr-defined]
    return response
