"""The agents that `tests/bench/load.py` has served, in the process under test.

Both say the same at the same pace. `OverHttp` asks a model and a voice over HTTP, as a user's agent
does; `InProcess` has them at hand, so that the difference is the HTTP clients' work.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from array import array
from collections.abc import AsyncGenerator
from pathlib import Path

from agentkit import Agent
from agentkit.audio import AudioFormat
from agentkit.llm import LLM
from agentkit.llm.base import Finish, LLMEvent, LLMRequest, TextDelta
from agentkit.testing.backends import tone
from agentkit.tts import TTS, SpeechStream
from agentkit.tts.requests import RequestStream

FIRST_TOKEN, PER_TOKEN, FIRST_AUDIO = 0.3, 0.02, 0.1
"""Seconds: from a request to its first token, from token to token, from a text to its audio."""
PACE = 4.0
"""Seconds of audio that the voice makes in a second."""
SECONDS_A_CHARACTER = 0.06
REPLY = "Sure, let me check that. Your order is on the way."

_PCM = AudioFormat("linear16", 24000)


class LagProbe:
    """How late this process's event loop runs what is due, looked at every 10 ms.

    Written to the file that ``AGENTKIT_BENCH_LAG`` names: pairs of doubles, the time of
    `time.monotonic` and the lateness, in seconds.
    """

    EVERY = 0.01

    def __init__(self) -> None:
        self._seen = array("d")
        self._due = 0.0

    def start(self) -> None:
        """Begin, if it has not begun and a file was named."""
        if self._due == 0.0 and "AGENTKIT_BENCH_LAG" in os.environ:
            self._arm(time.monotonic())

    def _arm(self, now: float) -> None:
        self._due = now + self.EVERY
        asyncio.get_running_loop().call_later(self.EVERY, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        self._seen.extend((now, max(0.0, now - self._due)))
        if len(self._seen) >= 200:
            with Path(os.environ["AGENTKIT_BENCH_LAG"]).open("ab") as file:
                self._seen.tofile(file)
            self._seen = array("d")
        self._arm(now)


_probe = LagProbe()


class OverHttp(Agent):
    """Its model and voice are what the settings say."""

    instructions = "You answer the phone of a shop. Short sentences."

    async def on_start(self) -> None:
        _probe.start()


class PacedLLM(LLM):
    """A model that says `REPLY`, token by token."""

    name = "bench/llm"

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        due = time.monotonic() + FIRST_TOKEN
        for token in re.findall(r"\s*\S+", REPLY):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += PER_TOKEN
            yield TextDelta(token)
        yield Finish("stop")


class PacedTTS(TTS):
    """A voice that hums, as `OpenAITTS` would from a server."""

    name = "bench/tts:tone"
    format = _PCM

    def open(self, voice: str | None = None) -> SpeechStream:
        return RequestStream(self._speak, _PCM)

    async def _speak(self, text: str) -> AsyncGenerator[bytes, None]:
        due = time.monotonic() + FIRST_AUDIO
        audio = tone(len(text) * SECONDS_A_CHARACTER, _PCM)
        size = _PCM.size(0.1)
        for begin in range(0, len(audio), size):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += 0.1 / PACE
            yield audio[begin : begin + size]


class InProcess(OverHttp):
    """Its model and voice are functions of this process."""

    llm = PacedLLM()
    tts = PacedTTS()
