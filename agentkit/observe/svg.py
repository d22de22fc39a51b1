"""Lines and words of an SVG picture."""

from __future__ import annotations

import unicodedata
from xml.sax.saxutils import escape

INK = "#202124"
"""The colour of words."""


def text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 13,
    colour: str = INK,
    weight: str = "normal",
    anchor: str = "start",
    halo: bool = False,
) -> str:
    """Words at a point; ``halo``: readable across the lines below them."""
    around = ' stroke="#ffffff" stroke-width="4" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
        f'font-weight="{weight}" text-anchor="{anchor}"{around}>{escape(text)}</text>'
    )


def rule(x: float, top: float, bottom: float, colour: str, dashes: str, width: int = 1) -> str:
    """A vertical line."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def clean(text: str) -> str:
    """One line without control characters, which XML does not allow."""
    plain = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in text)
    return " ".join(plain.split())


def wide(text: str, size: float) -> float:
    """About how wide a text is, in pixels; rather more than less, for fonts differ."""
    wide = 0.0
    for letter in text:
        if unicodedata.east_asian_width(letter) in "WF":
            wide += 1.05
        elif letter in "iljtfr.,:;'!|()[] ":
            wide += 0.4
        elif letter in "mwMW@%…—":
            wide += 0.98
        else:
            wide += 0.72 if letter.isupper() or letter.isdigit() else 0.62
    return wide * size


def fitted(text: str, width: float, most: int) -> list[str]:
    """A text in at most so many lines of that width, cut with an ellipsis."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most:
        line = ""
        while words and wide(f"{line} {words[0]}".strip(), 13) <= width:
            line = f"{line} {words.pop(0)}".strip()
        if not line:
            break
        lines.append(line)
    if words and lines:
        while lines[-1] and wide(lines[-1] + "…", 13) > width:
            lines[-1] = lines[-1][:-1].rstrip()
        lines[-1] += "…"
    return lines
