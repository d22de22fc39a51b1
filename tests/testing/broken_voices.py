"""A voice that keeps all rules of its interface, and many of which each breaks one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeVar

from agentkit.audio import AudioFormat
from agentkit.core.history import SpokenWord
from agentkit.errors import LLMError, TTSError
from agentkit.testing.backends import tone
from agentkit.tts.base import TTS, SpeechAudio, SpeechEvent, SpeechStream
from agentkit.tts.requests import RequestStream

KEY = "s3cret-key"
LINE = AudioFormat("linear16", 16000)
A_SECOND = 100
"""Characters spoken in a second; so long takes the far end for a tenth of it."""


class FarEnd:
    """What a voice asks: it speaks a text in ten parts; it counts what is open."""

    def __init__(self) -> None:
        self.open = 0
        self.refuses = False

    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        self.open += 1
        try:
            if self.refuses:
                raise ConnectionError(f"refused: Bearer {KEY}")
            for _ in range(10):
                await asyncio.sleep(len(text) / A_SECOND / 100)
                yield tone(len(text) / A_SECOND / 10, LINE)
        finally:
            self.open -= 1


class Right(TTS):
    """Keeps all rules. Those that break one give another stream, or another request."""

    def __init__(self, far: FarEnd) -> None:
        self.name = "acme/right:anna"
        self.format = LINE
        self.far = far
        self.tasks: list[asyncio.Task[Any]] = []

    def open(self, voice: str | None = None) -> SpeechStream:
        return RequestStream(self.speak, LINE)

    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        if not any(map(str.isalnum, text)):
            return
        failed = False
        try:
            async with contextlib.aclosing(self.far.speak(text)) as audio:
                async for data in audio:
                    yield data
        except ConnectionError:
            failed = True
        if failed:
            raise TTSError(f"{self.name}: refused", failure="auth")


class Wrapped(SpeechStream):
    """A right stream; those that break a rule change one of its methods."""

    def __init__(self, tts: Right) -> None:
        self.tts = tts
        self.inner = RequestStream(tts.speak, LINE)

    def push(self, text: str) -> None:
        self.inner.push(text)

    def flush(self) -> None:
        self.inner.flush()

    def end(self) -> None:
        self.inner.end()

    async def cancel(self) -> None:
        await self.inner.cancel()

    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        async for event in self.inner:
            yield event


def streaming(stream: Callable[[Right], SpeechStream]) -> type[Right]:
    """A voice whose streams are of another kind."""

    class Voice(Right):
        def open(self, voice: str | None = None) -> SpeechStream:
            return stream(self)

    return Voice


# ------------------------------------------------------------------------------ kinds of voices


BROKEN: list[tuple[type[Any], str, str]] = []
"""What breaks a rule, the name of the check that finds it, and some of what that says."""

K = TypeVar("K")


def breaks(check: str, problem: str) -> Callable[[type[K]], type[K]]:
    """Take a kind into the list."""

    def decorate(kind: type[K]) -> type[K]:
        BROKEN.append((kind, check, problem))
        return kind

    return decorate


@breaks("making_one_opens_nothing", "no running event loop")
class OpensAtOnce(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(0)))


@breaks("making_one_opens_nothing", "'acme/right', not of the form backend/model:voice")
class HasNoVoice(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.name = "acme/right"


@breaks("making_one_opens_nothing", "its format is int, not AudioFormat")
class HasNoFormat(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.format = 16000  # type: ignore[assignment]


@breaks("audio_is_whole_samples", "its audio begins with a header of WAV")
class SendsAHeader(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        yield b"RIFF" + bytes(40)
        async with contextlib.aclosing(super().speak(text)) as audio:
            async for data in audio:
                yield data


@breaks("the_format_is_true", "0.48 s of audio came as 0.96 s of AudioFormat")
class SaysAnotherRate(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.format = AudioFormat("linear16", 8000)


@breaks("every_text_is_taken", "it raised TTSError: not spoken")
class WantsLetters(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        if not text.isascii():
            raise TTSError("not spoken", failure="bad_request")
        async with contextlib.aclosing(super().speak(text)) as audio:
            async for data in audio:
                yield data


@breaks("audio_is_not_held_back", "of a long text came as 1 SpeechAudio")
class AsksForTheWhole(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        for data in [data async for data in super().speak(text)]:
            yield data


@breaks("another_voice_can_be_named", "it raised TTSError: no voice ben")
class HasOneVoice(Right):
    def open(self, voice: str | None = None) -> SpeechStream:
        if voice is not None:
            raise TTSError(f"no voice {voice}", failure="bad_request")
        return super().open()


@breaks("cancel_closes_the_request", "a request is still open at the far end 0.25 s after")
@breaks("nothing_is_left", "tasks still run: ReadsOn.speak.<locals>.read")
class ReadsOn(Right):
    """Reads in a task of its own, that nobody cancels."""

    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        parts: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def read() -> None:
            with contextlib.suppress(TTSError):
                async for data in super(ReadsOn, self).speak(text):
                    parts.put_nowait(data)
            parts.put_nowait(None)

        self.tasks.append(asyncio.create_task(read()))
        while (data := await parts.get()) is not None:
            yield data


@breaks("streams_share_nothing", "audio came after the last PieceEnd")
class SpeaksOneReply(Right):
    """When a reply is cancelled, all others are."""

    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.cancelled = 0

    def open(self, voice: str | None = None) -> SpeechStream:
        return CancelsAll(self)


class CancelsAll(Wrapped):
    tts: SpeaksOneReply

    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        cancelled = self.tts.cancelled
        async for event in self.inner:
            if self.tts.cancelled != cancelled:
                return
            yield event

    async def cancel(self) -> None:
        self.tts.cancelled += 1
        await self.inner.cancel()


@breaks("failures_are_typed", "raise ConnectionError, not TTSError")
class LetsItThrough(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(self.far.speak(text)) as audio:
            async for data in audio:
                yield data


@breaks("failures_are_typed", "raise LLMError, not TTSError")
class RaisesTheModels(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        if self.far.refuses:
            raise LLMError("refused", failure="auth")
        async with contextlib.aclosing(super().speak(text)) as audio:
            async for data in audio:
                yield data


@breaks("failures_are_typed", "was taken for one that answers")
class StaysSilent(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        with contextlib.suppress(TTSError):
            async with contextlib.aclosing(super().speak(text)) as audio:
                async for data in audio:
                    yield data


@breaks("failures_are_typed", "shows what was said")
class QuotesTheText(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        if self.far.refuses:
            raise TTSError(f"cannot say {text!r}", failure="auth")
        async with contextlib.aclosing(super().speak(text)) as audio:
            async for data in audio:
                yield data


@breaks("secrets_do_not_show", "the text form of ShowsItsKey shows a secret")
class ShowsItsKey(Right):
    def __repr__(self) -> str:
        return f"ShowsItsKey(api_key={KEY!r})"


@breaks("warm_never_raises", "with a far end that fails (auth) it raised TTSError")
class WarmRaises(Right):
    async def warm(self) -> None:
        if self.far.refuses:
            raise TTSError("refused", failure="auth")


@breaks("closing_it_twice_is_safe", "the second aclose() of an unused backend raised")
class ClosesOnce(Right):
    closed = False

    async def aclose(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


@breaks("nothing_is_left", "tasks still run: LeavesTasks._keep_warm")
class LeavesTasks(Right):
    async def warm(self) -> None:
        self.tasks.append(asyncio.create_task(self._keep_warm()))

    async def _keep_warm(self) -> None:
        await asyncio.sleep(20)


# ----------------------------------------------------------------------------- kinds of streams


@breaks("each_flush_has_one_piece_end", "2 PieceEnd came for three flushes")
class SkipsEmptyPieces(Wrapped):
    text = ""

    def push(self, text: str) -> None:
        self.text += text
        super().push(text)

    def flush(self) -> None:
        if self.text:
            self.text = ""
            super().flush()


@breaks("end_flushes_what_is_left", "0 PieceEnd came for one text that was ended")
class LosesTheLast(Wrapped):
    def end(self) -> None:
        self.inner._text.clear()
        self.inner.end()


@breaks("end_flushes_what_is_left", "it raised RuntimeError: ended already")
class EndsOnce(Wrapped):
    ended = False

    def end(self) -> None:
        if self.ended:
            raise RuntimeError("ended already")
        self.ended = True
        super().end()


@breaks("end_flushes_what_is_left", "a reply without text had a PieceEnd")
class EndsWithAnEmptyPiece(Wrapped):
    ended = False

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.flush()
            self.inner.end()


@breaks("a_piece_waits_for_nothing", "it was not done after 10.0 s")
class WaitsForTheEnd(Wrapped):
    def __init__(self, tts: Right) -> None:
        super().__init__(tts)
        self.ended = asyncio.Event()

    def end(self) -> None:
        super().end()
        self.ended.set()

    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        await self.ended.wait()
        async for event in self.inner:
            yield event


@breaks("audio_is_not_held_back", "all audio came within 0.000 s")
class HoldsBack(Wrapped):
    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        for event in [event async for event in self.inner]:
            yield event


@breaks("audio_is_whole_samples", "1 bytes are no whole samples of 2")
class SplitsSamples(Wrapped):
    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        async for event in self.inner:
            if isinstance(event, SpeechAudio):
                yield SpeechAudio(event.data[:1])
                yield SpeechAudio(event.data[1:])
            else:
                yield event


@breaks("words_lie_in_their_piece", "of its piece had")
class CountsFromTheReply(Wrapped):
    """Its words have the times of the whole reply."""

    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        made = 0.0
        async for event in self.inner:
            if isinstance(event, SpeechAudio):
                word = SpokenWord("a", made, made + 0.01)
                made += LINE.seconds(len(event.data))
                yield replace(event, words=(word,))
            else:
                yield event


@breaks("words_lie_in_their_piece", "begins before the last one")
class SaysWordsBackwards(Wrapped):
    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        words = (SpokenWord("b", 0.02, 0.03), SpokenWord("a", 0.0, 0.01))
        async for event in self.inner:
            yield replace(event, words=words) if isinstance(event, SpeechAudio) else event


@breaks("calls_do_not_block", "push() and flush() took 3")
class Blocks(Wrapped):
    def flush(self) -> None:
        time.sleep(0.03)
        super().flush()


@breaks("cancel_closes_the_request", "cancelled before its first audio, a request")
@breaks("cancel_ends_the_iteration", "the iteration goes on 0.25 s after cancel()")
class GoesOnAfterCancel(Wrapped):
    async def cancel(self) -> None:
        self.inner.end()


@breaks("cancel_ends_the_iteration", "the iteration goes on 0.25 s after")
class NeverEndsWhenCancelled(Wrapped):
    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        async for event in self.inner:
            yield event
        await asyncio.sleep(3)


@breaks("cancel_ends_the_iteration", "the iteration raised TTSError")
class RaisesWhenCancelled(Wrapped):
    cancelled = False

    async def cancel(self) -> None:
        self.cancelled = True
        await super().cancel()

    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        async for event in self.inner:
            yield event
        if self.cancelled:
            raise TTSError("cancelled")


@breaks("cancelling_is_obeyed", "after it was cancelled before its first audio")
class IgnoresCancelling(Wrapped):
    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        reading = asyncio.create_task(self._all())
        while not reading.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(reading)
        for event in reading.result():
            yield event

    async def _all(self) -> list[SpeechEvent]:
        return [event async for event in self.inner]
