"""What agentkit asks of a voice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass

from agentkit.audio.formats import AudioFormat
from agentkit.core.history import SpokenWord


@dataclass(frozen=True, slots=True)
class SpeechAudio:
    """The next stretch of audio.

    Args:
        data: whole samples in the voice's format, without a header.
        words: words that begin in or before this stretch, with times in seconds from the start
            of the piece; empty where the voice has none.
    """

    data: bytes
    words: tuple[SpokenWord, ...] = ()


@dataclass(frozen=True, slots=True)
class PieceEnd:
    """All audio of one flushed piece has been yielded. One comes for each ``flush()``."""


SpeechEvent = SpeechAudio | PieceEnd


class SpeechStream(ABC):
    """One reply being spoken, piece by piece.

    A piece is what was pushed between two flushes. Pieces come out in the order they went in,
    each as its audio followed by one `PieceEnd`. Iteration ends when ``end()`` was called and
    every piece is out. Calls never block; text is queued.

    Iterating raises TTSError when the voice fails. A voice that stalls is for the backend to give
    up, after a time of its own (``timeout``).
    """

    @abstractmethod
    def push(self, text: str) -> None:
        """Add text to the current piece. A voice that can speak at once may begin now."""

    @abstractmethod
    def flush(self) -> None:
        """The current piece is complete: speak all of it. Without text it is an empty piece."""

    @abstractmethod
    def end(self) -> None:
        """No more text will come. Flushes what is left. Safe to call twice."""

    @abstractmethod
    async def cancel(self) -> None:
        """Stop, and close what is open on the wire before returning. Safe to call twice."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        """The audio, in order. To be iterated once."""


class TTS(ABC):
    """A voice.

    An instance serves many calls at once; making one opens nothing. Neither its text form nor its
    errors show a key or anything that was said.

    `agentkit.testing.conformance` checks that a backend does as is written here.
    """

    name: str
    """``backend/model:voice``, as it is shown in logs and records."""

    format: AudioFormat
    """What `SpeechAudio.data` is in."""

    @abstractmethod
    def open(self, voice: str | None = None) -> SpeechStream:
        """Begin a reply, with another voice of the same model if one is named."""

    async def warm(self) -> None:
        """Open what the next piece needs. Never raises for a backend out of reach."""

    async def aclose(self) -> None:
        """Close all connections and end all tasks. Safe to call twice."""
