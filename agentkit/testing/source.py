"""A source of turns whose events a test emits one by one; see `agentkit.testing.backends`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from agentkit.audio.formats import AudioFormat
from agentkit.core.events import (
    SourceConnected,
    SourceEvent,
    SourceFailed,
    SourceLost,
    SourceOddity,
    TurnEnded,
    TurnEvent,
    TurnMaybeEnded,
    TurnResumed,
    TurnStarted,
    TurnUpdated,
    Word,
)
from agentkit.turns import Emit, TurnSource

_Event = TypeVar("_Event", bound=SourceEvent)
_Turn = TypeVar("_Turn", bound=TurnEvent)


class ScriptedSource(TurnSource):
    """A source of turns whose events a test emits one by one.

    It counts connections, turns and messages as Flux does: all start again at 0 with a connection,
    `SourceConnected` is message 0, a `start` is a turn of its own. Any field of an event can be
    given by name instead: ``source.end("yes", index=3, trigger="timeout")``.

    Args:
        can_configure: as in `TurnSource`.
        can_end_turn: likewise.
    """

    def __init__(self, *, can_configure: bool = True, can_end_turn: bool = True) -> None:
        self.can_configure = can_configure
        self.can_end_turn = can_end_turn
        self.connection = -1
        """The current connection; -1 before the first."""
        self.index = -1
        """The current turn's index; -1 before the first of a connection."""
        self.sequence = 0
        """The number of the last message on this connection."""
        self.fed: list[tuple[float, bytes]] = []
        """The caller's audio, and when it was fed."""
        self.configured: list[dict[str, Any]] = []
        self.turns_ended_at: list[float] = []
        """When `end_turn` was called."""
        self.reconnects: list[str] = []
        """The reasons that `reconnect` was called with."""
        self.audio: AudioFormat | None = None
        self.closed = False
        self._emit: Emit | None = None
        self._clock: Callable[[], float] | None = None
        self._ready = asyncio.Event()
        self._over = asyncio.Event()

    # ------------------------------------------------------------------------ what a test does

    async def ready(self) -> None:
        """Wait until the session listens: from then on events can be emitted."""
        await self._ready.wait()

    def connected(self) -> SourceConnected:
        """A new connection is there."""
        self.connection += 1
        self.index = -1
        self.sequence = 0
        return self.emit(SourceConnected(self.connection))

    def start(self, text: str = "", **fields: Any) -> TurnStarted:
        """The caller begins to speak: a turn with the next index."""
        self.index += 1
        return self._turn(TurnStarted, text, fields)

    def update(self, text: str, **fields: Any) -> TurnUpdated:
        """More words of the current turn."""
        return self._turn(TurnUpdated, text, fields)

    def maybe_end(self, text: str, **fields: Any) -> TurnMaybeEnded:
        """The caller may have finished."""
        return self._turn(TurnMaybeEnded, text, {"confidence": 0.5, **fields})

    def resume(self, text: str, **fields: Any) -> TurnResumed:
        """The caller had not finished."""
        return self._turn(TurnResumed, text, fields)

    def end(self, text: str, **fields: Any) -> TurnEnded:
        """The caller has finished."""
        return self._turn(TurnEnded, text, {"confidence": 0.9, "trigger": "model", **fields})

    def lose(self, reason: str = "closed") -> SourceLost:
        """The connection is gone; `connected` brings the next."""
        return self.emit(SourceLost(self.connection, reason))

    def fail(self, code: str = "source", message: str = "gave up") -> SourceFailed:
        """The source gives up: ``run`` returns."""
        failed = self.emit(SourceFailed(code, message))
        self._over.set()
        return failed

    def oddity(self, kind: str = "unknown event") -> SourceOddity:
        """The source said something unknown."""
        return self.emit(SourceOddity(kind))

    def emit(self, event: _Event) -> _Event:
        """Emit any event as it is; return it. Raises RuntimeError if no session listens."""
        if self._emit is None:
            raise RuntimeError("nobody listens yet: `await source.ready()` first")
        if self._over.is_set():
            raise RuntimeError("the source is closed: its session does not listen any more")
        self._emit(event)
        return event

    def audio_fed(self) -> bytes:
        """All of the caller's audio so far."""
        return b"".join(data for _, data in self.fed)

    # ---------------------------------------------------------------- what the session calls

    async def run(self, audio: AudioFormat, emit: Emit, clock: Callable[[], float]) -> None:
        """Let the test emit, until `fail` or `aclose`."""
        self.audio = audio
        self._emit = emit
        self._clock = clock
        self._ready.set()
        await self._over.wait()

    def feed(self, data: bytes) -> None:
        """Take note of the caller's audio."""
        self.fed.append((asyncio.get_running_loop().time(), data))

    def options_now(self, names: Iterable[str]) -> dict[str, Any]:
        """What `configure` was told last; None for what it was not told."""
        told: dict[str, Any] = {}
        for changes in self.configured:
            told.update(changes)
        return {name: told.get(name) for name in names}

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Take note of the changes."""
        self.configured.append(dict(changes))

    def end_turn(self) -> None:
        """Take note of it: the test answers with `end`."""
        self.turns_ended_at.append(asyncio.get_running_loop().time())

    def reconnect(self, reason: str) -> None:
        """Take note of it: the test answers with `lose` and `connected`."""
        self.reconnects.append(reason)

    async def aclose(self) -> None:
        """End ``run``."""
        self.closed = True
        self._over.set()

    def _turn(self, kind: type[_Turn], text: str, fields: dict[str, Any]) -> _Turn:
        self.sequence += 1
        given: dict[str, Any] = {
            "connection": self.connection,
            "index": self.index,
            "text": text,
            "words": tuple(Word(word) for word in text.split()),
            "sequence": self.sequence,
            "speech_end": self._clock() if self._clock else None,
        }
        event = kind(**(given | fields))
        self.emit(event)  # type: ignore[type-var]
        return event
