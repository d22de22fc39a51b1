"""What was said, as the model shall see it (rule T12)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


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


STILL_RUNNING = "still running"
"""Stands for the result of a call that has not returned, so that calls stay paired."""


@dataclass(slots=True)
class ToolStep:
    """Tools that a reply had run, after so many characters of its text."""

    after: int
    calls: tuple[ToolCall, ...]
    results: dict[str, str] = field(default_factory=dict)
    asides: list[ReplyEntry] = field(default_factory=list)
    """What was said while the reply waited for them (T20)."""


@dataclass(slots=True)
class ReplyEntry:
    """What the history knows of one reply. ``text`` is what was heard of it so far."""

    reply: int
    text: str = ""
    interrupted: bool = False
    steps: list[ToolStep] = field(default_factory=list)

    def messages(self) -> list[Message]:
        """The reply as the model shall see it: text, calls, results, text."""
        found: list[Message] = []
        at = 0
        for step in self.steps:
            said = self.text[at : step.after].strip()
            found.append(AssistantMessage(said, self.reply, False, step.calls))
            found += (
                ToolMessage(call.id, call.name, step.results.get(call.id, STILL_RUNNING))
                for call in step.calls
            )
            for aside in step.asides:
                found += aside.messages()
            at = max(at, step.after)
        if rest := self.text[at:].strip():
            found.append(AssistantMessage(rest, self.reply))
        if self.interrupted:
            self._mark_cut(found)
        return found

    def _mark_cut(self, found: list[Message]) -> None:
        """It was cut where its last words were heard; if none were, where it waited for a tool."""
        own = [
            (bool(message.text), at, message)
            for at, message in enumerate(found)
            if isinstance(message, AssistantMessage) and message.reply == self.reply
        ]
        if own:
            _, at, message = max(own, key=lambda item: item[:2])
            found[at] = replace(message, interrupted=True)


def add_message(messages: list[Message], message: Message) -> None:
    """Append a message; turns with nothing heard between them are one message (T11)."""
    last = messages[-1] if messages else None
    if (
        isinstance(last, UserMessage)
        and isinstance(message, UserMessage)
        and last.turn is not None
        and message.turn is not None
    ):
        messages[-1] = UserMessage(f"{last.text} {message.text}", message.turn)
    else:
        messages.append(message)


Entry = UserMessage | ReplyEntry | AssistantMessage | ToolMessage


class History:
    """The conversation in order: committed turns, and of each reply what was heard (T12).

    ``version`` grows with each change of what a reply is made from; playout does not change it.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._replies: dict[int, ReplyEntry] = {}
        self.version = 0

    def add_user(self, turn: int, text: str) -> None:
        """A turn was committed."""
        self._entries.append(UserMessage(text, turn))
        self.version += 1

    def withdraw_user(self, turn: int) -> None:
        """The turn's end was taken back (T11)."""
        self._entries = [
            entry
            for entry in self._entries
            if not (isinstance(entry, UserMessage) and entry.turn == turn)
        ]
        self.version += 1

    def add(self, message: Message) -> None:
        """The user's code wrote a message."""
        self._entries.append(message)
        self.version += 1

    def begin(self, reply: int, *, aside_of: int | None = None) -> None:
        """The reply begins to be heard: this is its place in the order.

        With ``aside_of`` that is after the tools for which that reply is waiting.
        """
        waiting = self._replies.get(aside_of) if aside_of is not None else None
        if waiting is not None and waiting.steps and reply not in self._replies:
            entry = self._replies[reply] = ReplyEntry(reply)
            waiting.steps[-1].asides.append(entry)
        self._entry(reply)

    def knows(self, reply: int) -> bool:
        """The reply has a place in the order."""
        return reply in self._replies

    def hear(self, reply: int, text: str, *, interrupted: bool = False) -> None:
        """So much was heard of a reply that has begun. Nothing heard leaves no message."""
        if entry := self._replies.get(reply):
            entry.text = text
            entry.interrupted = interrupted

    def forget(self, reply: int) -> None:
        """Nothing of the reply is remembered (T11)."""
        entry = self._replies.pop(reply, None)
        if entry is None:
            return
        at = next(n for n, other in enumerate(self._entries) if other is entry)
        self._entries[at : at + 1] = [aside for step in entry.steps for aside in step.asides]
        self.version += 1

    def call_tool(self, reply: int, after: int, call: ToolCall) -> None:
        """The tool begins to run, after so many characters of the reply's text."""
        entry = self._entry(reply)
        if entry.steps and entry.steps[-1].after == after:
            step = entry.steps[-1]
            step.calls = (*step.calls, call)
        else:
            entry.steps.append(ToolStep(after, (call,)))
        self.version += 1

    def tool_returned(self, reply: int, call_id: str, text: str) -> None:
        """The tool's result; late ones too."""
        entry = self._replies.get(reply)
        for step in entry.steps if entry else ():
            if any(call.id == call_id for call in step.calls):
                step.results[call_id] = text
                self.version += 1

    def messages(self) -> tuple[Message, ...]:
        """All of it, as the model shall see it."""
        found: list[Message] = []
        for entry in self._entries:
            if isinstance(entry, ReplyEntry):
                found += entry.messages()
            else:
                add_message(found, entry)
        return tuple(found)

    def _entry(self, reply: int) -> ReplyEntry:
        entry = self._replies.get(reply)
        if entry is None:
            entry = self._replies[reply] = ReplyEntry(reply)
            self._entries.append(entry)
        return entry
