"""An agent of the OpenAI Agents SDK as the brain. `pip install 'agentkit[openai-agents]'`

    agentkit run examples/brains/openai_agents.py --audio caller.wav --out call

It asks the server of OPENAI_BASE_URL, else OpenAI's own. agentkit keeps the history, for only it
knows what the caller heard. A discarded draft cancels the run, and its request is closed on the
wire.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

# Here, not in a method: these imports take over a second, and no call should wait for them.
from agents import Agent as Brain
from agents import OpenAIChatCompletionsModel, RunConfig, Runner, TResponseInputItem, function_tool
from agents.tool_context import ToolContext
from openai import AsyncOpenAI
from openai.types import responses

from agentkit import (
    Agent,
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    Turn,
    UserMessage,
)
from agentkit.errors import UsageError
from agentkit.llm.openai import preload

CLIENT = AsyncOpenAI(api_key=os.environ.get("OPENAI_API_KEY") or "none")  # for all calls

# Nor for what the first request of a process would import and build, while its event loop waits.
preload()
_ = CLIENT.chat.completions
for late in (
    responses.Response,
    responses.ResponseOutputItemAddedEvent,
    responses.ResponseOutputItemDoneEvent,
):
    late.model_rebuild()


@dataclass(frozen=True)
class Reply:
    """What the tools are given."""

    agent: Clinic
    turn: Turn


# It only reads, so it may run in a draft. An error is raised, not told to the model: so mistakes
# come to `on_error`, such as a verb of the session in a draft.
@function_tool(failure_error_function=None)
async def opening_hours(call: ToolContext[Reply], day: str) -> str:
    """When the clinic is open on a weekday."""
    closed = day.lower() in ("saturday", "sunday")
    return f"closed on {day}" if closed else f"open on {day} from eight to six"


@function_tool(failure_error_function=None)
async def book(call: ToolContext[Reply], name: str, when: str) -> str:
    """Book an appointment."""
    reply, asked = call.context, ToolCall(call.tool_call_id, call.tool_name, call.tool_arguments)
    return await reply.agent.once(reply.turn, asked, lambda: reply.agent.book(name, when))


class Clinic(Agent):
    greeting = "Rosewood Clinic, good morning. How can I help you?"
    brain = Brain[Reply](
        name="receptionist",
        instructions="You answer the phone at Rosewood Clinic. One or two short sentences.",
        model=OpenAIChatCompletionsModel("gpt-4.1-mini", CLIENT),
        tools=[opening_hours, book],
    )

    def __init__(self) -> None:
        self.booked: dict[str, str] = {}
        self._effects: set[asyncio.Task[str]] = set()

    async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
        told = [*self.session.prompt()]
        last = len(told) - isinstance(told[-1], UserMessage)
        told[last:last] = await self.prepare(turn)  # before the caller's last words
        # Traces would send the caller's words to OpenAI whatever the base URL.
        config = RunConfig(tracing_disabled=True)
        run = Runner.run_streamed(
            self.brain, items(told), context=Reply(self, turn), run_config=config
        )
        try:
            async for event in run.stream_events():
                if event.type == "raw_response_event":
                    if isinstance(event.data, responses.ResponseTextDeltaEvent):
                        yield event.data.delta
                elif event.type == "run_item_stream_event" and event.name == "tool_called":
                    yield "\n"  # ends the clause: it is spoken while the tool runs
        finally:
            run.cancel()

    async def book(self, name: str, when: str) -> str:
        self.booked[name] = when
        return f"booked for {name}, {when}"

    async def once(self, turn: Turn, call: ToolCall, effect: Callable[[], Awaitable[str]]) -> str:
        """Run an effect when the turn can no longer be taken back, or never.

        One that has begun runs to its end although the reply be interrupted, and the history keeps
        it: the next reply knows of it.
        """
        await turn.settled()

        async def run() -> str:
            result = await effect()
            with suppress(UsageError):  # the call is over: no reply will ask
                self.session.remember(AssistantMessage("", tool_calls=(call,)))
                self.session.remember(ToolMessage(call.id, call.name, result))
            return result

        task = asyncio.create_task(run(), name=f"effect {call.name}")
        self._effects.add(task)
        task.add_done_callback(self._effects.discard)
        return await asyncio.shield(task)

    async def on_end(self, reason: str) -> None:
        await asyncio.gather(*self._effects)


def items(messages: list[Message]) -> list[TResponseInputItem]:
    """The conversation as the SDK takes it."""
    found: list[TResponseInputItem] = []
    for m in messages:
        if isinstance(m, UserMessage):
            found.append({"role": "user", "content": m.text})
        elif isinstance(m, ToolMessage):
            found.append({"type": "function_call_output", "call_id": m.call_id, "output": m.text})
        elif m.text:
            found.append({"role": "assistant", "content": m.text})
        if isinstance(m, AssistantMessage):
            found += [
                {
                    "type": "function_call",
                    "call_id": c.id,
                    "name": c.name,
                    "arguments": c.arguments,
                }
                for c in m.tool_calls
            ]
    return found
