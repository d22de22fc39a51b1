"""The OpenAI voice, against the scripted server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.errors import ConfigError, TTSError
from agentkit.testing.openai import Delays, Fault, ScriptedOpenAI, SpeechReply
from agentkit.tts import PieceEnd, SpeechAudio, SpeechStream
from agentkit.tts.openai import OpenAITTS, preload

SECRET = "sk-secret-0123456789"
AUDIO = bytes(range(256)) * 40


@pytest.fixture
async def server() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI(speech=SpeechReply(audio=AUDIO)) as server:
        yield server


@pytest.fixture
async def tts(server: ScriptedOpenAI) -> AsyncIterator[OpenAITTS]:
    tts = OpenAITTS(base_url=server.base_url, api_key=SECRET)
    yield tts
    await tts.aclose()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def saying(tts: OpenAITTS, *pieces: str, voice: str | None = None) -> SpeechStream:
    stream = tts.open(voice)
    for piece in pieces:
        stream.push(piece)
        stream.flush()
    stream.end()
    return stream


async def pieces_of(stream: SpeechStream) -> list[bytes]:
    """The audio of each piece."""
    pieces, audio = [], b""
    async with asyncio.timeout(10):
        async for event in stream:
            if isinstance(event, SpeechAudio):
                assert len(event.data) % 2 == 0
                audio += event.data
            else:
                pieces.append(audio)
                audio = b""
    return pieces


async def test_request_as_the_api_wants_it(server: ScriptedOpenAI) -> None:
    tts = OpenAITTS(
        "tts-1",
        "nova",
        api_key=SECRET,
        base_url=server.base_url,
        speed=1.5,
        instructions="Calmly.",
        options={"stream_format": "audio"},
    )
    assert (tts.name, tts.format) == ("openai/tts-1:nova", AudioFormat("linear16", 24000))
    await pieces_of(saying(tts, " Good morning. "))
    await pieces_of(saying(tts, "Good morning.", voice="coral"))
    await tts.aclose()
    first, second = server.speeches
    assert first.headers["authorization"] == f"Bearer {SECRET}"
    assert first.body == {
        "model": "tts-1",
        "voice": "nova",
        "input": "Good morning.",
        "response_format": "pcm",
        "speed": 1.5,
        "instructions": "Calmly.",
        "stream_format": "audio",
    }
    assert second.body["voice"] == "coral"
    assert SECRET not in repr(tts)


@pytest.mark.parametrize("chunk", [1, 333, 4800])
async def test_audio_is_whole_however_it_is_cut(
    server: ScriptedOpenAI, tts: OpenAITTS, chunk: int
) -> None:
    server.speech = SpeechReply(audio=AUDIO[:2001], chunk=chunk)
    assert await pieces_of(saying(tts, "one")) == [AUDIO[:2000]]


async def test_each_piece_is_one_request_in_order(server: ScriptedOpenAI, tts: OpenAITTS) -> None:
    server.speech = lambda body: SpeechReply(audio=body["input"].encode() * 100)
    stream = saying(tts, "a1", "", "b2", "c3")
    assert await pieces_of(stream) == [b"a1" * 100, b"", b"b2" * 100, b"c3" * 100]
    assert [request.body["input"] for request in server.speeches] == ["a1", "b2", "c3"]


async def test_next_request_runs_beside_the_one_that_is_streaming(
    server: ScriptedOpenAI, tts: OpenAITTS
) -> None:
    server.speech = SpeechReply(seconds=0.3)
    server.delays = Delays(audio_pace=2.0)
    await pieces_of(saying(tts, "one", "two", "three"))
    first, second, third = server.speeches
    assert first.finished_at is not None
    assert second.finished_at is not None
    assert second.arrived < first.finished_at
    assert third.arrived >= min(first.finished_at, second.finished_at)


async def test_first_audio_is_not_held_back(server: ScriptedOpenAI, tts: OpenAITTS) -> None:
    server.speech = SpeechReply(seconds=1.0, chunk=480, fault=Fault("stall", after=1))
    stream = saying(tts, "one")
    async with asyncio.timeout(5):
        async for event in stream:
            assert isinstance(event, SpeechAudio)
            assert len(event.data) == 480
            break
    await stream.cancel()


async def test_long_text_takes_several_requests(server: ScriptedOpenAI, tts: OpenAITTS) -> None:
    text = "word " * 1000
    assert await pieces_of(saying(tts, text, "x" * 5000)) == [AUDIO * 2, AUDIO * 2]
    spoken = [request.body["input"] for request in server.speeches]
    assert all(len(part) <= 4096 for part in spoken)
    assert " ".join(part for part in spoken if part[0] == "w").split() == text.split()


@pytest.mark.parametrize("after", [-1, 0, 2])
async def test_T3_cancel_closes_on_the_wire(
    server: ScriptedOpenAI, tts: OpenAITTS, after: int
) -> None:
    server.speech = SpeechReply(seconds=5.0, fault=Fault("stall", after=after))
    loop = asyncio.get_running_loop()
    stream = saying(tts, "one", "two", "three")
    reading = asyncio.create_task(pieces_of(stream))
    await server.until(
        lambda: len(server.speeches) == 2 and server.speeches[1].tokens == max(after, 0)
    )
    cancelled = loop.time()
    await stream.cancel()
    assert await reading == []
    await server.until(lambda: all(request.over for request in server.speeches))
    for request in server.speeches:
        assert request.closed_at is not None
        assert request.closed_at - cancelled < 0.5
    assert len(server.speeches) == 2


async def test_T3_request_after_a_discard_finds_a_warm_connection(server: ScriptedOpenAI) -> None:
    loop = asyncio.get_running_loop()
    server.delays = Delays(accept=0.3)
    server.speech = SpeechReply(seconds=5.0, fault=Fault("stall", after=1))
    tts = OpenAITTS(base_url=server.base_url)
    await tts.warm()
    await server.until(lambda: server.accepted == 2)
    for n in range(2):
        stream = saying(tts, "one", "two")
        asked = loop.time()
        reading = asyncio.create_task(pieces_of(stream))
        await server.until(lambda n=n: len(server.speeches) == 2 * n + 2)  # type: ignore[misc]
        assert loop.time() - asked < 0.15
        await stream.cancel()
        await reading
        await server.until(lambda n=n: server.accepted == 2 * n + 4)  # type: ignore[misc]
    await tts.aclose()


async def test_connections_are_used_again(server: ScriptedOpenAI, tts: OpenAITTS) -> None:
    for _ in range(4):
        await pieces_of(saying(tts, "one", "two"))
    assert len({request.connection for request in server.speeches}) == 2


async def test_T3_hundred_starts_and_cancels_leak_nothing(server: ScriptedOpenAI) -> None:
    before = asyncio.all_tasks()
    files = open_files()
    tts = OpenAITTS(base_url=server.base_url)
    await tts.warm()
    for n in range(100):
        server.speech = SpeechReply(fault=Fault("stall", after=n % 3 - 1))
        stream = saying(tts, "one", "two")
        reading = asyncio.create_task(pieces_of(stream))
        await server.until(lambda n=n: len(server.speeches) == 2 * n + 2)  # type: ignore[misc]
        await stream.cancel()
        await reading
        await server.until(lambda: all(request.over for request in server.speeches[-2:]))
    await tts.aclose()
    await server.until(lambda: server.open_connections == 0)
    for _ in range(5):  # asyncio frees a socket in the loop's round after it is lost
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert open_files() == files


async def failure_of(stream: SpeechStream) -> TTSError:
    with pytest.raises(TTSError) as caught:
        await pieces_of(stream)
    return caught.value


@pytest.mark.parametrize(
    ("status", "failure", "retryable"),
    [
        (400, "bad_request", False),
        (401, "auth", False),
        (429, "rate_limit", True),
        (500, "server", True),
    ],
)
async def test_http_errors(
    server: ScriptedOpenAI, tts: OpenAITTS, status: int, failure: str, retryable: bool
) -> None:
    said = f"The key {SECRET} and the words 'one' are no good."
    server.speech = SpeechReply(fault=Fault("status", status=status, code="x", message=said))
    error = await failure_of(saying(tts, "one"))
    assert (error.failure, error.status, error.retryable) == (failure, status, retryable)
    assert SECRET not in str(error)
    assert "words" not in str(error)
    assert (error.__cause__, error.__context__) == (None, None)
    assert len(server.speeches) == 1


async def test_cut_in_the_midst_of_audio(server: ScriptedOpenAI, tts: OpenAITTS) -> None:
    server.speech = SpeechReply(audio=AUDIO, chunk=480, fault=Fault("cut", after=2))
    stream = saying(tts, "one")
    events = aiter(stream)
    assert isinstance(await anext(events), SpeechAudio)
    error = None
    while error is None:
        try:
            assert not isinstance(await anext(events), PieceEnd)
        except TTSError as exc:
            error = exc
    assert error.failure == "connection"


async def test_words_without_audio_are_a_failure(server: ScriptedOpenAI, tts: OpenAITTS) -> None:
    """The caller would hear nothing, and nobody be told. Marks alone may well be silent."""
    server.speech = SpeechReply(audio=b"")
    assert await pieces_of(saying(tts, "...")) == [b""]
    error = await failure_of(saying(tts, "Yes."))
    assert error.failure == "protocol"
    assert "Yes" not in str(error)


async def test_stall_times_out(server: ScriptedOpenAI) -> None:
    server.speech = SpeechReply(fault=Fault("stall"))
    tts = OpenAITTS(base_url=server.base_url, timeout=0.05)
    error = await failure_of(saying(tts, "one"))
    assert error.failure == "timeout"
    await tts.aclose()


async def test_nobody_listens(server: ScriptedOpenAI, tts: OpenAITTS) -> None:
    await server.aclose()
    await tts.warm()
    assert (await failure_of(saying(tts, "one"))).failure == "connection"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"model": ""}, "model"),
        ({"voice": ""}, "voice"),
        ({"speed": 0.2}, "speed"),
        ({"speed": 4.1}, "speed"),
        ({"timeout": -1}, "timeout"),
        ({}, "OPENAI_API_KEY"),
    ],
)
def test_bad_settings_are_named(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], field: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError) as caught:
        OpenAITTS(**arguments)
    assert caught.value.field == field


def test_preload_imports_the_package() -> None:
    preload()
