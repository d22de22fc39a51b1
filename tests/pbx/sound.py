"""WAV files that callers speak, and how like two recordings are."""

from __future__ import annotations

import wave
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tests.pbx import programs

RATE = 8000
"""Hz of everything here; samples have 16 bits."""

HEADER = 44
"""Bytes of a WAV file's header."""

Samples = npt.NDArray[np.int16]
Part = float | str | Path
"""Seconds of silence, the name of a prompt, or a WAV file."""


def read(path: Path) -> Samples:
    """The samples of a WAV file of 16 bits and 8000 Hz.

    Raises:
        ValueError: it is in another form.
    """
    with wave.open(str(path)) as file:
        form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        if form != (1, 2, RATE):
            raise ValueError(f"{path} has another form: {form}")
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def write(path: Path, *parts: Part) -> Path:
    """Write a WAV file of such parts, one behind the other, as whole frames of 20 ms.

    Asterisk takes the length of the samples for the file's, and so leaves out as much of its end as
    the header is long: there is as much more of silence.
    """
    found = [
        np.zeros(round(part * RATE), np.int16)
        if isinstance(part, int | float)
        else read(programs.prompt(part) if isinstance(part, str) else part)
        for part in parts
    ]
    samples = np.concatenate(found)
    padded = np.pad(samples, (0, -len(samples) % (RATE // 50) + HEADER // 2))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(padded.tobytes())
    return path


class Likeness(NamedTuple):
    """How like a recording is to what was said.

    Args:
        correlation: 1.0 if it is the same but for its loudness.
        delay: seconds by which the recording lags.
    """

    correlation: float
    delay: float


def compare(said: Samples, heard: Samples) -> Likeness:
    """Find what was said in a recording, wherever it stands there."""
    a, b = said.astype(float), heard.astype(float)
    size = len(a) + len(b)
    product = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)
    lag = int(np.argmax(product))
    lag -= size if lag > len(b) else 0
    end = max(0, min(len(a), len(b) - lag))
    begin = max(0, -lag)
    a, b = a[begin:end], b[begin + lag : end + lag]
    power = float(np.sqrt(np.dot(a, a) * np.dot(b, b)))
    return Likeness(float(np.dot(a, b)) / power if power else 0.0, lag / RATE)


def compare_pieces(said: Samples, heard: Samples, piece: float = 0.2) -> Likeness:
    """The middle likeness of such pieces, each found where it stands: the line may have slipped.

    A telephone on a busy machine drops a frame or puts one in, and what follows is shifted.
    """
    size = round(piece * RATE)
    found = []
    for at in range(0, len(said) - size + 1, size):
        if loud(said[at : at + size], above=2000):
            correlation, delay = compare(said[at : at + size], heard)
            found.append(Likeness(correlation, delay - at / RATE))
    return Likeness(
        median(like.correlation for like in found), median(like.delay for like in found)
    )


def loud(samples: Samples, above: int = 500) -> tuple[float, float] | None:
    """When the first and the last sound is, in seconds; None in silence."""
    (found,) = np.nonzero(np.abs(samples.astype(int)) > above)
    return (int(found[0]) / RATE, int(found[-1]) / RATE) if len(found) else None
