"""What every fake carrier does: speaks by the clock, is heard by the clock, and ends in order."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable
from typing import Any

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.testing.carriers import (
    FakeCarrier,
    FakeJambonz,
    FakePlivo,
    FakeTwilio,
    FakeVonage,
    Network,
)
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
    Words,
    audio,
    b64,
)

LINEAR_16K = AudioFormat("linear16", 16000)

each_carrier = pytest.mark.parametrize("words", ALL, ids=lambda words: words.fake.name)


def now() -> float:
    return asyncio.get_running_loop().time()


def near(time: float) -> Any:
    return pytest.approx(time, abs=1e-6)


def frames(fake: FakeCarrier, data: bytes, seconds: float = 0.02) -> list[bytes]:
    size = fake.audio.size(seconds)
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


def media(bot: Bot) -> list[bytes]:
    """The audio of each message of media that the bot was sent."""
    found = []
    for message in bot.received:
        if isinstance(message, bytes):
            found.append(message)
        elif "payload" in message and json.loads(message)["event"] == "media":
            found.append(base64.b64decode(json.loads(message)["media"]["payload"]))
    return found


async def play(bot: Bot, words: Words, caller: FakeCarrier, data: bytes) -> None:
    for frame in frames(caller, data):
        await bot.send(words.play(caller.stream, frame))


# ------------------------------------------------------------------------ what the caller says


@each_carrier
@in_virtual_time(until=120)
async def test_a_frame_is_sent_each_20_ms_and_holds_what_the_caller_says(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        began = now()
        spoken = audio(words.fake, 0.1)
        caller.say(spoken)
        assert await caller.said() == near(began + 0.08)
        await asyncio.sleep(0.39)
        assert caller.frames_sent == len(caller.lateness) == 24
        assert max(caller.lateness) < 1e-6
        await caller.hang_up()
    sent = media(bot)
    assert b"".join(sent[:5]) == spoken
    assert set(sent[5:]) == {caller.audio.silence(0.02)}
    assert len(sent) == caller.frames_sent
    assert caller.protocol_errors == []


@each_carrier
@in_virtual_time(until=120)
async def test_the_last_frame_is_filled_up_with_silence(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        spoken = audio(words.fake, 0.03)
        caller.say(spoken)
        await caller.said()
        await caller.hang_up()
    silence = caller.audio.silence(0.01)
    assert b"".join(media(bot)[:2]) == spoken + silence


@each_carrier
@in_virtual_time(until=120)
async def test_nothing_is_sent_while_there_is_a_gap_or_silence_is_suppressed(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url, sends_silence=False) as caller:
        await asyncio.sleep(0.5)
        assert caller.frames_sent == 0
        caller.sends_silence = True
        await asyncio.sleep(0.11)
        before = caller.frames_sent
        caller.gap(1.0)
        await asyncio.sleep(0.99)
        assert caller.frames_sent == before > 0
        await asyncio.sleep(0.11)
        assert caller.frames_sent > before
    assert len(media(bot)) == caller.frames_sent


@pytest.mark.parametrize("frame", [0.04, 0.06, 0.1])
@in_virtual_time(until=120)
async def test_frames_can_be_longer(frame: float) -> None:
    async with Bot() as bot, FakeTwilio(bot.url, frame=frame) as caller:
        await asyncio.sleep(0.59)
    assert caller.frames_sent == -(-0.59 // frame)
    assert {len(data) for data in media(bot)} == {round(frame * 8000)}
    stamps = [int(each["media"]["timestamp"]) for each in bot.events("media")]
    assert stamps == [round(place * frame * 1000) for place in range(caller.frames_sent)]


# ---------------------------------------------------------------------- what the caller hears


@each_carrier
@in_virtual_time(until=120)
async def test_what_is_sent_in_a_burst_is_heard_in_real_time(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        data = audio(words.fake, 1.0)
        began = now()
        await play(bot, words, caller, data)
        await caller.wait_for("media", 50)
        await asyncio.sleep(began + 0.5 - now())
        assert caller.heard_seconds() == pytest.approx(0.5, abs=0.02)
        assert caller.is_playing
        await caller.until_quiet()
        assert not caller.is_playing
        assert caller.heard_audio() == data
        assert caller.first_heard_at == pytest.approx(began, abs=0.02)
        assert caller.first_sound_at() is not None
        assert caller.longest_gap() < 0.001
    assert caller.protocol_errors == []


@each_carrier
@in_virtual_time(until=120)
async def test_marks_come_back_when_what_stood_before_them_was_heard(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        await bot.send(words.mark(caller.stream, "at once"))
        at_once = await caller.wait_for("marked")
        began = now()
        await play(bot, words, caller, audio(words.fake, 0.2))
        await bot.send(words.mark(caller.stream, "first"))
        await play(bot, words, caller, audio(words.fake, 0.1))
        await bot.send(words.mark(caller.stream, "second"), words.mark(caller.stream, "third"))
        marks = [await caller.wait_for("marked", count) for count in (2, 3, 4)]
        await asyncio.sleep(0.01)
    assert at_once.time == pytest.approx(began, abs=0.02)
    assert [mark.time - began for mark in marks] == [
        pytest.approx(0.2, abs=0.02),
        pytest.approx(0.3, abs=0.02),
        pytest.approx(0.3, abs=0.02),
    ]
    assert marks_returned(bot) == ["at once", "first", "second", "third"]


def marks_returned(bot: Bot) -> list[str]:
    """The names of the marks that the bot was given back, in the words of any carrier."""
    found = []
    for each in bot.texts():
        kind = each.get("event") or each.get("type")
        if kind == "mark":
            found.append((each.get("mark") or each["data"])["name"])
        elif kind == "playedStream":
            found.append(each["name"])
        elif kind == "websocket:notify":
            found.append(each["payload"]["name"])
        elif kind == "MEDIA_MARK_PROCESSED":
            found.append(each["correlation_id"])
    return found


async def barge_in(bot: Bot, words: Words, caller: FakeCarrier) -> float:
    """Play a second, with marks; clear after 0.4 s; play on. Returns when the clear was sent."""
    await play(bot, words, caller, audio(words.fake, 0.2))
    await bot.send(words.mark(caller.stream, "played"))
    await play(bot, words, caller, audio(words.fake, 0.8))
    await bot.send(words.mark(caller.stream, "pending"))
    await asyncio.sleep(0.4)
    cut = now()
    await bot.send(words.clear(caller.stream))
    await play(bot, words, caller, audio(words.fake, 0.1, pitch=2))
    await bot.send(words.mark(caller.stream, "after"))
    await asyncio.sleep(0.3)
    return cut


@each_carrier
@in_virtual_time(until=120)
async def test_a_clear_drops_what_was_not_heard_and_nothing_after_it(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        await barge_in(bot, words, caller)
        heard = caller.heard_audio()
    again = audio(words.fake, 0.1, pitch=2)
    assert heard.endswith(again)
    before = heard[: -len(again)]
    assert caller.audio.seconds(len(before)) == pytest.approx(0.4, abs=0.021)
    assert (audio(words.fake, 0.2) + audio(words.fake, 0.8)).startswith(before)


@pytest.mark.parametrize("words", [TWILIO, SIGNALWIRE, TELNYX], ids=lambda words: words.fake.name)
@in_virtual_time(until=120)
async def test_these_return_cleared_marks_at_once_and_do_not_say_so(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        cut = await barge_in(bot, words, caller)
        times = [each.time for each in caller.events if each.kind == "marked"]
    assert marks_returned(bot) == ["played", "pending", "after"]
    assert times[1] == pytest.approx(cut, abs=0.001)
    assert {frozenset(each) for each in bot.events("mark")} == {frozenset(bot.events("mark")[0])}


@in_virtual_time(until=120)
async def test_plivo_confirms_a_clear_and_forgets_its_checkpoints() -> None:
    async with Bot() as bot, FakePlivo(bot.url) as caller:
        await barge_in(bot, PLIVO, caller)
    assert marks_returned(bot) == ["played", "after"]
    (cleared,) = bot.events("clearedAudio")
    assert cleared["streamId"] == caller.stream
    numbers = [each["sequenceNumber"] for each in bot.texts()]
    assert numbers == list(range(1, len(numbers) + 1))


@in_virtual_time(until=120)
async def test_vonage_confirms_a_clear_and_drops_its_notifies() -> None:
    async with Bot() as bot, FakeVonage(bot.url) as caller:
        await barge_in(bot, VONAGE, caller)
    assert marks_returned(bot) == ["played", "after"]
    assert bot.events("websocket:cleared") == [{"event": "websocket:cleared"}]


@in_virtual_time(until=120)
async def test_jambonz_says_of_each_mark_whether_it_was_played() -> None:
    async with Bot() as bot, FakeJambonz(bot.url) as caller:
        await barge_in(bot, JAMBONZ, caller)
    assert [each["data"] for each in bot.events("mark")] == [
        {"name": "played", "event": "playout"},
        {"name": "pending", "event": "cleared"},
        {"name": "after", "event": "playout"},
    ]


@in_virtual_time(until=120)
async def test_latency_buffer_and_jitter_delay_what_is_heard_and_its_marks() -> None:
    network = Network(latency=0.05, buffer=0.1, jitter=0.04, seed=3)
    async with Bot() as bot, FakeTwilio(bot.url, network=network) as caller:
        began = now()
        await bot.send(TWILIO.play(caller.stream, audio(FakeTwilio, 0.2)))
        await bot.send(TWILIO.mark(caller.stream, "m"))
        mark = await caller.wait_for("marked")
        heard = caller.first_heard_at
        assert heard is not None
        assert 0.15 <= heard - began <= 0.191
        assert mark.time == near(heard + 0.2 + 0.05)


def fate(name: str) -> Iterable[float]:
    return {"lost": (), "late": (0.5,), "twice": (0.0, 0.1)}.get(name, (0.0,))


@in_virtual_time(until=120)
async def test_marks_can_be_lost_late_or_come_twice() -> None:
    async with Bot() as bot, FakeTwilio(bot.url, network=Network(marks=fate)) as caller:
        began = now()
        for name in ("lost", "late", "twice", "plain"):
            await bot.send(TWILIO.mark(caller.stream, name))
        await caller.wait_for("marked", 4)
        found = [(each.detail, each.time - began) for each in caller.events]
    late = [each for each in found if each[1] > 0.05]
    assert [name for name, _ in late] == ["twice", "late"]
    assert [time for _, time in late] == pytest.approx([0.1, 0.5], abs=0.02)
    assert marks_returned(bot) == ["twice", "plain", "twice", "late"]


@pytest.mark.parametrize(("words", "seconds"), [(PLIVO, 60), (VONAGE, 61.44)])
@in_virtual_time(until=120)
async def test_what_does_not_fit_into_the_carriers_buffer_is_lost(
    words: Words, seconds: float
) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        frame = audio(words.fake, 0.02)
        for _ in range(round(seconds / 0.02) + 10):
            await bot.send(words.play(caller.stream, frame))
        await caller.wait_for("error")
        assert caller.protocol_errors[0].startswith("more audio than the carrier's buffer")


# ----------------------------------------------------------------------------- how it ends


@each_carrier
@in_virtual_time(until=120)
async def test_the_caller_hangs_up(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        await play(bot, words, caller, audio(words.fake, 1.0))
        await bot.send(words.mark(caller.stream, "never"))
        await caller.wait_for("mark")
        await asyncio.sleep(0.3)
        await caller.hang_up()
        assert caller.ended is not None
        assert caller.ended.how == "caller hung up"
        assert caller.is_over
        heard = caller.heard_seconds()
        await asyncio.sleep(1.0)
        assert caller.heard_seconds() == heard < 0.4
        with pytest.raises(RuntimeError, match="the call is over: caller hung up"):
            caller.say(b"\xff")
        await caller.hang_up()
    assert bot.closed_with == 1000
    assert marks_returned(bot) == []


@each_carrier
@in_virtual_time(until=120)
async def test_the_bot_closes(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        await bot.until(2)
        await bot.close(1008, "no")
        ended = await caller.until_ended()
        assert (ended.how, ended.code, ended.reason) == ("bot closed", 1008, "no")
        assert caller.is_over == words.fake.closing_ends_call
        with pytest.raises(RuntimeError, match="bot closed"):
            await caller.wait_for("media")


@each_carrier
@in_virtual_time(until=120)
async def test_the_connection_breaks_on_either_side(words: Words) -> None:
    async with Bot() as bot, words.fake(bot.url) as caller:
        await bot.until(2)
        await caller.drop()
        assert (await caller.until_ended()).how == "dropped"
    assert bot.closed_with is None
    assert bot.events("stop") == []
    async with Bot() as bot, words.fake(bot.url) as caller:
        await bot.until(2)
        await bot.abort()
        assert (await caller.until_ended()).how == "bot vanished"


@in_virtual_time(until=120)
async def test_a_refused_handshake_ends_the_call_with_its_status() -> None:
    async with Bot(refuses=403) as bot, FakeTwilio(bot.url) as caller:
        assert caller.ended is not None
        assert (caller.ended.how, caller.ended.code) == ("handshake refused", 403)
        assert caller.heard == []


@in_virtual_time(until=120)
async def test_two_calls_know_nothing_of_each_other() -> None:
    async with Bot() as one, Bot() as two:
        async with FakeTwilio(one.url) as first, FakeTwilio(two.url) as second:
            await one.send(TWILIO.play(first.stream, audio(FakeTwilio, 0.1)))
            await first.until_quiet()
            assert second.heard == []
            assert first.stream != second.stream
            assert first.call != second.call


async def test_a_call_in_real_time_is_on_time() -> None:
    async with Bot() as bot, FakeTwilio(bot.url) as caller:
        began = now()
        caller.say(audio(FakeTwilio, 0.1))
        await bot.send(TWILIO.play(caller.stream, audio(FakeTwilio, 0.2)))
        await bot.send(TWILIO.mark(caller.stream, "m"))
        mark = await caller.wait_for("marked")
        await caller.hang_up()
    assert mark.time - began >= 0.19
    assert caller.heard_audio() == audio(FakeTwilio, 0.2)
    assert all(late >= 0 for late in caller.lateness)
    assert media(bot)[0] == audio(FakeTwilio, 0.1)[:160]
    assert b64(audio(FakeTwilio, 0.1)[:160]) in str(bot.received[2])


def test_a_call_needs_a_place_to_go_to() -> None:
    with pytest.raises(ValueError, match="either `media` or `webhook`"):
        FakeTwilio()
    with pytest.raises(ValueError, match="either `media` or `webhook`"):
        FakeTwilio("ws://127.0.0.1:1/", webhook="http://127.0.0.1:1/")


@in_virtual_time(until=120)
async def test_only_keys_are_pressed_and_only_on_a_call() -> None:
    async with Bot() as bot:
        caller = FakeTwilio(bot.url)
        with pytest.raises(RuntimeError, match="not made yet"):
            caller.say(b"\xff")
        async with caller:
            with pytest.raises(ValueError, match="'x' is not a key"):
                await caller.press("x")
