"""One live connection to Flux: audio and control messages out, turn events in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from agentkit.core.events import SourceEvent, SourceOddity, SourceTuned
from agentkit.errors import FluxConnectionError, FluxProtocolError, SourceError
from agentkit.flux.configuring import Configuring
from agentkit.flux.handshake import Secrets, closing, reported
from agentkit.flux.messages import (
    CLOSE_STREAM,
    FORCE_END_TURN,
    ConfigureFailure,
    ConfigureSuccess,
    ErrorMessage,
    TurnInfo,
    UnknownMessage,
    WarningMessage,
    parse_message,
    turn_event,
)
from agentkit.flux.outbox import Outbox
from agentkit.flux.timings import FluxStats, FluxTimings

_MAX_KIND_CHARS: Final = 80


class Connection:
    """One socket, from ``Connected`` to its end.

    Args:
        socket: open and ready.
        number: counted from 0 over the life of the source.
        said: messages that came before the listener began.
        outbox: the audio; it outlives the connection.
        configuring: the options; it outlives the connection.
        timings: patience.
        stats: counters to keep.
        emit: takes the events.
        clock: the session's clock.
        secrets: strings that no error may show.
    """

    def __init__(
        self,
        socket: ClientConnection,
        number: int,
        *,
        said: list[bytes],
        outbox: Outbox,
        configuring: Configuring,
        timings: FluxTimings,
        stats: FluxStats,
        emit: Callable[[SourceEvent], None],
        clock: Callable[[], float],
        secrets: Secrets,
    ) -> None:
        self.number = number
        self.turn_end_asked = False
        """``ForceEndTurn`` was sent and nothing has come since."""
        self._socket = socket
        self._said = said
        self._outbox = outbox
        self._configuring = configuring
        self._timings = timings
        self._stats = stats
        self._emit = emit
        self._clock = clock
        self._secrets = secrets
        self._loop = asyncio.get_running_loop()
        self._waker: asyncio.Future[None] | None = None
        self._opened_at = clock()
        self._answered = False
        self._unanswered = 0.0
        self._next_send = self._opened_at
        self._end_turn_after: int | None = None
        self._close_by: float | None = None
        self._leaving: str | None = None
        self._told: SourceTuned | None = None

    # -------------------------------------------------------------------- what is asked of it

    def wake(self) -> None:
        """There is something new to send."""
        waker = self._waker
        if waker is not None and not waker.done():
            waker.set_result(None)

    def send_audio(self) -> None:
        """A chunk waits to be sent: it is, at once, where nothing comes first.

        Twelve chunks a second of each call would else wake the sender, for nothing but this.
        """
        waker = self._waker
        if waker is None or waker.done():
            return  # the sender is at work, or about to be
        now = self._clock()
        if self._end_turn_after is None and now >= self._next_send and self._takes_now():
            self._send_chunk_now(now)
        if self._outbox.next_number is not None or self._stalled:
            self.wake()

    def end_turn(self) -> None:
        """Ask for the end of the turn, behind all audio that is waiting."""
        self._outbox.flush()
        self._end_turn_after = self._outbox.last_number
        self.wake()

    def leave(self, reason: str) -> None:
        """Give this connection up; `run` returns with that as the loss."""
        self._leaving = reason
        self.wake()

    def close(self) -> None:
        """Send what is waiting, then ``CloseStream``; `run` returns when the server has closed."""
        if self._close_by is None:
            self._close_by = self._clock() + self._timings.close
            self._outbox.flush()
            self.wake()

    @property
    def healthy(self) -> bool:
        """It has worked for a while."""
        return self._answered and self._clock() - self._opened_at >= self._timings.healthy

    # ------------------------------------------------------------------------------- its life

    async def run(self) -> SourceError | None:
        """Send and listen until the connection ends.

        Returns:
            Why it was lost, or None if it ended as asked.

        Cancelling closes the socket at once.
        """
        self._tell_tuned()
        sender = asyncio.create_task(self._send_all(), name=f"flux sender {self.number}")
        listener = asyncio.create_task(self._listen(), name=f"flux listener {self.number}")
        tasks = (sender, listener)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            loss = sender.result() if sender.done() else None
            if loss is None and not listener.done():
                # The sender is done: by CloseStream, or because the socket closed. What the
                # server said before that is still to be read, and may say why.
                await asyncio.wait({listener}, timeout=self._tail())
            heard = listener.result() if listener.done() else None
            if self._close_by is not None and self._leaving is None:
                return None
            if heard is not None and (loss is None or isinstance(heard, FluxProtocolError)):
                return heard
            return loss or FluxConnectionError("the connection to Flux broke off")
        finally:
            for task in tasks:
                task.cancel()
            # Not closed gracefully: a peer that reads nothing would hold that up too.
            self._socket.transport.abort()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._socket.wait_closed()

    def _tail(self) -> float:
        if self._close_by is None:
            return 1.0
        return max(0.0, self._close_by - self._clock())

    # -------------------------------------------------------------------------------- sending

    async def _send_all(self) -> SourceError | None:
        """Send until the end. None: it was asked to close, or the listener knows why it ended."""
        try:
            while True:
                if self._leaving is not None:
                    return FluxConnectionError(self._leaving)
                if self._stalled:
                    return FluxConnectionError(
                        f"Flux said nothing over {self._unanswered:.1f} s of audio"
                    )
                now = self._clock()
                await self._send_controls(now)
                if self._outbox.next_number is not None and not self._late(now):
                    if now < self._next_send:
                        await self._rest_until(self._next_send)
                    else:
                        await self._send_chunk(now)
                elif self._close_by is not None:
                    await self._send(CLOSE_STREAM)
                    return None
                elif now >= self._outbox.filler_due:
                    await self._fill()
                else:
                    await self._rest_until(self._outbox.filler_due)
        except TimeoutError:
            return FluxConnectionError(f"Flux took no data for {self._timings.send:g} s")
        except ConnectionClosed:
            return None

    def _late(self, now: float) -> bool:
        return self._close_by is not None and now >= self._close_by

    async def _send_controls(self, now: float) -> None:
        if self._end_turn_after is not None:
            waiting = self._outbox.next_number
            if waiting is None or waiting > self._end_turn_after:
                self._end_turn_after = None
                self.turn_end_asked = True
                self._stats.turns_ended += 1
                await self._send(FORCE_END_TURN)
        message = self._configuring.next_message(now)
        if message is not None:
            self._tell_tuned()
            await self._send(message)

    async def _send_chunk(self, now: float) -> None:
        if self._takes_now():
            self._send_chunk_now(now)
            return
        chunk = self._taken(now)
        async with asyncio.timeout(self._timings.send):
            await self._socket.send(chunk)

    def _send_chunk_now(self, now: float) -> None:
        self._write(self._taken(now))

    def _taken(self, now: float) -> bytes:
        """The audio of the next chunk, which counts as sent."""
        chunk = self._outbox.take()
        assert chunk is not None  # noqa: S101  asked for only when one waits
        seconds = self._outbox.audio.seconds(len(chunk.data))
        timings = self._timings
        self._next_send = max(self._next_send, now - timings.burst) + seconds / timings.catch_up
        self._unanswered += seconds
        self._stats.audio_sent += seconds
        self._outbox.forget(timings.keep)
        return chunk.data

    @property
    def _stalled(self) -> bool:
        return self._unanswered >= self._timings.stall

    async def _fill(self) -> None:
        # After a stall of the event loop the audio may be here already, only not yet handed over.
        for _ in range(3):
            await asyncio.sleep(0)
        if self._clock() >= self._outbox.filler_due:
            self._stats.silence_sent += self._outbox.fill()

    async def _send(self, data: str) -> None:
        if self._takes_now():
            self._write(data)
            return
        async with asyncio.timeout(self._timings.send):
            await self._socket.send(data)

    def _takes_now(self) -> bool:
        """What is sent now does not have to wait."""
        socket = self._socket
        return socket.state is State.OPEN and not socket.transport.get_write_buffer_size()

    def _write(self, data: bytes | str) -> None:
        """Send without waiting: with half the work of the socket's own `send`."""
        protocol = self._socket.protocol
        if isinstance(data, str):
            protocol.send_text(data.encode())
        else:
            protocol.send_binary(data)
        self._socket.transport.write(b"".join(protocol.data_to_send()))

    async def _rest_until(self, time: float) -> None:
        """Sleep until then, or until `wake`, or until a ``Configure`` has waited long enough."""
        deadline = self._configuring.deadline
        if deadline is not None:
            time = min(time, deadline)
        if self._close_by is not None:
            time = min(time, self._close_by)
        waker = self._waker = self._loop.create_future()
        timer = self._loop.call_later(max(0.0, time - self._clock()), self.wake)
        try:
            await waker
        finally:
            timer.cancel()
            self._waker = None

    # ------------------------------------------------------------------------------ listening

    async def _listen(self) -> SourceError:
        try:
            for data in self._said:
                self._take(data)
            while True:
                error = self._take(await self._socket.recv(decode=False))
                if error is not None:
                    return error
        except ConnectionClosed as error:
            return FluxConnectionError(f"Flux: {closing(error, self._secrets)}")

    def _take(self, data: bytes) -> SourceError | None:
        self._unanswered = 0.0
        self._stats.messages += 1
        message = parse_message(data)
        if isinstance(message, TurnInfo):
            self._take_turn(message)
        elif isinstance(message, ConfigureSuccess):
            self._configuring.succeeded()
            self.wake()
        elif isinstance(message, ConfigureFailure):
            self._configuring.failed(message.description)
            self._tell_tuned()
            self._odd(f"configure refused {message.code}")
            self.wake()
        elif isinstance(message, WarningMessage):
            self.turn_end_asked = False
            self._odd(f"warning {message.code}")
        elif isinstance(message, ErrorMessage):
            return reported(message, self._secrets)
        elif isinstance(message, UnknownMessage):
            self._odd(message.kind)
        return None

    def _take_turn(self, info: TurnInfo) -> None:
        self._answered = True
        self.turn_end_asked = False
        if info.audio_window_end is not None:
            self._outbox.account(info.audio_window_end)
        event = turn_event(info, self.number, self._outbox.times)
        if event is None:
            self._odd(f"event {info.event}")
        else:
            self._emit(event)

    def _tell_tuned(self) -> None:
        """Say how Flux listens, if that is news: as it was asked to, until it refuses."""
        wanted = self._configuring.wanted
        tuned = SourceTuned(
            wanted.turn_timeout,
            wanted.eager_eot_threshold,
            wanted.effective_eot_threshold,
            "eager_eot_threshold" in self._configuring.configurable,
        )
        if tuned != self._told:
            self._told = tuned
            self._emit(tuned)

    def _odd(self, kind: str) -> None:
        self._stats.oddities += 1
        self._emit(SourceOddity(kind.strip()[:_MAX_KIND_CHARS]))
