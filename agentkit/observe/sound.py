"""The sound of a call as a recording has it: how loud it was when, and a small copy of it."""

from __future__ import annotations

import struct
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path

from agentkit.audio.formats import AudioFormat
from agentkit.errors import ConfigError, RecordError

_WIDE, _NARROW = 16_000, 8_000
"""Rates of a small copy, in Hz: speech as on a good line, and as on a telephone."""
_LONG = 600.0
"""A call longer than this, in seconds, is copied at the lower rate."""


@dataclass(frozen=True, slots=True)
class CallSound:
    """Both sides of a call from its start on, as 16-bit samples.

    Args:
        rate: of both, in Hz.
        caller: the left channel.
        agent: the right one.
    """

    rate: int
    caller: array[int]
    agent: array[int]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.caller) / self.rate


def read_sound(path: Path) -> CallSound:
    """Read a call's recording: a 16-bit stereo WAV file, the caller left and the agent right.

    Raises:
        RecordError: it cannot be read, or is of another kind.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth()) != (2, 2):
                raise RecordError(f"{path} is no 16-bit stereo WAV file, as a call's audio is")
            rate = file.getframerate()
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise RecordError(f"{path}: {error}") from error
    samples = array("h", data[: len(data) // 4 * 4])
    return CallSound(rate, samples[::2], samples[1::2])


def peaks(samples: array[int], rate: int, per_second: int) -> list[float]:
    """The loudest sample, 0 to 1, of each ``1 / per_second`` seconds."""
    step = rate / per_second
    found = []
    for number in range(int(len(samples) / step)):
        part = samples[round(number * step) : round((number + 1) * step)]
        found.append(max(max(part), -min(part)) / 32768)
    return found


def small_copy(sound: CallSound) -> bytes:
    """The call as a stereo WAV file in mu-law, which browsers play: 2 bytes of 16 or 8 kHz.

    A recording of a lower rate keeps its own, and so does every one where the resampler
    (``agentkit[audio]``) is not installed.
    """
    rate = min(sound.rate, _NARROW if sound.seconds > _LONG else _WIDE)
    wanted = AudioFormat("mulaw", rate)
    try:
        left, right = (_copied(side, sound.rate, wanted) for side in (sound.caller, sound.agent))
    except ConfigError:
        wanted = AudioFormat("mulaw", sound.rate)
        left, right = (_copied(side, sound.rate, wanted) for side in (sound.caller, sound.agent))
    both = bytearray(2 * len(left))
    both[::2], both[1::2] = left, right
    return _mulaw_head(wanted.rate, len(left)) + both


def _copied(samples: array[int], rate: int, wanted: AudioFormat) -> bytes:
    from agentkit.audio.resample import convert

    return convert(samples.tobytes(), AudioFormat("linear16", rate), wanted)


def _mulaw_head(rate: int, frames: int) -> bytes:
    """What comes before the samples (RIFF: WAVE_FORMAT_MULAW, two channels of 8 bits)."""
    kind = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 7, 2, rate, 2 * rate, 2, 8, 0)
    fact = struct.pack("<4sII", b"fact", 4, frames)
    data = struct.pack("<4sI", b"data", 2 * frames)
    size = 4 + len(kind) + len(fact) + len(data) + 2 * frames
    return struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + kind + fact + data
