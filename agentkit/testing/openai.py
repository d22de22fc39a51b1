"""A scripted server that speaks OpenAI's protocol, for tests and benchmarks.

    async with ScriptedOpenAI(ChatReply("We open at nine.")) as server:
        llm = OpenAILLM(base_url=server.base_url)
        ...
        assert server.chats[0].closed_at is None

It is a real HTTP/1.1 server on a loopback socket: chat completions as an event stream, speech as
chunked PCM, and the list of models. Delays and faults are set; every request is recorded with its
times, so that a test can say when the server saw what. Times are those of the event loop's clock,
which all processes of a machine share on Linux.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from agentkit.audio.formats import AudioFormat
from agentkit.testing._http import LAST_CHUNK, Connection, RawRequest, chunk, head
from agentkit.testing._openai_script import (
    ChatReply,
    Delays,
    Fault,
    ReceivedRequest,
    SpeechReply,
    completion,
    encoded,
    error_body,
    event,
    fault_of_chat,
    fault_of_speech,
    tone,
)

__all__ = [
    "ChatReply",
    "ChatScript",
    "Delays",
    "Fault",
    "ReceivedRequest",
    "ScriptedOpenAI",
    "SpeechReply",
    "SpeechScript",
]

_PCM = AudioFormat("linear16", 24000)
_SECONDS_A_CHARACTER = 0.06
_MODEL = {"id": "scripted", "object": "model", "created": 1, "owned_by": "agentkit"}
_HELLO = ChatReply("Hello there.")
_TONE = SpeechReply()
_NO_DELAYS = Delays()

ChatScript = ChatReply | Sequence[ChatReply] | Callable[[Mapping[str, Any]], ChatReply]
SpeechScript = SpeechReply | Sequence[SpeechReply] | Callable[[Mapping[str, Any]], SpeechReply]


class ScriptedOpenAI:
    """The server. An async context manager; leaving it closes everything.

    What a script that is a function raises is raised there too. It counts the ``connections``
    that were made, and those that it has ``accepted`` since, after its delay.

    Args:
        chat: the answers: one for all requests, one each in order (past the last, HTTP 500 with
            the code ``script_exhausted``), or a function of the request's body.
        speech: likewise for speech.
        delays: how slow it is. ``server.delays``, ``chat`` and ``speech`` can be set anew at any
            time.
        api_key: refuse requests with another key; None: take any.
        tls: serve https with this context.
    """

    def __init__(
        self,
        chat: ChatScript = _HELLO,
        speech: SpeechScript = _TONE,
        *,
        delays: Delays = _NO_DELAYS,
        api_key: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.chat = chat
        self.speech = speech
        self.delays = delays
        self.api_key = api_key
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self.accepted = 0
        self.host = "127.0.0.1"
        self.port = 0
        self._tls = tls
        self._open: dict[Connection, int] = {}
        self._serving: dict[Connection, tuple[ReceivedRequest, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._broken: BaseException | None = None
        self._changed = asyncio.Event()

    @property
    def base_url(self) -> str:
        """What a client takes for ``base_url``."""
        return f"http{'s' if self._tls else ''}://{self.host}:{self.port}/v1"

    @property
    def chats(self) -> list[ReceivedRequest]:
        """The chat requests, in order of arrival."""
        return [r for r in self.requests if r.path.endswith("/chat/completions")]

    @property
    def speeches(self) -> list[ReceivedRequest]:
        """The speech requests, in order of arrival."""
        return [r for r in self.requests if r.path.endswith("/audio/speech")]

    @property
    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        return len(self._open)

    async def start(self, port: int = 0) -> None:
        """Listen on the loopback address; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, self.host, port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop, and close all connections."""
        if self._server is not None:
            # asyncio forgets a connection that was accepted, but not made, when its server closes.
            loop = asyncio.get_running_loop()
            for listening in self._server.sockets:
                loop.remove_reader(listening.fileno())
            for _ in range(3):
                await asyncio.sleep(0)
            self._server.close()
        self.drop_connections()
        if sys.version_info >= (3, 13) and self._server is not None:
            self._server.abort_clients()  # also those that are still shaking hands
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def drop_connections(self) -> None:
        """Close all connections, as a server does that restarts."""
        for connection in list(self._open):
            connection.abort()

    async def until(self, condition: Callable[[], bool], *, within: float = 5.0) -> None:
        """Wait until something that the server sees makes this true.

        Raises:
            TimeoutError: it did not, in so many seconds.
        """
        async with asyncio.timeout(within):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
        if exc is None and self._broken is not None:
            raise self._broken

    def _connect(self) -> Connection:
        return Connection(
            self.delays.accept, self._on_made, self._on_accepted, self._on_request, self._on_closed
        )

    def _on_made(self, connection: Connection) -> None:
        self._open[connection] = self.connections
        self.connections += 1
        self._changed.set()

    def _on_accepted(self) -> None:
        self.accepted += 1
        self._changed.set()

    def _on_closed(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        request, task = self._serving.pop(connection, (None, None))
        if request is not None and task is not None:
            if not request.over:
                request.closed_at = asyncio.get_running_loop().time()
            task.cancel()
        self._changed.set()

    def _on_request(self, connection: Connection, raw: RawRequest) -> None:
        loop = asyncio.get_running_loop()
        body = _json_object(raw.body)
        number = self._open[connection]
        request = ReceivedRequest(raw.path, body, raw.headers, number, loop.time())
        self.requests.append(request)
        task = loop.create_task(self._answer(connection, request))
        self._serving[connection] = request, task
        self._tasks.add(task)
        task.add_done_callback(self._answered)
        self._changed.set()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._broken = self._broken or exc  # a script that is a function can raise
            self.drop_connections()

    async def _answer(self, connection: Connection, request: ReceivedRequest) -> None:
        answer = _Answer(connection, request, self.delays, self._changed)
        sent = request.headers.get("authorization", "")
        if self.api_key is not None and sent != f"Bearer {self.api_key}":
            said = f"Incorrect API key provided: {sent.removeprefix('Bearer ')}."
            answer.refuse(401, "invalid_api_key", said)
        elif request.path.endswith("/chat/completions"):
            await answer.chat(_choose(self.chat, request.body, len(self.chats)))
        elif request.path.endswith("/audio/speech"):
            await answer.speech(_choose(self.speech, request.body, len(self.speeches)))
        elif request.path.endswith("/models"):
            answer.whole(200, {"object": "list", "data": [_MODEL]})
        else:
            answer.refuse(404, "not_found", "Unknown request URL.")


def _json_object(data: bytes) -> dict[str, Any]:
    """A request's body; nothing of it counts if it is not a JSON object."""
    try:
        body = json.loads(data)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


