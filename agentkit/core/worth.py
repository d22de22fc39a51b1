"""What a draft is worth, learned from a caller's pauses (T9).

A *pause* begins where a draft might: at a maybe-end, or where words have come to rest. It holds if
the turn then ends with the same words, else the caller goes on. Counts of both, by the highest
end-of-turn confidence that the pause came to, say how likely the next one holds; how long pauses
took either way says what a draft that begins after a delay would save, and how often it would
still be lost. Pauses count whether there was a draft or not, so nothing has to be tried out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from agentkit.core.economy import Experience, Pace, Rung, Tuning

BUCKETS = 10
"""Of confidence: tenths."""
_REMEMBERED = 64
"""Pauses whose lengths are kept."""
_USUAL_WORK = 0.6
"""Seconds from a draft's beginning to its first audio, before one was seen."""
_USUAL_DELAY = 0.45
"""Seconds from the last word of a turn to its end, before one was seen."""
_SMOOTH = 0.25
"""How much a new such time counts."""
_ENOUGH = 3
"""Pauses that show whether a threshold is worth it."""
_LEADS = (0.5, 0.75, 1.0, 1.25, 1.75)
"""Times the usual lead: how leads lie around it, before any was seen."""
_RESUMED = (0.02, 0.073, 0.16, 0.341, 1.045)
"""Seconds after 0.25 s of silence in which a caller who pauses goes on, at the 10th to 90th
percentile, if the share of pauses longer than d is (d / 0.2 s) ** -1.4, before any was seen: that
follows what is published of real speech to agents (github.com/livekit/eot-bench)."""


def bucket_of(confidence: float) -> int:
    """The tenth in which a confidence lies."""
    return min(max(int(confidence * BUCKETS + 1e-9), 0), BUCKETS - 1)


@dataclass(slots=True)
class Pause:
    """One that is going on."""

    rung: Rung
    began: float
    words: str
    lowest: int
    highest: int

    def reach(self, confidence: float) -> None:
        """The confidence has come so high."""
        self.highest = max(self.highest, bucket_of(confidence))


@dataclass(slots=True)
class _Seen:
    """How pauses of one rung ended."""

    held: list[float] = field(default_factory=lambda: [0.0] * BUCKETS)
    lost: list[float] = field(default_factory=lambda: [0.0] * BUCKETS)
    leads: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    resumes: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def count(self, bucket: int) -> float:
        return self.held[bucket] + self.lost[bucket]


