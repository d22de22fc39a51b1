"""What each carrier tells a bot, to the last field: names, order, numbers as text or as numbers."""

from __future__ import annotations

import asyncio
import base64

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.testing.carriers import (
    FakeJambonz,
    FakePlivo,
    FakeSignalWire,
    FakeTelnyx,
    FakeTwilio,
    FakeVonage,
)
from agentkit.testing.clock import in_virtual_time
from tests.testing.carrier_bots import SIGNALWIRE, Bot

LINEAR_16K = AudioFormat("linear16", 16000)


@in_virtual_time(until=120)
async def test_twilio_numbers_everything_with_text() -> None:
    async with Bot() as bot, FakeTwilio(bot.url, parameters={"token": "t0"}) as caller:
        await asyncio.sleep(0.05)
        await caller.press("5")
        await asyncio.sleep(0.02)
        await caller.hang_up()
    connected, start, *rest = bot.texts()
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "start": {
            "accountSid": caller.account,
            "streamSid": caller.stream,
            "callSid": caller.call,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": "t0"},
        },
        "streamSid": caller.stream,
    }
    assert (caller.account[:2], caller.call[:2], caller.stream[:2]) == ("AC", "CA", "MZ")
    assert [each["event"] for each in rest] == ["media"] * 3 + ["dtmf", "media", "stop"]
    assert [each["sequenceNumber"] for each in rest] == ["2", "3", "4", "5", "6", "7"]
    assert [each["media"]["chunk"] for each in rest if "media" in each] == ["1", "2", "3", "4"]
    stamps = [each["media"]["timestamp"] for each in rest if "media" in each]
    assert stamps == ["0", "20", "40", "60"]
    assert rest[3]["dtmf"] == {"track": "inbound_track", "digit": "5"}
    assert rest[-1]["stop"] == {"accountSid": caller.account, "callSid": caller.call}
    assert all(each["streamSid"] == caller.stream for each in rest)


@in_virtual_time(until=120)
async def test_signalwire_names_the_stream_in_start_only_and_says_how_long_a_key_was_held() -> None:
    async with Bot() as bot, FakeSignalWire(bot.url, audio=LINEAR_16K) as caller:
        await asyncio.sleep(0.03)
        await caller.press("#")
        await bot.send(SIGNALWIRE.mark(caller.stream, "m"))
        await caller.wait_for("marked")
        await caller.hang_up()
    connected, start, *rest = bot.texts()
    assert connected["version"] == "0.2.0"
    assert start["start"]["streamSid"] == caller.stream
    assert start["start"]["mediaFormat"]["encoding"] == "audio/x-L16"
    assert [each["event"] for each in rest] == ["media", "media", "dtmf", "mark", "stop"]
    assert ["streamSid" in each for each in [start, *rest]] == [False] * 3 + [True, True, False]
    assert rest[2]["dtmf"] == {"digit": "#", "duration": 100}
    assert "sequenceNumber" not in rest[3]
    payloads = [base64.b64decode(each["media"]["payload"]) for each in bot.events("media")]
    assert {len(data) for data in payloads} == {640}


@in_virtual_time(until=120)
async def test_telnyx_names_the_stream_in_every_message() -> None:
    async with Bot() as bot, FakeTelnyx(bot.url, wall_clock=lambda: 1e9) as caller:
        await asyncio.sleep(0.03)
        await caller.press("1")
        await caller.hang_up()
    connected, start, *rest = bot.texts()
    assert connected == {"event": "connected", "version": "1.0.0"}
    assert start["start"]["call_control_id"] == caller.call
    assert start["start"]["media_format"] == {
        "encoding": "PCMU",
        "sample_rate": 8000,
        "channels": 1,
    }
    assert all(each["stream_id"] == caller.stream for each in [start, *rest])
    assert [each["sequence_number"] for each in [start, *rest]] == ["1", "2", "3", "4", "5"]
    assert rest[2]["occurred_at"] == "2001-09-09T01:46:40Z"
    assert rest[-1]["stop"]["call_control_id"] == caller.call


@pytest.mark.parametrize(("separator", "extra"), [(";", "a=1;token=t"), (",", "a=1,token=t")])
@in_virtual_time(until=120)
async def test_plivo_numbers_with_numbers_and_ends_without_a_stop(
    separator: str, extra: str
) -> None:
    async with Bot() as bot:
        caller = FakePlivo(
            bot.url, parameters={"a": "1", "token": "t"}, wall_clock=lambda: 1600000000.5
        )
        caller.separator = separator
        async with caller:
            await asyncio.sleep(0.03)
            await caller.press("*")
            await caller.hang_up()
    start, *rest = bot.texts()
    assert start["start"]["streamId"] == caller.stream
    assert start["start"]["callId"] == caller.call
    assert start["extra_headers"] == extra
    assert [each["event"] for each in rest] == ["media", "media", "dtmf"]
    assert [each["sequenceNumber"] for each in [start, *rest]] == [1, 2, 3, 4]
    assert [each["media"]["chunk"] for each in rest[:2]] == [1, 2]
    assert rest[0]["media"]["timestamp"] == "1600000000500"
    assert rest[2]["dtmf"]["digit"] == "*"


@in_virtual_time(until=120)
async def test_vonage_flattens_its_parameters_and_sends_bare_audio() -> None:
    async with Bot() as bot, FakeVonage(bot.url, parameters={"token": "t"}) as caller:
        await asyncio.sleep(0.03)
        await caller.press("9")
        await caller.hang_up()
    connected, dtmf = bot.texts()
    assert connected == {
        "event": "websocket:connected",
        "content-type": "audio/l16;rate=16000",
        "token": "t",
    }
    assert dtmf == {"event": "websocket:dtmf", "digit": "9", "duration": 260}
    assert bot.received[1:3] == [bytes(640)] * 2


@in_virtual_time(until=120)
async def test_jambonz_tells_of_the_call_first_and_asks_for_its_subprotocol() -> None:
    async with Bot() as bot, FakeJambonz(bot.url, parameters={"token": "t"}) as caller:
        await asyncio.sleep(0.03)
        await caller.press("2")
        await caller.hang_up()
    assert bot.request.headers["Sec-WebSocket-Protocol"] == "audio.jambonz.org"
    about, dtmf = bot.texts()
    assert about["callSid"] == caller.call
    assert (about["sampleRate"], about["mixType"]) == (8000, "mono")
    assert about["metadata"] == {"token": "t"}
    assert dtmf == {"event": "dtmf", "dtmf": "2", "duration": "1600"}
    assert bot.received[1:3] == [bytes(320)] * 2
