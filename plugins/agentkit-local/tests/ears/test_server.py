"""The ears over a real socket, with real speech."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from agentkit_local.ears import FluxServer

RAW = "model=flux-general-en&encoding=linear16&sample_rate=16000"
MULTI = "model=flux-general-multi&encoding=linear16&sample_rate=16000"


async def hear(socket: ClientConnection, until: str) -> list[dict[str, Any]]:
    """All messages up to the first TurnInfo of that event, or of that type."""
    found = []
    async with asyncio.timeout(20):
        async for text in socket:
            message = json.loads(text)
            found.append(message)
            if until in (message.get("event"), message["type"]):
                return found
    return found


async def speak(socket: ClientConnection, samples: bytes, rate: int, pace: float = 4.0) -> None:
    """Send audio in 80 ms chunks, so many times faster than real time, then silence."""
    size = rate * 2 * 80 // 1000
    for at in range(0, len(samples), size):
        await socket.send(samples[at : at + size])
        await asyncio.sleep(0.08 / pace)
    for _ in range(40):
        await socket.send(bytes(size))
        await asyncio.sleep(0.08 / pace)


async def test_real_speech_becomes_a_turn(
    ears: FluxServer, recordings: Callable[[], Any], word_errors: Callable[..., Any]
) -> None:
    speech = recordings()[0]
    url = f"{ears.url}?{RAW}&eager_eot_threshold=0.4"
    async with connect(url) as socket, asyncio.TaskGroup() as tasks:
        tasks.create_task(speak(socket, speech.samples, speech.rate))
        messages = await hear(socket, "EndOfTurn")
    assert messages[0]["type"] == "Connected"
    assert [m["sequence_id"] for m in messages] == list(range(len(messages)))
    events = [m["event"] for m in messages[1:] if m["event"] != "Update"]
    assert events[0] == "StartOfTurn"
    assert events[-2:] == ["EagerEndOfTurn", "EndOfTurn"]
    ended = messages[-1]
    wrong, count = word_errors(speech.text, ended["transcript"])
    assert wrong <= count * 0.3
    assert ended["trigger"] == "model"
    assert " ".join(word["word"] for word in ended["words"]) == ended["transcript"]
    assert 0.7 <= ended["end_of_turn_confidence"] <= 1.0
    assert ended["audio_window_end"] > speech.seconds - 1.0


async def test_telephone_audio_is_understood_in_mu_law(
    ears: FluxServer, over_the_telephone: Callable[[], Any], word_errors: Callable[..., Any]
) -> None:
    from agentkit.audio.g711 import encode

    speech = over_the_telephone()[1]
    url = f"{ears.url}?model=flux-general-en&encoding=mulaw&sample_rate=8000&eot_threshold=0.9"
    data = encode(speech.samples, "mulaw") + encode(bytes(8000 * 4), "mulaw")
    async with connect(url) as socket, asyncio.TaskGroup() as tasks:

        async def send() -> None:
            for at in range(0, len(data), 640):
                await socket.send(data[at : at + 640])
                await asyncio.sleep(0.02)

        tasks.create_task(send())
        messages = await hear(socket, "EndOfTurn")
    heard = messages[-1]["transcript"]
    wrong, count = word_errors(speech.text, heard)
    assert wrong <= count * 0.5, f"{speech.text!r} was heard as {heard!r}"
    assert not [m for m in messages if m.get("event") == "EagerEndOfTurn"], "eager is off"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("encoding=linear16&sample_rate=16000", "model is required"),
        (RAW + "&language=en", "unknown query parameter: language"),
        (RAW + "&eot_threshold=0.4", "eot_threshold 0.4"),
        (RAW + "&eager_eot_threshold=0.8", "above eot_threshold 0.7"),
        (RAW + "&eot_timeout_ms=100", "eot_timeout_ms"),
        (RAW + "&eot_threshold=high", "is no number"),
        (RAW + "&keyterm=", "blank"),
        (RAW + "&keyterm=" + "x" * 101, "longer than 100"),
        (RAW + "&" + "&".join(["keyterm=a"] * 101), "Keyterm limit exceeded"),
        (RAW + "&language_hint=en", "flux-general-multi only"),
        (MULTI + "&language_hint=xx", "language_hint 'xx'"),
        (MULTI + "&language_hint=", "language_hint ''"),
        (RAW + "&eot_timeout_ms=5000.5", "no whole number"),
        ("model=flux-general-en&sample_rate=16000", "encoding is required"),
        (RAW + "&numerals=True", "true or false"),
        (RAW + "&redact=names", "redact"),
        ("model=flux-general-en&encoding=opus&sample_rate=48000", "not supported here"),
        ("model=flux-general-en&encoding=linear16", "sample_rate is required"),
        ("model=flux-general-en&encoding=linear16&sample_rate=11025", "sample_rate"),
        ("model=flux-general-en&encoding=mp3&sample_rate=16000", "unknown"),
    ],
)
async def test_bad_requests_are_refused_with_the_reason(
    ears: FluxServer, query: str, reason: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{ears.url}?{query}"):
            pass  # pragma: no cover
    response = refused.value.response
    assert response.status_code == 400
    assert reason in response.headers["dg-error"]
    assert response.headers["dg-request-id"]


async def test_an_unknown_model_is_forbidden(ears: FluxServer) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{ears.url}?{RAW.replace('flux-general-en', 'nova-3')}"):
            pass  # pragma: no cover
    assert refused.value.response.status_code == 403
    assert "INSUFFICIENT_PERMISSIONS" in refused.value.response.headers["dg-error"]


async def test_an_accepted_connection_names_the_request(ears: FluxServer) -> None:
    async with connect(f"{ears.url}?{RAW}") as socket:
        assert socket.response is not None
        (connected,) = await hear(socket, "Connected")
        assert socket.response.headers["dg-request-id"] == connected["request_id"]


async def test_another_path_and_a_wrong_key_are_refused(recognizer: Any) -> None:
    async with FluxServer(recognizer=recognizer, key="right") as server:
        for url, headers, status in (
            (server.url.replace("/v2/", "/v1/") + "?" + RAW, {}, 404),
            (server.url + "?" + RAW, {}, 401),
            (server.url + "?" + RAW, {"Authorization": "Bearer right"}, 401),
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(url, additional_headers=headers):
                    pass  # pragma: no cover
            assert refused.value.response.status_code == status
        right = {"Authorization": "Token right"}
        async with connect(f"{server.url}?{RAW}", additional_headers=right) as socket:
            assert (await hear(socket, "Connected"))[0]["type"] == "Connected"


async def test_configure_is_all_or_nothing(ears: FluxServer) -> None:
    async with connect(f"{ears.url}?{RAW}") as socket:
        good = {"eot_threshold": 0.8, "eager_eot_threshold": 0.5}
        await socket.send(json.dumps({"type": "Configure", "thresholds": good, "keyterms": ["a"]}))
        answer = (await hear(socket, "ConfigureSuccess"))[-1]
        assert answer["thresholds"] == {
            "eot_threshold": 0.8,
            "eager_eot_threshold": 0.5,
            "eot_timeout_ms": 5000,
        }
        assert answer["keyterms"] == ["a"]
        bad = {"eot_threshold": 0.6, "eager_eot_threshold": 0.7}
        await socket.send(json.dumps({"type": "Configure", "thresholds": bad, "keyterms": []}))
        assert "above" in (await hear(socket, "ConfigureFailure"))[-1]["description"]
        await socket.send(json.dumps({"type": "Configure"}))
        answer = (await hear(socket, "ConfigureSuccess"))[-1]
        assert answer["thresholds"]["eot_threshold"] == 0.8
        assert answer["keyterms"] == ["a"]


async def test_force_end_turn_without_a_turn_warns(ears: FluxServer) -> None:
    async with connect(f"{ears.url}?{RAW}") as socket:
        await socket.send(json.dumps({"type": "ForceEndTurn"}))
        warning = (await hear(socket, "Warning"))[-1]
        assert warning["code"] == "FORCE_END_TURN_NO_ACTIVE_TURN"


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"KeepAlive"}',
        '{"type":"Finalize"}',
        "hello",
        "[]",
        "[" * 100_000,
        '{"kind":1}',
        '{"type":"Configure","keyterms":"abc"}',
        '{"type":"Configure","features":{"numerals":true}}',
    ],
    ids=lambda message: message[:40],
)
async def test_what_cannot_be_read_is_fatal(ears: FluxServer, message: str) -> None:
    async with connect(f"{ears.url}?{RAW}") as socket:
        await socket.send(message)
        error = (await hear(socket, "Error"))[-1]
        assert error["code"] == "UNPARSABLE_CLIENT_MESSAGE"
        await asyncio.wait_for(socket.wait_closed(), 5)


async def test_close_stream_gives_all_the_words_and_no_end_of_turn(
    ears: FluxServer, recordings: Callable[[], Any], word_errors: Callable[..., Any]
) -> None:
    """A finite stream gets its tail; the close frame has no code."""
    speech = recordings()[4]
    async with connect(f"{ears.url}?{RAW}") as socket:
        await socket.send(speech.samples.rstrip(b"\0"))
        await socket.send(json.dumps({"type": "CloseStream"}))
        messages = [json.loads(text) async for text in socket]
        assert socket.close_code == 1005
    assert messages[-1]["event"] == "Update"
    assert "EndOfTurn" not in {m.get("event") for m in messages}
    wrong, count = word_errors(speech.text, messages[-1]["transcript"])
    assert wrong <= count * 0.3


async def test_audio_that_comes_at_once_gives_the_same_turns(
    ears: FluxServer, recordings: Callable[[], Any], word_errors: Callable[..., Any]
) -> None:
    """Turns are decided on audio time: recognition that is late holds the audio back."""
    corpus = recordings()[:3]
    async with connect(f"{ears.url}?{RAW}&eager_eot_threshold=0.4") as socket:
        for speech in corpus:
            await socket.send(speech.samples + bytes(speech.rate * 2 * 3))
        await socket.send(json.dumps({"type": "CloseStream"}))
        messages = [json.loads(text) async for text in socket]
    ended = [m for m in messages if m.get("event") == "EndOfTurn"]
    assert [m["turn_index"] for m in ended] == [0, 1, 2]
    for speech, end in zip(corpus, ended, strict=True):
        wrong, count = word_errors(speech.text, end["transcript"])
        assert wrong <= count * 0.3
    assert [m["sequence_id"] for m in messages] == list(range(len(messages)))


async def test_speech_without_end_is_recognised_in_stretches(
    ears: FluxServer, recordings: Callable[[], Any], word_errors: Callable[..., Any]
) -> None:
    corpus = recordings()
    data = b"".join(speech.samples for speech in corpus)
    async with connect(f"{ears.url}?{RAW}&eot_threshold=1.0&eot_timeout_ms=3000") as socket:
        await socket.send(data + bytes(16000 * 2 * 4))
        ended = (await hear(socket, "EndOfTurn"))[-1]
    wrong, count = word_errors(" ".join(speech.text for speech in corpus), ended["transcript"])
    assert count > 60
    assert wrong <= count * 0.2
    assert ended["trigger"] == "timeout"
    starts = [word["start"] for word in ended["words"]]
    assert starts == sorted(starts)
    assert ended["words"][-1]["end"] <= ended["audio_window_end"]


async def test_the_multilingual_model_says_the_languages(
    ears: FluxServer, recordings: Callable[[], Any]
) -> None:
    async with connect(f"{ears.url}?{MULTI}&language_hint=en-GB") as socket:
        await socket.send(recordings()[4].samples + bytes(16000 * 2 * 3))
        ended = (await hear(socket, "EndOfTurn"))[-1]
        assert (ended["languages"], ended["languages_hinted"]) == (["en"], ["en-GB"])
        await socket.send(json.dumps({"type": "Configure", "language_hints": []}))
        assert (await hear(socket, "ConfigureSuccess"))[-1]["language_hints"] == []


async def test_a_client_that_goes_away_leaves_the_server_well(
    ears: FluxServer, recordings: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    speech = recordings()[4]
    for _ in range(3):
        socket = await connect(f"{ears.url}?{RAW}")
        await socket.send(speech.samples + bytes(16000 * 2 * 3))
        await hear(socket, "Connected")
        socket.transport.abort()
        await socket.wait_closed()
    async with connect(f"{ears.url}?{RAW}") as socket:
        await socket.send(speech.samples + bytes(16000 * 2 * 3))
        assert (await hear(socket, "EndOfTurn"))[-1]["turn_index"] == 0
    assert not [record for record in caplog.records if "handler failed" in record.message]


async def test_a_wav_file_says_what_it_is_by_itself(
    ears: FluxServer, recordings: Callable[[], Any]
) -> None:
    import io
    import wave

    speech = recordings()[1]
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(speech.rate)
        file.writeframes(speech.samples + bytes(speech.rate * 4))
    data = made.getvalue()
    async with connect(f"{ears.url}?model=flux-general-en") as socket, asyncio.TaskGroup() as tasks:

        async def send() -> None:
            for at in range(0, len(data), 2560):
                await socket.send(data[at : at + 2560])
                await asyncio.sleep(0.02)

        tasks.create_task(send())
        ended = (await hear(socket, "EndOfTurn"))[-1]
    assert ended["transcript"]


async def test_what_is_no_wav_file_is_refused(ears: FluxServer) -> None:
    async with connect(f"{ears.url}?model=flux-general-en") as socket:
        await socket.send(b"OggS" + bytes(100))
        await asyncio.wait_for(socket.wait_closed(), 5)
        assert socket.close_code == 1008
        assert "DATA-0000" in (socket.close_reason or "")


async def test_several_calls_at_once_are_kept_apart(
    ears: FluxServer, recordings: Callable[[], Any], word_errors: Callable[..., Any]
) -> None:
    async def one(speech: Any) -> None:
        async with connect(f"{ears.url}?{RAW}") as socket, asyncio.TaskGroup() as tasks:
            tasks.create_task(speak(socket, speech.samples, speech.rate, 2.0))
            ended = (await hear(socket, "EndOfTurn"))[-1]
        wrong, count = word_errors(speech.text, ended["transcript"])
        assert wrong <= count * 0.4

    async with asyncio.TaskGroup() as tasks:
        for speech in recordings()[:3]:
            tasks.create_task(one(speech))
