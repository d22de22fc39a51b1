"""The default brain: ask the language model, run the tools it wants, ask again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from agentkit.core.history import AssistantMessage, Message, ToolCall, UserMessage
from agentkit.llm.base import LLM, Finish, LLMRequest, TextDelta, ToolSpec
from agentkit.session.runs import ReplyRun

MAX_STEPS = 8
"""Requests in one reply: a model that only ever calls tools has to end somewhere."""


async def generate(
    run: ReplyRun,
    llm: LLM,
    *,
    instructions: str,
    messages: Sequence[Message],
    looked_up: Sequence[Message] = (),
    tools: Sequence[ToolSpec] = (),
) -> AsyncGenerator[str, None]:
    """Yield the model's text as it comes, through as many tool steps as it takes.

    Args:
        run: the reply that is being made; tools run on its behalf.
        llm: the model.
        instructions: the system prompt.
        messages: the conversation, oldest first.
        looked_up: what `Agent.prepare` found; placed before the caller's last words.
        tools: what the model may call.

    Raises:
        LLMError: the model failed. Closing the generator closes the request on the wire.
    """
    told = [*messages]
    at = len(told) - 1 if told and isinstance(told[-1], UserMessage) else len(told)
    told[at:at] = looked_up
    before = ""
    for step in range(MAX_STEPS):
        said: list[str] = []
        calls: list[ToolCall] = []
        offered = tuple(tools) if step < MAX_STEPS - 1 else ()
        request = LLMRequest(instructions, tuple(told), offered, draft=run.draft)
        with run.asking(request):
            if run.closed:
                return  # there is no budget for it (T9)
            async with aclosing(llm.stream(request)) as stream:
                async for event in stream:
                    if isinstance(event, TextDelta):
                        said.append(event.text)
                        if before and not before[-1].isspace() and not event.text[:1].isspace():
                            yield " "
                        before = ""
                        yield event.text
                        run.answering()
                    elif isinstance(event, Finish):
                        run.spend(event.usage)
                    else:
                        calls.append(run.name_once(event))
        if not calls:
            return
        results = await run.run_tools(calls)
        told += [AssistantMessage("".join(said), tool_calls=tuple(calls)), *results]
        before = "".join(said)
