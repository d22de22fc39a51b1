"""A call on Asterisk's AudioSocket, and the server that takes such calls.

AudioSocket has no authentication and no encryption: listen on a loopback or private address, and
have the handler check the UUID against the calls that are expected, each once.

    async def handler(uuid: UUID, transport: AudioSocketTransport) -> None:
        async with Session(Receptionist(), transport) as session:
            await session.run()

    async with serve_audiosocket("127.0.0.1", 9092, handler):
        await asyncio.Event().wait()

In the dialplan, ``Answer()``, then ``AudioSocket(${UUID},127.0.0.1:9092)``, then ``Hangup()``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from uuid import UUID

import structlog

from agentkit.audio.dtmf import tones
from agentkit.audio.formats import AudioFormat
from agentkit.carriers.audiosocket import UUID_PACKET, AudioSocketCodec
from agentkit.carriers.base import (
    FRAME,
    CallerAudio,
    CallerKey,
    MediaEvent,
    StreamStarted,
    StreamStopped,
    Unreadable,
)
from agentkit.errors import TransportError
from agentkit.transports.base import AGENT_HUNG_UP, Transport, TransportSink
from agentkit.transports.pacer import STALLED, Pacer

log = structlog.get_logger(__name__)

QUIET = 1.0
"""Seconds without a packet in either direction after which one of silence is sent."""
FIRST_AUDIO = 0.5
"""Seconds in which the caller's first audio has to come, to tell the rate."""
CLOSE_WITHIN = 1.0
"""Seconds in which Asterisk closes its side after a hang-up; then the socket is closed anyway."""
GONE = 10.0
"""Seconds without an acknowledgement after which the system gives the connection up."""

_READ = 16384  # bytes at once


