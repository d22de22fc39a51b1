"""A Flux server that does what a test says, on a real WebSocket on the loopback interface.

    async with ScriptedFlux() as flux:
        source = FluxSource(url=flux.url)
        ...
        call = await flux.connection(0)
        await call.start("Hello")
        await call.end("Hello there.")

or without a test in the loop, by cues (times in seconds of the caller's audio):

    ScriptedFlux([Cue("start", "Hello", at=0.5), Cue("end", "Hello there.", at=1.3)])

It keeps ``sequence_id``, ``turn_index`` and the audio windows right by itself, sends an ``Update``
for every 0.24 s of audio as Flux does, and answers ``Configure``, ``ForceEndTurn`` and
``CloseStream``. Every fault that Flux was seen with can be had: see the verbs of `ScriptedCall`
and the arguments of `ScriptedFlux`. Nothing here recognises speech.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from agentkit.testing._flux_call import REQUEST_ID, Cue, Handshake, ScriptedCall

__all__ = ["ConfigureAnswer", "Cue", "Handshake", "ScriptedCall", "ScriptedFlux"]

_CONTROLS: Final = frozenset({"CloseStream", "Configure", "ForceEndTurn"})

_log = logging.getLogger("agentkit.testing.flux")
_log.setLevel(logging.CRITICAL)  # websockets reports each broken handshake, which tests ask for

ConfigureAnswer = Literal["accept", "refuse", "ignore"]


@dataclass(slots=True)
class _Refusal:
    status: int
    reason: str
    times: int


class ScriptedFlux:
    """The server. An async context manager; ``url`` is where it listens.

    Args:
        scripts: the cues of the first connection, of the second, and so on.
        form: ``cloudflare`` leaves out ``type``, ``trigger``, word times and ``Connected``.
        connected: send ``Connected``.
        connected_delay: seconds before it is sent.
        accept_delay: seconds before the handshake is answered.
        chatter: send an ``Update`` for every 0.24 s of audio.
        configure: how ``Configure`` is answered; ``ignore`` never answers.
        configure_delay: seconds before it is answered.
        knows: the control messages it understands; any other is fatal, as with Flux.
        receive_buffer: the size of the sockets' receive buffer in bytes, to be small where a test
            wants a blocked reader to be felt soon.

    All but ``scripts`` may be changed while it runs.
    """

    def __init__(
        self,
        *scripts: Sequence[Cue],
        form: Literal["deepgram", "cloudflare"] = "deepgram",
        connected: bool = True,
        connected_delay: float = 0.0,
        accept_delay: float = 0.0,
        chatter: bool = True,
        configure: ConfigureAnswer = "accept",
        configure_delay: float = 0.0,
        knows: Iterable[str] = _CONTROLS,
        receive_buffer: int | None = None,
    ) -> None:
        self.form = form
        self.connected = connected and form == "deepgram"
        self.connected_delay = connected_delay
        self.accept_delay = accept_delay
        self.chatter = chatter
        self.configure: ConfigureAnswer = configure
        self.configure_delay = configure_delay
        self.knows = frozenset(knows)
        self.url = ""
        self.handshakes: list[Handshake] = []
        """Every attempt, refused ones included."""
        self.calls: list[ScriptedCall] = []
        """Every connection that was accepted."""
        self.changed = asyncio.Event()
        """Set by whatever happens on any connection."""
        self._scripts = scripts
        self._receive_buffer = receive_buffer
        self._refusals: list[_Refusal] = []
        self._drops = 0
        self._server: Server | None = None
        self._errors: list[Exception] = []

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0))
        # What is accepted inherits it; asyncio sets it on sockets of its own alone.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._receive_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._server = await serve(
            self._handle,
            sock=listener,
            process_request=self._answer,
            compression=None,
            ping_interval=None,
            close_timeout=1.0,
            max_queue=None,
            logger=_log,
        )
        self.url = f"ws://127.0.0.1:{listener.getsockname()[1]}/v2/listen"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
        if error is None and self._errors:
            raise ExceptionGroup("the script failed", self._errors)

    async def aclose(self) -> None:
        """Break every connection off and stop listening."""
        if self._server is None:
            return
        for call in self.calls:
            call.abort_now()
        self._server.close()
        await self._server.wait_closed()

    # ------------------------------------------------------------------------ how it answers

    def refuse(self, status: int, reason: str = "refused by the script", *, times: int = 1) -> None:
        """Refuse the next handshakes with this HTTP status."""
        self._refusals.append(_Refusal(status, reason, times))

    def drop(self, times: int = 1) -> None:
        """Close the next connections before the handshake is answered."""
        self._drops += times

    async def connection(self, number: int = 0, *, timeout: float = 5.0) -> ScriptedCall:
        """The connection of that number, counted from 0 over those accepted; waits for it.

        It is ready: ``Connected`` was sent, unless it never is. Raises TimeoutError.
        """
        await self._until(
            lambda: len(self.calls) > number and self.calls[number].state != "opening",
            f"connection {number}",
            timeout,
        )
        return self.calls[number]

    async def attempts(self, count: int, *, timeout: float = 5.0) -> None:
        """Wait until that many handshakes were begun. Raises TimeoutError."""
        await self._until(lambda: len(self.handshakes) >= count, f"attempt {count}", timeout)

    async def _until(self, reached: Callable[[], bool], what: str, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not reached():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"no {what} in {timeout:g} s; {len(self.handshakes)} attempts, "
                f"{len(self.calls)} connections"
            ) from None

    async def _answer(self, wire: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        handshake = Handshake(
            parts.path,
            tuple(parse_qsl(parts.query, keep_blank_values=True)),
            parts.query,
            {name.lower(): value for name, value in request.headers.raw_items()},
        )
        self.handshakes.append(handshake)
        self.changed.set()
        if self.accept_delay:
            await asyncio.sleep(self.accept_delay)
        if self._drops:
            self._drops -= 1
            wire.transport.abort()
            return None
        if self._refusals:
            refusal = self._refusals[0]
            refusal.times -= 1
            if refusal.times <= 0:
                self._refusals.pop(0)
            response = wire.respond(refusal.status, refusal.reason + "\n")
            response.headers["dg-error"] = refusal.reason
            response.headers["dg-request-id"] = REQUEST_ID
            return response
        call = ScriptedCall(self, wire, len(self.calls), handshake)
        self.calls.append(call)
        return None

    async def _handle(self, wire: ServerConnection) -> None:
        call = next(call for call in self.calls if call.wire is wire)
        script = self._scripts[call.number] if call.number < len(self._scripts) else ()
        try:
            await call.live(script)
        except ConnectionClosed:
            pass
        except Exception as error:
            self._errors.append(error)
            raise
        finally:
            call.ended()
            self.changed.set()
