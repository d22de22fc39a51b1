"""The log of a call for its report: a row for each event and each command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, cast

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall
from agentkit.core.policy import Policy
from agentkit.core.words import hide_keys
from agentkit.observe.record import Entry

GROUPS = {
    "caller": (
        ev.TurnStarted, ev.TurnUpdated, ev.TurnMaybeEnded, ev.TurnResumed, ev.TurnEnded,
        ev.KeyPressed, ev.DigitsExpected, ev.FloorJudged, ev.Muted, ev.ActedUpon,
        ev.Listening, ev.AnswersExpected,
        cmd.TurnCommitted, cmd.TurnSettled, cmd.TurnClosed, cmd.BackchannelHeard, cmd.EchoHeard,
        cmd.DigitsCollected, cmd.SilenceNoticed,
    ),
    "reply": (
        ev.ReplyText, ev.ReplyDone, ev.SayRequested, ev.SayCancelled, ev.ReplyRequested,
        ev.InterruptRequested, ev.HistoryWritten, ev.Touched,
        ev.ModelAsked, ev.ModelCounted, ev.ModelAnswered,
        cmd.StartReply, cmd.Adopt, cmd.Commit, cmd.Park, cmd.Discard, cmd.ReplyEnded,
        cmd.DraftBooked, cmd.DraftDeclined,
    ),
    "voice": (
        ev.SpeechMade, ev.SoundSent, ev.PlayoutReached,
        cmd.Speak, cmd.EndSpeech, cmd.Play, cmd.ClearPlayout,
    ),
    "tools": (ev.ToolRequested, ev.ToolReturned, cmd.RunTool),
    "trouble": (
        ev.ReplyFailed, ev.SourceLost, ev.SourceFailed, ev.SourceOddity,
        cmd.ErrorRaised, cmd.Oddity, cmd.Reconnect,
    ),
}  # fmt: skip
"""What a row is about; all else is ``call``."""

_GROUP_OF: dict[type, str] = {kind: group for group, kinds in GROUPS.items() for kind in kinds}
_TICKS = (ev.PlayoutReached, ev.SpeechMade, ev.TimerFired, cmd.SetTimer, cmd.CancelTimer)
_CLOCK = frozenset({"speech_start", "speech_end", "at"})
"""Fields with times on the session's clock, besides those of `TurnTimes`."""
_ASIDE = frozenset({"words", "sequence", "connection", "keys"})
"""Fields that a row does without."""

Row = list[Any]


def log_rows(entries: Sequence[Entry]) -> list[Row]:
    """Rows of (seconds from the first event, group, what it is, details, 1 for a tick).

    A command stands below the event that it followed, with an arrow before its name. A tick is
    one of the many that say that time passes or work goes on.
    """
    return list(_Rows(entries[0][0] if entries else 0.0).of(entries))


class _Rows:
    def __init__(self, start: float) -> None:
        self._start = start
        self._heard: dict[int, str] = {}

    def of(self, entries: Sequence[Entry]) -> Iterator[Row]:
        for now, event, commands in entries:
            at = round(now - self._start, 3)
            yield [at, *self._row(event, "")]
            for command in commands:
                yield [at, *self._row(command, "→ ")]

    def _row(self, value: ev.Event | cmd.Command, arrow: str) -> Row:
        tick = isinstance(value, _TICKS) or self._says_nothing_new(value)
        group = _GROUP_OF.get(type(value), "call")
        return [group, arrow + type(value).__name__, self._told(_hidden(value)), int(tick)]

    def _says_nothing_new(self, value: ev.Event | cmd.Command) -> bool:
        if not isinstance(value, ev.TurnEvent):
            return False
        before = self._heard.get(value.index, "")
        self._heard[value.index] = value.text
        return isinstance(value, ev.TurnUpdated) and value.text == before

    def _told(self, value: Any) -> str:
        """The fields that say something, each with its name but for the text."""
        parts = []
        for field in fields(value):
            given = getattr(value, field.name)
            if field.name in _ASIDE or given is None or given == "" or given == ():
                continue
            if field.default is not MISSING and given == field.default:
                continue
            shown = self._shown(field.name, given, clock=isinstance(value, cmd.TurnTimes))
            parts.append(shown if field.name in ("text", "call", "calls", "times") else
                         f"{field.name.replace('_', ' ')} {shown}")  # fmt: skip
        return " · ".join(parts)

    def _shown(self, name: str, given: Any, *, clock: bool) -> str:
        if isinstance(given, float):
            moved = (clock and name != "saved") or name in _CLOCK
            return f"{given - self._start if moved else given:.3f}"
        if isinstance(given, bool):
            return "yes" if given else "no"
        if isinstance(given, ToolCall):
            return f"{given.name}({given.arguments})"
        if isinstance(given, Policy):
            return "changed"
        if isinstance(given, tuple | frozenset):
            items = sorted(given) if isinstance(given, frozenset) else given
            return ", ".join(self._shown(name, item, clock=clock) for item in items)
        if is_dataclass(given):
            return self._told(given)
        return f"“{given}”" if name == "text" else str(given)


def _hidden(value: ev.Event | cmd.Command) -> Any:
    """The same without the keys that were pressed (T25)."""
    match value:
        case ev.KeyPressed():
            return ev.KeyPressed("·")
        case cmd.DigitsCollected(digits=digits):
            return replace(value, digits="·" * len(digits))
        case cmd.TurnCommitted(text=text, keys=keys):
            return replace(value, text=hide_keys(text, keys))
        case _:
            return cast("Any", value)
