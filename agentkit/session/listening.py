"""How the agent listens to the answer to one question: `Session.listening`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from agentkit.core import events as ev
from agentkit.core.economy import Pace
from agentkit.core.policy import Digits
from agentkit.errors import ConfigError
from agentkit.session.verbs import Verbs
from agentkit.turns import PROFILES, TurnProfile

log = structlog.get_logger(__name__)

_THRESHOLDS = frozenset({"eot_threshold", "eager_eot_threshold"})


@dataclass(slots=True, eq=False)
class _Question:
    """A block of `Listening.listening`.

    Args:
        first: the first turn that may be the answer.
        undo: puts back what the block has changed.
        over: its end was reached.
    """

    first: int
    undo: ExitStack
    over: bool = False


class Listening(Verbs):
    """Listens in another way while a question is asked, and until it is answered."""

    def __init__(self) -> None:
        super().__init__()
        self._questions: list[_Question] = []
        self._settled = -1
        """The last turn that has settled."""
        self._expected: list[Digits] = []
        self._tunings: list[Mapping[str, Any]] = []
        self._usual: dict[str, Any] = {}
        self._told_untunable = False
        self._hearings: list[ev.Listening] = []

    @asynccontextmanager
    async def listening(
        self,
        profile: str | TurnProfile | None = None,
        *,
        digits: int | Digits | None = None,
        pace: Pace | None = None,
        expected: Sequence[str] = (),
        **changes: Any,
    ) -> AsyncIterator[None]:
        """Listen in another way to the answer to a question: for digits, spelling, an address.

            async with self.session.listening(eot_threshold=0.9, eot_timeout_ms=8000, digits=8):
                await self.session.say("What is your customer number?")
            async with self.session.listening("yes_no", expected=["Yes, please.", "No."]):
                await self.session.say("Shall I book it?")

        It begins with the block, and lasts until the block is over and the answer is there: a turn
        of the caller's that began after the block did has settled (0.6 s after its end; one whose
        end was taken back is not over). An exception that leaves the block ends it at once. What
        was changed is then put back. Blocks may overlap. A source that takes no changes during a
        call goes on as it is, with a word in the log.

        Args:
            profile: a name of ``Agent.profiles`` or `agentkit.turns.PROFILES`, or a `TurnProfile`;
                what is given besides takes the place of what it says.
            digits: how many keys make a message, or the `Digits` rules for them.
            pace: the least time before an answer is heard.
            expected: the likeliest answers to what the agent says next. As many of them as
                ``speculation.expected`` allows are drafted while it is asked and answered. The
                caller's next turn takes one of them, or none.
            changes: options of the source of turns; for Flux those of ``Configure``:
                ``eot_threshold``, ``eager_eot_threshold``, ``eot_timeout_ms``, ``keyterms`` (all
                of them: they replace the others), ``language_hints``.

        Raises:
            ConfigError: there is no such profile.
            FluxOptionError: an option is unknown or out of range.
            DraftFenceError: inside a draft.
        """
        self._fence("listening")
        found = self._profile(profile)
        digits = found.digits if digits is None else digits
        rules = Digits(length=digits) if isinstance(digits, int) else digits
        changes = self._within_final({**found.changes, **changes})
        answers = tuple(expected) or found.expected
        with ExitStack() as stack:
            if rules is not None:
                self._expect_keys(rules, stack)
            if changes:
                self._tune_for(changes, stack)
            heard = ev.Listening(pace or found.pace, not changes.keys().isdisjoint(_THRESHOLDS))
            if heard != ev.Listening():
                self._hear(heard, stack)
            if answers:
                self.post(ev.AnswersExpected(answers))
            question = _Question(self.machine.caller.next_turn, stack.pop_all())
        self._questions.append(question)
        try:
            yield
        except BaseException:
            self._put_back(question)
            raise
        question.over = True
        self._turn_has_settled(self._settled)

    def _turn_has_settled(self, turn: int) -> None:
        """It answers the questions that were asked before it began."""
        self._settled = max(self._settled, turn)
        for question in tuple(self._questions):
            if question.over and question.first <= turn:
                self._put_back(question)

    def _put_back(self, question: _Question) -> None:
        self._questions.remove(question)
        if self._running:
            question.undo.close()

    def _profile(self, profile: str | TurnProfile | None) -> TurnProfile:
        if not isinstance(profile, str):
            return profile or TurnProfile()
        known = {**PROFILES, **self.agent.profiles}
        if profile not in known:
            raise ConfigError("profile", f"{profile!r} is not one of {', '.join(sorted(known))}")
        return known[profile]

    def _within_final(self, changes: dict[str, Any]) -> dict[str, Any]:
        """The eager threshold, which may have been moved, follows a final one that is lower."""
        final = changes.get("eot_threshold")
        if final is None or "eager_eot_threshold" in changes or not self._source.can_configure:
            return changes
        if self.policy.speculation.mode != "adaptive":
            return changes
        eager = self._source.options_now(["eager_eot_threshold"])["eager_eot_threshold"]
        if eager is not None and eager > final:
            changes["eager_eot_threshold"] = final
        return changes

    # ----------------------------------------------------------------------- the pace, thresholds

    def _hear(self, heard: ev.Listening, undo: ExitStack) -> None:
        self._hearings.append(heard)
        undo.callback(self._hear_no_more, heard)
        self._tell_hearing()

    def _hear_no_more(self, heard: ev.Listening) -> None:
        self._hearings = [other for other in self._hearings if other is not heard]
        self._tell_hearing()

    def _tell_hearing(self) -> None:
        """The innermost block's pace; thresholds are those of any block that has some."""
        paces = [one.pace for one in self._hearings if one.pace is not None]
        held = any(one.thresholds for one in self._hearings)
        self.post(ev.Listening(paces[-1] if paces else None, held))

    # ------------------------------------------------------------------------------------- keys

    def _expect_keys(self, rules: Digits, undo: ExitStack) -> None:
        self._expected.append(rules)
        undo.callback(self._expect_no_more, rules)
        self.post(ev.DigitsExpected(rules))

    def _expect_no_more(self, rules: Digits) -> None:
        self._expected = [other for other in self._expected if other is not rules]
        self.post(ev.DigitsExpected(self._expected[-1] if self._expected else None))

    # ----------------------------------------------------------------------- the source's options

    def _tune_for(self, changes: Mapping[str, Any], undo: ExitStack) -> None:
        if not self._source.can_configure:
            if not self._told_untunable:
                self._told_untunable = True
                log.warning("this source of turns takes no changes during a call")
            return
        now = self._source.options_now(changes)
        self._source.configure(changes)
        for name in changes:
            self._usual.setdefault(name, now[name])
        self._tunings.append(changes)
        undo.callback(self._tune_no_more, changes)

    def _tune_no_more(self, changes: Mapping[str, Any]) -> None:
        self._tunings = [other for other in self._tunings if other is not changes]
        self._source.configure({name: self._tuning(name) for name in changes})

    def _tuning(self, name: str) -> Any:
        """The value that the innermost block left asks for, else the usual one."""
        for changes in reversed(self._tunings):
            if name in changes:
                return changes[name]
        return self._usual.pop(name)
