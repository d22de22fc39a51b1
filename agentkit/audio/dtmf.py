"""The tones of a telephone's keys: made, in any format."""

from __future__ import annotations

import math
import sys
from array import array
from functools import lru_cache

from agentkit.audio.formats import AudioFormat
from agentkit.audio.g711 import encode
from agentkit.errors import UsageError

ROWS = (697, 770, 852, 941)
"""Hz of the lower tone of each row of keys (ITU-T Q.23)."""
COLUMNS = (1209, 1336, 1477, 1633)
"""Hz of the higher tone of each column (ITU-T Q.23)."""
KEYPAD = ("123A", "456B", "789C", "*0#D")

FRAME = 0.02
"""Seconds: tones and gaps are whole frames of a telephone's audio."""
SHORTEST = 0.04
"""Seconds that a tone, or the gap after it, has to last to be told apart (ITU-T Q.24)."""

_PAIRS = {
    key: (row, column)
    for row, keys in zip(ROWS, KEYPAD, strict=True)
    for column, key in zip(COLUMNS, keys, strict=True)
}
# A sine at full scale is +3.17 dBm0 (ITU-T G.711). The higher tone is sent 2 dB louder than the
# lower one, since lines weaken it more. Together they stay below half of the full scale.
_LOW = 10 ** ((-11 - 3.17) / 20)
_HIGH = 10 ** ((-9 - 3.17) / 20)
_FADE = 0.005  # seconds: an edge that is softer than a click


def as_key(value: object) -> str | None:
    """The key that a carrier's message names, as ``0-9 * # A-D``; None if it names none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    key = value.upper()
    return key if key in _PAIRS else None


def tones(digits: str, form: AudioFormat, *, seconds: float = 0.1, gap: float = 0.1) -> bytes:
    """Keys as they sound on a telephone: for each, two tones at once, then silence.

    Args:
        digits: the keys, each one of ``0-9 * # A-D``; personal data.
        form: what to make the sound in.
        seconds: how long a key is held, rounded up to whole frames of 20 ms.
        gap: the silence after each key, rounded up likewise.

    Raises:
        UsageError: there is no such key, or a time is too short to be heard as a key.
    """
    for name, value in (("seconds", seconds), ("gap", gap)):
        if not SHORTEST <= value < math.inf:
            raise UsageError(f"{name}: {value!r} is no time for a key; take {SHORTEST} s or more")
    keys = [as_key(digit) for digit in digits]
    silence = form.silence(FRAME) * _frames(gap)
    sounds = [_tone(key, form, _frames(seconds)) + silence for key in keys if key is not None]
    if len(sounds) < len(keys):
        raise UsageError("digits: not all of them are keys; use 0-9, *, # and A-D only")
    return b"".join(sounds)


def _frames(seconds: float) -> int:
    return math.ceil(round(seconds / FRAME, 6))


@lru_cache(maxsize=64)
def _tone(key: str, form: AudioFormat, frames: int) -> bytes:
    count = frames * round(FRAME * form.rate)
    low, high = (math.tau * hertz / form.rate for hertz in _PAIRS[key])
    edge = round(_FADE * form.rate)
    samples = array("h")
    for at in range(count):
        sound = _LOW * math.sin(low * at) + _HIGH * math.sin(high * at)
        from_edge = min(at, count - 1 - at)
        if from_edge < edge:
            sound *= math.sin(math.pi / 2 * from_edge / edge) ** 2
        samples.append(round(32767 * sound))
    if sys.byteorder == "big":
        samples.byteswap()
    return encode(samples.tobytes(), form.encoding)
