"""How long sound takes between the room, the session and Flux: a part of `desk`.

Measured where it counts: what a sink of the sound server plays is recorded there.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import statistics
import time
import wave
from array import array
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np

from agentkit.audio.formats import AudioFormat
from agentkit.flux import FluxSource
from agentkit.talk.command import way_for_sound
from agentkit.testing.flux import ScriptedFlux
from agentkit.transports.desktop import DesktopTransport
from agentkit.transports.rings import FADE, Handed, MicrophoneRing, SpeakerRing
from tests.desktop.pulse import Ear, Pulse

VOICE = AudioFormat("linear16", 24000)
"""As most voices have it, so that it is converted for the card."""
FRAME = VOICE.size(0.02)
"""Bytes: the shortest that a session sends first, whose way is measured."""
CHUNK = VOICE.size(0.1)
"""Bytes: the longest that it sends at a time (`agentkit.session.player`)."""
EVERY = 0.373
"""Seconds between two clicks: no multiple of a buffer."""


class Nobody:
    """A session that does not listen."""

    def __init__(self, source: FluxSource | None = None) -> None:
        self.source = source
        self.listening = asyncio.Event()

    def audio(self, data: bytes) -> None:
        self.listening.set()
        if self.source is not None:
            self.source.feed(data)

    def marked(self, name: str) -> None:
        pass

    def dtmf(self, digit: str) -> None:
        pass


class Watched(SpeakerRing):
    """Writes down when the sound card took something, on its thread."""

    def __init__(self, ring: SpeakerRing) -> None:
        vars(self).update(vars(ring))
        self.took: list[tuple[float, int]] = []

    def read(self, size: int, heard_at: float) -> Handed:
        handed = super().read(size, heard_at)
        self.took.append((time.monotonic(), handed.audio))
        return handed

    def first(self, after: float, *, sound: bool) -> float:
        """When a buffer with sound (or any) was first taken after a time."""
        return next(at for at, audio in self.took if at > after and (audio or not sound))


class Noted(MicrophoneRing):
    """Writes down when the sound card brought a buffer, on its thread, and which."""

    def __init__(self, ring: MicrophoneRing) -> None:
        vars(self).update(vars(ring))
        self.brought: list[tuple[float, bytes]] = []

    def write(self, data: bytes) -> None:
        self.brought.append((time.monotonic(), data))
        super().write(data)


@contextlib.asynccontextmanager
async def desk(
    buffer: float, source: FluxSource | None = None
) -> AsyncIterator[tuple[DesktopTransport, Watched, Noted]]:
    transport = DesktopTransport(duplex="full", voice=VOICE, buffer=buffer)
    try:
        await transport.connect()
        card = transport._card
        ring = card._ring = Watched(card._ring)
        microphone = card._microphone = Noted(card._microphone)
        sink = Nobody(source)
        call = asyncio.create_task(transport.run(sink))
        await sink.listening.wait()
        await asyncio.sleep(0.5)
        with way_for_sound():
            yield transport, ring, microphone
        await transport.hang_up()
        await call
    finally:
        await transport.aclose()


def tone(seconds: float) -> bytes:
    count = round(VOICE.rate * seconds)
    return array("h", [round(9000 * math.sin(0.2 * at)) for at in range(count)]).tobytes()


async def measure_clear(pulse: Pulse, buffer: float, count: int) -> bool:
    """From an interruption to silence, and from the first audio to the card."""
    ear = Ear(pulse, "loudspeaker")
    sound = tone(1.5)
    cleared, taken, first = [], [], []
    try:
        async with desk(buffer) as (transport, ring, _):
            for at in range(count):
                begun = time.monotonic()
                transport.play(sound[:FRAME])
                for more in range(FRAME, len(sound), CHUNK):
                    transport.play(sound[more : more + CHUNK])
                await asyncio.sleep(0.25 + at * 0.0037)
                first.append(ring.first(begun, sound=True) - begun)
                cleared.append(time.monotonic())
                transport.clear()
                await asyncio.sleep(0.25)
                taken.append(ring.first(cleared[-1], sound=False) - cleared[-1])
            slips = dict(transport.statuses)
    finally:
        ear.close()
    heard = ear.soundings()
    ends = [next(each.end for each in heard if each.begin < at < each.end) for at in cleared]
    silent = [end - at for end, at in zip(ends, cleared, strict=True)]
    bound = 2 * buffer + FADE
    met = _tell("first reply frame to the card's callback", first, buffer)
    _tell("interruption to the card's callback", taken, None)
    met &= _tell("interruption to silence at the loudspeaker", silent, bound)
    if slips:
        print(f"  {slips}")
    return met


def clicks(path: Path, seconds: float) -> None:
    """A WAV file of a click every `EVERY` seconds."""
    samples = array("h", bytes(2 * round(48000 * seconds)))
    for at in range(round(0.2 * 48000), len(samples) - 200, round(EVERY * 48000)):
        samples[at : at + 96] = array("h", [20000] * 96)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(samples.tobytes())


async def measure_microphone(pulse: Pulse, buffer: float, seconds: float, folder: Path) -> bool:
    """From the microphone to Flux's socket."""
    path = folder / "clicks.wav"
    clicks(path, seconds)
    form = AudioFormat()
    loop = asyncio.get_running_loop()
    async with ScriptedFlux() as flux:
        source = FluxSource(url=flux.url)
        listening = asyncio.create_task(source.run(form, lambda event: None, loop.time))
        call = await flux.connection(0)
        ear = Ear(pulse, "microphone")
        try:
            async with desk(buffer, source) as (transport, _, microphone):
                await pulse.say(path)
                await asyncio.sleep(0.3)
                slips = dict(transport.statuses)
        finally:
            ear.close()
        received, audio = list(call.arrivals), bytes(call.audio)
        await source.aclose()
        await listening
    heard = [each.begin for each in ear.soundings(gap=0.1, least=3000)]
    brought = [(at, len(data)) for at, data in microphone.brought]
    sound = b"".join(data for _, data in microphone.brought)
    card, _ = _ages(heard, brought, sound, transport._card.microphone.format)
    newest, oldest = _ages(heard, received, audio, form)
    _tell("newest sample of a buffer to the card's callback", card, None, p99=True)
    met = _tell("newest sample of a message to Flux's socket", newest, buffer + 0.025, p99=True)
    _tell("any sample (messages are of 80 ms)", oldest, None)
    if slips:
        print(f"  {slips}")
    return met


