"""What a caller has heard, for all lines that tell when each stretch of it began."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from agentkit.audio.formats import AudioFormat
from agentkit.transports.playout import Heard

EVER = (-math.inf, math.inf)


class Hearing(ABC):
    """The end of a line at which the agent is heard."""

    @property
    @abstractmethod
    def heard(self) -> list[Heard]:
        """What the caller has heard so far: stretches of audio and when each began."""

    @property
    @abstractmethod
    def _heard_in(self) -> AudioFormat:
        """What that audio is in."""

    def heard_audio(self) -> bytes:
        """All that the caller has heard so far, gaps left out."""
        return b"".join(heard.data for heard in self.heard)

    def heard_seconds(self) -> float:
        """The length of all that the caller has heard so far, gaps left out."""
        return self._heard_in.seconds(sum(len(stretch.data) for stretch in self.heard))

    @property
    def first_heard_at(self) -> float | None:
        """When the caller first heard audio, silent or not."""
        heard = self.heard
        return heard[0].time if heard else None

    def longest_gap(self, during: tuple[float, float] = EVER) -> float:
        """The longest time, in seconds, with nothing to play between two stretches of audio.

        Args:
            during: count only what lies between these times.
        """
        begin, end = during
        longest, over = 0.0, math.inf
        for time, data in self.heard:
            longest = max(longest, min(time, end) - max(over, begin))
            over = time + self._heard_in.seconds(len(data))
        return longest
