"""The table and the pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentkit.observe.svg import INK, text
from tests.bench.turns.estimates import (
    Estimate,
    Sample,
    at,
    bootstrap,
    extra_calls,
    mean_of,
    paired,
    per_turn,
    percentile,
    pooled,
    saved,
    saved_per_extra,
    total,
)

Compared = Callable[[Sample, Sample], Estimate]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Args:
        name: what it is.
        of: its value for a policy, given that of no draft.
        scale: it is shown times this.
        digits: after the point.
        sign: behind it.
    """

    name: str
    of: Compared
    scale: float = 1.0
    digits: int = 0
    sign: str = ""

    def cell(self, sample: Sample, base: Sample) -> str:
        """The value and its interval."""
        found = self.of(sample, base)
        if math.isnan(found.value):
            return "-"
        value, low, high = (
            f"{number * self.scale:.{self.digits}f}"
            for number in (found.value, found.low, found.high)
        )
        spread = "" if low == value == high else f" ({low} to {high})"
        return f"{value}{self.sign}{spread}"


def _alone(statistic: Callable[[Sample], float]) -> Compared:
    return lambda sample, _base: bootstrap(sample, statistic)


def _against(statistic: Callable[[Sample, Sample], float]) -> Compared:
    return lambda sample, base: paired(sample, base, statistic)


def _cpu(sample: Sample, _base: Sample) -> Estimate:
    """Not resampled: it is the machine's, not the dialogues'."""
    value = percentile(pooled(sample, "cpu"), 99)
    return Estimate(value, value, value)


ROWS = (
    Row("reaction p50, ms", _alone(at("reactions", 50)), 1000),
    Row("reaction p95, ms", _alone(at("reactions", 95)), 1000),
    Row("reaction mean, ms", _alone(mean_of("reactions")), 1000),
    Row("beyond the bound p99, ms", _alone(at("overhead", 99)), 1000, 1),
    Row("heard after the last word p50, ms", _alone(at("heard", 50)), 1000),
    Row("heard after the last word p95, ms", _alone(at("heard", 95)), 1000),
    Row("extra LLM calls", _against(extra_calls), 100, 1, " %"),
    Row("saved by drafts, ms a turn", _against(saved), 1000),
    Row("saved for each extra call, ms", _against(saved_per_extra), 1000),
    Row("lost: written tokens a turn", _alone(per_turn("lost_tokens")), 1, 2),
    Row("lost: prompt tokens in no cache, a turn", _alone(per_turn("lost_prompt")), 1, 2),
    Row("lost: characters given to the voice, a turn", _alone(per_turn("lost_characters")), 1, 1),
    Row("EVA turn score", _alone(mean_of("eva")), 1, 3),
    Row("yields to interruptions (R_Y)", _alone(mean_of("yielded")), 1, 3),
    Row("seconds until it yields (L_Y)", _alone(mean_of("yield_times")), 1, 2),
    Row("talks through sounds of attention (S_BC)", _alone(mean_of("attended")), 1, 3),
    Row("reply outlives sounds of attention", _alone(mean_of("kept")), 1, 3),
    Row("turns that are answered (R_R)", _alone(mean_of("responded")), 1, 3),
    Row("talks into a turn, for each turn (I_A)", _alone(per_turn("interrupts")), 1, 3),
    Row("starved turns", _alone(total("starved"))),
    Row("words written twice", _alone(total("duplicates"))),
    Row("unsafe runs of tools", _alone(total("unsafe"))),
    Row("orphans", _alone(total("orphans"))),
    Row("calls over their budget", _alone(total("over_budget"))),
    Row("moves of the threshold, a call", _alone(mean_of("moves")), 1, 1),
    Row("CPU of an event p99, ms", _cpu, 1000, 3),
)


def table(world: str, samples: Mapping[str, Sample], base: str) -> str:
    """One world's table, in Markdown."""
    head = [
        f"### {world}",
        "",
        f"| | {' | '.join(samples)} |",
        f"| --- |{' --- |' * len(samples)}",
    ]
    lines = [
        f"| {row.name} | "
        + " | ".join(row.cell(sample, samples[base]) for sample in samples.values())
        + " |"
        for row in ROWS
    ]
    return "\n".join([*head, *lines, ""])


