"""The benchmarks: one call in real time against scripted servers on loopback sockets.

    python tests/bench/run.py [--turns 16] [--out out/bench]

Flux is a WebSocket, the model and the voice are HTTP, as they are in a real call; only what they
answer is scripted. The caller's line is a transport with a clock. Everything shares one process and
one event loop, so the servers' own work is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from agentkit import Agent, Session
from agentkit.audio import AudioFormat
from agentkit.audio.frames import first_sound
from agentkit.flux import FluxSource
from agentkit.llm.openai import OpenAILLM
from agentkit.testing.flux import ScriptedCall, ScriptedFlux
from agentkit.testing.openai import ChatReply, Delays, ScriptedOpenAI, SpeechReply
from agentkit.testing.transport import FakeTransport
from agentkit.tts.openai import OpenAITTS

FIRST_TOKEN, PER_TOKEN, FIRST_AUDIO = 0.3, 0.02, 0.1
REPLY = "Sure, let me check that. Your order is on the way."
LINE = AudioFormat("linear16", 24000)


@dataclass
class Row:
    """One figure: its values in milliseconds, and what it has to reach."""

    name: str
    values: list[float] = field(default_factory=list)
    target: str = ""
    limits: dict[str, float] = field(default_factory=dict)

    def at(self, percent: float) -> float:
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    @property
    def p50(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> str:
        if not self.limits:
            return ""
        got = {"p50": self.p50, "p99": self.at(99)}
        return "yes" if all(got[name] <= most for name, most in self.limits.items()) else "NO"

    def line(self) -> str:
        if not self.values:
            return f"| {self.name} | 0 | | | | {self.target} | |"
        figures = f"{self.p50:.2f} | {self.at(99):.2f} | {max(self.values):.2f}"
        return f"| {self.name} | {len(self.values)} | {figures} | {self.target} | {self.met} |"


class Stage:
    """One call with everything around it."""

    def __init__(self, flux: ScriptedCall, line: FakeTransport, server: ScriptedOpenAI) -> None:
        self.flux = flux
        self.line = line
        self.server = server
        self.loop = asyncio.get_running_loop()

    def first_sound_after(self, begin: float) -> float | None:
        """When the first frame that is not silence was given to the transport."""
        for at, data in self.line.sent:
            if at >= begin and first_sound(data, LINE) is not None:
                return at
        return None

    async def sound_after(self, begin: float, timeout: float = 5.0) -> float:
        async with asyncio.timeout(timeout):
            while (at := self.first_sound_after(begin)) is None:
                await asyncio.sleep(0.002)
        return at

    async def one_turn(self, words: str, lead: float | None) -> tuple[float, float]:
        """Speak a turn; returns when it ended, and when the reply's first sound was given on."""
        self.line.sent.clear()
        await self.flux.start(words)
        await asyncio.sleep(0.35)
        if lead is not None:
            await self.flux.eager(words)
            await asyncio.sleep(lead)
        ended = self.loop.time()
        await self.flux.end(words)
        return ended, await self.sound_after(ended)


async def microphone(line: FakeTransport) -> None:
    """20 ms of silence every 20 ms, on an absolute schedule."""
    loop = asyncio.get_running_loop()
    frame = AudioFormat("linear16", 16000).silence(0.02)
    due = loop.time()
    while True:
        line.feed(frame)
        due += 0.02
        await asyncio.sleep(max(0.0, due - loop.time()))


async def call(scenario: Reaction | Resumed | BargeIn, turns: int) -> None:
    """Set a call up and let a scenario drive it."""
    delays = Delays(first_token=FIRST_TOKEN, per_token=PER_TOKEN, first_audio=FIRST_AUDIO)
    async with AsyncExitStack() as stack:
        flux = await stack.enter_async_context(ScriptedFlux())
        server = await stack.enter_async_context(
            ScriptedOpenAI(ChatReply(REPLY), SpeechReply(), delays=delays)
        )
        line = FakeTransport(input=AudioFormat("linear16", 16000), output=LINE)
        source = FluxSource(url=flux.url)
        llm = OpenAILLM("scripted", api_key="none", base_url=server.base_url)
        tts = OpenAITTS("scripted", "tone", api_key="none", base_url=server.base_url)
        session = Session(Agent(), line, flux=source, llm=llm, tts=tts)
        await stack.enter_async_context(session)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            await line.ready()
            speaking = tasks.create_task(microphone(line))
            wire = await flux.connection(0)
            await scenario(Stage(wire, line, server), turns)
            speaking.cancel()
            line.hang_up_remote()
            await running
        await llm.aclose()
        await tts.aclose()


# --------------------------------------------------------------------------------- scenarios


