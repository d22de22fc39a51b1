"""A caller on a line whose clock decides what was heard.

`FakeTransport` behaves as a phone carrier does: what is played travels to the far end, queues there
and is heard in real time; marks come back when what was played before them has been heard; a clear
drops the rest. A test asserts on what was heard, not on what was sent. All times are of the event
loop's clock, so it works in virtual time (`agentkit.testing.clock`) and in real time.

    transport = FakeTransport(latency=0.05, buffer=0.06)
    ...                                # a session is given it
    await transport.ready()
    transport.feed(tone(1.0))          # the caller speaks
    await transport.until_quiet()
    assert transport.heard_seconds() == 2.5
    transport.hang_up_remote()
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from agentkit.audio.formats import AudioFormat
from agentkit.core.policy import KEYS
from agentkit.errors import TransportError
from agentkit.testing._hearing import Hearing
from agentkit.transports.base import AGENT_HUNG_UP, Transport, TransportSink
from agentkit.transports.files import Heard, Playout

Kind = Literal[
    "audio",      # the caller was heard: bytes
    "dtmf",       # the caller pressed a key
    "play",       # we played: bytes
    "mark",       # we asked for a mark
    "clear",      # we cleared
    "marked",     # a mark came back
    "hang_up",    # we hung up
    "transfer",   # we handed the caller over: to whom
    "send_dtmf",  # we pressed keys
    "end",        # the call is over: why
    "late",       # a verb after the end, which no one heard: which
]  # fmt: skip


class Logged(NamedTuple):
    """Something that happened at our end of the line, and when."""

    time: float
    kind: Kind
    detail: str | int = ""


def once(name: str) -> Iterable[float]:
    """Every mark comes back once, in its time."""
    return (0.0,)


class FakeTransport(Hearing, Transport):
    """A line with a caller at its end, whom a test drives. It costs no task and no thread.

    Args:
        input: what `feed` takes.
        output: what `play` takes.
        latency: seconds that everything we send, and every mark that comes back, is on its way.
            What the test feeds is there at once.
        jitter: seconds by which the way to the caller may take longer, at random; order is kept.
        buffer: seconds of audio that the far end gathers before it begins to play.
        on_clear: what becomes of marks that are pending at a clear: ``echo`` sends all of them
            back at once, as Twilio, Telnyx and SignalWire do; ``drop`` forgets them, as Plivo does.
        marks: the fate of each mark, by its name: the extra seconds after which it comes back.
            ``()`` is a lost mark, ``(0.5,)`` a late one, ``(0.0, 0.2)`` one that comes twice.
        connect_error: what `connect` raises.
        seed: makes the jitter the same in each run.
    """

    def __init__(
        self,
        *,
        input: AudioFormat | None = None,
        output: AudioFormat | None = None,
        latency: float = 0.0,
        jitter: float = 0.0,
        buffer: float = 0.0,
        on_clear: Literal["echo", "drop"] = "echo",
        marks: Callable[[str], Iterable[float]] = once,
        connect_error: TransportError | None = None,
        seed: int = 0,
    ) -> None:
        self.input = input or AudioFormat()
        self.output = output or AudioFormat()
        self.events: list[Logged] = []
        """All that happened at our end of the line, in order."""
        self.sent: list[Heard] = []
        """What was played, with the time of the call of `play`."""
        self.cleared_at: list[float] = []
        """When each clear took effect at the far end."""
        self.transfers: list[str] = []
        self.dtmf_sent: list[str] = []
        self.closed = False
        self._marks = marks
        self._connect_error = connect_error
        self._by_kind: defaultdict[Kind, list[Logged]] = defaultdict(list)
        self._logged = asyncio.Event()
        self._ready = asyncio.Event()
        self._over = asyncio.Event()
        self._reason = ""
        self._error: TransportError | None = None
        self._ended_at: float | None = None
        self._sink: TransportSink | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        chance = random.Random(seed)
        self._playout = Playout(
            self.output,
            self._reached,
            delay=lambda: latency + chance.uniform(0.0, jitter) if jitter else latency,
            back=latency,
            buffer=buffer,
            echo=on_clear == "echo",
        )

    # ---------------------------------------------------------------- what was heard, and when

    @property
    def heard(self) -> list[Heard]:
        """What the caller has heard so far: stretches of audio and when each began."""
        return self._playout.heard(self._now())

    @property
    def _heard_in(self) -> AudioFormat:
        return self.output

    def first_sound_at(self, after: float = -math.inf) -> float | None:
        """When the caller first heard a sound that is not silence, after that time."""
        return self._playout.first_sound(after, self._now())

    @property
    def is_playing(self) -> bool:
        """Whether the caller hears something at this moment, or soon will."""
        return self._playout.end > self._now()

    # ------------------------------------------------------------------ what the test waits for

    async def ready(self) -> None:
        """Wait until the session listens: from then on the caller can be driven."""
        await self._ready.wait()

    async def wait_for(self, kind: Kind, count: int = 1) -> Logged:
        """Wait until something has happened so many times since the start; return that time's.

        Raises RuntimeError if the call ends first.
        """
        while len(self._by_kind[kind]) < count:
            if self._ended_at is not None and kind != "late":
                raise RuntimeError(f"the call ended before {kind!r} number {count}: {self._reason}")
            self._logged.clear()
            await self._logged.wait()
        return self._by_kind[kind][count - 1]

    async def until_quiet(self, seconds: float = 0.5, *, after: float = -math.inf) -> None:
        """Wait until the caller has heard something, and then nothing for so long.

        Args:
            seconds: how long nothing is played.
            after: what was sent before this time does not count as something.
        """
        while not self.sent or self.sent[-1].time < after:
            await self.wait_for("play", len(self._by_kind["play"]) + 1)
        while self._ended_at is None and (wait := self._playout.end + seconds - self._now()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._over.wait()

    # --------------------------------------------------------------------- what the caller does

    def feed(self, audio: bytes) -> None:
        """The caller is heard: whole samples in the ``input`` format, any length, at once."""
        sink = self._driven()
        self._log("audio", len(audio))
        sink.audio(audio)

    def press(self, digits: str) -> None:
        """The caller presses keys."""
        for digit in digits:
            if digit not in KEYS:
                raise ValueError(f"{digit!r} is not a key: press 0-9, *, # or A-D")
            sink = self._driven()
            self._log("dtmf", digit)
            sink.dtmf(digit)

    def hang_up_remote(self, reason: str = "caller hung up") -> None:
        """The caller hangs up: ``run()`` returns the reason."""
        self._finish(reason)

    def break_off(self, message: str = "the connection broke") -> None:
        """The connection is lost: ``run()`` raises TransportError."""
        if self._ended_at is None:
            self._error = TransportError(message)
        self._finish(message)

    # ------------------------------------------------------------------- what the session calls

    async def connect(self) -> None:
        """Make the line ready. Raises ``connect_error``, if one was given."""
        if self._connect_error is not None:
            raise self._connect_error
        self._loop = asyncio.get_running_loop()

    async def run(self, sink: TransportSink) -> str:
        """Wait until the call is over. Returns why; raises TransportError after `break_off`."""
        self._sink = sink
        self._ready.set()
        await self._over.wait()
        if self._error is not None:
            raise self._error
        return self._reason

    def play(self, data: bytes) -> None:
        """Send audio to the caller."""
        if self._is_late("play"):
            return
        self._log("play", len(data))
        if data:
            self.sent.append(Heard(self._now(), data))
            self._playout.play(data)

    def mark(self, name: str) -> None:
        """Send a mark behind the audio."""
        if self._is_late("mark"):
            return
        self._log("mark", name)
        self._playout.mark(name)

    def clear(self) -> None:
        """Send a clear: what has not been heard when it arrives never is."""
        if self._is_late("clear"):
            return
        self._log("clear")
        self.cleared_at.append(self._playout.clear())

    async def hang_up(self) -> None:
        """End the call from our side."""
        if self._ended_at is None:
            self._log("hang_up")
        self._finish(AGENT_HUNG_UP)

    async def transfer(self, to: str) -> None:
        """Take note of the number."""
        self._log("transfer", to)
        self.transfers.append(to)

    async def send_dtmf(self, digits: str) -> None:
        """Take note of the keys."""
        self._log("send_dtmf", digits)
        self.dtmf_sent.append(digits)

    async def aclose(self) -> None:
        """End the call."""
        self.closed = True
        if self._loop is not None:
            self._finish("closed")

    # -------------------------------------------------------------------------------- inside

    def _now(self) -> float:
        if self._ended_at is not None:
            return self._ended_at
        if self._loop is None:
            raise RuntimeError("the line is not there yet: `connect` was not called")
        return self._loop.time()

    def _log(self, kind: Kind, detail: str | int = "") -> None:
        logged = Logged(self._loop.time() if self._loop else math.nan, kind, detail)
        self.events.append(logged)
        self._by_kind[kind].append(logged)
        self._logged.set()

    def _driven(self) -> TransportSink:
        if self._sink is None:
            raise RuntimeError("nobody listens yet: `await transport.ready()` first")
        if self._ended_at is not None:
            raise RuntimeError(f"the call is over: {self._reason}")
        return self._sink

    def _is_late(self, verb: str) -> bool:
        if self._ended_at is not None:
            self._log("late", verb)
        return self._ended_at is not None

    def _reached(self, name: str) -> None:
        for extra in self._marks(name):
            if extra > 0:
                asyncio.get_running_loop().call_later(extra, self._return, name)
            else:
                self._return(name)

    def _return(self, name: str) -> None:
        if self._ended_at is None and self._sink is not None:
            self._log("marked", name)
            self._sink.marked(name)

    def _finish(self, reason: str) -> None:
        if self._ended_at is None:
            self._playout.stop()
            self._log("end", reason)
            self._reason = reason
            self._ended_at = self._now()
            self._over.set()
