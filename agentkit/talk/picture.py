"""A conversation as lines of a terminal. Pure: what is seen, and how much room there is, go in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agentkit.core.commands import TurnTimes
from agentkit.observe.cells import cells, cut, ending, plain, wrap
from agentkit.talk.view import Said, State, TalkView, Who

Style = Literal["", "dim", "bold", "caller", "agent", "bad", "busy", "title"]


class Span(NamedTuple):
    """A stretch of a line in one style."""

    style: Style
    text: str


Line = tuple[Span, ...]

LABEL = 8
"""Columns of what stands before words: who says them."""
QUIET, LOUD = -60.0, -6.0
"""dB of full scale between which a level is shown."""
_STATES: dict[State, tuple[Style, str]] = {
    "connecting": ("dim", "connecting"),
    "lost": ("bad", "connection lost"),
    "listening": ("caller", "listening"),
    "hearing": ("caller", "hearing you"),
    "drafting": ("busy", "drafting a reply"),
    "answering": ("busy", "answering"),
    "speaking": ("agent", "speaking"),
    "held": ("busy", "held: it lets you speak"),
    "ending": ("dim", "ending"),
}
_WHOSE: dict[Who, Style] = {"caller": "caller", "agent": "agent", "note": "dim", "bad": "bad"}
KEYS = (("m", "mute"), ("t", "type"), ("q", "end"), ("?", "help"))
TYPING = (("Enter", "send"), ("Esc", "speak again"))
HELP = (
    ("m", "mute the microphone, or listen again"),
    ("t", "type instead of speak: a line is a turn; Esc goes back to speaking"),
    ("q, Ctrl-C", "end the conversation: it says goodbye; once more: at once"),
    ("Ctrl-Z", "stop for the moment; fg goes on"),
    ("?", "this help"),
    ("", ""),
    ("dim", "a draft: a reply that is written before your turn is over"),
    ("", "and, of a reply, what you have not heard yet"),
    ("reaction", "from the end of your turn to the first sound of the reply"),
    ("saved", "by how much a draft brought that forward"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is shown besides the conversation.

    Args:
        title: stands at the top.
        duplex: how the echo is dealt with, in a few words.
        microphone: its level, in dB of full scale.
        loudspeaker: likewise.
        typing: the line that is being typed; None: the caller speaks.
        help: the keys are explained.
        silenced: the microphone is muted, by key or while typing.
    """

    title: str
    duplex: str
    microphone: float = QUIET
    loudspeaker: float = QUIET
    typing: str | None = None
    help: bool = False
    silenced: bool = False


def picture(view: TalkView, seen: Seen, now: float, columns: int, rows: int) -> list[Line]:
    """The whole screen, from its top: at most ``rows`` lines of fewer than ``columns`` columns.

    Where there is little room, the conversation keeps its last line longest.
    """
    room = max(1, columns - 1)  # the last column stays free: some terminals wrap there
    top = [_title(view, seen, now, room), *_meters(view, seen, room), _rule(room)]
    bottom = [_rule(room), *_figures(view, room), _keys(seen, room)]
    if rows < len(top) + len(bottom) + 3:
        top, bottom = top[1:2], bottom[-1:]
    space = max(1, rows - len(top) - len(bottom))
    middle = _help(room) if seen.help else _conversation(view, seen, now, room, space)
    middle = middle[:space] if seen.help else middle[-space:]
    middle += [()] * (space - len(middle))
    return [_clipped(line, room) for line in (*top, *middle, *bottom)][:rows]


def _clipped(line: Line, room: int) -> Line:
    """No more of a line than fits."""
    found = []
    for style, text in line:
        part = cut(text, room)
        found.append(Span(style, part))
        room -= cells(part)
        if len(part) < len(text):
            break
    return tuple(found)


def _beside(left: Line, right: Line, room: int) -> Line:
    """One at each end; the right one is left out where both do not fit."""
    gap = room - _width(left) - _width(right)
    return (*left, Span("", " " * gap), *right) if gap >= 2 else left


def _width(line: Line) -> int:
    return sum(cells(span.text) for span in line)


def _rule(room: int) -> Line:
    return (Span("dim", "─" * room),)


# ------------------------------------------------------------------------------ top and bottom


def _title(view: TalkView, seen: Seen, now: float, room: int) -> Line:
    lasted = now - view.started if view.started is not None else 0.0
    clock = f"{int(lasted) // 60:d}:{int(lasted) % 60:02d}"
    return _beside((Span("title", f" {plain(seen.title)} "),), (Span("dim", clock),), room)


