"""A conversation shown in a terminal as it happens; plain lines where it is not a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from agentkit.core import commands as cmd
from agentkit.core import events as ev

_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_COLOURS = {"caller": "\x1b[36m", "agent": "\x1b[32m", "note": "\x1b[33m"}
_LINE_START = "\r\x1b[K"


class LiveView:
    """Shows turns as their words come, drafts as they are begun and thrown away, replies as heard.

    An observer of a session.

    Args:
        stream: where to write.
        tty: whether that is a terminal; None: find out.
    """

    def __init__(self, stream: TextIO | None = None, tty: bool | None = None) -> None:
        self._stream = stream or sys.stdout
        self._tty = self._stream.isatty() if tty is None else tty
        self._start: float | None = None
        self._drafted: dict[int, float] = {}
        self._written: dict[int, str] = {}
        self._growing = False

    def __call__(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        """Show an event and what followed."""
        if self._start is None:
            self._start = now
        at = now - self._start
        if isinstance(event, ev.ReplyText):
            self._written[event.reply] = self._written.get(event.reply, "") + event.text
        elif isinstance(event, ev.TurnUpdated | ev.TurnStarted | ev.TurnResumed) and event.text:
            self._grow(at, event.text)
        for command in commands:
            self._show(at, command)

    def _show(self, at: float, command: cmd.Command) -> None:
        match command:
            case cmd.StartReply(draft=True):
                self._drafted[command.reply] = at
                self._line(
                    at, "note", "draft", "a reply is drafted while the turn is open", dim=True
                )
            case cmd.Discard(reply=reply, reason=reason) if reply in self._drafted:
                text = self._written.get(reply, "")
                words = f': "{text.strip()}"' if text else ""
                self._line(
                    at, "note", "discarded", f"({reason.replace('_', ' ')}){words}", dim=True
                )
                del self._drafted[reply]
            case cmd.Park():
                self._line(
                    at, "note", "parked", "the draft is kept in case the words stay", dim=True
                )
            case cmd.Commit(reply=reply):
                ahead = at - self._drafted.pop(reply, at)
                self._line(at, "note", "committed", f"the draft is {ahead * 1000:.0f} ms ahead")
            case cmd.TurnCommitted(text=text):
                self._line(at, "caller", "caller", text)
            case cmd.BackchannelHeard(text=text):
                self._line(at, "caller", "caller", f"{text}  (attention, no turn)", dim=True)
            case cmd.ReplyEnded(heard=heard, interrupted=cut) if heard:
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

    def _times(self, at: float, times: cmd.TurnTimes, outcome: str) -> None:
        parts = [outcome]
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
        width = shutil.get_terminal_size().columns - 24
        shown = text if len(text) <= width else "..." + text[-(width - 3) :]
        self._stream.write(f"{_LINE_START}{at:7.2f}  {_DIM}caller      {shown}{_RESET}")
        self._stream.flush()
        self._growing = True

    def _line(self, at: float, who: str, label: str, text: str, *, dim: bool = False) -> None:
        if self._tty:
            begin = _LINE_START if self._growing else ""
            colour = _DIM if dim else _COLOURS[who]
            line = f"{begin}{at:7.2f}  {colour}{label:<10}  {text}{_RESET}"
        else:
            line = f"{at:7.2f}  {label:<10}  {text}"
        self._growing = False
        self._stream.write(line + "\n")
        self._stream.flush()
