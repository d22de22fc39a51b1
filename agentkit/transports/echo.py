"""What of a microphone's sound is the caller's, while a loudspeaker beside it plays.

Without this an agent on loudspeakers hears itself, and interrupts itself. `FullDuplex` takes the
agent's voice out of what the microphone hears; `HalfDuplex` does not listen while the agent speaks.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import Reframer
from agentkit.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = AudioFormat("linear16", 16000)
"""What both sides are in here."""
TAIL = 0.25
"""Seconds for which a room goes on sounding after the loudspeaker."""
TAIL_AFTER_CLEAR = 0.1
"""Seconds of it that matter where the agent fell silent for the caller: their words are louder."""

_FRAME = FORMAT.size(0.01)
"""Bytes of what WebRTC's canceller works on at a time."""
_MOST_AHEAD, _TOO_LONG = FORMAT.size(0.2), FORMAT.size(1.0)
"""Bytes by which the loudspeaker's sound may run ahead of the microphone's. Where it does for the
second, the event loop was not only busy: two cards keep two times, and it is caught up."""
_UNSURE = 0.5
"""Seconds that a canceller which begins anew is not trusted: AEC3 needs half of them."""


class EchoControl(ABC):
    """One microphone beside one loudspeaker. Not to be shared between threads."""

    @abstractmethod
    def played(self, data: bytes) -> None:
        """The loudspeaker was handed this, silence included: whole samples in `FORMAT`."""

    @abstractmethod
    def slipped(self) -> None:
        """A buffer came too late or was lost, in either direction."""

    @abstractmethod
    def heard(self, data: bytes, playing: bool) -> bytes:
        """What the session is given in place of what the microphone heard.

        Args:
            data: whole samples in `FORMAT`.
            playing: whether the loudspeaker plays, or the room still sounds of it.
        """


class HalfDuplex(EchoControl):
    """Silence while the agent speaks, so it cannot be interrupted; Flux gets audio at all times."""

    def played(self, data: bytes) -> None:
        """It does not matter what it was."""

    def slipped(self) -> None:
        """It does not matter either."""

    def heard(self, data: bytes, playing: bool) -> bytes:
        """The microphone's sound, or as much silence."""
        return bytes(len(data)) if playing else data


def has_canceller() -> bool:
    """Whether the library that `FullDuplex` needs is installed."""
    return importlib.util.find_spec("pywebrtc_audio") is not None


class FullDuplex(EchoControl):
    """WebRTC's echo canceller (AEC3), while the agent speaks; then the microphone as it is.

    What the canceller leaves tells well whether the caller speaks, but not as well what: it also
    takes from the caller's words what sounds like the agent's. So it is heard while the loudspeaker
    plays, which stops as soon as the caller has the floor, and the microphone itself from then on.

    The canceller is given the loudspeaker's sound in step with the microphone's, in the order in
    which the card took it: a sound is never heard before it was played, and how long after is found
    by AEC3 itself, up to half a second. (The card's own times are not even enough for that: AEC3
    puts up with a delay, not with one that changes.) It goes on in silence, too, so as not to lose
    what it has learnt of the room. A gap on either side puts the two out of step: then AEC3 begins
    anew, which takes it a quarter of a second, where to find another delay takes it two; meanwhile
    nothing is heard while the loudspeaker plays.

    Raises:
        ConfigError: ``pywebrtc-audio`` is not installed.
    """

    def __init__(self) -> None:
        try:
            library: Any = importlib.import_module("pywebrtc_audio")
        except ImportError as error:
            raise ConfigError(
                "full duplex",
                "the echo canceller is not installed: pip install 'agentkit[desktop]', or use"
                " half duplex",
            ) from error
        self._canceller = library.AudioProcessor(
            sample_rate=FORMAT.rate, echo_cancellation=True, noise_suppression=True
        )
        self._far = bytearray()
        self._near = Reframer(_FRAME)
        self._begun = False
        self._too_far = 0  # bytes, as the next
        self._unsure = 0
        self._cancelling = False

    def played(self, data: bytes) -> None:
        """Keep it until the microphone has heard as much."""
        self._far += data

    def slipped(self) -> None:
        """Begin anew."""
        self._canceller.reset()
        self._unsure = FORMAT.size(_UNSURE)

    def heard(self, data: bytes, playing: bool) -> bytes:
        """Whole frames of 10 ms; what is left of one waits for the rest of it.

        Of buffers that are whole frames long nothing waits: what a resampler took of the first one
        for good is made up for with silence.
        """
        if not self._begun and data:
            self._begun = True
            data = bytes(-len(data) % _FRAME) + data
        near = b"".join(self._near.push(data))
        if not near:
            return b""
        clean = self._mixed(near, self._beside(len(near)), playing)
        unsure = playing and self._unsure > 0
        self._unsure = max(0, self._unsure - len(near))
        return bytes(len(clean)) if unsure else clean

    def _beside(self, size: int) -> bytes:
        """The loudspeaker's sound that goes with the microphone's next bytes."""
        far = bytes(self._far[:size])
        del self._far[:size]
        self._too_far = self._too_far + size if len(self._far) > _MOST_AHEAD else 0
        if self._too_far > _TOO_LONG:
            del self._far[: len(self._far) - _MOST_AHEAD // 2]
            self.slipped()
        elif len(far) < size:
            self.slipped()
        return far + bytes(size - len(far))

    def _mixed(self, near: bytes, far: bytes, playing: bool) -> bytes:
        import numpy as np

        raw = np.frombuffer(near, np.int16)
        left = self._canceller.process(raw, np.frombuffer(far, np.int16))
        before, self._cancelling = self._cancelling, playing
        if before == playing:
            return left.tobytes() if playing else near
        return _crossed(raw, left) if playing else _crossed(left, raw)


def _crossed(before: NDArray[np.int16], after: NDArray[np.int16]) -> bytes:
    """From one sound to the other without a click."""
    import numpy as np

    share = np.linspace(0.0, 1.0, len(before), dtype=np.float32)
    mixed: NDArray[np.int16] = (before * (1 - share) + after * share).astype(np.int16)
    return mixed.tobytes()
