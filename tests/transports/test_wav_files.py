"""Recordings that a caller is made of: WAV files of every kind."""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.audio.resample import convert
from agentkit.errors import TransportError
from agentkit.testing.backends import tone
from agentkit.testing.clock import in_virtual_time
from agentkit.transports.files import (
    At,
    Cue,
    FileTransport,
    read_wav,
)

LINE = AudioFormat()
MULAW = AudioFormat("mulaw", 8000)


def write_wav(
    path: Path,
    samples: bytes,
    *,
    rate: int = 16000,
    tag: int = 1,
    bits: int = 16,
    channels: int = 1,
) -> Path:
    frame = channels * bits // 8
    head = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    extra = b"LIST" + struct.pack("<I", 3) + b"odd\x00"
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + extra
    body += b"data" + struct.pack("<I", len(samples)) + samples
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def test_wav_files_of_every_kind_are_read(tmp_path: Path) -> None:
    data = tone(0.1)
    path = write_wav(tmp_path / "a.wav", data, rate=44100)
    assert read_wav(path) == (AudioFormat("linear16", 44100), data)
    for tag, encoding in ((7, "mulaw"), (6, "alaw")):
        path = write_wav(tmp_path / "b.wav", data, rate=8000, tag=tag, bits=8)
        assert read_wav(path) == (AudioFormat(encoding, 8000), data)  # type: ignore[arg-type]


def test_an_extensible_header_is_read(tmp_path: Path) -> None:
    """WAVE_FORMAT_EXTENSIBLE has the true format tag at the head of its sub-format."""
    path = write_wav(tmp_path / "a.wav", tone(0.1))
    old = path.read_bytes()
    more = struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    head = struct.pack("<I", 40) + struct.pack("<H", 0xFFFE) + old[22:36] + more
    path.write_bytes(old[:16] + head + old[36:])
    assert read_wav(path) == (LINE, tone(0.1))


def test_of_a_stereo_file_the_left_side_is_the_caller(tmp_path: Path) -> None:
    left, right = array("h", tone(0.1, pitch=1)), array("h", tone(0.1, pitch=7))
    both = array("h", (sample for pair in zip(left, right, strict=True) for sample in pair))
    path = write_wav(tmp_path / "a.wav", both.tobytes(), channels=2)
    assert read_wav(path) == (LINE, left.tobytes())


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(0.1))
    path.write_bytes(path.read_bytes()[:-101])
    assert read_wav(path) == (LINE, tone(0.1)[:-102])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "RIFF header"),
        (b"RIFF\x00\x00\x00\x00WAVE", "fmt "),
        (b"RIFF\x00\x00\x00\x00WAVEfmt \x02\x00\x00\x00\x01\x00data\x00\x00\x00\x00", "unpack"),
    ],
)
def test_what_is_no_wav_file_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(TransportError, match=rf"a\.wav cannot be read as a WAV file: .*{problem}"):
        read_wav(path)


def test_a_missing_file_and_one_of_24_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"gone\.wav cannot be read"):
        read_wav(tmp_path / "gone.wav")
    path = write_wav(tmp_path / "a.wav", bytes(300), bits=24)
    with pytest.raises(TransportError, match=r"samples of 24 bits, format 1: make it 16-bit"):
        read_wav(path)


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def audio(self, data: bytes) -> None:
        self.frames.append(data)

    def marked(self, name: str) -> None:
        raise AssertionError(name)

    def dtmf(self, digit: str) -> None:
        raise AssertionError(digit)


@in_virtual_time(until=100)
async def test_files_are_converted_to_the_lines_format(tmp_path: Path) -> None:
    file = AudioFormat("linear16", 22050)
    path = write_wav(tmp_path / "a.wav", tone(1.0, file), rate=22050)
    line = FileTransport([Cue(path, At(0.0))], input=MULAW, limit=2.0)
    await line.connect()
    agent = Listener()
    await line.run(agent)
    wanted = convert(tone(1.0, file), file, MULAW)
    assert b"".join(agent.frames)[: len(wanted)] == wanted
    assert {len(data) for data in agent.frames} == {160}