class Reaction:
    """EndOfTurn on the socket to the first sound given to the transport."""

    def __init__(self, lead: float | None, label: str, ready: bool) -> None:
        self.lead = lead
        target = "p50 2, p99 10" if ready else "p99 of overhead 10"
        limits = {"p50": 2.0, "p99": 10.0} if ready else {}
        self.ready = ready
        self.first = Row(f"{label}: first turn", target="shown apart")
        self.rest = Row(f"{label}", target=target if ready else "", limits=limits)
        self.bound = Row(f"{label}: bound")
        self.overhead = Row(f"{label}: overhead over the bound", target="10", limits={"p99": 10.0})
        self.gaps = Row(f"{label}: longest gap inside a reply", target="p99 50")
        self.gaps.limits = {"p99": 50.0}

    async def __call__(self, stage: Stage, turns: int) -> None:
        for turn in range(turns):
            words = f"what about order number {turn}"
            asked = len(stage.server.speeches)
            ended, heard = await stage.one_turn(words, self.lead)
            row = self.rest if turn else self.first
            row.values.append((heard - ended) * 1000)
            if not self.ready and turn:
                piece = stage.server.speeches[asked].body["input"]
                tokens = len(ChatReply(piece).tokens)
                work = FIRST_TOKEN + (tokens - 1) * PER_TOKEN + FIRST_AUDIO
                bound = max(0.0, work - (self.lead or 0.0)) * 1000
                self.bound.values.append(bound)
                self.overhead.values.append((heard - ended) * 1000 - bound)
            if not self.ready:
                await asyncio.sleep(0.5)
                continue
            await stage.line.until_quiet(0.4, after=heard)
            gap = stage.line.longest_gap((heard, stage.loop.time() - 0.3))
            self.gaps.values.append(gap * 1000)

    @property
    def rows(self) -> list[Row]:
        if self.ready:
            return [self.rest, self.first, self.gaps]
        return [self.rest, self.bound, self.overhead]


class Resumed:
    """TurnResumed on the socket to the model's server seeing its stream closed."""

    def __init__(self) -> None:
        self.row = Row("TurnResumed to the model's stream closed", target="p99 20")
        self.row.limits = {"p99": 20.0}

    async def __call__(self, stage: Stage, turns: int) -> None:
        for turn in range(turns):
            words = f"well number {turn}"
            await stage.flux.start(words)
            before = len(stage.server.chats)
            await stage.flux.eager(words)
            await stage.server.until(lambda n=before: len(stage.server.chats) > n)  # type: ignore[misc]
            await asyncio.sleep(0.1)
            resumed = stage.loop.time()
            await stage.flux.resume(f"{words} and")
            request = stage.server.chats[before]
            await stage.server.until(lambda r=request: r.closed_at is not None)  # type: ignore[misc]
            assert request.closed_at is not None
            self.row.values.append((request.closed_at - resumed) * 1000)
            ended = stage.loop.time()
            await stage.flux.end(f"{words} and so on")
            await stage.sound_after(ended)

    @property
    def rows(self) -> list[Row]:
        return [self.row]


class BargeIn:
    """StartOfTurn on the socket to the transport being told to clear."""

    def __init__(self) -> None:
        self.row = Row("StartOfTurn to the transport's hold", target="p50 2")
        self.row.limits = {"p50": 2.0}

    async def __call__(self, stage: Stage, turns: int) -> None:
        _, heard = await stage.one_turn("hello", 0.6)
        for turn in range(turns):
            await asyncio.sleep(0.5)
            clears = sum(1 for entry in stage.line.events if entry.kind == "clear")
            started = stage.loop.time()
            words = f"no wait number {turn}"
            await stage.flux.start(words)
            entry = await stage.line.wait_for("clear", clears + 1)
            self.row.values.append((entry.time - started) * 1000)
            await stage.flux.eager(words)
            await asyncio.sleep(0.55)
            ended = stage.loop.time()
            await stage.flux.end(words)
            heard = await stage.sound_after(ended)
        await stage.line.until_quiet(0.3, after=heard)

    @property
    def rows(self) -> list[Row]:
        return [self.row]


def import_time() -> Row:
    """`import agentkit` in a fresh interpreter, without the interpreter's own start."""
    row = Row("import agentkit", target="300", limits={"p50": 300.0})
    code = "import time; t = time.perf_counter(); import agentkit; print(time.perf_counter() - t)"
    for _ in range(5):
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        row.values.append(float(out.stdout) * 1000)
    return row


def machine_line() -> str:
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    cores = len(os.sched_getaffinity(0))
    return f"{cpu}, {cores} cores, Python {platform.python_version()}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=16, help="turns in each scenario")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="where the table goes")
    given = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    scenarios: list[Reaction | Resumed | BargeIn] = [
        Reaction(0.7, "EndOfTurn to first sound, draft ready", ready=True),
        Reaction(0.2, "EndOfTurn to first sound, lead 200 ms", ready=False),
        Reaction(None, "EndOfTurn to first sound, no draft", ready=False),
        Resumed(),
        BargeIn(),
    ]
    began = time.perf_counter()
    rows: list[Row] = []
    for scenario in scenarios:
        print(f"{scenario.__class__.__doc__} ...", flush=True)
        asyncio.run(call(scenario, given.turns))
        rows += scenario.rows
    rows.append(import_time())
    took = time.perf_counter() - began
    table = "\n".join(
        [
            f"{machine_line()}; {given.turns} turns a scenario; first token"
            f" {FIRST_TOKEN * 1000:.0f} ms, {PER_TOKEN * 1000:.0f} ms a token, first audio"
            f" {FIRST_AUDIO * 1000:.0f} ms; {took:.0f} s in all. Milliseconds.",
            "",
            "| what | n | p50 | p99 | max | to reach | met |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(row.line() for row in rows),
        ]
    )
    print("\n" + table)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "bench.md").write_text(table + "\n")
    print(f"\nwritten to {given.out / 'bench.md'}")
    return 1 if any(row.met == "NO" for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
