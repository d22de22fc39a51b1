"""When a draft is begun, and whether it is worth it: the ladder of drafts (T2, T9).

The rungs, from the earliest: an answer that the agent expects to its own question; words that have
come to rest; the source's word that the turn may have ended. The end commits whatever fits.
"""

from __future__ import annotations

from agentkit.core import events as ev
from agentkit.core.caller import CallerState, Turn
from agentkit.core.commands import Adopt, TuneSource
from agentkit.core.economy import Experience, Rung
from agentkit.core.replying import REST, WORTH
from agentkit.core.waiting import Waiting
from agentkit.core.words import same_words
from agentkit.core.worth import Judge, Pause, bucket_of

_UNTOLD = 5.0
"""Seconds after which a source that has not said where its threshold is will not say it."""


class Laddering(Waiting):
    """Begins drafts at each rung, learns from what became of the caller's pauses."""

    _pauses: dict[Rung, Pause]
    """Those that are going on, one of a rung."""
    _answers: tuple[str, ...] = ()
    _question: int = 0
    """The first reply that may be the question to which these are the answers."""
    _source: ev.SourceTuned = ev.SourceTuned(0.0)
    _moved: float | None = None
    """When the threshold was last moved."""
    _untold: bool = False
    """The source has not said yet that it has moved it."""

    @property
    def experience(self) -> Experience:
        """What this call has shown of the caller's pauses: a belief for the calls after it."""
        return self._judge.experience

    # ------------------------------------------------------------------------- the caller speaks

    def _climb(self, turn: Turn, event: ev.TurnEvent) -> None:
        """Begin, keep or give up drafts by what the source says of the open turn."""
        if not self.policy.speculation.drafts:
            return
        if self._expecting:
            self._adopt_expected(turn)
        if isinstance(event, ev.TurnMaybeEnded):
            self._cancel(REST)
            self._pause(turn, "eager")
            self._consider(turn, "eager")
        elif turn.state is CallerState.MAYBE_ENDED:
            if pause := self._pauses.get("eager"):
                pause.reach(turn.confidence)
                self._consider_again(turn)
        else:
            self._watch_rest(turn)

    def _goes_on(self) -> None:
        """T3: the caller had not finished."""
        self._close_pauses(None)
        self._cancel(WORTH)
        self._drop_draft("resumed")

    def _wants_draft(self, turn: Turn) -> bool:
        return (
            self.policy.speculation.drafts
            and bool(turn.words)
            and self._closing is None
            and self._keys is None
            and (bool(turn.owed) or not self._takes_no_floor(turn))
        )

    def _consider(self, turn: Turn, rung: Rung) -> None:
        """Begin a draft, or keep one, if that is worth it."""
        if not self._wants_draft(turn):
            return
        if self.policy.speculation.mode == "adaptive" and not self._has_draft(turn.words):
            delay, worth = self._worth(rung)
            if delay is None:
                self._drop_draft("superseded")
                self._decline(turn.id, rung, "worth", worth)
                return
            if delay > 0:
                self._set(WORTH, self._now + delay)
                return
        self._begin_draft(turn, rung)

    def _consider_again(self, turn: Turn) -> None:
        """The source has become surer of a maybe-end for which there is no draft."""
        if self.policy.speculation.mode != "adaptive" or not turn.rising:
            return
        if self._wants_draft(turn) and not self._has_draft(turn.words):
            delay, _ = self._worth("eager")
            if delay == 0:
                self._begin_draft(turn, "eager")

    def _worth_is_due(self) -> None:
        """The pause has lasted as long as makes it worth a draft."""
        turn = self.caller.turn
        if turn is not None and turn.open and self._pauses and self._wants_draft(turn):
            self._begin_draft(turn, "eager" if "eager" in self._pauses else "rest")

    # -------------------------------------------------------------------------- words at rest

    def _watch_rest(self, turn: Turn) -> None:
        """Words that changed are not at rest; what was drafted for others goes."""
        early, draft = self.policy.speculation.early, self._draft
        if draft is not None and draft.rung != "eager" and not self._fits(draft, turn.words):
            self._goes_on()
        if not early.wanted:
            return
        if self.caller.progress:
            turn.words_since = self._now
            self._close_pauses(turn.words)
            self._cancel(REST)
            if early.rest is not None and turn.words:
                self._set(REST, self._now + early.rest)
        finished = early.finished and turn.rising and turn.text.rstrip().endswith((".", "!", "?"))
        if finished or (early.rest is not None and REST not in self._timers):
            self._rest(turn)

    def _is_at_rest(self) -> None:
        turn = self.caller.turn
        if turn is not None and turn.state is CallerState.SPEAKING:
            self._rest(turn)

    def _rest(self, turn: Turn) -> None:
        """The words have come to rest: once for the same words."""
        least = self.policy.speculation.early.confidence
        if not turn.words or turn.confidence < least or "rest" in self._pauses:
            return
        self._pause(turn, "rest")
        self._consider(turn, "rest")

    # ---------------------------------------------------------------------------------- pauses

    def _pause(self, turn: Turn, rung: Rung) -> None:
        """A pause begins, or goes on."""
        bucket = bucket_of(turn.confidence)
        pause = self._pauses.get(rung)
        if pause is not None and not same_words(pause.words, turn.words):
            self._close_pause(pause, held=False)
            pause = None
        if pause is None:
            self._pauses[rung] = Pause(rung, self._now, turn.words, bucket, bucket)
        else:
            pause.reach(turn.confidence)

    def _close_pauses(self, words: str | None) -> None:
        """The caller went on; those whose words are still these go on, too."""
        for pause in tuple(self._pauses.values()):
            if words is None or not same_words(pause.words, words):
                self._close_pause(pause, held=False)

    def _close_pause(self, pause: Pause, *, held: bool) -> None:
        del self._pauses[pause.rung]
        self._judge.ended(pause, self._now, held=held)
        if pause.rung == "eager":
            self._move_threshold()

    def _end_pauses(self, turn: Turn) -> None:
        """The turn has ended: its pauses held, if its words are theirs."""
        self._cancel(REST)
        self._cancel(WORTH)
        for pause in tuple(self._pauses.values()):
            if turn.ended_by_machine:
                del self._pauses[pause.rung]
            else:
                self._close_pause(pause, held=same_words(pause.words, turn.words))

    def _worth(self, rung: Rung) -> tuple[float | None, float]:
        """When a draft is worth it in the pause that is going on, and how much, in seconds."""
        pause = self._pauses[rung]
        return self._judging.best(rung, pause.highest, self._exchange(), self._now - pause.began)

    @property
    def _judging(self) -> Judge:
        """What is known of the caller, at the pace that the conversation has by now."""
        self._judge.pace = self._pace_now
        return self._judge

    def _exchange(self) -> float:
        """Seconds that have to be saved for one draft that is lost."""
        rules = self.policy.speculation
        if not rules.tuning.second or not rules.prices.known:
            return rules.tuning.exchange
        return self._spending.estimate(rules.prices).price / rules.tuning.second

    # ------------------------------------------------------------------------- the threshold

    def _on_listening(self, event: ev.Listening) -> None:
        self._listening = event

    def _move_threshold(self) -> None:
        """T9: move the eager threshold a step, seldom, one move at a time."""
        rules, source = self.policy.speculation, self._source
        if rules.mode != "adaptive" or not rules.tuning.threshold or not source.tunable:
            return
        if source.eager is None or self._listening.thresholds or self._closing is not None:
            return
        if self._moved is not None:
            patience = rules.tuning.every
            if self._untold:
                patience = max(patience, _UNTOLD)
            if self._now < self._moved + patience:
                return
        to = self._judging.move(source.eager, source.final, self._exchange())
        if to is None:
            return
        self._moved, self._untold = self._now, True
        bucket = bucket_of(to)
        moved = TuneSource(
            to,
            source.eager,
            "worth_less" if to > source.eager else "worth_more",
            self._judge.held("eager", bucket),
            self._judge.seen(bucket),
        )
        self._spending.books.take(moved)
        self._emit(moved)

    # ------------------------------------------------------------------- answers that are expected

    def _on_shared_budget(self, event: ev.SharedBudget) -> None:
        self._shared_left = event.left

    def _on_answers_expected(self, event: ev.AnswersExpected) -> None:
        """The question is what the agent says next, or is saying now."""
        self._drop_expected("over")
        self._answers = event.answers
        self._question = self._next_reply if event.reply is None else event.reply

    def _watch_question(self) -> None:
        """Draft the answers that are expected, once the question has all its words."""
        if not self._may_expect():
            return
        answers, self._answers = self._answers[: self.policy.speculation.expected], ()
        for words in answers:
            if self.policy.speculation.mode == "adaptive":
                worth = self._judging.expected(len(answers), self._exchange())
                if worth <= 0:
                    self._decline(None, "expected", "worth", worth)
                    continue
            if self._affords(None, "expected"):
                draft = self._start("answer", words=words, draft=True, rung="expected")
                self._expecting.append(draft)

    def _may_expect(self) -> bool:
        turn, floor = self.caller.turn, self._floor
        waiting = floor.replies
        question = waiting[-1] if waiting else floor.last
        return (
            self.policy.speculation.drafts
            and question is not None
            and question.id >= self._question
            and question.complete
            and question.kind in ("answer", "say", "asked")
            and (turn is None or not turn.open or not turn.words)
            and self._closing is None
            and self._keys is None
            and not self._has_effects_running()
        )

    def _adopt_expected(self, turn: Turn) -> None:
        """The caller gave one of the answers, or began to: its draft is the turn's."""
        if self._draft is not None and self._fits(self._draft, turn.words):
            return
        fitting = (reply for reply in self._expecting if self._fits(reply, turn.words))
        found = next(fitting, None)
        if found is None or not self._wants_draft(turn):
            return
        self._drop_draft("superseded")
        self._expecting.remove(found)
        found.turn = turn.id
        self._draft = found
        self._emit(Adopt(found.id, turn.id))
        self._feed(found)