def _ages(
    heard: Sequence[float], pieces: Sequence[tuple[float, int]], data: bytes, form: AudioFormat
) -> tuple[list[float], list[float]]:
    """How old the newest sample of a piece was when it came, and the click in it, in seconds.

    Args:
        heard: when each click was.
        pieces: when each piece of the data came, and its bytes.
        data: all of it.
        form: what it is in.
    """
    loud = np.flatnonzero(np.abs(np.frombuffer(data, np.int16).astype(int)) > 3000)
    found = loud[np.flatnonzero(np.diff(loud, prepend=-(10**6)) > 0.1 * form.rate)].tolist()
    assert len(found) == len(heard), f"{len(heard)} clicks were played, {len(found)} received"
    ends = np.cumsum([size // form.sample_bytes for _, size in pieces])
    newest, clicked = [], []
    for click, at in zip(found, heard, strict=True):
        piece = int(np.searchsorted(ends, click, side="right"))
        clicked.append(pieces[piece][0] - at)
        newest.append(clicked[-1] - (int(ends[piece]) - click) / form.rate)
    return newest, clicked


def _tell(what: str, values: Sequence[float], most: float | None, *, p99: bool = False) -> bool:
    """Print a figure in milliseconds; whether its worst (or its 99th of 100) is small enough."""
    ordered = sorted(values)
    worst = ordered[math.ceil(0.99 * len(ordered)) - 1] if p99 else ordered[-1]
    name = "p99" if p99 else "worst"
    target = "" if most is None else f"   target: {most * 1000:.0f}"
    print(
        f"  {what}: median {statistics.median(ordered) * 1000:.1f}, "
        f"{name} {worst * 1000:.1f} ms of {len(ordered)}{target}"
    )
    return most is None or worst <= most


async def measure_delays(
    pulse: Pulse, count: int, folder: Path, buffers: Sequence[float] = (0.02, 0.04)
) -> bool:
    """Measure all; print the figures; return whether they are what they have to be."""
    met = True
    for buffer in buffers:
        print(f"buffers of {buffer * 1000:g} ms")
        met &= await measure_clear(pulse, buffer, count)
        met &= await measure_microphone(pulse, buffer, count * EVERY, folder)
    return met
