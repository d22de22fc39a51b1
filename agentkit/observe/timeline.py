"""A picture of a call: who spoke when, where drafts began, what became of them, what they saved."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.observe.record import Record

_SCALE = 76.0
"""Pixels of a second."""
_ROW = 15
"""Seconds in a row."""
_LEFT, _RIGHT, _TOP = 100, 30, 56
_LANES = {"caller": 6, "drafts": 46, "agent": 112, "times": 150}
_NAMES = {"caller": "caller", "drafts": "drafts", "agent": "agent", "times": "reaction"}
_ROW_HEIGHT = 222
_COLOURS = {
    "caller": "#3b7dd8",
    "agent": "#2e9e6b",
    "committed": "#2e9e6b",
    "parked": "#c9a227",
    "discarded": "#c0504d",
    "open": "#8a8f98",
    "mark": "#9aa0a6",
}


@dataclass(slots=True)
class _Bar:
    begin: float
    end: float
    text: str = ""
    fate: str = "open"


@dataclass(slots=True)
class _Picture:
    """What is to be drawn, in seconds from the call's start."""

    caller: list[_Bar] = field(default_factory=list)
    drafts: dict[int, _Bar] = field(default_factory=dict)
    agent: list[_Bar] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    reactions: list[tuple[float, str]] = field(default_factory=list)
    length: float = 1.0


