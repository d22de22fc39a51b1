"""A desk with a sound server: one for all of these tests, started once and stopped at the end.

`make test-desktop` installs what they need and runs them; a plain `pytest` leaves them out.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desktop import pulse as servers
from tests.desktop.caller import NAMES, clip
from tests.desktop.pulse import Pulse


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulse]:
    if not (shutil.which("pulseaudio") and importlib.util.find_spec("pyaudio")):
        pytest.fail("PulseAudio or PyAudio is missing: make test-desktop", pytrace=False)
    with servers.running(tmp_path_factory.mktemp("pulse")) as running:
        yield running


@pytest.fixture
def pulse(server: Pulse, monkeypatch: pytest.MonkeyPatch) -> Pulse:
    """The server, and PortAudio in this process uses it."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("PULSE_SINK", "PULSE_SOURCE", "DEEPGRAM_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return server


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A man says: "He was not an ill disposed young man." 3 s, as loud as the agent."""
    return clip(NAMES[0], 0.0, tmp_path)
