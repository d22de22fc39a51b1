"""One row of the comparison: a bot in a process of its own, all that it talks to in this one.

The bot has one processor to itself, and this process another: what callers, Flux, the model and
the voice send was made before, one timer of the kernel drives all of it, and a row counts only if
it was on time itself. Linux only.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from agentkit.testing._http import Connection, RawRequest, head
from tests.bench.peers.calls import (
    BUSY,
    BUSY_CHARACTER,
    BUSY_REPLY,
    LINES,
    ONE_BY_ONE,
    ONE_CHARACTER,
    ONE_REPLY,
    Caller,
    Ears,
    Tally,
    Turn,
    cycle,
)
from tests.bench.run import machine_line
from tests.bench.scripted import Backends, listen
from tests.bench.served import Cpu, Served, agentkit_serve
from tests.bench.wheel import Wheel

ROOT = Path(__file__).parents[3]
HOME = Path(os.environ.get("AGENTKIT_PEERS", Path.home() / ".cache/agentkit/peers"))
"""Where each peer's environment is."""

MACHINE = machine_line()
"""Found out before this process keeps to one processor."""

VOICE_PACE = 20.0
"""Seconds of audio that the voice makes in one: a slower one would be a handicap for Pipecat alone,
which waits for the first half second of it."""

PUNCTUAL = 0.002
"""Seconds: where the load itself was later than that in one case of a hundred, a row is void."""
KEPT = 0.05
"""Where the bot waited for its processor for more than that of the time, a row is void, too; a
little is its own: LiveKit's threads wait for each other."""

BOTS = (os.cpu_count() or 1) - 1
"""The bot's processor; that of the load is 0."""

FRAMEWORKS = ("agentkit", "pipecat", "livekit", "bare")
BOUNDARIES = {
    "agentkit": ("twilio", "plain"),
    "pipecat": ("twilio", "plain"),
    "livekit": ("plain",),
    "bare": ("twilio", "plain"),
}
_PACKAGES = {
    "agentkit": ("agentkit",),
    "pipecat": ("pipecat-ai",),
    "livekit": ("livekit-agents",),
    "bare": ("uvloop",),
}


def python_of(framework: str) -> str:
    """The interpreter in which a framework is installed."""
    if framework in ("pipecat", "livekit"):
        return str(HOME / framework / "bin/python")
    return sys.executable


def command_of(framework: str, boundary: str) -> list[str]:
    """What starts a framework's bot."""
    if (framework, boundary) == ("agentkit", "twilio"):
        return agentkit_serve("OverHttp")
    return [python_of(framework), "-m", f"tests.bench.peers.bot_{framework}"]


