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

``CALLER_MOVES`` and ``REPLY_MOVES`` say which moves exist; everything else is a joint rule. The
rules stand in layers of one class, each of which knows only those below it:

* `Replying`: a reply from its first token to its last word heard     (T5, T7, T8, T12)
* `Tooling`: tools by their effects, fillers                          (T6, T19, T20)
* `Drafting`: drafts, the commit, what drafts may cost                (T2 to T4, T9)
* `Overlapping`: caller and agent at once                             (T11, T16 to T18)
* `Waiting`: stalled backends, silence, longest lengths, keys         (T7, T23, T25)
* `Laddering`: when a draft is begun, and whether it is worth it      (T2, T9)
* `TurnMachine`, here: the source's events, the call                  (T10, T14, T15)

The joint rules:

* the caller starts            -> playout is held, or goes on until words ask for the floor, if
                                  the agent has it so                          (T17)
* the caller's words           -> they are the agent's own echo, or the last end is taken back
                                  (T11), or the reply is interrupted (T16), or they are a
                                  backchannel and it goes on (T17)
* words come to rest           -> a draft is begun, if the agent asks for that (T2)
* the agent asks something     -> the answers that it expects are drafted      (T2)
* the turn may have ended      -> a draft is begun, kept or adopted, if it is worth what it
                                  may cost and there is that much left         (T2, T9)
* a draft wants tools          -> those that only read run, the others wait    (T6)
* the turn goes on             -> the draft is discarded or parked             (T3)
* the turn ends                -> the draft is committed or replaced           (T4)
* the turn settles             -> tools with effects run, in order             (T6)
* a reply waits                -> a filler is said                             (T20)
* a reply fails, or is stalled -> it is begun again, or the agent apologises   (T7)
* the caller presses keys      -> playout stops, the keys are a turn           (T25)
* nobody speaks                -> the caller is asked, then taken leave of     (T23)
* the connection is lost       -> the turn waits for the next one, or is ended (T14)

Identity, not timing, decides what counts: whatever carries the id of a reply that has ended
changes nothing (T5), and so does a playout report of an older epoch.

Invariants, checked by ``tests/core/test_machine_properties.py`` on random walks: at most one live
draft of a turn; drafts never cost more than their budget, and each is booked exactly once; nothing
is played before its turn has ended, or before its pace; after its `Discard` a reply gets no
command; every committed turn is closed exactly once, as heard, merged, cut off or silent; tool
calls and their results are paired in the history; a tool runs at most once, one with effects never
in a draft, never before its turn has settled, never beside another of its reply; a turn that was
acted upon is not taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentkit.core import events as ev
from agentkit.core.caller import CallerState, Turn
from agentkit.core.commands import (
    BackchannelHeard,
    Command,
    EchoHeard,
    ErrorRaised,
    Oddity,
    Outcome,
    Reconnect,
    ReplyEnded,
)
from agentkit.core.history import AssistantMessage, Message, UserMessage, add_message
from agentkit.core.laddering import Laddering
from agentkit.core.policy import Policy
from agentkit.core.replies import ReplyState
from agentkit.core.replying import (
    DIGITS,
    END_OF_TURN,
    FILLER,
    FIRST_TEXT,
    GOODBYE,
    HOLD,
    LONGEST_CALL,
    LONGEST_TURN,
    PACE,
    REST,
    SETTLE,
    SILENCE,
    STALLED_REPLY,
    STALLED_TURN,
    WORTH,
)

_USUAL_ONSET = 0.6
"""Seconds from a first word to its StartOfTurn, where the source gives no word times (T11)."""
_USUAL_TIMEOUT = 5.0
"""Seconds of silence that end a turn for a source which does not say what it takes (T14)."""


