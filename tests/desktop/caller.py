"""A human voice for the microphone: a man who reads aloud, as loud as it takes."""

from __future__ import annotations

import wave
from array import array
from pathlib import Path

from agentkit.transports.wav import read_wav

SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox")
NAMES = ("0880", "0870", "0890", "0920", "0930")
"""Each begins with a sentence of two seconds and more; the first says that "he was not an ill
disposed young man"."""
AGENT = 6000.0
"""The loudness of the offline voice: the root of its mean square where it speaks."""


def clip(name: str, decibels: float, folder: Path) -> Path:
    """The first three seconds of a recording, from its first sound.

    Args:
        name: one of `NAMES`.
        decibels: how much louder than the offline voice as it is played.
        folder: where it is written.
    """
    form, data = read_wav(SPEECH / f"sense_and_sensibility_01_austen_64kb-{name}.wav")
    samples = array("h", data)
    first = next(at for at, sample in enumerate(samples) if abs(sample) > 1000)
    samples = samples[max(0, first - 160) : first + 3 * form.rate]
    loud = [sample for sample in samples if abs(sample) > 300]
    level = (sum(sample * sample for sample in loud) / len(loud)) ** 0.5
    factor = min(AGENT * 10 ** (decibels / 20) / level, 32000 / max(map(abs, samples)))
    path = folder / f"{name}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(form.rate)
        file.writeframes(array("h", (round(sample * factor) for sample in samples)).tobytes())
    return path
