"""The faults of a fake carrier are really on the wire, and the bot's own faults are noticed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agentkit.testing.carriers import FakeCarrier, FakeJambonz, FakeTelnyx, FakeTwilio, FakeVonage
from agentkit.testing.clock import in_virtual_time
from tests.testing.carrier_bots import (
    ALL,
    JAMBONZ,
    PLIVO,
    SIGNALWIRE,
    TELNYX,
    TWILIO,
    VONAGE,
    Bot,
    Message,
    Words,
    audio,
    b64,
)

each_carrier = pytest.mark.parametrize("words", ALL, ids=lambda words: words.fake.name)
each_text = pytest.mark.parametrize(
    "words", [TWILIO, SIGNALWIRE, TELNYX, PLIVO], ids=lambda words: words.fake.name
)


def numbers(bot: Bot) -> list[int]:
    return [
        int(each.get("sequenceNumber") or each["sequence_number"])
        for each in bot.texts()
        if "sequenceNumber" in each or "sequence_number" in each
    ]


def chunks(bot: Bot) -> list[int]:
    return [int(each["media"]["chunk"]) for each in bot.events("media")]


# ------------------------------------------------------------------------- the carrier's faults


@in_virtual_time(until=120)
async def test_media_come_in_the_wrong_order() -> None:
    async with Bot() as bot, FakeTelnyx(bot.url) as caller:
        await asyncio.sleep(0.01)
        caller.faults.reorder(2)
        await asyncio.sleep(0.1)
    assert chunks(bot) == [1, 3, 2, 5, 4, 6]
    assert numbers(bot)[:7] == [1, 2, 4, 3, 6, 5, 7]


@each_text
@in_virtual_time(until=120)
async def test_media_come_twice_and_media_are_missing(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        await asyncio.sleep(0.01)
        caller.faults.duplicate(2)
        await asyncio.sleep(0.06)
        caller.faults.lose(2)
        await asyncio.sleep(0.06)
    assert chunks(bot) == [1, 2, 2, 3, 3, 4, 7]
    assert caller.frames_sent == 7


@each_carrier
@in_virtual_time(until=120)
async def test_messages_that_cannot_be_read_are_sent_as_they_are(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        await caller.faults.malformed()
        await caller.faults.not_an_object()
        await caller.faults.unknown_event()
        await caller.faults.binary(b"\x01\x02")
        await caller.faults.oversize(100_000)
        await asyncio.sleep(0.05)
    assert '{"event":"media","media":{' in bot.received
    assert ["media"] in bot.texts()
    assert len(bot.events("tomorrow")) == 1
    assert (b"\x01\x02" if words.fake.is_text else b"\x01\x02\x00") in bot.received
    (oversize,) = bot.events("oversize")
    assert len(oversize["payload"]) == 100_000


@each_text
@in_virtual_time(until=120)
async def test_media_can_be_no_base64_and_of_another_stream(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        await caller.faults.bad_base64()
        await caller.faults.wrong_stream()
        await asyncio.sleep(0.03)
    bad, wrong = bot.events("media")[:2]
    assert bad["media"]["payload"] == "!not base64!"
    named = wrong.get("streamSid") or wrong.get("stream_id") or wrong["streamId"]
    assert named != caller.stream


@each_carrier
@in_virtual_time(until=120)
async def test_a_second_start_and_marks_that_nobody_asked_for(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        await asyncio.sleep(0.03)
        await caller.faults.second_start()
        await caller.faults.flood_marks("m", 20)
        await asyncio.sleep(0.03)
    starts = ("start", "websocket:connected", "MEDIA_START")
    about = [each for each in bot.texts() if each.get("event") in starts or "mixType" in each]
    assert len(about) == 2
    marks = ("mark", "playedStream", "websocket:notify", "MEDIA_MARK_PROCESSED")
    assert len(bot.events(*marks)) == 20


@each_text
@in_virtual_time(until=120)
async def test_media_before_the_start_and_a_start_that_never_comes(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url, media_before_start=2, start_delay=0.5) as caller:
        await asyncio.sleep(0.03)
        await caller.hang_up()
    kinds = [each["event"] for each in bot.texts() if each["event"] != "connected"]
    assert kinds[:4] == ["media", "media", "start", "media"]
    async with Bot() as bot, words.fake(bot.url, starts=False) as caller:
        await asyncio.sleep(5)
        await caller.hang_up()
    assert [each["event"] for each in bot.texts()] in ([], ["connected"])


@in_virtual_time(until=120)
async def test_a_stalled_carrier_makes_the_bot_wait() -> None:
    sent = 0

    async def pour(bot: Bot) -> None:
        nonlocal sent
        caller = await started
        while True:
            await bot.send(TWILIO.play(caller.stream, bytes(30_000)))
            sent += 1

    started: asyncio.Future[FakeTwilio] = asyncio.get_running_loop().create_future()
    async with Bot(pour) as bot, FakeTwilio(bot.url, receive_buffer=4096) as caller:
        caller.stall()
        started.set_result(caller)
        await asyncio.sleep(1.0)
        stuck = sent
        await asyncio.sleep(1.0)
        assert sent == stuck > 0
        assert caller.count("media") <= 1
        caller.flow()
        await caller.wait_for("media", stuck)
        assert sent >= stuck


# ----------------------------------------------------------------------------- the bot's faults


def broken(words: Words, caller: FakeCarrier) -> dict[str, Message]:
    """Messages that the carrier minds, and how it says so."""
    stream = caller.stream
    if words is TWILIO or words is SIGNALWIRE:
        return {
            "a message that is no JSON object": "{",
            "a binary message": b"\x00",
            "media without audio in base64": json.dumps(
                {"event": "media", "streamSid": stream, "media": {"payload": "?"}}
            ),
            "media with a file's header: it is heard as noise": TWILIO.play(
                stream, b"RIFF" + bytes(156)
            ),
            "media without the stream's streamSid": TWILIO.play("MZ0", bytes(160)),
            "a mark without a name": TWILIO.mark(stream, ""),
            f"an event that {caller.name} does not know: pause": json.dumps(
                {"event": "pause", "streamSid": stream}
            ),
        }
    if words is TELNYX:
        return {
            "a message that is no JSON object": "[]",
            "media without audio in base64": '{"event":"media","media":{}}',
            "media shorter than 20 ms or longer than 30 s": TELNYX.play("", bytes(80)),
            "an event that telnyx does not know: None": "{}",
        }
    if words is PLIVO:
        other = {"contentType": "audio/x-l16", "sampleRate": 16000, "payload": b64(bytes(640))}
        return {
            "playAudio in another format than the stream's": json.dumps(
                {"event": "playAudio", "media": other}
            ),
            "clearAudio with another stream's streamId": PLIVO.clear("other"),
            "sendDTMF without keys": '{"event":"sendDTMF","dtmf":"x"}',
            "an event that plivo does not know: media": '{"event":"media"}',
        }
    if words is VONAGE:
        return {
            "a message of 320 bytes, which is no frame of 20 ms": bytes(320),
            "a message of 1280 bytes, which is no frame of 20 ms": bytes(1280),
            "a mark without a name": '{"action":"notify"}',
            "an action that vonage does not know: stop": '{"action":"stop"}',
        }
    if words is JAMBONZ:
        return {
            "a binary message that is no whole samples": bytes(3),
            "a mark without a name": '{"type":"mark","data":[]}',
            "a type that jambonz does not know: clear": '{"type":"clear"}',
        }
    return {
        "a message that is no whole frames of 160 bytes: its end was dropped": bytes(170),
        "a control message of more than 128 bytes": "{" + " " * 128,
        "a mark without a name": '{"command":"MARK_MEDIA"}',
        "a command that asterisk does not know: flush_media": '{"command":"flush_media"}',
    }


@each_carrier
@in_virtual_time(until=120)
async def test_what_the_bot_does_wrong_is_noted_and_the_call_goes_on(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        faults = broken(words, caller)
        await bot.send(*faults.values())
        await caller.wait_for("error", len(faults))
        assert caller.protocol_errors == list(faults)
        good = audio(words.fake, 0.02)
        await bot.send(words.play(caller.stream, good))
        await caller.until_quiet(0.1)
        assert caller.heard_audio().endswith(good)


@in_virtual_time(until=120)
async def test_telnyx_tells_the_bot_what_was_wrong() -> None:
    async with Bot() as bot, FakeTelnyx(bot.url) as caller:
        await bot.send("{", '{"event":"media","media":{"payload":"?"}}', '{"event":"x"}')
        await caller.wait_for("error", 3)
        await asyncio.sleep(0.01)
    errors = bot.events("error")
    assert [each["payload"]["code"] for each in errors] == [100003, 100004, 100002]
    assert {each["stream_id"] for each in errors} == {caller.stream}


async def speak_early(bot: Bot) -> None:
    await bot.send('{"event":"clear"}')


@pytest.mark.parametrize("fake", [FakeTwilio, FakeTelnyx, FakeVonage, FakeJambonz])
@in_virtual_time(until=120)
async def test_a_bot_that_speaks_before_the_start_is_noticed(fake: type[FakeCarrier]) -> None:
    async with Bot(speak_early) as bot, fake(bot.url, start_delay=0.1) as caller:
        await caller.wait_for("error")
        assert caller.protocol_errors == ["a message before the stream's start"]


@in_virtual_time(until=120)
async def test_the_bot_presses_keys_where_the_carrier_lets_it() -> None:
    async with Bot() as bot, SIGNALWIRE.fake(bot.url) as caller:
        keys = {"event": "dtmf", "streamSid": caller.stream, "dtmf": {"digit": "5"}}
        await bot.send(json.dumps(keys))
        assert (await caller.wait_for("dtmf")).detail == "5"
    async with Bot() as bot, PLIVO.fake(bot.url) as caller:
        await bot.send('{"event":"sendDTMF","dtmf":"12#"}')
        assert (await caller.wait_for("dtmf")).detail == "12#"
    async with Bot() as bot, TWILIO.fake(bot.url) as caller:
        await bot.send(json.dumps(keys | {"streamSid": caller.stream}))
        await caller.wait_for("error")
        assert caller.protocol_errors == ["an event that twilio does not know: dtmf"]


@in_virtual_time(until=120)
async def test_jambonz_disconnect_ends_the_stream() -> None:
    async with Bot() as bot, FakeJambonz(bot.url) as caller:
        await bot.send('{"type":"disconnect"}')
        assert (await caller.until_ended()).how == "bot closed"
        assert caller.count("hang_up") == 1
        await asyncio.sleep(0.01)
    assert bot.closed_with == 1000


@in_virtual_time(until=120)
async def test_what_the_fake_itself_does_wrong_is_raised_at_its_end() -> None:
    class Broken(FakeTwilio):
        def _read(self, message: Any) -> None:
            raise KeyError("a fault of the fake")

    async def call() -> None:
        async with Bot() as bot, Broken(bot.url) as caller:
            await bot.send("{}")
            assert (await caller.until_ended()).how == "failed"

    with pytest.raises(ExceptionGroup, match="the fake failed"):
        await call()
