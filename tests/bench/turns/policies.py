"""The policies that are compared."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentkit.core.economy import Budget, Early, Pace, Tuning
from agentkit.core.policy import Interruption, Speculation
from tests.bench.turns.call import BenchAgent


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy.

    Args:
        name: for the table.
        speculation: how far replies are drafted, and when.
        eager: the eager threshold that a call begins with; None: no EagerEndOfTurn.
        pace: how soon an answer may be heard.
        interruption: when the caller takes the floor.
    """

    name: str
    speculation: Speculation
    eager: float | None = 0.4
    pace: Pace = field(default_factory=Pace)
    interruption: Interruption = field(default_factory=Interruption)

    @property
    def floor(self) -> float:
        """Seconds from the caller's last word before which no answer is sent."""
        return self.pace.floor

    def agent(self) -> BenchAgent:
        """An agent that keeps to it."""
        agent = BenchAgent()
        agent.speculation = self.speculation
        agent.pace = self.pace
        agent.interruption = self.interruption
        return agent


OFF = Candidate("no draft", Speculation(mode="off"), None)
ADAPTIVE = Speculation(mode="adaptive")
WORDS = Interruption(hold="words", unlisted=3)
"""Chosen with the dialogues for tuning, as the paces are."""


def adaptive(exchange: float) -> Speculation:
    """Drafts where the caller's pauses have shown them to be worth it, at most 35 in 100 turns.

    A draft begins at the EagerEndOfTurn or not at all, with the threshold as low as it can be: both
    were chosen with the dialogues for tuning.

    Args:
        exchange: seconds that have to be saved for one draft that is lost.
    """
    tuning = Tuning(exchange=exchange, delays=(0.0,), threshold=False)
    return Speculation(mode="adaptive", tuning=tuning, budget=Budget(share=0.35))


def candidates() -> tuple[Candidate, ...]:
    """Those of the table."""
    return (
        OFF,
        Candidate("LLM", Speculation(depth="llm")),
        Candidate("speech", Speculation()),
        Candidate("ladder", Speculation(early=Early(finished=True))),
        Candidate("adaptive", ADAPTIVE),
        Candidate("adaptive 0.2", adaptive(0.2), eager=0.3),
        Candidate("adaptive + words", ADAPTIVE, interruption=WORDS),
        Candidate("adaptive + pace 1.2", ADAPTIVE, pace=Pace(1.2)),
        Candidate("adaptive + words + pace 1.5", ADAPTIVE, pace=Pace(1.5), interruption=WORDS),
        Candidate("no draft + words + pace 1.5", OFF.speculation, None, Pace(1.5), WORDS),
    )
