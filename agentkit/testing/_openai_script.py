"""What the scripted OpenAI server is told, what it records, and its answers on the wire."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from math import pi, sin
from typing import Any, Literal

from agentkit.core.history import ToolCall
from agentkit.testing._http import LAST_CHUNK, chunk


@dataclass(frozen=True, slots=True)
class Delays:
    """How slow the server is; seconds.

    Args:
        accept: from a new connection until the first byte is read from it, as if it were far
            away: a connection that was opened early enough shows nothing of it.
        first_token: from a request to its first token.
        per_token: from one token to the next.
        first_audio: from a request to its first audio.
        audio_pace: how many times faster than it plays audio comes; None: as fast as it can.
    """

    accept: float = 0.0
    first_token: float = 0.0
    per_token: float = 0.0
    first_audio: float = 0.0
    audio_pace: float | None = None


FaultKind = Literal["status", "stall", "cut", "malformed", "error"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong.

    Args:
        kind: ``status``: an HTTP error instead of an answer; ``stall``: nothing more comes, the
            connection stays; ``cut``: the connection is closed; ``malformed``: a chunk that is
            not JSON; ``error``: an ``error`` object in the stream.
        after: tokens, or chunks of audio, that come before it; -1: not even the headers do.
        status: the HTTP status of ``status``.
        code: the error's ``code`` and ``type``.
        message: the error's text.
    """

    kind: FaultKind
    after: int = 0
    status: int = 500
    code: str = "server_error"
    message: str = "The server had an error while processing your request."


