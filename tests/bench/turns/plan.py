"""What will be said in a dialogue, drawn beforehand.

All that chance decides is drawn here, turn by turn, from the dialogue's seed, so that every policy
meets the same caller, the same recogniser and the same model. What depends on the policy is when
things happen, and what is not said because somebody was interrupted.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.bench.turns.corpus import Dialogue, spoken
from tests.bench.turns.inventory import ATTENTION, FLOOR
from tests.bench.turns.parameters import (
    MODELS,
    Callers,
    Listener,
    LogNormal,
    Model,
    World,
)

ToolKind = Literal["", "read", "act"]


@dataclass(frozen=True, slots=True)
class Silence:
    """How the confidence rises in a silence: it would reach `final` after ``delay`` seconds.

    Args:
        delay: from the last word's end to the final threshold.
        lead: the reference threshold is crossed so long before.
        peak: the confidence rises no higher.
        told: what is reported instead, where confidence says nothing.
    """

    delay: float
    lead: float
    peak: float
    told: float | None = None

    def confidence(self, after: float, listener: Listener) -> float:
        """What it is so many seconds after the last word."""
        slope = (listener.final - listener.reference) / self.lead
        return min(self.peak, max(0.05, listener.final - (self.delay - after) * slope))


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the caller's.

    Args:
        text: as it was said.
        first: as it is recognised at first.
        final: as it is recognised in the end.
        start: seconds from the utterance's beginning.
        end: likewise.
        silence: what the recogniser makes of the silence behind it, if one follows.
    """

    text: str
    first: str
    final: str
    start: float
    end: float
    silence: Silence | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something the caller says without being asked in between.

    Args:
        words: with the times.
        onset: StartOfTurn comes so long after the first word's start.
        broken: the silence behind it if the caller breaks off.
    """

    words: tuple[Word, ...]
    onset: float
    broken: Silence

    @property
    def seconds(self) -> float:
        """From the first word's start to the last one's end."""
        return self.words[-1].end

    @property
    def text(self) -> str:
        """What was said."""
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class PlannedTurn:
    """A turn of the caller's and the reply to it.

    Args:
        said: the turn.
        reply: the agent's words.
        gap: after the agent's end; negative: before it.
        attention: sounds of attention during the reply, and when they come: seconds into it.
        barge_in: the next turn begins so many seconds into the reply; None: it waits.
        first_token: of the model.
        first_audio: of the voice.
        tool: what the model asks for before it answers.
        tool_seconds: how long that takes.
        hedge: the first token of a second request for the same words.
    """

    said: Utterance
    reply: str
    gap: float
    attention: tuple[tuple[float, Utterance], ...]
    barge_in: float | None
    first_token: float
    first_audio: float
    tool: ToolKind
    tool_seconds: float
    hedge: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A dialogue.

    Args:
        seed: it was drawn from.
        turns: in order.
        stops: the caller stops talking when interrupted.
        model: the name of the language model.
    """

    seed: int
    turns: tuple[PlannedTurn, ...]
    stops: bool
    model: str


