"""A caller on a line to a bot, whom a test drives: what all kinds of calls have in common."""

from __future__ import annotations

import asyncio
import contextlib
import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from agentkit.audio.formats import AudioFormat
from agentkit.testing._hearing import Hearing
from agentkit.testing.carriers.line import Listening, Network
from agentkit.transports.playout import Heard

KEYS = frozenset("0123456789*#ABCD")

Kind = Literal[
    "media",     # the bot played: bytes
    "mark",      # the bot asked for a mark: its name
    "clear",     # the bot cleared
    "dtmf",      # the bot pressed keys
    "hang_up",   # the bot asked over the socket to end the call or the stream
    "command",   # the bot said something else that the carrier knows: what
    "marked",    # a mark went back to the bot: its name
    "error",     # the bot broke the protocol: how
    "ended",     # the stream is over: how
]  # fmt: skip

How = Literal[
    "bot closed",         # the bot closed the socket
    "bot vanished",       # the connection broke
    "caller hung up",     # the test: `hang_up`
    "dropped",            # the test: `drop`
    "carrier ended it",   # somebody asked the carrier over its REST interface
    "refused",            # the webhook's answer connects to nothing
    "handshake refused",  # no WebSocket came of it; `code` is the HTTP status, if there was one
    "failed",             # the fake itself failed; leaving its context raises why
]  # fmt: skip