@dataclass(frozen=True, slots=True)
class ChatReply:
    """An answer of the model.

    Args:
        text: said token by token; a string is cut before each word, a tuple is the tokens.
        tool_calls: asked for after the text, their arguments in pieces.
        finish_reason: None: ``stop``, or ``tool_calls`` if there are any.
        prompt_tokens: for the count; so is ``cached_tokens``, the part read from a cache.
        usage: the count of tokens is sent where it is asked for.
        delays: instead of the server's.
        fault: what goes wrong.
    """

    text: str | tuple[str, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    prompt_tokens: int = 100
    cached_tokens: int = 0
    usage: bool = True
    delays: Delays | None = None
    fault: Fault | None = None

    @property
    def tokens(self) -> tuple[str, ...]:
        """The text as it is sent."""
        if isinstance(self.text, str):
            return tuple(re.findall(r"\s*\S+\s*$|\s*\S+", self.text))
        return self.text


@dataclass(frozen=True, slots=True)
class SpeechReply:
    """An answer of the voice: a tone, or the audio that is given.

    Args:
        seconds: its length; None: 0.06 s a character of the input.
        audio: 24 kHz linear16 to send instead of a tone.
        chunk: bytes sent at a time; an odd number splits samples.
        delays: instead of the server's.
        fault: what goes wrong.
    """

    seconds: float | None = None
    audio: bytes | None = None
    chunk: int = 2400
    delays: Delays | None = None
    fault: Fault | None = None


@dataclass(slots=True)
class ReceivedRequest:
    """A request, as the server saw it. Times are the loop's; None: it did not happen.

    Args:
        path: e.g. ``/v1/chat/completions``.
        body: its JSON.
        headers: names in lower case.
        connection: which connection it came on, counted from 0.
        arrived: the time at which it was there as a whole.
        status: of the answer; 0 while there is none.
        tokens: tokens or chunks of audio sent so far.
        sent_bytes: bytes of audio sent so far.
        first_sent_at: when the first of them was.
        finished_at: when the answer was complete.
        closed_at: when the client was seen to have closed before that.
    """

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(repr=False)
    connection: int
    arrived: float
    status: int = 0
    tokens: int = 0
    sent_bytes: int = 0
    first_sent_at: float | None = None
    finished_at: float | None = None
    closed_at: float | None = None

    @property
    def over(self) -> bool:
        """Answered in full, or given up."""
        return self.finished_at is not None or self.closed_at is not None


# --------------------------------------------------------------------------- what the API says


def error_body(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def event(data: Mapping[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(data, separators=(",", ":")).encode()


@lru_cache(256)
def encoded(reply: ChatReply, model: str, usage: bool) -> tuple[bytes, tuple[bytes, ...], bytes]:
    """A reply on the wire: what comes before its tokens, the tokens, what comes after.

    The fields are those of OpenAI's chunks, the ones nobody reads included.
    """
    common: dict[str, Any] = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }
    nothing: dict[str, Any] = {"usage": None} if usage else {}

    def encode(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return chunk(event(common | {"choices": [choice]} | nothing | {"obfuscation": "x" * 6}))

    opening = encode({"role": "assistant", "content": "", "refusal": None})
    closing = [encode({"tool_calls": [delta]}) for delta in _tool_deltas(reply.tool_calls)]
    closing.append(encode({}, _reason(reply)))
    if usage:
        closing.append(chunk(event(common | {"choices": [], "usage": _usage(reply)})))
    closing.append(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
    return opening, tuple(encode({"content": t}) for t in reply.tokens), b"".join(closing)


def _tool_deltas(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """First the id and name, then the arguments in pieces of some characters."""
    deltas: list[dict[str, Any]] = []
    for index, call in enumerate(calls):
        function = {"name": call.name, "arguments": ""}
        deltas.append({"index": index, "id": call.id, "type": "function", "function": function})
        for start in range(0, len(call.arguments), 7):
            piece = {"arguments": call.arguments[start : start + 7]}
            deltas.append({"index": index, "function": piece})
    return deltas


def _reason(reply: ChatReply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _usage(reply: ChatReply) -> dict[str, Any]:
    output = len(reply.tokens) + sum(1 + len(c.arguments) // 4 for c in reply.tool_calls)
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": output,
        "total_tokens": reply.prompt_tokens + output,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens, "audio_tokens": 0},
    }


def completion(reply: ChatReply, model: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.tokens) or None}
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in reply.tool_calls
        ]
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": _reason(reply)}],
        "usage": _usage(reply),
    }


def fault_of_chat(body: Mapping[str, Any]) -> str | None:
    """What OpenAI's API would refuse in the request, in its words; None: nothing."""
    messages = body.get("messages")
    if not body.get("model"):
        return "you must provide a model parameter"
    if not isinstance(messages, list) or not messages:
        return "Invalid 'messages': empty array."
    waiting: set[str] = set()
    for message in messages:
        role, calls = message.get("role"), message.get("tool_calls")
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                return (
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceding message with 'tool_calls'."
                )
            waiting.discard(message["tool_call_id"])
            continue
        if waiting:
            break
        if role not in ("system", "developer", "user", "assistant"):
            return f"Invalid value: {role!r}."
        if not isinstance(message.get("content"), str) and not (role == "assistant" and calls):
            return "Invalid value for 'content': expected a string, got null."
        waiting = {call["id"] for call in calls or ()}
    if waiting:
        return (
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'."
        )
    return None


def fault_of_speech(body: Mapping[str, Any]) -> str | None:
    """Likewise for speech."""
    text = body.get("input")
    if not body.get("model") or not body.get("voice"):
        return "Missing required parameter."
    if not isinstance(text, str) or not 1 <= len(text) <= 4096:
        return "Invalid 'input': must be from 1 to 4096 characters."
    if body.get("response_format") != "pcm":
        return "The scripted server speaks PCM only."
    return None


@cache
def _second_of_tone() -> bytes:
    samples = array("h", (int(8000 * sin(2 * pi * 440 * i / 24000)) for i in range(24000)))
    return samples.tobytes()


def tone(size: int) -> bytes:
    """So many bytes of a 440 Hz tone."""
    second = _second_of_tone()
    return (second * (size // len(second) + 1))[:size]
