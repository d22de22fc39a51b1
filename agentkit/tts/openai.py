"""OpenAI's speech API, and any server that speaks it (entry point ``openai``)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from agentkit.audio.formats import AudioFormat
from agentkit.errors import ConfigError, TTSError
from agentkit.tts.base import TTS, SpeechStream
from agentkit.tts.requests import RequestStream

DEFAULT_MODEL = "gpt-4o-mini-tts"
DEFAULT_VOICE = "alloy"

# "pcm": raw samples in 24 kHz, 16 bit signed, little-endian, without a header (OpenAI, text to
# speech guide).
_FORMAT = AudioFormat("linear16", 24000)
_LONGEST_INPUT = 4096  # characters of one request (OpenAI API reference, create speech)


def preload() -> None:
    """Import the ``openai`` package and ready what its first request needs: about a second.

    Constructing a backend imports it too, so a program that answers calls runs this first, in a
    thread: ``await asyncio.to_thread(preload)``. The second time it does nothing.
    """
    from agentkit import _openai

    _openai.preload()


class OpenAITTS(TTS):
    """A voice behind OpenAI's speech API: one request a piece, streamed as 24 kHz linear16.

    Args:
        model: as the server names it.
        voice: as the server names it.
        api_key: None: ``OPENAI_API_KEY``. Servers other than OpenAI's may need none.
        base_url: None: ``OPENAI_BASE_URL``, else OpenAI's own.
        speed: 0.25 to 4; None: the server's default of 1.
        instructions: how to speak, in words; not every model takes it.
        timeout: longest wait for the next bytes of audio, in seconds.
        options: further fields of the request, as the API names them.

    Raises:
        ConfigError: an argument is out of range, or the key is missing.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        voice: str = DEFAULT_VOICE,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        speed: float | None = None,
        instructions: str | None = None,
        timeout: float = 15.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        from agentkit import _openai

        if not model:
            raise ConfigError("model", "must name a model")
        if not voice:
            raise ConfigError("voice", "must name a voice")
        if speed is not None and not 0.25 <= speed <= 4:
            raise ConfigError("speed", f"must be from 0.25 to 4, not {speed}")
        self.name = f"openai/{model}:{voice}"
        self.format = _FORMAT
        self._openai = _openai
        self._voice = voice
        # Two requests of one reply run at the same time, and a discard can close both.
        self._endpoint = _openai.Endpoint(
            api_key=api_key, base_url=base_url, timeout=timeout, spares=2
        )
        fields = {
            "model": model,
            "response_format": "pcm",
            "speed": speed,
            "instructions": instructions,
            **(options or {}),
        }
        self._fields = {key: value for key, value in fields.items() if value is not None}

    def open(self, voice: str | None = None) -> SpeechStream:
        """Begin a reply, with another voice of the same model if one is named."""
        chosen = voice or self._voice

        def synthesize(text: str) -> AsyncGenerator[bytes, None]:
            return self._speak(text, chosen)

        return RequestStream(synthesize, self.format)

    async def _speak(self, text: str, voice: str) -> AsyncGenerator[bytes, None]:
        for part in _parts(text.strip()):
            body = self._fields | {"voice": voice, "input": part}
            error: TTSError | None = None
            silent = any(map(str.isalnum, part))
            try:
                response = await self._endpoint.post(
                    "/audio/speech", body, accept="application/octet-stream"
                )
                async with aclosing(response):
                    async for data in response:
                        silent = False
                        yield data
            except self._openai.ERRORS as exc:
                error = self._openai.error_from(exc, TTSError, self.name)
            if error is None and silent:
                error = TTSError(f"{self.name}: the answer has no audio", failure="protocol")
            if error is not None:
                raise error

    async def warm(self) -> None:
        """Keep connections ready beside those in use. It costs no request to the API."""
        await self._endpoint.warm()

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._endpoint.aclose()


def _parts(text: str) -> list[str]:
    """The text in as few requests as it takes, cut between words where there are any."""
    parts = []
    while len(text) > _LONGEST_INPUT:
        cut = text.rfind(" ", 1, _LONGEST_INPUT + 1)
        cut = cut if cut > 0 else _LONGEST_INPUT
        parts.append(text[:cut])
        text = text[cut:].lstrip()
    return [*parts, text]
