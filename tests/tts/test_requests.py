"""A speech stream of one request a piece."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.errors import TTSError, UsageError
from agentkit.testing.clock import in_virtual_time
from agentkit.tts import PieceEnd, SpeechAudio, SpeechEvent
from agentkit.tts.requests import RequestStream

PCM = AudioFormat("linear16", 1000)


class Voice:
    """A voice whose requests the test feeds by hand."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.closed: list[str] = []
        self._feeds: dict[str, asyncio.Queue[bytes | Exception | None]] = {}
        self._begun = asyncio.Event()

    def feed(self, text: str) -> asyncio.Queue[bytes | Exception | None]:
        return self._feeds.setdefault(text, asyncio.Queue())

    def give(self, text: str, *items: bytes | Exception | None) -> None:
        for item in items:
            self.feed(text).put_nowait(item)

    async def begun(self, *texts: str) -> None:
        async with asyncio.timeout(5):
            while self.texts != list(texts):
                self._begun.clear()
                await self._begun.wait()

    async def __call__(self, text: str) -> AsyncGenerator[bytes, None]:
        self.texts.append(text)
        self._begun.set()
        try:
            while (item := await self.feed(text).get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed.append(text)


@pytest.fixture
def voice() -> Voice:
    return Voice()


@pytest.fixture
async def stream(voice: Voice) -> AsyncIterator[RequestStream]:
    stream = RequestStream(voice, PCM)
    yield stream
    await stream.cancel()


def say(stream: RequestStream, *pieces: str) -> None:
    for piece in pieces:
        stream.push(piece)
        stream.flush()


async def everything(stream: RequestStream) -> list[bytes | None]:
    """The audio in order; None for the end of a piece."""
    async with asyncio.timeout(5):
        return [e.data if isinstance(e, SpeechAudio) else None async for e in stream]


async def idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_pieces_come_in_order_each_with_its_end(voice: Voice, stream: RequestStream) -> None:
    say(stream, "one", "two")
    stream.end()
    voice.give("two", b"2222", None)
    await voice.begun("one", "two")
    voice.give("one", b"11", None)
    assert await everything(stream) == [b"11", None, b"2222", None]
    assert voice.texts == ["one", "two"]


async def test_text_is_pushed_in_parts_and_the_rest_flushed_at_the_end(
    voice: Voice, stream: RequestStream
) -> None:
    stream.push("Good ")
    stream.push("morning.")
    stream.end()
    stream.end()
    voice.give("Good morning.", b"11", None)
    assert await everything(stream) == [b"11", None]


async def test_first_audio_leaves_as_it_comes(voice: Voice, stream: RequestStream) -> None:
    say(stream, "one")
    voice.give("one", b"11")
    events = aiter(stream)
    async with asyncio.timeout(5):
        assert await anext(events) == SpeechAudio(b"11")
        voice.give("one", b"22", None)
        assert await anext(events) == SpeechAudio(b"22")
        assert await anext(events) == PieceEnd()


@in_virtual_time()
async def test_what_cannot_be_heard_yet_comes_in_larger_parts() -> None:
    """A voice at 20 times real time: half a second as it comes, the rest by 50 ms of gathering."""
    loop, voice = asyncio.get_running_loop(), Voice()
    stream = RequestStream(voice, PCM)
    say(stream, "one")
    stream.end()
    for part in range(30):
        loop.call_at(0.005 * (part + 1), voice.give, "one", bytes([part]) * 200)
    loop.call_at(0.151, voice.give, "one", None)
    told = [(round(loop.time(), 4), event) async for event in stream]
    audio = [(at, event.data) for at, event in told if isinstance(event, SpeechAudio)]
    assert b"".join(data for _, data in audio) == b"".join(bytes([p]) * 200 for p in range(30))
    assert [at for at, _ in audio[:6]] == [0.005, 0.01, 0.015, 0.02, 0.025, 0.03]
    assert {len(data) for _, data in audio[:6]} == {200}
    assert len(audio) <= 6 + 3
    assert told[-1][1] == PieceEnd()
    assert told[-1][0] <= 0.151 + 0.05


@in_virtual_time()
async def test_what_a_slow_voice_makes_leaves_as_it_comes() -> None:
    """At real time nothing is gathered, and neither is after a pause however long the reply was."""
    loop, voice = asyncio.get_running_loop(), Voice()
    stream = RequestStream(voice, PCM)
    say(stream, "one")
    stream.end()
    times = [0.1 * part for part in range(1, 20)] + [1.95, 2.0] + [6.0, 6.1]
    for at in times:
        loop.call_at(at, voice.give, "one", bytes(200))
    loop.call_at(6.2, voice.give, "one", None)
    told = [round(loop.time(), 4) async for event in stream]
    assert told == [*(round(at, 4) for at in times), 6.2]


async def test_request_begins_before_anyone_iterates(voice: Voice, stream: RequestStream) -> None:
    say(stream, "one")
    await voice.begun("one")


async def test_two_requests_run_at_the_same_time_at_most(
    voice: Voice, stream: RequestStream
) -> None:
    say(stream, "one", "two", "three", "four")
    await voice.begun("one", "two")
    await idle()
    assert voice.texts == ["one", "two"]
    voice.give("two", b"22", None)
    await voice.begun("one", "two", "three")
    voice.give("one", None)
    await voice.begun("one", "two", "three", "four")


@pytest.mark.parametrize("parts", [[b"1", b"122", b"3344", b"5"], [b"1"] * 7, [b"1122334"]])
async def test_samples_are_kept_whole(
    voice: Voice, stream: RequestStream, parts: list[bytes]
) -> None:
    say(stream, "one")
    stream.end()
    whole = b"".join(parts)
    found: list[SpeechEvent] = []

    async def read() -> None:
        found.extend([event async for event in stream])

    reading = asyncio.create_task(read())
    for part in parts:
        voice.give("one", part)
        await idle()
    voice.give("one", None)
    await reading
    audio = [event.data for event in found if isinstance(event, SpeechAudio)]
    assert all(len(data) % 2 == 0 for data in audio)
    assert b"".join(audio) == whole[: len(whole) // 2 * 2]
    assert found[-1] == PieceEnd()


async def test_empty_pieces_make_no_request_but_end(voice: Voice, stream: RequestStream) -> None:
    say(stream, "", "one", "  \n")
    stream.flush()
    stream.end()
    voice.give("one", b"11", None)
    assert await everything(stream) == [None, b"11", None, None, None]
    assert voice.texts == ["one"]


async def test_stream_without_a_piece_ends(stream: RequestStream) -> None:
    stream.end()
    assert await everything(stream) == []


async def test_failure_comes_after_the_audio_before_it_and_closes_the_rest(
    voice: Voice, stream: RequestStream
) -> None:
    say(stream, "one", "two", "three")
    voice.give("two", TTSError("no voice", failure="server"))
    await voice.begun("one", "two", "three")
    voice.give("one", b"11", None)
    got: list[SpeechEvent] = []

    async def read() -> None:
        async for event in stream:
            got.append(event)  # noqa: PERF401  # kept although it raises

    with pytest.raises(TTSError, match="no voice"):
        await read()
    assert got == [SpeechAudio(b"11"), PieceEnd()]
    assert sorted(voice.closed) == ["one", "three", "two"]


async def test_T5_cancel_closes_every_request_and_ends_the_iteration(
    voice: Voice, stream: RequestStream
) -> None:
    say(stream, "one", "two", "three")
    reading = asyncio.create_task(everything(stream))
    await voice.begun("one", "two")
    await stream.cancel()
    assert sorted(voice.closed) == ["one", "two"]
    assert await reading == []
    await stream.cancel()
    stream.push("late")
    stream.flush()
    stream.end()
    await idle()
    assert voice.texts == ["one", "two"]


async def test_cancel_before_a_request_has_begun(voice: Voice, stream: RequestStream) -> None:
    reading = asyncio.create_task(everything(stream))
    await idle()
    say(stream, "one")
    await stream.cancel()
    assert await reading == []
    assert voice.texts == []


async def test_cancel_while_nothing_is_said(stream: RequestStream) -> None:
    reading = asyncio.create_task(everything(stream))
    await idle()
    await stream.cancel()
    assert await reading == []


async def test_cancelling_the_reader_closes_the_requests(
    voice: Voice, stream: RequestStream
) -> None:
    say(stream, "one", "two")
    reading = asyncio.create_task(everything(stream))
    await voice.begun("one", "two")
    await idle()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert sorted(voice.closed) == ["one", "two"]


async def test_audio_that_nobody_takes_is_bounded(voice: Voice) -> None:
    """With 1 s kept, 2,000 bytes: the head is read no further, and no third request begins."""
    stream = RequestStream(voice, PCM, keep=1.0)
    say(stream, "one", "two", "three")
    voice.give("one", b"1" * 3000, b"1" * 1000, None)
    voice.give("two", b"22", None)
    voice.give("three", b"33", None)
    await voice.begun("one", "two")
    await idle()
    assert voice.feed("one").qsize() == 2
    assert voice.texts == ["one", "two"]
    stream.end()
    audio = await everything(stream)
    assert b"".join(data for data in audio if data) == b"1" * 4000 + b"2233"
    assert voice.texts == ["one", "two", "three"]


async def test_text_after_the_end_is_the_callers_mistake(stream: RequestStream) -> None:
    stream.end()
    with pytest.raises(UsageError):
        stream.push("more")
    with pytest.raises(UsageError):
        stream.flush()
