"""The accounts of drafts: what each takes, what all may take, and the ledger of a call (T9)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from agentkit.core.commands import (
    Command,
    DraftBooked,
    DraftDeclined,
    Outcome,
    TuneSource,
    TurnClosed,
    TurnCommitted,
)
from agentkit.core.economy import Budget, Cost, Declined, Ledger, Prices, Rung

_CHARACTERS = 4
"""Characters of a token of text, about (help.openai.com/en/articles/4936856)."""
_USUAL_REPLY = 40
"""Tokens of a reply, before one was seen."""


def tokens(characters: int) -> int:
    """About how many tokens so many characters are."""
    return -(-characters // _CHARACTERS)


@dataclass(slots=True)
class Account:
    """What one draft has taken so far."""

    rung: Rung
    input: int = 0
    cached: int = 0
    output: int = 0
    asked: int = 0
    """Estimated tokens of the prompt of a request that is not counted yet."""
    counted_to: int = 0
    """Characters of the reply's text that are in ``output`` already."""
    characters: int = 0
    guessed: bool = False
    kept: Cost | None = None
    """What it had taken when its turn was over: from then on a reply takes it, not a draft."""

    def ask(self, input: int, written: int) -> None:
        """A request is about to be made; the one before it, if it was never counted, is guessed."""
        if self.asked:
            self.count(self.asked, tokens(written - self.counted_to), 0, written)
            self.guessed = True
        self.asked = input

    def count(self, input: int, output: int, cached: int, written: int) -> None:
        """The provider has counted the request."""
        self.input += input
        self.output += output
        self.cached += cached
        self.asked, self.counted_to = 0, written

    def cost(self, written: int, prices: Prices) -> Cost:
        """All of it, with ``written`` characters of text by now."""
        prompt = self.input + self.asked
        output = self.output + tokens(written - self.counted_to)
        price = prices.of(prompt, self.cached, output, self.characters)
        return Cost(prompt, self.cached, output, self.characters, price)

    def is_estimated(self, written: int) -> bool:
        """Some of it is no count of the provider's."""
        return self.guessed or self.asked > 0 or written > self.counted_to


class Spending:
    """What the drafts of a call have taken, against its budget.

    Counted are drafts that were lost and those that are not over. What a reply takes after its
    commit is no draft's.
    """

    def __init__(self) -> None:
        self.books = Books()
        self._open: dict[int, tuple[Account, int]] = {}
        """By reply: its account, and how much text it has."""
        self._lost = Cost()
        self._count = 0
        self._last_input = 0
        self._replies = 0
        self._outputs = 0

    @property
    def at_risk(self) -> int:
        """Drafts that were lost, or may yet be."""
        return self._count + len(self._open)

    def open(self, reply: int, rung: Rung) -> None:
        """A draft begins."""
        self._open[reply] = (Account(rung), 0)

    def wrote(self, reply: int, written: int) -> None:
        """So many characters of its text are there."""
        if found := self._open.get(reply):
            self._open[reply] = (found[0], written)

    def speak(self, reply: int, characters: int) -> None:
        """So much more of the draft's text is given to the voice."""
        self._open[reply][0].characters += characters

    def ask(self, reply: int, input: int) -> None:
        """The model is about to be asked, by a draft or by another reply."""
        self._last_input = input
        if found := self._open.get(reply):
            found[0].ask(input, found[1])

    def count(self, reply: int, input: int, output: int, cached: int) -> None:
        """The provider has counted."""
        self._last_input = input
        self._replies += 1
        self._outputs += output
        if found := self._open.get(reply):
            found[0].count(input, output, cached, found[1])

    def commit(self, reply: int, prices: Prices) -> None:
        """Its turn is over: what follows is the reply's."""
        if found := self._open.get(reply):
            found[0].kept = found[0].cost(found[1], prices)

    def close(self, reply: int, prices: Prices, *, adopted: bool) -> tuple[Cost, bool]:
        """It is over. Returns what it took in all, and whether some of that is estimated."""
        account, written = self._open.pop(reply)
        cost = account.cost(written, prices)
        if not adopted:
            self._count += 1
            self._lost += account.kept or cost
        return cost, account.is_estimated(written)

    def spent(self, prices: Prices) -> Cost:
        """What counts against a budget now."""
        total = self._lost
        for account, written in self._open.values():
            total += account.kept or account.cost(written, prices)
        return total

    def estimate(self, prices: Prices) -> Cost:
        """What another draft would take, going by those before it."""
        output = self._outputs // self._replies if self._replies else _USUAL_REPLY
        prompt = self._last_input
        return Cost(prompt, 0, output, 0, prices.of(prompt, 0, output, 0))

    def declines(self, budget: Budget, prices: Prices, turns: int) -> Declined | None:
        """Which part of the budget another draft would go beyond."""
        if budget.unlimited:
            return None
        if budget.drafts is not None and self.at_risk >= budget.drafts:
            return "drafts"
        if budget.share is not None and self.at_risk > budget.share * (turns + 1):
            return "share"
        return self.beyond(budget, self.spent(prices) + self.estimate(prices))

    @staticmethod
    def beyond(budget: Budget, cost: Cost) -> Declined | None:
        """Which part of the budget this is beyond."""
        if budget.input is not None and cost.input > budget.input:
            return "input"
        if budget.output is not None and cost.output > budget.output:
            return "output"
        if budget.price is not None and cost.price > budget.price:
            return "price"
        return None  # the voice is given no character too many

    def characters_left(self, budget: Budget, prices: Prices) -> int | None:
        """How much text the voice may still be given for drafts; None: any amount."""
        if budget.characters is None:
            return None
        return budget.characters - self.spent(prices).characters


class Books:
    """A `Ledger` put together from a call's commands."""

    def __init__(self) -> None:
        self.turns = 0
        self._adopted = self._moves = self._estimated = 0
        self._lost: Counter[str] = Counter()
        self._cost_adopted = Cost()
        self._cost_lost: dict[str, Cost] = {}
        self._saved = 0.0
        self._declined: Counter[str] = Counter()

    def take(self, command: Command) -> None:
        """Note what it says of drafts; other commands are passed over."""
        match command:
            case DraftBooked():
                self._book(command)
            case DraftDeclined(reason=reason):
                self._declined[reason] += 1
            case TuneSource():
                self._moves += 1
            case TurnCommitted():
                self.turns += 1
            case TurnClosed(outcome=outcome):
                self.closed(outcome)
            case _:
                pass

    def closed(self, outcome: Outcome) -> None:
        """A turn that became one with the next is not counted twice."""
        self.turns -= outcome == "merged"

    def _book(self, draft: DraftBooked) -> None:
        self._estimated += draft.estimated
        self._saved += draft.saved
        if draft.adopted:
            self._adopted += 1
            self._cost_adopted += draft.cost
        else:
            reason = str(draft.reason)
            self._lost[reason] += 1
            self._cost_lost[reason] = self._cost_lost.get(reason, Cost()) + draft.cost

    def ledger(self, prices: Prices) -> Ledger:
        """All of it by now. ``prices`` are those of the call, for their currency."""
        return Ledger(
            adopted=self._adopted,
            lost=dict(self._lost),
            cost_adopted=self._cost_adopted,
            cost_lost=dict(self._cost_lost),
            saved=self._saved,
            turns=self.turns,
            declined=dict(self._declined),
            moves=self._moves,
            estimated=self._estimated,
            currency=prices.currency if prices.known else "",
        )
