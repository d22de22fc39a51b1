"""A conversation shown in a terminal as it happens; plain lines where it is not a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.words import hide_keys
from agentkit.observe.cells import ending, plain, wrap

_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_COLOURS = {"caller": "\x1b[36m", "agent": "\x1b[32m", "note": "\x1b[33m"}
_LINE_START = "\r\x1b[K"
_MARGIN = 21
"""Columns before the words: the time and the label."""


class LiveView:
    """Shows turns as their words come, drafts as they are begun and thrown away, replies as heard.

    An observer of a session. If its stream fails (a closed pipe, say), it falls silent: the call
    goes on.

    Args:
        stream: where to write.
        tty: whether that is a terminal; None: find out. Only a terminal gets escape codes.
    """

    def __init__(self, stream: TextIO | None = None, tty: bool | None = None) -> None:
        self._stream = stream or sys.stdout
        self._tty = self._stream.isatty() if tty is None else tty
        self._start: float | None = None
        self._drafted: dict[int, float] = {}
        self._written: dict[int, str] = {}
        self._growing = ""
        self._silent = False

    def __call__(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        """Show an event and what followed."""
        if self._silent:
            return
        if self._start is None:
            self._start = now
        try:
            self._observe(now - self._start, event, commands)
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._silent = True

    def _observe(self, at: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        if isinstance(event, ev.ReplyText):
            self._written[event.reply] = self._written.get(event.reply, "") + event.text
        elif isinstance(event, ev.TurnUpdated | ev.TurnStarted | ev.TurnResumed) and event.text:
            self._grow(at, event.text)
        elif isinstance(event, ev.SourceLost):
            self._line(at, "note", "lost", f"the source of turns: {event.reason}")
        for command in commands:
            self._show(at, command)

    def _show(self, at: float, command: cmd.Command) -> None:
        match command:
            case cmd.StartReply(draft=True):
                self._drafted[command.reply] = at
                self._line(
                    at, "note", "draft", "a reply is drafted while the turn is open", dim=True
                )
            case cmd.Discard(reply=reply, reason=reason):
                self._discarded(at, reply, reason)
            case cmd.Park():
                self._line(
                    at, "note", "parked", "the draft is kept in case the words stay", dim=True
                )
            case cmd.Commit(reply=reply):
                ahead = at - self._drafted.pop(reply, at)
                self._line(at, "note", "committed", f"the draft is {ahead * 1000:.0f} ms ahead")
            case cmd.TurnCommitted(text=text, keys=keys):
                self._line(at, "caller", "caller", hide_keys(text, keys))
            case cmd.EchoHeard(text=text):
                self._line(at, "caller", "caller", f"{text}  (echo of the agent)", dim=True)
            case cmd.SilenceNoticed(count=count):
                self._line(at, "note", "silence", f"for the {count}. time", dim=True)
            case cmd.BackchannelHeard(text=text):
                self._line(at, "caller", "caller", f"{text}  (attention, no turn)", dim=True)
            case cmd.ReplyEnded(reply=reply, heard=heard, interrupted=cut):
                self._written.pop(reply, None)
                if heard:
                    self._line(at, "agent", "agent", heard + ("  (interrupted)" if cut else ""))
            case cmd.TurnClosed(times=times, outcome=outcome):
                self._times(at, times, outcome)
            case cmd.RunTool(call=call):
                self._line(at, "note", "tool", call.name)
            case cmd.ErrorRaised(code=code):
                self._line(at, "note", "error", code)
            case cmd.HangUp(reason=reason):
                self._line(at, "note", "hang up", reason)
            case _:
                pass

    def _discarded(self, at: float, reply: int, reason: str) -> None:
        """Only drafts are spoken of; of a reply that was heard `ReplyEnded` tells."""
        if reply not in self._drafted:
            return
        lived = at - self._drafted.pop(reply)
        text = self._written.pop(reply, "").strip()
        words = f': "{text}"' if text else ""
        self._line(
            at,
            "note",
            "discarded",
            f"({reason.replace('_', ' ')}) after {lived * 1000:.0f} ms{words}",
            dim=True,
        )

    def _times(self, at: float, times: cmd.TurnTimes, outcome: str) -> None:
        parts = [outcome.replace("_", " ")]
        if times.ended is not None and times.first_sound_sent is not None:
            reaction = (times.first_sound_sent - times.ended) * 1000
            parts.append(f"reaction {reaction:.0f} ms after the end of the turn")
        if times.saved:
            parts.append(f"{times.saved * 1000:.0f} ms saved by the draft")
        self._line(at, "note", "turn", ", ".join(parts), dim=True)

    def _grow(self, at: float, text: str) -> None:
        """The caller's words as they come, on one line that is written anew."""
        if not self._tty:
            return
        text = ending(plain(text), max(8, _columns() - _MARGIN - 1))
        self._growing = f"{_LINE_START}{at:7.2f}  {_DIM}{'caller':<10}  {text}{_RESET}"
        self._write(self._growing)

    def _line(self, at: float, who: str, label: str, text: str, *, dim: bool = False) -> None:
        text = plain(text)
        if not self._tty:
            self._write(f"{at:7.2f}  {label:<10}  {text}\n")
            return
        colour = _DIM if dim else _COLOURS[who]
        room = max(20, _columns() - _MARGIN - 1)
        first, *rest = (line.rstrip() for line in wrap(text, room))
        lines = [f"{at:7.2f}  {colour}{label:<10}  {first}{_RESET}\n"]
        lines += [f"{' ' * _MARGIN}{colour}{line}{_RESET}\n" for line in rest]
        # The line with the caller's growing words is kept below, until their turn has its own.
        below, self._growing = ("" if who == "caller" else self._growing), ""
        self._write((_LINE_START if below or who == "caller" else "") + "".join(lines) + below)
        self._growing = below

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self._stream.write(text.encode(error.encoding, "replace").decode(error.encoding))
        self._stream.flush()


def _columns() -> int:
    return shutil.get_terminal_size().columns
