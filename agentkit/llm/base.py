"""What agentkit asks of a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentkit.core.history import AssistantMessage, Message, ToolCall


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it.

    Args:
        name: what the model calls it.
        description: when to use it, for the model.
        parameters: a JSON schema of type ``object``.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LLMRequest:
    """All that one generation is made from.

    Args:
        instructions: the system prompt.
        messages: the conversation, oldest first. It ends with the caller's words or with tool
            results; where the agent is to speak unasked, with what was said last, and it may be
            empty. Tool calls and their results are always paired.
        tools: what the model may call.
        draft: the reply may yet be thrown away; a backend may log or price it apart.
    """

    instructions: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    draft: bool = False


def estimated_tokens(request: LLMRequest) -> int:
    """About how many tokens a request's prompt is, at four characters a token."""
    characters = len(request.instructions)
    for message in request.messages:
        characters += len(message.text) + 16
        if isinstance(message, AssistantMessage):
            characters += sum(len(call.arguments) + len(call.name) for call in message.tool_calls)
    for tool in request.tools:
        characters += len(tool.name) + len(tool.description) + len(str(tool.parameters))
    return characters // 4 + 1


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of text, as it came."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What the request cost, in tokens. ``cached`` is the part of ``input`` read from a cache."""

    input: int = 0
    output: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The generation is over.

    Args:
        reason: ``stop``, ``tool_calls``, ``length``, ``content_filter``, or the backend's own.
        usage: what it cost, where the backend says so.
    """

    reason: str
    usage: Usage = field(default_factory=Usage)


LLMEvent = TextDelta | ToolCall | Finish
"""What a stream yields: text as it comes, each tool call once and whole, and last one Finish."""


class LLM(ABC):
    """A language model.

    An instance serves many calls at once. Making one opens nothing and reads no environment
    beyond what its constructor's arguments left out. Neither its text form nor its errors show a
    key or anything that was said.

    `agentkit.testing.conformance` checks that a backend does as is written here.
    """

    name: str
    """``backend/model``, as it is shown in logs and records."""

    @abstractmethod
    def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        """Generate a reply.

        Text is yielded as it arrives and is not held back. Closing the generator (``aclose()``,
        or cancelling the task that waits on it) closes the request on the wire. An answer that
        stalls is for the backend to give up, after a time of its own (``timeout``).

        Raises:
            LLMError: the request failed; ``retryable`` says whether to try again.
        """

    async def warm(self) -> None:
        """Open what the next request needs (a spare connection), if there is such a thing.

        Called when a call begins and after a discard. Never raises for a backend
        that is out of reach: the request that follows will say so. Safe to cancel.
        """

    async def aclose(self) -> None:
        """Close all connections and end all tasks. Safe to call twice."""
