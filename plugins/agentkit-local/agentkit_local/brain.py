"""Brains that need no network: ``local/script``, and with llama.cpp ``local/PATH.gguf``.

``local/script`` is no model: it gives scripted answers, as a small file says, in the way a model
would: word by word, with tool calls, through the same interface. It is there to try an agent out,
and to test one, without tokens.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from agentkit.core.history import AssistantMessage, ToolCall
from agentkit.errors import ConfigError
from agentkit.llm import LLM, Finish, LLMEvent, LLMRequest, TextDelta, Usage
from agentkit_local.script import Script, seconds

_TOKEN = re.compile(r"\s*\S+")


def model_named(model: str = "script", **options: Any) -> LLM:
    """The brain behind ``local/MODEL``: ``script``, ``script:PATH.toml``, or a GGUF file.

    Raises:
        ConfigError: there is no such thing.
    """
    if model == "script":
        return ScriptLLM(**options)
    if model.startswith("script:"):
        return ScriptLLM(model.removeprefix("script:"), **options)
    if model.endswith(".gguf"):
        from agentkit_local.gguf import GgufLLM

        return GgufLLM(Path(model), **options)
    raise ConfigError(
        "llm",
        f"no brain local/{model}: there are local/script, local/script:PATH.toml and "
        "local/PATH.gguf",
    )


class ScriptLLM(LLM):
    """Scripted answers, not a model. A token is a word with the space before it.

    Args:
        script: the file; None: the one that comes along, a clinic's receptionist.
        first_token: seconds until the first word; None: as the script says, else 0.25.
        per_token: seconds from word to word; None: as the script says, else 0.02.

    Raises:
        ConfigError: the script cannot be read, or is wrong; it says where.
    """

    def __init__(
        self,
        script: Path | str | None = None,
        *,
        first_token: float | None = None,
        per_token: float | None = None,
    ) -> None:
        self.name = "local/script (scripted answers, not a model)"
        self._script = read = Script.read(Path(script) if script else None)
        self._first_token = seconds(
            read.first_token if first_token is None else first_token, "first_token"
        )
        self._per_token = seconds(read.per_token if per_token is None else per_token, "per_token")

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        """Answer the last message, word by word; a tool call takes the time of its words.

        Nothing is open while it waits, so that closing it has nothing to close.
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + self._first_token
        answer = self._script.answer(request.messages, [tool.name for tool in request.tools])
        spent = 0
        for word in _TOKEN.findall(answer.text):
            await asyncio.sleep(max(0.0, due - loop.time()))
            due += self._per_token
            spent += 1
            yield TextDelta(word)
        if answer.call is not None:
            arguments = json.dumps(answer.arguments, ensure_ascii=False)
            written = _count(answer.call, arguments)
            due += self._per_token * (written - 1)
            spent += written
            await asyncio.sleep(max(0.0, due - loop.time()))
            yield ToolCall(f"call_{secrets.token_hex(8)}", answer.call, arguments)
        await asyncio.sleep(0)
        yield Finish("tool_calls" if answer.call else "stop", Usage(_asked(request), spent))


def _asked(request: LLMRequest) -> int:
    """The words of a request, all that a model would have to read."""
    total = _count(request.instructions)
    for message in request.messages:
        total += _count(message.text)
        if isinstance(message, AssistantMessage):
            total += sum(_count(call.name, call.arguments) for call in message.tool_calls)
    for tool in request.tools:
        total += _count(tool.name, tool.description, json.dumps(dict(tool.parameters)))
    return total


def _count(*texts: str) -> int:
    return sum(len(text.split()) for text in texts)
