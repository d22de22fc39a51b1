"""Converting between audio formats: sample rates and G.711.

Resampling is libsamplerate's (package ``samplerate``, in the extra ``agentkit[audio]``): what it
holds back is the same few milliseconds at every moment, so that a live stream stays even. From a
voice's rate to a whole fraction of it, as on every phone call, or to a multiple, as on most sound
cards, filters of our own do the same with a third of the work. They do not keep other threads from
running, as libsamplerate does. The libraries are imported when two rates differ for the first time,
which takes about 0.1 s; where a call may be going on by then, run `preload` before it, in a thread.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Protocol

from agentkit.audio.formats import AudioFormat, Encoding
from agentkit.audio.g711 import codes, decode, encode
from agentkit.errors import ConfigError

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    Samples = NDArray[float32]

_HELD_BACK = 32
"""More samples, at the lower of the two rates, than a filter holds back (sinc_fastest: 20)."""
_LARGEST_RATIO = 256  # libsamplerate, SRC_MAX_RATIO
_REACH = 24
"""Samples of the lower rate before and after each one that our own filter makes it from."""


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

    Output lags behind input by 20 to 24 samples of the lower rate (3 ms at 8 kHz). With equal
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
        self._stream: _Stream | None = None
        self._pushed = self._made = 0
        if from_rate != to_rate:
            preload()
            if from_rate % to_rate == 0:
                self._stream = _Decimator(from_rate // to_rate)
            elif to_rate % from_rate == 0:
                self._stream = _Interpolator(to_rate // from_rate)
            else:
                self._stream = _sinc()
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


class _Stream(Protocol):
    """What `Resampler` needs of a library."""

    def process(self, samples: Samples, ratio: float, end_of_input: bool = False) -> Samples:
        """Take more samples, and give what can be made by now."""

    def reset(self) -> None:
        """Forget all that was taken."""


def _sinc() -> _Stream:
    import samplerate

    stream: _Stream = samplerate.Resampler("sinc_fastest", channels=1)
    return stream


class _Decimator:
    """Keeps every n-th sample of what a low-pass filter leaves; it is worked out at those only."""

    def __init__(self, ratio: int) -> None:
        self._ratio = ratio
        self._taps = _low_pass(ratio)
        self._waiting: Samples
        self.reset()

    def process(self, samples: Samples, ratio: float, end_of_input: bool = False) -> Samples:
        """Take more samples; the ratio is this one's own."""
        import numpy as np

        waiting = np.concatenate((self._waiting, samples))
        count = max(0, (len(waiting) - len(self._taps)) // self._ratio + 1)
        self._waiting = waiting[count * self._ratio :].copy()  # and let go of the rest
        return _weighted(waiting, count, self._ratio, self._taps)

    def reset(self) -> None:
        """Silence came before."""
        import numpy as np

        self._waiting = np.zeros(_REACH * self._ratio, np.float32)


class _Interpolator:
    """Puts n - 1 samples behind each one: what a low-pass filter makes of silence there.

    Each of the n places between two samples has a sum of its own over the input, with every n-th of
    the filter's taps.
    """

    def __init__(self, ratio: int) -> None:
        self._ratio = ratio
        taps = ratio * _low_pass(ratio)
        self._taps = [taps[place::ratio][::-1].copy() for place in range(ratio)]
        self._waiting: Samples
        self.reset()

    def process(self, samples: Samples, ratio: float, end_of_input: bool = False) -> Samples:
        """Take more samples; the ratio is this one's own."""
        import numpy as np

        waiting = np.concatenate((self._waiting, samples))
        count = max(0, len(waiting) - 2 * _REACH)
        self._waiting = waiting[count:].copy()
        made = np.empty(count * self._ratio, np.float32)
        for place, taps in enumerate(self._taps):
            made[place :: self._ratio] = _weighted(waiting, count, 1, taps)
        return made

    def reset(self) -> None:
        """Silence came before."""
        import numpy as np

        self._waiting = np.zeros(_REACH, np.float32)


def _weighted(samples: Samples, count: int, step: int, taps: Samples) -> Samples:
    """As many sums of samples times taps, each beginning ``step`` samples after the one before.

    The rows overlap in memory. NumPy's own sum takes them as they are and stays in this thread, as
    a product of matrices would not.
    """
    import numpy as np

    size = samples.itemsize
    rows: Samples = np.ndarray((count, len(taps)), samples.dtype, samples, 0, (step * size, size))
    made: Samples = np.einsum("ij,j->i", rows, taps)
    return made


@cache
def _low_pass(ratio: int) -> Samples:
    """A filter for one sample in ``ratio``.

    Kaiser's window (Kaiser 1974, as in any textbook): 60 dB, more than G.711 can tell, from half of
    the lower rate on, and flat up to 0.85 of that: 3.4 kHz, where a telephone's band ends.
    """
    import numpy as np

    reach = _REACH * ratio
    at = np.arange(-reach, reach + ratio)  # to a multiple of the ratio; the last of them are 0
    window = np.zeros(len(at))
    window[: 2 * reach + 1] = np.kaiser(2 * reach + 1, 5.65)
    taps = np.sinc(0.925 * at / ratio) * window
    lowered: Samples = (taps / taps.sum()).astype(np.float32)
    return lowered


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
        # Where rates differ, NumPy is there.
        self._encode = encode if source.rate == target.rate else _encode_in_bulk

    def convert(self, data: bytes) -> bytes:
        """Convert the next stretch, of any length; may give back nothing yet."""
        if self._same:
            return data
        samples = decode(data, self._source.encoding)
        return self._encode(self._resampler.push(samples), self._target.encoding)

    def flush(self) -> bytes:
        """The end of a stretch of sound: return what is held back, and begin anew."""
        return self._encode(self._resampler.flush(), self._target.encoding)

    def reset(self) -> None:
        """Forget what was given before: the sound that follows is another one."""
        self._resampler.reset()


def _encode_in_bulk(data: bytes, encoding: Encoding) -> bytes:
    """As `agentkit.audio.g711.encode`, for whole samples."""
    if encoding == "linear16":
        return data
    import numpy as np

    table = np.frombuffer(codes(encoding), np.uint8)
    made: bytes = table[np.frombuffer(data, "<u2")].tobytes()
    return made


def convert(data: bytes, source: AudioFormat, target: AudioFormat) -> bytes:
    """Convert a whole recording; it stays as long as it was. Raises like `Resampler`."""
    stream = Converter(source, target)
    return stream.convert(data) + stream.flush()