class TurnMachine(Laddering):
    """One conversation's decisions. See the module's head for how it works.

    Args:
        policy: the settings; defaults are those of the rules.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        super().__init__(policy or Policy())
        self._pauses = {}
        self._progressed = 0.0
        self._turn_timeout = _USUAL_TIMEOUT
        self._handlers: dict[type, Callable[[Any], None]] = {
            ev.TurnStarted: self._on_turn,
            ev.TurnUpdated: self._on_turn,
            ev.TurnMaybeEnded: self._on_turn,
            ev.TurnResumed: self._on_turn,
            ev.TurnEnded: self._on_turn,
            ev.SourceConnected: self._on_source_connected,
            ev.SourceLost: self._on_source_lost,
            ev.SourceFailed: self._on_source_failed,
            ev.SourceTuned: self._on_source_tuned,
            ev.SourceOddity: self._on_source_oddity,
            ev.ReplyText: self._on_reply_text,
            ev.ReplyDone: self._on_reply_done,
            ev.ReplyFailed: self._on_reply_failed,
            ev.ModelAsked: self._on_model_asked,
            ev.ModelCounted: self._on_model_counted,
            ev.ModelAnswered: self._on_model_answered,
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
            ev.FloorJudged: self._on_floor_judged,
            ev.KeyPressed: self._on_key_pressed,
            ev.DigitsExpected: self._on_digits_expected,
            ev.Listening: self._on_listening,
            ev.AnswersExpected: self._on_answers_expected,
            ev.SharedBudget: self._on_shared_budget,
            ev.ActedUpon: self._on_acted_upon,
            ev.Muted: self._on_muted,
            ev.PolicyChanged: self._on_policy_changed,
            ev.HangUpRequested: self._on_hang_up_requested,
            ev.CallEnded: self._on_call_ended,
            ev.TimerFired: self._on_timer_fired,
        }

        self._due: dict[str, Callable[[], None]] = {
            SETTLE: self._settle_now,
            HOLD: self._hold_is_over,
            PACE: self._pace_is_kept,
            REST: self._is_at_rest,
            WORTH: self._worth_is_due,
            FIRST_TEXT: self._hedge,
            FILLER: self._say_filler,
            STALLED_TURN: self._is_stalled,
            STALLED_REPLY: self._reply_is_stalled,
            END_OF_TURN: self._end_by_machine,
            LONGEST_TURN: self._end_by_machine,
            DIGITS: self._end_keys,
            SILENCE: self._silence_is_long,
            LONGEST_CALL: lambda: self._take_leave("longest call", self.policy.farewell),
            GOODBYE: self._hang_up,
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
        if not self.ended:
            if self._answers:
                self._watch_question()
            self._watch_waiting()
            self._watch_progress()
            self._watch_silence()
        return self._out

    # ------------------------------------------------------------------------ what others read

    def prompt(self, reply: int) -> tuple[Message, ...]:
        """The messages that a reply is made from, as they are now.

        For a draft its turn's words stand last, as if the turn were over. What the agent is
        saying counts as far as it was heard; what cannot be interrupted counts as a whole (T18),
        and so does the question to which an answer is expected.
        """
        found = self._replies.get(reply)
        if found is None or found.state is not ReplyState.DRAFT:
            return self.messages()
        messages = [*(self._messages_to_come() if found.turn is None else self.messages())]
        add_message(messages, UserMessage(found.words, found.turn))
        return tuple(messages)

    def _messages_to_come(self) -> tuple[Message, ...]:
        """The history as it will be once all that is being said was heard."""
        unheard: list[Message] = []
        for reply in self._floor.replies:
            if self.history.knows(reply.id):
                self.history.hear(reply.id, reply.text)
            elif reply.text.strip():
                unheard.append(AssistantMessage(reply.text.strip(), reply.id))
        return (*self.history.messages(), *unheard)

    def messages(self) -> tuple[Message, ...]:
        """The history, with what was heard by now of what is being said."""
        for reply in self._floor.replies:
            if reply.first_heard is not None:
                heard = self._heard_of(reply) if reply.interruptible else reply.text
                self.history.hear(reply.id, heard)
        return self.history.messages()

    def is_draft(self, reply: int) -> bool:
        """Whether the reply may still be thrown away without a trace."""
        found = self._replies.get(reply)
        return found is not None and found.state in (ReplyState.DRAFT, ReplyState.PARKED)

    def words_of(self, reply: int) -> str:
        """The caller's words that the reply answers; "" for one that answers no turn."""
        found = self._replies.get(reply)
        return found.words if found else ""

    def question(self, reply: int) -> str | None:
        """The text of a reply that asks something; None if it does not, or is not all there."""
        found = self._replies.get(reply)
        if found is None or found.state is not ReplyState.COMMITTED or not found.written:
            return None
        text = found.text.strip()
        return text if text.endswith(("?", "\uff1f")) else None

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
                self._set(STALLED_TURN, self._now + self._stalled_after())
        if self.caller.overtaken:
            self._set(END_OF_TURN, self._now + self._ended_after())
        if turn.state is CallerState.FORMING:
            return
        if turn.started is None:
            self._start_turn(turn)
        if isinstance(event, ev.TurnEnded):
            self._end_turn(turn)
            return
        if isinstance(event, ev.TurnResumed):
            self._goes_on()
        self._listen(turn)
        if isinstance(event, ev.TurnMaybeEnded):
            turn.maybe_ended = self._now
        self._climb(turn, event)

    def _start_turn(self, turn: Turn) -> None:
        """T17: playout is held. T11: the last turn does not settle meanwhile."""
        turn.started = self._now
        turn.replies_before = self._next_reply
        if turn.first_word is None:
            turn.first_word = self._now - _USUAL_ONSET
        if self._closing is not None:
            return
        self._cancel(SETTLE)
        self._hold_for(turn)
        self._set(HOLD, self._now + self.policy.interruption.resume_after)
        if self.policy.limits.longest_turn:
            self._set(LONGEST_TURN, self._now + self.policy.limits.longest_turn)

    # ------------------------------------------------------------------------ the turn is over

    def _end_turn(self, turn: Turn) -> None:
        turn.ended = self._now
        self._cancel(HOLD)
        self._cancel(STALLED_TURN)
        self._cancel(END_OF_TURN)
        self._cancel(LONGEST_TURN)
        self._listen(turn)
        self._end_pauses(turn)
        if self._expecting:
            self._adopt_expected(turn)
        attention = self._takes_no_floor(turn)
        if not turn.owed and (attention or not turn.own_words.strip()):
            self._drop_draft("backchannel" if attention else "words", park=False)
            if attention:
                heard = EchoHeard if self._is_echo(turn) else BackchannelHeard
                self._emit(heard(turn.id, turn.own_words))
            self._go_on()
            return
        self._commit(turn, turn.words)

    def _end_by_machine(self) -> None:
        """T14: no end will come for the open turn: its words, as they are, are answered."""
        turn = self.caller.turn
        if turn is None or turn.state is CallerState.ENDED:
            return
        if turn.started is None:
            self._start_turn(turn)
        self.caller.end_by_machine(turn)
        self._end_turn(turn)

    # ---------------------------------------------------------------------- session, call, time

    def _on_call_started(self, _event: ev.CallStarted) -> None:
        if self.policy.limits.longest_call and LONGEST_CALL not in self._timers:
            self._set(LONGEST_CALL, self._now + self.policy.limits.longest_call)

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

    def _on_policy_changed(self, event: ev.PolicyChanged) -> None:
        self.policy = event.policy
        self._judge.tune(event.policy.speculation.tuning)
        self.history.version += 1

    def _on_hang_up_requested(self, event: ev.HangUpRequested) -> None:
        self._take_leave(event.reason)

    def _on_call_ended(self, event: ev.CallEnded) -> None:
        """Everything open is closed: drafts discarded, turns cut off; nothing said is lost."""
        turn = self.caller.turn
        self._closing = self._closing or event.reason
        self._drop_draft("call_ended", park=False)
        self._drop_expected("call_ended")
        self._end_keys()
        if turn is not None and turn.state is not CallerState.ENDED and turn.words:
            turn.state = CallerState.ENDED
            turn.ended = self._now
            self._commit(turn, turn.words)
        for reply in self._floor.replies:
            heard = self._heard_of(reply)
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
            self._set(END_OF_TURN, self._now + self._ended_after())

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

    def _on_source_tuned(self, event: ev.SourceTuned) -> None:
        self._turn_timeout = event.turn_timeout
        self._source, self._untold = event, False

    def _ended_after(self) -> float:
        """T14: seconds after which words without a sequel end their turn."""
        own = self.policy.limits.end_of_turn
        return self._turn_timeout if own is None else own

    def _stalled_after(self) -> float:
        """T14: seconds without progress after which an open turn means a lost connection."""
        own = self.policy.limits.stalled_turn
        return max(3.0, 4 * self._turn_timeout) if own is None else own

    def _on_source_oddity(self, event: ev.SourceOddity) -> None:
        self._emit(Oddity(event.kind))

    def _on_timer_fired(self, event: ev.TimerFired) -> None:
        due = self._timers.get(event.timer)
        if due is None or self._now < due - 1e-6:
            return
        del self._timers[event.timer]
        self._due[event.timer]()

    def _hold_is_over(self) -> None:
        """T17: no new words for a while. It goes on, unless there is more than backchannels."""
        turn = self.caller.turn
        if turn is None or not turn.own_words or self._takes_no_floor(turn):
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
        due = self._progressed + self._stalled_after()
        if self._now < due:
            self._set(STALLED_TURN, due)
        else:
            self._emit(Reconnect("an open turn made no progress"))
