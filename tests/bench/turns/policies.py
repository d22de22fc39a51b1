"""The policies that are compared."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentkit.core.economy import Early, Pace
from agentkit.core.policy import Speculation
from tests.bench.turns.call import BenchAgent


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy.

    Args:
        name: for the table.
        speculation: how far replies are drafted, and when.
        eager: the eager threshold that a call begins with; None: no EagerEndOfTurn.
        pace: how soon an answer may be heard.
    """

    name: str
    speculation: Speculation
    eager: float | None = 0.4
    pace: Pace = field(default_factory=Pace)

    @property
    def floor(self) -> float:
        """Seconds from the caller's last word before which no answer is sent."""
        return self.pace.floor

    def agent(self) -> BenchAgent:
        """An agent that keeps to it."""
        agent = BenchAgent()
        agent.speculation = self.speculation
        agent.pace = self.pace
        return agent


OFF = Candidate("no draft", Speculation(mode="off"), None)
LADDER = Speculation(early=Early(finished=True))
PACE = Pace(floor=0.5)


def candidates() -> tuple[Candidate, ...]:
    """Those of the table."""
    return (
        OFF,
        Candidate("LLM", Speculation(depth="llm")),
        Candidate("speech", Speculation(depth="speech")),
        Candidate("ladder", LADDER),
        Candidate("adaptive", Speculation(mode="adaptive")),
        Candidate("adaptive, pace", Speculation(mode="adaptive"), pace=PACE),
    )
