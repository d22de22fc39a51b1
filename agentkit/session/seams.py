"""What the code of a reply asks of its session: the prompt, the model, the tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from agentkit.core.history import Message, ToolCall, ToolMessage
from agentkit.errors import UsageError
from agentkit.session.brain import generate
from agentkit.session.handles import Turn
from agentkit.session.listening import Listening
from agentkit.session.runs import ReplyRun, current_run


class Seams(Listening):
    """Where a brain of the user's own meets the session. All of it works inside `Agent.reply`."""

    def prompt(self) -> tuple[Message, ...]:
        """The conversation that the reply is made from; the caller's words stand last.

        Of what the agent has said it holds what was heard. `history` is the same without the words
        of a turn that is still a draft.

        Raises:
            UsageError: outside a reply.
        """
        return self.machine.prompt(self._current("prompt").id)

    async def run_tools(self, calls: Sequence[ToolCall]) -> list[ToolMessage]:
        """Run tools of the agent by name, as the model wants them, and wait for their results.

        Those that only read run at once, also in a draft. Those with effects run in order, once
        the turn has settled; they then go on to their timeout whatever becomes of the reply, and
        are in the history (rules T6, T19). Ids that were used in this reply before are changed.

        Returns:
            The results, in the order of the calls. What went wrong in a tool is in its text.

        Raises:
            UsageError: outside a reply.
        """
        run = self._current("run_tools")
        return await run.run_tools([run.name_once(call) for call in calls])

    async def generate(
        self, turn: Turn | None, *, instructions: str = ""
    ) -> AsyncGenerator[str, None]:
        """Yield the language model's answer, tools included: what `Agent.reply` does by default.

        Args:
            turn: the turn to answer; None to speak from the history alone.
            instructions: added to the agent's own.

        Raises:
            UsageError: outside a reply.
            LLMError: the model failed.
        """
        run = self._current("generate")
        messages, llm = self.machine.prompt(run.id), self.llm
        looked_up = await run.agent.prepare(turn) if turn is not None else ()
        parts = [part for part in (run.agent.instructions, instructions) if part]
        texts = generate(
            run,
            llm,
            instructions="\n\n".join(parts),
            messages=messages,
            looked_up=looked_up,
            tools=[tool.spec for tool in run.agent.tools.values()],
        )
        async with aclosing(texts):
            async for text in texts:
                yield text

    def _current(self, verb: str) -> ReplyRun:
        run = current_run.get()
        if run is None:
            raise UsageError(f"session.{verb}() works inside Agent.reply() only")
        return run
