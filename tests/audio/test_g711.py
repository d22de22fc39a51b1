"""G.711 against the values of ITU-T G.711."""

from __future__ import annotations

from array import array

import pytest

from agentkit.audio.formats import Encoding
from agentkit.audio.g711 import decode, encode


def samples(data: bytes) -> list[int]:
    return list(array("h", data))


@pytest.mark.parametrize(
    ("encoding", "code", "value"),
    [
        ("mulaw", 0x00, -32124),
        ("mulaw", 0x80, 32124),
        ("mulaw", 0xFF, 0),
        ("mulaw", 0x7F, 0),
        ("mulaw", 0xF0, 120),
        ("alaw", 0xD5, 8),
        ("alaw", 0x55, -8),
        ("alaw", 0xAA, 32256),
        ("alaw", 0x2A, -32256),
    ],
)
def test_known_values(encoding: Encoding, code: int, value: int) -> None:
    assert samples(decode(bytes([code]), encoding)) == [value]


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_every_code_survives_the_way_there_and_back(encoding: Encoding) -> None:
    codes = bytes(range(256))
    again = encode(decode(codes, encoding), encoding)
    assert samples(decode(again, encoding)) == samples(decode(codes, encoding))


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_the_error_is_within_half_a_step(encoding: Encoding) -> None:
    """Steps grow with the level: half of one is at most a 31st of the sample."""
    wanted = array("h", range(-32768, 32768, 7))
    got = samples(decode(encode(wanted.tobytes(), encoding), encoding))
    for sample, decoded in zip(wanted, got, strict=True):
        assert abs(decoded - sample) <= abs(sample) / 31 + 16


def test_linear_is_left_alone() -> None:
    assert decode(b"\x01\x02", "linear16") == encode(b"\x01\x02", "linear16") == b"\x01\x02"


def test_an_odd_byte_is_left_aside() -> None:
    assert len(encode(b"\x00\x00\x00", "mulaw")) == 1
