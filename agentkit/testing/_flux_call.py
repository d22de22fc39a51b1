"""One connection to the scripted Flux: what it says, what it hears, and how it breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from websockets.asyncio.server import ServerConnection

from agentkit.audio.formats import AudioFormat

if TYPE_CHECKING:
    from agentkit.testing.flux import ScriptedFlux

REQUEST_ID: Final = "00000000-0000-4000-8000-000000000000"
_CADENCE: Final = 0.24
"""Seconds of audio between two Updates (Deepgram docs flux/state: about 0.25)."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a client asked to be connected with.

    Args:
        path: without the query.
        query: the parameters in order, decoded.
        raw_query: as it came.
        headers: names in lower case.
    """

    path: str
    query: tuple[tuple[str, str], ...]
    raw_query: str
    headers: Mapping[str, str]

    def values(self, name: str) -> list[str]:
        """Every value of a parameter."""
        return [value for key, value in self.query if key == name]

    @property
    def audio(self) -> AudioFormat:
        """The format the client announced; 16 kHz linear16 if it announced none."""
        known = dict(self.query)
        encoding = known.get("encoding", "linear16")
        rate = int(known.get("sample_rate", 16000))
        if encoding == "mulaw":
            return AudioFormat("mulaw", rate)
        return AudioFormat("alaw" if encoding == "alaw" else "linear16", rate)


class Cue:
    """One step of a script: a verb of `ScriptedCall`, with its arguments.

    Args:
        do: the verb's name, such as ``start`` or ``close``.
        args: what to call it with.
        at: wait until this many seconds of audio were received on the connection.
        after: then wait this many seconds.
        options: what to call it with, by name.
    """

    def __init__(
        self,
        do: str,
        *args: Any,
        at: float | None = None,
        after: float = 0.0,
        **options: Any,
    ) -> None:
        if do.startswith("_") or not callable(getattr(ScriptedCall, do, None)):
            raise ValueError(f"ScriptedCall has no verb {do!r}")
        self.do = do
        self.args = args
        self.at = at
        self.after = after
        self.options = options

    def __repr__(self) -> str:
        return f"Cue({self.do!r}, *{self.args!r}, at={self.at!r}, after={self.after!r})"


@dataclass(slots=True)
class _Word:
    text: str
    start: float
    end: float

    def to_wire(self, *, times: bool) -> dict[str, Any]:
        wire: dict[str, Any] = {"word": self.text, "confidence": 0.98}
        if times:
            wire |= {"start": round(self.start, 3), "end": round(self.end, 3)}
        return wire


@dataclass(slots=True)
class _Turn:
    """What the server remembers of the turn it is in."""

    index: int = 0
    open: bool = False
    window_start: float = 0.0
    text: str = ""
    words: list[_Word] = field(default_factory=list)


class ScriptedCall:
    """One connection of a client to `ScriptedFlux`.

    The verbs that speak are coroutines; they return once the message is written, and raise
    ``websockets.exceptions.ConnectionClosed`` when the client has gone. Each takes any field of
    the message by name to say something else than what is right, and ``omit`` to leave some out.
    """

    def __init__(
        self, server: ScriptedFlux, wire: ServerConnection, number: int, handshake: Handshake
    ) -> None:
        self.number = number
        self.handshake = handshake
        self.wire = wire
        self.state: Literal["opening", "open", "closed"] = "opening"
        self.audio = bytearray()
        self.arrivals: list[tuple[float, int]] = []
        """(loop time, bytes) of each audio message."""
        self.controls: list[dict[str, Any]] = []
        """Control messages in order of arrival."""
        self.events: list[str] = []
        """Everything that came, in order: ``audio`` or the type of a control message."""
        self.sent: list[dict[str, Any]] = []
        """Messages sent, `send` included."""
        self.sequence = 0
        self.turn = _Turn()
        self.close_code: int | None = None
        self._server = server
        self._changed = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._stalled = False
        self._next_update = _CADENCE
        self._second = handshake.audio.byte_rate

    # --------------------------------------------------------------------------------- turns

    async def start(self, text: str = "", **fields: Any) -> None:
        """StartOfTurn."""
        self.turn.open = True
        await self.turn_info("StartOfTurn", text, **fields)

    async def update(self, text: str | None = None, **fields: Any) -> None:
        """Update; with the turn's text so far if none is given."""
        await self.turn_info("Update", text, **fields)

    async def eager(self, text: str | None = None, **fields: Any) -> None:
        """EagerEndOfTurn."""
        await self.turn_info("EagerEndOfTurn", text, **{"end_of_turn_confidence": 0.5, **fields})

    async def resume(self, text: str | None = None, **fields: Any) -> None:
        """TurnResumed."""
        await self.turn_info("TurnResumed", text, **fields)

    async def end(self, text: str | None = None, *, trigger: str = "model", **fields: Any) -> None:
        """EndOfTurn; the next turn's index and window begin after it."""
        wire = {"end_of_turn_confidence": 0.8, "trigger": trigger, **fields}
        await self.turn_info("EndOfTurn", text, **wire)
        self.turn = _Turn(index=self.turn.index + 1, window_start=self.seconds)

    async def turn_info(
        self,
        event: str,
        text: str | None = None,
        *,
        omit: Iterable[str] = (),
        **fields: Any,
    ) -> None:
        """A TurnInfo with any event, known or not."""
        turn = self.turn
        if text is not None:
            turn.words = self._words(text)
            turn.text = text
        deepgram = self._server.form == "deepgram"
        message = {
            "type": "TurnInfo",
            "event": event,
            "turn_index": turn.index,
            "audio_window_start": round(turn.window_start, 3),
            "audio_window_end": round(self.seconds, 3),
            "transcript": turn.text,
            "words": [word.to_wire(times=deepgram) for word in turn.words],
            "end_of_turn_confidence": 0.1,
            **fields,
        }
        if not deepgram:
            omit = {*omit, "type", "trigger"}
        self._next_update = self.seconds + _CADENCE
        await self.say(message, omit=omit)

    def _words(self, text: str) -> list[_Word]:
        """Words with times: those known keep theirs, new ones share the time up to now."""
        spoken = text.split()
        known = self.turn.words[: len(spoken)]
        begin = known[-1].end if known else self.turn.window_start
        count = len(spoken) - len(known)
        begin = max(begin, self.seconds - 0.3 * count)
        step = (self.seconds - begin) / count if count else 0.0
        new = [
            _Word("", begin + place * step, begin + (place + 1) * step) for place in range(count)
        ]
        return [
            _Word(word, at.start, at.end) for word, at in zip(spoken, [*known, *new], strict=True)
        ]

    def reset_index(self, index: int = 0) -> None:
        """Count turns from there again, which Flux does on a new connection only."""
        self.turn.index = index

    # -------------------------------------------------------------------------- other messages

    async def say(self, message: Mapping[str, Any], *, omit: Iterable[str] = ()) -> None:
        """A message with ``request_id`` and the next ``sequence_id``, unless it has its own."""
        wire = {"request_id": REQUEST_ID, "sequence_id": self.sequence, **message}
        self.sequence += 1
        for name in omit:
            wire.pop(name, None)
        await self.send(wire)

    async def send(self, message: Mapping[str, Any] | str | bytes) -> None:
        """Anything: an object as JSON, a string or bytes as they are."""
        if isinstance(message, Mapping):
            self.sent.append(dict(message))
            message = json.dumps(message)
        await self.wire.send(message)

    async def repeat(self) -> None:
        """The last message once more, ``sequence_id`` and all."""
        await self.send(self.sent[-1])

    async def warning(self, code: str, description: str = "by the script") -> None:
        """Warning."""
        await self.say({"type": "Warning", "code": code, "description": description})

    async def error(
        self, code: str, description: str = "by the script", *, close: int | None = 1011
    ) -> None:
        """Error, then the socket closes with this code; None leaves it open."""
        message = {"type": "Error", "code": code, "description": description}
        await self.say(message, omit=("request_id",))
        if close is not None:
            await self.close(close)

    async def configure_success(self, message: Mapping[str, Any] | None = None) -> None:
        """ConfigureSuccess that answers this Configure, or the last one."""
        asked = message or self.controls[-1]
        answer = {"type": "ConfigureSuccess", "thresholds": {}, "keyterms": []}
        await self.say({**answer, **{name: asked[name] for name in asked if name != "type"}})

    async def configure_failure(
        self, code: str = "INVALID_THRESHOLD", description: str = "by the script"
    ) -> None:
        """ConfigureFailure."""
        await self.say({"type": "ConfigureFailure", "code": code, "description": description})

    # ------------------------------------------------------------------------------- closing

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a code."""
        await self.wire.close(code, reason)

    async def close_without_code(self) -> None:
        """Close with no code, as Flux does after CloseStream; libraries show 1005."""
        self.wire.protocol.send_close()
        self.wire.send_data()
        await self.wire.wait_closed()

    async def abort(self) -> None:
        """Break the connection off."""
        self.abort_now()
        await self.wire.wait_closed()

    def abort_now(self) -> None:
        """Break the connection off, without waiting for it."""
        if self.wire.transport is not None:
            self.wire.transport.abort()

    # -------------------------------------------------------------------------------- faults

    async def stall(self) -> None:
        """Say nothing more by itself, but go on reading and answering pings."""
        self._stalled = True

    async def go_on(self) -> None:
        """The end of `stall` and `block_reads`."""
        self._stalled = False
        self.wire.transport.resume_reading()
        self._readable.set()

    async def block_reads(self) -> None:
        """Read nothing more from the socket, so that the client's sends fill up."""
        self._readable.clear()
        self.wire.transport.pause_reading()

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    # ------------------------------------------------------------------------------- watching

    @property
    def seconds(self) -> float:
        """Audio received so far, in seconds."""
        return len(self.audio) / self._second

    async def until(self, reached: Callable[[], bool], *, timeout: float = 5.0) -> None:
        """Wait for a condition on this connection. Raises TimeoutError, saying how it stands."""
        try:
            async with asyncio.timeout(timeout):
                while not reached():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"connection {self.number} is {self.state} with {self.seconds:.2f} s of audio "
                f"and controls {[control.get('type') for control in self.controls]}"
            ) from None

    async def heard(self, seconds: float, *, timeout: float = 5.0) -> None:
        """Wait until that much audio was received. Raises TimeoutError."""
        await self.until(lambda: self.seconds >= seconds - 1e-9, timeout=timeout)

    async def asked(self, kind: str, count: int = 1, *, timeout: float = 5.0) -> dict[str, Any]:
        """Wait for the control message of that type, the ``count``-th, and return it."""
        await self.until(lambda: len(self._asked(kind)) >= count, timeout=timeout)
        return self._asked(kind)[count - 1]

    def _asked(self, kind: str) -> list[dict[str, Any]]:
        return [control for control in self.controls if control.get("type") == kind]

    async def gone(self, *, timeout: float = 5.0) -> None:
        """Wait until the connection has ended. Raises TimeoutError."""
        await self.until(lambda: self.state == "closed", timeout=timeout)

    # ------------------------------------------------------------------------------- its life

    async def live(self, script: Sequence[Cue]) -> None:
        """Serve the connection to its end, playing the cues. Called by the server."""
        await asyncio.sleep(self._server.connected_delay)
        if self._server.connected:
            await self.say({"type": "Connected"})
        self.state = "open"
        self._notify()
        player = asyncio.create_task(self.play(script), name=f"script {self.number}")
        answers: set[asyncio.Task[None]] = set()
        try:
            await self._read(answers)
            if player.done():
                player.result()
        finally:
            for task in (player, *answers):
                task.cancel()
            await asyncio.gather(player, *answers, return_exceptions=True)

    async def play(self, script: Sequence[Cue]) -> None:
        """Carry out the cues, in order."""
        for cue in script:
            if cue.at is not None:
                at = cue.at
                await self.until(lambda at=at: self.seconds >= at - 1e-9, timeout=3600.0)  # type: ignore[misc]
            if cue.after:
                await asyncio.sleep(cue.after)
            await getattr(self, cue.do)(*cue.args, **cue.options)

    def ended(self) -> None:
        """The connection is over. Called by the server."""
        self.state = "closed"
        self.close_code = self.wire.close_code
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._server.changed.set()

    async def _read(self, answers: set[asyncio.Task[None]]) -> None:
        loop = asyncio.get_running_loop()
        async for data in self.wire:
            await self._readable.wait()
            if isinstance(data, bytes):
                self.audio += data
                self.arrivals.append((loop.time(), len(data)))
                self.events.append("audio")
                self._notify()
                await self._chatter()
            else:
                await self._control(data, answers)

    async def _chatter(self) -> None:
        if self._server.chatter and not self._stalled and self.seconds >= self._next_update - 1e-9:
            await self.update()

    async def _control(self, data: str, answers: set[asyncio.Task[None]]) -> None:
        try:
            message = json.loads(data)
            kind = message["type"]
        except (ValueError, TypeError, KeyError):
            message, kind = {}, "unreadable"
        self.controls.append(message)
        self.events.append(kind)
        self._notify()
        if kind not in self._server.knows:
            await self.error("UNPARSABLE_CLIENT_MESSAGE", f"unknown variant {kind}")
        elif kind == "CloseStream":
            await self._close_stream()
        elif kind == "ForceEndTurn":
            await self._force_end_turn()
        else:
            task = asyncio.create_task(self._answer_configure(message), name="configure answer")
            answers.add(task)

    async def _close_stream(self) -> None:
        if self._server.chatter and not self._stalled:
            await self.update()
        await self.close_without_code()

    async def _force_end_turn(self) -> None:
        if self.turn.open:
            await self.end(trigger="manual", end_of_turn_confidence=0.1)
        elif not self._stalled:
            await self.warning("FORCE_END_TURN_NO_ACTIVE_TURN", "no turn is open")

    async def _answer_configure(self, message: Mapping[str, Any]) -> None:
        await asyncio.sleep(self._server.configure_delay)
        if self._server.configure == "accept":
            await self.configure_success(message)
        elif self._server.configure == "refuse":
            await self.configure_failure()
