"""What became of a call, counted as it goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agentkit.core import commands as cmd
from agentkit.core.economy import Ledger
from agentkit.core.history import Message


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """A committed turn.

    Args:
        id: its number.
        text: what the caller said.
        outcome: what became of it.
        times: when things happened, in seconds on the session's clock.
    """

    id: int
    text: str
    outcome: cmd.Outcome | None = None
    times: cmd.TurnTimes | None = None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What `Session.run` returns. It holds what the caller said: it is personal data.

    Args:
        reason: why the call ended.
        turns: the committed turns, in order.
        messages: the conversation; of the agent's words only what was heard.
        drafts: how many were begun, were ``committed``, and discarded, by reason.
        errors: codes of the failures that were the caller's concern.
        oddities: what the source did out of order, counted by kind (rule T13).
        ledger: what the drafts cost and saved (rule T9).
    """

    reason: str
    turns: tuple[TurnRecord, ...]
    messages: tuple[Message, ...]
    drafts: Mapping[str, int]
    errors: tuple[str, ...]
    oddities: Mapping[str, int]
    ledger: Ledger = field(default_factory=Ledger)


class Summary:
    """Collects a `CallRecord` from the commands of a call."""

    def __init__(self) -> None:
        self._turns: dict[int, TurnRecord] = {}
        self._drafts: Counter[str] = Counter()
        self._open_drafts: set[int] = set()
        self._errors: list[str] = []
        self._oddities: Counter[str] = Counter()

    def take(self, commands: Sequence[cmd.Command]) -> None:
        """Count what was decided."""
        for command in commands:
            match command:
                case cmd.StartReply(draft=True):
                    self._drafts["begun"] += 1
                    self._open_drafts.add(command.reply)
                case cmd.Commit():
                    self._drafts["committed"] += 1
                    self._open_drafts.discard(command.reply)
                case cmd.Discard() if command.reply in self._open_drafts:
                    self._drafts[command.reason] += 1
                    self._open_drafts.discard(command.reply)
                case cmd.TurnCommitted():
                    self._turns[command.turn] = TurnRecord(command.turn, command.text)
                case cmd.TurnClosed():
                    turn = self._turns[command.turn]
                    self._turns[command.turn] = replace(
                        turn, outcome=command.outcome, times=command.times
                    )
                case cmd.ErrorRaised():
                    self._errors.append(command.code)
                case cmd.Oddity():
                    self._oddities[command.kind] += 1
                case _:
                    pass

    def record(self, reason: str, messages: tuple[Message, ...], ledger: Ledger) -> CallRecord:
        """All that was counted."""
        return CallRecord(
            reason,
            tuple(self._turns.values()),
            messages,
            dict(self._drafts),
            tuple(self._errors),
            dict(self._oddities),
            ledger,
        )
