"""Shares and percentiles, and how sure they are: the bootstrap by dialogue."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.turns.measures import Figures

Sample = Sequence[Figures]
Statistic = Callable[[Sample], float]
RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of them do not exceed; nan of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def mean(values: Sequence[float]) -> float:
    """Their mean; nan of none."""
    return sum(values) / len(values) if values else float("nan")


def share(values: Sequence[bool]) -> float:
    """How many of them are true; nan of none."""
    return sum(values) / len(values) if values else float("nan")


def bootstrap(sample: Sample, statistic: Statistic, *, seed: int = 7) -> Estimate:
    """A statistic over dialogues, and its 95 % interval: dialogues are drawn with replacement."""
    chance = random.Random(seed)
    again = sorted(statistic(chance.choices(sample, k=len(sample))) for _ in range(RESAMPLES))
    return Estimate(statistic(sample), percentile(again, 2.5), percentile(again, 97.5))


def paired(
    sample: Sample, base: Sample, statistic: Callable[[Sample, Sample], float], *, seed: int = 7
) -> Estimate:
    """The same of two policies that met the same dialogues: both are drawn together."""
    chance = random.Random(seed)
    pairs = list(zip(sample, base, strict=True))

    def of(drawn: Sequence[tuple[Figures, Figures]]) -> float:
        return statistic([one for one, _ in drawn], [other for _, other in drawn])

    again = sorted(of(chance.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    return Estimate(of(pairs), percentile(again, 2.5), percentile(again, 97.5))


# ---------------------------------------------------------------------------- what is compared


def pooled(sample: Sample, name: str) -> list[float]:
    """All values of a list-like figure."""
    return [value for figures in sample for value in getattr(figures, name)]


def at(name: str, percent: float) -> Statistic:
    """A percentile of a figure."""
    return lambda sample: percentile(pooled(sample, name), percent)


def mean_of(name: str) -> Statistic:
    """The mean of a figure that each turn has, or each call."""

    def of(sample: Sample) -> float:
        if isinstance(getattr(sample[0], name), list):
            return mean(pooled(sample, name))
        return mean([getattr(figures, name) for figures in sample])

    return of


def per_turn(*names: str) -> Statistic:
    """The sum of counts, for each turn of the callers'."""

    def of(sample: Sample) -> float:
        total: float = sum(getattr(figures, name) for figures in sample for name in names)
        return total / sum(figures.turns for figures in sample)

    return of


def total(name: str) -> Statistic:
    """A count over all calls."""
    return lambda sample: float(sum(getattr(figures, name) for figures in sample))


def extra_calls(sample: Sample, base: Sample) -> float:
    """Requests beyond those made without drafts, as a share of the latter."""
    without: int = sum(figures.requests for figures in base)
    return sum(figures.requests for figures in sample) / without - 1.0


def saved(sample: Sample, base: Sample) -> float:
    """Seconds by which reactions are shorter than without drafts, on average."""
    return mean(pooled(base, "reactions")) - mean(pooled(sample, "reactions"))


def saved_per_extra(sample: Sample, base: Sample) -> float:
    """Seconds saved in all, for each request beyond those without drafts; nan if there is none."""
    more = sum(figures.requests for figures in sample) - sum(f.requests for f in base)
    reactions = len(pooled(sample, "reactions"))
    return saved(sample, base) * reactions / more if more > 0 else float("nan")
