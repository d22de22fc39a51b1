"""A call on a phone carrier's socket: a codec on one side, the session on the other."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from agentkit.audio.dtmf import tones
from agentkit.callcontrol.base import CallControl
from agentkit.carriers.base import (
    CallerAudio,
    CallerKey,
    Codec,
    MarkReached,
    MediaEvent,
    Message,
    SendingPaused,
    SendingResumed,
    StreamStarted,
    StreamStopped,
    Unreadable,
)
from agentkit.errors import CallControlError, TransportError
from agentkit.transports.base import AGENT_HUNG_UP, Transport, TransportSink

log = structlog.get_logger(__name__)

START_WITHIN = 10.0
"""Seconds in which a carrier has to say what its socket carries."""
BEFORE_START = 64
"""Messages that are read before that; more are no carrier's."""
SILENT_FOR = 30.0
"""Seconds without a message after which the far end is taken for gone."""
ALIVE = "alive"
"""The mark by which a far end that says nothing is asked whether it is there."""
MOST_UNSENT = 5.0
"""Seconds of audio that wait for a far end that does not read, before the call is given up."""
CLOSE_WITHIN = 5.0
"""Seconds that ending a call may take, the carrier's REST interface included."""


class Wire(ABC):
    """One socket, as a transport needs it. Only one task receives, and only one sends."""

    @abstractmethod
    async def receive(self) -> Message | None:
        """The next message; None once the socket is closed, however that came."""

    @abstractmethod
    async def send(self, message: Message) -> None:
        """Send a message; wait while the far end does not read. Raises ConnectionError if gone."""

    @abstractmethod
    async def close(self, code: int = 1000) -> None:
        """Close the socket. Safe to call twice; never raises."""

    def hand_over(self, take: Callable[[Message], None]) -> None:
        """A wire that can calls ``take`` with each message as it arrives, in the caller's context.

        From then on `receive` gives only what had arrived before; it goes on to tell the end.
        ``take`` must not raise.
        """

    def send_now(self, *messages: Message) -> bool:
        """Send them, in one packet, if that needs no waiting; False: none was, `send` them."""
        return False


async def admit(codec: Codec, wire: Wire, *, within: float = START_WITHIN) -> StreamStarted:
    """Wait until the carrier has said what its socket carries.

    Args:
        codec: reads the messages.
        wire: the socket, accepted.
        within: seconds.

    Raises:
        TransportError: it did not in time, or it said something else.
    """
    try:
        async with asyncio.timeout(within):
            for _ in range(BEFORE_START):
                message = await wire.receive()
                if message is None:
                    raise TransportError("the socket closed before the stream had started")
                for event in codec.receive(message):
                    if isinstance(event, StreamStarted):
                        return event
                    if isinstance(event, StreamStopped):
                        raise TransportError("the stream stopped before it had started")
    except TimeoutError:
        raise TransportError(f"the stream did not start within {within:g} s") from None
    raise TransportError(f"the stream did not start within {BEFORE_START} messages")


class _Unsent(NamedTuple):
    message: Message
    seconds: float
    clearable: bool