class Drawn:
    """Draws what one caller says and how it is recognised.

    Args:
        world: the parameters.
        seed: of the dialogue.
        vocabulary: words that others are mistaken for.
    """

    def __init__(self, world: World, seed: int, vocabulary: Sequence[str]) -> None:
        self.world = world
        self.chance = random.Random(f"caller {seed}")
        self.vocabulary = vocabulary
        callers = world.callers
        self.rate = callers.rate * math.exp(self.chance.gauss(0.0, callers.rate_spread))
        factor = math.exp(self.chance.gauss(0.0, callers.pause_spread))
        self.at_clause = min(0.95, callers.pause_at_clause * factor)
        self.elsewhere = min(0.5, callers.pause_elsewhere * factor)

    def utterance(self, words: Sequence[str]) -> Utterance:
        """Say these words, with pauses in between and a silence behind."""
        said, at = [], 0.0
        for n, word in enumerate(words):
            length = self._length(word)
            last = n == len(words) - 1
            clause = word[-1] in ",.!?;:"
            pause = 0.0
            silence: Silence | None = None
            if last:
                silence = end_silence(self.chance, self.world.listener)
            elif self.chance.random() < (self.at_clause if clause else self.elsewhere):
                pause = pause_length(self.chance, self.world.callers)
                silence = hold_silence(self.chance, self.world.listener, clause)
            final = self._recognised(word)
            first = self._mistaken(word) if self._one_in(self.world.listener.rewritten) else final
            if silence is not None:
                first = final
            said.append(Word(word, first, final, at, at + length, silence))
            at += length + pause
        onset = self.chance.uniform(*self.world.listener.onset)
        return Utterance(tuple(said), onset, end_silence(self.chance, self.world.listener))

    def _length(self, word: str) -> float:
        """Long words take longer; on average it is the caller's rate."""
        letters = len(word.strip(",.!?;:"))
        return (0.5 + 0.12 * letters) / self.rate * self.chance.uniform(0.85, 1.15)

    def _recognised(self, word: str) -> str:
        return self._mistaken(word) if self._one_in(self.world.listener.errors) else word

    def _mistaken(self, word: str) -> str:
        ending = word[-1] if word[-1] in ",.!?;:" else ""
        other = self.chance.choice(self.vocabulary)
        return other.strip(",.!?;:") + ending

    def _one_in(self, share: float) -> bool:
        return self.chance.random() < share


def draw_plan(world: World, seed: int, talk: Dialogue) -> Plan:
    """Draw a dialogue with these words."""
    vocabulary = sorted({word for exchange in talk for word in exchange.caller})
    drawn = Drawn(world, seed, vocabulary)
    model = MODELS[seed % len(MODELS)]
    stops = drawn.chance.random() < world.callers.stops
    turns: list[PlannedTurn] = []
    breaks_in = False
    for exchange in talk:
        drawn.chance = random.Random(f"caller {seed} turn {len(turns)}")
        words = _words(drawn, exchange.caller, breaks_in=breaks_in)
        turn = _turn(drawn, model, words, exchange.agent)
        breaks_in = turn.barge_in is not None
        turns.append(turn)
    return Plan(seed, tuple(turns), stops, model.name)


def _words(drawn: Drawn, words: tuple[str, ...], *, breaks_in: bool) -> tuple[str, ...]:
    callers, chance = drawn.world.callers, drawn.chance
    if breaks_in:
        if chance.random() < callers.barge_in_words:
            opening = spoken(chance.choice(FLOOR).capitalize(), 3)
            return (*opening[:-1], opening[-1].rstrip(".") + ",", *words)
        return words
    if chance.random() < callers.answers:
        return spoken(chance.choice(ATTENTION).capitalize(), 3)
    return words


def _turn(drawn: Drawn, model: Model, words: tuple[str, ...], reply: str) -> PlannedTurn:
    world, chance = drawn.world, drawn.chance
    said = drawn.utterance(words)
    gap = chance.gauss(world.callers.gap, world.callers.gap_spread)
    seconds = world.backends.per_character * len(reply)
    barge_in = None
    if chance.random() < world.callers.barge_in and seconds > 2.0:
        barge_in = chance.uniform(0.8, seconds - 1.0)
    kind = chance.random()
    backends = world.backends
    tool: ToolKind = "read" if kind < backends.reads else ""
    if backends.reads <= kind < backends.reads + backends.acts:
        tool = "act"
    return PlannedTurn(
        said,
        reply,
        max(world.callers.gap_earliest, gap),
        _attention(drawn, seconds if barge_in is None else barge_in - 1.0),
        barge_in,
        draw(chance, model.first_token),
        draw(chance, backends.first_audio),
        tool,
        chance.uniform(*backends.tool),
        draw(chance, model.first_token),
    )


