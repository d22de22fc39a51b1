"""Tool calls that a small model writes into its text.

Models are taught many forms, and small ones mix them up: bare JSON, JSON in a Markdown fence or in
``<tool_call>`` tags, braces written twice. None of it is for the caller's ear.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Iterator
from typing import Any

from agentkit.core.history import ToolCall

_BEGINS = re.compile(r"[{`<]")
_AROUND = re.compile(r"```\w*|</?tool_call>")


class ToolText:
    """Takes a model's text as it comes; gives what is to be said, and the calls in the rest.

    What begins with a brace, a fence or a tag is held back to the end of the answer.

    Args:
        tools: the names of the tools that the model may call.
    """

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = tools
        self._held = ""

    def push(self, text: str) -> str:
        """Add text; return what can be said now."""
        if self._held or not self._tools:
            self._held += text if self._tools else ""
            return "" if self._tools else text
        begin = _BEGINS.search(text)
        if begin is None:
            return text
        self._held = text[begin.start() :]
        return text[: begin.start()]

    def finish(self) -> tuple[str, list[ToolCall]]:
        """The answer is complete: return what is still to be said, and the calls."""
        held, self._held = self._held, ""
        calls = [
            ToolCall(f"call_{secrets.token_hex(8)}", found["name"], json.dumps(_arguments(found)))
            for found in _objects(_AROUND.sub(" ", held))
            if isinstance(found.get("name"), str) and found["name"] in self._tools
        ]
        return ("" if calls else held), calls


def _arguments(found: dict[str, Any]) -> Any:
    given = found.get("arguments", found.get("parameters", {}))
    if isinstance(given, str):  # JSON within JSON, as OpenAI's protocol has it
        try:
            return json.loads(given)
        except ValueError:
            return {}
    return given


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, one after the other."""
    if text.strip().startswith("{{"):
        text = text.strip().removeprefix("{").removesuffix("}")
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            found, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            if isinstance(found, dict):
                yield found
        at = text.find("{", end)