# ------------------------------------------------------------------------------------ the picture

_WIDE, _HIGH = 760, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 200, 60, 60
_COLOURS = ("#1a73e8", "#d93025", "#188038", "#9334e6", "#e37400", "#00796b", "#5f6368")


@dataclass(frozen=True, slots=True)
class Point:
    """A policy in the picture: extra calls as a share, reaction in seconds."""

    name: str
    cost: Estimate
    latency: Estimate


def points(samples: Mapping[str, Sample], base: str) -> list[Point]:
    """Where each policy stands."""
    return [
        Point(
            name,
            paired(sample, samples[base], extra_calls),
            bootstrap(sample, mean_of("reactions")),
        )
        for name, sample in samples.items()
    ]


def picture(title: str, found: Sequence[Point]) -> str:
    """Cost against latency as SVG: one point for each policy, with its intervals."""
    most = max(0.1, *(point.cost.high for point in found)) * 1.1
    low = min(point.latency.low for point in found)
    high = max(point.latency.high for point in found)
    room = max(0.02, (high - low) * 0.12)
    low, high = low - room, high + room

    def x(cost: float) -> float:
        return _LEFT + max(cost, 0.0) / most * (_WIDE - _LEFT - _RIGHT)

    def y(latency: float) -> float:
        return _TOP + (high - latency) / (high - low) * (_HIGH - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {_HIGH}" '
        f'font-family="DejaVu Sans, Arial, sans-serif" role="img" aria-label="{title}">',
        f'<rect width="{_WIDE}" height="{_HIGH}" fill="#ffffff"/>',
        text(_LEFT, 30, title, size=16, weight="bold"),
        *_axes(most, low, high, x, y),
    ]
    for n, point in enumerate(found):
        parts += _dot(point, _COLOURS[n % len(_COLOURS)], x, y)
        parts.append(_key(point, _COLOURS[n % len(_COLOURS)], n))
    return "\n".join([*parts, "</svg>"]) + "\n"


Scale = Callable[[float], float]


def _axes(most: float, low: float, high: float, x: Scale, y: Scale) -> list[str]:
    floor, right = _HIGH - _BOTTOM, _WIDE - _RIGHT
    parts = [
        text(_LEFT, _HIGH - 15, "extra LLM calls, % of those without drafts", size=12),
        text(_LEFT, 48, "mean reaction, ms (the caller's turn is over - first sound)", size=12),
    ]
    for step in range(0, int(most * 100) + 1, 10 if most < 0.8 else 20):
        at_x = x(step / 100)
        parts.append(_line(at_x, _TOP, at_x, floor, "#e8eaed"))
        parts.append(text(at_x, floor + 18, str(step), size=12, anchor="middle"))
    tick = 50 if high - low < 0.5 else 100
    for ms in range(int(low * 1000 / tick + 1) * tick, int(high * 1000) + 1, tick):
        parts.append(_line(_LEFT, y(ms / 1000), right, y(ms / 1000), "#e8eaed"))
        parts.append(text(_LEFT - 8, y(ms / 1000) + 4, str(ms), size=12, anchor="end"))
    parts.append(_line(_LEFT, floor, right, floor, INK))
    parts.append(_line(_LEFT, _TOP, _LEFT, floor, INK))
    return parts


def _dot(point: Point, colour: str, x: Scale, y: Scale) -> list[str]:
    cost, latency = point.cost, point.latency
    return [
        _line(x(cost.low), y(latency.value), x(cost.high), y(latency.value), colour),
        _line(x(cost.value), y(latency.low), x(cost.value), y(latency.high), colour),
        f'<circle cx="{x(cost.value):.1f}" cy="{y(latency.value):.1f}" r="5" fill="{colour}">'
        f"<title>{point.name}</title></circle>",
    ]


def _key(point: Point, colour: str, n: int) -> str:
    at_x, at_y = _WIDE - _RIGHT + 20, _TOP + 14 + 20 * n
    return f'<circle cx="{at_x}" cy="{at_y - 4}" r="5" fill="{colour}"/>' + text(
        at_x + 12, at_y, point.name, size=12
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="1.5"/>'
    )
