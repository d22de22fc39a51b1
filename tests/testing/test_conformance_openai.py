"""The OpenAI backends keep every rule of their interfaces, over a real loopback socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import pytest

from agentkit.core.history import ToolCall
from agentkit.errors import Failure
from agentkit.llm.base import LLM, LLMRequest
from agentkit.llm.openai import OpenAILLM
from agentkit.testing import (
    ChatReply,
    Delays,
    Fault,
    ScriptedOpenAI,
    SpeechReply,
    in_virtual_time,
)
from agentkit.testing.conformance import LLM_CHECKS, TTS_CHECKS, Check, LLMRig, TTSRig
from agentkit.testing.conformance.llm import HOURS
from agentkit.tts.base import TTS
from agentkit.tts.openai import OpenAITTS

KEY = "s3cret-key"
WRONG_KEY = "s3cret-but-wrong"

FAULTS: dict[Failure, Fault] = {
    "auth": Fault("status", status=401, code="invalid_api_key", message=f"Wrong: {WRONG_KEY}"),
    "rate_limit": Fault("status", status=429, code="rate_limit_exceeded"),
    "server": Fault("status", status=503),
    "bad_request": Fault("status", status=400, code="invalid_request_error"),
    "connection": Fault("cut", after=1),
    "timeout": Fault("stall", after=1),
}
"""What the server does, and what kind of failure that is."""


def answer(request: LLMRequest) -> str:
    said = request.messages[-1].text if request.messages else ""
    return f"You said, if I heard you well: {said}"


def reply(body: Mapping[str, Any]) -> ChatReply:
    said = [message["content"] for message in body["messages"] if message["role"] != "system"]
    last = said[-1] if said else ""
    return ChatReply(f"You said, if I heard you well: {last}")


class FarEnds:
    """Servers on loopback: one that answers, one that asks for tools, and one for each fault."""

    def __init__(self) -> None:
        calls = tuple(
            ToolCall(f"call_{day}", HOURS.name, f'{{"day": "{day}"}}') for day in ("Sat", "Sun")
        )
        pace = Delays(per_token=0.06, audio_pace=100.0)
        self.answers = ScriptedOpenAI(reply, SpeechReply(chunk=24_000), delays=pace, api_key=KEY)
        self.calls = ScriptedOpenAI(ChatReply(tool_calls=calls))
        self.failing: dict[Failure, ScriptedOpenAI] = {
            name: ScriptedOpenAI(ChatReply("One two.", fault=fault), SpeechReply(fault=fault))
            for name, fault in FAULTS.items()
        }

    async def __aenter__(self) -> Self:
        for server in (self.answers, self.calls, *self.failing.values()):
            await server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in (self.answers, self.calls, *self.failing.values()):
            await server.aclose()

    def open_requests(self) -> int:
        return sum(
            not request.over
            for server in (self.answers, *self.failing.values())
            for request in server.requests
        )


def llm_at(server: ScriptedOpenAI, key: str = KEY) -> Callable[[], LLM]:
    return lambda: OpenAILLM("m", api_key=key, base_url=server.base_url, timeout=0.5)


def tts_at(server: ScriptedOpenAI, key: str = KEY) -> Callable[[], TTS]:
    return lambda: OpenAITTS("m", api_key=key, base_url=server.base_url, timeout=0.5)


@pytest.mark.parametrize("check", LLM_CHECKS, ids=str)
@in_virtual_time()
async def test_the_model_conforms(check: Check[LLMRig]) -> None:
    async with FarEnds() as far:
        await check(
            LLMRig(
                make=llm_at(far.answers),
                open_requests=far.open_requests,
                fails={name: llm_at(server, WRONG_KEY) for name, server in far.failing.items()},
                secrets=(KEY, WRONG_KEY),
                spans=0.5,
                answer=answer,
                calls_tool=llm_at(far.calls),
            )
        )


@pytest.mark.parametrize("check", TTS_CHECKS, ids=str)
@in_virtual_time()
async def test_the_voice_conforms(check: Check[TTSRig]) -> None:
    async with FarEnds() as far:
        await check(
            TTSRig(
                make=tts_at(far.answers),
                open_requests=far.open_requests,
                fails={name: tts_at(server, WRONG_KEY) for name, server in far.failing.items()},
                secrets=(KEY, WRONG_KEY),
                spans=0.5,
                seconds=lambda text: 0.06 * len(text),
                voice="ben",
            )
        )


MET_WHERE_NOBODY_LISTENS = ("failures_are_typed", "warm_never_raises", "nothing_is_left")


@pytest.mark.parametrize("name", MET_WHERE_NOBODY_LISTENS)
@in_virtual_time()
async def test_both_conform_where_nobody_listens(name: str) -> None:
    async with FarEnds() as far:
        gone = ScriptedOpenAI()
        await gone.start()
        await gone.aclose()
        models = LLMRig(make=llm_at(far.answers), fails={"connection": llm_at(gone)})
        voices = TTSRig(make=tts_at(far.answers), fails={"connection": tts_at(gone)})
        await next(check for check in LLM_CHECKS if check.name == name)(models)
        await next(check for check in TTS_CHECKS if check.name == name)(voices)
