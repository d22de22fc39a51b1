"""A picture of some lines, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

_WIDTH, _HEIGHT = 820, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 230, 44, 52
_FONT = 'font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#57534e"'


@dataclass(frozen=True)
class Series:
    """One line.

    Args:
        name: written at its end.
        colour: of the line.
        points: x and y, in order of x.
        dashed: how it is drawn.
    """

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def ticks(highest: float) -> list[float]:
    """At most six round numbers from 0 up to at least that one.

    Args:
        highest: more than 0.
    """
    step = 1.0
    while highest / step > 5:
        step *= 2 if str(step)[0] in "15" else 2.5
    count = int(highest / step + 0.999)
    return [place * step for place in range(count + 1)]


def spread_out(heights: Sequence[float], least: float) -> list[float]:
    """Move labels apart: in the order given, each at least so far below the one above it."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    moved = list(heights)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + least)
    return moved


def chart(title: str, across: str, up: str, series: Sequence[Series], highest: float) -> str:
    """Draw lines.

    Args:
        title: above the picture.
        across: what x is.
        up: what y is: its unit.
        series: the lines.
        highest: of y; what is higher is drawn at the top.
    """
    points = [point for line in series for point in line.points]
    xs = ticks(max((x for x, _ in points), default=1) or 1)
    ys = ticks(min(highest, max((y for _, y in points), default=1) or 1))
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + x / xs[-1] * wide, _TOP + high - min(y, ys[-1]) / ys[-1] * high

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" {_FONT} font-weight="bold">{escape(title)}, {escape(up)}</text>',
        f'<text x="{_LEFT + wide / 2}" y="{_HEIGHT - 12}" {_FONT} text-anchor="middle">'
        f"{escape(across)}</text>",
    ]
    for y in ys:
        _, at = place(0, y)
        drawn.append(f'<path d="M{_LEFT} {at:.1f}h{wide}" stroke="#e7e5e4"/>')
        drawn.append(
            f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" {_FONT} text-anchor="end">{y:g}</text>'
        )
    for x in xs:
        at, _ = place(x, 0)
        drawn.append(
            f'<text x="{at:.1f}" y="{_TOP + high + 20}" {_FONT} text-anchor="middle">{x:g}</text>'
        )
    ends = spread_out([place(*line.points[-1])[1] for line in series], 16)
    for line, end in zip(series, ends, strict=True):
        drawn += _line(line, [place(x, y) for x, y in line.points], end)
    return "\n".join([*drawn, "</svg>", ""])


def _line(line: Series, points: Sequence[tuple[float, float]], label: float) -> list[str]:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{line.colour}"/>' for x, y in points]
    x = _WIDTH - _RIGHT + 12
    last = points[-1]
    return [
        f'<path d="M{path}" fill="none" stroke="{line.colour}" stroke-width="2"{dashes}/>',
        f'<path d="M{last[0]:.1f} {last[1]:.1f}L{x - 4} {label:.1f}" stroke="{line.colour}"'
        ' stroke-width="0.5"/>',
        *dots,
        f'<text x="{x}" y="{label + 4:.1f}" {_FONT} style="fill:{line.colour}">'
        f"{escape(line.name)}</text>",
    ]
