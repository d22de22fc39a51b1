"""What is voiced ahead, for when the voice is down (rule T14)."""

from collections.abc import AsyncGenerator

import pytest

from agentkit.audio import AudioFormat
from agentkit.errors import TTSError
from agentkit.session.prepare import voice_ahead
from agentkit.tts import TTS, SpeechStream
from agentkit.tts.requests import RequestStream

PCM = AudioFormat("linear16", 8000)
PHONE = AudioFormat("mulaw", 8000)


class Voice(TTS):
    """A voice that takes note of what it is asked for."""

    name = "test/voice"
    format = PCM

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.down = False

    def open(self, voice: str | None = None) -> SpeechStream:
        return RequestStream(self._speak, PCM)

    async def _speak(self, text: str) -> AsyncGenerator[bytes, None]:
        self.asked.append(text)
        if self.down:
            raise TTSError("test/voice: no connection", failure="connection")
        yield b"\x01\x00" * 80


class EqualVoice(Voice):
    """One that cannot be a key."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


async def test_T14_calls_that_share_a_voice_have_a_line_voiced_once() -> None:
    voice, other = Voice(), Voice()
    calls: list[dict[str, bytes]] = [{}, {}, {}]
    for call in calls[:2]:
        await voice_ahead(voice, "Sorry.", PCM, call)
    await voice_ahead(other, "Sorry.", PCM, calls[2])
    assert calls == [{"Sorry.": b"\x01\x00" * 80}] * 3
    assert (voice.asked, other.asked) == (["Sorry."], ["Sorry."])


async def test_T14_another_line_or_format_is_voiced_anew() -> None:
    voice = Voice()
    lines: dict[str, bytes] = {}
    await voice_ahead(voice, "Sorry.", PCM, lines)
    await voice_ahead(voice, "Pardon.", PCM, lines)
    await voice_ahead(voice, "Sorry.", PHONE, lines)
    assert voice.asked == ["Sorry.", "Pardon.", "Sorry."]
    assert lines == {"Sorry.": b"\xff" * 80, "Pardon.": b"\x01\x00" * 80}


async def test_T14_a_voice_that_was_down_is_asked_again() -> None:
    voice = Voice()
    voice.down = True
    lines: dict[str, bytes] = {}
    await voice_ahead(voice, "Sorry.", PCM, lines)
    assert lines == {}
    voice.down = False
    await voice_ahead(voice, "Sorry.", PCM, lines)
    assert lines == {"Sorry.": b"\x01\x00" * 80}


@pytest.mark.parametrize("text", ["Sorry.", ""])
async def test_T14_a_voice_that_cannot_be_a_key_does_as_well(text: str) -> None:
    voice = EqualVoice()
    lines: dict[str, bytes] = {}
    await voice_ahead(voice, text, PCM, lines)
    assert list(lines) == ([text] if text else [])
