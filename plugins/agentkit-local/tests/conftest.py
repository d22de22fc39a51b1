"""Recorded speech with transcripts, and one server for all tests."""

from __future__ import annotations

import re
import wave
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentkit.audio.resample import Resampler
from agentkit_local.ears import FluxServer, Recognizer

LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")


@dataclass(frozen=True)
class Speech:
    """A recording: 16-bit mono samples, their rate in Hz, and what is said."""

    samples: bytes
    rate: int
    text: str

    @property
    def seconds(self) -> float:
        return len(self.samples) / 2 / self.rate


def read(path: Path, text: str) -> Speech:
    with wave.open(str(path)) as file:
        return Speech(file.readframes(file.getnframes()), file.getframerate(), text)


def missing(package: str) -> str:
    return f"recorded speech is missing: apt-get install {package} (make test does)"


def librivox() -> list[Speech]:
    """Sentences of a novel, 16 kHz (package pocketsphinx-testdata)."""
    assert LIBRIVOX.is_dir(), missing("pocketsphinx-testdata")
    found = []
    for line in (LIBRIVOX / "transcription").read_text().splitlines():
        match = re.match(r"(?:<s>)?\s*(.*?)\s*(?:</s>)?\s*\((.*)\)", line)
        assert match, line
        found.append(read(LIBRIVOX / f"{match[2]}.wav", match[1]))
    return found


def telephone() -> list[Speech]:
    """The same sentences as they come over a telephone line, at 8 kHz."""
    found = []
    for speech in librivox():
        resampler = Resampler(speech.rate, 8000)
        samples = resampler.push(speech.samples) + resampler.flush()
        found.append(Speech(samples, 8000, speech.text))
    return found


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z' ]+", " ", text.casefold().replace("-", " ")).split()


def errors(said: str, heard: str) -> tuple[int, int]:
    """Word errors (Levenshtein), and the number of words said."""
    left, right = words(said), words(heard)
    row = list(range(len(right) + 1))
    for i, one in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1], len(left)


@pytest.fixture(scope="session")
def recognizer() -> Recognizer:
    return Recognizer()


@pytest.fixture
async def ears(recognizer: Recognizer) -> AsyncIterator[FluxServer]:
    async with FluxServer(recognizer=recognizer) as server:
        yield server


@pytest.fixture(scope="session")
def recordings() -> Callable[[], list[Speech]]:
    return librivox


@pytest.fixture(scope="session")
def over_the_telephone() -> Callable[[], list[Speech]]:
    return telephone


@pytest.fixture(scope="session")
def word_errors() -> Callable[[str, str], tuple[int, int]]:
    return errors
