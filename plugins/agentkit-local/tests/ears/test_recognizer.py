"""How well the recogniser understands people, on recordings with transcripts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentkit.audio.resample import Resampler
from agentkit.errors import ConfigError
from agentkit_local.ears import Recognizer
from agentkit_local.ears.convert import convert, main
from agentkit_local.ears.recognizer import package_folder


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


def test_a_converted_model_hears_the_same(
    recognizer: Recognizer, recordings: Callable[[], Any], tmp_path: Path
) -> None:
    source = package_folder("moonshine_voice", "moonshine-voice") / "assets" / "tiny-en"
    made = convert(tmp_path / "tiny", source)
    assert {path.suffix for path in made.iterdir()} == {".onnx", ".bin"}
    assert convert(made, source) == made, "what is there is kept"
    again = Recognizer(made)
    for speech in recordings()[:2]:
        assert again(samples(speech)).text == recognizer(samples(speech)).text


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no encoder_model\.onnx or encoder_model\.ort in"):
        Recognizer(tmp_path)
    with pytest.raises(ConfigError, match="pip install 'no-such==1'"):
        package_folder("agentkit_no_such", "no-such==1")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["--to", str(tmp_path)]) == 1
