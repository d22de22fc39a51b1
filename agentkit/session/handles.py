"""What a user's code holds on to while a conversation runs: a turn, a piece of speech, the call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

from agentkit.core.events import Word


@dataclass(frozen=True, slots=True)
class CallInfo:
    """Who calls whom. All of it is personal data: it is not logged.

    Args:
        id: unique for the call.
        caller: the caller's number or name, where the transport knows it.
        callee: the number that was called.
        parameters: what the transport was given along with the call.
    """

    id: str
    caller: str = ""
    callee: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"CallInfo(id={self.id!r})"


class Turn:
    """One turn of the caller's, as the agent sees it.

    Attributes:
        id: counts up from 0 in a call. A turn whose end was taken back has no successor of the
            same id: the next turn carries both their words. -1 in the draft of an answer that is
            only expected, until the caller gives it.
        text: what the caller said, as the source wrote it.
        words: the same word by word, where the source gave words.
        languages: what was heard, most likely first; may be empty.
        digits: the keys that were pressed, for a turn that was not spoken (rule T25); else "".
        scratch: a place for the agent's own notes; dropped with the draft (rule T24).
    """

    def __init__(
        self,
        id: int,
        text: str,
        words: tuple[Word, ...] = (),
        languages: tuple[str, ...] = (),
        digits: str = "",
        acted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.id = id
        self.text = text
        self.words = words
        self.languages = languages
        self.digits = digits
        self.scratch = SimpleNamespace()
        self._committed = asyncio.Event()
        self._settled = asyncio.Event()
        self._closed = False
        self._acted = acted

    @property
    def is_draft(self) -> bool:
        """The caller may go on: nothing of this reply is heard yet, and it may be thrown away."""
        return not self._committed.is_set()

    async def committed(self) -> None:
        """Wait until the turn is over and this reply is the one that is heard.

        In a draft that is discarded this never returns: the reply's task is cancelled here.
        """
        await self._committed.wait()

    async def settled(self) -> None:
        """Wait until the turn has settled: effects may happen now.

        From the moment that this returns on, the turn can no longer be taken back (rule T11). In a
        reply that is given up before, this never returns: its task is cancelled here.
        """
        await self._settled.wait()
        self._acted(self.id)

    def __repr__(self) -> str:
        state = "settled" if self._settled.is_set() else "draft" if self.is_draft else "committed"
        return f"Turn(id={self.id}, {state})"


class SpeechHandle:
    """Something the agent was told to say. Await it to wait until it was heard or given up.

    Awaiting is safe to cancel: the speech goes on. Inside a reply or a tool that the speech has
    to wait for, awaiting raises SelfWaitError.

    Attributes:
        heard: the text that left the loudspeaker, so far as the transport can tell.
        interrupted: it was cut off, by the caller or by `cancel`.
    """

    def __init__(self, request: int, cancel: Callable[[int], None], guard: Callable[[], None]):
        self.request = request
        self.heard = ""
        self.interrupted = False
        self._done = asyncio.Event()
        self._cancel = cancel
        self._guard = guard

    @property
    def done(self) -> bool:
        """It was heard to its end, or given up."""
        return self._done.is_set()

    def cancel(self) -> None:
        """Stop it, or take it out of the queue. What was heard stands. Safe to call twice."""
        if not self.done:
            self._cancel(self.request)

    def __await__(self) -> Generator[object, None, SpeechHandle]:
        if not self.done:
            self._guard()
            yield from self._done.wait().__await__()
        return self

    def _end(self, heard: str, interrupted: bool) -> None:
        self.heard = heard
        self.interrupted = interrupted
        self._done.set()
