"""Audio formats, G.711, framing and resampling."""

from agentkit.audio.formats import AudioFormat, Encoding
from agentkit.audio.frames import Reframer, first_sound

__all__ = ["AudioFormat", "Encoding", "Reframer", "first_sound"]
