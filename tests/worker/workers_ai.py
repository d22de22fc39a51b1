"""A stand-in for the service behind a Worker's AI binding.

The binding that is built into workerd asks it for a WebSocket at ``/run``, with the model's name
in a header and the inputs as JSON in the URL (cloudflare/workerd,
src/cloudflare/internal/ai-api.ts). It answers as it is told to; normally it listens with
agentkit's offline engine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

PUBLISHED = frozenset(
    {
        "request_id", "sequence_id", "event", "turn_index", "audio_window_start",
        "audio_window_end", "transcript", "words", "end_of_turn_confidence",
    }
)  # fmt: skip
"""The fields of its messages that Cloudflare's model page lists."""

Serve = Callable[[ServerConnection], Awaitable[None]]


@dataclass(frozen=True)
class Asked:
    """What a Worker asked for."""

    model: str
    inputs: dict[str, Any]
    options: dict[str, Any]


class WorkersAI:
    """The service. An async context manager.

    What it does with the next connection may be changed at any time:

    Args:
        engine: the URL of the Flux that listens.
        form: ``published`` sends only what Cloudflare's schema has.
        refusal: answer with this status and body instead of a WebSocket.
        serve: do this with a connection instead of listening to it.
        answers: while it is cleared, no request is answered.
    """

    def __init__(self, engine: str = "") -> None:
        self.engine = engine
        self.form: Literal["deepgram", "published"] = "deepgram"
        self.refusal: tuple[HTTPStatus, str] | None = None
        self.serve: Serve | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked: list[Asked] = []
        self.port = 0
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._check,
            compression=None,
            open_timeout=None,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def as_new(self) -> None:
        """Forget what the last test told it."""
        self.form, self.refusal, self.serve = "deepgram", None, None
        self.asked.clear()

    async def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        where = urlsplit(request.path)
        body = json.loads(parse_qs(where.query)["body"][0])
        model = request.headers["cf-consn-model-id"]
        self.asked.append(Asked(model, body["inputs"], body["options"]))
        await self.answers.wait()
        if self.refusal is not None:
            return connection.respond(*self.refusal)
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        if self.serve is not None:
            await self.serve(connection)
        else:
            await self._listen(connection, self.asked[-1].inputs)

    async def _listen(self, connection: ServerConnection, inputs: dict[str, Any]) -> None:
        query = urlencode({"model": "flux-general-en", **inputs}, doseq=True)
        async with connect(f"{self.engine}?{query}", compression=None, proxy=None) as engine:
            there = asyncio.create_task(_pump(connection, engine))
            await _pump(engine, connection, self._written)
            there.cancel()
            await asyncio.gather(there, return_exceptions=True)

    def _written(self, message: str | bytes) -> str | bytes | None:
        """A message of the engine's, as it is to be sent."""
        if self.form == "deepgram":
            return message
        said = json.loads(message)
        if "event" not in said:
            return None
        said["words"] = [
            {name: word[name] for name in ("word", "confidence")} for word in said["words"]
        ]
        return json.dumps({name: said[name] for name in said if name in PUBLISHED})


async def _pump(
    source: Connection,
    sink: Connection,
    written: Callable[[str | bytes], str | bytes | None] = lambda message: message,
) -> None:
    """Pass on what one side says, and how it ends: an end without a code ends the other so too."""
    try:
        async for message in source:
            changed = written(message)
            if changed is not None:
                await sink.send(changed)
    except ConnectionClosed:
        pass  # with an error; how it ended is read below
    code = source.close_code
    if code == 1005:
        # The library's protocol can send a close without a code, which its signature does not tell.
        await sink.close(None)  # type: ignore[arg-type]
    else:
        await sink.close(1011 if code in (None, 1006) else code, source.close_reason or "")
