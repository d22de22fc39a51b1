"""The voice speaks real audio."""

from __future__ import annotations

import asyncio

import pytest

from agentkit.audio import AudioFormat, first_sound
from agentkit.errors import ConfigError, TTSError
from agentkit.plugins import load_tts
from agentkit.tts import TTS, PieceEnd, SpeechAudio
from agentkit_local import pico, voice
from agentkit_local.ears import Recognizer
from agentkit_local.voice import CLAUSE_TAIL, LEAD_IN, SENTENCE_TAIL, PicoTTS, Trimmer, voice_named

LONG = "We are open from eight in the morning to six in the evening, and on Friday until four. " * 4


async def spoken(tts: TTS, *pieces: str, voice: str | None = None) -> list[bytes]:
    stream = tts.open(voice)
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


async def test_audio_comes_before_all_of_it_is_made() -> None:
    tts = PicoTTS()
    stream = tts.open()
    stream.push(LONG)
    stream.flush()
    sizes = []
    async for event in stream:
        if isinstance(event, PieceEnd):
            break
        sizes.append(len(event.data))
    await stream.cancel()
    assert len(sizes) > 3, "what has time comes in larger parts"
    assert tts.format.seconds(sizes[0]) < 1.0
    await tts.aclose()


async def test_other_threads_run_while_it_speaks() -> None:
    """The package's own call keeps the interpreter to itself for the whole text."""
    tts = PicoTTS()
    await tts.warm()
    speaking = asyncio.create_task(spoken(tts, LONG))
    rounds = 0
    while not speaking.done():
        await asyncio.sleep(0.001)
        rounds += 1
    assert len((await speaking)[0]) > tts.format.size(15)
    assert rounds >= 20
    await tts.aclose()


async def test_cancelling_stops_and_leaves_the_voice_usable() -> None:
    tts = PicoTTS()
    stream = tts.open()
    stream.push(LONG)
    stream.flush()
    events = aiter(stream)
    assert isinstance(await anext(events), SpeechAudio)
    async with asyncio.timeout(1):
        await stream.cancel()
    assert [event async for event in events] == []
    never_begun = tts.open()
    never_begun.push(LONG)
    never_begun.flush()
    await never_begun.cancel()
    (after,) = await spoken(tts, "Yes.")
    assert 0.3 < tts.format.seconds(len(after)) < 1.5
    await tts.aclose()


async def test_what_is_spoken_after_closing_fails_in_words() -> None:
    tts = PicoTTS()
    await tts.aclose()
    with pytest.raises(TTSError, match="local/pico:en-US failed"):
        await spoken(tts, "Yes.")


async def test_a_text_without_words_is_an_empty_piece() -> None:
    tts = PicoTTS()
    before, yes, after = await spoken(tts, "...", "Yes.", "-")
    assert (before, after) == (b"", b"")
    assert yes
    await tts.aclose()


@pytest.mark.parametrize("name", pico.VOICES)
async def test_every_voice_speaks_without_clipping(name: str) -> None:
    tts = PicoTTS()
    (audio,) = await spoken(tts, "Hotel Santa Maria, okay.", voice=name)
    samples = memoryview(audio).cast("h")
    assert 1.0 < tts.format.seconds(len(audio)) < 4.0
    assert 8000 < max(samples) < 32767
    await tts.aclose()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Good <play file='/etc/passwd'/> morning", "Good  play file='/etc/passwd'/  morning"),
        ("<speed level='500'>fast</speed>", "speed level='500' fast /speed"),
        ("one\x00two\nthree", "one two three"),
    ],
)
async def test_markup_of_picos_own_is_not_carried_out(text: str, said: str) -> None:
    assert pico.spoken_form(text) == said
    assert b"".join(pico.speaker().speak(text, "en-US"))


def test_a_text_that_is_no_unicode_is_spoken_all_the_same() -> None:
    assert len(b"".join(pico.speaker().speak("Good \ud800 morning. " * 100, "en-US"))) > 32000 * 60


