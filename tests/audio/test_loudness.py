"""Silence and the first sound, and how bytes are framed."""

from __future__ import annotations

from array import array

import hypothesis.strategies as st
import pytest
from hypothesis import given

from agentkit.audio import AudioFormat, Encoding, Reframer, first_sound, is_silent
from agentkit.audio.frames import QUIETEST, loudness
from agentkit.audio.g711 import decode, encode

LINE = AudioFormat("linear16", 16000)


@given(
    st.lists(st.integers(-32768, 32767), max_size=60),
    st.integers(0, 2100),
    st.integers(0, 32768),
    st.sampled_from(["linear16", "mulaw", "alaw"]),
)
def test_the_first_sound_is_the_first_sample_above(
    tail: list[int], quiet: int, threshold: int, encoding: Encoding
) -> None:
    form = AudioFormat(encoding, 8000)
    data = encode(array("h", [0] * quiet + tail).tobytes(), encoding)
    heard = array("h", decode(data, encoding))
    wanted = next((at for at, sample in enumerate(heard) if abs(sample) > threshold), None)
    found = first_sound(data, form, threshold)
    assert found == (None if wanted is None else wanted * form.sample_bytes)


def test_an_odd_last_byte_is_no_sound() -> None:
    assert first_sound(b"\x00\x00\x7f", LINE) is None


@pytest.mark.parametrize(("sample", "silent"), [(3276, True), (3277, False), (-3277, False)])
def test_silence_is_told_in_decibels(sample: int, silent: bool) -> None:
    """-20 dBFS is a tenth of full scale."""
    data = array("h", [0, sample, 0]).tobytes()
    assert is_silent(data, LINE, -20.0) is silent


def test_all_formats_call_their_silence_silent() -> None:
    for encoding in ("linear16", "mulaw", "alaw"):
        form = AudioFormat(encoding, 8000)
        assert is_silent(form.silence(0.1), form, -70.0)
        assert is_silent(b"", form)
        loud = encode(array("h", [12000]).tobytes(), form.encoding)
        assert not is_silent(form.silence(0.1) + loud, form)


def test_frames_come_as_soon_as_they_are_whole() -> None:
    reframer = Reframer(4)
    assert reframer.push(b"ab") == []
    assert reframer.push(b"") == []
    assert reframer.push(b"c") == []
    assert reframer.push(b"defghij") == [b"abcd", b"efgh"]
    assert reframer.push(b"kl") == [b"ijkl"]
    assert reframer.flush() == b""


def test_a_whole_frame_is_not_copied() -> None:
    frame = bytes(320)
    (out,) = Reframer(320).push(frame)
    assert out is frame


def test_padding_makes_one_whole_frame() -> None:
    reframer = Reframer(5)
    reframer.push(b"ab")
    assert reframer.flush(b"\xff") == b"ab\xff\xff\xff"
    assert reframer.flush(b"\xff") == b"", "nothing was left"


@pytest.mark.parametrize(
    ("samples", "decibels"),
    [([], QUIETEST), ([0] * 9, QUIETEST), ([32767, -32768], 0.0), ([3277, -3277], -20.0)],
)
def test_loudness_is_in_decibels_of_full_scale(samples: list[int], decibels: float) -> None:
    assert loudness(array("h", samples).tobytes()) == pytest.approx(decibels, abs=0.01)
    assert loudness(array("h", samples).tobytes() + b"x") == pytest.approx(decibels, abs=0.01)
