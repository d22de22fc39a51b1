"""Turns that are typed, between those that are heard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from agentkit.audio.formats import AudioFormat
from agentkit.core import events as ev
from agentkit.turns import Emit, TurnSource


class TypedSource(TurnSource):
    """A source of turns to which a line may be typed, too: it becomes a turn like a spoken one.

    The turns that are heard and those that are typed are counted together, so that the session
    sees one source. A turn that is being spoken when a line is typed becomes one with it (T15):
    what is heard of it later is left aside. Sounds of attention are no turn, spoken or typed (T17).

    Args:
        ears: what listens.
    """

    def __init__(self, ears: TurnSource) -> None:
        self.can_configure = ears.can_configure
        self.can_end_turn = ears.can_end_turn
        self._ears = ears
        self._emit: Emit | None = None
        self._clock: Callable[[], float] = lambda: 0.0
        self._connection: int | None = None
        self._heard = -1
        """The last index of a turn that was heard on this connection."""
        self._left_aside = -1
        """Turns up to this one, which were heard before the last line was typed."""
        self._typed = 0
        """Lines on this connection: by so much are indices heard later moved."""
        self._waiting: list[str] = []

    def type_line(self, text: str) -> None:
        """Take a line; while there is no connection it waits for the next. Empty: nothing."""
        text = " ".join(text.split())
        if not text:
            return
        if self._connection is None or self._emit is None:
            self._waiting.append(text)
            return
        self._left_aside = self._heard
        self._typed += 1
        now = self._clock()
        for kind in (ev.TurnStarted, ev.TurnEnded):
            self._emit(
                kind(
                    connection=self._connection,
                    index=self._heard + self._typed,
                    text=text,
                    confidence=1.0,
                    speech_start=now,
                    speech_end=now,
                    trigger="typed",
                )
            )

    @property
    def audio_dropped(self) -> float:
        """Seconds of the caller's audio that were never listened to."""
        return self._ears.audio_dropped

    async def run(self, audio: AudioFormat, emit: Emit, clock: Callable[[], float]) -> None:
        """Listen, as the ears do."""
        self._emit, self._clock = emit, clock
        await self._ears.run(audio, self._pass_on, clock)

    def _pass_on(self, event: ev.SourceEvent) -> None:
        assert self._emit is not None  # noqa: S101
        match event:
            case ev.SourceConnected(connection=connection):
                self._connection = connection
                self._heard = self._left_aside = -1
                self._typed = 0
            case ev.SourceLost() | ev.SourceFailed():
                self._connection = None
            case ev.TurnEvent(index=index):
                if index <= self._left_aside:
                    return
                self._heard = max(self._heard, index)
                event = replace(event, index=index + self._typed)
            case _:
                pass
        self._emit(event)
        if isinstance(event, ev.SourceConnected):
            waiting, self._waiting = self._waiting, []
            for text in waiting:
                self.type_line(text)

    def feed(self, data: bytes) -> None:
        """Take the caller's audio."""
        self._ears.feed(data)

    def options_now(self, names: Iterable[str]) -> dict[str, Any]:
        """The ears' options."""
        return self._ears.options_now(names)

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Change the ears' options."""
        self._ears.configure(changes)

    def end_turn(self) -> None:
        """Ask the ears to end the open turn."""
        self._ears.end_turn()

    def reconnect(self, reason: str) -> None:
        """Let the ears make another connection."""
        self._ears.reconnect(reason)

    async def aclose(self) -> None:
        """Stop listening."""
        await self._ears.aclose()
