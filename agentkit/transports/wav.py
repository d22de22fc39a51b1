"""WAV files: reading a caller's, writing a call's."""

from __future__ import annotations

import struct
import wave
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentkit.audio.formats import AudioFormat, Encoding
from agentkit.errors import TransportError
from agentkit.transports.playout import Heard

_TAGS: dict[tuple[int, int], Encoding] = {(1, 16): "linear16", (6, 8): "alaw", (7, 8): "mulaw"}
"""Format tag and bits a sample, as in the RIFF registry (WAVE_FORMAT_PCM, _ALAW, _MULAW)."""
_EXTENSIBLE = 0xFFFE


def read_wav(path: Path) -> tuple[AudioFormat, bytes]:
    """Read a WAV file: 16-bit, mu-law or A-law, any rate; of several channels the first.

    (The standard library's `wave` reads 16-bit files only.)

    Raises:
        TransportError: the file cannot be read, or is of another kind.
    """
    try:
        file = path.read_bytes()
        head, samples = _chunks(file)
        tag, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", head)
        if tag == _EXTENSIBLE:
            (tag,) = struct.unpack_from("<H", head, 24)
    except (OSError, KeyError, struct.error) as error:
        raise TransportError(f"{path} cannot be read as a WAV file: {error}") from error
    encoding = _TAGS.get((tag, bits))
    if encoding is None:
        raise TransportError(
            f"{path} has samples of {bits} bits, format {tag}: "
            f"make it 16-bit, e.g. with `sox {path.name} -b 16 -e signed out.wav`"
        )
    audio = AudioFormat(encoding, rate)
    samples = samples[: len(samples) // frame * frame]
    if channels > 1:
        parts = array("H" if audio.sample_bytes == 2 else "B", samples)
        samples = parts[::channels].tobytes()
    return audio, samples


def _chunks(file: bytes) -> tuple[bytes, bytes]:
    """The format and the samples. Raises KeyError with the name of what is missing."""
    if file[:4] != b"RIFF" or file[8:12] != b"WAVE":
        raise KeyError("RIFF header")
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(file):
        name, size = struct.unpack_from("<4sI", file, at)
        found.setdefault(name, file[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return found[b"fmt "], found[b"data"]


@dataclass(frozen=True, slots=True)
class Track:
    """One side of a call: stretches of audio and when each began."""

    audio: AudioFormat
    heard: Sequence[Heard]

    def laid(self, start: float, end: float) -> bytes:
        """The whole of it from ``start`` to ``end`` seconds, with silence between stretches."""
        size = self.audio.sample_bytes
        line = bytearray(self.audio.silence(end - start))
        whole = len(line)
        at = 0
        for time, data in self.heard:
            begin = round((time - start) * self.audio.rate) * size
            if abs(begin - at) > size:  # else it goes on where the last one ended
                at = max(begin, at)
            line[at : at + len(data)] = data
            at += len(data)
        return bytes(line[:whole])


def write_call(path: Path, caller: Track, agent: Track, start: float, end: float) -> None:
    """Write a call as a 16-bit stereo WAV file, caller left and agent right.

    Both sides are at the higher of their rates. Blocks: call it in a thread.
    """
    rate = max(caller.audio.rate, agent.audio.rate)
    common = AudioFormat("linear16", rate)
    left, right = (
        array("h", converted(track.laid(start, end), track.audio, common))
        for track in (caller, agent)
    )
    both = array("h", bytes(4 * max(len(left), len(right))))
    both[: 2 * len(left) : 2] = left
    both[1 : 1 + 2 * len(right) : 2] = right
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(both.tobytes())


def converted(data: bytes, given: AudioFormat, wanted: AudioFormat) -> bytes:
    """The same sound in another format. Raises ConfigError where a resampler is missing."""
    if given == wanted:
        return data
    from agentkit.audio.resample import convert

    return convert(data, given, wanted)
