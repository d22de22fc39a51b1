"""The benchmark of many calls: one `agentkit serve`, Twilio's media streams on loopback sockets.

    python tests/bench/load.py [--calls 1,10,25,50] [--cycles 3] [--workers 1] [--out out/bench]

The server under test is a process of its own, started as users start it. The callers, Flux, the
model and the voice share another one, this one: what they send was made before, one timer of the
kernel drives all of it, and how late that was is measured, too; on a machine that has other work
nothing counts but the CPU seconds. Linux only.

Every call has a turn each 4.5 s, 13 a minute, which is more than people have, and what other
frameworks have been measured with: in each cycle one whose draft is ready when the turn ends, which
breaks into the reply before it, and one whose draft is not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import uvloop

from agentkit.testing._openai_script import ChatReply
from tests.bench.agents import FIRST_AUDIO, FIRST_TOKEN, PACE, PER_TOKEN, REPLY
from tests.bench.callers import CYCLE, READY, SECOND_TURN, SHORT, Caller, Tally
from tests.bench.run import machine_line
from tests.bench.scripted import Backends, FluxSocket, listen
from tests.bench.served import Cpu, Served, agentkit_serve
from tests.bench.wheel import Wheel

PUNCTUAL = 0.002
"""Seconds: where the load itself was later than that in one case of a hundred, nothing counts."""
QUIET = 0.2
"""Of one core: where other processes took more than that meanwhile, nothing counts either."""


@dataclass
class Load:
    """What so many calls cost, and what they were served like. Times are in seconds."""

    calls: int
    seconds: float
    tally: Tally
    cpu: Cpu
    own_cpu: Cpu
    others: float
    resident: float
    proportional: float
    lag: list[float]
    lateness: Sequence[float]
    bounds: dict[float, float]
    lost: int

    @property
    def fault(self) -> str:
        """Why the figures say nothing of the server; "" if they do."""
        if _at(self.lateness, 99) > PUNCTUAL:
            return "the load was late itself"
        return "other processes were busy" if self.others > QUIET else ""

    def per_minute(self, seconds: float) -> float:
        """Of a minute of one call."""
        return seconds * 60 / self.seconds / self.calls

    def overhead(self, lead: float) -> list[float]:
        """What reactions took longer than the model and the voice have to."""
        return [took - self.bounds[lead] for took in self.tally.reaction[lead]]

    def frame_lateness(self, percent: float) -> float:
        """Of all frames, those that were on time included."""
        late = sorted(self.tally.late, reverse=True)
        rank = int(self.tally.frames * (1 - percent / 100))
        return late[rank] if rank < len(late) else 0.0


class Stage:
    """Callers and scripted servers, in this process. An async context manager."""

    def __init__(self) -> None:
        self.wheel = Wheel()
        self.backends = Backends(self.wheel)
        self.callers: list[Caller] = []
        self.lost = 0
        self._connected: asyncio.Future[FluxSocket] | None = None
        self._stack = AsyncExitStack()
        self.settings: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.wheel)
        flux, flux_port = await listen(
            lambda: FluxSocket(self.wheel, self._flux_opened, self._flux_lost)
        )
        http, http_port = await listen(self.backends.connect)
        self._stack.callback(flux.close)
        self._stack.callback(http.close)
        self.settings = {
            "AGENTKIT_FLUX": f"ws://127.0.0.1:{flux_port}/v2/listen",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{http_port}/v1",
            "OPENAI_API_KEY": "none",
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def call(self, port: int) -> None:
        """Make one more call; its connection to Flux is the next that is opened."""
        loop = asyncio.get_running_loop()
        self._connected = loop.create_future()
        caller = Caller(len(self.callers), self.wheel)
        await loop.create_connection(lambda: caller, "127.0.0.1", port)
        async with asyncio.timeout(10):
            caller.converse(await self._connected)
        self._connected = None
        self.callers.append(caller)

    async def hang_up(self) -> None:
        """End all calls, and wait until the server has taken leave of Flux."""
        for caller in self.callers:
            caller.hang_up()
        async with asyncio.timeout(20):
            while any(not c.closed or (c.flux and not c.flux.closed) for c in self.callers):
                await asyncio.sleep(0.05)
        self.callers.clear()

    def _flux_opened(self, socket: FluxSocket) -> None:
        if self._connected is not None and not self._connected.done():
            self._connected.set_result(socket)

    def _flux_lost(self) -> None:
        self.lost += any(not caller.hung_up for caller in self.callers)

    def count(self, tally: Tally) -> None:
        """Let all callers count anew."""
        for caller in self.callers:
            caller.tally = tally

    def bounds(self) -> dict[float, float]:
        """By lead, what an answer takes at least if its first piece is as short as it was."""
        first = min((text for text in self.backends.spoken if REPLY.startswith(text)), key=len)
        tokens = len(ChatReply(first).tokens)
        work = FIRST_TOKEN + (tokens - 1) * PER_TOKEN + FIRST_AUDIO
        return {lead: max(0.0, work - lead) for lead in (READY, SHORT)}


async def measure(
    stage: Stage, served: Served, calls: int, cycles: int, base: Sequence[int]
) -> Load:
    """Bring the number of calls up, and look on for some cycles."""
    while len(stage.callers) < calls:
        await stage.call(served.port)
    await asyncio.sleep(SECOND_TURN)  # by then each has begun its first turn
    tally = Tally(time.monotonic())
    stage.count(tally)
    del stage.wheel.lateness[:]
    lost, cpu, own, everybody = stage.lost, served.cpu(), Cpu.of(os.getpid()), Cpu.of_all()
    await asyncio.sleep(cycles * CYCLE)
    took, until = time.monotonic() - tally.since, time.monotonic()
    cpu, own = served.cpu() - cpu, Cpu.of(os.getpid()) - own
    others = (Cpu.of_all() - everybody).whole - cpu.whole - own.whole
    lateness = tuple(stage.wheel.lateness)
    stage.count(Tally(until))
    resident, proportional = (now - then for now, then in zip(served.memory(), base, strict=True))
    return Load(
        calls=calls,
        seconds=took,
        tally=tally,
        cpu=cpu,
        own_cpu=own,
        others=max(0.0, others) / took,
        resident=resident / calls,
        proportional=proportional / calls,
        lag=served.lag(tally.since, until),
        lateness=lateness,
        bounds=stage.bounds(),
        lost=stage.lost - lost,
    )


async def serve(
    agent: str, steps: Sequence[int], cycles: int, log: Path, workers: int = 1
) -> list[Load]:
    """Serve one agent to more and more callers, in so many processes."""
    async with Stage() as stage:
        settings = dict(stage.settings)
        if agent == "OverHttp":
            settings |= {"AGENTKIT_LLM": "openai/scripted", "AGENTKIT_TTS": "openai/scripted:tone"}
        else:
            stage.backends.spoken.add(REPLY)
        start = partial(Served, agentkit_serve(agent, workers=workers), settings, log)
        with start() as served:
            # What is made once, at the first call, is nobody's memory.
            for _ in range(1 if workers == 1 else 4 * workers):
                await stage.call(served.port)
            await asyncio.sleep(SECOND_TURN)
            await stage.hang_up()
            base = served.memory()
            loads = []
            for calls in steps:
                print(f"{calls} calls of {agent} ...", flush=True)
                loads.append(await measure(stage, served, calls, cycles, base))
            await stage.hang_up()
    return loads


# ------------------------------------------------------------------------------------ the table


def _at(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def _both(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values) * 1000:.1f} / {_at(values, 99) * 1000:.1f}"


def _cpu(load: Load, cpu: Cpu) -> str:
    user, system = load.per_minute(cpu.user), load.per_minute(cpu.system)
    return f"{load.per_minute(cpu.whole):.2f} ({user:.2f} + {system:.2f})"


def _table(loads: Sequence[Load]) -> list[str]:
    def row(name: str, *cells: str) -> str:
        return f"| {' | '.join((name, *cells))} |"

    def each(load: Load) -> list[str]:
        tally = load.tally
        return [
            f"{len(tally.reaction[READY])}, {len(tally.reaction[SHORT])}, {len(tally.barge_in)}",
            _both(tally.reaction[READY]),
            f"{load.bounds[READY] * 1000:.0f}",
            f"{_at(load.overhead(READY), 99) * 1000:.1f}",
            _both(tally.reaction[SHORT]),
            f"{load.bounds[SHORT] * 1000:.0f}",
            f"{_at(load.overhead(SHORT), 99) * 1000:.1f}",
            _both(tally.barge_in),
            f"{load.frame_lateness(99) * 1000:.1f}",
            f"{len(tally.late)} of {tally.frames}",
            f"{tally.unanswered}, {load.lost}",
            _cpu(load, load.cpu),
            f"{load.cpu.whole / load.seconds:.0%}",
            f"{load.resident / 2**20:.2f} / {load.proportional / 2**20:.2f}",
            _both(load.lag),
            _both(load.lateness),
            f"{load.own_cpu.whole / load.seconds:.0%}",
            f"{load.others:.0%}",
            f"NOT COUNTED: {load.fault}" if load.fault else "yes",
        ]

    names = [
        "turns with lead 0.7 s, with 0.2 s, barge-ins",
        "EndOfTurn to first audio, lead 0.7 s: p50 / p99",
        "... bound",
        "... overhead over it, p99",
        "EndOfTurn to first audio, lead 0.2 s: p50 / p99",
        "... bound",
        "... overhead over it, p99",
        "StartOfTurn to clear: p50 / p99",
        "frames, how late: p99",
        "gaps inside replies",
        "turns without an answer or a clear, lost connections",
        "server: CPU s a call-minute (user + system)",
        "server: of one core",
        "server: MiB a call, resident / proportional",
        "server: event loop late by, p50 / p99",
        "load: late by, p50 / p99",
        "load: of one core",
        "other processes: of one core",
        "counted",
    ]
    columns = [each(load) for load in loads]
    cells = zip(*columns, strict=True)
    return [
        row("calls at once", *(str(load.calls) for load in loads)),
        row("---", *("---:" for _ in loads)),
        *(row(name, *found) for name, found in zip(names, cells, strict=True)),
    ]


def _targets(load: Load) -> list[tuple[str, float, float]]:
    """What has to be reached with that many calls: its name, its value and its limit, in ms."""
    return [
        ("overhead p99, lead 0.7 s", _at(load.overhead(READY), 99) * 1000, 25),
        ("overhead p99, lead 0.2 s", _at(load.overhead(SHORT), 99) * 1000, 25),
        ("frame lateness p99", load.frame_lateness(99) * 1000, 40),
    ]


def _verdict(load: Load) -> tuple[list[str], bool]:
    if load.fault:
        return [f"{load.calls} calls: not counted, {load.fault}."], True
    lines, met = [], True
    for name, value, limit in _targets(load):
        reached = value <= limit
        met &= reached
        verdict = "met" if reached else "NOT MET"
        lines.append(f"{load.calls} calls: {name} {value:.1f} ms, to reach {limit:g}: {verdict}.")
    if wrong := load.tally.unanswered + load.lost:
        lines.append(f"{load.calls} calls: {wrong} turns or connections went wrong: NOT MET.")
    return lines, met and not wrong


def _clients_share(over_http: Load, in_process: Load) -> str:
    whole = over_http.per_minute(over_http.cpu.whole)
    inside = in_process.per_minute(in_process.cpu.whole)
    return (
        f"The HTTP clients of model and voice: {whole - inside:.2f} of {whole:.2f} CPU s a"
        f" call-minute at {over_http.calls} calls. With model and voice as functions of the server"
        f" it was {_cpu(in_process, in_process.cpu)}, the event loop late by"
        f" {_both(in_process.lag)} ms."
    )


def _go_first() -> None:
    """What measures has to be on time: no process waits for it for long, and it for none.

    The server is not favoured: what this process starts is scheduled as usual.
    """
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", default="1,10,25,50", help="how many at once, one after another")
    parser.add_argument("--cycles", type=int, default=3, help=f"of {CYCLE:g} s for each")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server")
    parser.add_argument("--http-only", action="store_true", help="leave out the in-process agent")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="where the table goes")
    given = parser.parse_args(argv)
    steps = sorted({int(count) for count in given.calls.split(",")})
    given.out.mkdir(parents=True, exist_ok=True)
    _go_first()
    log = given.out / "server.log"
    log.write_text("")
    before, began = os.getloadavg()[0], time.monotonic()
    loads = uvloop.run(serve("OverHttp", steps, given.cycles, log, given.workers))
    share = []
    if not given.http_only:
        (inside,) = uvloop.run(serve("InProcess", steps[-1:], given.cycles, log, given.workers))
        share = [_clients_share(loads[-1], inside)]
    verdicts, met = _verdict(loads[-1])
    text = "\n".join(
        [
            f"Many calls: `python tests/bench/load.py --calls {given.calls}"
            f" --cycles {given.cycles} --workers {given.workers}`; {machine_line()}; load average"
            f" {before:.1f} before, {os.getloadavg()[0]:.1f} after;"
            f" first token {FIRST_TOKEN * 1000:.0f} ms,"
            f" {PER_TOKEN * 1000:.0f} ms a token, first audio {FIRST_AUDIO * 1000:.0f} ms, then"
            f" {PACE:g} times as fast as it plays; {time.monotonic() - began:.0f} s in all."
            " Milliseconds, if nothing else is said.",
            "",
            *_table(loads),
            "",
            *share,
            *verdicts,
        ]
    )
    print("\n" + text)
    with (given.out / "bench.md").open("a") as file:
        file.write("\n" + text + "\n")
    print(f"\nadded to {given.out / 'bench.md'}")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