class AudioSocketTransport(Transport):
    """One call, on the socket that Asterisk has opened for it.

    What is heard is what was sent, to the packet: nothing is queued at the far end. Gaps in what
    the caller sends are left as they are.

    Args:
        reader: the socket's.
        writer: the socket's.
        form: the audio in both directions, where it is known; else the first packet tells.

    Attributes:
        oddities: packets that said nothing, counted by kind.

    Raises:
        ConfigError: AudioSocket does not carry that format.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        form: AudioFormat | None = None,
    ) -> None:
        self.oddities: Counter[str] = Counter()
        self._reader = reader
        self._writer = writer
        self._codec = AudioSocketCodec(form)
        self._early: list[MediaEvent] = []
        self._pacer: Pacer | None = None
        self._sink: TransportSink | None = None
        self._running = False
        self._reason: str | None = None
        self._error: TransportError | None = None
        self._active = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    async def identify(self, within: float = 5.0) -> UUID:
        """Read the first packet; return the UUID of the call.

        Args:
            within: seconds in which it has to be there.

        Raises:
            TransportError: it did not come in time, or it was something else.
        """
        try:
            async with asyncio.timeout(within):
                self._early += self._codec.feed(await self._reader.readexactly(UUID_PACKET))
        except TimeoutError:
            raise TransportError(f"no UUID came within {within:g} s") from None
        except (EOFError, OSError):
            raise TransportError("the connection closed before a UUID came") from None
        if self._codec.uuid is None:
            raise TransportError("the connection did not begin with a UUID")
        return self._codec.uuid

    async def connect(self) -> None:
        """Wait for the caller's first audio, whose rate is the one of both directions.

        If none comes within 0.5 s, as from a telephone that suppresses silence, the rate is the
        application's, 8,000 Hz.

        Raises:
            TransportError: the caller is gone. Safe to cancel.
        """
        if self._codec.uuid is None:
            await self.identify()
        try:
            async with asyncio.timeout(FIRST_AUDIO):
                while not self._has_begun() and (data := await self._receive()):
                    self._early += self._codec.feed(data)
        except TimeoutError:
            self._early += self._codec.begin()
        started = next((each for each in self._early if isinstance(each, StreamStarted)), None)
        if started is None:
            raise TransportError("the caller hung up before the call had begun")
        self._open(started.input)

    async def run(self, sink: TransportSink) -> str:
        """Deliver the caller's audio until the call is over.

        Returns:
            ``caller hung up``, ``agent hung up`` or ``closed``.

        Raises:
            TransportError: the connection broke, or Asterisk does not read what it is sent.
                Cancelling closes nothing; call `aclose`.
        """
        self._sink = sink
        self._running = True
        try:
            early, self._early = self._early, []
            self._take(early)
            while self._reason != "caller hung up" and (data := await self._receive()):
                if self._reason is None:
                    self._active = asyncio.get_running_loop().time()
                    self._take(self._codec.feed(data))
        finally:
            self._running = False
        self._finish("caller hung up")
        if self._error is not None:
            raise self._error
        return str(self._reason)

    def play(self, data: bytes) -> None:
        """Queue audio; each packet is sent when it is due."""
        self._paced().play(data)

    def mark(self, name: str) -> None:
        """Ask for `TransportSink.marked`; a clear drops the marks of what was not sent."""
        self._paced().mark(name)

    def clear(self) -> None:
        """Drop what was not sent."""
        self._paced().clear()

    async def hang_up(self) -> None:
        """End the call from our side. Asterisk goes on with the dialplan. Safe to call twice.

        Our side of the socket is closed, and Asterisk's is read until it is closed too: a socket
        that is closed with something unread takes back what was sent last.
        """
        if self._reason is None:
            self._finish(AGENT_HUNG_UP)
            transport = self._writer.transport
            if not transport.is_closing():
                self._writer.writelines(self._codec.hang_up())
                self._writer.write_eof()
                self._timer = asyncio.get_running_loop().call_later(CLOSE_WITHIN, transport.abort)

    async def send_dtmf(self, digits: str) -> None:
        """Press keys: as tones on the line, ahead of what is queued; return when they were heard.

        Raises:
            UsageError: a key is none of ``0-9 * # A-D``.
        """
        pacer = self._paced()
        pacer.press(tones(digits, self.output))
        await asyncio.sleep(pacer.pressing)

    async def aclose(self) -> None:
        """End the call if it is going on, and close the socket. Safe to call twice."""
        self._finish("closed")
        self._disarm()
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                if self._reason == AGENT_HUNG_UP and not self._running:
                    while await self._reader.read(_READ):
                        pass
                self._writer.close()
                await self._writer.wait_closed()
        except OSError:
            pass  # the connection was lost, or what was sent last is not taken: it is given up
        finally:
            self._writer.transport.abort()

    # ------------------------------------------------------------------------------- receiving

    async def _receive(self) -> bytes:
        """What comes next; nothing at the end.

        Asterisk closes its socket without reading what we sent meanwhile, so the end of a call in
        the middle of a sentence arrives as a reset.
        """
        try:
            return await self._reader.read(_READ)
        except ConnectionError:
            return b""
        except OSError as error:
            raise TransportError(f"the connection to Asterisk broke: {error.strerror}") from error

    def _has_begun(self) -> bool:
        return any(isinstance(event, StreamStarted | StreamStopped) for event in self._early)

    def _take(self, events: Iterable[MediaEvent]) -> None:
        assert self._sink is not None  # noqa: S101
        for event in events:
            match event:
                case CallerAudio():
                    self._sink.audio(event.data)
                case CallerKey():
                    self._sink.dtmf(event.key)
                case StreamStopped():
                    self._finish("caller hung up")
                case Unreadable():
                    self._note(event.kind)

    def _note(self, kind: str) -> None:
        self.oddities[kind] += 1
        if self.oddities[kind] == 1:
            log.warning("a packet from Asterisk said nothing", kind=kind)

    # --------------------------------------------------------------------------------- sending

    def _open(self, form: AudioFormat) -> None:
        self.input = self.output = form
        # Room for about a second in the system's queue too: what is sent later than it is due is
        # noticed soon.
        options = [(socket.SOL_SOCKET, socket.SO_SNDBUF, form.byte_rate)]
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(GONE * 1000)))
        for option in options:
            self._writer.get_extra_info("socket").setsockopt(*option)
        self._pacer = Pacer(
            form.silence(FRAME), send=self._send, marked=self._reached, stalled=self._give_up
        )
        self._active = asyncio.get_running_loop().time()
        self._watch()

    def _paced(self) -> Pacer:
        if self._pacer is None:
            raise TransportError("the call has not begun: `await transport.connect()` first")
        return self._pacer

    def _send(self, frame: bytes) -> bool:
        """Send a frame in one piece, unless the one before it has not left yet.

        One piece, since Asterisk does not wait for the rest of a header or a payload.
        """
        transport = self._writer.transport
        if transport.is_closing():
            return True
        if transport.get_write_buffer_size():
            return False
        self._writer.write(b"".join(self._codec.play(frame)))
        self._active = asyncio.get_running_loop().time()
        return True

    def _reached(self, name: str) -> None:
        if self._sink is not None:
            self._sink.marked(name)

    def _give_up(self) -> None:
        self._error = TransportError(f"Asterisk has read nothing for {STALLED:g} s")
        self._finish("stalled")
        self._writer.transport.abort()

    def _watch(self) -> None:
        """Send a packet of silence when nothing was sent or received for a second.

        The application ends a call that had two seconds without a packet in either direction, as
        it has when the caller's telephone suppresses silence and nobody speaks.
        """
        loop = asyncio.get_running_loop()
        if loop.time() - self._active >= QUIET - 1e-6:
            self._active = loop.time()
            self._paced().play(self.output.silence(FRAME))
        self._timer = loop.call_at(self._active + QUIET, self._watch)

    def _finish(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            self._disarm()
            if self._pacer is not None:
                self._pacer.stop()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


Handler = Callable[[UUID, AudioSocketTransport], Awaitable[None]]
"""Takes a call. The socket is closed when it returns or raises; what it raises is logged."""


class AudioSocketServer:
    """Takes calls; made by `serve_audiosocket`.

    Args:
        handler: takes each call.
        form: the audio of every call, where it is known; else each call's first packet tells.
        start_timeout: seconds in which a connection has to tell its UUID.
        limit: calls at once; further ones are hung up.
    """

    def __init__(
        self, handler: Handler, form: AudioFormat | None, start_timeout: float, limit: int
    ) -> None:
        self._handler = handler
        self._form = form
        self._start_timeout = start_timeout
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        """Where it listens: the port that the system chose, if 0 was asked for."""

    @property
    def calls(self) -> int:
        """Connections that are open."""
        return len(self._tasks)

    async def drain(self) -> None:
        """Take no more calls, and wait for those that are under way. Safe to cancel."""
        self._listening().close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def open(self, host: str, port: int) -> None:
        """Listen. Raises TransportError if that cannot be done."""
        AudioSocketCodec(self._form)  # a format that AudioSocket does not carry is told now
        try:
            self._server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            raise TransportError(f"cannot listen at {host}:{port}: {error.strerror}") from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Take no more calls, end those that are under way, and close the sockets."""
        server = self._listening()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()

    def _listening(self) -> asyncio.Server:
        if self._server is None:
            raise TransportError("the server is not listening: use it inside `async with`")
        return self._server

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= self._limit:
            log.warning("a call was refused: too many at once", limit=self._limit)
            writer.writelines(AudioSocketCodec().hang_up())
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = AudioSocketTransport(reader, writer, form=self._form)
        try:
            await self._handler(await transport.identify(self._start_timeout), transport)
        except TransportError as error:
            log.warning("a call on AudioSocket was lost", error=str(error))
        except Exception:
            log.exception("a call on AudioSocket failed")
        finally:
            await transport.aclose()


@contextlib.asynccontextmanager
async def serve_audiosocket(
    host: str,
    port: int,
    handler: Handler,
    *,
    form: AudioFormat | None = None,
    start_timeout: float = 5.0,
    limit: int = 100,
) -> AsyncIterator[AudioSocketServer]:
    """Take calls from Asterisk; at the end, those that are under way are cancelled and closed.

    Args:
        host: where to listen; there is no authentication, so not where strangers reach it.
        port: 0 takes a free one.
        handler: takes each call; see `Handler`. It has to check the UUID.
        form: the audio of every call, where it is known; else each call's first packet tells.
        start_timeout: seconds in which a connection has to tell its UUID.
        limit: calls at once; further ones are hung up.

    Raises:
        ConfigError: AudioSocket does not carry that format.
        TransportError: nothing can listen there.
    """
    server = AudioSocketServer(handler, form, start_timeout, limit)
    await server.open(host, port)
    try:
        yield server
    finally:
        await server.aclose()
