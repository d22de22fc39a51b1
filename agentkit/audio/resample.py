"""Converting between audio formats: sample rates and G.711.

Resampling is libsamplerate's (package ``samplerate``, in the extra ``agentkit[audio]``): its delay
is small and constant, so that a live stream stays even. It is imported when it is first needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentkit.audio.formats import AudioFormat
from agentkit.audio.g711 import decode, encode
from agentkit.errors import ConfigError

if TYPE_CHECKING:
    import samplerate


class Resampler:
    """A stream of signed 16-bit little-endian samples, from one rate to another, in Hz.

    With equal rates it gives back what it gets and needs no library.

    Raises:
        ConfigError: the rates differ and ``samplerate`` is not installed.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._ratio = to_rate / from_rate
        self._stream: samplerate.Resampler | None = None
        if from_rate != to_rate:
            try:
                import samplerate
            except ImportError as error:
                raise ConfigError(
                    "audio",
                    f"converting {from_rate} Hz to {to_rate} Hz needs a resampler: "
                    "pip install 'agentkit[audio]'",
                ) from error
            self._stream = samplerate.Resampler("sinc_fastest", channels=1)

    def push(self, data: bytes) -> bytes:
        """Resample the next stretch."""
        return self._process(data, end=False)

    def flush(self) -> bytes:
        """The end of a stretch of sound: return what is held back, and begin anew."""
        rest = self._process(b"", end=True)
        self.reset()
        return rest

    def reset(self) -> None:
        """Forget what was heard before."""
        if self._stream is not None:
            self._stream.reset()

    def _process(self, data: bytes, *, end: bool) -> bytes:
        if self._stream is None:
            return data
        import numpy as np

        samples = np.frombuffer(data, "<i2").astype(np.float32)
        made = self._stream.process(samples, self._ratio, end_of_input=end)
        return bytes(np.clip(np.rint(made), -32768, 32767).astype("<i2").tobytes())


class Converter:
    """A stream of audio from one format to another. Feed it whole samples."""

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self._source = source
        self._target = target
        self._resampler = Resampler(source.rate, target.rate)

    def convert(self, data: bytes) -> bytes:
        """Convert the next stretch."""
        samples = decode(data, self._source.encoding)
        return encode(self._resampler.push(samples), self._target.encoding)

    def flush(self) -> bytes:
        """The end of a stretch of sound: return what is held back, and begin anew."""
        return encode(self._resampler.flush(), self._target.encoding)


def convert(data: bytes, source: AudioFormat, target: AudioFormat) -> bytes:
    """Convert a whole recording."""
    stream = Converter(source, target)
    return stream.convert(data) + stream.flush()
