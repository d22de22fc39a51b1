"""Formats, framing and the first sound."""

from __future__ import annotations

from array import array

import hypothesis.strategies as st
import pytest
from hypothesis import given

from agentkit.audio import AudioFormat, Reframer, first_sound

LINE = AudioFormat("linear16", 16000)
PHONE = AudioFormat("mulaw", 8000)


def test_seconds_and_bytes() -> None:
    assert LINE.size(0.02) == 640
    assert PHONE.size(0.02) == 160
    assert LINE.seconds(32000) == PHONE.seconds(8000) == 1.0
    assert LINE.silence(0.01) == bytes(320)
    assert PHONE.silence(0.01) == b"\xff" * 80
    assert AudioFormat("alaw", 8000).silence(0.001) == b"\xd5" * 8


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 40))
def test_frames_are_whole_and_nothing_is_lost(chunks: list[bytes], size: int) -> None:
    reframer = Reframer(size)
    frames = [frame for chunk in chunks for frame in reframer.push(chunk)]
    assert all(len(frame) == size for frame in frames)
    assert b"".join(frames) + reframer.flush() == b"".join(chunks)


def test_the_rest_can_be_filled_up_or_forgotten() -> None:
    reframer = Reframer(8)
    assert reframer.push(b"abc") == []
    assert reframer.flush(b"\x00\x01") == b"abc\x00\x01\x00\x01\x00"
    assert reframer.flush(b"x") == b""
    reframer.push(b"abc")
    reframer.clear()
    assert reframer.flush() == b""
    with pytest.raises(ValueError, match="at least one byte"):
        Reframer(0)


def test_the_first_sound() -> None:
    quiet = array("h", [0, 100, -150, 0]).tobytes()
    assert first_sound(quiet, LINE) is None
    assert first_sound(quiet + array("h", [-300]).tobytes(), LINE) == 8
    assert first_sound(b"", LINE) is None
    assert first_sound(b"\xff\xff\x10", PHONE) == 2
