"""Whether anything is left behind: many short calls, or a few that last.

    python tests/bench/soak.py --calls 10000 [--at-once 40]
    python tests/bench/soak.py --soak 3600 [--at-once 10]

`agentkit serve` answers Twilio's media streams, as in ``tests/bench/load.py``. Short calls last
half a second to two and a half: some are over before Flux has heard a word, some while a reply is
drafted, some while it is spoken. Afterwards there may be no more tasks, sockets and file handles
than after the first of them. With ``--soak`` calls go on talking, and memory, tasks, handles and
CPU time are written down over time. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from agentkit import Agent
from tests.bench.peers.calls import Caller, Turn
from tests.bench.peers.stage import Stage
from tests.bench.run import machine_line
from tests.bench.served import Served, agentkit_serve

SHORT = (Turn("short", 0.1, 30.0, speaks=0.2),)
"""What is said in a short call: one turn, soon."""
SETTLE = 40.0
"""Seconds in which what short calls used has to be given back: clients keep connections."""
WARM = 1000
"""Short calls after which the counting begins: what is made once is made by then, and the
allocator has what the busiest moments take."""
GROWTH = 0.5
"""KiB a short call by which memory may grow: what allocators do not give back is less."""


class Soaked(Agent):
    """Its model and voice are what the settings say. It tells of its process what nobody sees."""

    instructions = "You answer the phone of a shop. Short sentences."
    _watching: asyncio.TimerHandle | None = None

    async def on_start(self) -> None:
        if Soaked._watching is None:
            Soaked._tell()

    @classmethod
    def _tell(cls) -> None:
        told = Path(os.environ["AGENTKIT_BENCH_LAG"]).with_name("tasks")
        tasks = len(asyncio.all_tasks())
        if tasks < 5:  # no call is there: what the next collection would free is not left behind
            gc.collect()
        told.with_suffix(".new").write_text(f"{tasks} {len(gc.get_objects())}")
        told.with_suffix(".new").replace(told)
        cls._watching = asyncio.get_running_loop().call_later(1.0, cls._tell)


@dataclass(frozen=True)
class Sample:
    """What a server holds at a moment.

    Args:
        at: seconds since the beginning.
        calls: how many there have been, or are.
        resident: bytes of memory.
        sockets: without the idle connections to model and voice, ``pooled``: those are kept, as
            many as were needed at once.
        cpu: seconds used so far.
    """

    at: float
    calls: int
    resident: int
    tasks: int
    objects: int
    sockets: int
    pooled: int
    files: int
    cpu: float

    def line(self) -> str:
        mib = self.resident / 2**20
        return (
            f"| {self.at:.0f} | {self.calls} | {mib:.1f} | {self.tasks} | {self.sockets} |"
            f" {self.pooled} | {self.files} | {self.objects} | {self.cpu:.1f} |"
        )


HEAD = [
    "| s | calls | MiB | tasks | sockets | pooled | other handles | objects | CPU s |",
    "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
]


def connected_to(port: int) -> set[str]:
    """The inodes of all sockets whose far end is that port here (proc(5), ``/proc/net/tcp``)."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return {fields[9] for fields in lines if int(fields[2].rpartition(":")[2], 16) == port}


