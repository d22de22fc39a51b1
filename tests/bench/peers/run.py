"""agentkit, Pipecat and LiveKit Agents against the same scripted servers, side by side.

    python tests/bench/peers/run.py                        # all of it: about an hour
    python tests/bench/peers/run.py --framework pipecat --boundary twilio --script busy --calls 10
    python tests/bench/peers/run.py --report --docs docs   # the tables and the pictures again

Each bot runs in a process of its own on one processor; callers, Flux, the model and the voice share
another, this one. Every measurement is added to ``peers.jsonl``, and the report is made of all that
is there. Loopback only. ``tests/bench/peers/fetch.sh`` makes the peers' environments.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import AsyncIterable, Iterator, Sequence
from pathlib import Path

import uvloop

from tests.bench.peers.report import write_report
from tests.bench.peers.stage import BOTS, BOUNDARIES, FRAMEWORKS, Row, at, perform

ONE_CYCLES, BUSY_CYCLES = 4, 2
CALLS = {
    ("agentkit", "twilio"): (1, 10, 30, 50, 70, 100, 130),
    ("agentkit", "plain"): (1, 10, 30, 50, 70, 100, 150),
    ("pipecat", "twilio"): (1, 5, 10, 15),
    ("pipecat", "plain"): (1, 10, 20, 30),
    ("livekit", "plain"): (1, 10, 30, 50, 70),
    ("bare", "twilio"): (1, 10, 30, 50, 70, 100, 150),
    ("bare", "plain"): (1, 10, 30, 50, 70, 100, 150),
}
"""How many calls at once: as far as it makes sense for each."""


def planned(given: argparse.Namespace) -> Iterator[tuple[str, str, str, Sequence[int]]]:
    """What is to be measured, interleaved: each framework has its turn before one has its next."""
    sides = [
        (framework, boundary)
        for framework in FRAMEWORKS
        for boundary in BOUNDARIES[framework]
        if given.framework in (None, framework) and given.boundary in (None, boundary)
    ]
    asked = [int(calls) for calls in given.calls.split(",") if calls]
    for _ in range(given.runs):
        if given.script in (None, "one"):
            yield from ((*side, "one", (1,)) for side in sides)
        if given.script in (None, "busy"):
            yield from ((*side, "busy", asked or CALLS[side]) for side in sides)


def told(row: Row) -> str:
    """A measurement in a line."""
    reaction = ", ".join(
        f"{kind} {at(found, 50) * 1000:.0f}/{at(found, 90) * 1000:.0f}"
        for kind, found in sorted(row.tally.reaction.items())
    )
    return (
        f"{row.framework} {row.boundary} {row.script} {row.calls}: {reaction}"
        f"; clear {at(row.tally.barge_in, 50) * 1000:.1f} ms"
        f"; {row.per_minute:.2f} CPU s a call-minute; {row.a_call / 2**20:.2f} MiB a call"
        f"; waited {row.waited:.1%}; lag p99 {row.lag_p99 * 1000:.1f} ms"
        f"; load late p99 {row.lateness * 1000:.1f} ms, {row.own_core:.0%}"
        f"; unanswered {row.tally.unanswered}/{row.tally.turns}"
        f", early {row.tally.early}, gaps {len(row.tally.gaps)}"
        f"; requests {row.requests:.2f} + {row.speeches:.2f}"
        f"{f'; VOID: {row.fault}' if row.fault else ''}"
    )


async def keep(found: AsyncIterable[Row], rows: Path) -> None:
    """Say what was measured, and add it to the file."""
    async for row in found:
        print(told(row), flush=True)
        with rows.open("a") as file:
            file.write(row.to_json() + "\n")


def _go_first() -> None:
    """What measures has to be on time, on a processor that it does not share with a bot."""
    if BOTS < 1:
        raise SystemExit("two processors are needed: one for the bot, one for the load")
    os.sched_setaffinity(0, {0})
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", choices=FRAMEWORKS, help="only this one")
    parser.add_argument("--boundary", choices=("twilio", "plain"), help="only over this line")
    parser.add_argument("--script", choices=("one", "busy"), help="only one call, or only many")
    parser.add_argument("--calls", default="", help="so many at once, one after another: 1,10")
    parser.add_argument("--cycles", type=int, default=0, help="rounds of the script")
    parser.add_argument("--runs", type=int, default=1, help="how often each is measured")
    parser.add_argument(
        "--again", type=int, default=2, help="how often what was disturbed is measured again"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="where it goes")
    parser.add_argument("--docs", type=Path, help="put the report into this folder's page, too")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = given.out / "peers.jsonl"
    if not given.report:
        _go_first()
        for framework, boundary, script, steps in planned(given):
            cycles = given.cycles or (ONE_CYCLES if script == "one" else BUSY_CYCLES)
            log = given.out / "peers.log"
            found = perform(framework, boundary, script, steps, cycles, given.again, log)
            try:
                uvloop.run(keep(found, rows))
            except TimeoutError:
                print(f"{framework} {boundary}: a further call was not taken within 20 s: no row")
    if given.report or given.docs or not given.framework:
        for path in write_report(rows, given.out, given.docs):
            print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
