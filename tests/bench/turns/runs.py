"""Many calls, in as many processes as there are cores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import structlog

from tests.bench.turns.call import run_call
from tests.bench.turns.corpus import Dialogue, dialogue, halves
from tests.bench.turns.measures import Figures, measure
from tests.bench.turns.parameters import HELD_OUT_SEEDS, WORLDS, World, WorldName
from tests.bench.turns.plan import draw_plan
from tests.bench.turns.policies import Candidate

CHUNK = 8
"""Dialogues that a process takes at a time."""


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
    """

    def __init__(self, processes: int | None = None) -> None:
        self._count = processes or len(os.sched_getaffinity(0))

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
        done = [self._pool.submit(_run, candidate, world, part) for part in parts]
        return [figures for future in done for figures in future.result()]


def quiet() -> None:
    """Let the sessions log nothing but errors."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
