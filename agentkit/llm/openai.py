"""OpenAI's chat completions, and any server that speaks them (entry point ``openai``).

Requests carry the official client's headers, its authentication among them, and failures are its
errors. They are sent and read past it: what it does before a request is on the wire takes longer
than all that we do, and a pydantic object for each token costs more CPU than all else together.
"""

from __future__ import annotations

import json
import re
import secrets
from asyncio import timeout as deadline
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import from_json

from agentkit.core.history import (
    STILL_RUNNING,
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from agentkit.errors import ConfigError, LLMError
from agentkit.llm.base import LLM, Finish, LLMEvent, LLMRequest, TextDelta, ToolSpec, Usage

DEFAULT_MODEL = "gpt-5.4-mini"

# These models think before they speak unless told not to, and then refuse function tools in chat
# completions ("To use function tools, use /v1/responses or set reasoning_effort to 'none'").
_THINKS = re.compile(r"(?:^|[/:])gpt-(?:5\.[1-9]|[6-9])")
_LONGEST_LINE = 4 * 1024 * 1024
_DRAIN = 0.5  # seconds for the last bytes after [DONE], so that the connection can be used again


def preload() -> None:
    """Import the ``openai`` package and ready what its first request needs: about a second.

    Constructing a backend imports it too, so a program that answers calls runs this first, in a
    thread: ``await asyncio.to_thread(preload)``. The second time it does nothing.
    """
    from agentkit import _openai

    _openai.preload()


class OpenAILLM(LLM):
    """A model behind OpenAI's chat completions API.

    Args:
        model: as the server names it.
        api_key: None: ``OPENAI_API_KEY``. Servers other than OpenAI's may need none.
        base_url: None: ``OPENAI_BASE_URL``, else OpenAI's own.
        temperature: 0 to 2; None: the server's default.
        max_tokens: longest reply; None: no limit of ours.
        timeout: longest wait for the next bytes of an answer, in seconds.
        reasoning_effort: how much the model thinks before it answers, in the API's words. None:
            ``none`` for models that would think otherwise, nothing for the others.
        options: further fields of the request, as the API names them; one that is None is left
            out although agentkit would set it.

    Raises:
        ConfigError: an argument is out of range, or the key is missing.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float = 30.0,
        reasoning_effort: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        from agentkit import _openai

        if not model:
            raise ConfigError("model", "must name a model")
        if temperature is not None and not 0 <= temperature <= 2:
            raise ConfigError("temperature", f"must be from 0 to 2, not {temperature}")
        if max_tokens is not None and max_tokens < 1:
            raise ConfigError("max_tokens", f"must be at least 1, not {max_tokens}")
        self.name = f"openai/{model}"
        self._openai = _openai
        self._endpoint = _openai.Endpoint(
            api_key=api_key, base_url=base_url, timeout=timeout, spares=1
        )
        if reasoning_effort is None and _THINKS.search(model):
            reasoning_effort = "none"
        # max_tokens is deprecated at OpenAI and the only name that others know.
        limit = "max_completion_tokens" if self._endpoint.official else "max_tokens"
        fields = {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": temperature,
            limit: max_tokens,
            "reasoning_effort": reasoning_effort,
            **(options or {}),
        }
        self._fields = {key: value for key, value in fields.items() if value is not None}

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        """Generate a reply; see `LLM.stream`.

        `Finish` comes as soon as the server has said that it is done. Iterating to the end lets
        the connection be used again.
        """
        body = self._fields | {"messages": chat_messages(request.instructions, request.messages)}
        if request.tools:
            body["tools"] = [_tool(spec) for spec in request.tools]
        answer = _Answer(self.name)
        error: LLMError | None = None
        try:
            response = await self._endpoint.post(
                "/chat/completions", body, accept="text/event-stream"
            )
            try:
                parts = aiter(response)
                async for part in parts:
                    if text := answer.feed(part):
                        yield TextDelta(text)
                    if answer.done:
                        break
                for event in answer.end():
                    yield event
                with suppress(TimeoutError, *self._openai.ERRORS):
                    async with deadline(_DRAIN):
                        async for _ in parts:
                            pass
            finally:
                await response.aclose()
        except _StreamError as exc:
            error = self._openai.error_in_stream(exc.error, LLMError, self.name)
        except self._openai.ERRORS as exc:
            if answer.reason is None:  # else the reply is whole, and only its price is unknown
                error = self._openai.error_from(exc, LLMError, self.name)
        if error is not None:
            raise error
        for event in answer.end():
            yield event

    async def warm(self) -> None:
        """Keep a connection ready beside those in use. It costs no request to the API."""
        await self._endpoint.warm()

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._endpoint.aclose()


# ------------------------------------------------------------------------------ what is asked


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": spec.name,
            "description": spec.description,
            "parameters": dict(spec.parameters),
        },
    }


def chat_messages(instructions: str, messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The conversation as chat completions take it.

    The API refuses a tool call whose result does not follow at once, and a result without its
    call. So a call that has no result yet gets one that says so, and a result that comes later,
    or twice, is told as a note of the system.
    """
    out: list[dict[str, Any]] = []
    open_calls: dict[str, str] = {}  # id to name, of the last assistant message
    if instructions:
        out.append({"role": "system", "content": instructions})
    for message in messages:
        if isinstance(message, ToolMessage):
            if open_calls.pop(message.call_id, None) is None:
                note = f"The tool {message.name} has now returned: {message.text}"
                out.extend(_unanswered(open_calls))
                out.append({"role": "system", "content": note})
            else:
                out.append(_result(message.call_id, message.text))
            continue
        out.extend(_unanswered(open_calls))
        if isinstance(message, UserMessage):
            out.append({"role": "user", "content": message.text})
        elif message.tool_calls or message.text:
            out.append(_assistant(message))
            open_calls = {call.id: call.name for call in message.tool_calls}
    out.extend(_unanswered(open_calls))
    return out


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    # "Required unless tool_calls ... is specified" (OpenAI API reference, assistant message):
    # null is the one form of no text that all servers take beside tool calls.
    out: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    if message.tool_calls:
        out["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for call in message.tool_calls
        ]
    return out


def _result(call_id: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def _unanswered(open_calls: dict[str, str]) -> list[dict[str, Any]]:
    results = [_result(call_id, STILL_RUNNING) for call_id in open_calls]
    open_calls.clear()
    return results


# --------------------------------------------------------------------------- what is answered


class _StreamError(Exception):
    """The server put an ``error`` object into its answer."""

    def __init__(self, error: object) -> None:
        super().__init__()
        self.error = error


class _Call:
    """A tool call that is being put together."""

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        self.arguments = ""

    def whole(self) -> ToolCall:
        # A server may leave out the id; ours must tell this call from all others.
        call_id = self.id or f"call_{secrets.token_hex(12)}"
        return ToolCall(call_id, self.name, self.arguments or "{}")

    @property
    def parses(self) -> bool:
        try:
            json.loads(self.arguments or "{}")
        except ValueError:
            return False
        return True


class _Answer:
    """Reads the event stream of one answer.

    Each ``data:`` line is taken as soon as its newline is there; the API puts one JSON object
    on one line, so the blank line that ends an event tells nothing more.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""
        self._calls: list[_Call] = []
        self._call_at: dict[int, _Call] = {}
        self._usage = Usage()
        self._told = False
        self.reason: str | None = None
        self.done = False

    def feed(self, data: bytes) -> str:
        """Take the next bytes, and return the text in them."""
        lines = (self._rest + data if self._rest else data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LONGEST_LINE:
            raise self._malformed("a line without an end")
        text = ""
        for line in lines:
            if not line.startswith(b"data:"):
                continue  # blank, a comment that keeps the connection alive, or "event:"
            payload = line[5:].strip()
            if payload == b"[DONE]":
                self.done = True
                break
            piece = self._chunk(payload)
            if piece is None:
                raise self._malformed("a chunk of another form")
            text += piece
        return text

    def _chunk(self, payload: bytes) -> str | None:
        """The text of one chunk; None if it is not of the API's form."""
        try:
            chunk = from_json(payload)
            choices = chunk.get("choices")
            if not choices:  # the count of tokens, or an error
                self._without_choices(chunk)
                return ""
            choice = choices[0]
            if reason := choice.get("finish_reason"):
                self.reason = reason
            if usage := chunk.get("usage"):
                self._count(usage)
            delta = choice.get("delta")
            if not delta:
                return ""
            for piece in delta.get("tool_calls") or ():
                self._call(piece)
            text = delta.get("content") or delta.get("refusal") or ""
            return text if isinstance(text, str) else None
        except (ValueError, TypeError, AttributeError, LookupError):
            return None

    def _without_choices(self, chunk: dict[str, Any]) -> None:
        if chunk.get("error"):
            raise _StreamError(chunk["error"])
        if usage := chunk.get("usage"):
            self._count(usage)

    def _count(self, usage: dict[str, Any]) -> None:
        details = usage.get("prompt_tokens_details") or {}
        self._usage = Usage(
            input=usage.get("prompt_tokens") or 0,
            output=usage.get("completion_tokens") or 0,
            cached=details.get("cached_tokens") or 0,
        )

    def _call(self, piece: dict[str, Any]) -> None:
        function = piece.get("function") or {}
        index, call_id = piece.get("index") or 0, piece.get("id") or ""
        call = self._call_at.get(index)
        # Some servers give every call of an answer the index 0, each with an id of its own.
        if call is None or (call_id and call_id != call.id):
            call = self._call_at[index] = _Call(call_id)
            self._calls.append(call)
        call.name += function.get("name") or ""
        call.arguments += function.get("arguments") or ""

    def end(self) -> list[LLMEvent]:
        """What is left to say at the end of the answer; nothing the second time.

        Raises:
            LLMError: the answer stopped short of its end.
        """
        if self._told:
            return []
        reason = self.reason
        if reason is None and not self.done:
            raise LLMError(f"{self._name}: the answer was cut off", failure="connection")
        self._told = True
        # A call that the model was not cut off in is for the tool to judge, good JSON or not.
        calls = [c for c in self._calls if reason in ("stop", "tool_calls") or c.parses]
        if calls and reason in (None, "stop"):
            reason = "tool_calls"
        return [*(call.whole() for call in calls), Finish(reason or "stop", self._usage)]

    def _malformed(self, what: str) -> LLMError:
        return LLMError(f"{self._name}: the answer has {what}", failure="protocol")
