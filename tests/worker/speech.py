"""Recorded speech, and how well it was heard."""

from __future__ import annotations

import re
import wave
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

FOLDER = Path("/usr/share/pocketsphinx/test/data/librivox")


@dataclass(frozen=True)
class Speech:
    """A sentence: 16-bit mono samples at 16 kHz, and what is said."""

    samples: bytes
    text: str


def librivox() -> list[Speech]:
    """Sentences of a novel (Debian's package pocketsphinx-testdata, which `make` installs)."""
    found = []
    for line in (FOLDER / "transcription").read_text().splitlines():
        match = re.match(r"<s> (.*) </s> \((.*)\)", line)
        assert match, line
        with wave.open(str(FOLDER / f"{match[2]}.wav")) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
            found.append(Speech(file.readframes(file.getnframes()), match[1]))
    return found


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z' ]+", " ", text.casefold().replace("-", " ")).split()


def likeness(said: str, heard: str) -> float:
    """0 to 1: how much of the words is the same, in order."""
    return SequenceMatcher(None, words(said), words(heard)).ratio()