def sample(served: Served, since: float, calls: int, pool: int) -> Sample:
    """Look at a server (proc(5)).

    Args:
        served: the server.
        since: when it all began.
        calls: how many there have been.
        pool: the port of model and voice.
    """
    links = []
    for entry in Path(f"/proc/{served.process}/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    sockets = {link[8:-1] for link in links if link.startswith("socket:")}
    pooled = len(sockets & connected_to(pool))
    tasks, objects = (int(word) for word in served.folder.joinpath("tasks").read_text().split())
    return Sample(
        at=time.monotonic() - since,
        calls=calls,
        resident=served.memory()[0],
        tasks=tasks,
        objects=objects,
        sockets=len(sockets) - pooled,
        pooled=pooled,
        files=len(links) - len(sockets),
        cpu=served.cpu().whole,
    )


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """By how much y grows with x, by least squares; 0 of fewer than two."""
    if len(samples) < 2:
        return 0.0
    xs, ys = zip(*samples, strict=True)
    return statistics.linear_regression(xs, ys).slope


class Soak:
    """Calls to one server, and what it held meanwhile.

    Args:
        stage: callers and scripted servers.
        served: the server.
        at_once: how many calls there are at the same time.
    """

    def __init__(self, stage: Stage, served: Served, at_once: int) -> None:
        self.samples: list[Sample] = []
        self._stage = stage
        self._served = served
        self._at_once = at_once
        self._began = time.monotonic()
        self._pool = int(stage.settings["OPENAI_BASE_URL"].rpartition(":")[2].partition("/")[0])
        self._chance = random.Random(1)

    async def short(self, calls: int) -> None:
        """Make so many short calls, one after another and some at once."""
        stage, waiting = self._stage, set[asyncio.Task[None]]()
        stage.turns, stage.first = SHORT, 0.05
        for number in range(calls):
            caller = await stage.call(self._served.port)
            stage.callers.clear()  # numbers are counted here
            waiting.add(asyncio.create_task(self._end(caller)))
            if len(waiting) >= self._at_once:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if number % 100 == 99:
                self._look(number + 1)
        await asyncio.wait(waiting)

    async def _end(self, caller: Caller) -> None:
        await asyncio.sleep(self._chance.uniform(0.5, 2.5))
        caller.hang_up()
        async with asyncio.timeout(20):
            while caller.flux is None or not caller.flux.closed:
                await asyncio.sleep(0.05)

    async def lasting(self, seconds: float, every: float) -> None:
        """Let some calls talk for so long."""
        for _ in range(self._at_once):
            await self._stage.call(self._served.port)
        until = time.monotonic() + seconds
        await asyncio.sleep(min(every, 20.0))
        while True:
            self._look(self._at_once)
            if time.monotonic() + every > until:
                break
            await asyncio.sleep(every)
        await self._stage.hang_up()

    async def quiet(self, calls: int, least: Sample | None = None) -> Sample:
        """Wait until what calls used is given back: until it is the same three times.

        Args:
            calls: how many there were.
            least: there is to be no more than this; it is waited for, for a while.
        """
        until, last = time.monotonic() + SETTLE, 0
        same = 0
        while True:
            await asyncio.sleep(2.0)
            self._look(calls)
            found = self.samples[-1]
            same = same + 1 if found.sockets + found.tasks == last else 1
            last = found.sockets + found.tasks
            if same >= 3 and (least is None or not leaked(least, found)):
                return found
            if time.monotonic() > until:
                return found

    def _look(self, calls: int) -> None:
        self.samples.append(sample(self._served, self._began, calls, self._pool))
        print(self.samples[-1].line(), flush=True)


def leaked(before: Sample, after: Sample) -> list[str]:
    """What there is more of."""
    return [
        f"{getattr(after, name) - getattr(before, name)} {name}"
        for name in ("tasks", "sockets", "files")
        if getattr(after, name) > getattr(before, name)
    ]


async def soak(given: argparse.Namespace) -> tuple[list[Sample], list[str]]:
    """Carry out what was asked for; the samples, and what they say in words."""
    async with Stage("twilio", "busy") as stage:
        command = agentkit_serve("Soaked", Path(__file__).resolve())
        with Served(command, stage.settings, given.out / "soak.log") as served:
            work = Soak(stage, served, given.at_once)
            print("\n".join(HEAD), flush=True)
            await stage.call(served.port)
            await asyncio.sleep(2.0)
            await stage.hang_up()
            if given.soak:
                await work.lasting(given.soak, given.every)
                seen = work.samples[len(work.samples) // 3 :]
                growth = slope([(each.at / 60, each.resident / 2**20) for each in seen])
                minutes = slope([(each.at, each.cpu) for each in seen]) * 60 / given.at_once
                return work.samples, [
                    f"Memory grew by {growth:.3f} MiB a minute; {minutes:.2f} CPU s a call-minute."
                ]
            await work.short(WARM)
            before = await work.quiet(WARM)
            await work.short(given.calls)
            after = await work.quiet(given.calls, before)
            grew = (after.resident - before.resident) / 1024 / given.calls
            told = [f"left behind: {what}" for what in leaked(before, after)]
            if after.pooled > 2 * given.at_once:  # a call needs the model and the voice
                told.append(f"left behind: {after.pooled} connections to model and voice")
            if grew > GROWTH:
                told.append(f"left behind: memory, {grew:.2f} KiB a call")
            lost = f"Memory grew by {grew:.2f} KiB a call; objects by"
            return work.samples, [
                *told,
                f"{lost} {(after.objects - before.objects) / given.calls:.2f} a call.",
            ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000, help="short calls")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of calls that last")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two looks")
    parser.add_argument("--at-once", type=int, default=40, help="calls at the same time")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="where it is written")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    samples, told = uvloop.run(soak(given))
    what = f"--soak {given.soak:g}" if given.soak else f"--calls {given.calls}"
    head = f"`python tests/bench/soak.py {what} --at-once {given.at_once}`; {machine_line()}."
    text = "\n".join([head, "", *HEAD, *(each.line() for each in samples), "", *told, ""])
    with (given.out / "soak.md").open("a") as file:
        file.write(text)
    print("", *told, sep="\n")
    return 1 if any(line.startswith("left behind") for line in told) else 0


if __name__ == "__main__":
    sys.exit(main())
