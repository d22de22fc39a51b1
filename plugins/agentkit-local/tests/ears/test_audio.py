"""A client's audio becomes hops of 16 kHz, whatever its form; what cannot be read is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from agentkit.audio.g711 import encode
from agentkit_local.ears.audio import MAX_HEADER, Intake, UndecodableAudio
from agentkit_local.ears.vad import HOP


def tone(rate: int, seconds: float = 1.0) -> bytes:
    wave = np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate) * 0.5
    return (wave * 32767).astype("<i2").tobytes()


def wav(samples: bytes, rate: int = 16000, channels: int = 1, before: bytes = b"") -> bytes:
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    chunks = before + b"fmt " + struct.pack("<I", 16) + form
    return b"RIFF\xff\xff\xff\xffWAVE" + chunks + b"data\xff\xff\xff\xff" + samples


def seconds(hops: list[np.ndarray[tuple[int], np.dtype[np.float32]]]) -> float:
    assert all(len(hop) == HOP for hop in hops)
    return len(hops) * HOP / 16000


def loudness(hops: list[np.ndarray[tuple[int], np.dtype[np.float32]]]) -> float:
    return float(np.sqrt(np.mean(np.concatenate(hops[4:]) ** 2)))


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
@pytest.mark.parametrize("encoding", ["linear16", "linear32", "mulaw", "alaw"])
def test_each_encoding_at_each_rate(encoding: str, rate: int) -> None:
    data = tone(rate)
    if encoding == "linear32":
        data = (np.frombuffer(data, "<i2").astype("<i4") << 16).tobytes()
    elif encoding != "linear16":
        data = encode(data, "mulaw" if encoding == "mulaw" else "alaw")
    intake = Intake(encoding, rate)
    hops = []
    for at in range(0, len(data), 1001):  # samples are split between messages
        hops += intake.push(data[at : at + 1001])
    assert seconds(hops) == pytest.approx(1.0, abs=0.05)
    assert loudness(hops) == pytest.approx(0.5 / 2**0.5, rel=0.05)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_wav_file_in_pieces_of_any_size(size: int) -> None:
    data = wav(tone(8000), 8000, before=b"LIST" + struct.pack("<I", 3) + b"abc\0")
    intake = Intake(None, None)
    hops = []
    for at in range(0, len(data), size):
        hops += intake.push(data[at : at + size])
    assert seconds(hops) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"OggS" + bytes(40), "has to be a WAV file"),
        (wav(b"", channels=2), "mono"),
        (wav(b"", rate=0), "rate is 0 Hz"),
        (wav(b"", rate=2_000_000_000), "rate is 2000000000 Hz"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "without a format"),
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", "too short"),
        (b"RIFF\0\0\0\0WAVELIST" + struct.pack("<I", MAX_HEADER), "too long"),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableAudio, match=reason):
        Intake(None, None).push(data)
