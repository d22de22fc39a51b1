"""Audio formats, G.711 and framing. Resampling needs a library: `agentkit.audio.resample`."""

from agentkit.audio.formats import AudioFormat, Encoding
from agentkit.audio.frames import Reframer, first_sound, is_silent
from agentkit.audio.g711 import decode, encode

__all__ = [
    "AudioFormat",
    "Encoding",
    "Reframer",
    "decode",
    "encode",
    "first_sound",
    "is_silent",
]
