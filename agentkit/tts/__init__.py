"""The voice interface. Backends are found by entry point (``agentkit.tts``)."""

from agentkit.tts.base import TTS, PieceEnd, SpeechAudio, SpeechEvent, SpeechStream

__all__ = ["TTS", "PieceEnd", "SpeechAudio", "SpeechEvent", "SpeechStream"]