class Logged(NamedTuple):
    """Something that happened on the line, and when, in seconds of the loop's clock."""

    time: float
    kind: Kind
    detail: str | int = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stream came to its end.

    Args:
        how: who ended it, and how.
        time: when, in seconds of the loop's clock.
        code: the WebSocket's close code as the bot sent it, or the HTTP status of a refusal.
        reason: the WebSocket's close reason as the bot sent it.
    """

    how: How
    time: float
    code: int | None = None
    reason: str = field(default="", repr=False)


class FakeCall(Hearing):
    """A call: the caller speaks by the clock, and hears what the bot says.

    An async context manager: entering it makes the call, leaving it hangs up.

    Args:
        frame: seconds of audio in each message.
        sends_silence: while the caller says nothing, silence is sent; otherwise nothing is.
        network: how good the way to the caller is.
    """

    audio: AudioFormat
    """What the caller's and the bot's audio is in. Settled once the call is made."""

    def __init__(
        self, *, frame: float = 0.02, sends_silence: bool = True, network: Network | None = None
    ) -> None:
        self.frame = frame
        self.sends_silence = sends_silence
        self.network = network or Network()
        self.events: list[Logged] = []
        """All that the bot did, in order, and what came of it."""
        self.protocol_errors: list[str] = []
        """How the bot broke the carrier's protocol; empty for a good one."""
        self.lateness: list[float] = []
        """Seconds by which each frame was later than its schedule: the fault of this machine."""
        self.ended: Ended | None = None
        """How the stream ended; None while it lasts."""
        self.frames_sent = 0
        self._by_kind: defaultdict[Kind, list[Logged]] = defaultdict(list)
        self._changed = asyncio.Event()
        self._over = asyncio.Event()
        self._line: Listening | None = None
        self._speech = bytearray()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._spoken_at = -math.inf
        self._gap_until = -math.inf
        self._began = math.nan
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[Exception] = []

    async def __aenter__(self) -> Self:
        await self.dial()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
        if error is None and self._failures:
            raise ExceptionGroup("the fake failed", self._failures)

    async def aclose(self) -> None:
        """Hang up, if the call is not over, and free everything. Safe to call twice."""
        if self.ended is None and self._line is not None:
            await self.hang_up()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @abstractmethod
    async def dial(self) -> None:
        """Make the call."""

    # ------------------------------------------------------------------- what the caller does

    def say(self, audio: bytes) -> None:
        """The caller says something, behind what they are saying already, in the call's format.

        It is sent a frame at a time, each when it is due; see `said`.
        """
        self._check_running()
        if audio:
            self._speech += audio
            self._quiet.clear()

    async def said(self) -> float:
        """Wait until all that the caller says was sent; return the time of its last frame."""
        while not self._quiet.is_set() and self.ended is None:
            await self._either(self._quiet.wait())
        return self._spoken_at

    def gap(self, seconds: float) -> None:
        """Send no media for so long, as networks and silence suppression do."""
        self._gap_until = asyncio.get_running_loop().time() + seconds

    @abstractmethod
    async def press(self, digits: str) -> None:
        """The caller presses keys: ``0-9 * # A-D``."""

    @abstractmethod
    async def hang_up(self) -> None:
        """The caller hangs up: the stream stops as the carrier stops it, and the socket closes."""

    @abstractmethod
    async def drop(self) -> None:
        """The connection breaks: no stop, no close, and bytes on the way may be lost."""

    @abstractmethod
    def stall(self) -> None:
        """Read nothing any more of what the bot sends: its buffers fill, until `flow`."""

    @abstractmethod
    def flow(self) -> None:
        """Read on."""

    # ----------------------------------------------------------------- what the caller heard

    @property
    def heard(self) -> list[Heard]:
        """What the caller has heard so far: stretches of audio, and when each began."""
        return [] if self._line is None else self._line.heard(self._now())

    @property
    def _heard_in(self) -> AudioFormat:
        return self.audio

    def first_sound_at(self, after: float = -math.inf) -> float | None:
        """When the caller first heard a sound that is not silence, after that time."""
        return None if self._line is None else self._line.first_sound(after, self._now())

    @property
    def is_playing(self) -> bool:
        """Whether the caller hears something at this moment, or soon will."""
        return self._line is not None and self._line.end > self._now()

    def count(self, kind: Kind) -> int:
        """How often something has happened so far."""
        return len(self._by_kind[kind])

    # ------------------------------------------------------------------ what a test waits for

    async def wait_for(self, kind: Kind, count: int = 1) -> Logged:
        """Wait until something has happened so many times since the start; return that time's.

        Raises:
            RuntimeError: the stream ended first.
        """
        while len(self._by_kind[kind]) < count:
            if self.ended is not None:
                raise RuntimeError(f"{self.ended} came before {kind!r} number {count}")
            self._changed.clear()
            await self._changed.wait()
        return self._by_kind[kind][count - 1]

    async def until_ended(self) -> Ended:
        """Wait until the stream is over; return how."""
        while self.ended is None:
            await self._over.wait()
        return self.ended

    async def until_quiet(self, seconds: float = 0.5, *, after: float = -math.inf) -> None:
        """Wait until the caller has heard something, and then nothing for so long.

        Args:
            seconds: how long nothing is played.
            after: what the bot sent before this time does not count as something.

        Raises:
            RuntimeError: the stream ended before the bot said anything.
        """
        media = self._by_kind["media"]
        while not media or media[-1].time < after:
            await self.wait_for("media", len(media) + 1)
        while self.ended is None and (wait := self._queued.end + seconds - self._now()) > 0:
            await self._either(asyncio.sleep(wait))

    # -------------------------------------------------------------------- for each kind of call

    @abstractmethod
    async def _send_frame(self, frame: bytes, *, is_silence: bool) -> None:
        """Send one frame of the caller's audio."""

    def _start_speaking(self) -> None:
        """Send a frame whenever one is due, from now on."""
        self._began = asyncio.get_running_loop().time()
        self._own(self._speak())

    def _hear(self, data: bytes) -> None:
        """The bot played."""
        self._log("media", len(data))
        if not self._queued.play(data):
            self._wrong("more audio than the carrier's buffer holds: it was dropped")

    def _log(self, kind: Kind, detail: str | int = "") -> None:
        logged = Logged(asyncio.get_running_loop().time(), kind, detail)
        self.events.append(logged)
        self._by_kind[kind].append(logged)
        self._changed.set()

    def _wrong(self, how: str) -> None:
        """The bot broke the protocol."""
        self.protocol_errors.append(how)
        self._log("error", how)

    def _finish(self, how: How, code: int | None = None, reason: str = "") -> None:
        """The stream is over; only the first call counts."""
        if self.ended is not None:
            return
        if self._line is not None:
            self._line.stop()
        self.ended = Ended(how, asyncio.get_running_loop().time(), code, reason)
        self._log("ended", how)
        self._over.set()

    def _check_running(self) -> None:
        if self.ended is not None:
            raise RuntimeError(f"the call is over: {self.ended.how}")
        if self._line is None:
            raise RuntimeError("the call was not made yet: use `async with`")

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        """Run until the call is closed; what it raises is raised there."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._failures.append(error)
            self._finish("failed")

    def _now(self) -> float:
        return asyncio.get_running_loop().time() if self.ended is None else self.ended.time

    @property
    def _queued(self) -> Listening:
        if self._line is None:
            raise RuntimeError("the call was not made yet: use `async with`")
        return self._line

    async def _either(self, wait: Coroutine[Any, Any, object]) -> None:
        """Wait, but not beyond the end of the stream."""
        over = asyncio.ensure_future(self._over.wait())
        other = asyncio.ensure_future(wait)
        try:
            await asyncio.wait((over, other), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (over, other):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _speak(self) -> None:
        loop = asyncio.get_running_loop()
        size = self.audio.size(self.frame)
        silence = self.audio.silence(self.frame)
        due = self._began
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            if self.ended is not None:
                return
            self.lateness.append(max(0.0, loop.time() - due))
            if due >= self._gap_until and (self._speech or self.sends_silence):
                spoken = bytes(self._speech[:size])
                del self._speech[:size]
                frame = spoken + silence[len(spoken) :] if spoken else silence
                await self._send_frame(frame, is_silence=not spoken)
                if spoken:
                    self._spoken_at = due
            if not self._speech:
                self._quiet.set()
            self._pass()
            due += self.frame

    def _pass(self) -> None:
        """A frame's time has passed, whether one was sent or not."""
