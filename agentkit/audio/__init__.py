"""Audio formats, G.711, framing and resampling."""

from agentkit.audio.formats import AudioFormat, Encoding

__all__ = ["AudioFormat", "Encoding"]
