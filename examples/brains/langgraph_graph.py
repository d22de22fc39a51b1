"""A LangGraph graph as the brain. `pip install 'agentkit[langgraph]'`

    agentkit run examples/brains/langgraph_graph.py --audio caller.wav --out call

It asks the server of OPENAI_BASE_URL, else OpenAI's own. agentkit keeps the history, since only it
knows what the caller heard: the graph has no checkpointer. A discarded draft cancels the graph,
which closes its request on the wire.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

# Here, not in a method: these imports take over a second, and no call should wait for them.
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool as graph_tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, ToolRuntime, tools_condition
from openai import DefaultAsyncHttpxClient
from pydantic import SecretStr

from agentkit import (
    Agent,
    ToolCall,
    Turn,
    UserMessage,
    tool,
)
from agentkit.llm.openai import chat_messages, preload


@dataclass(frozen=True)
class Reply:
    """What the tools are given."""

    agent: Clinic

    async def run(self, call: ToolCall) -> str:
        """Have agentkit run a tool of the agent, by its effects."""
        (found,) = await self.agent.session.run_tools([call])
        return found.text


# It only reads, so it may run in a draft.
@graph_tool
async def opening_hours(day: str) -> str:
    """When the clinic is open on a weekday."""
    closed = day.lower() in ("saturday", "sunday")
    return f"closed on {day}" if closed else f"open on {day} from eight to six"


@graph_tool
async def book(name: str, when: str, runtime: ToolRuntime[Any, Any]) -> str:
    """Book an appointment."""
    reply: Reply = runtime.context
    arguments = json.dumps({"name": name, "when": when})
    return await reply.run(ToolCall(runtime.tool_call_id or "", "book", arguments))


TOOLS = [opening_hours, book]
CLIENT = DefaultAsyncHttpxClient()  # for all calls
CHAT = ChatOpenAI(
    model="gpt-4.1-mini",
    api_key=SecretStr(os.environ.get("OPENAI_API_KEY") or "none"),
    http_async_client=CLIENT,
)
MODEL = CHAT.bind_tools(TOOLS)
preload()  # what the first request of a process would import


async def think(state: MessagesState) -> dict[str, list[object]]:
    return {"messages": [await MODEL.ainvoke(state["messages"])]}


GRAPH = (
    StateGraph(MessagesState, context_schema=Reply)
    .add_node("think", think)
    .add_node("tools", ToolNode(TOOLS))
    .add_edge(START, "think")
    .add_conditional_edges("think", tools_condition)
    .add_edge("tools", "think")
    .compile()
)


class Clinic(Agent):
    instructions = "You answer the phone at Rosewood Clinic. One or two short sentences."
    greeting = "Rosewood Clinic, good morning. How can I help you?"

    def __init__(self) -> None:
        self.booked: dict[str, str] = {}

    async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
        told = [*self.session.prompt()]
        last = len(told) - isinstance(told[-1], UserMessage)
        told[last:last] = await self.prepare(turn)  # before the caller's last words
        asked: Any = {"messages": chat_messages(self.instructions, told)}
        parts: Any = GRAPH.astream(asked, context=Reply(self), stream_mode="messages")
        async with aclosing(parts):
            async for part, _ in parts:
                if not isinstance(part, AIMessageChunk):
                    continue
                if part.text:
                    yield part.text
                if any(call["id"] for call in part.tool_call_chunks):
                    yield "\n"  # ends the clause: it is spoken while the tool runs

    # It changes something: agentkit runs it once, when the turn has settled, and to its end.
    @tool
    async def book(self, name: str, when: str) -> str:
        """Book an appointment."""
        self.booked[name] = when
        return f"booked for {name}, {when}"