class Judge:
    """What is known of one caller.

    Args:
        tuning: how to judge.
    """

    pace = Pace()
    """The conversation's by now: what a draft saves beyond it nobody hears."""

    def __init__(self, tuning: Tuning) -> None:
        self.tuning = tuning
        self._seen: dict[Rung, _Seen] = {rung: _Seen() for rung in ("rest", "eager", "expected")}
        self._work = _USUAL_WORK
        self._delay = _USUAL_DELAY
        self._prior = _prior(tuning)

    def tune(self, tuning: Tuning) -> None:
        """Judge in another way from now on; what was seen stays."""
        self.tuning = tuning
        self._prior = _prior(tuning)

    # ------------------------------------------------------------------------- what is learned

    def ended(self, pause: Pause, now: float, *, held: bool) -> None:
        """A pause is over: the turn ended with the same words, or the caller went on."""
        seen = self._seen[pause.rung]
        counts = seen.held if held else seen.lost
        for bucket in range(pause.lowest, pause.highest + 1):
            counts[bucket] += 1
        (seen.leads if held else seen.resumes).append(now - pause.began)

    def answered(self, *, held: bool) -> None:
        """An answer that was expected came, or another."""
        seen = self._seen["expected"]
        (seen.held if held else seen.lost)[0] += 1

    def worked(self, seconds: float) -> None:
        """A reply took so long from its beginning to what was to be ready of it."""
        self._work += _SMOOTH * (seconds - self._work)

    def told(self, seconds: float) -> None:
        """The end of a turn was told so long after its last word."""
        self._delay += _SMOOTH * (seconds - self._delay)

    @property
    def experience(self) -> Experience:
        """What this call adds to what is known of callers."""
        seen = self._seen["eager"]
        return Experience(
            tuple(seen.held), tuple(seen.lost), tuple(seen.leads), tuple(seen.resumes)
        )

    # -------------------------------------------------------------------------- what it says

    def held(self, rung: Rung, bucket: int) -> float:
        """How likely a pause that comes to this confidence holds."""
        weight, seen = self.tuning.weight, self._seen[rung]
        visits = [seen.count(one) for one in range(BUCKETS)]
        total = sum(visits)
        prior = self._prior[bucket]
        if total:
            expected = sum(n * p for n, p in zip(visits, self._prior, strict=True)) / total
            so_far = (sum(seen.held) + weight * expected) / (total + weight)
            prior = _share(_odds(prior) + _odds(so_far) - _odds(expected))
        return (seen.held[bucket] + weight * prior) / (visits[bucket] + weight)

    def seen(self, bucket: int) -> int:
        """How many maybe-ends of this confidence there were."""
        return int(self._seen["eager"].count(bucket))

    def best(
        self, rung: Rung, bucket: int, exchange: float, elapsed: float = 0.0
    ) -> tuple[float | None, float]:
        """When to begin a draft in a pause that has lasted ``elapsed`` seconds.

        Returns:
            Seconds from now, None: not at all; and what it is worth then, in seconds.
        """
        p = self.held(rung, bucket)
        found: list[tuple[float, float]] = []
        for at in {max(delay, elapsed) for delay in self.tuning.delays}:
            worth = p * self._saves(rung, at) - (1 - p) * self._loses(rung, at) * exchange
            found.append((worth, -at))
        worth, at = max(found)
        return (-at - elapsed if worth > 0 else None), worth

    def expected(self, answers: int, exchange: float) -> float:
        """What a draft is worth for one of so many answers that are expected, in seconds."""
        weight, seen = self.tuning.weight, self._seen["expected"]
        prior = self.tuning.held / max(answers, 1)
        p = (seen.held[0] + weight * prior) / (seen.count(0) + weight)
        return p * self._most() - (1 - p) * exchange

    def move(self, eager: float, final: float | None, exchange: float) -> float | None:
        """Where the eager threshold is to go from where it is; None: it is right.

        Up, if maybe-ends from the present one on have shown not to be worth a draft; down, if
        they have, and those below may be.
        """
        rules = self.tuning
        highest = rules.highest if final is None else min(rules.highest, final)
        here = bucket_of(eager)
        if self.seen(here) < _ENOUGH:
            return None
        worth = self.best("eager", here, exchange)[0] is not None
        if not worth:
            to = min(_edge(here + 1), eager + rules.step, highest)
        elif here and self.best("eager", here - 1, exchange)[0] is not None:
            to = max(_edge(here - 1), eager - rules.step, rules.lowest)
        else:
            return None
        to = round(to, 3)
        right_way = to < eager if worth else to > eager
        return to if right_way else None

    def _saves(self, rung: Rung, at: float) -> float:
        """Seconds that a draft begun so long after a maybe-end saves, if the pause holds."""
        usual = [self.tuning.lead * part for part in _LEADS]
        known = (self.tuning.experience.leads, self._seen[rung].leads)
        most = self._most()
        return self._mean(usual, known, lambda lead: min(max(lead - at, 0.0), most))

    def _most(self) -> float:
        """Seconds that a draft can save at most: what a reply takes beyond the pace's floor."""
        pace = self.pace
        floor = pace.floor + pace.jitter / 2
        if pace.after == "speech":
            floor -= self._delay
        return self._work - min(max(floor, 0.0), self._work)

    def _loses(self, rung: Rung, at: float) -> float:
        """The share of pauses that last so long, of those after which the caller goes on."""
        known = (self.tuning.experience.resumes, self._seen[rung].resumes)
        return self._mean(_RESUMED, known, lambda resume: float(resume > at))

    def _mean(
        self,
        usual: Sequence[float],
        known: Iterable[Iterable[float]],
        of: Callable[[float], float],
    ) -> float:
        """The mean over what was seen, and over what is usual as far as that weighs."""
        values = [of(one) for some in known for one in some]
        weight = self.tuning.weight
        belief = sum(of(one) for one in usual) / len(usual)
        return (sum(values) + weight * belief) / (len(values) + weight)


def _prior(tuning: Tuning) -> tuple[float, ...]:
    """What is believed of each bucket before the call: what other calls showed, and ``held``."""
    known, weight = tuning.experience, tuning.weight
    held = known.held or (0.0,) * BUCKETS
    lost = known.lost or (0.0,) * BUCKETS
    all_held, total = sum(held), sum(held) + sum(lost)
    base = (all_held + weight * tuning.held) / (total + weight)
    return tuple((h + weight * base) / (h + g + weight) for h, g in zip(held, lost, strict=True))


def _edge(bucket: int) -> float:
    return bucket / BUCKETS


def _odds(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))


def _share(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
