"""Many calls, in as many processes as there are cores."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import structlog

from tests.bench.turns.call import run_call
from tests.bench.turns.corpus import Dialogue, dialogue, halves
from tests.bench.turns.measures import Figures, measure
from tests.bench.turns.parameters import HELD_OUT_SEEDS, WORLDS, World, WorldName
from tests.bench.turns.plan import draw_plan
from tests.bench.turns.policies import Candidate

CHUNK = 8
"""Dialogues that a process takes at a time, and that are kept together."""


@cache
def talk(seed: int) -> Dialogue:
    """The wording of a dialogue: seeds that are held out have their own half of the corpus."""
    world = World()
    chats = halves()[seed >= HELD_OUT_SEEDS.start]
    return dialogue(
        seed, chats, turns=world.turns, words=world.words, reply_words=world.reply_words
    )


def run_one(candidate: Candidate, world: World, seed: int) -> Figures:
    """One call of one policy."""
    plan = draw_plan(world, seed, talk(seed))
    call = run_call(plan, world, candidate.agent, candidate.eager)
    budget = candidate.speculation.budget
    return measure(call, world.backends, candidate.floor, budget)


def _run(candidate: Candidate, name: WorldName, seeds: Sequence[int]) -> list[Figures]:
    return [run_one(candidate, WORLDS[name], seed) for seed in seeds]


class Runs:
    """A context manager in which policies can be tried on dialogues.

    Args:
        processes: how many; None: one for each core.
        keep: a folder in which figures are kept, and found again while no source has changed: what
            was broken off goes on where it was. Files of others do not belong there.
    """

    def __init__(self, processes: int | None = None, keep: Path | None = None) -> None:
        self._count = processes or len(os.sched_getaffinity(0))
        self._keep = keep
        self._sources = sources() if keep else ""

    def __enter__(self) -> Runs:
        """Start the processes."""
        self._pool = ProcessPoolExecutor(self._count, initializer=quiet)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them."""
        self._pool.shutdown(cancel_futures=True)

    def of(self, candidate: Candidate, world: WorldName, seeds: Sequence[int]) -> list[Figures]:
        """The figures of each dialogue, in the order of the seeds."""
        parts = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
        files = [self._file(candidate, world, part) for part in parts]
        missing = [n for n, file in enumerate(files) if file is None or not file.exists()]
        done = {n: self._pool.submit(_run, candidate, world, parts[n]) for n in missing}
        found: list[Figures] = []
        for n, file in enumerate(files):
            if file is None:
                found += done[n].result()
                continue
            if n in done:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(pickle.dumps(done[n].result()))
            found += pickle.loads(file.read_bytes())
        return found

    def _file(self, candidate: Candidate, world: WorldName, part: Sequence[int]) -> Path | None:
        """Where these figures are kept: a name for all that they depend on."""
        if self._keep is None:
            return None
        what = f"{self._sources} {candidate} {world} {list(part)}"
        return self._keep / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.pickle"


def sources() -> str:
    """A name for the sources that calls are made of."""
    here = Path(__file__).resolve()
    folders = (here.parents[3] / "agentkit", here.parent)
    files = sorted(file for folder in folders for file in folder.rglob("*.py"))
    made = hashlib.sha256()
    for file in files:
        if file.name not in ("__main__.py", "audio.py", "policies.py", "report.py"):
            made.update(file.read_bytes())
    return made.hexdigest()


def quiet() -> None:
    """Let the sessions log nothing but errors."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
