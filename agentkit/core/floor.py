"""Playout: which reply is being heard, which ones wait, and how much was heard.

One reply at a time is sent to the far end. Each `Play` and each `ClearPlayout` begins a new epoch,
so that a report about anything sent before proves nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from agentkit.core.commands import ClearPlayout, Command, Play
from agentkit.core.replies import Reply

MARK_INTERVAL = 0.2
"""Seconds: what was heard is guessed at most this far past its last proof."""


class PlayoutState(Enum):
    """What the far end is doing."""

    IDLE = "idle"
    PLAYING = "playing"
    HELD = "held"


class Floor:
    """The agent's replies in the order in which they are heard.

    Args:
        emit: takes the commands that playout needs.
    """

    def __init__(self, emit: Callable[[Command], None]) -> None:
        self.current: Reply | None = None
        self.last: Reply | None = None
        """The one that was heard before: its echo may still be on its way."""
        self.waiting: deque[Reply] = deque()
        self.epoch = 0
        self.held = False
        self._emit = emit

    @property
    def state(self) -> PlayoutState:
        """What the far end is doing."""
        if self.current is None:
            return PlayoutState.IDLE
        return PlayoutState.PLAYING if self.current.playing else PlayoutState.HELD

    @property
    def replies(self) -> list[Reply]:
        """The current one and those that wait, in order."""
        return [*([self.current] if self.current else []), *self.waiting]

    @property
    def plays_unheld(self) -> bool:
        """The caller is hearing something that they could interrupt."""
        reply = self.current
        return reply is not None and reply.playing and reply.interruptible and reply.made > 0

    def add(self, reply: Reply, *, first: bool = False) -> None:
        """Let a reply be heard after those that wait, or before them."""
        if first:
            self.waiting.appendleft(reply)
        else:
            self.waiting.append(reply)
        self.advance()

    def add_aside(self, reply: Reply) -> None:
        """Let a reply be heard while the current one, all heard so far, waits for more (T20)."""
        assert self.current is not None  # noqa: S101
        self.current.playing = False
        self.waiting.extendleft((self.current, reply))
        self.current = None
        self.advance()

    def replace(self, old: Reply, new: Reply) -> None:
        """Another attempt takes the place of one of which nothing was heard."""
        new.due, new.kept_back = old.due, old.kept_back
        if self.current is old:
            self._stop(old, 0.0)
            self.current = new
        elif old in self.waiting:
            self.waiting[self.waiting.index(old)] = new
        self.advance()

    def advance(self) -> None:
        """Play what may be played."""
        if self.current is None and self.waiting:
            self.current = self.waiting.popleft()
        reply = self.current
        if reply is None or reply.playing or (self.held and reply.interruptible):
            return
        if reply.kept_back:
            return
        reply.playing = True
        reply.stopped = None
        reply.base = reply.word_start(reply.heard) if reply.heard else 0.0
        reply.heard_at = None
        self.epoch += 1
        self._emit(Play(reply.id, self.epoch, reply.base))

    def hold(self, now: float) -> None:
        """Stop for the moment what the caller may interrupt; keep what was not heard (T17)."""
        self.held = True
        if self.current and self.current.interruptible:
            self._stop(self.current, now)

    def release(self) -> None:
        """Go on."""
        self.held = False
        self.advance()

    def remove(self, reply: Reply, now: float) -> None:
        """Take a reply off the floor. What of it is queued at the far end is cleared there."""
        if self.current is reply:
            self.current = None
            self._stop(reply, now)
            self.last = reply
        elif reply in self.waiting:
            self.waiting.remove(reply)

    def finish(self, reply: Reply, now: float) -> None:
        """The reply was heard to its end."""
        reply.playing = False
        reply.stopped = now
        self.current = None
        self.last = reply
        self.advance()

    def reached(self, epoch: int, seconds: float, now: float) -> Reply | None:
        """The far end has played so much; None if that is about an older epoch."""
        reply = self.current
        if epoch != self.epoch or reply is None or not reply.playing:
            return None
        reply.heard = max(reply.heard, min(reply.base + seconds, reply.made))
        reply.heard_at = now
        return reply

    def _stop(self, reply: Reply, now: float) -> None:
        if not reply.playing:
            return
        reply.guess = reply.heard_by(now, MARK_INTERVAL)
        reply.playing = False
        reply.stopped = now
        self.epoch += 1
        self._emit(ClearPlayout(self.epoch))
