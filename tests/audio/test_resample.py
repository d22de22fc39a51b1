"""Converting between formats."""

from __future__ import annotations

import math
from array import array
from itertools import pairwise

import pytest

from agentkit.audio import AudioFormat
from agentkit.audio.resample import Converter, Resampler, convert


def tone(rate: int, seconds: float, hertz: float = 440.0) -> bytes:
    count = round(rate * seconds)
    return array(
        "h", (round(8000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(count))
    ).tobytes()


def crossings(data: bytes) -> int:
    samples = array("h", data)
    return sum(1 for a, b in pairwise(samples) if a < 0 <= b)


@pytest.mark.parametrize(("source", "target"), [(24000, 8000), (8000, 16000), (22050, 16000)])
def test_pitch_and_length_stay(source: int, target: int) -> None:
    made = convert(tone(source, 1.0), AudioFormat("linear16", source), AudioFormat(rate=target))
    assert len(made) / 2 / target == pytest.approx(1.0, abs=0.005)
    assert crossings(made) == pytest.approx(440, abs=3)


def test_a_stream_in_frames_has_a_small_and_even_delay() -> None:
    resampler = Resampler(24000, 8000)
    data = tone(24000, 1.0)
    made = [len(resampler.push(data[at : at + 960])) for at in range(0, len(data), 960)]
    assert all(abs(size - 320) <= 8 for size in made[2:])
    assert len(data) / 3 - sum(made) <= 2 * 8 * 5, "at most 5 ms are held back"


def test_equal_rates_need_no_library() -> None:
    data = tone(16000, 0.1)
    resampler = Resampler(16000, 16000)
    assert resampler.push(data) == data
    assert resampler.flush() == b""


def test_g711_is_part_of_it() -> None:
    stream = Converter(AudioFormat("linear16", 16000), AudioFormat("mulaw", 8000))
    made = stream.convert(tone(16000, 0.5)) + stream.flush()
    assert len(made) == pytest.approx(4000, abs=20)
