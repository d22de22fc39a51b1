"""A caller whose source listens to a scripted Flux, and who speaks on time."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agentkit.audio import AudioFormat
from agentkit.core import events as ev
from agentkit.flux import FluxSource
from agentkit.testing import ScriptedCall, ScriptedFlux

LINE = AudioFormat("linear16", 16000)
FRAME = 0.02


class Call:
    """A running source, what it says, and a microphone."""

    def __init__(self, flux: ScriptedFlux, source: FluxSource, audio: AudioFormat) -> None:
        self.source = source
        self.audio = audio
        self.loop = asyncio.get_running_loop()
        self.events: list[tuple[float, ev.SourceEvent]] = []
        self._flux = flux
        self._changed = asyncio.Event()

    @property
    def now(self) -> float:
        return self.loop.time()

    def emit(self, event: ev.SourceEvent) -> None:
        self.events.append((self.now, event))
        self._changed.set()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for _, event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[Any], count: int = 1, *, within: float = 60.0) -> Any:
        async with asyncio.timeout(within):
            while len(self.of(kind)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.of(kind)[count - 1]

    async def ready(self, number: int = 0) -> ScriptedCall:
        """The connection of that number, in use by the client."""
        await self.until(ev.SourceConnected, number + 1)
        return self._flux.calls[number]

    async def speak(self, seconds: float, data: bytes | None = None) -> None:
        """Frames of 20 ms, each when it has been said."""
        spoken = make_tone(seconds, self.audio) if data is None else data
        size = self.audio.size(FRAME)
        began = self.now
        for place in range(math.ceil(len(spoken) / size)):
            due = began + (place + 1) * FRAME
            await asyncio.sleep(max(0.0, due - self.now))
            self.source.feed(spoken[place * size : (place + 1) * size])

    async def be_silent(self, seconds: float) -> None:
        await self.speak(seconds, self.audio.silence(seconds))


def make_tone(seconds: float, audio: AudioFormat = LINE, *, level: int = 8000) -> bytes:
    count = round(seconds * audio.rate)
    if audio.encoding != "linear16":
        return bytes([0x10]) * count
    return array("h", (level if place % 20 < 10 else -level for place in range(count))).tobytes()


def fastest_stretch(call: ScriptedCall) -> float:
    second = call.handshake.audio.byte_rate
    worst = 0.0
    for first in range(len(call.arrivals)):
        began = call.arrivals[first][0]
        size = 0
        for time, got in call.arrivals[first:]:
            if time - began >= 0.5:
                worst = max(worst, size / second / (time - began))
            size += got
    return worst


@asynccontextmanager
async def calling(
    flux: ScriptedFlux,
    *,
    audio: AudioFormat = LINE,
    early: Iterable[bytes] = (),
    **options: Any,
) -> AsyncIterator[Call]:
    source = FluxSource(**{"url": flux.url, **options})
    for data in early:
        source.feed(data)
    call = Call(flux, source, audio)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(source.run(audio, call.emit, lambda: call.now))
        yield call
        await source.aclose()
        async with asyncio.timeout(10):
            await running


@pytest.fixture
def on_call() -> Callable[..., Any]:
    """``on_call(flux, audio=..., early=..., **options)``: a `Call` whose source runs.

    ``early`` is fed before it runs; the rest goes to `FluxSource`.
    """
    return calling


@pytest.fixture
def tone() -> Callable[..., bytes]:
    """``tone(seconds, audio, level=...)``: a sound that is no silence."""
    return make_tone


@pytest.fixture
def fastest() -> Callable[[ScriptedCall], float]:
    """How many times faster than real time audio came, over the worst half second or more."""
    return fastest_stretch