_Reply = TypeVar("_Reply", ChatReply, SpeechReply)


def _choose(
    script: _Reply | Sequence[_Reply] | Callable[[Mapping[str, Any]], _Reply],
    body: dict[str, Any],
    count: int,
) -> _Reply | None:
    """The answer to the request, which is the ``count``-th of its kind; None: none is left."""
    if callable(script):
        return script(body)
    if isinstance(script, Sequence):
        return script[count - 1] if count <= len(script) else None
    return script


class _Answer:
    """Answers one request."""

    def __init__(
        self,
        connection: Connection,
        request: ReceivedRequest,
        delays: Delays,
        changed: asyncio.Event,
    ) -> None:
        self._connection = connection
        self._request = request
        self._delays = delays
        self._changed = changed

    def whole(self, status: int, body: Mapping[str, Any]) -> None:
        """Answer with one JSON object."""
        data = json.dumps(body).encode()
        self._connection.write(head(status, "application/json", length=len(data)) + data)
        self._request.status = status
        self._finished()

    def refuse(self, status: int, code: str, message: str) -> None:
        """Answer with an error, in the API's form."""
        self.whole(status, error_body(code, message))

    async def chat(self, reply: ChatReply | None) -> None:
        """Answer with a reply, as a stream or, if none was asked for, whole."""
        body = self._request.body
        if wrong := fault_of_chat(body):
            return self.refuse(400, "invalid_request_error", wrong)
        if reply is None:
            return self.refuse(500, "script_exhausted", "The script has no more answers.")
        delays = reply.delays or self._delays
        usage = reply.usage and bool((body.get("stream_options") or {}).get("include_usage"))
        opening, tokens, closing = encoded(reply, str(body["model"]), usage)
        if await self._failed_before(reply.fault, delays.first_token):
            return None
        if not body.get("stream"):
            await self._wait(delays.first_token + delays.per_token * len(tokens))
            return self.whole(200, completion(reply, str(body["model"])))
        self._begin("text/event-stream; charset=utf-8")
        self._connection.write(opening)
        for number, token in enumerate(tokens):
            if await self._failed_at(reply.fault, number):
                return None
            await self._wait(delays.first_token + delays.per_token * number)
            self._send(token)
        if await self._failed_at(reply.fault, len(tokens)):
            return None
        self._connection.write(closing)
        return self._finished()

    async def speech(self, reply: SpeechReply | None) -> None:
        """Answer with audio, in chunks, at the pace that is set."""
        body = self._request.body
        if wrong := fault_of_speech(body):
            return self.refuse(400, "invalid_request_error", wrong)
        if reply is None:
            return self.refuse(500, "script_exhausted", "The script has no more answers.")
        delays = reply.delays or self._delays
        seconds = reply.seconds
        if seconds is None:
            seconds = _SECONDS_A_CHARACTER * len(body["input"])
        audio = tone(_PCM.size(seconds)) if reply.audio is None else reply.audio
        if await self._failed_before(reply.fault, delays.first_audio):
            return None
        self._begin("audio/pcm")
        for number, start in enumerate(range(0, len(audio), reply.chunk)):
            if await self._failed_at(reply.fault, number):
                return None
            late = _PCM.seconds(start) / delays.audio_pace if delays.audio_pace else 0.0
            await self._wait(delays.first_audio + late)
            data = audio[start : start + reply.chunk]
            self._send(chunk(data))
            self._request.sent_bytes += len(data)
            await self._connection.drain()
        if await self._failed_at(reply.fault, -(-len(audio) // reply.chunk)):
            return None
        self._connection.write(LAST_CHUNK)
        return self._finished()

    def _begin(self, content_type: str) -> None:
        self._connection.write(head(200, content_type))
        self._request.status = 200

    def _send(self, data: bytes) -> None:
        self._connection.write(data)
        self._request.tokens += 1
        if self._request.first_sent_at is None:
            self._request.first_sent_at = asyncio.get_running_loop().time()
        self._changed.set()

    def _finished(self) -> None:
        if not self._connection.closed:
            self._request.finished_at = asyncio.get_running_loop().time()
            self._changed.set()

    async def _wait(self, delay: float) -> None:
        """Until so long after the request; delays do not add up their own lateness."""
        left = self._request.arrived + delay - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)

    async def _failed_before(self, fault: Fault | None, delay: float) -> bool:
        """Fail instead of answering, or wait for the time of the first token or audio."""
        if fault is not None and fault.kind == "status":
            self.refuse(fault.status, fault.code, fault.message)
            return True
        if fault is not None and fault.after < 0:
            return await self._failed_at(fault, fault.after)
        if fault is None or fault.after > 0:
            await self._wait(delay)
        return False

    async def _failed_at(self, fault: Fault | None, number: int) -> bool:
        """Fail if it is time for it, before the token or chunk of that number."""
        if fault is None or fault.after != number:
            return False
        if fault.kind == "stall":
            await asyncio.get_running_loop().create_future()  # until the client has gone
        elif fault.kind == "cut":
            self._connection.close()
        elif fault.kind == "malformed":
            self._connection.write(chunk(b'data: {"id": "chatcmpl-scrip\n\n'))
        else:
            self._connection.write(chunk(event(error_body(fault.code, fault.message))) + LAST_CHUNK)
            self._finished()
        return fault.kind != "malformed"
