"""A model and a voice that do as a test says; `agentkit.testing.source` is the ears to them.

Nothing of them is outside the process.

They delay with `asyncio.sleep` and take their times from the event loop, so that they run in
virtual time (`agentkit.testing.clock`) as well as in real time, and they write down what they were
asked. Each has an ``assert_complete()`` for the end of a test: nothing is left unused or open.

    source = ScriptedSource()
    llm = ScriptedLLM(["We open at nine."], first_token=0.3, per_token=0.02)
    tts = ScriptedTTS(first_byte=0.1)
    ...                                       # a session is given them
    await source.ready()
    source.connected()
    source.start("when do")
    source.maybe_end("when do you open")
    source.end("when do you open")
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from array import array
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from functools import cache

from agentkit.audio.formats import AudioFormat
from agentkit.core.history import SpokenWord, ToolCall, UserMessage
from agentkit.errors import LLMError, TTSError
from agentkit.llm.base import LLM, Finish, LLMEvent, LLMRequest, TextDelta, Usage
from agentkit.tts.base import TTS, PieceEnd, SpeechAudio, SpeechEvent, SpeechStream


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(due: float) -> None:
    """Sleep until a time of the loop's clock; other tasks get their turn in any case."""
    await asyncio.sleep(max(0.0, due - _now()))


# ------------------------------------------------------------------------------------- model


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """What a model answers.

    Args:
        text: comes word by word, each with the space before it.
        tools: come whole, after the text.
        error: is raised instead of the rest.
        error_after: how many words come before the error.
        first_token: seconds to the first word; None: as the model has it.
        per_token: seconds from word to word; None: likewise.
        finish: the reason it ends; None: ``tool_calls`` if there are any, else ``stop``.
    """

    text: str = ""
    tools: tuple[ToolCall, ...] = ()
    error: LLMError | None = None
    error_after: int = 0
    first_token: float | None = None
    per_token: float | None = None
    finish: str | None = None


Answer = str | ScriptedReply
Replies = Sequence[Answer] | Mapping[str, Answer] | Callable[[LLMRequest], Answer]


@dataclass(slots=True)
class Generation:
    """What became of one request to a `ScriptedLLM`. Times are of the loop's clock.

    ``first_token`` and ``closed`` are None until then; ``finished`` says that its last event was
    asked for, ``text`` what was yielded.
    """

    request: LLMRequest
    started: float
    first_token: float | None = None
    closed: float | None = None
    finished: bool = False
    text: str = ""

    @property
    def closed_early(self) -> bool:
        """It was given up before its end."""
        return self.closed is not None and not self.finished


class Unscripted(AssertionError):
    """A scripted model was asked for something that its script does not have."""


class ScriptedLLM(LLM):
    """A model that answers from a script.

    Args:
        replies: a list is used up from its start, one a request (a draft is one, too); a dict is
            asked for the text of the last user message, then for ``"*"``; a function is given the
            request.
        first_token: seconds to the first word.
        per_token: seconds from word to word.
        name: as it shows in logs and records.
    """

    def __init__(
        self,
        replies: Replies = (),
        *,
        first_token: float = 0.0,
        per_token: float = 0.0,
        name: str = "scripted/llm",
    ) -> None:
        self.name = name
        self.generations: list[Generation] = []
        """Every request, and what became of it."""
        self.warmed = 0
        """How often `warm` was called."""
        self.closed = False
        self._first_token = first_token
        self._per_token = per_token
        self._unscripted: list[str] = []
        self._left: deque[Answer] = deque()
        self._answer: Callable[[LLMRequest], Answer]
        if callable(replies):
            self._answer = replies
        elif isinstance(replies, Mapping):
            self._answer = _from_dict(replies)
        else:
            self._left.extend(replies)
            self._answer = lambda _: self._left.popleft()

    @property
    def requests(self) -> list[LLMRequest]:
        """What was asked, oldest first."""
        return [generation.request for generation in self.generations]

    def assert_complete(self) -> None:
        """Raise AssertionError if a reply of the list is unused, or a request still open."""
        left = len(self._left)
        assert not left, f"{left} scripted replies were not asked for"  # noqa: S101
        open_ = sum(generation.closed is None for generation in self.generations)
        assert not open_, f"{open_} requests are still open"  # noqa: S101
        assert not self._unscripted, "; ".join(self._unscripted)  # noqa: S101

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        """Answer from the script. Raises Unscripted if it has nothing for this request."""
        made = Generation(request, _now())
        self.generations.append(made)
        try:
            reply = self._take(request)
            words = _words(reply.text)
            last = len(words) if reply.error is None else reply.error_after
            due = made.started + _or(reply.first_token, self._first_token)
            for word in words[:last]:
                await _until(due)
                due += _or(reply.per_token, self._per_token)
                made.first_token = _or(made.first_token, _now())
                made.text += word
                yield TextDelta(word)
            if reply.error is not None or not words:
                await _until(due)
            made.finished = True
            if reply.error is not None:
                raise reply.error
            for call in reply.tools:
                yield call
            why = reply.finish or ("tool_calls" if reply.tools else "stop")
            yield Finish(why, Usage(output=len(words)))
        finally:
            made.closed = _now()

    async def warm(self) -> None:
        """Take note of it."""
        self.warmed += 1

    async def aclose(self) -> None:
        """Take note of it."""
        self.closed = True

    def _take(self, request: LLMRequest) -> ScriptedReply:
        try:
            answer = self._answer(request)
        except LookupError as error:
            text = f"request {len(self.generations)} is not in the script of {self.name}"
            self._unscripted.append(text)
            raise Unscripted(text) from error
        return ScriptedReply(answer) if isinstance(answer, str) else answer


