"""Streams of audio from format to format: nothing is lost, whatever the chunks."""

from __future__ import annotations

import math
import subprocess
import sys
from array import array

import pytest

from agentkit.audio import AudioFormat, decode
from agentkit.audio.formats import Encoding
from agentkit.audio.g711 import encode
from agentkit.audio.resample import Converter, Resampler, convert, preload
from agentkit.errors import ConfigError

RATES = [(24000, 8000), (8000, 16000), (22050, 16000), (16000, 44100), (48000, 8000), (8000, 48000)]


def tone(rate: int, seconds: float, hertz: float = 440.0, level: float = 8000) -> bytes:
    count = round(rate * seconds)
    wave = (round(level * math.sin(2 * math.pi * hertz * n / rate)) for n in range(count))
    return array("h", wave).tobytes()


def level(data: bytes) -> float:
    """Root of the mean square, in dB above that of a tone of 8000."""
    samples = array("h", data)
    power = sum(sample * sample for sample in samples) / len(samples)
    return 10 * math.log10(max(power, 1e-9) / (8000 * 8000 / 2))


@pytest.mark.parametrize(("source", "target"), RATES)
@pytest.mark.parametrize("seconds", [0.0005, 0.02, 0.3333])
def test_a_stretch_is_as_long_as_it_was(source: int, target: int, seconds: float) -> None:
    data = tone(source, seconds)
    resampler = Resampler(source, target)
    made = resampler.push(data) + resampler.flush()
    assert len(made) // 2 == round(len(data) // 2 * target / source)


@pytest.mark.parametrize(("source", "target"), RATES)
def test_the_chunks_make_no_difference(source: int, target: int) -> None:
    data = tone(source, 0.2)
    whole = convert(data, AudioFormat(rate=source), AudioFormat(rate=target))
    for samples in (1, 7, 160, 441):
        resampler = Resampler(source, target)
        parts = [
            resampler.push(data[at : at + 2 * samples]) for at in range(0, len(data), 2 * samples)
        ]
        made = array("h", b"".join(parts) + resampler.flush())
        assert len(made) == len(whole) // 2
        assert max(abs(a - b) for a, b in zip(made, array("h", whole), strict=True)) <= 1


@pytest.mark.parametrize(("source", "target"), RATES)
def test_sound_keeps_its_time_and_its_shape(source: int, target: int) -> None:
    """What comes out is the tone itself, sample by sample, from its first to its last period."""
    data = tone(source, 0.25)
    made = array("h", convert(data, AudioFormat(rate=source), AudioFormat(rate=target)))
    wanted = array("h", tone(target, len(data) / 2 / source))
    edge = target // 400  # 2.5 ms: the filter hears silence before the tone and behind it
    pairs = list(zip(made, wanted, strict=False))[edge:-edge]
    assert max(abs(a - b) for a, b in pairs) < 160, "2 % of the tone"


def test_what_the_lower_rate_cannot_hold_is_taken_out() -> None:
    aliased = convert(tone(24000, 0.2, 5500), AudioFormat(rate=24000), AudioFormat(rate=8000))
    kept = convert(tone(24000, 0.2, 1000), AudioFormat(rate=24000), AudioFormat(rate=8000))
    assert level(aliased) < -40
    assert level(kept) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("ratio", [2, 3, 6])
def test_a_telephone_hears_all_of_its_band_and_nothing_above(ratio: int) -> None:
    voice, phone = AudioFormat(rate=8000 * ratio), AudioFormat(rate=8000)
    heard = {
        hertz: level(convert(tone(voice.rate, 0.2, hertz), voice, phone)[400:-400])
        for hertz in (300, 1000, 3400, 4010, 4600, 7000)
    }
    assert all(heard[hertz] == pytest.approx(0, abs=0.1) for hertz in (300, 1000, 3400))
    assert all(heard[hertz] < -55 for hertz in (4010, 4600, 7000))


