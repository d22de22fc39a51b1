"""Brains that need no network: ``local/script``, and with llama.cpp ``local/PATH.gguf``.

``local/script`` is no model: it gives scripted answers, as a small file says, in the way a model
would: word by word, with tool calls, through the same interface. It is there to try an agent out,
and to test one, without tokens.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import tomllib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from agentkit.core.history import Message, ToolCall, ToolMessage, UserMessage
from agentkit.errors import ConfigError
from agentkit.llm import LLM, Finish, LLMEvent, LLMRequest, TextDelta, Usage


def model_named(model: str = "script", **options: Any) -> LLM:
    """The brain behind ``local/MODEL``: ``script``, ``script:PATH.toml``, or a GGUF file.

    Raises:
        ConfigError: there is no such thing.
    """
    if model == "script":
        return ScriptLLM(**options)
    if model.startswith("script:"):
        return ScriptLLM(Path(model.removeprefix("script:")), **options)
    if model.endswith(".gguf"):
        from agentkit_local.gguf import GgufLLM

        return GgufLLM(Path(model), **options)
    raise ConfigError(
        "llm",
        f"no brain local/{model}: there are local/script, local/script:PATH.toml and "
        "local/PATH.gguf",
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """What to answer to what. See ``default_script.toml`` for the file's form."""

    when: tuple[re.Pattern[str], ...]
    say: tuple[str, ...] = ()
    call: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    then: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """A script that was read and checked."""

    rules: tuple[Rule, ...]
    otherwise: tuple[str, ...]

    @classmethod
    def read(cls, path: Path | None = None) -> Script:
        """Read a script; None: the one that comes along.

        Raises:
            ConfigError: it is no such file; it names the rule and what is wrong.
        """
        where = str(path) if path else "default_script.toml"
        try:
            text = (
                path.read_text(encoding="utf-8")
                if path
                else files("agentkit_local").joinpath(where).read_text(encoding="utf-8")
            )
            data = tomllib.loads(text)
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"script {where}", str(error)) from error
        rules = tuple(_rule(raw, f"{where}, rule {n}") for n, raw in _numbered(data))
        otherwise = _texts(data.get("otherwise", "I am not sure I understood that."), where)
        return cls(rules, otherwise)


class ScriptLLM(LLM):
    """Scripted answers, not a model.

    Args:
        script: the file; None: the one that comes along, a clinic's receptionist.
        first_token: seconds until the first word, as a fast model takes.
        per_token: seconds from word to word.
    """

    def __init__(
        self, script: Path | None = None, *, first_token: float = 0.25, per_token: float = 0.02
    ) -> None:
        self.name = "local/script (scripted answers, not a model)"
        self._script = Script.read(script)
        self._first_token = first_token
        self._per_token = per_token
        self._calls = itertools.count(1)

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        """Answer the last message, word by word."""
        text, call = self._answer(request)
        spent = 0
        await asyncio.sleep(self._first_token)
        for word in re.findall(r"\s*\S+", text):
            if spent:
                await asyncio.sleep(self._per_token)
            spent += 1
            yield TextDelta(word)
        if call is not None:
            yield call
        asked = sum(len(getattr(message, "text", "").split()) for message in request.messages)
        yield Finish("tool_calls" if call else "stop", Usage(asked, spent))

    def _answer(self, request: LLMRequest) -> tuple[str, ToolCall | None]:
        said = _last_words(request.messages)
        tools = {tool.name for tool in request.tools}
        turn = sum(isinstance(message, UserMessage) for message in request.messages)
        for rule in self._script.rules:
            found = _match(rule, said)
            if found is None:
                continue
            result = _result_of(rule, request.messages)
            if rule.call is not None and result is not None:
                return _fill(_pick(rule.then, turn), {**found, "result": result}), None
            if rule.call is not None and rule.call not in tools:
                continue
            text = _fill(_pick(rule.say, turn), found)
            return text, self._call(rule, found) if rule.call else None
        return _pick(self._script.otherwise, turn), None

    def _call(self, rule: Rule, found: Mapping[str, str]) -> ToolCall:
        arguments = {name: _fill(value, found) for name, value in rule.arguments.items()}
        return ToolCall(f"call_{next(self._calls)}", str(rule.call), json.dumps(arguments))


def _last_words(messages: tuple[Message, ...]) -> str:
    """The caller's last words, folded: lower case, without marks, single spaces."""
    text = next((m.text for m in reversed(messages) if isinstance(m, UserMessage)), "")
    return " ".join(re.sub(r"[^\w' ]+", " ", text.casefold()).split())


def _result_of(rule: Rule, messages: tuple[Message, ...]) -> str | None:
    """What the rule's tool answered since the caller spoke, if it did."""
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            return None
        if isinstance(message, ToolMessage) and message.name == rule.call:
            return message.text
    return None


def _match(rule: Rule, said: str) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for pattern in rule.when:
        match = pattern.search(said)
        if match is None:
            return None
        found |= {name: value for name, value in match.groupdict().items() if value}
    return found


def _pick(texts: tuple[str, ...], turn: int) -> str:
    return texts[turn % len(texts)] if texts else ""


def _fill(text: str, found: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)(?:\|([^}]*))?\}", lambda m: found.get(m[1], m[2] or ""), text)


def _numbered(data: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    unknown = data.keys() - {"rule", "otherwise"}
    if unknown:
        raise ConfigError("script", f"{min(unknown)} is not known; known are rule and otherwise")
    return list(enumerate(data.get("rule", ()), 1))


def _rule(raw: dict[str, Any], where: str) -> Rule:
    unknown = raw.keys() - {"when", "say", "call", "arguments", "then"}
    if unknown:
        raise ConfigError(
            where, f"{min(unknown)} is not known: use when, say, call, arguments, then"
        )
    try:
        when = tuple(re.compile(pattern) for pattern in _texts(raw.get("when", ()), where))
    except re.error as error:
        raise ConfigError(where, f"when: {error}") from error
    if not when:
        raise ConfigError(where, "when is missing: a pattern, or a list of them")
    if "call" in raw and "then" not in raw:
        raise ConfigError(where, "call needs then: what to say with {result}")
    if "call" not in raw and "say" not in raw:
        raise ConfigError(where, "say or call is missing")
    return Rule(
        when,
        _texts(raw.get("say", ()), where),
        raw.get("call"),
        raw.get("arguments", {}),
        _texts(raw.get("then", ()), where),
    )


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ConfigError(where, f"{value!r} is neither a text nor a list of texts")
