"""Asterisk's channel over WebSocket: its queue, its flow control and both forms of its control."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.testing.carriers import FakeAsterisk, Network
from agentkit.testing.clock import in_virtual_time
from tests.testing.carrier_bots import Bot, audio

ULAW = AudioFormat("mulaw", 8000)


def noise(seconds: float) -> bytes:
    return audio(FakeAsterisk, seconds)


def command(name: str, correlation_id: str | None = None) -> str:
    about: dict[str, Any] = {"command": name}
    if correlation_id is not None:
        about["correlation_id"] = correlation_id
    return json.dumps(about)


async def controls(bot: Bot, caller: FakeAsterisk) -> list[Any]:
    await caller.hang_up()
    return [each for each in bot.received if isinstance(each, str)]


@pytest.mark.parametrize(
    ("format", "name", "size"),
    [
        (ULAW, "ulaw", 160),
        (AudioFormat("alaw", 8000), "alaw", 160),
        (AudioFormat("linear16", 8000), "slin", 320),
        (AudioFormat("linear16", 16000), "slin16", 640),
        (AudioFormat("linear16", 48000), "slin48", 1920),
    ],
)
@in_virtual_time(until=120)
async def test_the_start_names_the_codec_and_its_frame(
    format: AudioFormat, name: str, size: int
) -> None:
    async with Bot() as bot, FakeAsterisk(bot.url, audio=format, parameters={"t": "1"}) as caller:
        await bot.until(3)
        await caller.press("#")
        await caller.hang_up()
    start, key = bot.texts()
    assert start["event"] == "MEDIA_START"
    assert start["channel_id"] == caller.call
    assert (start["format"], start["optimal_frame_size"], start["ptime"]) == (name, size, 20)
    assert start["channel_variables"] == {"t": "1"}
    assert key == {"event": "DTMF_END", "channel_id": caller.call, "digit": "#"}
    assert bot.request.path == "/carrier/media?t=1"
    assert len(bot.received[1]) == size


@in_virtual_time(until=120)
async def test_control_can_be_plain() -> None:
    async with Bot() as bot:
        caller = FakeAsterisk(bot.url)
        caller.control = "plain"
        async with caller:
            await bot.send(
                "ANSWER", "MARK_MEDIA one two", "GET_STATUS", "REPORT_QUEUE_DRAINED", "HANGUP now"
            )
            await caller.until_ended()
    start, *rest = [each for each in bot.received if isinstance(each, str)]
    assert isinstance(start, str)
    assert start.startswith(f"MEDIA_START connection_id:{caller.stream} channel:WebSocket/")
    assert " optimal_frame_size:160 ptime:20" in start
    assert rest[0].startswith("STATUS queue_length:0 xon_level:800 xoff_level:900 queue_full:false")
    assert caller.ended is not None
    assert caller.ended.how == "bot closed"
    assert caller.protocol_errors == []


@in_virtual_time(until=120)
async def test_plain_events_have_no_names_for_what_they_tell() -> None:
    async with Bot() as bot:
        caller = FakeAsterisk(bot.url)
        caller.control = "plain"
        async with caller:
            await bot.send("MARK_MEDIA one", "REPORT_QUEUE_DRAINED")
            await caller.wait_for("marked")
            await caller.press("5")
            await asyncio.sleep(0.05)
            rest = (await controls(bot, caller))[1:]
    assert sorted(rest) == [
        f"DTMF_END digit:5 channel_id:{caller.call}",
        "MEDIA_MARK_PROCESSED one",
        "QUEUE_DRAINED",
    ]


@in_virtual_time(until=120)
async def test_messages_are_cut_into_frames_and_the_rest_is_kept_only_while_buffering() -> None:
    data = noise(0.1)
    async with Bot() as bot, FakeAsterisk(bot.url) as caller:
        await bot.send(command("START_MEDIA_BUFFERING"))
        await bot.send(*(data[begin : begin + 70] for begin in range(0, len(data), 70)))
        await bot.send(command("STOP_MEDIA_BUFFERING", "all"))
        await caller.until_quiet(0.1)
        assert caller.heard_audio() == data
        assert caller.protocol_errors == []
        await bot.send(data[:170])
        await caller.until_quiet(0.1, after=asyncio.get_running_loop().time())
        assert caller.heard_audio() == data + data[:160]
        assert len(caller.protocol_errors) == 1
    assert bot.events("MEDIA_BUFFERING_COMPLETED") == [
        {
            "event": "MEDIA_BUFFERING_COMPLETED",
            "channel_id": caller.call,
            "correlation_id": "all",
        }
    ]


@in_virtual_time(until=120)
async def test_the_queue_asks_for_a_pause_at_900_frames_and_for_more_below_800() -> None:
    async with Bot() as bot, FakeAsterisk(bot.url, sends_silence=False) as caller:
        began = asyncio.get_running_loop().time()
        await bot.send(noise(4.0), noise(4.0), noise(4.0), noise(5.9))
        await caller.wait_for("media", 4)
        await asyncio.sleep(0.01)
        assert bot.events("MEDIA_XOFF") == []
        await bot.send(noise(1.0))
        await asyncio.sleep(0.01)
        assert len(bot.events("MEDIA_XOFF")) == 1
        await bot.send(command("GET_STATUS"))
        await asyncio.sleep(began + 18.9 - 800 * 0.02 - asyncio.get_running_loop().time())
        assert bot.events("MEDIA_XON") == []
        await asyncio.sleep(0.1)
        assert len(bot.events("MEDIA_XON")) == 1
    (status,) = bot.events("STATUS")
    assert status["queue_full"] is True
    assert status["queue_length"] >= 900


@in_virtual_time(until=120)
async def test_a_full_queue_drops_whole_messages() -> None:
    async with Bot() as bot, FakeAsterisk(bot.url) as caller:
        await bot.send(*[noise(4.1)] * 6)
        await caller.wait_for("error")
        assert caller.protocol_errors == ["a message while the queue was full: it was dropped"]
        assert caller.count("media") == 5


@in_virtual_time(until=120)
async def test_a_flush_forgets_marks_and_a_pause_keeps_everything() -> None:
    async with Bot() as bot, FakeAsterisk(bot.url) as caller:
        await bot.send(noise(0.2), command("MARK_MEDIA", "one"), command("PAUSE_MEDIA"))
        await asyncio.sleep(1.0)
        assert caller.heard_seconds() < 0.05
        await bot.send(command("CONTINUE_MEDIA"))
        mark = await caller.wait_for("marked")
        assert caller.heard_audio() == noise(0.2)
        assert mark.time - caller.heard[-1].time == pytest.approx(0.02)
        await bot.send(noise(1.0), command("MARK_MEDIA", "two"))
        await asyncio.sleep(0.2)
        await bot.send(command("FLUSH_MEDIA"), command("MARK_MEDIA", "three"))
        await caller.wait_for("marked", 2)
        await asyncio.sleep(1.0)
        assert caller.heard_seconds() == pytest.approx(0.4, abs=0.021)
    processed = [each["correlation_id"] for each in bot.events("MEDIA_MARK_PROCESSED")]
    assert processed == ["one", "three"]


@in_virtual_time(until=120)
async def test_a_message_that_is_too_long_ends_the_call() -> None:
    async with Bot() as bot, FakeAsterisk(bot.url) as caller:
        await bot.send(bytes(65_501))
        assert (await caller.until_ended()).how == "bot closed"
        assert caller.protocol_errors[0].startswith("a message of more than 65500 bytes")


@in_virtual_time(until=120)
async def test_latency_delays_what_is_heard_and_its_marks() -> None:
    async with Bot() as bot, FakeAsterisk(bot.url, network=Network(latency=0.1)) as caller:
        began = asyncio.get_running_loop().time()
        await bot.send(noise(0.1), command("MARK_MEDIA", "m"))
        mark = await caller.wait_for("marked")
        assert caller.first_heard_at == pytest.approx(began + 0.1, abs=0.021)
        assert mark.time == pytest.approx(began + 0.2, abs=0.021)
        assert caller.first_sound_at(after=began) == pytest.approx(began + 0.1, abs=0.021)


@in_virtual_time(until=120)
async def test_asterisk_asks_no_webhook() -> None:
    with pytest.raises(ValueError, match="Asterisk asks no webhook"):
        async with FakeAsterisk(webhook="http://127.0.0.1:1/"):
            raise AssertionError("not reached")
