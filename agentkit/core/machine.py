"""The turn machine: what a conversation does next, as a pure function of what happened.

Theory of operation
===================

``machine.handle(event, now)`` takes one event and the time, and returns the commands that follow.
It opens nothing, awaits nothing, starts nothing and reads no clock, so the same events always give
the same commands (rule T22). Times are seconds on whatever clock the caller of ``handle`` uses.

Four things are tracked, each with its own states:

* the caller's turn (`agentkit.core.caller`): forming, speaking, maybe ended, ended;
* each reply (`agentkit.core.replies`): draft, parked, committed, ended. A draft is a reply in its
  first state, so a commit copies nothing: it only moves the state;
* playout (`agentkit.core.floor`): idle, playing, held. One reply is heard at a time, the others
  wait behind it;
* the source's connection: up or lost.

``CALLER_MOVES`` and ``REPLY_MOVES`` say which moves exist; everything else is a joint rule, and the
joint rules are the methods of this class:

* the caller starts            -> playout is held                              (T17)
* the caller's words           -> the last end is taken back (T11), or the reply is interrupted
                                  (T16), or they are a backchannel and it goes on (T17)
* the turn may have ended      -> a draft is begun, kept or adopted            (T2)
* the turn goes on             -> the draft is discarded or parked             (T3)
* the turn ends                -> the draft is committed or replaced           (T4)
* the turn settles             -> tools with effects run                       (T6)
* a reply fails                -> it is begun again, or the agent apologises   (T7)
* the connection is lost       -> the turn waits for the next one, or is ended (T14)

Identity, not timing, decides what counts: whatever carries the id of a reply that has ended
changes nothing (T5), and so does a playout report of an older epoch.

Invariants, checked by ``tests/core/test_machine_properties.py`` on random walks: at most one live
draft; nothing is played before its turn has ended; after its `Discard` a reply gets no command;
every committed turn is closed exactly once, as heard, merged, cut off or silent; tool calls and
their results are paired in the history; a tool runs at most once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentkit.core import events as ev
from agentkit.core.caller import Caller, CallerState, Turn
from agentkit.core.commands import (
    BackchannelHeard,
    Command,
    Commit,
    DiscardReason,
    ErrorRaised,
    Oddity,
    Outcome,
    Park,
    Reconnect,
    ReplyEnded,
    TurnCommitted,
)
from agentkit.core.floor import MARK_INTERVAL
from agentkit.core.history import Message, UserMessage
from agentkit.core.policy import Policy
from agentkit.core.replies import Reply, ReplyState
from agentkit.core.replying import (
    END_OF_TURN,
    FIRST_TEXT,
    GOODBYE,
    HOLD,
    SETTLE,
    STALLED_TURN,
    Replying,
)
from agentkit.core.words import is_backchannel, join, same_words

_USUAL_ONSET = 0.6
"""Seconds from a first word to its StartOfTurn, where the source gives no word times (T11)."""


class TurnMachine(Replying):
    """One conversation's decisions. See the module's head for how it works.

    Args:
        policy: the settings; defaults are those of the rules.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        super().__init__(policy or Policy())
        self.caller = Caller()
        self._parked: list[Reply] = []
        self._progressed = 0.0
        self._handlers: dict[type, Callable[[Any], None]] = {
            ev.TurnStarted: self._on_turn,
            ev.TurnUpdated: self._on_turn,
            ev.TurnMaybeEnded: self._on_turn,
            ev.TurnResumed: self._on_turn,
            ev.TurnEnded: self._on_turn,
            ev.SourceConnected: self._on_source_connected,
            ev.SourceLost: self._on_source_lost,
            ev.SourceFailed: self._on_source_failed,
            ev.SourceOddity: self._on_source_oddity,
            ev.ReplyText: self._on_reply_text,
            ev.ReplyDone: self._on_reply_done,
            ev.ReplyFailed: self._on_reply_failed,
            ev.SpeechMade: self._on_speech_made,
            ev.ToolRequested: self._on_tool_requested,
            ev.ToolReturned: self._on_tool_returned,
            ev.SoundSent: self._on_sound_sent,
            ev.PlayoutReached: self._on_playout_reached,
            ev.CallStarted: self._on_call_started,
            ev.SayRequested: self._on_say_requested,
            ev.SayCancelled: self._on_say_cancelled,
            ev.ReplyRequested: self._on_reply_requested,
            ev.InterruptRequested: self._on_interrupt_requested,
            ev.Touched: self._on_touched,
            ev.HistoryWritten: self._on_history_written,
            ev.HangUpRequested: self._on_hang_up_requested,
            ev.CallEnded: self._on_call_ended,
            ev.TimerFired: self._on_timer_fired,
        }

    def handle(self, event: ev.Event, now: float) -> list[Command]:
        """Take one event; return what is to be done, in order.

        Args:
            event: what happened.
            now: the time, in seconds; never smaller than at the call before.

        After the call has ended only late tool results are taken, for the record.
        """
        self._out = []
        self._now = now
        if not self.ended or isinstance(event, ev.ToolReturned):
            self._handlers[type(event)](event)
        return self._out

    # ------------------------------------------------------------------------ what others read

    def prompt(self, reply: int) -> tuple[Message, ...]:
        """The messages that a reply is made from, as they are now.

        For a draft its turn's words stand last, as if the turn were over. What the agent is
        saying counts as far as it was heard; what cannot be interrupted counts as a whole (T18).
        """
        messages = self.messages()
        found = self._replies.get(reply)
        if found and found.state is ReplyState.DRAFT:
            return (*messages, UserMessage(found.words, found.turn))
        return messages

    def messages(self) -> tuple[Message, ...]:
        """The history, with what was heard by now of what is being said."""
        current = self._floor.current
        if current and current.first_heard is not None:
            if current.interruptible:
                heard = current.text_heard(current.heard_by(self._now, MARK_INTERVAL))
            else:
                heard = current.text
            self.history.hear(current.id, heard)
        return self.history.messages()

    def is_draft(self, reply: int) -> bool:
        """Whether the reply may still be thrown away without a trace."""
        found = self._replies.get(reply)
        return found is not None and found.state in (ReplyState.DRAFT, ReplyState.PARKED)

    def words_of(self, reply: int) -> str:
        """The caller's words that the reply answers; "" for one that answers no turn."""
        found = self._replies.get(reply)
        return found.words if found else ""

    def is_behind(self, request: int, reply: int) -> bool:
        """Whether what was requested is heard only after that reply."""
        order = self._floor.replies
        ahead = [i for i, other in enumerate(order) if other.id == reply]
        asked = [i for i, other in enumerate(order) if other.request == request]
        return bool(ahead and asked and ahead[0] < asked[0])

    # ------------------------------------------------------------------------------ the caller

    def _on_turn(self, event: ev.TurnEvent) -> None:
        turn = self.caller.take(event)
        if turn is None:
            if self.caller.oddity:
                self._emit(Oddity(self.caller.oddity))
            return
        if self.caller.progress:
            self._progressed = self._now
            self._cancel(END_OF_TURN)
            if STALLED_TURN not in self._timers:
                self._set(STALLED_TURN, self._now + self.policy.limits.stalled_turn)
        if self.caller.overtaken:
            self._set(END_OF_TURN, self._now + self.policy.limits.end_of_turn)
        if turn.state is CallerState.FORMING:
            return
        if turn.started is None:
            self._start_turn(turn)
        if isinstance(event, ev.TurnEnded):
            self._end_turn(turn)
            return
        if isinstance(event, ev.TurnResumed):
            self._drop_draft("resumed")
        self._listen(turn)
        if isinstance(event, ev.TurnMaybeEnded):
            turn.maybe_ended = self._now
            self._begin_draft(turn)

    def _start_turn(self, turn: Turn) -> None:
        """T17: hold playout at once. T11: the last turn does not settle meanwhile."""
        turn.started = self._now
        turn.replies_before = self._next_reply
        if turn.first_word is None:
            turn.first_word = self._now - _USUAL_ONSET
        if self._closing is not None:
            return
        self._cancel(SETTLE)
        self._floor.hold(self._now)
        self._set(HOLD, self._now + self.policy.interruption.resume_after)

    def _listen(self, turn: Turn) -> None:
        """What the caller's words, as far as they came, mean for what the agent is saying."""
        if not turn.own_words or self._closing is not None:
            return
        if self._take_back(turn) and not self._floor.current:
            return
        if not self._floor.current:
            return
        if self._is_backchannel(turn):
            if HOLD in self._timers and self.caller.progress:
                self._set(HOLD, self._now + self.policy.interruption.resume_after)
        else:
            self._interrupt(turn)

    def _take_back(self, turn: Turn) -> bool:
        """T11: the caller went on before the answer was heard, so the two turns are one."""
        answer = self._answer
        if answer is None or answer.turn is None or answer.effects_begun:
            return False
        heard = answer.first_heard
        onset = turn.first_word if turn.first_word is not None else self._now
        if heard is not None and onset >= heard + self.policy.limits.takeback:
            return False
        before = self._turns[answer.turn]
        self._drop(answer, "taken_back")
        self.history.forget(answer.id)
        self.history.withdraw_user(before.id)
        turn.owed = join(before.words, turn.owed)
        if self._unsettled is before:
            self._unsettled = None
        self._close_turn(before, "merged", answer)
        return True

    def _is_backchannel(self, turn: Turn) -> bool:
        """Whether all that was said in the turn is a sound of attention to what is being said."""
        rules = self.policy.interruption
        if not is_backchannel(turn.own_words, rules.backchannels, self.policy.language):
            return False
        current = self._floor.current
        if current is None:
            return False
        heard = current.heard_by(self._now, MARK_INTERVAL)
        nearly_over = current.complete and current.voiced
        nearly_over = nearly_over and current.made - heard < rules.answer_within
        return not nearly_over and not current.sentence_at(heard).endswith("?")

    def _interrupt(self, turn: Turn) -> None:
        """T16: stop all that may be interrupted; the history keeps what was heard.

        What the agent was told to say while the caller speaks only waits: it interrupts nobody,
        and nobody interrupts it.
        """
        for reply in self._floor.replies:
            if reply.interruptible and (reply.playing or reply.id < turn.replies_before):
                self._cut(reply, "interrupted")
        self._settle_now()

    def _go_on(self) -> None:
        """The caller took no floor: playout goes on, and the last turn may settle (T17)."""
        self._cancel(HOLD)
        self._floor.release()
        if self._unsettled is not None and self._unsettled.ended is not None:
            settle = self._unsettled.ended + self.policy.limits.settle
            self._set(SETTLE, max(self._now, settle))

    # ------------------------------------------------------------------------ the turn is over

    def _end_turn(self, turn: Turn) -> None:
        turn.ended = self._now
        self._cancel(HOLD)
        self._cancel(STALLED_TURN)
        self._cancel(END_OF_TURN)
        self._listen(turn)
        heard_none = not turn.own_words.strip()
        attention = not turn.owed and self._floor.current and self._is_backchannel(turn)
        if (heard_none and not turn.owed) or attention:
            self._drop_draft("backchannel" if attention else "words", park=False)
            if attention:
                self._emit(BackchannelHeard(turn.id, turn.own_words))
            self._go_on()
            return
        self._commit(turn, turn.words)

    def _commit(self, turn: Turn, words: str) -> None:
        """T4: the draft becomes the reply if it fits; else a reply is begun from these words."""
        self._turns[turn.id] = turn
        reply = self._fitting_draft(words)
        if reply is not None:
            self._draft = None
            self._move(reply, ReplyState.COMMITTED)
            self._emit(Commit(reply.id))
        self._drop_draft("version" if self._draft_is_outdated() else "words", park=False)
        self._settle_now()
        self.history.add_user(turn.id, words)
        self._floor.held = False
        if reply is None:
            if self._closing is not None:
                self._emit(TurnCommitted(turn.id, words))
                self._close_turn(turn, "cut_off", None)
                return
            reply = self._start("answer", turn=turn.id, words=words)
        reply.committed = self._now
        self._answer = reply
        self._floor.add(reply)
        self._feed(reply)
        self._emit(TurnCommitted(turn.id, words))
        self._unsettled = turn
        self._set(SETTLE, self._now + self.policy.limits.settle)
        if reply.first_text is None and self.policy.hedge:
            self._set(FIRST_TEXT, self._now + self.policy.limits.first_text)
        self._run_tools(reply)
        self._check(reply)

    def _end_by_machine(self) -> None:
        """T14: no end will come for the open turn: its words, as they are, are answered."""
        turn = self.caller.turn
        if turn is None or turn.state is CallerState.ENDED:
            return
        if turn.started is None:
            self._start_turn(turn)
        self.caller.end_by_machine(turn)
        self._end_turn(turn)

    # ---------------------------------------------------------------------------------- drafts

    def _begin_draft(self, turn: Turn) -> None:
        """T2: keep the draft that fits, adopt the parked one that does, or begin another."""
        words = turn.words
        if self.policy.speculation.depth == "off" or not words or self._closing is not None:
            return
        if self._draft and self._fits(self._draft, words):
            return
        if self._floor.current and self._is_backchannel(turn):
            return
        adopted = next((reply for reply in self._parked if self._fits(reply, words)), None)
        self._drop_draft("version" if self._draft_is_outdated() else "superseded")
        if adopted is not None:
            self._adopt(adopted)
        elif self._may_draft(turn):
            turn.drafts += 1
            self._draft = self._start("answer", turn=turn.id, words=words, draft=True)

    def _may_draft(self, turn: Turn) -> bool:
        limits = self.policy.speculation
        spoken = self._now - (turn.started if turn.started is not None else self._now)
        return (
            turn.drafts < limits.max_drafts
            and spoken <= limits.max_turn
            and not self._floor.plays_unheld
            and not any(reply.effects & reply.running for reply in self._replies.values())
        )

    def _fits(self, reply: Reply, words: str) -> bool:
        return reply.version == self.history.version and same_words(reply.words, words)

    def _draft_is_outdated(self) -> bool:
        return self._draft is not None and self._draft.version != self.history.version

    def _fitting_draft(self, words: str) -> Reply | None:
        if self._draft and self._fits(self._draft, words):
            return self._draft
        for reply in self._parked:
            if self._fits(reply, words):
                self._adopt(reply)
                return reply
        return None

    def _adopt(self, reply: Reply) -> None:
        self._parked.remove(reply)
        self._drop_draft("superseded", park=False, keep_parked=True)
        self._move(reply, ReplyState.DRAFT)
        reply.idle += self._now
        self._draft = reply
        self._feed(reply)

    def _drop_draft(
        self, reason: DiscardReason, *, park: bool = True, keep_parked: bool = False
    ) -> None:
        """T3: discard the live draft; a complete one is parked while its turn goes on."""
        draft, self._draft = self._draft, None
        if draft is not None:
            if park and reason != "version" and draft.complete:
                self._park(draft)
            else:
                self._drop(draft, reason)
        if not park and not keep_parked:
            while self._parked:
                self._drop(self._parked.pop(), reason)

    def _park(self, reply: Reply) -> None:
        """Keep the text and each piece of speech that is whole; the rest is spoken if adopted."""
        self._move(reply, ReplyState.PARKED)
        reply.idle -= self._now
        whole = [piece for piece in reply.pieces if piece.done]
        if not (reply.speech_ended and len(whole) == len(reply.pieces)):
            reply.waiting[:0] = [piece.text for piece in reply.pieces[len(whole) :]]
            reply.pieces = whole
            reply.speech_ended = False
        self._parked.append(reply)
        self._emit(Park(reply.id))

    # ---------------------------------------------------------------------- session, call, time

    def _on_call_started(self, _event: ev.CallStarted) -> None:
        """The record begins with it; nothing follows from it."""

    def _on_say_requested(self, event: ev.SayRequested) -> None:
        reply = self._start("say", request=event.request, interruptible=event.interruptible)
        self._floor.add(reply)

    def _on_reply_requested(self, event: ev.ReplyRequested) -> None:
        self._floor.add(self._start("asked", request=event.request))

    def _on_say_cancelled(self, event: ev.SayCancelled) -> None:
        for reply in self._floor.replies:
            if reply.request == event.request:
                self._cut(reply, "cancelled")
        self._next()

    def _on_interrupt_requested(self, _event: ev.InterruptRequested) -> None:
        for reply in self._floor.replies:
            self._cut(reply, "cancelled")
        self._next()

    def _on_touched(self, _event: ev.Touched) -> None:
        self.history.version += 1

    def _on_history_written(self, event: ev.HistoryWritten) -> None:
        self.history.add(event.message)

    def _on_hang_up_requested(self, event: ev.HangUpRequested) -> None:
        if self._closing is not None:
            return
        self._closing = event.reason
        self._drop_draft("call_ended", park=False)
        self._floor.release()
        if self._floor.current is None:
            self._hang_up()
        else:
            self._set(GOODBYE, self._now + self.policy.limits.goodbye)

    def _on_call_ended(self, event: ev.CallEnded) -> None:
        """Everything open is closed: drafts discarded, turns cut off; nothing said is lost."""
        turn = self.caller.turn
        self._closing = self._closing or event.reason
        self._drop_draft("call_ended", park=False)
        if turn is not None and turn.state is not CallerState.ENDED and turn.words:
            turn.state = CallerState.ENDED
            turn.ended = self._now
            self._commit(turn, turn.words)
        for reply in self._floor.replies:
            heard = reply.text_heard(reply.heard_by(self._now, MARK_INTERVAL))
            self._drop(reply, "call_ended")
            self.history.hear(reply.id, heard, interrupted=True)
            self._emit(ReplyEnded(reply.id, reply.request, reply.turn, heard, True))
            if reply.turn is not None:
                closes: Outcome = "heard" if heard else "cut_off"
                self._close_turn(self._turns[reply.turn], closes, reply)
        self._settle_now()
        self.ended = True

    def _on_source_connected(self, event: ev.SourceConnected) -> None:
        self.caller.connect(event.connection)

    def _on_source_lost(self, event: ev.SourceLost) -> None:
        if not self.caller.lose(event.connection):
            return
        turn = self.caller.turn
        self._cancel(STALLED_TURN)
        if turn is not None and turn.state is not CallerState.ENDED:
            self._set(END_OF_TURN, self._now + self.policy.limits.end_of_turn)

    def _on_source_failed(self, event: ev.SourceFailed) -> None:
        """T14: nothing more will be heard: the turn is answered, the agent takes its leave."""
        self._emit(ErrorRaised(None, event.code, False))
        self._end_by_machine()
        if self._closing is None:
            apology = self._start("apology")
            self._closing = "source_failed"
            self._floor.held = False
            self._floor.add(apology)
            self._set(GOODBYE, self._now + self.policy.limits.goodbye)

    def _on_source_oddity(self, event: ev.SourceOddity) -> None:
        self._emit(Oddity(event.kind))

    def _on_timer_fired(self, event: ev.TimerFired) -> None:
        due = self._timers.get(event.timer)
        if due is None or self._now < due - 1e-6:
            return
        del self._timers[event.timer]
        if event.timer == SETTLE:
            self._settle_now()
        elif event.timer == HOLD:
            self._hold_is_over()
        elif event.timer == FIRST_TEXT:
            self._hedge()
        elif event.timer == STALLED_TURN:
            self._is_stalled()
        elif event.timer == END_OF_TURN:
            self._end_by_machine()
        elif event.timer == GOODBYE:
            self._hang_up()

    def _hold_is_over(self) -> None:
        """T17: no new words for a while. It goes on, unless there is more than backchannels."""
        turn = self.caller.turn
        if turn is None or not turn.own_words or self._is_backchannel(turn):
            self._go_on()

    def _hedge(self) -> None:
        """T7: no first token for long: ask once more on another connection."""
        reply = self._answer
        if (
            reply is None
            or reply.first_text is not None
            or reply.twin is not None
            or reply.calls
            or reply.begun
            or reply.attempt >= self.policy.limits.attempts
        ):
            return
        twin = self._start("answer", turn=reply.turn, words=reply.words, attempt=reply.attempt + 1)
        twin.twin, reply.twin = reply.id, twin.id

    def _is_stalled(self) -> None:
        """T14: an open turn that makes no progress means that the connection is as good as lost."""
        turn = self.caller.turn
        if turn is None or turn.state is CallerState.ENDED or not self.caller.connected:
            return
        due = self._progressed + self.policy.limits.stalled_turn
        if self._now < due:
            self._set(STALLED_TURN, due)
        else:
            self._emit(Reconnect("an open turn made no progress"))
