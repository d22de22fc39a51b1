"""The report as one HTML file: the page, its style, its script, the call's data and its sound.

Everything that people said goes into one block of JSON, which no markup can end, and the script
shows it as text only. The page may load nothing and run nothing but its own script: its content
security policy names that script and its style by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from agentkit.observe.record import Record
from agentkit.observe.report.data import report_data
from agentkit.observe.sound import CallSound, peaks, read_sound, small_copy

_PEAKS = 100
"""Of each voice, each second."""


def report_html(record: Record, audio: Path | None = None) -> str:
    """The report of a call: one HTML document that needs nothing else.

    With its audio, each moment can be listened to: 2 MB a minute (half of it past ten minutes).
    It blocks for about 5 ms a second of audio: call it in a thread.

    Args:
        record: the call, as it was or redacted.
        audio: 16-bit stereo WAV, the caller left and the agent right, from the call's start.

    Raises:
        RecordError: the audio cannot be read.
    """
    data = report_data(record)
    sound = read_sound(audio) if audio is not None else None
    if sound is not None:
        data["audio"] = _waves(sound)
    script, style = _asset("report.js"), _asset("report.css")
    return _filled(
        _asset("page.html"),
        {
            "policy": _policy(script, style),
            "length": _length(data["duration"]),
            "started": escape(_started(record.started)),
            "style": style,
            "script": script,
            "data": _json(data),
            "sound": base64.b64encode(small_copy(sound)).decode() if sound else "",
        },
    )


def _asset(name: str) -> str:
    return files("agentkit.observe.report").joinpath(name).read_text("utf-8")


def _filled(page: str, values: dict[str, str]) -> str:
    """The page with its ``{{names}}`` replaced, once: what is put in is not looked through."""
    return re.sub(r"\{\{(\w+)\}\}", lambda name: values[name[1]], page)


def _policy(script: str, style: str) -> str:
    """What a browser lets the page do: nothing from elsewhere, and no other script."""
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "media-src blob:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(data: dict[str, Any]) -> str:
    """JSON that is safe inside a script element, and in a file in UTF-8.

    No ``<`` and ``>`` (HTML: "Restrictions for contents of script elements"), and no half of a
    surrogate pair, which a broken record may hold.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda one: f"\\u{ord(one[0]):04x}", text)


def _waves(sound: CallSound) -> dict[str, Any]:
    return {
        "perSecond": _PEAKS,
        "seconds": round(sound.seconds, 3),
        "caller": _bytes(peaks(sound.caller, sound.rate, _PEAKS)),
        "agent": _bytes(peaks(sound.agent, sound.rate, _PEAKS)),
    }


def _bytes(values: list[float]) -> str:
    return base64.b64encode(bytes(min(255, round(value * 255)) for value in values)).decode()


def _length(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{int(seconds // 60)} minutes {int(seconds % 60)} seconds"


def _started(started: str) -> str:
    """Wall time to the minute; what cannot be read is shown as it is, as far as UTF-8 has it."""
    try:
        when = datetime.fromisoformat(started)
    except ValueError:
        return started.encode("utf-8", "replace").decode()
    if when.tzinfo is not None:
        return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return f"{when:%Y-%m-%d %H:%M}"
