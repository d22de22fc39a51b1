"""What there is to see of a conversation: kept up to date with every event, drawn by `picture`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.words import hide_keys
from agentkit.observe.cells import plain

State = Literal[
    "connecting", "lost", "listening", "hearing", "drafting", "answering", "speaking", "held",
    "ending",
]  # fmt: skip

KEPT = 400
"""Lines of the conversation that are kept to be shown."""
GUESS = 0.3
"""Seconds beyond its last proof for which playout is taken to have gone on."""

Who = Literal["caller", "agent", "note", "bad"]


@dataclass(frozen=True, slots=True)
class Said:
    """A line of the conversation that will not change any more.

    Args:
        who: whose it is; ``note``: what happened; ``bad``: what went wrong.
        label: stands before it.
        text: harmless to a terminal.
        dim: of less weight.
    """

    who: Who
    label: str
    text: str = field(repr=False)
    dim: bool = False


@dataclass(slots=True)
class Reply:
    """A reply that is being written or heard."""

    started: float
    draft: bool
    text: str = field(default="", repr=False)
    pieces: list[tuple[str, float]] = field(default_factory=list, repr=False)
    """What the voice was given, and how many seconds it has made of it."""
    begin: float = 0.0
    """Where in its speech playout began, in seconds."""
    heard: float = 0.0
    """How much of it was heard, in seconds."""
    heard_at: float | None = None
    """When that was reported; None: it is not being heard."""

    def parts(self, now: float) -> tuple[str, str]:
        """Its text: what was heard of it by now, and the rest."""
        heard = self.heard
        if self.heard_at is not None:
            heard += min(now - self.heard_at, GUESS)
        count = 0
        for text, seconds in self.pieces:
            share = min(1.0, heard / seconds) if seconds else 0.0
            count += round(share * len(text))
            if share < 1:
                break
            heard -= seconds
        while 0 < count < len(self.text) and self.text[count - 1 : count + 1].isalnum():
            count -= 1  # a word is heard when it is over
        return self.text[:count], self.text[count:]


class TalkView:
    """An observer of a session that keeps what can be seen of it.

    Attributes:
        lines: what was said and what happened, oldest first.
        caller: the words of the caller's open turn so far.
        replies: those that are being written or heard, by their id.
        playing: the id of the one that has the floor; None: none has.
        last: the times of the last turn that was answered.
        saved: seconds that drafts have saved in all.
        drafts: how many were begun; `kept_drafts`: how many of them became the reply.
        ending: the call will be over once all that is being said was heard.
    """

    def __init__(self) -> None:
        self.lines: deque[Said] = deque(maxlen=KEPT)
        self.caller = ""
        self.replies: dict[int, Reply] = {}
        self.playing: int | None = None
        self.last: cmd.TurnTimes | None = None
        self.saved = 0.0
        self.drafts = self.kept_drafts = 0
        self.turns = 0
        self.ending = False
        self.started: float | None = None
        self.changed = True
        self._listens: bool | None = None
        self._open = False
        self._held = False
        self._parked: dict[int, Reply] = {}
        self._epoch = -1

    @property
    def state(self) -> State:
        """What goes on, in a word."""
        if self.ending:
            return "ending"
        if self._listens is False:
            return "lost"
        if self._held:
            return "held"
        if self.playing is not None and self.replies[self.playing].heard_at is not None:
            return "speaking"
        if any(reply.draft for reply in self.replies.values()):
            return "drafting"
        if self._open:
            return "hearing"
        if self.replies:
            return "answering"
        return "listening" if self._listens else "connecting"

    @property
    def draft(self) -> Reply | None:
        """The draft that is being written."""
        return next((reply for reply in self.replies.values() if reply.draft), None)

    @property
    def reply(self) -> Reply | None:
        """The reply that is being heard, or will be next."""
        if self.playing is not None:
            return self.replies[self.playing]
        return next((reply for reply in self.replies.values() if not reply.draft), None)

    def note(self, text: str, who: Who = "note", label: str = "") -> None:
        """Show a line of its own."""
        if text := plain(text):
            self.lines.append(Said(who, label, text, dim=who == "note"))
            self.changed = True

    def __call__(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        """Take what happened and what followed."""
        self.changed = True
        if self.started is None:
            self.started = now
        self._take(now, event)
        for command in commands:
            self._follow(now, command)

    def _take(self, now: float, event: ev.Event) -> None:
        match event:
            case ev.TurnEnded():
                self.caller, self._open = "", False
            case (
                ev.TurnStarted(text=text)
                | ev.TurnUpdated(text=text)
                | ev.TurnMaybeEnded(text=text)
                | ev.TurnResumed(text=text)
            ):
                self._open = True
                self.caller = plain(text) or self.caller
            case ev.SourceConnected():
                self._listens = True
            case ev.SourceLost(reason=reason):
                self._listens = False
                self.note(f"the connection is lost ({reason}), and is made again", "bad", "lost")
            case ev.SourceFailed(message=message):
                self._listens = False
                self.note(message, "bad", "lost")
            case ev.ReplyText(reply=reply, text=text) if reply in self.replies:
                self.replies[reply].text += plain_inside(text)
            case ev.SpeechMade(reply=reply, piece=piece, seconds=seconds):
                self._made(reply, piece, seconds)
            case ev.SoundSent(reply=reply, silent=False) if reply == self.playing:
                self.replies[reply].heard_at = now
            case ev.PlayoutReached(epoch=epoch, seconds=seconds) if epoch == self._epoch:
                self._reached(now, seconds)
            case ev.HangUpRequested():
                self.ending = True
            case _:
                pass

    def _made(self, reply: int, piece: int, seconds: float) -> None:
        pieces = self.replies[reply].pieces if reply in self.replies else []
        if piece < len(pieces):
            text, before = pieces[piece]
            pieces[piece] = text, before + seconds

    def _reached(self, now: float, seconds: float) -> None:
        if self.playing is not None:
            reply = self.replies[self.playing]
            reply.heard = reply.begin + seconds
            reply.heard_at = now

    def _follow(self, now: float, command: cmd.Command) -> None:
        match command:
            case cmd.StartReply(reply=reply, draft=draft, text=text):
                self.replies[reply] = Reply(now, draft)
                self.drafts += draft
            case cmd.Speak(reply=reply, piece=piece, text=text) if self._adopted(reply):
                self.replies[reply].pieces[piece:] = [(text, 0.0)]
            case cmd.Commit(reply=reply) if self._adopted(reply):
                self.replies[reply].draft = False
                self.kept_drafts += 1
            case cmd.Park(reply=reply) if reply in self.replies:
                self._parked[reply] = self.replies[reply]
                self._dropped(now, reply, "parked")
            case cmd.Discard(reply=reply, reason=reason):
                self._parked.pop(reply, None)
                self._dropped(now, reply, reason)
            case cmd.Play(reply=reply, epoch=epoch, offset=offset) if reply in self.replies:
                self.playing, self._epoch, self._held = reply, epoch, False
                playing = self.replies[reply]
                playing.begin = playing.heard = offset
                playing.heard_at = None
            case cmd.ClearPlayout():
                self._cleared()
            case cmd.ReplyEnded(reply=reply, heard=heard, interrupted=cut):
                self._gone(reply)
                if heard:
                    self.lines.append(
                        Said("agent", "agent", plain(heard) + ("  (interrupted)" if cut else ""))
                    )
            case _:
                self._tell(command)

    def _tell(self, command: cmd.Command) -> None:
        match command:
            case cmd.TurnCommitted(text=text, keys=keys):
                self.turns += 1
                self.lines.append(Said("caller", "you", plain(hide_keys(text, keys))))
            case cmd.TurnClosed(times=times, outcome=outcome):
                if outcome == "heard":
                    self.last = times
                self.saved += times.saved
            case cmd.BackchannelHeard(text=text):
                self.note(f"{text}  (attention, no turn)", label="you")
            case cmd.EchoHeard(text=text):
                self.note(f"{text}  (echo of the agent)", label="you")
            case cmd.SilenceNoticed(count=count):
                self.note(f"nobody has spoken for long ({count})", label="silence")
            case cmd.RunTool(call=call):
                self.note(call.name, label="tool")
            case cmd.ErrorRaised(code=code):
                self.note(code, "bad", "error")
            case cmd.HangUp():
                self.ending = True
            case _:
                pass

    def _adopted(self, reply: int) -> bool:
        """Whether there is such a reply; one that was parked is there again."""
        if reply in self._parked:
            self.replies[reply] = self._parked.pop(reply)
        return reply in self.replies

    def _cleared(self) -> None:
        if self.playing is not None:
            self._held = True
            self.replies[self.playing].heard_at = None

    def _dropped(self, now: float, reply: int, reason: str) -> None:
        """Of a draft a dim line stays; of a reply that was heard `ReplyEnded` tells."""
        found = self._gone(reply)
        if found is None or not found.draft:
            return
        why = reason.replace("_", " ")
        words = f': "{found.text.strip()}"' if found.text.strip() else ""
        self.note(f"({why}) after {(now - found.started) * 1000:.0f} ms{words}", label="draft")

    def _gone(self, reply: int) -> Reply | None:
        if self.playing == reply:
            self.playing, self._held = None, False
        return self.replies.pop(reply, None)


def plain_inside(text: str) -> str:
    """`plain`, with the spaces at the ends: a piece of a text that goes on."""
    inner = plain(text)
    if not inner:
        return " " if text else ""
    return (" " if text[0].isspace() else "") + inner + (" " if text[-1].isspace() else "")
