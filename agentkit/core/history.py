"""What was said, as the model shall see it (rule T12)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of the agent's speech: ``start`` and ``end`` in seconds from its piece's start."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to run a tool. ``arguments`` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class UserMessage:
    """What the caller said in one turn, or in several that became one."""

    text: str
    turn: int | None = None


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """What the caller heard of a reply, and the tools that were asked for after it.

    ``interrupted``: the reply was cut there. The text never says so.
    """

    text: str
    reply: int | None = None
    interrupted: bool = False
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolMessage:
    """What a tool answered. Always follows the `AssistantMessage` that asked for it."""

    call_id: str
    name: str
    text: str


Message = UserMessage | AssistantMessage | ToolMessage