def test_without_picos_functions_the_packages_own_call_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without(library: object) -> None:
        raise AttributeError("pico_initialize")

    monkeypatch.setattr(pico, "_Functions", without)
    speaker = pico.speaker()
    assert isinstance(speaker, pico.WholeTexts)
    (audio,) = speaker.speak("Good morning <b>", "en-GB")
    assert 0.5 < len(audio) / 2 / pico.RATE < 3.0
    with pytest.raises((TTSError, ValueError)):
        list(speaker.speak("Good morning", "xx"))


def test_a_voice_that_cannot_be_loaded_is_an_error_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(pico.VOICES, "en-US", ("none.bin", "none.bin"))
    with pytest.raises(TTSError, match="Pico failed with status -"):
        list(pico.speaker().speak("Yes.", "en-US"))


def samples(*runs: tuple[int, float]) -> bytes:
    """Runs of one value each: (value, seconds), 16 kHz."""
    return b"".join(
        value.to_bytes(2, "little", signed=True) * round(16000 * s) for value, s in runs
    )


@pytest.mark.parametrize("cut", [320, 4800, 10**6])
@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([(0, 1.0), (900, 0.5), (0, 1.0)], [(0, LEAD_IN), (900, 0.5), (0, 0.12)]),
        ([(900, 0.5)], [(900, 0.5), (0, 0.12)]),
        ([(90, 0.1), (-900, 0.5), (90, 0.05)], [(90, LEAD_IN), (-900, 0.5), (90, 0.05), (0, 0.07)]),
        (
            [(900, 0.2), (0, 0.8), (900, 0.2)],
            [(900, 0.2), (0, 0.8), (900, 0.2), (0, 0.12)],
        ),
        ([(0, 3.0)], []),
        ([], []),
    ],
)
def test_silence_is_trimmed_at_both_ends_and_kept_within(
    runs: list[tuple[int, float]], expected: list[tuple[int, float]], cut: int
) -> None:
    trimmer, audio = Trimmer(AudioFormat("linear16", 16000), CLAUSE_TAIL), samples(*runs)
    made = [trimmer.push(audio[at : at + cut]) for at in range(0, len(audio), cut)]
    assert b"".join([*made, trimmer.finish()]) == samples(*expected)


async def test_a_sentence_ends_with_a_longer_pause_than_a_clause() -> None:
    def quiet_at_the_end(audio: bytes) -> float:
        backwards = memoryview(audio).cast("h")[::-1].tobytes()
        return tts.format.seconds(first_sound(backwards, tts.format) or 0)

    tts = PicoTTS()
    clause, sentence = await spoken(tts, "On Monday,", "On Monday.")
    assert quiet_at_the_end(clause) == pytest.approx(CLAUSE_TAIL, abs=0.001)
    assert quiet_at_the_end(sentence) == pytest.approx(SENTENCE_TAIL, abs=0.001)
    await tts.aclose()


def test_without_piper_the_error_says_what_to_install_and_its_licence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(voice, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"agentkit-local\[piper\].*GPL-3"):
        load_tts("local/piper")


async def test_piper_speaks_what_can_be_understood(recognizer: Recognizer) -> None:
    import numpy as np

    from agentkit.audio.resample import Resampler

    tts = load_tts("local/piper")
    (audio,) = await spoken(tts, "We are open on Monday morning.")
    await tts.aclose()
    resampler = Resampler(22050, 16000)
    heard = resampler.push(audio) + resampler.flush()
    samples = np.frombuffer(heard, "<i2").astype(np.float32) / np.float32(32768)
    assert "open on monday morning" in recognizer(samples).text.casefold()


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
    assert load_tts("local/pico:de").name == "local/pico:de-DE"
    with pytest.raises(ConfigError, match="threads"):
        load_tts("local/pico", threads=0)
