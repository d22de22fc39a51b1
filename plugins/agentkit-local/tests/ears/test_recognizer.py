"""How well the recogniser understands people, on recordings with transcripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agentkit.audio.resample import Resampler
from agentkit_local.ears import Recognizer


def samples(speech: Any) -> Any:
    linear = speech.samples
    if speech.rate != 16000:
        resampler = Resampler(speech.rate, 16000)
        linear = resampler.push(linear) + resampler.flush()
    return np.frombuffer(linear, "<i2").astype(np.float32) / 32768


def test_the_word_error_rate_is_low(
    recognizer: Recognizer,
    recordings: Callable[[], Any],
    over_the_telephone: Callable[[], Any],
    word_errors: Callable[..., Any],
) -> None:
    for corpus, most in ((recordings(), 0.08), (over_the_telephone(), 0.12)):
        wrong = count = 0
        for speech in corpus:
            missed, said = word_errors(speech.text, recognizer(samples(speech)).text)
            wrong, count = wrong + missed, count + said
        assert count > 50
        assert wrong / count <= most, f"{wrong} of {count} words are wrong"


def test_each_word_has_a_confidence(recognizer: Recognizer, recordings: Callable[[], Any]) -> None:
    transcript = recognizer(samples(recordings()[0]))
    assert len(transcript.confidences) == len(transcript.text.split())
    assert all(0 < confidence <= 1 for confidence in transcript.confidences)


def test_silence_says_nothing_or_next_to_nothing(recognizer: Recognizer) -> None:
    assert len(recognizer(np.zeros(16000, np.float32)).text.split()) <= 1