def version_of(framework: str) -> str:
    """The version of a framework, and of the Python it runs in."""
    code = (
        "import importlib.metadata as m, platform, sys;"
        "print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), 'on Python',"
        " platform.python_version())"
    )
    command = [python_of(framework), "-c", code, *_PACKAGES[framework]]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def import_seconds(framework: str) -> float:
    """What importing a framework's bot takes in a fresh interpreter, without that one's start."""
    code = (
        "import importlib, sys, time; t = time.perf_counter();"
        f"importlib.import_module('tests.bench.peers.bot_{framework}');"
        "print(time.perf_counter() - t)"
    )
    run = subprocess.run(
        [python_of(framework), "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return float(run.stdout)


@dataclass
class Row:
    """What was measured in one stretch of one bot. Times are in seconds, memory is in bytes.

    Args:
        script: ``one`` or ``busy``.
        spoken: the first piece of the reply that the voice was asked for.
        requests: of the model, for each turn that ended; ``speeches`` of the voice.
        idle: memory before the calls, after a first one has come and gone.
        a_call: what each call added to that.
        lateness: of the load itself, the 99th percentile.
        waited: for how much of the time the bot was ready to run, and another process ran.
    """

    framework: str
    boundary: str
    script: str
    calls: int
    version: str
    machine: str
    command: str
    at: float
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    lost: int = 0
    spoken: str = ""
    requests: float = 0.0
    speeches: float = 0.0
    cpu_user: float = 0.0
    cpu_system: float = 0.0
    idle: float = 0.0
    a_call: float = 0.0
    start: float = 0.0
    importing: float = 0.0
    lag_p50: float = 0.0
    lag_p99: float = 0.0
    lateness: float = 0.0
    own_core: float = 0.0
    waited: float = 0.0

    @property
    def fault(self) -> str:
        """Why the row says nothing of the bot; "" if it does."""
        if self.lateness > PUNCTUAL:
            return "the load was late itself"
        return "other processes were busy" if self.waited > KEPT else ""

    @property
    def per_minute(self) -> float:
        """CPU seconds that a minute of one call takes."""
        return (self.cpu_user + self.cpu_system) * 60 / self.seconds / self.calls

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Row:
        fields: dict[str, Any] = json.loads(line)
        return cls(**{**fields, "tally": Tally(**fields["tally"])})


def at(values: Sequence[float], percent: float) -> float:
    """The value that so many of a hundred do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


class Voices(Backends):
    """The model and the voice; they count what they are asked for.

    Args:
        wheel: the clock of what they send.
        reply: what the model says.
        character: the seconds that a character of it takes.
    """

    def __init__(self, wheel: Wheel, reply: str, character: float) -> None:
        super().__init__(wheel, reply, pace=VOICE_PACE)
        self.chats = self.speeches = 0
        self._character = character

    @property
    def first_piece(self) -> str:
        """The shortest beginning of the reply that was spoken."""
        begins = [text for text in self.spoken if self._reply.text[: len(text)] == text]
        return min(begins, key=len, default="")

    def _answer(self, connection: Connection, request: RawRequest) -> None:
        if request.method != "POST":  # a client that opens its connection early
            connection.write(head(404, "text/plain", length=0))
        elif request.path.endswith("/audio/speech"):
            body = json.loads(request.body)
            self.spoken.add(body["input"].strip())
            self.speeches += 1
            self._speak(connection, time.monotonic(), len(body["input"]) * self._character)
        else:
            self.chats += 1
            super()._answer(connection, request)


class Stage:
    """Callers and scripted servers. An async context manager.

    Args:
        boundary: the callers' line.
        script: ``one`` or ``busy``.
    """

    def __init__(self, boundary: str, script: str) -> None:
        self.wheel = Wheel()
        self.turns: Sequence[Turn] = ONE_BY_ONE if script == "one" else BUSY
        reply = (ONE_REPLY, ONE_CHARACTER) if script == "one" else (BUSY_REPLY, BUSY_CHARACTER)
        self.voices = Voices(self.wheel, *reply)
        self.callers: list[Caller] = []
        self.first = 1.0
        self.lost = 0
        self.settings: dict[str, str] = {}
        self._line = LINES[boundary]
        self._connected: asyncio.Future[Ears] | None = None
        self._stack = AsyncExitStack()
        self._made = 0

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.wheel)
        flux, flux_port = await listen(lambda: Ears(self.wheel, self._flux_opened, self._flux_lost))
        http, http_port = await listen(self.voices.connect)
        self._stack.callback(flux.close)
        self._stack.callback(http.close)
        url, base = f"ws://127.0.0.1:{flux_port}/v2/listen", f"http://127.0.0.1:{http_port}/v1"
        self.settings = {
            "PYTHONPATH": str(ROOT),
            "BENCH_FLUX": url,
            "BENCH_OPENAI": base,
            "AGENTKIT_FLUX": url,
            "AGENTKIT_LLM": "openai/scripted",
            "AGENTKIT_TTS": "openai/scripted:tone",
            "AGENTKIT_MAX_CALLS": "1000",
            "OPENAI_BASE_URL": base,
            "OPENAI_API_KEY": "none",
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def call(self, port: int) -> Caller:
        """Make one more call; its connection to Flux is the next that is opened."""
        loop = asyncio.get_running_loop()
        self._connected = loop.create_future()
        line = self._line(self._made, self.wheel)
        self._made += 1
        caller = Caller(len(self.callers), self.wheel, line, self.turns, self.first)
        await loop.create_connection(lambda: line, "127.0.0.1", port)
        async with asyncio.timeout(20):
            caller.converse(await self._connected)
        self._connected = None
        self.callers.append(caller)
        return caller

    async def hang_up(self) -> None:
        """End all calls, and wait until the server has taken leave of Flux."""
        for caller in self.callers:
            caller.hang_up()
        async with asyncio.timeout(20):
            while any(c.flux and not c.flux.closed for c in self.callers):
                await asyncio.sleep(0.05)
        self.callers.clear()

    def count(self, tally: Tally) -> None:
        """Let all callers count anew."""
        for caller in self.callers:
            caller.tally = tally

    def _flux_opened(self, socket: object) -> None:
        if self._connected is not None and not self._connected.done():
            assert isinstance(socket, Ears)
            self._connected.set_result(socket)

    def _flux_lost(self) -> None:
        self.lost += any(not caller.hung_up for caller in self.callers)


async def measure(stage: Stage, served: Served, row: Row, cycles: int) -> None:
    """Look on for some rounds of the script."""
    voices, wheel = stage.voices, stage.wheel
    row.tally = Tally(time.monotonic())
    stage.count(row.tally)
    del wheel.lateness[:]
    voices.chats = voices.speeches = 0
    lost, cpu, own, waited = stage.lost, served.cpu(), Cpu.of(os.getpid()), served.waited()
    await asyncio.sleep(cycles * cycle(stage.turns))
    until = time.monotonic()
    row.seconds = until - row.tally.since
    cpu, own = served.cpu() - cpu, Cpu.of(os.getpid()) - own
    stage.count(Tally(until))
    row.lost = stage.lost - lost
    row.requests = voices.chats / max(1, row.tally.turns)
    row.speeches = voices.speeches / max(1, row.tally.turns)
    row.cpu_user, row.cpu_system = cpu.user, cpu.system
    row.own_core = own.whole / row.seconds
    row.waited = (served.waited() - waited) / row.seconds
    row.lateness = at(wheel.lateness, 99)
    lag = served.lag(row.tally.since, until)
    row.lag_p50, row.lag_p99 = (statistics.median(lag) if lag else 0.0), at(lag, 99)


async def perform(
    framework: str,
    boundary: str,
    script: str,
    steps: Sequence[int],
    cycles: int,
    again: int,
    log: Path,
) -> AsyncGenerator[Row, None]:
    """Start a bot, call it more and more times at once, and measure at each step.

    A measurement that was disturbed is made ``again``, so many times at most.

    Raises TimeoutError if a call is not taken within 20 s.
    """
    version, importing = version_of(framework), import_seconds(framework)
    command = (
        f"python tests/bench/peers/run.py --framework {framework} --boundary {boundary}"
        f" --script {script} --calls {','.join(map(str, steps))}"
    )
    async with Stage(boundary, script) as stage:
        bot = Served(command_of(framework, boundary), stage.settings, log, BOTS)
        with bot as served:
            # What is made once, at the first call, is nobody's memory.
            await stage.call(served.port)
            await asyncio.sleep(6.0)
            await stage.hang_up()
            await asyncio.sleep(1.0)
            idle = served.memory()[0]
            for calls in steps:
                while len(stage.callers) < calls:
                    await stage.call(served.port)
                await asyncio.sleep(2.0 if calls == 1 else max(turn.lasts for turn in stage.turns))
                for _ in range(1 + again):
                    row = Row(
                        framework, boundary, script, calls, version, MACHINE, command, time.time()
                    )
                    row.importing, row.start, row.idle = importing, served.took, idle
                    await measure(stage, served, row, cycles)
                    row.a_call = (served.memory()[0] - idle) / calls
                    row.spoken = stage.voices.first_piece
                    yield row
                    if not row.fault:
                        break
            await stage.hang_up()
