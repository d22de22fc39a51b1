"""The policies that are compared."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentkit.core.economy import Budget, Early, Pace, Tuning
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
        patient: up to two words while the agent talks take no floor, whatever they are.
    """

    name: str
    speculation: Speculation
    eager: float | None = 0.4
    pace: Pace = field(default_factory=Pace)
    patient: bool = False

    @property
    def floor(self) -> float:
        """Seconds from the caller's last word before which no answer is sent."""
        return self.pace.floor

    def agent(self) -> BenchAgent:
        """An agent that keeps to it."""
        agent = PatientAgent() if self.patient else BenchAgent()
        agent.speculation = self.speculation
        agent.pace = self.pace
        return agent


class PatientAgent(BenchAgent):
    """Needs three words to be interrupted, and no list."""

    def takes_floor(self, text: str, saying: str) -> bool | None:
        """Whether the caller takes the floor with these words."""
        return False if len(text.split()) <= 2 else None


OFF = Candidate("no draft", Speculation(mode="off"), None)
PACE = Pace(floor=0.5)


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
        Candidate("adaptive", Speculation(mode="adaptive")),
        Candidate("adaptive 0.2", adaptive(0.2), eager=0.3),
        Candidate("adaptive 0.3", adaptive(0.3), eager=0.3),
        Candidate("adaptive 0.2 and pace", adaptive(0.2), eager=0.3, pace=PACE),
        Candidate("speech, patient", Speculation(), patient=True),
    )
