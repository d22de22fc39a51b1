"""What the tests of the report share: records, recordings, and the parts of a page."""

from __future__ import annotations

import re
import wave
from array import array
from pathlib import Path
from typing import Any

from agentkit.core.policy import Policy
from agentkit.observe import Record
from agentkit.observe.record import Entry

Plain = dict[str, Any]


def block(page: str, name: str) -> str:
    found = re.search(rf'<script [^>]*id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found, name
    return found[1]


def record(*entries: Entry, ended: str | None = "over") -> Record:
    return Record("2026-11-24T09:00:00.000+00:00", Policy(), entries, ended)


def kinds(data: Plain) -> list[str]:
    return [moment["kind"] for moment in data["moments"]]


def the(data: Plain, kind: str, number: int = 0) -> Plain:
    found: Plain = [one for one in data["moments"] if one["kind"] == kind][number]
    return found


def recording(path: Path, seconds: float, rate: int = 16000) -> Path:
    """The caller loud and the agent half as loud, at different pitches."""
    samples = array("h", bytes(4 * round(seconds * rate)))
    samples[::2] = array("h", ([16000] * 8 + [-16000] * 8) * (len(samples) // 32))
    samples[1::2] = array("h", ([8000] * 4 + [-8000] * 4) * (len(samples) // 16))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path
