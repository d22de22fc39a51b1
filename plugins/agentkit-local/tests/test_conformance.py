"""The brains and the voices keep every rule of their interfaces."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from agentkit.llm import LLM
from agentkit.testing import ChatReply, Delays, Fault, ScriptedOpenAI, in_virtual_time
from agentkit.testing.conformance import LLM_CHECKS, TTS_CHECKS, Check, LLMRig, TTSRig
from agentkit_local import gguf
from agentkit_local.brain import ScriptLLM
from agentkit_local.gguf import GgufLLM
from agentkit_local.voice import PicoTTS, PiperTTS

KEY = "s3cret-key"
SCRIPT = """
otherwise = "We are not open then, I am sorry."
unprompted = "Are you still there at all?"
[[rule]]
when = "sundays"
call = "opening_hours"
arguments = { day = "Sunday" }
then = "That day we are {result}, I am sorry."
[[rule]]
when = "sundays"
say = "On Sundays we are closed."
"""


@pytest.mark.parametrize("check", LLM_CHECKS, ids=str)
@in_virtual_time()
async def test_the_scripted_brain_conforms(check: Check[LLMRig], tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT)

    def make() -> LLM:
        return ScriptLLM(script, per_token=0.2)

    rig = LLMRig(make=make, calls_tool=make, spans=0.8, limit=60.0)
    if not check.missing(rig):  # nothing of it is outside this process, or can fail
        await check(rig)
    else:
        assert set(check.missing(rig)) <= {"open_requests", "fails", "secrets"}


def reply(body: Mapping[str, Any]) -> ChatReply:
    """A model that writes its tool calls as text, if it has tools and no result yet."""
    if body.get("tools") and body["messages"][-1]["role"] == "user":
        return ChatReply('Let me see. {"name": "opening_hours", "arguments": {"day": "Sunday"}}')
    return ChatReply("On Sundays we are closed.")


@pytest.mark.parametrize("check", LLM_CHECKS, ids=str)
@in_virtual_time()
async def test_a_gguf_model_conforms(
    check: Check[LLMRig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """llama.cpp's server is a scripted one."""
    path = tmp_path / "small.gguf"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "xllamacpp", ModuleType("xllamacpp"))
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: KEY)
    addresses: list[str] = []
    monkeypatch.setattr(gguf, "_serve", lambda *_: SimpleNamespace(listening_address=addresses[-1]))

    def at(server: ScriptedOpenAI) -> Callable[[], LLM]:
        def make() -> LLM:
            addresses.append(server.base_url.removesuffix("/v1"))
            return GgufLLM(path)

        return make

    full = ScriptedOpenAI(ChatReply(fault=Fault("status", status=503, message=f"Busy: {KEY}")))
    broken = ScriptedOpenAI(ChatReply("One two.", fault=Fault("cut", after=1)))
    async with (
        ScriptedOpenAI(reply, delays=Delays(per_token=0.2), api_key=KEY) as far,
        ScriptedOpenAI(reply) as calls,
        full,
        broken,
    ):
        await check(
            LLMRig(
                make=at(far),
                open_requests=lambda: sum(
                    not request.over for s in (far, full, broken) for request in s.requests
                ),
                fails={"server": at(full), "connection": at(broken)},
                secrets=(KEY,),
                spans=0.8,
                answer=lambda _: "On Sundays we are closed.",
                calls_tool=at(calls),
            )
        )


class HoarsePico(PicoTTS):
    def speak(self, text: str, voice: str) -> Iterator[bytes]:
        raise OSError(f"cannot say {text}")


class HoarsePiper(PiperTTS):
    def speak(self, text: str, voice: str) -> Iterator[bytes]:
        yield bytes(4000)
        raise OSError(f"cannot say {text}")


@pytest.mark.parametrize("check", TTS_CHECKS, ids=str)
async def test_pico_conforms(check: Check[TTSRig]) -> None:
    rig = TTSRig(make=PicoTTS, fails={"other": HoarsePico}, voice="en-GB")
    if not check.missing(rig):  # what it makes does not come over a wire, and at no set pace
        await check(rig)
    else:
        assert set(check.missing(rig)) <= {"open_requests", "spans", "seconds", "secrets"}


SHORT = [check for check in TTS_CHECKS if check.name in {
    "making_one_opens_nothing",
    "a_piece_waits_for_nothing",
    "audio_is_whole_samples",
    "failures_are_typed",
    "nothing_is_left",
}]  # fmt: skip
"""What Piper does quickly enough; the rest it shares with Pico."""


@pytest.mark.parametrize("check", SHORT, ids=str)
async def test_piper_conforms(check: Check[TTSRig]) -> None:
    await check(TTSRig(make=PiperTTS, fails={"other": HoarsePiper}))
