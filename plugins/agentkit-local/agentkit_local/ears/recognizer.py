"""Speech recognition: Moonshine's weights, run straight on onnxruntime.

The weights are those that the package ``moonshine-voice`` carries; nothing of its code is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from agentkit.errors import ConfigError

Samples = npt.NDArray[np.float32]
"""Mono, 16 kHz, from -1 to 1."""

RATE = 16000
_START, _END = 1, 2
_TOKENS_PER_SECOND = 13
"""More than any speaker says; a decoder that runs on is cut there."""
_PADDING = RATE // 10
"""Silence before and after: the model is more accurate with it."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was recognised: the text, and for each word of it a confidence from 0 to 1."""

    text: str
    confidences: tuple[float, ...]


class Recognizer:
    """One model for all calls. `__call__` blocks; call it from any number of threads.

    Args:
        folder: where ``encoder_model``, ``decoder_model_merged`` (.ort or .onnx) and
            ``tokenizer.bin`` are; None: the tiny English model of the package
            ``moonshine-voice``. `agentkit_local.ears.convert` makes a bigger one.

    Raises:
        ConfigError: there is no model there.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or _packaged_model()
        self._encoder = session(_model_file(folder, "encoder_model"))
        self._decoder = session(_model_file(folder, "decoder_model_merged"))
        self._vocabulary = _read_vocabulary(folder / "tokenizer.bin")
        self._input = self._encoder.get_inputs()[0].name
        self._masked = any(i.name == "attention_mask" for i in self._encoder.get_inputs())
        inputs = self._decoder.get_inputs()
        self._names = {i.name for i in inputs}
        self._outputs = [o.name for o in self._decoder.get_outputs()][1:]
        self._empty = {
            i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32)
            for i in inputs
            if i.name.startswith("past")
        }

    def __call__(self, samples: Samples) -> Transcript:
        """Recognise one stretch of speech, up to about 30 s."""
        silence = np.zeros(_PADDING, np.float32)
        padded = np.concatenate([silence, samples.astype(np.float32, copy=False), silence])
        return self._text(*self._decode(self._encode(padded), len(padded)))

    def _encode(self, samples: Samples) -> Any:
        feeds: dict[str, Any] = {self._input: samples[None]}
        if self._masked:
            feeds["attention_mask"] = np.ones((1, len(samples)), np.int64)
        return self._encoder.run(None, feeds)[0]

    def _decode(self, states: Any, length: int) -> tuple[list[int], list[float]]:
        """Take the likeliest token, again and again."""
        past = dict(self._empty)
        feeds: dict[str, Any] = {"encoder_hidden_states": states}
        if "encoder_attention_mask" in self._names:
            # As long as the raw samples, else longer stretches fail.
            feeds["encoder_attention_mask"] = np.ones(
                (1, max(length, states.shape[1] * 384)), np.int64
            )
        tokens, chances = [_START], []
        for step in range(max(6, int(length / RATE * _TOKENS_PER_SECOND))):
            feeds["input_ids"] = np.array([[tokens[-1]]], np.int64)
            feeds["use_cache_branch"] = np.array([step > 0])
            logits, *present = self._decoder.run(None, feeds | past)
            scores = logits[0, -1]
            best = int(scores.argmax())
            if best == _END:
                break
            tokens.append(best)
            chances.append(float(1.0 / np.exp(scores - scores[best]).sum()))
            for name, value in zip(self._outputs, present, strict=True):
                if step == 0 or ".decoder." in name:
                    past[name.replace("present", "past_key_values")] = value
        return tokens[1:], chances

    def _text(self, tokens: list[int], chances: list[float]) -> Transcript:
        text = b""
        words: list[list[float]] = []
        for token, chance in zip(tokens, chances, strict=True):
            piece = self._vocabulary[token] if 2 < token < len(self._vocabulary) else b""
            if piece.startswith("\u2581".encode()) or not words:
                words.append([])
            words[-1].append(chance)
            text += piece
        said = text.decode("utf-8", "replace").replace("\u2581", " ").strip()
        means = [sum(word) / len(word) for word in words if word]
        count = len(said.split())
        means = (means + [1.0] * count)[:count]
        return Transcript(said, tuple(round(mean, 3) for mean in means))


def _model_file(folder: Path, name: str) -> Path:
    for ending in (".onnx", ".ort"):
        if (path := folder / f"{name}{ending}").is_file():
            return path
    raise ConfigError("ears", f"there is no {name}.onnx or {name}.ort in {folder}")


def session(path: Path) -> ort.InferenceSession:
    """A model that runs on one thread: with small models more threads only cost."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def package_folder(package: str, requirement: str) -> Path:
    """Where an installed package lies; it is not imported.

    Raises:
        ConfigError: it is not installed.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ConfigError("local ears", f"not installed: pip install '{requirement}'")
    return Path(found.submodule_search_locations[0])


def _packaged_model() -> Path:
    folder = package_folder("moonshine_voice", "moonshine-voice==0.0.73") / "assets" / "tiny-en"
    if not (folder / "encoder_model.ort").is_file():
        raise ConfigError(
            "local ears",
            "this moonshine-voice carries no weights: pip install 'moonshine-voice==0.0.73'",
        )
    return folder


def _read_vocabulary(path: Path) -> list[bytes]:
    """Entries of a length (one byte, or two from 128 on) and that many bytes."""
    data = path.read_bytes()
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        size = data[at]
        at += 1
        if size >= 128:
            size = data[at] * 128 + size - 128
            at += 1
        entries.append(data[at : at + size])
        at += size
    return entries
