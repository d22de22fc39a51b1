"""What the drafts of all calls of a process cost together (T9)."""

from __future__ import annotations

import asyncio
import tracemalloc

from agentkit.core import commands as cmd
from agentkit.core.economy import Budget, Cost
from agentkit.economy import Economy
from agentkit.testing.clock import in_virtual_time


def lost(tokens: int = 10, price: float = 0.1) -> cmd.DraftBooked:
    return cmd.DraftBooked(0, 0, "eager", False, "words", Cost(input=tokens, price=price))


def lose(economy: Economy, times: int) -> None:
    with economy.call(lambda _: None) as account:
        for _ in range(times):
            account.begin()
            account.book(lost())


@in_virtual_time()
async def test_T9_what_no_budget_asks_for_is_not_kept() -> None:
    """A process takes calls for months."""
    economy = Economy()
    lose(economy, 10)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        lose(economy, 2000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2000


@in_virtual_time()
async def test_T9_what_was_lost_is_given_back_when_its_window_is_over() -> None:
    economy = Economy(shared=Budget(drafts=4, price=0.35), window=60.0)
    lose(economy, 1)
    await asyncio.sleep(30)
    lose(economy, 2)
    assert economy.left == 1
    lose(economy, 1)
    assert economy.left == 0
    await asyncio.sleep(31)
    assert economy.left == 1, "of four the first is forgotten"
    await asyncio.sleep(30)
    assert economy.left == 4
    lose(economy, 3)
    assert economy.left == 1, "three times 0.1 are less than 0.35, also after much adding"