class PhoneTransport(Transport):
    """One leg of a call, on a carrier's socket.

    Args:
        codec: the carrier's dialect; it has read the start of the stream.
        wire: the socket.
        started: what the start said.
        control: the carrier's REST interface; None: what it would do cannot be done.
        may_transfer: whether a destination is allowed; by default none is.
        silent_for: seconds without a message after which the far end is taken for gone. It is
            asked for a mark before: some send nothing while the caller is silent.

    Attributes:
        oddities: messages that said nothing, counted by kind.
    """

    def __init__(
        self,
        codec: Codec,
        wire: Wire,
        started: StreamStarted,
        *,
        control: CallControl | None = None,
        may_transfer: Callable[[str], bool] = lambda to: False,
        silent_for: float = SILENT_FOR,
    ) -> None:
        self.started = started
        self.input = started.input
        self.output = started.output
        self.oddities: Counter[str] = Counter()
        self._codec = codec
        self._wire = wire
        self._control = control
        self._may_transfer = may_transfer
        self._silent_for = silent_for
        self._unsent: deque[_Unsent] = deque()
        self._unsent_seconds = 0.0
        self._wake = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._all_sent.set()
        self._paused = False
        self._transferred = False
        self._reason: str | None = None
        self._stopped = False
        self._failure: TransportError | None = None
        self._crash: Exception | None = None
        self._reading: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._not_hanging_up = asyncio.Event()
        self._not_hanging_up.set()
        self._sink: TransportSink | None = None

    async def connect(self) -> None:
        """The socket is there already: nothing is left to do."""

    async def run(self, sink: TransportSink) -> str:
        """Deliver the caller's audio until the call is over.

        Returns:
            ``caller hung up``, ``agent hung up``, ``transferred`` or ``carrier fell silent``.

        Raises:
            TransportError: the carrier does not read what it is sent.
        """
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._received_at = self._loop.time()
        writing = self._loop.create_task(self._write(), name="phone: write")
        self._reading = self._loop.create_task(self._read(), name="phone: read")
        self._watch()
        try:
            await asyncio.wait({self._reading})
            # The stream may stop first, and at some carriers the call goes on without it.
            await self._not_hanging_up.wait()
        finally:
            self._watching.cancel()
            writing.cancel()
            self._reading.cancel()
            await asyncio.gather(writing, self._reading, return_exceptions=True)
            if self._closing is not None:
                await self._closing
        if (failure := self._failure or self._crash) is not None:
            raise failure
        if not self._reading.cancelled():
            self._reading.result()
        if self._reason is None:
            self._reason = "transferred" if self._transferred else "caller hung up"
        return self._reason

    def play(self, data: bytes) -> None:
        """Queue audio, whole frames, behind what is queued."""
        self._play(self._codec.play(data), (), len(data))

    def mark(self, name: str) -> None:
        """Ask for `TransportSink.marked` once all that was queued so far has been heard."""
        for message in self._codec.mark(name):
            self._queue(message, clearable=True)

    def play_marked(self, data: bytes, name: str) -> None:
        """Queue audio and a mark. To send a packet costs more than all else about them."""
        self._play(self._codec.play(data), self._codec.mark(name), len(data))

    def clear(self) -> None:
        """Drop what waits here, then what waits at the far end."""
        self._unsent = deque(entry for entry in self._unsent if not entry.clearable)
        self._unsent_seconds = 0.0
        for message in self._codec.clear():
            self._queue(message)

    async def hang_up(self) -> None:
        """End the call: over the carrier's REST interface where we have it, then on the socket.

        Takes at most about 6 s. Safe to call twice, and after the call has ended.
        """
        if self._reason is not None:
            return
        self._reason = AGENT_HUNG_UP
        self._not_hanging_up.clear()
        try:
            await self._end_call()
            for message in self._codec.hang_up():
                self._queue(message)
            async with asyncio.timeout(1.0):
                await self._all_sent.wait()
        except TimeoutError:
            log.warning("the carrier did not take the end of the call", carrier=self._codec.name)
        finally:
            try:
                await self._wire.close()
            finally:
                self._stop_reading()
                self._not_hanging_up.set()

    async def transfer(self, to: str) -> None:
        """Hand the caller to another number: the carrier is told, and then ends the stream.

        Raises:
            TransportError: the destination is not allowed, the carrier's REST interface is not set
                up, or the carrier refused. The call goes on.
        """
        if not self._may_transfer(to):
            raise TransportError("this destination is not allowed: name it in AGENTKIT_TRANSFER_TO")
        if self._control is None or not self.started.call:
            raise TransportError(f"{self._codec.name}: the keys of its REST interface are not set")
        # The carrier may end the stream before it has answered.
        self._transferred = True
        try:
            await self._control.transfer(self.started.call, to)
        except CallControlError:
            self._transferred = False
            raise

    async def send_dtmf(self, digits: str) -> None:
        """Press keys: by the carrier's message, by REST, or else as tones on the line.

        Raises:
            TransportError: the carrier refused.
            UsageError: a key is none of ``0-9 * # A-D``.
        """
        messages = self._codec.send_dtmf(digits)
        if messages is not None:
            for message in messages:
                self._queue(message)
        elif self._control is not None and self.started.call and _presses_keys(self._control):
            await self._control.send_dtmf(self.started.call, digits)
        else:
            self.play(tones(digits, self.output))

    def call_is_over(self) -> None:
        """The carrier has said elsewhere that nobody is there any more: `run` returns."""
        if self._reason is None:
            self._reason = "transferred" if self._transferred else "caller hung up"
            self._stop_reading()

    async def aclose(self) -> None:
        """End the call if it is going on, and close the socket. Safe to call twice."""
        await self.hang_up()
        await self._wire.close()

    # ------------------------------------------------------------------------------- receiving

    async def _read(self) -> None:
        self._wire.hand_over(self._arrived)
        while not self._stopped and (message := await self._wire.receive()) is not None:
            self._receive(message)

    def _arrived(self, message: Message) -> None:
        """A message that no task waits for."""
        try:
            if not self._stopped and self._reason is None:
                self._receive(message)
        except Exception as error:
            self._crash = error
            self._stop_reading()
        if self._stopped:
            self._stop_reading()

    def _receive(self, message: Message) -> None:
        self._received_at = self._loop.time()
        for event in self._codec.receive(message):
            self._take(event)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    def _take(self, event: MediaEvent) -> None:
        assert self._sink is not None  # noqa: S101
        match event:
            case CallerAudio():
                self._sink.audio(event.data)
            case MarkReached():
                if event.name != ALIVE:
                    self._sink.marked(event.name)
            case CallerKey():
                self._sink.dtmf(event.key)
            case StreamStopped():
                self._stopped = True
            case SendingPaused():
                self._paused = True
            case SendingResumed():
                self._paused = False
                self._wake.set()
            case Unreadable():
                self.oddities[event.kind] += 1
                if self.oddities[event.kind] == 1:
                    log.warning("the carrier sent", what=event.kind, carrier=self._codec.name)
            case StreamStarted():
                pass

    def _watch(self) -> None:
        """Ask a far end that says nothing whether it is there, twice, before it is given up.

        Asterisk sends nothing for a phone that suppresses silence; marks it returns all the same.
        """
        now = self._loop.time()
        ask, again, over = (self._received_at + self._silent_for * part for part in (0.5, 0.75, 1))
        if now >= over:
            self._give_up("carrier fell silent")
            return
        if now >= ask:
            for message in self._codec.mark(ALIVE):
                self._queue(message)
        due = next(time for time in (ask, again, over) if time > now)
        self._watching = self._loop.call_at(due, self._watch)

    # --------------------------------------------------------------------------------- sending

    def _play(self, audio: Sequence[Message], marks: Sequence[Message], size: int) -> None:
        if self._sent_now(*audio, *marks, clearable=True):
            return
        seconds = self.output.seconds(size) / max(1, len(audio))
        for message in audio:
            self._wait(message, seconds, clearable=True)
        for message in marks:
            self._wait(message, clearable=True)
        if self._unsent_seconds > MOST_UNSENT:
            self._give_up("carrier does not read", TransportError("the carrier does not read"))

    def _queue(self, message: Message, *, clearable: bool = False) -> None:
        if not self._sent_now(message, clearable=clearable):
            self._wait(message, clearable=clearable)

    def _sent_now(self, *messages: Message, clearable: bool) -> bool:
        """Send them if nothing waits to be sent before, and they need not wait; else none."""
        held = self._paused and clearable
        return self._all_sent.is_set() and not held and self._wire.send_now(*messages)

    def _wait(self, message: Message, seconds: float = 0.0, *, clearable: bool) -> None:
        self._unsent.append(_Unsent(message, seconds, clearable))
        self._unsent_seconds += seconds
        self._all_sent.clear()
        self._wake.set()

    async def _write(self) -> None:
        try:
            while True:
                while self._unsent and not (self._paused and self._unsent[0].clearable):
                    entry = self._unsent.popleft()
                    self._unsent_seconds -= entry.seconds
                    await self._wire.send(entry.message)
                self._all_sent.set()
                self._wake.clear()
                await self._wake.wait()
        except ConnectionError:
            pass  # the reader finds the socket closed, too
        finally:
            self._all_sent.set()

    # ---------------------------------------------------------------------------------- its end

    async def _end_call(self) -> None:
        if self._control is None or not self.started.call:
            if not self._codec.hangs_up_on_close:
                log.warning(
                    "the call can only be left, not ended: set the keys of the carrier's REST"
                    " interface",
                    carrier=self._codec.name,
                )
            return
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._control.hang_up(self.started.call)
        except (TimeoutError, CallControlError) as error:
            log.warning("the carrier did not end the call", error=str(error) or "no answer in time")

    def _give_up(self, reason: str, failure: TransportError | None = None) -> None:
        if self._reason is None:
            self._reason, self._failure = reason, failure
            self._closing = self._loop.create_task(self._leave(), name="phone: leave")

    async def _leave(self) -> None:
        await self._end_call()
        await self._wire.close(1011)
        self._stop_reading()


def _presses_keys(control: CallControl) -> bool:
    return type(control).send_dtmf is not CallControl.send_dtmf