def _from_dict(replies: Mapping[str, Answer]) -> Callable[[LLMRequest], Answer]:
    def answer(request: LLMRequest) -> Answer:
        said = [message.text for message in request.messages if isinstance(message, UserMessage)]
        last = said[-1] if said else ""
        return replies[last] if last in replies else replies["*"]

    return answer


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+", text)


def _or(own: float | None, default: float) -> float:
    return default if own is None else own


# ------------------------------------------------------------------------------------- voice


def tone(seconds: float, audio: AudioFormat | None = None, *, pitch: int = 0) -> bytes:
    """A steady tone: the same bytes each time, no sample of it silent.

    Args:
        seconds: its length.
        audio: what it is in; by default 16-bit at 16 kHz.
        pitch: 0 to 15, each another tone, from about 400 Hz down to 230 Hz.
    """
    audio = audio or AudioFormat()
    size = audio.size(seconds)
    period = _period(audio, pitch)
    return (period * (size // len(period) + 1))[:size]


@cache
def _period(audio: AudioFormat, pitch: int) -> bytes:
    half = max(2, round(audio.rate * (40 + 2 * (pitch % 16)) / 16000 / 2))
    if audio.encoding == "mulaw":
        return b"\x90" * half + b"\x10" * half
    if audio.encoding == "alaw":
        return b"\xb5" * half + b"\x35" * half
    wave = (10000 * math.sin(math.pi * (n + 0.5) / half) for n in range(2 * half))
    return array("h", (round(sample) for sample in wave)).tobytes()


@dataclass(slots=True)
class SpokenPiece:
    """What became of one piece of text given to a `ScriptedTTS`. Times are of the loop's clock.

    ``seconds`` is the length of the audio yielded so far, ``first_audio`` and ``done`` are None
    until then.
    """

    text: str
    flushed: float
    seconds: float = 0.0
    first_audio: float | None = None
    done: float | None = None


class ScriptedTTS(TTS):
    """A voice that speaks tones: as long as the text of a piece, and as high as its letters say.

    Args:
        format: of the audio.
        per_character: seconds of audio for each character of a piece.
        lead_in: seconds of digital silence before each piece, as many voices have.
        first_byte: seconds from a piece's flush to its first audio, or from the end of the piece
            before, if that is later.
        pace: seconds of audio made in a second, from the first on; None: all at once.
        chunk: seconds of audio in each `SpeechAudio`.
        words: whether word times are given.
        name: as it shows in logs and records.
    """

    def __init__(
        self,
        *,
        format: AudioFormat | None = None,
        per_character: float = 0.06,
        lead_in: float = 0.0,
        first_byte: float = 0.0,
        pace: float | None = None,
        chunk: float = 0.1,
        words: bool = False,
        name: str = "scripted/tts:tone",
    ) -> None:
        self.name = name
        self.format = format or AudioFormat()
        self.per_character = per_character
        self.lead_in = lead_in
        self.first_byte = first_byte
        self.pace = pace
        self.chunk = chunk
        self.words = words
        self.streams: list[ScriptedSpeech] = []
        """Every stream that was opened."""
        self.warmed = 0
        """How often `warm` was called."""
        self.closed = False
        self._failures: deque[tuple[TTSError, float]] = deque()

    @property
    def pieces(self) -> list[SpokenPiece]:
        """Every piece that was begun, of all streams in the order they were opened."""
        return [piece for stream in self.streams for piece in stream.pieces]

    def fail_next(self, error: TTSError, *, after: float = 0.0) -> None:
        """The next stream to be opened raises this instead of audio past so many seconds."""
        self._failures.append((error, after))

    def seconds(self, text: str) -> float:
        """How long a piece of text takes to say."""
        return self.lead_in + self.per_character * len(text) if text else 0.0

    def assert_complete(self) -> None:
        """Raise AssertionError if a stream is still open, or a failure was not raised."""
        open_ = sum(stream.closed_at is None for stream in self.streams)
        assert not open_, f"{open_} streams of speech are still open"  # noqa: S101
        left = len(self._failures)
        assert not left, f"{left} scripted failures were not met"  # noqa: S101

    def open(self, voice: str | None = None) -> ScriptedSpeech:
        """Begin a reply; takes note of the voice."""
        failure = self._failures.popleft() if self._failures else None
        stream = ScriptedSpeech(self, voice, failure)
        self.streams.append(stream)
        return stream

    async def warm(self) -> None:
        """Take note of it."""
        self.warmed += 1

    async def aclose(self) -> None:
        """Take note of it."""
        self.closed = True


class ScriptedSpeech(SpeechStream):
    """One reply of a `ScriptedTTS`.

    ``opened_at``, ``cancelled_at`` and ``closed_at`` are times of the loop's clock, the latter two
    None until then; it is closed by its end, its failure, or `cancel`.
    """

    def __init__(
        self, tts: ScriptedTTS, voice: str | None, failure: tuple[TTSError, float] | None
    ) -> None:
        self.voice = voice
        self.pieces: list[SpokenPiece] = []
        self.opened_at = _now()
        self.cancelled_at: float | None = None
        self.closed_at: float | None = None
        self._tts = tts
        self._failure = failure
        self._text = ""
        self._waiting: deque[SpokenPiece] = deque()
        self._made = 0.0
        self._ended = False
        self._changed = asyncio.Event()
        self._cancelled = asyncio.Event()

    def push(self, text: str) -> None:
        """Add to the piece."""
        self._text += text

    def flush(self) -> None:
        """The piece is whole: it is on its way."""
        piece = SpokenPiece(self._text, _now())
        self._text = ""
        self.pieces.append(piece)
        self._waiting.append(piece)
        self._changed.set()

    def end(self) -> None:
        """No more text will come."""
        if not self._ended:
            self._ended = True
            if self._text:
                self.flush()
            self._changed.set()

    async def cancel(self) -> None:
        """Stop: iteration ends."""
        if self.cancelled_at is None and self.closed_at is None:
            self.cancelled_at = self.closed_at = _now()
        self._cancelled.set()
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        """The audio, piece by piece. Raises the error of `ScriptedTTS.fail_next` at its place."""
        free = self.opened_at
        try:
            while (piece := await self._next()) is not None:
                due = max(free, piece.flushed) + self._tts.first_byte
                for audio, ready in self._audio(piece, due):
                    if not await self._wait(ready):
                        return
                    self._count(piece, audio)
                    yield audio
                free = piece.done = _now()
                yield PieceEnd()
        finally:
            self.closed_at = _or(self.closed_at, _now())

    async def _next(self) -> SpokenPiece | None:
        """The next whole piece; None if none will come."""
        while not (self._waiting or self._ended or self._cancelled.is_set()):
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft() if self._waiting and self.cancelled_at is None else None

    def _audio(self, piece: SpokenPiece, due: float) -> Iterator[tuple[SpeechAudio, float]]:
        """The stretches of a piece with the words that begin in them, and when each is made."""
        tts = self._tts
        if not piece.text:
            return
        spoken = tts.per_character * len(piece.text)
        data = tts.format.silence(tts.lead_in)
        data += tone(spoken, tts.format, pitch=sum(piece.text.encode()))
        words = self._words(piece.text) if tts.words else []
        step = max(tts.format.sample_bytes, tts.format.size(tts.chunk))
        for at in range(0, len(data), step):
            begin, end = tts.format.seconds(at), tts.format.seconds(at + step)
            begun = tuple(word for word in words if begin <= word.start < end)
            ready = due + begin / tts.pace if tts.pace else due
            yield SpeechAudio(data[at : at + step], begun), ready

    def _words(self, text: str) -> list[SpokenWord]:
        lead, each = self._tts.lead_in, self._tts.per_character
        return [
            SpokenWord(found[0], lead + each * found.start(), lead + each * found.end())
            for found in re.finditer(r"\S+", text)
        ]

    def _count(self, piece: SpokenPiece, audio: SpeechAudio) -> None:
        """Take note of a stretch that is to be yielded; raise the scripted failure instead."""
        made = self._made + self._tts.format.seconds(len(audio.data))
        if self._failure is not None and made > self._failure[1] + 1e-9:
            raise self._failure[0]
        piece.seconds += made - self._made
        self._made = made
        piece.first_audio = _or(piece.first_audio, _now())

    async def _wait(self, due: float) -> bool:
        """Wait until then; False if it was cancelled meanwhile."""
        if due > _now():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._cancelled.wait()
        return not self._cancelled.is_set()
