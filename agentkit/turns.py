"""What a source of turns gives the core.

Flux is the first source; any recogniser that reports turn edges can be another. A source takes
the caller's audio and says, in the neutral words of `agentkit.core.events`, when a turn started,
grew, may have ended, was resumed and ended. It keeps its own connection alive (rule T14).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agentkit.audio.formats import AudioFormat
from agentkit.core.events import SourceEvent
from agentkit.errors import ConfigError

Emit = Callable[[SourceEvent], None]
"""Takes an event at once; never blocks, never raises."""


class TurnSource(ABC):
    """Listens to one caller for one call."""

    can_configure: bool = False
    """`configure` works while connected."""

    can_end_turn: bool = False
    """`end_turn` works."""

    @property
    def audio_dropped(self) -> float:
        """Seconds of the caller's audio that were never listened to."""
        return 0.0

    @abstractmethod
    async def run(self, audio: AudioFormat, emit: Emit, clock: Callable[[], float]) -> None:
        """Connect, listen and reconnect until `aclose` is called or nothing more can be heard.

        Args:
            audio: what `feed` will be given.
            emit: takes each event as it happens. Every loss is one `SourceLost`; giving up is
                one `SourceFailed`, after which this returns.
            clock: the session's clock, in seconds; times in events are on it.

        Cancelling closes the connection.
        """

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take the caller's audio, of any length. Never blocks; drops the oldest past a bound."""

    def options_now(self, names: Iterable[str]) -> dict[str, Any]:
        """The values that these options have now, as `configure` takes them.

        Raises:
            ConfigError: there is no such option; it names it.
        """
        for name in names:
            raise ConfigError(name, f"{type(self).__name__} has no such option")
        return {}

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Change options of the live connection. Never blocks; the latest values win."""

    def end_turn(self) -> None:
        """Ask for the open turn to be ended now."""

    def reconnect(self, reason: str) -> None:
        """Drop the connection and make another."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop listening; `run` returns. Safe to call twice."""
