"""What a session does for drafts besides making them: warmth, accounts, expected answers (T9)."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.errors import ConfigError
from agentkit.session.chores import Chores
from agentkit.session.runs import ReplyRun
from agentkit.session.seams import Seams

if TYPE_CHECKING:
    from agentkit.core.policy import Policy
    from agentkit.economy import CallAccount, Economy

log = structlog.get_logger(__name__)


class Ladder(Seams):
    """Carries out what the machine decides of the ladder of drafts."""

    _runs: dict[int, ReplyRun]
    _chores: Chores
    _economy: Economy | None
    _account: CallAccount | None = None

    @abstractmethod
    def failed_in_user_code(self, error: Exception) -> None:
        """The agent's own code raised."""

    def _applied(self, policy: Policy) -> Policy:
        return policy if self._economy is None else self._economy.apply(policy)

    def _join(self, shared: AsyncExitStack) -> None:
        """Keep the accounts of the calls that go on at once."""
        if self._economy is not None:
            self._account = shared.enter_context(self._economy.call(self.post))
            shared.callback(self._teach, self._economy)

    def _teach(self, economy: Economy) -> None:
        """What this call has shown is known to the next ones."""
        economy.learn(self.machine.experience)

    def _warm_up(self) -> None:
        """The caller has begun to speak: make ready what their answer will need."""
        if not (self._running and self.policy.speculation.drafts):
            return
        self._chores.start(self.llm.warm, "warm the model")
        self._chores.start(self.tts.warm, "warm the voice")
        if self.agent._makes_ready:
            self._hook(self.agent.caller_began(), "caller_began")

    def _book(self, command: cmd.DraftBooked) -> None:
        if self._account is not None:
            self._account.book(command)

    def _adopt(self, command: cmd.Adopt) -> None:
        turn, heard = self._runs[command.reply].turn, self.machine.caller.turn
        if turn is not None and heard is not None:
            turn.id, turn.words, turn.languages = command.turn, heard.word_list, heard.languages

    def _tune(self, command: cmd.TuneSource) -> None:
        """Move the eager threshold; a source that will not have it keeps what it has."""
        try:
            self._source.configure({"eager_eot_threshold": command.eager})
        except ConfigError as error:
            log.warning("the eager threshold stays as it is", error=str(error))

    def _ask_for_answers(self, reply: int) -> None:
        """The agent may know what will be answered to a question that it is asking."""
        rules = self.policy.speculation
        if not (rules.expected and rules.drafts and self.agent._expects_answers):
            return
        question = self.machine.question(reply)
        if question is None:
            return
        try:
            answers = tuple(self.agent.answers_to(question))
        except Exception as error:
            self.failed_in_user_code(error)
            return
        if answers:
            self.post(ev.AnswersExpected(answers, reply))
