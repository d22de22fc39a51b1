"""Figures of what a caller has heard, for all lines that tell when each stretch began."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agentkit.audio.formats import AudioFormat
from agentkit.transports.playout import Heard

EVER = (-math.inf, math.inf)


def seconds_of(heard: Sequence[Heard], audio: AudioFormat) -> float:
    """The length of all of it, in seconds, gaps left out."""
    return audio.seconds(sum(len(stretch.data) for stretch in heard))


def longest_gap(
    heard: Sequence[Heard], audio: AudioFormat, during: tuple[float, float] = EVER
) -> float:
    """The longest time with nothing to play between two stretches, in seconds.

    Args:
        heard: in order.
        audio: what it is in.
        during: count only what lies between these times.
    """
    begin, end = during
    longest, over = 0.0, math.inf
    for time, data in heard:
        longest = max(longest, min(time, end) - max(over, begin))
        over = time + audio.seconds(len(data))
    return longest
