"""Converting between audio formats: sample rates and G.711.

Resampling is libsamplerate's (package ``samplerate``, in the extra ``agentkit[audio]``): what it
holds back is the same few milliseconds at every moment, so that a live stream stays even. The
library is imported when two rates differ for the first time, which takes about 0.1 s; where a call
may be going on by then, run `preload` before it, in a thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentkit.audio.formats import AudioFormat
from agentkit.audio.g711 import decode, encode
from agentkit.errors import ConfigError

if TYPE_CHECKING:
    import samplerate

_HELD_BACK = 32
"""More samples, at the lower of the two rates, than the filter holds back (sinc_fastest: 20)."""
_LARGEST_RATIO = 256  # libsamplerate, SRC_MAX_RATIO


def preload() -> None:
    """Import the resampler, about 0.1 s. The second time it does nothing.

    Raises:
        ConfigError: ``samplerate`` is not installed.
    """
    try:
        import samplerate  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "audio", "converting between sample rates needs: pip install 'agentkit[audio]'"
        ) from error


class Resampler:
    """A stream of signed 16-bit little-endian samples, from one rate to another.

    Output lags behind input by about 20 samples of the lower rate (2.5 ms at 8 kHz). With equal
    rates it gives back what it gets and needs no library. Not to be shared between threads.

    Args:
        from_rate: of what is pushed, in Hz.
        to_rate: of what comes back, in Hz.

    Raises:
        ConfigError: a rate cannot be converted, or ``samplerate`` is not installed.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        low, high = sorted((from_rate, to_rate))
        if low < 1 or high > low * _LARGEST_RATIO:
            raise ConfigError("audio", f"{from_rate} Hz cannot be converted to {to_rate} Hz")
        self._ratio = to_rate / from_rate
        self._stream: samplerate.Resampler | None = None
        self._pushed = self._made = 0
        if from_rate != to_rate:
            preload()
            import samplerate

            self._stream = samplerate.Resampler("sinc_fastest", channels=1)
            self._rest = bytes(2 * _HELD_BACK * max(1, -(-from_rate // to_rate)))

    def push(self, data: bytes) -> bytes:
        """Resample the next stretch, of any length in whole samples; may give back nothing yet."""
        if self._stream is None or not data:
            return data
        import numpy as np

        made = self._stream.process(
            np.frombuffer(data, "<i2").astype(np.float32), self._ratio, end_of_input=False
        )
        self._pushed += len(data) // 2
        self._made += len(made)
        np.rint(made, out=made)
        np.clip(made, -32768, 32767, out=made)
        return bytes(made.astype("<i2").tobytes())

    def flush(self) -> bytes:
        """The end of a stretch of sound: return what is held back, and begin anew.

        With it, a stretch is as long as it was, to the nearest sample.
        """
        missing = round(self._pushed * self._ratio) - self._made
        rest = self.push(self._rest)[: 2 * missing] if self._stream and missing > 0 else b""
        self.reset()
        return rest

    def reset(self) -> None:
        """Forget what was pushed before."""
        self._pushed = self._made = 0
        if self._stream is not None:
            self._stream.reset()


class Converter:
    """A stream of audio from one format to another.

    Args:
        source: what is given, in whole samples.
        target: what comes back.

    Raises:
        ConfigError: as for `Resampler`.
    """

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self._source = source
        self._target = target
        self._same = source == target
        self._resampler = Resampler(source.rate, target.rate)

    def convert(self, data: bytes) -> bytes:
        """Convert the next stretch, of any length; may give back nothing yet."""
        if self._same:
            return data
        samples = decode(data, self._source.encoding)
        return encode(self._resampler.push(samples), self._target.encoding)

    def flush(self) -> bytes:
        """The end of a stretch of sound: return what is held back, and begin anew."""
        return encode(self._resampler.flush(), self._target.encoding)

    def reset(self) -> None:
        """Forget what was given before: the sound that follows is another one."""
        self._resampler.reset()


def convert(data: bytes, source: AudioFormat, target: AudioFormat) -> bytes:
    """Convert a whole recording; it stays as long as it was. Raises like `Resampler`."""
    stream = Converter(source, target)
    return stream.convert(data) + stream.flush()
