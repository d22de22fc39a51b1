"""Replies from their first token to the last word that was heard of them (T5, T7, T8, T12).

The lowest of the layers of which `agentkit.core.machine` is made.
"""

from __future__ import annotations

from agentkit.core import events as ev
from agentkit.core.caller import Caller, Turn
from agentkit.core.commands import (
    CancelTimer,
    Command,
    Discard,
    DiscardReason,
    DraftBooked,
    EndSpeech,
    ErrorRaised,
    HangUp,
    Kind,
    Outcome,
    ReplyEnded,
    SetTimer,
    Speak,
    StartReply,
    TurnClosed,
)
from agentkit.core.economy import Ledger, Rung
from agentkit.core.floor import MARK_INTERVAL, Floor
from agentkit.core.history import History
from agentkit.core.policy import Digits, Policy
from agentkit.core.replies import Piece, Reply, ReplyState
from agentkit.core.segment import Pace, Segmenter
from agentkit.core.spending import Spending
from agentkit.core.times import saved, turn_times
from agentkit.core.worth import Judge

HOLD, SETTLE, FIRST_TEXT = "hold", "settle", "first_text"
STALLED_TURN, END_OF_TURN, GOODBYE = "stalled_turn", "end_of_turn", "goodbye"
FILLER, SILENCE, DIGITS = "filler", "silence", "digits"
LONGEST_TURN, LONGEST_CALL = "longest_turn", "longest_call"
PACE, REST, WORTH = "pace", "rest", "worth"
STALLED_REPLY = "stalled_reply"

_WHOLE = 1_000_000
"""Characters: longer than any text, so that it is not cut."""

REPLY_MOVES: dict[ReplyState, frozenset[ReplyState]] = {
    ReplyState.DRAFT: frozenset({ReplyState.PARKED, ReplyState.COMMITTED, ReplyState.ENDED}),
    ReplyState.PARKED: frozenset({ReplyState.DRAFT, ReplyState.ENDED}),
    ReplyState.COMMITTED: frozenset({ReplyState.ENDED}),
    ReplyState.ENDED: frozenset(),
}
"""Where a reply can go from where it stands."""


