"""Drafts: begun, kept, parked, adopted, discarded, committed (T2 to T4, T8)."""

from __future__ import annotations

from agentkit.core.caller import Turn
from agentkit.core.commands import Commit, DiscardReason, Park, TurnCommitted
from agentkit.core.replies import Reply, ReplyState
from agentkit.core.replying import FIRST_TEXT, SETTLE
from agentkit.core.tooling import Tooling
from agentkit.core.words import same_words, without_courtesy


class Drafting(Tooling):
    """At most one live draft, and the complete ones that its turn has parked."""

    def _begin_draft(self, turn: Turn) -> None:
        """T2: keep the draft that fits, adopt the parked one that does, or begin another."""
        words = turn.words
        if self._draft and self._fits(self._draft, words):
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
            self._emit(Commit(reply.id))
        self._drop_draft("version" if self._draft_is_outdated() else "words", park=False)
        self._settle_now()
        self.history.add_user(turn.id, words)
        self._silences = 0
        speaking = self.caller.turn
        self._floor.held = speaking is not None and speaking is not turn and speaking.open
        if reply is not None:
            self._remember_tools(reply)
        else:
            if self._closing is not None:
                self._emit(TurnCommitted(turn.id, words, turn.keys))
                self._close_turn(turn, "cut_off", None)
                return
            reply = self._start("answer", turn=turn.id, words=words)
        reply.committed = self._now
        self._answer = reply
        self._floor.add(reply)
        self._feed(reply)
        self._emit(TurnCommitted(turn.id, words, turn.keys))
        self._unsettled = turn
        self._set(SETTLE, self._now + self.policy.limits.settle)
        if reply.first_text is None and self.policy.hedge:
            self._set(FIRST_TEXT, self._now + self.policy.limits.first_text)
        self._run_tools(reply)
        self._check(reply)
