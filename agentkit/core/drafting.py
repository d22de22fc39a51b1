"""Drafts: begun, kept, parked, adopted, discarded, committed (T2 to T4, T8, T9)."""

from __future__ import annotations

from agentkit.core.caller import Turn
from agentkit.core.commands import (
    Commit,
    DiscardReason,
    DraftDeclined,
    Outcome,
    Park,
    TurnCommitted,
)
from agentkit.core.economy import Declined, Pace, Rung
from agentkit.core.replies import Reply, ReplyState
from agentkit.core.replying import FIRST_TEXT, PACE, SETTLE, WORTH
from agentkit.core.tooling import Tooling
from agentkit.core.words import same_words, without_courtesy


class Drafting(Tooling):
    """At most one live draft of the turn, and the complete ones that it has parked."""

    _shared_left: int | None = None
    """Drafts that the budget of all calls together still allows; None: it does not bind."""

    def _begin_draft(self, turn: Turn, rung: Rung) -> None:
        """T2: keep the draft that fits, adopt the parked one that does, or begin another."""
        self._cancel(WORTH)
        words = turn.words
        if self._draft and self._fits(self._draft, words):
            return
        adopted = next((reply for reply in self._parked if self._fits(reply, words)), None)
        self._drop_draft("version" if self._draft_is_outdated() else "superseded")
        if adopted is not None:
            self._adopt(adopted)
        elif self._may_draft(turn) and self._affords(turn.id, rung):
            turn.drafts += 1
            self._draft = self._start("answer", turn=turn.id, words=words, draft=True, rung=rung)

    def _has_draft(self, words: str) -> bool:
        """There is a draft, live or parked, that answers these words."""
        live = self._draft is not None and self._fits(self._draft, words)
        return live or any(self._fits(reply, words) for reply in self._parked)

    def _affords(self, turn: int | None, rung: Rung) -> bool:
        """T9: whether the budgets allow one more draft; if so, that one is counted in."""
        rules, books = self.policy.speculation, self._spending
        why = books.declines(rules.budget, rules.prices, books.books.turns)
        if why is None and self._shared_left is not None:
            if self._shared_left > 0:
                self._shared_left -= 1
            else:
                why = "process"
        if why is not None:
            self._decline(turn, rung, why)
        return why is None

    def _decline(self, turn: int | None, rung: Rung, why: Declined, worth: float = 0.0) -> None:
        declined = DraftDeclined(turn, rung, why, worth)
        self._spending.books.take(declined)
        self._emit(declined)

    def _may_draft(self, turn: Turn) -> bool:
        limits = self.policy.speculation
        spoken = self._now - (turn.started if turn.started is not None else self._now)
        return (
            turn.drafts < limits.max_drafts
            and spoken <= limits.max_turn
            and not self._floor.plays_unheld
            and not self._has_effects_running()
        )

    def _has_effects_running(self) -> bool:
        return any(reply.effects & reply.running for reply in self._replies.values())

    def _fits(self, reply: Reply, words: str) -> bool:
        """T4: the same version and the same words, as strictly as the agent asks for."""
        if reply.version != self.history.version:
            return False
        if same_words(reply.words, words):
            return True
        rules = self.policy.speculation
        if rules.fit != "courtesy":
            return False
        said, final = (
            without_courtesy(text, rules.courtesy, self.policy.language)
            for text in (reply.words, words)
        )
        return said == final

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
        if reply.first_audio is None:
            reply.idle_before_audio = reply.idle
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

    # -------------------------------------------------------------------------------- the commit

    def _commit(self, turn: Turn, words: str) -> None:
        """T4: the draft becomes the reply if it fits; else a reply is begun from these words."""
        self._turns[turn.id] = turn
        reply = self._fitting_draft(words)
        if reply is not None:
            self._draft = None
            self._move(reply, ReplyState.COMMITTED)
            self._spending.commit(reply.id, self.policy.speculation.prices)
            self._emit(Commit(reply.id))
        self._drop_draft("version" if self._draft_is_outdated() else "words", park=False)
        self._drop_expected("words")
        self._settle_now()
        self.history.add_user(turn.id, words)
        self._silences = 0
        speaking = self.caller.turn
        self._floor.held = speaking is not None and speaking is not turn and speaking.open
        if reply is not None:
            self._remember_tools(reply)
        else:
            if self._closing is not None:
                self._tell_commit(turn, words)
                self._close_turn(turn, "cut_off", None)
                return
            reply = self._start("answer", turn=turn.id, words=words)
        reply.committed = self._now
        self._answer = reply
        self._keep_pace(turn, reply)
        self._floor.add(reply)
        self._feed(reply)
        self._tell_commit(turn, words)
        self._unsettled = turn
        self._set(SETTLE, self._now + self.policy.limits.settle)
        if reply.first_text is None and self.policy.hedge:
            self._set(FIRST_TEXT, self._now + self.policy.limits.first_text)
        self._run_tools(reply)
        self._check(reply)

    def _tell_commit(self, turn: Turn, words: str) -> None:
        committed = TurnCommitted(turn.id, words, turn.keys)
        self._spending.books.take(committed)
        self._emit(committed)

    def _close_turn(self, turn: Turn, outcome: Outcome, reply: Reply | None) -> None:
        super()._close_turn(turn, outcome, reply)
        self._spending.books.closed(outcome)

    def _drop_expected(self, reason: DiscardReason) -> None:
        """No answer to the question is expected any more."""
        while self._expecting:
            self._drop(self._expecting.pop(), reason)

    # ---------------------------------------------------------------------------------- the pace

    @property
    def _pace_now(self) -> Pace:
        return self._listening.pace or self.policy.pace

    def _keep_pace(self, turn: Turn, reply: Reply) -> None:
        """Keep back what would be heard sooner than the pace of the conversation has it."""
        ended = self._now if turn.ended is None else turn.ended
        if turn.speech_end is not None:
            self._judge.told(max(0.0, ended - turn.speech_end))
        pace = self._pace_now
        wait = 0.0 if turn.keyed else pace.wait(turn.id)
        if not wait:
            return
        spoken = pace.after == "speech" and turn.speech_end is not None
        reply.due = (turn.speech_end if spoken and turn.speech_end else ended) + wait
        if reply.due > self._now:
            reply.kept_back = True
            self._set(PACE, reply.due)

    def _pace_is_kept(self) -> None:
        for reply in self._floor.replies:
            if reply.due is not None and reply.due <= self._now + 1e-6:
                reply.kept_back = False
        self._floor.advance()
