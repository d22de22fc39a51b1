"""A speech stream for voices that take one request a piece."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from agentkit.audio.formats import AudioFormat
from agentkit.errors import UsageError
from agentkit.tts.base import PieceEnd, SpeechAudio, SpeechEvent, SpeechStream

PLENTY = 0.5
"""Seconds of audio that were given out and cannot be over yet: what follows has time."""
GULP = 0.05
"""Seconds in which more of it is gathered then: each part that is given out has its price."""

Synthesize = Callable[[str], AsyncGenerator[bytes, None]]
"""Speaks a text: yields its audio, cut anywhere. Closing it closes what it has open."""


class RequestStream(SpeechStream):
    """Speaks each flushed piece with one call of ``synthesize``.

    A piece's request begins when it is flushed, and the next one's while that is still running,
    so that no gap opens between pieces; their audio comes out in order: at once while it may be
    wanted, in larger parts once half a second of it cannot have been heard yet. Audio that nobody
    takes is kept up to a bound; past it no request begins, and those that run are read no further.

    Iterate it to its end, or call `cancel`: either leaves nothing open. It needs a running event
    loop from the first `flush` on.

    Args:
        synthesize: speaks one piece; what it raises is raised to the iteration, after the audio
            that came before it.
        audio: what it yields; odd ends are put together to whole samples.
        ahead: requests that run at the same time, at most.
        keep: seconds of audio kept for the iteration before the requests have to wait.
    """

    def __init__(
        self, synthesize: Synthesize, audio: AudioFormat, *, ahead: int = 2, keep: float = 60.0
    ) -> None:
        self._synthesize = synthesize
        self._sample = audio.sample_bytes
        self._second = audio.byte_rate
        self._given_to = 0.0
        self._ahead = ahead
        self._keep = audio.size(keep)
        self._text: list[str] = []
        self._pieces: deque[_Piece] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = False
        self._cancelled = False
        self._changed = asyncio.Event()

    def push(self, text: str) -> None:
        """Add text to the current piece. Ignored once cancelled.

        Raises:
            UsageError: the stream has ended.
        """
        if self._ended and not self._cancelled:
            raise UsageError("push() after end()")
        self._text.append(text)

    def flush(self) -> None:
        """Speak the current piece. A piece without words makes no request."""
        if self._cancelled:
            return
        if self._ended:
            raise UsageError("flush() after end()")
        self._pieces.append(_Piece("".join(self._text)))
        self._text.clear()
        self._start()
        self._changed.set()

    def end(self) -> None:
        """No more text will come. Speaks what is left. Safe to call twice."""
        if self._ended:
            return
        if "".join(self._text).strip():
            self.flush()
        self._ended = True
        self._changed.set()

    async def cancel(self) -> None:
        """Close all requests; the iteration ends. Safe to call twice, and to cancel."""
        self._cancelled = self._ended = True
        self._text.clear()
        for piece in self._pieces:
            piece.finish()  # a request that has not begun will not say so itself
        self._pieces.clear()
        self._changed.set()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        try:
            while not self._cancelled:
                if not self._pieces:
                    if self._ended:
                        return
                    await self._change()
                    continue
                piece = self._pieces[0]
                if audio := piece.take(self._sample):
                    self._start()
                    self._note(audio)
                    yield SpeechAudio(audio)
                elif not piece.done:
                    await piece.change()
                    if self._lead > PLENTY:
                        await asyncio.sleep(GULP)
                elif piece.error is not None:
                    raise piece.error
                else:
                    self._pieces.popleft()
                    self._start()
                    yield PieceEnd()
        finally:
            await self.cancel()

    def _note(self, audio: bytes) -> None:
        """Audio is given out, and may be heard from now on."""
        now = asyncio.get_running_loop().time()
        self._given_to = max(self._given_to, now) + len(audio) / self._second

    @property
    def _lead(self) -> float:
        """Seconds of audio that were given out and cannot have been heard yet."""
        return self._given_to - asyncio.get_running_loop().time()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _start(self) -> None:
        """Begin the requests that may begin now."""
        running = sum(piece.running for piece in self._pieces)
        kept = sum(piece.size for piece in self._pieces)
        for piece in self._pieces:
            if running >= self._ahead or (kept >= self._keep and piece is not self._pieces[0]):
                return
            if not piece.started:
                piece.started = True
                task = asyncio.get_running_loop().create_task(self._request(piece))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                running += 1

    async def _request(self, piece: _Piece) -> None:
        try:
            async with aclosing(self._synthesize(piece.text)) as audio:
                async for data in audio:
                    piece.put(data)
                    await piece.below(self._keep)
        except Exception as exc:
            piece.error = exc
        finally:
            piece.finish()
            if not self._cancelled:
                self._start()


class _Piece:
    """One piece: its text, the request that speaks it, the audio that waits to be taken."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.error: Exception | None = None
        self.started = self.done = not text.strip()
        self.size = 0
        self._audio: list[bytes] = []
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def running(self) -> bool:
        return self.started and not self.done

    def put(self, data: bytes) -> None:
        self._audio.append(data)
        self.size += len(data)
        self._changed.set()

    def take(self, sample: int) -> bytes:
        """All that has come, in whole samples; what is over waits for the rest of its sample."""
        if self.size < sample:
            return b""
        audio = self._audio[0] if len(self._audio) == 1 else b"".join(self._audio)
        over = len(audio) % sample
        self._audio = [audio[-over:]] if over else []
        self.size = over
        self._room.set()
        return audio[:-over] if over else audio

    def finish(self) -> None:
        self.done = True
        self._changed.set()

    async def change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def below(self, limit: int) -> None:
        while self.size >= limit:
            self._room.clear()
            await self._room.wait()
