"""Libraries that are stood for: the sound card's, and the echo canceller's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.transports.desk import Half
from tests.transports.fake_pyaudio import FakePyAudio


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakePyAudio], FakePyAudio]:
    """PyAudio is this one."""

    def use(fake: FakePyAudio) -> FakePyAudio:
        monkeypatch.setitem(sys.modules, "pyaudio", fake)
        return fake

    return use


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> list[Half]:
    """The cancellers that are made are these."""
    made: list[Half] = []

    def make(**how: Any) -> Half:
        made.append(Half(**how))
        return made[-1]

    library = SimpleNamespace(AudioProcessor=make)
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", library)
    return made
