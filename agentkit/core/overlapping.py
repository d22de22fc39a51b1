"""What the caller's words mean for what the agent is saying (T11, T16 to T18)."""

from __future__ import annotations

from dataclasses import dataclass

from agentkit.core import events as ev
from agentkit.core.caller import Turn
from agentkit.core.drafting import Drafting
from agentkit.core.floor import MARK_INTERVAL
from agentkit.core.replies import Reply
from agentkit.core.replying import HOLD, SETTLE
from agentkit.core.words import claims_floor, is_echo, join, same_words

_ECHO_REACH = 0.8
"""Seconds from the moment a word is heard to that at which its echo begins, at most. Who repeats a
phrase has to hear its end first, and begins later."""
_ECHO_AHEAD = 0.4
"""Seconds by which more may have been played than is proven."""


@dataclass(frozen=True, slots=True)
class _Hearing:
    """What the caller was hearing when the latest words of a turn came.

    Args:
        turn: its id.
        words: these words.
        reply: what the agent was saying; None: nothing.
        heard: seconds of it that had been heard by then.
    """

    turn: int
    words: str
    reply: Reply | None
    heard: float

    def is_of(self, turn: Turn) -> bool:
        """Whether no other words have come since."""
        return self.turn == turn.id and same_words(self.words, turn.own_words)


class Overlapping(Drafting):
    """Takes ends back, holds, interrupts, goes on."""

    _hearing: _Hearing | None = None

    def _hold_for(self, turn: Turn) -> None:
        """T17: the caller begins to speak: playout is held, at once or once words ask for it."""
        if self.policy.interruption.hold == "speech" or not self._goes_on_through(turn):
            self._floor.hold(self._now)

    def _goes_on_through(self, turn: Turn) -> bool:
        """Whether the reply is heard on through what was said so far.

        Nothing of it was heard: then any words take the end of its turn back (T11).
        """
        current = self._floor.current
        if current is None or current.first_heard is None:
            return False
        return not turn.own_words or self._is_echo(turn) or not self._claims_floor(turn)

    def _listen(self, turn: Turn) -> None:
        """What the caller's words, as far as they came, mean for what the agent is saying."""
        if not turn.own_words or self._closing is not None:
            return
        if self._is_echo(turn):
            if self._floor.held:
                self._go_on()
            return
        if self._take_back(turn):
            self._floor.hold(self._now)
        if not self._floor.current:
            return
        if self._is_attention(turn):
            if HOLD in self._timers and self.caller.progress:
                self._set(HOLD, self._now + self.policy.interruption.resume_after)
        elif self._stops_playout(turn):
            self._interrupt(turn)
            self._floor.hold(self._now)

    def _stops_playout(self, turn: Turn) -> bool:
        """Whether words that are no sound of attention interrupt, or are answered afterwards.

        Where only words hold playout, what is taken for an answer by its place alone lets the
        question be heard to its end, as with speech that cannot be interrupted (T18).
        """
        held = self._floor.held or self.policy.interruption.hold == "speech"
        return held or self._claims_floor(turn)

    def _take_back(self, turn: Turn) -> bool:
        """T11: the caller went on before the answer was heard, so the two turns are one.

        Not once the agent's own code has acted upon the first. If nothing was heard between them,
        both are told to the model as one message all the same.
        """
        answer = self._answer
        if answer is None or answer.turn is None or answer.effects_begun:
            return False
        heard = answer.first_heard
        onset = turn.first_word if turn.first_word is not None else self._now
        if heard is not None and onset >= heard + self.policy.limits.takeback:
            return False
        before = self._turns[answer.turn]
        if before.acted_upon:
            return False
        self._drop(answer, "taken_back")
        self.history.forget(answer.id)
        self.history.withdraw_user(before.id)
        turn.owed = join(before.words, turn.owed)
        turn.keys = before.keys + turn.keys
        if self._unsettled is before:
            self._unsettled = None
        self._close_turn(before, "merged", answer)
        return True

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

    # -------------------------------------------------------------- attention, echo, or the floor

    def _takes_no_floor(self, turn: Turn) -> bool:
        """Whether nothing that was said in the turn asks for an answer."""
        return self._is_echo(turn) or self._is_attention(turn)

    def _is_attention(self, turn: Turn) -> bool:
        """Whether all that was said in the turn is a sound of attention to what is being said."""
        hearing = self._hearing_of(turn)
        reply, heard = hearing.reply, hearing.heard
        if reply is None or not turn.own_words.strip():
            return False
        verdict = self._judged(turn)
        if verdict is not None or self._claims_floor(turn):
            return verdict is False
        rules = self.policy.interruption
        nearly_over = reply.complete and reply.voiced and reply.made - heard < rules.answer_within
        return not nearly_over and not reply.sentence_at(heard).endswith("?")

    def _judged(self, turn: Turn) -> bool | None:
        """Whether the agent's own code says that these words take the floor."""
        verdict = self._verdict
        if not self.policy.interruption.judged or verdict is None or verdict.text != turn.text:
            return None
        return verdict.takes_floor

    def _claims_floor(self, turn: Turn) -> bool:
        """Whether the words ask for the floor, wherever in a reply they come."""
        verdict = self._judged(turn)
        if verdict is not None:
            return verdict
        rules, words = self.policy.interruption, turn.own_words
        lists = (rules.backchannels, rules.claims, self.policy.language)
        return claims_floor(words, *lists, unlisted=rules.unlisted)

    def _hearing_of(self, turn: Turn) -> _Hearing:
        """What the caller was hearing: what is said later changes nothing of what words meant."""
        hearing = self._hearing
        if hearing is None or not hearing.is_of(turn):
            reply = self._floor.current
            heard = reply.heard_by(self._now, MARK_INTERVAL) if reply is not None else 0.0
            hearing = self._hearing = _Hearing(turn.id, turn.own_words, reply, heard)
        return hearing

    def _on_acted_upon(self, event: ev.ActedUpon) -> None:
        turn = self._turns.get(event.turn)
        if turn is not None and turn.settled:
            turn.acted_upon = True

    def _on_floor_judged(self, event: ev.FloorJudged) -> None:
        self._verdict = event

    def sentence(self) -> str | None:
        """The sentence that the caller is hearing; None while the agent has no floor to lose."""
        current = self._floor.current
        if current is None or not current.interruptible:
            return None
        return current.sentence_at(current.heard_by(self._now, MARK_INTERVAL))

    def _is_echo(self, turn: Turn) -> bool:
        least = self.policy.interruption.echo_words
        if not least or turn.keyed or turn.first_word is None:
            return False
        onset = turn.first_word
        replies = (self._floor.current, self._floor.last)
        return any(reply is not None and self._echoes(turn, onset, reply) for reply in replies)

    def _echoes(self, turn: Turn, onset: float, reply: Reply) -> bool:
        """Whether the words are what the reply was saying when they began."""
        if not reply.made or (not reply.playing and reply.stopped is None):
            return False
        here = reply.heard_by(self._now, MARK_INTERVAL)
        silent_since = self._now if reply.stopped is None else reply.stopped
        begin = here - (silent_since - onset) - _ECHO_REACH
        if begin > here:
            return False
        spoken = reply.text_around(begin, here + _ECHO_AHEAD)
        return is_echo(turn.own_words, spoken, self.policy.interruption.echo_words)