class Replying:
    """Keeps the replies, their speech and the turns they answer.

    Args:
        policy: the settings.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.history = History()
        self.ended = False
        self._out: list[Command] = []
        self._now = 0.0
        self._floor = Floor(self._emit)
        self._pace = Pace()
        self._spending = Spending()
        self._judge = Judge(policy.speculation.tuning)
        self._replies: dict[int, Reply] = {}
        self._turns: dict[int, Turn] = {}
        self._draft: Reply | None = None
        self._answer: Reply | None = None
        self._unsettled: Turn | None = None
        self._next_reply = 0
        self._timers: dict[str, float] = {}
        self._closing: str | None = None
        self.caller = Caller()
        self._parked: list[Reply] = []
        self._expecting: list[Reply] = []
        """Drafts of answers that are expected: of no turn yet."""
        self._listening = ev.Listening()
        self._keys: Turn | None = None
        self._digit_rules: Digits | None = None
        self._verdict: ev.FloorJudged | None = None
        self._silences = 0
        self._muted = False

    # --------------------------------------------------------------------------------- replies

    def _start(
        self,
        kind: Kind,
        *,
        turn: int | None = None,
        request: int | None = None,
        words: str = "",
        draft: bool = False,
        interruptible: bool = True,
        attempt: int = 1,
        text: str = "",
        rung: Rung | None = None,
    ) -> Reply:
        reply = Reply(
            id=self._next_reply,
            kind=kind,
            state=ReplyState.DRAFT if draft else ReplyState.COMMITTED,
            segmenter=self._segmenter(kind),
            started=self._now,
            progressed=self._now,
            version=self.history.version,
            turn=turn,
            request=request,
            words=words,
            interruptible=interruptible,
            attempt=attempt,
            rung=rung,
            line=text,
        )
        self._next_reply += 1
        self._replies[reply.id] = reply
        if rung is not None:
            self._spending.open(reply.id, rung)
        self._emit(StartReply(reply.id, kind, turn, request, draft, attempt, text, rung))
        return reply

    def _segmenter(self, kind: Kind) -> Segmenter:
        """An apology stays in one piece: that is how it was voiced ahead."""
        if kind == "apology":
            return Segmenter(_WHOLE, _WHOLE, _WHOLE)
        longest = self.policy.speculation.max_characters or 120
        return Segmenter(self._pace.first_characters, longest=longest)

    def _move(self, reply: Reply, state: ReplyState) -> None:
        assert state in REPLY_MOVES[reply.state], f"{reply.state} -> {state}"  # noqa: S101
        reply.state = state

    def _drop(self, reply: Reply, reason: DiscardReason) -> None:
        """Give a reply up, and a second attempt at the same words with it."""
        if reply.state is not ReplyState.COMMITTED:
            # What a draft's tools found is dropped with it (T6).
            reply.running.clear()
        self._book(reply, reason)
        self._retire(reply)
        self._floor.remove(reply, self._now)
        self._emit(Discard(reply.id, reason))
        twin = self._replies.get(reply.twin) if reply.twin is not None else None
        if twin is not None:
            twin.twin = None
            self._drop(twin, reason)

    def _book(self, reply: Reply, reason: DiscardReason | None = None) -> None:
        """T9: a draft is over. One of which something was heard was no loss."""
        if reply.rung is None:
            return
        adopted = reason is None or (reply.committed is not None and reply.first_heard is not None)
        cost, estimated = self._spending.close(
            reply.id, self.policy.speculation.prices, adopted=adopted
        )
        turn = self._turns.get(reply.turn) if adopted and reply.turn is not None else None
        gain = saved(turn, reply) if turn is not None else 0.0
        why = None if adopted else reason
        booked = DraftBooked(reply.id, reply.turn, reply.rung, adopted, why, cost, gain, estimated)
        self._spending.books.take(booked)
        self._emit(booked)
        if reply.rung == "expected" and (adopted or reason in ("words", "over")):
            self._judge.answered(held=adopted)

    @property
    def ledger(self) -> Ledger:
        """What drafts have cost and saved by now; those that are not over are not in it."""
        return self._spending.books.ledger(self.policy.speculation.prices)

    def _retire(self, reply: Reply) -> None:
        self._move(reply, ReplyState.ENDED)
        if not reply.running:
            self._replies.pop(reply.id, None)
        if self._answer is reply:
            self._answer = None
            self._cancel(FIRST_TEXT)

    def _live(self, reply: int) -> Reply | None:
        """The reply of that id, unless it has ended (T5)."""
        found = self._replies.get(reply)
        if found is None or found.state in (ReplyState.ENDED, ReplyState.PARKED):
            return None
        if found.twin is not None:
            self._win(found)
        return found

    def _win(self, reply: Reply) -> None:
        """Of two attempts at the same words this one answered first (T7)."""
        other = self._replies[reply.twin] if reply.twin is not None else reply
        reply.twin = other.twin = None
        reply.committed = other.committed if reply.committed is None else reply.committed
        self._floor.replace(other, reply)
        if self._answer is other:
            self._answer = reply
        if self._answer is reply:
            self._cancel(FIRST_TEXT)
        self._drop(other, "superseded")

    def _on_reply_text(self, event: ev.ReplyText) -> None:
        reply = self._live(event.reply)
        if reply is None or not event.text or reply.written:
            return
        if reply.first_text is None:
            reply.first_text = self._now
            reply.first_length = len(event.text)
            if self._answer is reply:
                self._cancel(FIRST_TEXT)
            if self.policy.speculation.depth == "llm":
                self._judge.worked(self._now - reply.started)
        reply.last_text = reply.progressed = self._now
        reply.text += event.text
        reply.waiting += reply.segmenter.push(event.text)
        if reply.rung is not None:
            self._spending.wrote(reply.id, len(reply.text))
            if self._is_beyond_budget(reply):
                return
        self._feed(reply)

    def _on_reply_done(self, event: ev.ReplyDone) -> None:
        reply = self._live(event.reply)
        if reply is None or reply.written:
            return
        reply.written, reply.progressed = True, self._now
        reply.waiting += reply.segmenter.finish()
        if reply.first_text is not None and reply.last_text is not None:
            self._pace.wrote(
                len(reply.text) - reply.first_length, reply.last_text - reply.first_text
            )
        self._feed(reply)
        self._check(reply)

    def _feed(self, reply: Reply) -> None:
        """Give the voice what it may have: of a draft only so much (T8)."""
        draft = reply.state is ReplyState.DRAFT
        if draft and (self.policy.speculation.depth != "speech" or reply.turn is None):
            if reply.waiting and reply.ready_since is None and not reply.pieces:
                reply.ready_since = self._now
            return
        if reply.ready_since is not None:
            reply.idle_before_audio = self._now - reply.ready_since
            reply.ready_since = None
        while reply.waiting:
            text = reply.waiting[0]
            if draft and not self._may_speak(reply, len(text)):
                return
            reply.waiting.pop(0)
            self._emit(Speak(reply.id, len(reply.pieces), text))
            reply.pieces.append(Piece(text, self._now))
        if reply.written and not reply.speech_ended:
            reply.speech_ended = True
            self._emit(EndSpeech(reply.id))

    def _may_speak(self, draft: Reply, characters: int) -> bool:
        """Whether the voice may have so much more of a draft; if so, that is in its account."""
        rules = self.policy.speculation
        if draft.spoken_characters + characters > rules.max_characters:
            return False
        left = self._spending.characters_left(rules.budget, rules.prices)
        if left is not None and characters > left:
            return False
        self._spending.speak(draft.id, characters)
        return True

    def _on_model_asked(self, event: ev.ModelAsked) -> None:
        self._spending.ask(event.reply, event.input)
        reply = self._replies.get(event.reply)
        if reply is not None:
            reply.asked += 1
            reply.progressed = self._now
            self._is_beyond_budget(reply)

    def _on_model_answered(self, event: ev.ModelAnswered) -> None:
        reply = self._replies.get(event.reply)
        if reply is not None:
            reply.asked = max(0, reply.asked - event.end)
            reply.progressed = self._now

    def _on_model_counted(self, event: ev.ModelCounted) -> None:
        self._spending.count(event.reply, event.input, event.output, event.cached)

    def _is_beyond_budget(self, reply: Reply) -> bool:
        """T9: a draft that takes more than there is left is given up, wherever it stands."""
        rules = self.policy.speculation
        if reply.state is not ReplyState.DRAFT or rules.budget.unlimited:
            return False
        if self._spending.beyond(rules.budget, self._spending.spent(rules.prices)) is None:
            return False
        self._forget_draft(reply)
        self._drop(reply, "budget")
        return True

    def _forget_draft(self, reply: Reply) -> None:
        """It is no draft any more that might be committed."""
        if reply is self._draft:
            self._draft = None
        else:
            self._expecting.remove(reply)

    def _on_speech_made(self, event: ev.SpeechMade) -> None:
        reply = self._live(event.reply)
        if reply is None or event.piece >= len(reply.pieces):
            return
        piece = reply.pieces[event.piece]
        if event.seconds > 0 and not piece.seconds and (event.piece == 0 or _quiet_before(reply)):
            self._pace.voiced(self._now - piece.spoken_at)
        if reply.first_audio is None and event.seconds > 0:
            reply.first_audio = self._now
            if reply.kind == "answer" and self.policy.speculation.depth == "speech":
                self._judge.worked(self._now - reply.started - reply.idle_before_audio)
        if event.seconds > 0 or event.end:
            reply.progressed = self._now
        piece.seconds += event.seconds
        piece.words += event.words
        if event.end and not piece.done:
            piece.done = True
            self._pace.spoke(len(piece.text), piece.seconds)
            self._check(reply)

    def _check(self, reply: Reply) -> None:
        """Finish a reply of which everything was heard, or that had nothing to say."""
        if reply.state is not ReplyState.COMMITTED or not reply.over:
            return
        if self._floor.current is not reply:
            return
        said = reply.text if reply.first_heard is not None else ""
        self.history.hear(reply.id, said)
        self._book(reply)
        self._retire(reply)
        self._emit(ReplyEnded(reply.id, reply.request, reply.turn, said, False))
        if reply.turn is not None:
            outcome: Outcome = "heard" if said.strip() else "silent"
            self._close_turn(self._turns[reply.turn], outcome, reply)
        self._floor.finish(reply, self._now)
        self._next()

    def _next(self) -> None:
        """Let the next reply be heard; with none left, carry out a hang-up that waits for it."""
        self._floor.advance()
        if self._floor.current is not None:
            self._check(self._floor.current)
        elif self._closing is not None:
            self._hang_up()

    # -------------------------------------------------------------------------------- failures

    def _on_reply_failed(self, event: ev.ReplyFailed) -> None:
        """T7: a draft fails in silence; a committed reply is begun again, or apologised for."""
        reply = self._replies.get(event.reply)
        if reply is None or reply.state in (ReplyState.ENDED, ReplyState.PARKED):
            return
        if reply.state is ReplyState.DRAFT:
            self._forget_draft(reply)
            self._drop(reply, "failed")
        elif reply.kind == "filler":
            self._drop(reply, "failed")
            self._next()
        elif reply.twin is not None:
            self._win(self._replies[reply.twin])
        elif (
            event.retryable
            and not reply.heard
            and reply.first_heard is None
            and not reply.effects_begun
            and reply.attempt < self.policy.limits.attempts
            and reply.kind != "apology"
        ):
            self._begin_again(reply)
        else:
            self._emit(ErrorRaised(reply.id, event.code, event.retryable))
            self._give_up(reply, event.stage)

    def _begin_again(self, reply: Reply) -> None:
        again = self._start(
            reply.kind,
            turn=reply.turn,
            request=reply.request,
            words=reply.words,
            interruptible=reply.interruptible,
            attempt=reply.attempt + 1,
            text=reply.line,
        )
        again.committed = reply.committed
        is_answer = self._answer is reply
        self._floor.replace(reply, again)
        self._drop(reply, "failed")
        self.history.forget(reply.id)
        if is_answer:
            self._answer = again

    def _give_up(self, reply: Reply, stage: ev.FailedStage) -> None:
        """What was made of it stands and is heard; the apology follows (T7)."""
        if reply.kind == "apology":
            self._cut(reply, "failed")
            self._closing = self._closing or "failed"
            self._hang_up()
            return
        if stage == "tts":
            reply.keep_what_was_voiced()
        if reply.pieces:
            reply.text = "".join(piece.text for piece in reply.pieces)
            reply.written, reply.waiting, reply.calls = True, [], []
            self._feed(reply)
            apology = self._start("apology")
        else:
            self._drop(reply, "failed")
            self._emit(ReplyEnded(reply.id, reply.request, None, "", True))
            apology = self._start("apology", turn=reply.turn)
            if reply.turn is not None:
                self._answer = apology
        self._floor.add(apology, first=True)
        self._check(reply)

    # --------------------------------------------------------------------------------- playout

    def _on_sound_sent(self, event: ev.SoundSent) -> None:
        reply = self._live(event.reply)
        if reply is None:
            return
        if reply.first_sent is None:
            reply.first_sent = self._now
        if not event.silent and reply.first_sound is None:
            reply.first_sound = self._now

    def _on_playout_reached(self, event: ev.PlayoutReached) -> None:
        reply = self._floor.reached(event.epoch, event.seconds, self._now)
        if reply is None:
            return
        if reply.first_heard is None and reply.heard > 0:
            reply.first_heard = self._now - event.seconds
            waiting = self._floor.waiting if reply.kind == "filler" else ()
            self.history.begin(reply.id, aside_of=waiting[0].id if waiting else None)
        self._check(reply)

    # ----------------------------------------------------------------------- how turns end up

    def _close_turn(self, turn: Turn, outcome: Outcome, reply: Reply | None) -> None:
        assert turn.outcome is None  # noqa: S101
        turn.outcome = outcome
        self._emit(TurnClosed(turn.id, outcome, turn_times(turn, reply)))
        if self._unsettled is not turn:
            self._turns.pop(turn.id, None)

    def _cut(self, reply: Reply, reason: DiscardReason) -> None:
        heard = self._heard_of(reply)
        self._drop(reply, reason)
        self.history.hear(reply.id, heard, interrupted=True)
        self._emit(ReplyEnded(reply.id, reply.request, reply.turn, heard, True))
        if reply.turn is not None:
            unheard: Outcome = "merged" if reason == "interrupted" else "silent"
            closes: Outcome = "heard" if heard else unheard
            self._close_turn(self._turns[reply.turn], closes, reply)

    def _heard_of(self, reply: Reply) -> str:
        """What the caller has heard of a reply by now, also of one that waits behind a filler."""
        if reply.first_heard is None:
            return ""
        return reply.text_heard(reply.heard_by(self._now, MARK_INTERVAL))

    def _hang_up(self) -> None:
        self._emit(HangUp(self._closing or "hangup"))

    # --------------------------------------------------------------------------------- helpers

    def _emit(self, command: Command) -> None:
        self._out.append(command)

    def _set(self, timer: str, at: float) -> None:
        self._timers[timer] = at
        self._emit(SetTimer(timer, at))

    def _cancel(self, timer: str) -> None:
        if self._timers.pop(timer, None) is not None:
            self._emit(CancelTimer(timer))


def _quiet_before(reply: Reply) -> bool:
    """Whether the voice had nothing else to do when the last piece came."""
    return len(reply.pieces) < 2 or reply.pieces[-2].done
