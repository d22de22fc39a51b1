"""Checks of a voice against `agentkit.tts.base`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agentkit.audio.formats import AudioFormat
from agentkit.errors import TTSError
from agentkit.testing.conformance._checks import (
    Check,
    Outcome,
    Rig,
    closed_twice,
    failed,
    left_nothing,
    made_elsewhere,
    require,
    rule,
    run_all,
    shows,
    warmed,
)
from agentkit.tts.base import TTS, PieceEnd, SpeechAudio, SpeechEvent, SpeechStream

_BASE = "agentkit.tts.base"
_CYCLES = 10
_AT_ONCE = 0.02  # seconds: a call that took longer each time has waited for something
_NEAR = 0.05  # seconds by which times may be off
_HEADERS = {b"RIFF": "WAV", b"OggS": "Ogg", b"ID3": "MP3", b"fLaC": "FLAC", b".snd": "AU"}

FIRST = "Rosewood Clinic is open until nine this evening."
SECOND = "On Sundays we are closed."
LONG = "We are open on every day of the week but one. " * 12
"""What the checks have spoken."""

TEXTS: dict[str, str] = {
    "spaces": "  \n ",
    "signs alone": "…",
    "no capital and no full stop": "one moment",
    "figures and signs": "That is €10.50, or 3:45 p.m. & no later (really)!",
    "other scripts": "Ça va? 日曜日 🙂",
    "a long text": LONG,
}
"""Every kind of text that a piece has."""


@dataclass(frozen=True, kw_only=True)
class TTSRig(Rig[TTS]):
    """A voice to be checked, with a far end that does as the checks need it.

    Args:
        make: makes a backend, as a user would, whose far end speaks any text. Called anew for each
            check.
        open_requests: how many requests (or sockets that speak) are open, as the far end sees it.
            Without it nobody looks whether they are closed on the wire.
        fails: for each kind of failure (`agentkit.errors.Failure`) that can be brought about, makes
            a backend each of whose requests fails in that way; an address where nobody listens is
            ``connection``, a far end that stalls is ``timeout``.
        secrets: texts that must not show: the keys that ``make`` gives the backend.
        spans: the far end takes at least so long from the first audio of
            `agentkit.testing.conformance.tts.LONG` to the last, in seconds, which has to be more
            than ``closes_within``. 0: it may make all of it at once, and nobody looks whether audio
            is held back, and what becomes of a request that is given up in its midst.
        closes_within: how soon what is given up has to be closed, in seconds.
        limit: how long one check may take before it is taken to hang, in seconds.
        seconds: how long the far end's audio of a text is, if that is known; it shows whether
            ``format`` is true.
        voice: another voice of the same model, if there is one.
    """

    seconds: Callable[[str], float] | None = None
    voice: str | None = None


async def check_tts(rig: TTSRig) -> Outcome:
    """Run all checks of a voice for which the rig gives enough. Safe to cancel.

    Raises:
        NotConforming: at least one rule is broken; it names all that are.
    """
    return await run_all(TTS_CHECKS, rig)


@asynccontextmanager
async def _open(tts: TTS, voice: str | None = None) -> AsyncIterator[SpeechStream]:
    stream = tts.open(voice)
    try:
        yield stream
    finally:
        await stream.cancel()


async def _spoken(tts: TTS, *texts: str, voice: str | None = None) -> list[list[SpeechAudio]]:
    """The pieces of one reply, each as the audio that came for it."""
    async with _open(tts, voice) as stream:
        for text in texts:
            if text:
                stream.push(text)
            stream.flush()
        stream.end()
        return _pieces([event async for event in stream])


def _pieces(events: Sequence[SpeechEvent]) -> list[list[SpeechAudio]]:
    """Split what came at each `PieceEnd`."""
    pieces: list[list[SpeechAudio]] = [[]]
    for event in events:
        if isinstance(event, SpeechAudio):
            pieces[-1].append(event)
        else:
            known = isinstance(event, PieceEnd)
            require(known, f"it yielded {type(event).__name__}, which is no SpeechEvent")
            pieces.append([])
    require(not pieces.pop(), "audio came after the last PieceEnd")
    return pieces


def _seconds(audio: AudioFormat, piece: Sequence[SpeechAudio]) -> float:
    return audio.seconds(sum(len(event.data) for event in piece))


async def _first_audio(events: AsyncIterator[SpeechEvent]) -> None:
    """Iterate until audio comes."""
    async for event in events:
        if isinstance(event, SpeechAudio) and event.data:
            return
    require(False, "no audio came for a piece with words")


async def _rest(events: AsyncIterator[SpeechEvent]) -> list[SpeechEvent]:
    return [event async for event in events]


# ------------------------------------------------------------------------------- what it yields


@rule(_BASE, "An instance serves many calls at once; making one opens nothing.")
async def _making_one_opens_nothing(rig: TTSRig) -> None:
    await made_elsewhere(rig, "backend/model:voice")
    async with rig.using() as tts:
        known = isinstance(tts.format, AudioFormat)
        require(known, f"its format is {type(tts.format).__name__}, not AudioFormat")


@rule(_BASE, "each as its audio followed by one `PieceEnd`.")
async def _each_flush_has_one_piece_end(rig: TTSRig) -> None:
    async with rig.using() as tts:
        pieces = await _spoken(tts, FIRST, "", SECOND)
        require(len(pieces) == 3, f"{len(pieces)} PieceEnd came for three flushes")
        one, empty, two = (_seconds(tts.format, piece) for piece in pieces)
        require(one > 0 and two > 0, "a piece with words had no audio")
        require(empty == 0, "a flush without text had audio")


@rule(_BASE, "Flushes what is left. Safe to call twice.")
async def _end_flushes_what_is_left(rig: TTSRig) -> None:
    async with rig.using() as tts:
        async with _open(tts) as stream:
            for part in FIRST.partition(" "):
                stream.push(part)
            stream.end()
            stream.end()
            pieces = _pieces(await _rest(aiter(stream)))
            require(len(pieces) == 1, f"{len(pieces)} PieceEnd came for one text that was ended")
            require(_seconds(tts.format, pieces[0]) > 0, "what was left at end() had no audio")
        require(await _spoken(tts) == [], "a reply without text had a PieceEnd")


@rule(_BASE, "The current piece is complete: speak all of it.")
async def _a_piece_waits_for_nothing(rig: TTSRig) -> None:
    async with rig.using() as tts, _open(tts) as stream:
        stream.push(SECOND)
        stream.flush()
        events = aiter(stream)
        heard = 0
        while not isinstance(event := await anext(events, None), PieceEnd):
            require(event is not None, "its iteration was over before end() was called")
            heard += isinstance(event, SpeechAudio)
        require(heard > 0, "a piece with words had no audio")
        stream.end()
        require(await _rest(events) == [], "something came after the last piece")


@rule(_BASE, "whole samples in the voice's format, without a header.")
async def _audio_is_whole_samples(rig: TTSRig) -> None:
    async with rig.using() as tts:
        sample = tts.format.sample_bytes
        for piece in await _spoken(tts, FIRST, SECOND):
            for event in piece:
                size = len(event.data)
                require(isinstance(event.data, bytes), f"data is {type(event.data).__name__}")
                require(size % sample == 0, f"{size} bytes are no whole samples of {sample}")
            start = b"".join(event.data for event in piece)[:4]
            for header, kind in _HEADERS.items():
                require(not start.startswith(header), f"its audio begins with a header of {kind}")


@rule(_BASE, "What `SpeechAudio.data` is in.", "seconds")
async def _the_format_is_true(rig: TTSRig) -> None:
    assert rig.seconds is not None  # noqa: S101
    async with rig.using() as tts:
        pieces = await _spoken(tts, FIRST, SECOND)
        for text, piece in zip((FIRST, SECOND), pieces, strict=True):
            due, came = rig.seconds(text), _seconds(tts.format, piece)
            require(
                abs(came - due) <= due / 10,
                f"{due:.2f} s of audio came as {came:.2f} s of {tts.format}",
            )


@rule(_BASE, "with times in seconds from the start of the piece")
async def _words_lie_in_their_piece(rig: TTSRig) -> None:
    async with rig.using() as tts:
        for piece in await _spoken(tts, FIRST, SECOND):
            made, last = 0.0, 0.0
            for event in piece:
                made += tts.format.seconds(len(event.data))
                for word in event.words:
                    times = f"the word from {word.start:.2f} s to {word.end:.2f} s"
                    require(last <= word.start <= word.end, f"{times} begins before the last one")
                    late = f"{times} came when only {made:.2f} s of its piece had"
                    require(word.start <= made + _NEAR, late)
                    last = word.start


@rule(_BASE, "The next stretch of audio.", "spans")
async def _audio_is_not_held_back(rig: TTSRig) -> None:
    loop = asyncio.get_running_loop()
    async with rig.using() as tts, _open(tts) as stream:
        stream.push(LONG)
        stream.end()
        times = [loop.time() async for event in stream if isinstance(event, SpeechAudio)]
    require(len(times) > 1, f"the audio of a long text came as {len(times)} SpeechAudio")
    took = times[-1] - times[0]
    require(
        took >= rig.spans / 2,
        f"all audio came within {took:.3f} s, though the far end makes it in {rig.spans} s",
    )


@rule(_BASE, "Calls never block; text is queued.")
async def _calls_do_not_block(rig: TTSRig) -> None:
    async with rig.using() as tts, _open(tts) as stream:
        shortest = min([_time_of(stream) for _ in range(5)])
        require(shortest < _AT_ONCE, f"push() and flush() took {shortest * 1000:.0f} ms each time")


def _time_of(stream: SpeechStream) -> float:
    began = time.perf_counter()
    stream.push(LONG)
    stream.flush()
    return time.perf_counter() - began


@rule(_BASE, "Begin a reply, with another voice of the same model if one is named.", "voice")
async def _another_voice_can_be_named(rig: TTSRig) -> None:
    async with rig.using() as tts:
        pieces = await _spoken(tts, SECOND, voice=rig.voice)
        require(len(pieces) == 1, f"{len(pieces)} PieceEnd came for one piece")
        require(_seconds(tts.format, pieces[0]) > 0, "the other voice said nothing")


@rule(_BASE, "speak all of it. Without text it is an empty piece.")
async def _every_text_is_taken(rig: TTSRig) -> None:
    async with rig.using() as tts:
        for kind, text in TEXTS.items():
            try:
                pieces = await _spoken(tts, text)
            except Exception as error:
                require(False, f"{kind}: it raised {type(error).__name__}: {error}")
            require(len(pieces) == 1, f"{kind}: {len(pieces)} PieceEnd came for one piece")


# --------------------------------------------------------------------------- how it is given up


@rule(
    _BASE,
    "Stop, and close what is open on the wire before returning.",
    "open_requests",
    "spans",
)
async def _cancel_closes_the_request(rig: TTSRig) -> None:
    assert rig.open_requests is not None  # noqa: S101
    count = rig.open_requests
    async with rig.using() as tts:
        before = count()
        for when in ("before its first audio", "in its midst"):
            async with _open(tts) as stream:
                stream.push(LONG)
                stream.flush()
                events = aiter(stream)
                if when == "in its midst":
                    await _first_audio(events)
                    require(count() > before, "no request was open while a piece was spoken")
                else:
                    await rig.soon(lambda: count() > before)
                await stream.cancel()
                await rig.expect(
                    lambda: count() <= before,
                    f"cancelled {when}, a request is still open at the far end "
                    f"{rig.closes_within} s after cancel()",
                )


@rule(_BASE, "Stop, and close what is open on the wire before returning. Safe to call twice.")
async def _cancel_ends_the_iteration(rig: TTSRig) -> None:
    async with rig.using() as tts:
        for _ in range(_CYCLES):
            stream = tts.open()
            stream.push(LONG)
            stream.flush()
            events = aiter(stream)
            await _first_audio(events)
            reading = asyncio.create_task(_rest(events))
            await asyncio.sleep(0)
            await stream.cancel()
            await stream.cancel()
            await _over(rig, reading)
        async with _open(tts) as unread:
            unread.push(FIRST)
            unread.flush()
            await unread.cancel()
            await _over(rig, asyncio.create_task(_rest(aiter(unread))))
        pieces = await _spoken(tts, SECOND)
        require(
            len(pieces) == 1 and _seconds(tts.format, pieces[0]) > 0,
            f"after {_CYCLES} replies that were cancelled, the next one was not spoken",
        )


async def _over(rig: TTSRig, reading: asyncio.Task[list[SpeechEvent]]) -> None:
    """The iteration of a cancelled stream has to end by itself."""
    await asyncio.wait([reading], timeout=rig.closes_within)
    if not reading.done():
        reading.cancel()
        require(False, f"the iteration goes on {rig.closes_within} s after cancel()")
    if (error := reading.exception()) is not None:
        require(False, f"after cancel() the iteration raised {type(error).__name__}")


@rule(_BASE, "Stop, and close what is open on the wire before returning.", "spans")
async def _cancelling_is_obeyed(rig: TTSRig) -> None:
    async with rig.using() as tts:
        for when in ("before its first audio", "in its midst"):
            async with _open(tts) as stream:
                stream.push(LONG)
                stream.flush()
                events = aiter(stream)
                if when == "in its midst":
                    await _first_audio(events)
                reading = asyncio.create_task(_rest(events))
                await asyncio.sleep(0)
                await rig.cancelled(reading, when)


@rule(_BASE, "An instance serves many calls at once")
async def _streams_share_nothing(rig: TTSRig) -> None:
    async with rig.using() as tts:
        replies = await asyncio.gather(_spoken(tts, FIRST, SECOND), _spoken(tts, SECOND))
        for pieces, texts in zip(replies, ((FIRST, SECOND), (SECOND,)), strict=True):
            _is_whole(rig, tts, pieces, texts, "of two replies at once")
        async with _open(tts) as given_up, _open(tts) as kept:
            for stream in (given_up, kept):
                stream.push(FIRST)
                stream.end()
            events = aiter(given_up)
            await _first_audio(events)
            await given_up.cancel()
            pieces = _pieces(await _rest(aiter(kept)))
            _is_whole(rig, tts, pieces, (FIRST,), "when another reply was cancelled")


def _is_whole(
    rig: TTSRig,
    tts: TTS,
    pieces: Sequence[Sequence[SpeechAudio]],
    texts: Sequence[str],
    when: str,
) -> None:
    require(
        len(pieces) == len(texts),
        f"{when}, {len(pieces)} PieceEnd came for {len(texts)} pieces",
    )
    for text, piece in zip(texts, pieces, strict=True):
        came = _seconds(tts.format, piece)
        require(came > 0, f"{when}, a piece had no audio")
        if rig.seconds is not None:
            due = rig.seconds(text)
            near = abs(came - due) <= due / 10
            require(near, f"{when}, {due:.2f} s of audio came as {came:.2f} s")


# ---------------------------------------------------------------------------- failures and order


@rule(_BASE, "Iterating raises TTSError when the voice fails.", "fails")
async def _failures_are_typed(rig: TTSRig) -> None:
    await failed(rig, TTSError, (FIRST, SECOND), lambda tts: _spoken(tts, FIRST, SECOND))


@rule(
    _BASE, "Neither its text form nor its errors show a key or anything that was said.", "secrets"
)
async def _secrets_do_not_show(rig: TTSRig) -> None:
    async with rig.using() as tts, _open(tts) as stream:
        stream.push(FIRST)
        stream.flush()
        events = aiter(stream)
        await _first_audio(events)
        shows(rig, tts, [stream, events])


@rule(_BASE, "Never raises for a backend out of reach.")
async def _warm_never_raises(rig: TTSRig) -> None:
    await warmed(rig)


@rule(_BASE, "Safe to call twice.")
async def _closing_it_twice_is_safe(rig: TTSRig) -> None:
    await closed_twice(rig, lambda tts: _spoken(tts, SECOND))


@rule(_BASE, "Close all connections and end all tasks.")
async def _nothing_is_left(rig: TTSRig) -> None:
    await left_nothing(rig, _use)


async def _use(tts: TTS) -> None:
    """Replies that are heard out, given up early, and cancelled; failures are another check's."""
    await tts.warm()
    try:
        await _spoken(tts, FIRST, SECOND)
        async with _open(tts) as stream:
            stream.push(LONG)
            stream.flush()
            async for _ in stream:
                break
    except TTSError:
        pass
    async with _open(tts) as unread:
        unread.push(LONG)
        unread.flush()
        await asyncio.sleep(0)


TTS_CHECKS: tuple[Check[TTSRig], ...] = (
    _making_one_opens_nothing,
    _each_flush_has_one_piece_end,
    _end_flushes_what_is_left,
    _a_piece_waits_for_nothing,
    _audio_is_whole_samples,
    _the_format_is_true,
    _words_lie_in_their_piece,
    _audio_is_not_held_back,
    _calls_do_not_block,
    _another_voice_can_be_named,
    _every_text_is_taken,
    _cancel_closes_the_request,
    _cancel_ends_the_iteration,
    _cancelling_is_obeyed,
    _streams_share_nothing,
    _failures_are_typed,
    _secrets_do_not_show,
    _warm_never_raises,
    _closing_it_twice_is_safe,
    _nothing_is_left,
)
"""All checks of a voice; each is called with a rig."""
