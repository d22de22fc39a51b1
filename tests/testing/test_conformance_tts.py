"""The checks of a voice: a right one passes all, one that breaks a rule fails that one."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from agentkit.audio import AudioFormat
from agentkit.core.history import SpokenWord
from agentkit.errors import LLMError, TTSError
from agentkit.testing.backends import tone
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.conformance import TTS_CHECKS, NotConforming, TTSRig, check_tts
from agentkit.tts import base
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


class OpensAtOnce(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(0)))


class HasNoVoice(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.name = "acme/right"


class HasNoFormat(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.format = 16000  # type: ignore[assignment]


class SendsAHeader(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        yield b"RIFF" + bytes(40)
        async with contextlib.aclosing(super().speak(text)) as audio:
            async for data in audio:
                yield data


class SaysAnotherRate(Right):
    def __init__(self, far: FarEnd) -> None:
        super().__init__(far)
        self.format = AudioFormat("linear16", 8000)


class WantsLetters(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        if not text.isascii():
            raise TTSError("not spoken", failure="bad_request")
        async with contextlib.aclosing(super().speak(text)) as audio:
            async for data in audio:
                yield data


class AsksForTheWhole(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        for data in [data async for data in super().speak(text)]:
            yield data


class HasOneVoice(Right):
    def open(self, voice: str | None = None) -> SpeechStream:
        if voice is not None:
            raise TTSError(f"no voice {voice}", failure="bad_request")
        return super().open()


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


class LetsItThrough(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(self.far.speak(text)) as audio:
            async for data in audio:
                yield data


class RaisesTheModels(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        if self.far.refuses:
            raise LLMError("refused", failure="auth")
        async with contextlib.aclosing(super().speak(text)) as audio:
            async for data in audio:
                yield data


class StaysSilent(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        with contextlib.suppress(TTSError):
            async with contextlib.aclosing(super().speak(text)) as audio:
                async for data in audio:
                    yield data


class QuotesTheText(Right):
    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        if self.far.refuses:
            raise TTSError(f"cannot say {text!r}", failure="auth")
        async with contextlib.aclosing(super().speak(text)) as audio:
            async for data in audio:
                yield data


class ShowsItsKey(Right):
    def __repr__(self) -> str:
        return f"ShowsItsKey(api_key={KEY!r})"


class WarmRaises(Right):
    async def warm(self) -> None:
        if self.far.refuses:
            raise TTSError("refused", failure="auth")


class ClosesOnce(Right):
    closed = False

    async def aclose(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class LeavesTasks(Right):
    async def warm(self) -> None:
        self.tasks.append(asyncio.create_task(self._keep_warm()))

    async def _keep_warm(self) -> None:
        await asyncio.sleep(20)


# ----------------------------------------------------------------------------- kinds of streams


class SkipsEmptyPieces(Wrapped):
    text = ""

    def push(self, text: str) -> None:
        self.text += text
        super().push(text)

    def flush(self) -> None:
        if self.text:
            self.text = ""
            super().flush()


class LosesTheLast(Wrapped):
    def end(self) -> None:
        self.inner._text.clear()
        self.inner.end()


class EndsOnce(Wrapped):
    ended = False

    def end(self) -> None:
        if self.ended:
            raise RuntimeError("ended already")
        self.ended = True
        super().end()


class EndsWithAnEmptyPiece(Wrapped):
    ended = False

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.flush()
            self.inner.end()


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


class HoldsBack(Wrapped):
    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        for event in [event async for event in self.inner]:
            yield event


class SplitsSamples(Wrapped):
    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        async for event in self.inner:
            if isinstance(event, SpeechAudio):
                yield SpeechAudio(event.data[:1])
                yield SpeechAudio(event.data[1:])
            else:
                yield event


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


class SaysWordsBackwards(Wrapped):
    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        words = (SpokenWord("b", 0.02, 0.03), SpokenWord("a", 0.0, 0.01))
        async for event in self.inner:
            yield replace(event, words=words) if isinstance(event, SpeechAudio) else event


class Blocks(Wrapped):
    def flush(self) -> None:
        time.sleep(0.03)
        super().flush()


class GoesOnAfterCancel(Wrapped):
    async def cancel(self) -> None:
        self.inner.end()


class NeverEndsWhenCancelled(Wrapped):
    async def __aiter__(self) -> AsyncIterator[SpeechEvent]:
        async for event in self.inner:
            yield event
        await asyncio.sleep(3)


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


def rig_of(kind: Callable[[FarEnd], TTS]) -> TTSRig:
    """A rig with all that there is, around one kind of voice."""
    far, refusing = FarEnd(), FarEnd()
    refusing.refuses = True
    return TTSRig(
        make=lambda: kind(far),
        open_requests=lambda: far.open + refusing.open,
        fails={"auth": lambda: kind(refusing)},
        secrets=(KEY,),
        spans=0.4,
        seconds=lambda text: len(text) / A_SECOND,
        voice="ben",
    )


@in_virtual_time()
async def test_a_right_voice_passes_all_checks() -> None:
    outcome = await check_tts(rig_of(Right))
    assert outcome.passed == tuple(check.name for check in TTS_CHECKS)
    assert not outcome.left_out


BROKEN: list[tuple[type[Right] | type[Wrapped], str, str]] = [
    (OpensAtOnce, "making_one_opens_nothing", "no running event loop"),
    (HasNoVoice, "making_one_opens_nothing", "'acme/right', not of the form backend/model:voice"),
    (HasNoFormat, "making_one_opens_nothing", "its format is int, not AudioFormat"),
    (SkipsEmptyPieces, "each_flush_has_one_piece_end", "2 PieceEnd came for three flushes"),
    (LosesTheLast, "end_flushes_what_is_left", "0 PieceEnd came for one text that was ended"),
    (EndsOnce, "end_flushes_what_is_left", "it raised RuntimeError: ended already"),
    (EndsWithAnEmptyPiece, "end_flushes_what_is_left", "a reply without text had a PieceEnd"),
    (WaitsForTheEnd, "a_piece_waits_for_nothing", "it was not done after 10.0 s"),
    (SplitsSamples, "audio_is_whole_samples", "1 bytes are no whole samples of 2"),
    (SendsAHeader, "audio_is_whole_samples", "its audio begins with a header of WAV"),
    (SaysAnotherRate, "the_format_is_true", "0.48 s of audio came as 0.96 s of AudioFormat"),
    (CountsFromTheReply, "words_lie_in_their_piece", "of its piece had"),
    (SaysWordsBackwards, "words_lie_in_their_piece", "begins before the last one"),
    (AsksForTheWhole, "audio_is_not_held_back", "of a long text came as 1 SpeechAudio"),
    (HoldsBack, "audio_is_not_held_back", "all audio came within 0.000 s"),
    (Blocks, "calls_do_not_block", "push() and flush() took 3"),
    (HasOneVoice, "another_voice_can_be_named", "it raised TTSError: no voice ben"),
    (WantsLetters, "every_text_is_taken", "it raised TTSError: not spoken"),
    (GoesOnAfterCancel, "cancel_closes_the_request", "cancelled before its first audio, a request"),
    (ReadsOn, "cancel_closes_the_request", "a request is still open at the far end 0.25 s after"),
    (GoesOnAfterCancel, "cancel_ends_the_iteration", "the iteration goes on 0.25 s after cancel()"),
    (NeverEndsWhenCancelled, "cancel_ends_the_iteration", "the iteration goes on 0.25 s after"),
    (
        RaisesWhenCancelled,
        "cancel_ends_the_iteration",
        "the iteration raised TTSError",
    ),
    (IgnoresCancelling, "cancelling_is_obeyed", "after it was cancelled before its first audio"),
    (SpeaksOneReply, "streams_share_nothing", "audio came after the last PieceEnd"),
    (LetsItThrough, "failures_are_typed", "raise ConnectionError, not TTSError"),
    (RaisesTheModels, "failures_are_typed", "raise LLMError, not TTSError"),
    (StaysSilent, "failures_are_typed", "was taken for one that answers"),
    (QuotesTheText, "failures_are_typed", "shows what was said"),
    (ShowsItsKey, "secrets_do_not_show", "the text form of ShowsItsKey shows a secret"),
    (WarmRaises, "warm_never_raises", "with a far end that fails (auth) it raised TTSError"),
    (ClosesOnce, "closing_it_twice_is_safe", "the second aclose() of an unused backend raised"),
    (LeavesTasks, "nothing_is_left", "tasks still run: LeavesTasks._keep_warm"),
    (ReadsOn, "nothing_is_left", "tasks still run: ReadsOn.speak.<locals>.read"),
]


@pytest.mark.parametrize(
    ("kind", "check", "problem"),
    BROKEN,
    ids=[f"{kind.__name__}-{name}" for kind, name, _ in BROKEN],
)
@in_virtual_time()
async def test_each_check_bites(
    kind: type[Right] | type[Wrapped], check: str, problem: str
) -> None:
    [found] = [known for known in TTS_CHECKS if known.name == check]
    voice = kind if issubclass(kind, Right) else streaming(kind)
    with pytest.raises(NotConforming) as raised:
        await found(rig_of(voice))
    [broken] = raised.value.broken
    assert broken.check == check
    assert problem in broken.problem
    assert f'agentkit.tts.base says: "{found.rule}"' in str(raised.value)


def test_no_check_is_without_one_that_it_bites() -> None:
    assert {name for _, name, _ in BROKEN} == {check.name for check in TTS_CHECKS}


@in_virtual_time()
async def test_what_the_rig_does_not_give_is_told() -> None:
    far = FarEnd()
    outcome = await check_tts(TTSRig(make=lambda: Right(far)))
    assert outcome.left_out == {
        "the_format_is_true": ("seconds",),
        "audio_is_not_held_back": ("spans",),
        "another_voice_can_be_named": ("voice",),
        "cancel_closes_the_request": ("open_requests", "spans"),
        "cancelling_is_obeyed": ("spans",),
        "failures_are_typed": ("fails",),
        "secrets_do_not_show": ("secrets",),
    }


def test_the_rules_are_in_the_words_of_the_interface() -> None:
    words = " ".join(inspect.getsource(base).split())
    assert [check.name for check in TTS_CHECKS if check.rule not in words] == []