@pytest.mark.parametrize(("rate", "ratio"), [(8000, 2), (24000, 2), (16000, 3), (8000, 6)])
def test_a_multiple_of_the_rate_has_all_of_the_sound_and_no_mirror_images(
    rate: int, ratio: int
) -> None:
    source, target = AudioFormat(rate=rate), AudioFormat(rate=rate * ratio)
    for hertz in (0.04 * rate, 0.2 * rate, 0.42 * rate):
        made = convert(tone(rate, 0.2, hertz), source, target)
        wanted = array("h", tone(target.rate, 0.2, hertz))
        rest = array("h", (a - b for a, b in zip(array("h", made), wanted, strict=True)))
        edge = target.rate // 100
        assert level(made[2 * edge : -2 * edge]) == pytest.approx(0, abs=0.1)
        assert level(rest[edge:-edge].tobytes()) < -50


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
def test_resampled_sound_has_the_code_words_of_any_other(law: Encoding) -> None:
    data = tone(24000, 0.3, 700, 32000)
    linear = convert(data, AudioFormat(rate=24000), AudioFormat(rate=8000))
    coded = convert(data, AudioFormat(rate=24000), AudioFormat(law, 8000))
    assert coded == encode(linear, law)


def test_the_loudest_sound_is_clipped_and_does_not_wrap() -> None:
    square = array("h", ([32767] * 20 + [-32768] * 20) * 20).tobytes()
    made = array("h", convert(square, AudioFormat(rate=8000), AudioFormat(rate=16000)))
    assert max(made) == 32767
    assert min(made) == -32768
    assert all(sample > 0 for sample in made[10:30]), "inside the first half wave"


@pytest.mark.parametrize("stop", ["flush", "reset"])
def test_the_next_stretch_knows_nothing_of_the_last(stop: str) -> None:
    data = tone(24000, 0.05)
    fresh = Resampler(24000, 8000)
    wanted = fresh.push(data) + fresh.flush()
    used = Resampler(24000, 8000)
    used.push(tone(24000, 0.07, 3000, 30000))
    getattr(used, stop)()
    assert used.flush() == b""
    assert used.push(data) + used.flush() == wanted


@pytest.mark.parametrize("rates", [(0, 8000), (8000, -1), (300, 96000)])
def test_rates_that_cannot_be_are_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=f"{rates[0]} Hz cannot be converted to {rates[1]} Hz"):
        Resampler(*rates)


def test_equal_formats_pass_through_untouched() -> None:
    codes = bytes(range(256))
    phone = AudioFormat("mulaw", 8000)
    assert Converter(phone, phone).convert(codes) is codes
    assert convert(codes, phone, phone) == codes, "the negative zero too"


def test_one_law_becomes_the_other() -> None:
    codes = convert(bytes(range(256)), AudioFormat("mulaw", 8000), AudioFormat("alaw", 8000))
    laws = zip(
        array("h", decode(bytes(range(256)), "mulaw")),
        array("h", decode(codes, "alaw")),
        strict=True,
    )
    assert all(abs(mulaw - alaw) <= abs(mulaw) / 31 + 16 for mulaw, alaw in laws)


def test_a_converter_can_be_reset() -> None:
    stream = Converter(AudioFormat("mulaw", 8000), AudioFormat("linear16", 16000))
    stream.convert(b"\x80" * 400)
    stream.reset()
    assert set(stream.convert(b"\xff" * 400) + stream.flush()) == {0}


def test_g711_and_equal_rates_import_no_library() -> None:
    code = (
        "import sys; from agentkit.audio import AudioFormat as F;"
        "from agentkit.audio.resample import convert;"
        "convert(bytes(160), F('mulaw', 8000), F('linear16', 8000));"
        "print([m for m in ('numpy', 'samplerate') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "samplerate", None)
    for needs_it in (preload, lambda: Resampler(8000, 16000)):
        with pytest.raises(ConfigError, match=r"pip install 'agentkit\[audio\]'"):
            needs_it()
    assert Resampler(8000, 8000).push(b"\x01\x02") == b"\x01\x02"
