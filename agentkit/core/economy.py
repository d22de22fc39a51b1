"""What drafts may cost, and what they are worth: the settings (T9), and the figures. Pure data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from agentkit.errors import ConfigError

Mode = Literal["off", "fixed", "adaptive"]

Rung = Literal["rest", "eager", "expected"]
"""What a draft was begun for: words at rest in an Update, the turn's maybe-end, or an answer that
was expected before it was given."""

Declined = Literal[
    "drafts", "input", "output", "price", "share",  # of the call's budget
    "process",  # the budget of all calls together
    "worth",    # it would cost more than it saves
]  # fmt: skip
"""Why no draft is begun: the part of a budget that is used up, or its worth."""


@dataclass(frozen=True, slots=True)
class Early:
    """When a draft is begun before the source says that the turn may have ended. Off as it stands.

    The words of an Update have to be at rest. What the source thinks of the turn's end may only
    hold such a draft back; it is never taken for an end.

    Args:
        rest: seconds for which an open turn's words have to stay the same; None: no such draft.
        finished: an Update whose words end in ``.``, ``!`` or ``?``, and whose end-of-turn
            confidence is above that of the Update before, is at rest at once.
        confidence: 0 to 1; with less end-of-turn confidence than this, neither counts.
    """

    rest: float | None = None
    finished: bool = False
    confidence: float = 0.0

    def __post_init__(self) -> None:
        at_least("early", rest=self.rest)
        share("early", confidence=self.confidence)

    @property
    def wanted(self) -> bool:
        """There is such a draft at all."""
        return self.finished or self.rest is not None


@dataclass(frozen=True, slots=True)
class Budget:
    """What drafts may cost beyond the replies that they save (T9). None: no limit.

    A draft counts from its beginning, and counts no more once it is adopted and over: then the
    caller has heard it, and it has cost nothing that the reply would not have cost. So a limit
    bounds what is lost in the worst case, and is never exceeded.

    Args:
        drafts: how many.
        input: tokens of their prompts.
        output: tokens that the model writes for them.
        characters: text given to the voice for them, before their turn is over.
        price: money, in the currency of `Prices`.
        share: drafts for each turn of the caller's, and one more: 0.35 allows 4 in ten turns.
    """

    drafts: int | None = None
    input: int | None = None
    output: int | None = None
    characters: int | None = None
    price: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        at_least("budget", **{one.name: getattr(self, one.name) for one in fields(self)})

    @property
    def unlimited(self) -> bool:
        """It limits nothing."""
        return (
            self.drafts is None
            and self.input is None
            and self.output is None
            and self.characters is None
            and self.price is None
            and self.share is None
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """What the model and the voice cost. All 0: nothing is known of money.

    Args:
        input: for a million tokens of a prompt.
        cached: for a million of those that the provider had in its cache; None: as ``input``.
        output: for a million tokens of text.
        characters: for a million characters given to the voice.
        currency: shown beside amounts.
    """

    input: float = 0.0
    cached: float | None = None
    output: float = 0.0
    characters: float = 0.0
    currency: str = "USD"

    def __post_init__(self) -> None:
        at_least(
            "prices",
            input=self.input,
            cached=self.cached,
            output=self.output,
            characters=self.characters,
        )

    @property
    def known(self) -> bool:
        """Something has a price."""
        return bool(self.input or self.cached or self.output or self.characters)

    def of(self, input: int, cached: int, output: int, characters: int) -> float:
        """The price of so many tokens and characters; ``cached`` is a part of ``input``."""
        for_cached = self.input if self.cached is None else self.cached
        fresh = max(0, input - cached)
        millions = fresh * self.input + cached * for_cached
        millions += output * self.output + characters * self.characters
        return millions / 1_000_000


@dataclass(frozen=True, slots=True)
class Experience:
    """What earlier calls have shown of maybe-ends: a belief to begin with. No words in it.

    Args:
        held: by tenths of end-of-turn confidence, how many held; empty, or ten numbers.
        lost: how many did not.
        leads: seconds from a maybe-end that held to the end of its turn.
        resumes: seconds from one that did not to the caller's going on.
    """

    held: tuple[float, ...] = ()
    lost: tuple[float, ...] = ()
    leads: tuple[float, ...] = ()
    resumes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, counts in (("held", self.held), ("lost", self.lost)):
            if len(counts) not in (0, 10) or any(not 0 <= one < math.inf for one in counts):
                raise ConfigError(f"experience.{name}", "give ten numbers of 0 or more, or none")
        for name, times in (("leads", self.leads), ("resumes", self.resumes)):
            if any(not 0 <= one < math.inf for one in times):
                raise ConfigError(f"experience.{name}", "give seconds of 0 or more")


@dataclass(frozen=True, slots=True)
class Tuning:
    """How `Speculation.mode` ``adaptive`` judges a draft, and moves the eager threshold (T9).

    A draft is begun when ``p x seconds saved > (1 - p) x exchange``: ``p`` is the share of this
    caller's pauses like this one after which the turn ended with the same words; what is saved
    is the head start that they gave. Until much is known of the caller, ``held`` speaks for them.

    Args:
        exchange: seconds that have to be saved for one draft that is lost.
        second: what a second saved is worth, in the currency of `Prices`. With prices set it
            takes the place of ``exchange``: a draft is then judged by what it costs. None: not.
        held: 0 to 1; how many maybe-ends are believed to hold before any was seen.
        weight: how many maybe-ends that belief weighs.
        lead: seconds from a maybe-end to the end that are believed to be usual before any was seen.
        delays: seconds after a maybe-end at which a draft may begin: later ones lose less in
            drafts and save less.
        threshold: the eager threshold is moved on the live connection, where the source can.
        lowest: it is never moved below this. Flux takes 0.3 to 0.9
            (developers.deepgram.com/docs/flux/configuration).
        highest: nor above this, nor above the final threshold.
        step: by how much it moves at a time, at most.
        every: seconds between two moves, at least.
        experience: what earlier calls have shown.
    """

    exchange: float = 0.15
    second: float | None = None
    held: float = 0.6
    weight: float = 4.0
    lead: float = 0.2
    delays: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.4)
    threshold: bool = True
    lowest: float = 0.3
    highest: float = 0.9
    step: float = 0.1
    every: float = 8.0
    experience: Experience = field(default_factory=Experience, repr=False)

    def __post_init__(self) -> None:
        at_least("tuning", exchange=self.exchange, second=self.second, lead=self.lead)
        share("tuning", held=self.held, lowest=self.lowest, highest=self.highest)
        if self.weight <= 0 or not math.isfinite(self.weight):
            raise ConfigError("tuning.weight", f"{self.weight} is not above 0")
        if not self.delays or any(not 0 <= one < 60 for one in self.delays):
            raise ConfigError("tuning.delays", "give one or more of 0 to 60 seconds")
        if self.lowest > self.highest:
            raise ConfigError("tuning.lowest", f"{self.lowest} is above highest, {self.highest}")
        if not 0.01 <= self.step <= 1:
            raise ConfigError("tuning.step", f"{self.step} is not from 0.01 to 1")
        if self.every < 1:
            raise ConfigError("tuning.every", f"{self.every} is less than 1 second")


@dataclass(frozen=True, slots=True)
class Pace:
    """The least time before an answer is heard, for those who find an instant one unnatural.

    It is made ready meanwhile, so a floor costs nothing but the time.

    Args:
        floor: seconds; 0: the answer is heard as soon as there is one.
        after: where the floor begins: the end of the caller's ``speech``, where the source tells
            it, else of the turn; or the end of the ``turn``.
        jitter: up to so many seconds more, another share of them for each turn.
        seed: another number gives other shares; they are the same each time.
    """

    floor: float = 0.0
    after: Literal["speech", "turn"] = "speech"
    jitter: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("pace", floor=self.floor, jitter=self.jitter)
        if self.after not in ("speech", "turn"):
            raise ConfigError("pace.after", f"{self.after!r} is not one of 'speech', 'turn'")

    def wait(self, turn: int) -> float:
        """Seconds from where the floor begins to where the answer to this turn may be heard."""
        return self.floor + self.jitter * math.modf((turn + 1) * _GOLDEN + self.seed * _PLASTIC)[0]


_GOLDEN, _PLASTIC = 0.618033988749895, 0.754877666246693
"""Whose multiples spread evenly between whole numbers."""


# ----------------------------------------------------------------------------------- the figures


@dataclass(frozen=True, slots=True)
class Cost:
    """What a draft took.

    Args:
        input: tokens of its prompts.
        cached: how many of these the provider had in its cache.
        output: tokens that the model wrote.
        characters: text given to the voice.
        price: of all that, where `Prices` are set.
    """

    input: int = 0
    cached: int = 0
    output: int = 0
    characters: int = 0
    price: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.input + other.input,
            self.cached + other.cached,
            self.output + other.output,
            self.characters + other.characters,
            self.price + other.price,
        )

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.input - other.input,
            self.cached - other.cached,
            self.output - other.output,
            self.characters - other.characters,
            self.price - other.price,
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the drafts of a call cost and gave, each draft in it exactly once.

    Args:
        adopted: how many became the reply that was heard.
        lost: how many did not, by reason (`agentkit.core.commands.DiscardReason`).
        cost_adopted: what the adopted ones took; their replies would have taken it anyway.
        cost_lost: what the others took, by reason.
        saved: seconds that callers waited less.
        turns: committed turns.
        declined: how often a draft was not begun, by reason (`Declined`).
        moves: how often the eager threshold was moved.
        estimated: drafts whose tokens are partly estimated: the provider did not say.
        currency: of the prices; "": there are none.
    """

    adopted: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    cost_adopted: Cost = Cost()
    cost_lost: dict[str, Cost] = field(default_factory=dict)
    saved: float = 0.0
    turns: int = 0
    declined: dict[str, int] = field(default_factory=dict)
    moves: int = 0
    estimated: int = 0
    currency: str = ""

    @property
    def drafts(self) -> int:
        """All that were begun and are over."""
        return self.adopted + self.extra

    @property
    def extra(self) -> int:
        """Those that were lost."""
        return sum(self.lost.values())

    @property
    def wasted(self) -> Cost:
        """What these took."""
        return sum(self.cost_lost.values(), Cost())

    @property
    def saved_per_extra(self) -> float | None:
        """Seconds saved for each draft that was lost; None: none was."""
        return self.saved / self.extra if self.extra else None

    def describe(self) -> str:
        """All of it in a line, for people."""
        lost = ", ".join(f"{count} {reason}" for reason, count in sorted(self.lost.items()))
        parts = [
            f"{_count(self.drafts, 'draft')}: {self.adopted} heard, "
            f"{self.extra} lost{f' ({lost})' if lost else ''}"
        ]
        if self.extra:
            about = "about " if self.estimated else ""
            parts.append(f"lost in them: {about}{_told(self.wasted, self.currency)}")
        parts.append(f"{self.saved:.2f} s saved")
        if self.saved_per_extra is not None:
            parts[-1] += f", {self.saved_per_extra * 1000:.0f} ms for each that was lost"
        if self.declined:
            why = ", ".join(f"{count} {name}" for name, count in sorted(self.declined.items()))
            parts.append(f"not begun: {why}")
        if self.moves:
            parts.append(f"the eager threshold was moved {_count(self.moves, 'time')}")
        return "; ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _told(cost: Cost, currency: str) -> str:
    cached = f" ({cost.cached:,} of them cached)" if cost.cached else ""
    told = f"{cost.input:,} tokens in{cached}, {cost.output:,} out, {cost.characters:,} characters"
    return f"{told}, {cost.price:.4f} {currency}" if currency else told


# -------------------------------------------------------------------------------------- checking


def at_least(owner: str, least: float = 0.0, **values: float | None) -> None:
    """Raise ConfigError for the first of the values that is less, or no number."""
    for name, value in values.items():
        if value is not None and not value >= least:
            raise ConfigError(f"{owner}.{name}", f"{value} is not {least:g} or more")


def share(owner: str, **values: float) -> None:
    """Raise ConfigError for the first of the values that is not from 0 to 1."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{owner}.{name}", f"{value} is not from 0 to 1")
