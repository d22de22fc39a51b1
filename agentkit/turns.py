"""What a source of turns gives the core.

Flux is the first source; any recogniser that reports turn edges can be another. A source takes
the caller's audio and says, in the neutral words of `agentkit.core.events`, when a turn started,
grew, may have ended, was resumed and ended. It keeps its own connection alive (rule T14).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentkit.audio.formats import AudioFormat
from agentkit.core.economy import Pace
from agentkit.core.events import SourceEvent
from agentkit.core.policy import Digits
from agentkit.errors import ConfigError

Emit = Callable[[SourceEvent], None]
"""Takes an event at once; never blocks, never raises."""


@dataclass(frozen=True, slots=True)
class TurnProfile:
    """How to listen to the answer to one kind of question: `Session.listening` takes it by name.

    Args:
        eot_threshold: the confidence that ends a turn, as the source takes it; None: as usual.
        eager_eot_threshold: that from which on it may have ended; likewise.
        eot_timeout_ms: milliseconds of silence that end it whatever the confidence; likewise.
        keyterms: words to listen for, in place of the usual ones; None: as usual.
        digits: how many keys make a message, or the rules for them; None: as usual.
        pace: the least time before the answer is heard; None: as usual.
        expected: the likeliest answers, which may be drafted while the question is asked.
        options: further options of the source, by name.
    """

    eot_threshold: float | None = None
    eager_eot_threshold: float | None = None
    eot_timeout_ms: int | None = None
    keyterms: tuple[str, ...] | None = None
    digits: int | Digits | None = None
    pace: Pace | None = None
    expected: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> dict[str, Any]:
        """What it changes of the source's options."""
        names = ("eot_threshold", "eager_eot_threshold", "eot_timeout_ms", "keyterms")
        own = {name: getattr(self, name) for name in names}
        return {**{key: value for key, value in own.items() if value is not None}, **self.options}


PROFILES: Mapping[str, TurnProfile] = {
    "yes_no": TurnProfile(eot_threshold=0.6, eot_timeout_ms=3000, expected=("Yes.", "No.")),
    "digits": TurnProfile(eot_threshold=0.9, eot_timeout_ms=8000),
    "spelling": TurnProfile(eot_threshold=0.9, eot_timeout_ms=10000),
    "open": TurnProfile(eot_threshold=0.8, eot_timeout_ms=7000),
}
"""Profiles that every agent has unless it has others of these names, for short answers, for
numbers and spelling, in which a pause ends nothing, and for stories (thresholds within what
developers.deepgram.com/docs/flux/configuration advises)."""


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
