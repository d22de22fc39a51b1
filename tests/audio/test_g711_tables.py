"""G.711 against the decision values and quantized values of ITU-T G.711, tables 1a to 2b."""

from __future__ import annotations

import sys
from array import array
from itertools import pairwise

import pytest

from agentkit.audio import AudioFormat, first_sound
from agentkit.audio.formats import Encoding
from agentkit.audio.g711 import (
    alaw_to_linear16,
    decode,
    encode,
    linear16_to_alaw,
    linear16_to_mulaw,
    mulaw_to_linear16,
)

# The first output value of each segment and the step within it, in the tables' own units (14 bits
# for mu-law, 13 for A-law), with the number of steps.
MULAW = [(0, 2, 16)] + [((33 << segment) - 33, 2 << segment, 16) for segment in range(1, 8)]
ALAW = [(1, 2, 16)] + [(33 << (segment - 1), 2 << (segment - 1), 16) for segment in range(1, 8)]
ALL = array("h", range(-32768, 32768))


def ladder(encoding: Encoding) -> list[int]:
    """The 128 output values above zero, as 16-bit samples."""
    table, unit = (MULAW, 4) if encoding == "mulaw" else (ALAW, 8)
    return [unit * (first + step * n) for first, step, count in table for n in range(count)]


def samples(data: bytes) -> list[int]:
    return list(array("h", data))


def code_of(encoding: Encoding, step: int, *, positive: bool) -> int:
    """The character signal of a step: mu-law inverts all bits, A-law every other one."""
    if encoding == "mulaw":
        return ~(step if positive else step | 0x80) & 0xFF
    return (step | 0x80 if positive else step) ^ 0x55


def test_the_tables_here_are_the_recommendations() -> None:
    mulaw, alaw = ladder("mulaw"), ladder("alaw")
    assert [value // 4 for value in mulaw[::16]] == [0, 33, 99, 231, 495, 1023, 2079, 4191]
    assert mulaw[-1] == 8031 * 4
    assert [value // 8 for value in alaw[::16]] == [1, 33, 66, 132, 264, 528, 1056, 2112]
    assert alaw[-1] == 4032 * 8


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_each_code_word_has_its_value(encoding: Encoding) -> None:
    for step, value in enumerate(ladder(encoding)):
        codes = bytes(code_of(encoding, step, positive=sign) for sign in (True, False))
        assert samples(decode(codes, encoding)) == [value, -value]


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_every_code_word_comes_back(encoding: Encoding) -> None:
    codes = bytes(range(256))
    again = encode(decode(codes, encoding), encoding)
    # mu-law has two zeros; the negative one comes back as the positive.
    expected = codes.replace(b"\x7f", b"\xff") if encoding == "mulaw" else codes
    assert again == expected


@pytest.mark.parametrize(
    ("encoding", "boundaries"),
    [
        # Decision values of table 2a, n = 1, 2, 16, 17, 32, 33, 64, 112, 113, 127 (times 4).
        ("mulaw", [1, 3, 31, 35, 95, 103, 479, 4063, 4319, 7903]),
        # Table 1a, n = 1, 16, 32, 48, 64, 80, 96, 112, 113, 127 (times 8).
        ("alaw", [2, 32, 64, 128, 256, 512, 1024, 2048, 2176, 3968]),
    ],
)
def test_decision_values_part_the_steps(encoding: Encoding, boundaries: list[int]) -> None:
    unit = 4 if encoding == "mulaw" else 8
    for boundary in boundaries:
        at = boundary * unit
        below, above = samples(
            decode(encode(array("h", [at - 1, at]).tobytes(), encoding), encoding)
        )
        assert below < at < above
        assert ladder(encoding).index(above) == ladder(encoding).index(below) + 1


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_the_ladder_is_climbed_without_a_slip(encoding: Encoding) -> None:
    """Of all 65,536 samples: louder never becomes quieter, and the sign is kept."""
    got = samples(decode(encode(ALL.tobytes(), encoding), encoding))
    assert all(below <= above for below, above in pairwise(got))
    assert all((now >= 0) == (was >= 0) or now == 0 for was, now in zip(ALL, got, strict=True))
    assert (got[0], got[-1]) == (-ladder(encoding)[-1], ladder(encoding)[-1])


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_the_error_is_at_most_half_the_step_it_fell_in(encoding: Encoding) -> None:
    steps, unit = (MULAW, 4) if encoding == "mulaw" else (ALAW, 8)
    half = {
        value: unit * step // 2
        for segment, (_, step, _) in enumerate(steps)
        for value in ladder(encoding)[16 * segment : 16 * segment + 16]
    }
    got = samples(decode(encode(ALL.tobytes(), encoding), encoding))
    for was, now in zip(ALL, got, strict=True):
        if abs(was) <= ladder(encoding)[-1]:
            assert abs(was - now) <= half[abs(now)], was


def test_mulaw_is_the_same_on_both_sides_of_zero() -> None:
    above = array("h", range(1, 32768))
    below = array("h", (-sample for sample in above))
    up, down = (samples(mulaw_to_linear16(linear16_to_mulaw(x.tobytes()))) for x in (above, below))
    assert up == [-sample for sample in down]


def test_the_named_functions_are_the_laws() -> None:
    codes = bytes(range(256))
    assert mulaw_to_linear16(codes) == decode(codes, "mulaw")
    assert alaw_to_linear16(codes) == decode(codes, "alaw")
    assert linear16_to_mulaw(ALL.tobytes()) == encode(ALL.tobytes(), "mulaw")
    assert linear16_to_alaw(ALL.tobytes()) == encode(ALL.tobytes(), "alaw")
    assert decode(b"", "mulaw") == encode(b"", "alaw") == encode(b"\x01", "alaw") == b""


def test_the_machines_byte_order_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a big-endian machine sees it: its own 16-bit numbers have the bytes the other way."""
    other_way = array("h", ALL)
    other_way.byteswap()
    wanted = encode(ALL.tobytes(), "alaw")
    monkeypatch.setattr(sys, "byteorder", {"little": "big", "big": "little"}[sys.byteorder])
    assert encode(other_way.tobytes(), "alaw") == wanted
    quiet = AudioFormat("linear16", 8000)
    assert first_sound(b"\x01\x00\x00\x01", quiet) == 0, "256, then 1"
    assert first_sound(b"\x00\x01\x01\x00", quiet) == 2, "1, then 256"
