"""The voice speaks real audio."""

from __future__ import annotations

import asyncio

import pytest

from agentkit.audio import first_sound
from agentkit.errors import ConfigError
from agentkit.plugins import load_tts
from agentkit.tts import PieceEnd, SpeechAudio
from agentkit_local.ears import Recognizer
from agentkit_local.voice import PicoTTS, trimmed, voice_named


async def spoken(tts: PicoTTS, *pieces: str) -> list[bytes]:
    stream = tts.open()
    for piece in pieces:
        stream.push(piece)
        stream.flush()
    stream.end()
    made = [b""]
    async for event in stream:
        if isinstance(event, SpeechAudio):
            made[-1] += event.data
        else:
            assert isinstance(event, PieceEnd)
            made.append(b"")
    assert made.pop() == b""
    return made


async def test_pico_speaks_what_can_be_understood(recognizer: Recognizer) -> None:
    import numpy as np

    tts = PicoTTS()
    (audio,) = await spoken(tts, "We are open on Monday morning.")
    assert 1.0 < tts.format.seconds(len(audio)) < 3.0
    samples = np.frombuffer(audio, "<i2").astype(np.float32) / np.float32(32768)
    heard = recognizer(samples).text
    assert "open on monday morning" in heard.casefold()
    await tts.aclose()


async def test_pieces_come_out_in_order() -> None:
    tts = PicoTTS()
    long, short = await spoken(tts, "This is a rather long first sentence, is it not?", "Yes.")
    assert len(long) > 3 * len(short) > 0
    await tts.aclose()


async def test_little_silence_comes_before_the_first_sound() -> None:
    tts = PicoTTS()
    (audio,) = await spoken(tts, "Good morning.")
    first = first_sound(audio, tts.format)
    assert first is not None
    assert tts.format.seconds(first) <= 0.021
    await tts.aclose()


async def test_eight_streams_at_once() -> None:
    tts = PicoTTS()
    made = await asyncio.gather(*(spoken(tts, f"This is number {n}.") for n in range(8)))
    assert all(audio for (audio,) in made)
    await tts.aclose()


async def test_cancelling_stops() -> None:
    tts = PicoTTS()
    stream = tts.open()
    stream.push("This is a long text. " * 20)
    stream.flush()
    await stream.cancel()
    assert [event async for event in stream] == []
    await tts.aclose()


def test_silence_is_given_back_as_it_is() -> None:
    assert trimmed(bytes(100), PicoTTS().format) == bytes(100)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("local/pico:xx", "there are .*en-US"),
        ("local/espeak", "there are local/pico"),
        ("local/piper:ann", "joe|GPL-3"),
    ],
)
def test_unknown_voices_say_what_there_is(name: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_tts(name)


def test_the_default_voice_is_pico() -> None:
    assert voice_named().name == "local/pico:en-US"
    assert load_tts("local/pico:en-GB").name == "local/pico:en-GB"
