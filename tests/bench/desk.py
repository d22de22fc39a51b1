"""The benchmark of the desk: an agent on a loudspeaker that its microphone hears, in real time.

    make test-desktop && python tests/bench/desk.py [--part PART] [--count 50] [--over 6]

A private PulseAudio is the room. ``delays``: how long sound takes between the room, the session and
Flux. ``itself``: the agent speaks `count` replies into silence, and must not interrupt itself.
``caller``: `count` times a human voice talks over it, and must be heard. The agent's own words are
no help in telling its echo (``echo_words=0``): only the canceller is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

from agentkit import Agent, Turn
from agentkit.backends import open_backends
from agentkit.config import Settings
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.policy import Interruption
from agentkit.observe.log import configure_logging
from agentkit.session import Session
from agentkit.talk.command import way_for_sound
from agentkit.transports.desktop import DesktopTransport
from tests.bench.desk_delays import measure_delays
from tests.desktop import pulse as servers
from tests.desktop.caller import NAMES, clip

ECHO = -6.0
"""dB by which the microphone hears the loudspeaker softer than it plays."""
LINES = (
    "The clinic is open from eight in the morning to six in the evening, on every day but Sunday.",
    "I have written that down for you, and somebody will call you back in the afternoon.",
    "There is a car park behind the house, which costs nothing, and a bus that stops at the door.",
)
LONG = (
    "Let me tell you about a man who lived in a small house by the sea, and who went fishing every"
    " day, whatever the weather was like, until one morning he found a golden fish in his net."
)


class Clerk(Agent):
    """Says what it is told."""

    instructions = "Answer."
    interruption = Interruption(echo_words=0)

    async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
        """Keep silent: only what is measured is said."""
        for nothing in ("",):
            yield nothing


class Clock:
    """When playout was stopped."""

    def __init__(self) -> None:
        self.cleared: list[float] = []
        self.opened = 0

    def __call__(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        self.opened += isinstance(event, ev.TurnStarted)
        self.cleared += [now for command in commands if isinstance(command, cmd.ClearPlayout)]


@contextlib.asynccontextmanager
async def conversation(folder: Path) -> AsyncIterator[tuple[Session, Clock]]:
    """An agent at the desk, on loudspeakers; the figures of its sound card are printed after it."""
    flags = {"flux": "local", "llm": "local/script", "tts": "local/pico"}
    settings = Settings.load(flags=flags, env={}, folder=folder, agent=Clerk)
    clock = Clock()
    transport = DesktopTransport(duplex="full")
    async with open_backends(settings, Clerk) as backends:
        session = Session(
            Clerk(),
            transport,
            flux=backends.source(),
            llm=backends.llm,
            tts=backends.tts,
            observers=[clock],
        )
        with way_for_sound():
            async with session, asyncio.TaskGroup() as tasks:
                call = tasks.create_task(session.run())
                await asyncio.sleep(1.0)
                yield session, clock
                transport.call_is_over()
                await call
    print(f"  {dict(transport.statuses)}")


async def measure_itself(first: int, count: int, folder: Path) -> bool:
    """Let the agent speak into silence."""
    itself = 0
    async with conversation(folder) as (session, clock):
        for at in range(first, first + count):
            said = session.say(LINES[at % len(LINES)])
            await said
            itself += said.interrupted
    held = len(clock.cleared)
    print(f"interrupted itself: {itself} of {count} replies (held {held} times)   target: 0")
    return itself == 0


async def measure_caller(
    first: int, count: int, over: float, pulse: servers.Pulse, folder: Path
) -> bool:
    """Talk over the agent."""
    clips = [clip(name, ECHO + over, folder) for name in NAMES]
    loop = asyncio.get_running_loop()
    heard, reactions = 0, []
    async with conversation(folder) as (session, clock):
        for at in range(first, first + count):
            said = session.say(LONG)
            await asyncio.sleep(1.5 + at % 7 / 4)
            clock.cleared = []
            begun = loop.time()
            await pulse.say(clips[at % len(clips)])
            await said
            heard += said.interrupted
            reactions += [when - begun for when in clock.cleared[:1]]
            await asyncio.sleep(1.5)
    print(f"heard the caller, {over:+g} dB over the echo: {heard} of {count}   target: {0.95:.0%}")
    if reactions:
        median = statistics.median(reactions)
        print(f"  from the start of the caller's player to the clear: {median:.2f} s (median)")
    return heard >= 0.95 * count


async def measure(given: argparse.Namespace, pulse: servers.Pulse, folder: Path) -> bool:
    """Measure a part, or all; print the figures; return whether they are what they have to be."""
    met = True
    if given.part in ("delays", "all"):
        buffers = [each / 1000 for each in given.buffer or (20.0, 40.0)]
        met &= await measure_delays(pulse, given.count, folder, buffers)
    if given.part == "delays":
        return met
    print(f"echo {ECHO:g} dB")
    with pulse.acoustics(ECHO):
        if given.part in ("itself", "all"):
            met &= await measure_itself(given.first, given.count, folder)
        if given.part in ("caller", "all"):
            met &= await measure_caller(given.first, given.count, given.over, pulse, folder)
    return met


def main() -> int:
    """Start the room, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ("delays", "itself", "caller", "all")
    parser.add_argument("--part", choices=parts, default="all")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--buffer", type=float, nargs="*", help="ms of sound, of the delays")
    parser.add_argument("--first", type=int, default=0, help="which of them is the first")
    parser.add_argument("--over", type=float, default=6.0, help="dB of the caller over the echo")
    given = parser.parse_args()
    configure_logging("error")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pulse").mkdir()
        with servers.running(folder / "pulse") as pulse:
            os.environ.update(pulse.environment)
            met = asyncio.run(measure(given, pulse, folder))
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