def _attention(drawn: Drawn, seconds: float) -> tuple[tuple[float, Utterance], ...]:
    """Sounds of attention, at least two seconds apart, none in the last second of a reply."""
    found: list[tuple[float, Utterance]] = []
    at = 0.5 + drawn.chance.expovariate(drawn.world.callers.backchannels)
    while at < seconds - 1.5:
        words = spoken(drawn.chance.choice(ATTENTION).capitalize(), 3)
        found.append((at, drawn.utterance(words)))
        at += 2.0 + drawn.chance.expovariate(drawn.world.callers.backchannels)
    return tuple(found)


# ----------------------------------------------------------------------------- distributions


def draw(chance: random.Random, what: LogNormal) -> float:
    """A value of the distribution."""
    return what.median * math.exp(chance.gauss(0.0, what.sigma))


def pause_length(chance: random.Random, callers: Callers) -> float:
    """How long a pause inside a turn lasts, in seconds."""
    exponent = -1.0 / callers.pause_exponent
    length: float = callers.pause_least * (1.0 - chance.random()) ** exponent
    return min(length, callers.pause_longest)


def end_silence(chance: random.Random, listener: Listener) -> Silence:
    """The silence at the end of a turn."""
    delay, lead = _times(chance, listener)
    peak = 0.95
    if chance.random() < listener.undetected:
        peak = chance.uniform(listener.reference, listener.final - 0.01)
    return Silence(delay, lead, peak, _told(chance, listener))


def hold_silence(chance: random.Random, listener: Listener, clause: bool) -> Silence:
    """A pause inside a turn: the share that reaches a threshold falls as the threshold rises."""
    delay, lead = _times(chance, listener)
    weight = hold_weight(clause, listener)
    eager = min(0.98, listener.hold_eager * weight)
    final = min(0.9 * eager, reach_final(listener) * weight)
    return Silence(delay, lead, _peak(chance, listener, eager, final), _told(chance, listener))


def _peak(chance: random.Random, listener: Listener, eager: float, final: float) -> float:
    """P(peak > threshold) falls from ``eager`` at the reference to ``final`` along a line."""
    span = listener.final - listener.reference
    slope = (eager - final) / span
    share = chance.random()
    if share < final:
        return 0.95
    if not listener.says_something:
        return listener.final - 0.01 if share < eager else 0.2
    return max(0.05, listener.reference + (eager - share) / slope)


CLAUSES = 0.38
"""Share of the pauses in the corpus that follow a comma or a full stop (measured)."""


def hold_weight(clause: bool, listener: Listener) -> float:
    """By how much likelier a pause looks like an end; 1 on average."""
    elsewhere = 1.0 / (CLAUSES * listener.clause_share + 1.0 - CLAUSES)
    return listener.clause_share * elsewhere if clause else elsewhere


def reach_final(listener: Listener) -> float:
    """Share of pauses that would reach the final threshold if they were long enough."""
    return listener.hold_final / OUTLASTS


OUTLASTS = 0.6
"""Share of pauses that outlast the delay and the frame it falls into (measured)."""


def _times(chance: random.Random, listener: Listener) -> tuple[float, float]:
    """Delay and lead of one silence: both have their distributions, and slow ends long leads."""
    plain = Listener()
    delay = draw(chance, plain.delay)
    ratio = plain.lead.median / plain.delay.median
    sigma = math.sqrt(max(0.0, plain.lead.sigma**2 - plain.delay.sigma**2))
    share = min(listener.longest_lead, ratio * math.exp(chance.gauss(0.0, sigma)))
    before = delay * (1.0 - share)
    lead = delay * share * listener.lead.median / plain.lead.median
    return before + lead, lead


def _told(chance: random.Random, listener: Listener) -> float | None:
    told = chance.uniform(0.3, 0.95)
    return None if listener.says_something else told