def _meters(view: TalkView, seen: Seen, room: int) -> list[Line]:
    """The state, and the levels below it: beside one another where there is room."""
    style, words = _STATES[view.state]
    state: Line = (Span(style, f"● {words}"),)
    narrow = room < 48
    long = max(4, room - 13) if narrow else min(20, (room - 22) // 2)
    microphone = _meter("mic", seen.microphone, long, muted=seen.silenced)
    loudspeaker = _meter("speaker", seen.loudspeaker, long)
    if narrow:
        return [state, microphone, loudspeaker]
    first = _beside(state, (Span("dim", seen.duplex),), room)
    return [first, (*microphone, Span("", "   "), *loudspeaker)]


def _meter(name: str, level: float, long: int, *, muted: bool = False) -> Line:
    if muted:
        return (Span("dim", f"{name} "), Span("bad", "muted".ljust(long)[:long]))
    share = min(1.0, max(0.0, (level - QUIET) / (LOUD - QUIET)))
    full = round(share * long)
    hot = max(0, full - round(0.9 * long))
    return (
        Span("dim", f"{name} "),
        Span("agent", "█" * (full - hot)),
        Span("bad", "█" * hot),
        Span("dim", "·" * (long - full)),
    )


def _figures(view: TalkView, room: int) -> list[Line]:
    """The last turn's latency and what drafts were good for; the shorter the less room there is."""
    last = _last(view.last)
    drafts = f"drafts kept: {view.kept_drafts} of {view.drafts}" if view.drafts else ""
    saved = f"saved in all: {view.saved:.1f} s" if view.saved else ""
    for parts in ((*last, saved, drafts), (*last, saved), last, last[:1]):
        text = ", ".join(filter(None, parts))
        if cells(text) <= room:
            return [(Span("dim", text),)]
    return [(Span("dim", cut(last[0], room)),)]


def _last(times: TurnTimes | None) -> tuple[str, ...]:
    if times is None or times.ended is None or times.first_sound_sent is None:
        return ("no turn answered yet",)
    reaction = f"last turn: reaction {(times.first_sound_sent - times.ended) * 1000:.0f} ms"
    return (reaction, f"saved {times.saved * 1000:.0f} ms") if times.saved else (reaction,)


def _keys(seen: Seen, room: int) -> Line:
    if seen.typing is None:
        fitting = max(n for n in range(len(KEYS) + 1) if _width(_named(KEYS[:n])) <= room + 3)
        return _named(KEYS[:fitting])
    text = ending(plain_line(seen.typing), max(8, room - 3), "…")
    line = (Span("caller", "> "), Span("bold", text), Span("caller", "▏"))
    return _beside(line, _named(TYPING), room)


def plain_line(text: str) -> str:
    """What is being typed, with the space at its end."""
    return plain(text) + (" " if text.endswith(" ") and text.strip() else "")


def _named(keys: Iterable[tuple[str, str]]) -> Line:
    parts = ((Span("bold", key), Span("dim", f" {does}   ")) for key, does in keys)
    return tuple(span for part in parts for span in part)


def _help(room: int) -> list[Line]:
    lines: list[Line] = []
    for key, means in HELP:
        for at, part in enumerate(wrap(means, max(10, room - 12))):
            lines.append((Span("bold", (key if not at else "").ljust(11)), Span("", part)))
    return lines


# ---------------------------------------------------------------------------- the conversation


def _conversation(view: TalkView, seen: Seen, now: float, room: int, space: int) -> list[Line]:
    """What was said, and below it what is being said: as many of the last lines as there is room.

    What is said now stands in the order in which it will be heard: the reply on its way is to the
    turn before the one that is open.
    """
    found: list[Line] = []
    for words in reversed(_now(view, now)):
        found[:0] = _wrapped(*words, room)
    for said in reversed(view.lines):
        if len(found) >= space:
            break
        found[:0] = _wrapped(*_then(said), room)
    return found


Words = tuple[Style, str, Sequence[Span]]
"""The label's style, the label, what follows it."""


def _then(said: Said) -> Words:
    return _WHOSE[said.who], said.label, [Span("dim" if said.dim else "", said.text)]


def _now(view: TalkView, now: float) -> list[Words]:
    lines: list[Words] = []
    reply, draft = view.reply, view.draft
    if reply is not None and reply.text.strip():
        heard, rest = reply.parts(now)
        lines.append(("agent", "agent", [Span("agent", heard), Span("dim", rest)]))
    if view.caller:
        lines.append(("caller", "you", [Span("", view.caller), Span("dim", " …")]))
    if draft is not None:
        lines.append(("busy", "draft", [Span("dim", draft.text.strip() or "…")]))
    return lines


def _wrapped(style: Style, label: str, spans: Sequence[Span], room: int) -> list[Line]:
    """A label, and words in lines beside it; below it where there is little room."""
    narrow = room < 40
    indent = 2 if narrow else LABEL
    text = "".join(span.text for span in spans)
    begin = len(text) - len(text.lstrip())
    head = Span(style, cut(label, LABEL - 1).ljust(indent))
    lines: list[Line] = [(head,)] if narrow and label else []
    at = 0
    for number, part in enumerate(wrap(text[begin:], max(8, room - indent))):
        lead = head if not number and not narrow else Span("", " " * indent)
        lines.append((lead, *_styled(spans, begin + at, part)))
        at += len(part)
    return lines


def _styled(spans: Sequence[Span], begin: int, part: str) -> Iterable[Span]:
    """The stretches of a line that is a part of several, in their styles."""
    end = begin + len(part.rstrip())
    at = 0
    for style, text in spans:
        if piece := text[max(0, begin - at) : max(0, end - at)]:
            yield Span(style, piece)
        at += len(text)
