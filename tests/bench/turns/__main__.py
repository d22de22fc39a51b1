"""The benchmark of turn-taking: simulated calls in virtual time.

    python -m tests.bench.turns [--dialogues 160] [--worlds measured,silent,...] [--out out/bench]
                                [--keep out/bench/turns]

The session is the real one; callers, recogniser, model and voice are simulated, as
`tests.bench.turns.parameters` says. Each policy meets the same dialogues. Writes a table and, for
each world, a picture of what drafts cost against what they save.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from tests.bench.run import machine_line
from tests.bench.turns.corpus import NoCorpus, corpus
from tests.bench.turns.measures import Figures
from tests.bench.turns.parameters import (
    HELD_OUT_SEEDS,
    TUNING_SEEDS,
    WORLDS,
    WorldName,
)
from tests.bench.turns.policies import OFF, candidates
from tests.bench.turns.report import picture, points, table
from tests.bench.turns.runs import Runs


def compare(
    runs: Runs, world: WorldName, seeds: Sequence[int], names: Sequence[str]
) -> dict[str, list[Figures]]:
    """Let each policy hold the dialogues of one world."""
    found = {}
    for candidate in candidates():
        if names and candidate.name not in (OFF.name, *names):
            continue
        began = time.perf_counter()
        found[candidate.name] = runs.of(candidate, world, seeds)
        took = time.perf_counter() - began
        turns = sum(figures.turns for figures in found[candidate.name])
        print(f"{WORLDS[world].name}, {candidate.name}: {turns} turns in {took:.0f} s", flush=True)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 1 if a rule was broken, 2 without the dialogues."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dialogues", type=int, default=len(HELD_OUT_SEEDS), help="at most")
    parser.add_argument("--worlds", default=",".join(WORLDS), help="which, separated by commas")
    parser.add_argument("--policies", default="", help="which; none: all")
    parser.add_argument("--tuning", action="store_true", help="the dialogues for tuning instead")
    parser.add_argument("--processes", type=int, default=None, help="none: one for each core")
    parser.add_argument("--keep", type=Path, default=None, help="go on with figures kept here")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="where results go")
    given = parser.parse_args(argv)
    try:
        corpus()
    except NoCorpus as error:
        print(f"There are no dialogues: {error}")
        return 2
    seeds = (TUNING_SEEDS if given.tuning else HELD_OUT_SEEDS)[: given.dialogues]
    names = [name for name in given.policies.split(",") if name]
    began = time.perf_counter()
    kind = "tuning" if given.tuning else "held-out"
    given.out.mkdir(parents=True, exist_ok=True)
    tables, broken = list[str](), 0
    with Runs(given.processes, given.keep) as runs:
        for world in given.worlds.split(","):
            name = cast("WorldName", world)
            samples = compare(runs, name, seeds, names)
            tables.append(table(WORLDS[name].name, samples, OFF.name))
            title = f"What drafts cost and save: {WORLDS[name].name}"
            svg = picture(title, points(samples, OFF.name))
            (given.out / f"turns-{world}.svg").write_text(svg, encoding="utf-8")
            broken += sum(figures.broken for sample in samples.values() for figures in sample)
            head = (
                f"{machine_line()}; {len(seeds)} {kind} dialogues for each policy and world;"
                f" {time.perf_counter() - began:.0f} s in all. In brackets: 95 % bootstrap"
                " intervals by dialogue.\n"
            )
            written = "\n".join(["# Turn-taking", "", head, *tables])
            (given.out / "turns.md").write_text(written, encoding="utf-8")
    print(f"\n{written}\nwritten to {given.out / 'turns.md'}, with a picture of each world")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
