"""What happened in a call, put together from its events and commands.

`summarise` reads a record once; the timeline, the report and tests look at what it found. Times are
seconds from the first event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Ledger
from agentkit.core.policy import Policy
from agentkit.core.spending import Books
from agentkit.core.words import hide_keys

Edge = Literal["started", "maybe_ended", "resumed", "ended"]
Fate = Literal["open", "parked", "discarded", "committed"]
HoldEnd = Literal["open", "went_on", "interrupted", "taken_back", "given_up"]

_EDGES: dict[type, Edge] = {
    ev.TurnStarted: "started",
    ev.TurnMaybeEnded: "maybe_ended",
    ev.TurnResumed: "resumed",
    ev.TurnEnded: "ended",
}

_HOLD_ENDS: dict[str, HoldEnd] = {
    "interrupted": "interrupted",
    "keys": "interrupted",
    "taken_back": "taken_back",
}


@dataclass(slots=True)
class SpeechSummary:
    """A stretch of the caller's speech, as the source reported it.

    Args:
        began: the first word's start where the source gives it, else its first event's time.
        ended: likewise the last word's end, else its last event's time.
        text: the last words reported for it.
        edges: what the source said when, in the order it was said.
        arrivals: (when, number of words known from then on), one for each that had more words.
        turn: the committed turn it became part of.
        backchannel: it was a sound of attention.
        echo: it was the agent's own words, back through the caller's line.
    """

    began: float
    ended: float
    text: str = ""
    edges: list[tuple[float, Edge]] = field(default_factory=list)
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    turn: int | None = None
    backchannel: bool = False
    echo: bool = False


@dataclass(slots=True)
class DraftSummary:
    """A reply begun before its turn was over.

    Args:
        reply: its id.
        turn: the turn it would answer.
        began: when it was started.
        ended: when its fate was sealed; for one still open, the call's end.
        parked: when it was parked, if it was.
        fate: what became of it.
        reason: why it was discarded.
        text: what was written of it by then.
        given: what of that the voice was given by then.
    """

    reply: int
    turn: int | None
    began: float
    ended: float
    parked: float | None = None
    fate: Fate = "open"
    reason: str = ""
    text: str = ""
    given: str = ""


@dataclass(slots=True)
class ReplySummary:
    """What the agent said.

    Args:
        reply: its id.
        turn: the turn it answers, if it answers one.
        kind: as `StartReply` has it.
        began: when it was begun; a draft, before its turn was over.
        spans: when it was being played; a hold makes two of one.
        text: all that was written of it.
        given: what of that the voice was given.
        heard: what left the loudspeaker.
        interrupted: the caller took the floor.
        ended: when it was over; None: the record ends before.
        discarded: why it was given up, if it was.
    """

    reply: int
    turn: int | None
    kind: cmd.Kind
    began: float = 0.0
    spans: list[tuple[float, float]] = field(default_factory=list)
    text: str = ""
    given: str = ""
    heard: str = ""
    interrupted: bool = False
    ended: float | None = None
    discarded: str = ""


@dataclass(slots=True)
class HoldSummary:
    """The agent's speech was stopped, for a moment or for good (rules T16, T17).

    Args:
        reply: what was being said.
        began: when it stopped.
        ended: when it was known what follows; for one still open, the call's end.
        end: what followed.
    """

    reply: int
    began: float
    ended: float
    end: HoldEnd = "open"


@dataclass(slots=True)
class ToolSummary:
    """A tool that was run.

    Args:
        reply: which one asked for it.
        name: the tool's.
        arguments: JSON text, as the model wrote it.
        began: when it was started.
        ended: when it returned; None: the record ends before.
        result: what the model got to read.
    """

    reply: int
    name: str
    arguments: str
    began: float
    ended: float | None = None
    result: str = ""


@dataclass(slots=True)
class LossSummary:
    """The source of turns was gone, from ``began`` until it was there again, or None (T14)."""

    began: float
    reason: str
    ended: float | None = None


@dataclass(slots=True)
class TurnSummary:
    """A committed turn.

    Args:
        id: its number.
        text: what the caller said; a dot stands for a key that was pressed.
        committed: when.
        outcome: what became of it; None: the record ends before.
        times: when things happened, in seconds from the first event (rule T21).
    """

    id: int
    text: str
    committed: float
    outcome: cmd.Outcome | None = None
    times: cmd.TurnTimes | None = None

    @property
    def reaction(self) -> float | None:
        """Seconds from the end of the turn to the first sound given to the transport."""
        if self.times is None or self.times.ended is None or self.times.first_sound_sent is None:
            return None
        return max(0.0, self.times.first_sound_sent - self.times.ended)


@dataclass(slots=True)
class CallSummary:
    """A call. It holds what the caller said: it is personal data.

    Args:
        duration: seconds from the first event to the last.
        reason: why it ended; None: the record breaks off.
        speech: the caller's stretches of speech, in order.
        turns: the committed turns, in order.
        drafts: all that were begun, in order.
        replies: all of which sound was played, in order.
        unplayed: those of which none was, drafts that were not committed left aside.
        holds: each time that the agent's speech was stopped, in order.
        tools: the tools that were run, in order.
        keys: (when, how many) keys made a turn.
        silences: (when, for the how many-th time in a row) nobody had said anything for long.
        losses: when the source of turns was gone.
        errors: (when, code) of the failures that were the caller's concern.
        oddities: what the source did out of order, counted by kind (rule T13).
    """

    duration: float = 0.0
    reason: str | None = None
    speech: list[SpeechSummary] = field(default_factory=list)
    turns: list[TurnSummary] = field(default_factory=list)
    drafts: list[DraftSummary] = field(default_factory=list)
    replies: list[ReplySummary] = field(default_factory=list)
    unplayed: list[ReplySummary] = field(default_factory=list)
    holds: list[HoldSummary] = field(default_factory=list)
    tools: list[ToolSummary] = field(default_factory=list)
    keys: list[tuple[float, int]] = field(default_factory=list)
    silences: list[tuple[float, int]] = field(default_factory=list)
    losses: list[LossSummary] = field(default_factory=list)
    errors: list[tuple[float, str]] = field(default_factory=list)
    oddities: Counter[str] = field(default_factory=Counter)

    @property
    def fates(self) -> Counter[str]:
        """How many drafts ended how."""
        return Counter(draft.fate for draft in self.drafts)

    @property
    def saved(self) -> float:
        """Seconds saved by drafts, in all."""
        return sum(turn.times.saved for turn in self.turns if turn.times)


def summarise(
    entries: Iterable[tuple[float, ev.Event, Sequence[cmd.Command]]],
) -> CallSummary:
    """Put a call together from (seconds on the session's clock, event, commands) in order."""
    collector = _Collector()
    for entry in entries:
        collector.take(*entry)
    return collector.done()


def ledger_of(
    entries: Iterable[tuple[float, ev.Event, Sequence[cmd.Command]]], policy: Policy
) -> Ledger:
    """What the drafts of a recorded call cost and saved (rule T9).

    Args:
        entries: as in `summarise`.
        policy: the settings that the call began with.
    """
    books, prices = Books(), policy.speculation.prices
    for _, event, commands in entries:
        if isinstance(event, ev.PolicyChanged):
            prices = event.policy.speculation.prices
        for command in commands:
            books.take(command)
    return books.ledger(prices)


class _Collector:
    def __init__(self) -> None:
        self.call = CallSummary()
        self._start: float | None = None
        self._now = 0.0
        self._open: dict[tuple[int, int], SpeechSummary] = {}
        self._turns: dict[int, TurnSummary] = {}
        self._drafts: dict[int, DraftSummary] = {}
        self._replies: dict[int, ReplySummary] = {}
        self._playing: tuple[int, float] | None = None
        self._sounded: set[int] = set()
        self._tools: dict[str, ToolSummary] = {}

    def take(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        if self._start is None:
            self._start = now
        self._now = now - self._start
        if isinstance(event, ev.TurnEvent):
            self._hear(event)
        else:
            self._note(event)
        for command in commands:
            self._decide(command)
            self._speak(command)
            self._remark(command)

    def done(self) -> CallSummary:
        self._stop()
        for draft in self._drafts.values():
            if draft.fate in ("open", "parked"):
                draft.ended = self._now
        for draft in self._drafts.values():
            draft.text = draft.text.strip()
        for hold in self.call.holds:
            if hold.end == "open":
                hold.ended = self._now
        self.call.duration = self._now
        self.call.replies = sorted(
            (reply for reply in self._replies.values() if reply.spans),
            key=lambda reply: reply.spans[0],
        )
        given_up = {draft.reply for draft in self.call.drafts if draft.fate != "committed"}
        self.call.unplayed = [
            reply
            for reply in self._replies.values()
            if not reply.spans and reply.reply not in given_up
        ]
        return self.call

    def _clock(self, at: float | None) -> float | None:
        return None if at is None or self._start is None else at - self._start

    # ----------------------------------------------------------------------------- events

    def _hear(self, event: ev.TurnEvent) -> None:
        key = (event.connection, event.index)
        speech = self._open.get(key)
        if speech is None:
            if not event.text and not isinstance(event, ev.TurnStarted | ev.TurnEnded):
                return  # The source reports that it hears nothing.
            began = self._clock(event.speech_start)
            speech = SpeechSummary(self._now if began is None else min(began, self._now), self._now)
            self._open[key] = speech
            self.call.speech.append(speech)
        count = len(event.text.split())
        if event.text:
            speech.text = event.text
            ended = self._clock(event.speech_end)
            speech.ended = max(speech.began, self._now if ended is None else ended)
            if count > (speech.arrivals[-1][1] if speech.arrivals else 0):
                speech.arrivals.append((self._now, count))
        for kind, edge in _EDGES.items():
            if isinstance(event, kind):
                speech.edges.append((self._now, edge))

    def _note(self, event: ev.Event) -> None:
        match event:
            case ev.ReplyText(reply=reply, text=text):
                if reply in self._replies:
                    self._replies[reply].text += text
                if (draft := self._drafts.get(reply)) and draft.fate in ("open", "parked"):
                    draft.text += text
            case ev.SoundSent(reply=reply, silent=False):
                self._sounded.add(reply)
                if self._playing is not None and self._playing[0] == reply:
                    self._playing = (reply, self._now)
            case ev.ToolReturned(call_id=call, text=text) if tool := self._tools.get(call):
                tool.ended, tool.result = self._now, text
            case ev.SourceLost(reason=reason):
                self.call.losses.append(LossSummary(self._now, reason))
            case ev.SourceConnected() if self.call.losses and self.call.losses[-1].ended is None:
                self.call.losses[-1].ended = self._now
            case ev.CallEnded(reason=reason):
                self.call.reason = reason
            case _:
                pass

    # --------------------------------------------------------------------------- commands

    def _decide(self, command: cmd.Command) -> None:
        """Turns and drafts."""
        match command:
            case cmd.StartReply(draft=True, reply=reply, turn=turn):
                self._drafts[reply] = DraftSummary(reply, turn, self._now, self._now)
                self.call.drafts.append(self._drafts[reply])
            case cmd.Commit(reply=reply) if draft := self._drafts.get(reply):
                draft.fate, draft.ended = "committed", self._now
            case cmd.Park(reply=reply) if draft := self._drafts.get(reply):
                draft.fate, draft.parked = "parked", self._now
            case cmd.Discard(reply=reply, reason=reason) if draft := self._drafts.get(reply):
                if draft.fate != "committed":
                    draft.fate, draft.reason, draft.ended = "discarded", reason, self._now
            case cmd.TurnCommitted(turn=turn, text=text, keys=keys):
                self._turns[turn] = TurnSummary(turn, hide_keys(text, keys), self._now)
                self.call.turns.append(self._turns[turn])
                for speech in self._latest():
                    speech.turn = turn
            case cmd.TurnClosed(turn=turn) if found := self._turns.get(turn):
                found.outcome, found.times = command.outcome, self._times(command.times)
            case cmd.BackchannelHeard():
                for speech in self._latest():
                    speech.backchannel = True
            case cmd.EchoHeard():
                for speech in self._latest():
                    speech.echo = True
            case _:
                pass

    def _remark(self, command: cmd.Command) -> None:
        """Tools, keys, silence, and what went wrong."""
        match command:
            case cmd.RunTool(reply=reply, call=call):
                tool = ToolSummary(reply, call.name, call.arguments, self._now)
                self._tools[call.id] = tool
                self.call.tools.append(tool)
            case cmd.DigitsCollected(digits=digits):
                self.call.keys.append((self._now, len(digits)))
            case cmd.SilenceNoticed(count=count):
                self.call.silences.append((self._now, count))
            case cmd.ErrorRaised(code=code):
                self.call.errors.append((self._now, code))
            case cmd.Oddity(kind=kind):
                self.call.oddities[kind] += 1
            case _:
                pass

    def _speak(self, command: cmd.Command) -> None:
        """The agent's speech."""
        match command:
            case cmd.StartReply(reply=reply, turn=turn, kind=kind):
                self._replies[reply] = ReplySummary(reply, turn, kind, self._now)
            case cmd.Speak(reply=reply, text=text) if found := self._replies.get(reply):
                found.given += text
                if (draft := self._drafts.get(reply)) and draft.fate in ("open", "parked"):
                    draft.given += text
            case cmd.Play(reply=reply):
                self._release(reply, "went_on")
                self._stop()
                self._playing = (reply, self._now)
            case cmd.ClearPlayout():
                if self._playing is not None:
                    hold = HoldSummary(self._playing[0], self._now, self._now)
                    self.call.holds.append(hold)
                self._stop()
            case cmd.Discard(reply=reply, reason=reason) if found := self._replies.get(reply):
                found.discarded = reason
                self._release(reply, _HOLD_ENDS.get(reason, "given_up"))
            case cmd.ReplyEnded(reply=reply) if found := self._replies.get(reply):
                self._release(reply, "interrupted" if command.interrupted else "given_up")
                if self._playing is not None and self._playing[0] == reply:
                    self._stop()
                found.heard, found.interrupted = command.heard, command.interrupted
                found.ended = self._now
            case _:
                pass

    def _release(self, reply: int, end: HoldEnd) -> None:
        """What became of the reply that was stopped last."""
        for hold in self.call.holds[-1:]:
            if hold.end == "open" and hold.reply == reply:
                hold.end, hold.ended = end, self._now

    def _latest(self) -> list[SpeechSummary]:
        """What the caller said last, if no turn has it yet."""
        last = self.call.speech[-1:]
        return [one for one in last if one.turn is None and not (one.backchannel or one.echo)]

    def _stop(self) -> None:
        if self._playing is not None:
            reply, began = self._playing
            if reply in self._sounded and reply in self._replies:
                self._replies[reply].spans.append((began, self._now))
            self._playing = None

    def _times(self, times: cmd.TurnTimes) -> cmd.TurnTimes:
        """The same, from the first event on."""
        moved: dict[str, Any] = {
            one.name: self._clock(getattr(times, one.name))
            for one in fields(times)
            if one.name != "saved"
        }
        return replace(times, **moved)
