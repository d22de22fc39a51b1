"""The story of a conversation, told to the page of the caller who is in it.

Each message is JSON with a ``type`` and with ``at``, seconds since the conversation began:

=============  ====================================================================================
``began``      the conversation begins
``caller``     ``state`` (``started``, ``words``, ``maybe``, ``resumed``, ``ended``), ``text``: the
               open turn; at its end ``decided``, seconds since its last word
``turn``       ``turn``, ``text``: its final words
``merged``     ``turn``: its words are answered with those of the next one
``aside``      ``what`` (``attention``, ``echo``, ``silence``), ``text``: heard, and no turn
``reply``      ``reply``, ``turn``, ``kind``, ``draft``: one is begun
``text``       ``reply``, ``text``: more of it is written
``committed``  ``reply``, ``ahead``: the draft is the reply, and had so many seconds' start
``parked``     ``reply``: the draft is kept in case the words stay
``discarded``  ``reply``, ``reason``
``playing``    ``reply``: its sound is sent
``held``       playout has stopped
``heard``      ``reply``, ``letters``: so much of its text was heard
``said``       ``reply``, ``heard``, ``interrupted``: it is over
``times``      ``turn``, ``outcome``, and seconds, where they are known: ``decided`` from the last
               word to the end of the turn; from there ``reaction`` to the first sound sent and
               ``heard`` to the first sound heard; ``saved`` by the draft
``tool``       ``reply``, ``name``, ``call``: it runs
``returned``   ``call``: the tool is done
``trouble``    ``what``: ``lost``, ``found`` or a failure's code
``leaving``    ``why``: the agent hangs up
=============  ====================================================================================

What tools are called with, and what they return, is not told, nor are keys (rule T25).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentkit.carriers.base import write_json
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.words import hide_keys

_STATES: dict[type, str] = {
    ev.TurnStarted: "started",
    ev.TurnUpdated: "words",
    ev.TurnMaybeEnded: "maybe",
    ev.TurnResumed: "resumed",
    ev.TurnEnded: "ended",
}


@dataclass(slots=True)
class _Piece:
    letters: int
    seconds: float = 0.0
    done: bool = False


@dataclass(slots=True)
class _Told:
    """A reply, as far as the page was told of it."""

    begun: float
    draft: bool
    pieces: list[_Piece] = field(default_factory=list)
    offset: float = 0.0

    def letters(self, seconds: float) -> int:
        """How many letters of its text were heard after so many seconds of it."""
        heard = 0.0
        for piece in self.pieces:
            if seconds >= piece.seconds - 0.001 and piece.done:
                heard += piece.letters
                seconds -= piece.seconds
                continue
            length = piece.seconds if piece.done else max(piece.seconds, 0.065 * piece.letters)
            heard += piece.letters * min(1.0, max(seconds, 0.0) / length) if length else 0.0
            break
        return int(heard)


class Narrator:
    """Tells one page what happens. An observer of its session.

    Args:
        tell: takes each message; must not block.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._start: float | None = None
        self._at = 0.0
        self._replies: dict[int, _Told] = {}
        self._playing: int | None = None
        self._epoch = 0
        self._last_words = ""

    def __call__(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        """Tell of an event and of what followed."""
        if self._start is None:
            self._start = now
        self._at = round(now - self._start, 3)
        self._happened(event)
        for command in commands:
            self._decided(command)

    # ------------------------------------------------------------------------------- events

    def _happened(self, event: ev.Event) -> None:
        match event:
            case ev.CallStarted():
                self._say("began")
            case ev.TurnEvent():
                self._caller(event)
            case ev.ReplyText():
                if event.reply in self._replies:
                    self._say("text", reply=event.reply, text=event.text)
            case ev.SpeechMade():
                self._made(event)
            case ev.PlayoutReached():
                self._heard(event)
            case ev.ToolReturned():
                self._say("returned", call=event.call_id)
            case ev.SourceLost():
                self._say("trouble", what="lost")
            case ev.SourceConnected(connection=connection) if connection > 0:
                self._say("trouble", what="found")
            case _:
                pass

    def _caller(self, event: ev.TurnEvent) -> None:
        state = _STATES[type(event)]
        if state == "words" and event.text == self._last_words:
            return  # an update several times a second says nothing new
        self._last_words = event.text
        more = {}
        if state == "ended" and event.speech_end is not None and self._start is not None:
            more["decided"] = round(self._at - (event.speech_end - self._start), 3)
        self._say("caller", state=state, text=event.text, **more)

    def _made(self, event: ev.SpeechMade) -> None:
        told = self._replies.get(event.reply)
        if told is not None and event.piece < len(told.pieces):
            piece = told.pieces[event.piece]
            piece.seconds += event.seconds
            piece.done = piece.done or event.end

    def _heard(self, event: ev.PlayoutReached) -> None:
        if self._playing is None or event.epoch != self._epoch:
            return
        told = self._replies.get(self._playing)
        if told is not None:
            letters = told.letters(told.offset + event.seconds)
            self._say("heard", reply=self._playing, letters=letters)

    # ----------------------------------------------------------------------------- commands

    def _decided(self, command: cmd.Command) -> None:
        match command:
            case cmd.StartReply() | cmd.Commit() | cmd.Park() | cmd.Discard() | cmd.ReplyEnded():
                self._reply(command)
            case cmd.Speak(reply=reply, text=text):
                if reply in self._replies:
                    self._replies[reply].pieces.append(_Piece(len(text)))
            case cmd.Play() | cmd.ClearPlayout():
                self._playout(command)
            case cmd.TurnCommitted():
                text = hide_keys(command.text, command.keys)
                self._say("turn", turn=command.turn, text=text)
            case cmd.TurnClosed():
                self._closed(command)
            case cmd.BackchannelHeard(text=text):
                self._say("aside", what="attention", text=text)
            case cmd.EchoHeard(text=text):
                self._say("aside", what="echo", text=text)
            case cmd.SilenceNoticed():
                self._say("aside", what="silence", text="")
            case cmd.RunTool(reply=reply, call=call):
                self._say("tool", reply=reply, name=call.name, call=call.id)
            case cmd.ErrorRaised(code=code):
                self._say("trouble", what=code)
            case cmd.HangUp(reason=reason):
                self._say("leaving", why=reason)
            case _:
                pass

    def _reply(
        self, command: cmd.StartReply | cmd.Commit | cmd.Park | cmd.Discard | cmd.ReplyEnded
    ) -> None:
        reply = command.reply
        match command:
            case cmd.StartReply():
                self._replies[reply] = _Told(self._at, command.draft)
                self._say(
                    "reply",
                    reply=reply,
                    turn=command.turn,
                    kind=command.kind,
                    draft=command.draft,
                )
            case cmd.Commit() if reply in self._replies:
                ahead = round(self._at - self._replies[reply].begun, 3)
                self._say("committed", reply=reply, ahead=ahead)
            case cmd.Park():
                self._say("parked", reply=reply)
            case cmd.Discard():
                self._say("discarded", reply=reply, reason=command.reason)
                self._replies.pop(reply, None)
            case cmd.ReplyEnded():
                self._say("said", reply=reply, heard=command.heard, interrupted=command.interrupted)
                self._replies.pop(reply, None)

    def _playout(self, command: cmd.Play | cmd.ClearPlayout) -> None:
        self._epoch = command.epoch
        if isinstance(command, cmd.ClearPlayout):
            if self._playing is not None:
                self._playing = None
                self._say("held")
            return
        self._playing = command.reply
        if told := self._replies.get(command.reply):
            told.offset = command.offset
        self._say("playing", reply=command.reply)

    def _closed(self, command: cmd.TurnClosed) -> None:
        if command.outcome == "merged":
            self._say("merged", turn=command.turn)
            return
        times, ended = command.times, command.times.ended
        spans: dict[str, float | None] = {
            "decided": _span(times.speech_end, ended),
            "reaction": _span(ended, times.first_sound_sent),
            "heard": _span(ended, times.first_heard),
            "saved": times.saved,
        }
        known = {name: round(span, 3) for name, span in spans.items() if span is not None}
        self._say("times", turn=command.turn, outcome=command.outcome, **known)

    def _say(self, kind: str, /, **more: Any) -> None:
        self._tell(write_json({"type": kind, "at": self._at, **more}))


def _span(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else end - begin