def timeline_svg(record: Record) -> str:
    """The picture as a self-contained SVG document."""
    picture = _collect(record)
    rows = max(1, math.ceil(picture.length / _ROW))
    width = round(_LEFT + min(picture.length, _ROW) * _SCALE + _RIGHT)
    height = _TOP + rows * _ROW_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="Helvetica, Arial, sans-serif">',
        "<title>A call, as it happened</title>",
        "<desc>Lanes over time: the caller's turns, the drafts and their fate, the agent's speech, "
        "and for each turn the reaction time and what its draft saved.</desc>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="30" font-size="18" font-weight="bold" fill="#202124">'
        f"A call of {picture.length:.0f} seconds</text>",
        _legend(),
        '<defs><g id="call">',
        *_axis(picture.length),
        *(_bar(bar, "caller", _COLOURS["caller"]) for bar in picture.caller),
        *(_bar(bar, "agent", _COLOURS["agent"]) for bar in picture.agent),
        *_drafts(list(picture.drafts.values())),
        *_reactions(picture.reactions),
        "</g></defs>",
        *(_row(row, width) for row in range(rows)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _row(row: int, width: int) -> str:
    """A window of the one long picture, with the names of its lanes."""
    y = _TOP + row * _ROW_HEIGHT
    names = "".join(
        f'<text x="16" y="{y + _y(lane) + 20}" font-size="14" fill="#3c4043">{name}</text>'
        for lane, name in _NAMES.items()
    )
    shown = width - _LEFT
    begin = row * _ROW * _SCALE - 10
    return (
        f'{names}<svg x="{_LEFT - 10}" y="{y}" width="{shown}" height="{_ROW_HEIGHT}" '
        f'viewBox="{begin} 0 {shown} {_ROW_HEIGHT}"><use href="#call"/></svg>'
    )


def _collect(record: Record) -> _Picture:
    picture = _Picture()
    start = record.entries[0][0] if record.entries else 0.0
    speaking: _Bar | None = None
    playing: dict[int, _Bar] = {}
    at = 0.0
    for now, event, commands in record.entries:
        at = now - start
        if isinstance(event, ev.TurnStarted) and speaking is None:
            onset = event.speech_start - start if event.speech_start is not None else at
            speaking = _Bar(min(onset, at), at)
            picture.caller.append(speaking)
        elif isinstance(event, ev.TurnEnded) and speaking is not None:
            spoken = event.speech_end - start if event.speech_end is not None else at
            speaking.end, speaking.text = max(spoken, speaking.begin + 0.1), event.text
            speaking = None
        elif isinstance(event, ev.TurnEvent) and event.text and speaking is not None:
            speaking.end, speaking.text = at, event.text
        for command in commands:
            _take(picture, playing, command, at)
    for bar in [*playing.values(), *(bar for bar in picture.drafts.values() if bar.fate == "open")]:
        bar.end = at
    picture.length = max(at + 0.5, 1.0)
    return picture


def _take(picture: _Picture, playing: dict[int, _Bar], command: cmd.Command, at: float) -> None:
    match command:
        case cmd.StartReply(reply=reply, draft=True):
            picture.drafts[reply] = _Bar(at, at)
        case cmd.Commit(reply=reply):
            picture.drafts[reply].end, picture.drafts[reply].fate = at, "committed"
        case cmd.Park(reply=reply):
            picture.drafts[reply].fate = "parked"
        case cmd.Discard(reply=reply, reason=reason) if bar := picture.drafts.get(reply):
            if bar.fate not in ("committed",):
                bar.end, bar.fate, bar.text = at, "discarded", reason
        case cmd.ReplyEnded(reply=reply, heard=heard, interrupted=cut):
            bar = playing.pop(reply, None)
            if bar is not None and heard:
                bar.end, bar.text = at, heard + (" ..." if cut else "")
                picture.agent.append(bar)
        case cmd.Play(reply=reply):
            playing.setdefault(reply, _Bar(at, at))
        case cmd.TurnClosed(times=times) if times.ended is not None and times.first_sound_sent:
            reaction = (times.first_sound_sent - times.ended) * 1000
            saved = f", {times.saved * 1000:.0f} ms saved" if times.saved else ""
            # The bar of the reply begins when its first sound does.
            picture.reactions.append((at, f"{reaction:.0f} ms{saved}"))
            for bar in reversed(picture.agent):
                if bar.end <= at + 1e-6:
                    picture.reactions[-1] = (bar.begin, picture.reactions[-1][1])
                    break
        case _:
            pass


def _x(seconds: float) -> float:
    return round(seconds * _SCALE, 1)


def _y(lane: str) -> int:
    return _LANES[lane]


def _legend() -> str:
    parts = []
    x = 330
    for fate, label in (
        ("committed", "draft committed"),
        ("parked", "draft parked"),
        ("discarded", "draft discarded"),
    ):
        parts.append(
            f'<rect x="{x}" y="18" width="14" height="12" rx="3" fill="{_COLOURS[fate]}"/>'
            f'<text x="{x + 20}" y="29" font-size="13" fill="#3c4043">{label}</text>'
        )
        x += 150
    return "".join(parts)


def _axis(length: float) -> list[str]:
    parts = []
    bottom = _ROW_HEIGHT - 34
    for second in range(int(length) + 1):
        strong = second % 5 == 0
        colour = "#dadce0" if strong else "#f1f3f4"
        x = _x(second)
        parts.append(f'<line x1="{x}" y1="0" x2="{x}" y2="{bottom}" stroke="{colour}"/>')
        if strong:
            parts.append(
                f'<text x="{x}" y="{bottom + 16}" font-size="12" fill="#5f6368">{second} s</text>'
            )
    return parts


def _bar(bar: _Bar, lane: str, colour: str) -> str:
    x, width = _x(bar.begin), max(4.0, round((bar.end - bar.begin) * _SCALE, 1))
    text = _fitted(bar.text, width - 10)
    return (
        f'<g><title>{escape(bar.text)}</title><rect x="{x}" y="{_y(lane)}" width="{width}" '
        f'height="30" rx="5" fill="{colour}"/>'
        f'<text x="{x + 6}" y="{_y(lane) + 20}" font-size="13" fill="#ffffff">{text}</text></g>'
    )


def _drafts(drafts: list[_Bar]) -> list[str]:
    """Bars from where each draft began to its fate, in two rows where they are close together."""
    parts = []
    ends = [0.0, 0.0, 0.0]
    for bar in drafts:
        label = "committed" if bar.fate == "committed" else bar.text.replace("_", " ") or bar.fate
        x = _x(bar.begin)
        width = max(4.0, round((bar.end - bar.begin) * _SCALE, 1))
        row = next((n for n, end in enumerate(ends) if x >= end), 0)
        ends[row] = x + width + 8 + 7 * len(label)
        y = _y("drafts") + row * 30
        parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="18" rx="4" '
            f'fill="{_COLOURS[bar.fate]}"/>'
            f'<text x="{x + width + 4}" y="{y + 14}" font-size="12" '
            f'fill="{_COLOURS[bar.fate]}">{escape(label)}</text>'
        )
    return parts


def _reactions(reactions: list[tuple[float, str]]) -> list[str]:
    return [
        f'<text x="{_x(at)}" y="{_y("times") + 18}" font-size="12" fill="#202124">'
        f"{escape(text)}</text>"
        for at, text in reactions
    ]


def _fitted(text: str, width: float) -> str:
    most = int(width / 7)
    if len(text) <= most:
        return escape(text)
    return escape(text[: most - 1].rstrip() + "…") if most > 3 else ""
