"""A picture of a call: who spoke when, where drafts began, what became of them, what they saved.

The picture is one SVG file that needs nothing else. Time runs in rows of a fixed length, so that a
long call grows downwards and its words stay readable. Each row has four lanes: the caller, the
drafts, the agent, and the reaction to each turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

from agentkit.observe.record import Record
from agentkit.observe.sound import peaks, read_sound
from agentkit.observe.summary import CallSummary, DraftSummary, Edge, SpeechSummary, summarise
from agentkit.observe.svg import INK, clean, fitted, rule, wide
from agentkit.observe.svg import text as draw_text

_ROW = 12.0
"""Seconds in a row."""
_SCALE = 104.0
"""Pixels of a second."""
_LEFT, _RIGHT, _TOP, _GAP = 112, 40, 112, 26
_WIDTH = round(_LEFT + _ROW * _SCALE + _RIGHT)
_BAR, _THIN, _LINE, _AXIS = 40, 18, 22, 24
"""Heights: a bar of speech, one of a draft, a line of drafts or reactions, the axis."""

_GREY, _FAINT, _GRID = "#5f6368", "#e8eaed", "#f1f3f4"
_CALLER, _CALLER_BACK, _AGENT, _AGENT_BACK = "#1a5fb4", "#dce9f9", "#1b7f4d", "#d8f0e3"
_FATES = {"committed": "#1b7f4d", "parked": "#8a6200", "discarded": "#b3261e", "open": "#5f6368"}
_EDGES: dict[Edge, tuple[str, str, str]] = {
    "started": (_CALLER, "", "the turn started"),
    "maybe_ended": ("#8a6200", "3 3", "the turn may have ended"),
    "resumed": ("#b3261e", "3 3", "the turn was resumed"),
    "ended": (_AGENT, "", "the turn ended"),
}
_SANS = "Helvetica, Arial, 'Liberation Sans', sans-serif"


def timeline_svg(record: Record) -> str:
    """The picture as a self-contained SVG document."""
    return draw_call(record)


def draw_call(record: Record, audio: Path | None = None) -> str:
    """The picture, with waveforms from a stereo WAV file if one is given.

    Args:
        record: the call.
        audio: 16-bit stereo, the caller left and the agent right, from the call's start.

    Raises:
        RecordError: the audio cannot be read.
    """
    call = summarise(record.entries)
    loudness = _loudness(audio) if audio is not None else None
    lanes = _lanes(call)
    rows = max(1, math.ceil((call.duration + 0.25) / _ROW))
    drawn: list[str] = []
    y: float = _TOP
    for number in range(rows):
        row = _Row(number * _ROW, y, lanes)
        drawn.append(row.draw(call, loudness))
        y += row.height + _GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y:.0f}" '
            f'width="{_WIDTH}" height="{y:.0f}" font-family="{_SANS}" role="img" '
            f'aria-labelledby="title desc">',
            f'<title id="title">A call of {call.duration:.0f} seconds</title>',
            f'<desc id="desc">{escape(_described(call))}</desc>',
            f'<rect width="{_WIDTH}" height="{y:.0f}" fill="#ffffff"/>',
            *_head(record, call),
            *drawn,
            "</svg>\n",
        ]
    )


# ------------------------------------------------------------------------------ what it says


def _described(call: CallSummary) -> str:
    """The picture in words, for those who cannot see it."""
    said = [(one.began, f"Caller: {one.text}") for one in call.speech if one.text]
    said += [
        (one.spans[0][0], f"Agent: {one.heard}{' (cut off)' if one.interrupted else ''}")
        for one in call.replies
        if one.heard
    ]
    lines = [f"{at:.1f} s {clean(text)}" for at, text in sorted(said)]
    return f"{_totals(call)}. " + " / ".join(lines)


def _totals(call: CallSummary) -> str:
    fates = call.fates
    drafts = ", ".join(f"{fates[fate]} {fate}" for fate in _FATES if fates[fate])
    reactions = [turn.reaction for turn in call.turns if turn.reaction is not None]
    parts = [_count(len(call.turns), "turn")]
    parts.append(f"{_count(len(call.drafts), 'draft')} ({drafts})" if drafts else "no draft")
    if reactions:
        parts.append(f"median reaction {_ms(median(reactions))}")
    parts.append(f"{_ms(call.saved)} saved by drafts")
    if call.reason is not None:
        parts.append(f"ended: {clean(call.reason)}")
    return " · ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _head(record: Record, call: CallSummary) -> Iterator[str]:
    yield draw_text(24, 36, f"A call of {call.duration:.0f} seconds", size=22, weight="bold")
    yield draw_text(24, 60, f"{clean(record.started)} · {_totals(call)}", colour=_GREY)
    x = 24.0
    for fate in ("committed", "parked", "discarded"):
        yield f'<rect x="{x:.0f}" y="77" width="16" height="12" rx="3" fill="{_FATES[fate]}"/>'
        yield draw_text(x + 22, 88, f"draft {fate}")
        x += 46 + wide(f"draft {fate}", 13)
    for colour, dashes, label in _EDGES.values():
        yield rule(x + 6, 74, 92, colour, dashes)
        yield draw_text(x + 16, 88, label)
        x += 40 + wide(label, 13)


# ---------------------------------------------------------------------- where things are put


@dataclass(slots=True)
class _Label:
    """A stretch of time with words beside it, on one of the lines of its lane."""

    begin: float
    end: float
    text: str
    colour: str
    hint: str = ""
    line: int = 0


@dataclass(slots=True)
class _Lanes:
    drafts: list[_Label] = field(default_factory=list)
    reactions: list[_Label] = field(default_factory=list)


def _lanes(call: CallSummary) -> _Lanes:
    lanes = _Lanes()
    for draft in call.drafts:
        label = _Label(
            draft.began, draft.ended, _fate(draft), _FATES[draft.fate], clean(draft.text)
        )
        lanes.drafts.append(label)
    for turn in call.turns:
        reaction, times = turn.reaction, turn.times
        if reaction is None or times is None or times.ended is None:
            if turn.outcome not in (None, "heard"):
                text = f"turn {turn.id}: {(turn.outcome or '').replace('_', ' ')}"
                lanes.reactions.append(_Label(turn.committed, turn.committed, text, _GREY))
            continue
        saved = f", {_ms(times.saved)} saved" if times.saved > 0 else ""
        lanes.reactions.append(
            _Label(times.ended, times.ended + reaction, f"{_ms(reaction)} reaction{saved}", INK)
        )
    _stack(lanes.drafts)
    _stack(lanes.reactions)
    return lanes


def _fate(draft: DraftSummary) -> str:
    lead = _ms(draft.ended - draft.began)
    match draft.fate:
        case "committed":
            return f"committed, {lead} ahead"
        case "discarded":
            parked = "parked, then " if draft.parked is not None else ""
            return f"{parked}discarded: {draft.reason.replace('_', ' ')}"
        case fate:
            return fate


def _stack(labels: list[_Label]) -> None:
    """Give each label the first line on which it touches no other, row by row of the picture."""
    taken: list[list[tuple[float, float]]] = []
    for label in labels:
        places = list(_extents(label))
        for line in range(len(taken) + 1):
            if line == len(taken):
                taken.append([])
            free = all(
                end <= other_begin or begin >= other_end
                for begin, end in places
                for other_begin, other_end in taken[line]
            )
            if free:
                label.line = line
                taken[line] += places
                break


def _extents(label: _Label) -> Iterator[tuple[float, float]]:
    """What it covers, in pixels on one endless row; its words are in the row where it begins."""
    x, side = _label_at(label)
    width = wide(label.text, 13) + 10
    begin, end = label.begin * _SCALE, label.end * _SCALE + 6
    yield (min(begin, x - 4), max(end, x + width)) if side == "start" else (x - width, end)


def _label_at(label: _Label) -> tuple[float, str]:
    """Where the words begin, or end: on the left of the bar if the row ends on its right."""
    row_end = (math.floor(label.begin / _ROW) + 1) * _ROW
    shown_end = min(label.end, row_end) * _SCALE
    after = max(shown_end, label.begin * _SCALE + 4) + 6
    if after + wide(label.text, 13) <= row_end * _SCALE + _RIGHT - 8:
        return after, "start"
    return label.begin * _SCALE - 6, "end"


# -------------------------------------------------------------------------------------- rows


class _Row:
    """One stretch of the call, ``_ROW`` seconds from ``start`` on."""

    def __init__(self, start: float, y: float, lanes: _Lanes) -> None:
        self._start, self._end = start, start + _ROW
        self._lanes = lanes
        lines = [
            max((one.line + 1 for one in labels if self._touches(one.begin, one.end)), default=1)
            for labels in (lanes.drafts, lanes.reactions)
        ]
        self._caller = y + 4
        self._drafts = self._caller + _BAR + 14
        self._agent = self._drafts + lines[0] * _LINE + 8
        self._reactions = self._agent + _BAR + 10
        self._bottom = self._reactions + lines[1] * _LINE + 2
        self._top = y
        self.height = self._bottom + _AXIS - y

    def draw(self, call: CallSummary, loudness: _Loudness | None) -> str:
        parts = [*self._grid(call.duration)]
        for speech in call.speech:
            parts += self._edges(speech)
        for speech in call.speech:
            parts += self._heard(speech, loudness)
        for reply in call.replies:
            for number, (begin, end) in enumerate(reply.spans):
                last = number == len(reply.spans) - 1
                text = clean(reply.heard) if number == 0 else "…"
                cut = reply.interrupted and last
                parts += self._said(begin, end, text, cut, loudness)
        for label in self._lanes.drafts:
            parts += self._label(label, self._drafts, bar=True)
        for label in self._lanes.reactions:
            parts += self._label(label, self._reactions, bar=False)
        return "\n".join(parts)

    def _touches(self, begin: float, end: float) -> bool:
        return begin < self._end and end >= self._start

    def _x(self, at: float) -> float:
        return _LEFT + (min(max(at, self._start), self._end) - self._start) * _SCALE

    def _grid(self, duration: float) -> Iterator[str]:
        last = math.floor(min(self._end, max(duration, self._start + 1)))
        for second in range(round(self._start), last + 1):
            x = self._x(second)
            yield rule(x, self._top, self._bottom, _FAINT if second % 5 else "#dadce0", "")
            yield draw_text(
                x, self._bottom + 16, f"{second} s", size=12, colour=_GREY, anchor="middle"
            )
        lanes = ("caller", self._caller + _BAR / 2), ("drafts", self._drafts + _THIN / 2)
        more = ("agent", self._agent + _BAR / 2), ("reaction", self._reactions + _THIN / 2)
        for name, y in (*lanes, *more):
            yield draw_text(24, y + 5, name, size=14, colour=_GREY)

    def _edges(self, speech: SpeechSummary) -> Iterator[str]:
        for at, edge in speech.edges:
            if self._start <= at < self._end:
                colour, dashes, label = _EDGES[edge]
                line = rule(self._x(at), self._caller - 4, self._agent - 4, colour, dashes)
                yield f"<g><title>{label} at {at:.2f} s</title>{line}</g>"

    def _heard(self, speech: SpeechSummary, loudness: _Loudness | None) -> Iterator[str]:
        note = " (attention, no turn)" if speech.backchannel else ""
        faint = speech.backchannel or speech.turn is None
        yield from self._bar(
            speech.began,
            max(speech.ended, speech.began + 0.1),
            self._caller,
            clean(speech.text) + note,
            (_CALLER, _GRID if faint else _CALLER_BACK),
            loudness.caller if loudness else None,
        )
        # A tick where words arrived.
        for at, count in speech.arrivals:
            if self._start <= at < self._end:
                y = self._caller + _BAR
                yield (
                    f"<g><title>{count} words known at {at:.2f} s</title>"
                    f"{rule(self._x(at), y, y + 6, _CALLER, '')}</g>"
                )

    def _said(
        self, begin: float, end: float, text: str, cut: bool, loudness: _Loudness | None
    ) -> Iterator[str]:
        yield from self._bar(
            begin,
            end,
            self._agent,
            text + (" (cut off)" if cut else ""),
            (_AGENT, _AGENT_BACK),
            loudness.agent if loudness else None,
        )
        if cut and self._start <= end < self._end:
            x = self._x(end)
            yield rule(x, self._agent - 5, self._agent + _BAR + 5, _FATES["discarded"], "", 3)

    def _bar(
        self,
        begin: float,
        end: float,
        y: float,
        text: str,
        colours: tuple[str, str],
        loudness: Sequence[float] | None,
    ) -> Iterator[str]:
        """A bar of speech with up to two lines of its words, those of this row's share."""
        if not self._touches(begin, end) or begin >= self._end:
            return
        dark, light = colours
        x, width = self._x(begin), max(3.0, self._x(end) - self._x(begin))
        yield f"<g><title>{escape(text)}</title>"
        yield (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BAR}" rx="5" '
            f'fill="{light}" stroke="{dark}"/>'
        )
        if loudness:
            yield self._wave(max(begin, self._start), min(end, self._end), y, loudness, dark)
        shown = text if begin >= self._start else "… " + _rest(text, begin, end, self._start)
        lines = fitted(shown, width - 10, 2)
        first = y + _BAR / 2 + 5 - 8 * (len(lines) - 1)
        for number, line in enumerate(lines):
            yield draw_text(x + 6, first + 16 * number, line)
        yield "</g>"

    def _wave(
        self, begin: float, end: float, y: float, loudness: Sequence[float], colour: str
    ) -> str:
        first, last = round(begin * _PER_SECOND), round(end * _PER_SECOND)
        middle, steps = y + _BAR / 2, []
        for at in range(first, min(last, len(loudness))):
            height = max(0.5, loudness[at] * (_BAR / 2 - 2))
            x = self._x(at / _PER_SECOND)
            steps.append(f"M{x:.1f} {middle - height:.1f}V{middle + height:.1f}")
        return f'<path d="{"".join(steps)}" stroke="{colour}" stroke-opacity="0.25" fill="none"/>'

    def _label(self, label: _Label, lane: float, *, bar: bool) -> Iterator[str]:
        if not self._touches(label.begin, label.end):
            return
        y = lane + label.line * _LINE
        x, width = self._x(label.begin), max(4.0, self._x(label.end) - self._x(label.begin))
        hint = f"{label.text}: {label.hint}" if label.hint else label.text
        yield f"<g><title>{escape(hint)}</title>"
        height, top = (_THIN, y) if bar else (6, y + _THIN / 2 - 3)
        yield (
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height}" rx="3" '
            f'fill="{label.colour}"/>'
        )
        if label.begin >= self._start:
            at, side = _label_at(label)
            words_x = _LEFT + at - self._start * _SCALE
            yield draw_text(
                words_x, y + 14, label.text, colour=label.colour, anchor=side, halo=True
            )
        yield "</g>"


def _rest(text: str, begin: float, end: float, at: float) -> str:
    """What of a text is said after ``at``, if it is said at an even pace."""
    words = text.split()
    share = (at - begin) / (end - begin) if end > begin else 0.0
    return " ".join(words[math.floor(len(words) * min(max(share, 0.0), 1.0)) :])


# ------------------------------------------------------------------------------------- audio

_PER_SECOND = 52


@dataclass(frozen=True, slots=True)
class _Loudness:
    """Peaks, 0 to 1, ``_PER_SECOND`` of them a second."""

    caller: list[float]
    agent: list[float]


def _loudness(path: Path) -> _Loudness:
    sound = read_sound(path)
    sides = (peaks(side, sound.rate, _PER_SECOND) for side in (sound.caller, sound.agent))
    return _Loudness(*sides)
