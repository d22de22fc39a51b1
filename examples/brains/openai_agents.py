"""An agent of the OpenAI Agents SDK as the brain. `pip install 'agentkit[openai-agents]'`

    agentkit run examples/brains/openai_agents.py --audio caller.wav --out call

It asks the server of OPENAI_BASE_URL, else OpenAI's own. agentkit keeps the history, for only it
knows what the caller heard. A discarded draft cancels the run, and its request is closed on the
wire.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
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
    tool,
)
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

    async def run(self, call: ToolCall) -> str:
        """Have agentkit run a tool of the agent, by its effects."""
        (found,) = await self.agent.session.run_tools([call])
        return found.text


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
    asked = ToolCall(call.tool_call_id, call.tool_name, call.tool_arguments)
    return await call.context.run(asked)


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

    async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
        told = [*self.session.prompt()]
        last = len(told) - isinstance(told[-1], UserMessage)
        told[last:last] = await self.prepare(turn)  # before the caller's last words
        # Traces would send the caller's words to OpenAI whatever the base URL.
        config = RunConfig(tracing_disabled=True)
        run = Runner.run_streamed(self.brain, items(told), context=Reply(self), run_config=config)
        try:
            async for event in run.stream_events():
                if event.type == "raw_response_event":
                    if isinstance(event.data, responses.ResponseTextDeltaEvent):
                        yield event.data.delta
                elif event.type == "run_item_stream_event" and event.name == "tool_called":
                    yield "\n"  # ends the clause: it is spoken while the tool runs
        finally:
            run.cancel()

    # It changes something: agentkit runs it once, when the turn has settled, and to its end.
    @tool
    async def book(self, name: str, when: str) -> str:
        """Book an appointment."""
        self.booked[name] = when
        return f"booked for {name}, {when}"


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
