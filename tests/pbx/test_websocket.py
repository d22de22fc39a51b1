"""Asterisk speaks with a server of media WebSockets: its words, its marks and its queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.pbx import dialplan, far_ends, sound
from tests.pbx.asterisk import Asterisk, Keys
from tests.pbx.dialplan import Control
from tests.pbx.far_ends import MediaCall
from tests.pbx.sound import Part

CONTROLS: list[Control] = ["json", "plain-text"]
SECOND = bytes(16_000)
"""A second of silence at 8000 Hz."""

in_both_forms = pytest.mark.parametrize("control", CONTROLS)


@contextlib.asynccontextmanager
async def calling(
    asterisk: Asterisk, control: Control, *does: Part | Keys, answers_itself: bool = True
) -> AsyncIterator[MediaCall]:
    """A caller who does so, in linear samples of 8000 Hz."""
    async with far_ends.media_websocket() as far:
        client = await asterisk.connects(far.url)
        agent = await asterisk.extend(
            dialplan.answer(),
            dialplan.dial_websocket(client, "slin", control, answers_itself=answers_itself),
        )
        await asterisk.originate(await asterisk.caller(*does), agent)
        call = await far.call()
        await call.until_told("MEDIA_START")
        yield call


@pytest.mark.parametrize(
    ("control", "codec", "likeness"),
    [("json", "slin", 0.999), ("json", "slin16", 0.99), ("plain-text", "ulaw", 0.99)],
)
async def test_what_comes_back_is_what_the_caller_said(
    asterisk: Asterisk, control: Control, codec: str, likeness: float
) -> None:
    async with far_ends.media_websocket(echo=True) as far:
        client = await asterisk.connects(far.url)
        agent = await asterisk.extend(
            dialplan.answer(), dialplan.dial_websocket(client, codec, control)
        )
        caller = await asterisk.caller(0.5, "demo-congrats", leaves_after=2.5)
        await asterisk.originate(caller, agent)
        call = await far.call()
        await call.ended.wait()
        await caller.recorded()
    like = sound.compare(sound.read(caller.said), sound.read(caller.heard))
    assert like.correlation > likeness
    assert like.delay < 0.2
    gaps = call.gaps()
    assert gaps[len(gaps) // 2] == pytest.approx(0.02, abs=0.002)
    assert gaps[len(gaps) * 99 // 100] < 0.06


@in_both_forms
async def test_the_socket_tells_what_it_carries(asterisk: Asterisk, control: Control) -> None:
    async with far_ends.media_websocket() as far:
        client = await asterisk.connects(far.url)
        agent = await asterisk.extend(
            dialplan.answer(),
            dialplan.dial_websocket(
                client, "ulaw", control, parameters={"token": "abc", "line": "2"}
            ),
        )
        await asterisk.originate(await asterisk.caller(0.5), agent)
        call = await far.call()
        start = await call.until_told("MEDIA_START")
        await call.ended.wait()
    request = call.socket.request
    assert request is not None
    assert request.path == "/media?token=abc&line=2"
    assert call.socket.subprotocol == "media"
    assert call.names() == ["MEDIA_START"]
    told = {name: str(value) for name, value in start.rest.items()}
    assert told["connection_id"] == client
    assert told["channel_id"]
    assert told["channel"].startswith(f"WebSocket/{client}/")
    assert (told["format"], told["optimal_frame_size"], told["ptime"]) == ("ulaw", "160", "20")
    assert ("channel_variables" in told) == (control == "json")


@in_both_forms
async def test_a_mark_comes_back_when_it_is_reached(asterisk: Asterisk, control: Control) -> None:
    async with calling(asterisk, control, 20.0) as call:
        begin = asyncio.get_running_loop().time()
        for name in ("one", "two"):
            await call.socket.send(SECOND)
            await call.command("MARK_MEDIA", name)
        await call.command("MARK_MEDIA", "three")
        last = await call.until_told("MEDIA_MARK_PROCESSED", 3)
    assert call.marks() == ["one", "two", "three"]
    first = next(told for told in call.told if told.name == "MEDIA_MARK_PROCESSED")
    assert first.time - begin == pytest.approx(1.0, abs=0.15)
    assert last.time - begin == pytest.approx(2.0, abs=0.15)


@in_both_forms
async def test_a_flush_drops_the_marks_silently(asterisk: Asterisk, control: Control) -> None:
    async with calling(asterisk, control, 20.0) as call:
        await call.socket.send(SECOND)
        await call.command("MARK_MEDIA", "dropped")
        await call.command("FLUSH_MEDIA")
        await call.command("MARK_MEDIA", "behind")
        await call.socket.send(SECOND)
        await call.command("MARK_MEDIA", "later")
        await call.until_told("MEDIA_MARK_PROCESSED", 2)
    assert call.marks() == ["behind", "later"]
    assert call.names() == ["MEDIA_START", "MEDIA_MARK_PROCESSED", "MEDIA_MARK_PROCESSED"]


@in_both_forms
async def test_a_flush_does_not_end_a_pause(asterisk: Asterisk, control: Control) -> None:
    async with calling(asterisk, control, 20.0) as call:
        await call.command("PAUSE_MEDIA")
        await call.command("FLUSH_MEDIA")
        await call.command("MARK_MEDIA", "held")
        await call.command("GET_STATUS")
        status = await call.until_told("STATUS")
        assert call.marks() == []
        await call.command("CONTINUE_MEDIA")
        await call.until_told("MEDIA_MARK_PROCESSED")
    assert str(status.rest["media_paused"]).lower() == "true"


@in_both_forms
async def test_the_queue_says_when_it_is_full(asterisk: Asterisk, control: Control) -> None:
    async with calling(asterisk, control, 20.0) as call:
        for _ in range(19):
            await call.socket.send(SECOND)
        await call.until_told("MEDIA_XOFF")
        await call.command("GET_STATUS")
        status = await call.until_told("STATUS")
        await call.command("FLUSH_MEDIA")
        await call.until_told("MEDIA_XON")
    assert int(status.rest["queue_length"]) >= 900
    assert int(status.rest["xoff_level"]) == 900
    assert int(status.rest["xon_level"]) == 800


@in_both_forms
async def test_a_control_message_over_128_bytes_is_ignored(
    asterisk: Asterisk, control: Control
) -> None:
    async with calling(asterisk, control, 20.0) as call:
        await call.command("MARK_MEDIA", "x" * 118)
        await call.command("MARK_MEDIA", "short")
        await call.until_told("MEDIA_MARK_PROCESSED")
    assert call.marks() == ["short"]


@in_both_forms
async def test_what_it_does_not_understand_harms_no_call(
    asterisk: Asterisk, control: Control
) -> None:
    async with calling(asterisk, control, 20.0) as call:
        await call.command("NONSENSE")
        await call.socket.send("{ no json")
        await call.socket.send(b"")
        await call.socket.send(bytes(100))
        await call.command("MARK_MEDIA", "alive")
        await call.until_told("MEDIA_MARK_PROCESSED")
    errors = [told.rest["error_text"] for told in call.told if told.name == "ERROR"]
    assert errors == (["Unable to parse JSON command"] if control == "json" else [])


@in_both_forms
async def test_keys_come_one_by_one(asterisk: Asterisk, control: Control) -> None:
    async with calling(asterisk, control, 0.2, Keys("4#A"), 0.2) as call:
        await call.ended.wait()
    assert call.keys == "4#A"


@in_both_forms
async def test_the_caller_hangs_up(asterisk: Asterisk, control: Control) -> None:
    async with calling(asterisk, control, 0.5) as call:
        await call.ended.wait()
        assert call.socket.close_code == 1000
        await asterisk.until_idle()


@in_both_forms
async def test_we_hang_up(asterisk: Asterisk, control: Control) -> None:
    async with calling(asterisk, control, 20.0) as call:
        await call.command("HANGUP")
        await call.ended.wait()
        assert call.socket.close_code == 1000
        await asterisk.until_idle()


@in_both_forms
async def test_we_close_the_socket(asterisk: Asterisk, control: Control) -> None:
    async with calling(asterisk, control, 20.0) as call:
        await call.socket.close()
        await asterisk.until_idle()


@in_both_forms
async def test_the_connection_breaks(asterisk: Asterisk, control: Control) -> None:
    async with calling(asterisk, control, 20.0) as call:
        call.socket.transport.abort()
        await asterisk.until_idle()


@in_both_forms
async def test_the_call_is_answered_when_we_say_so(asterisk: Asterisk, control: Control) -> None:
    async with calling(asterisk, control, 20.0, answers_itself=False) as call:
        await call.command("MARK_MEDIA", "early")
        await call.command("GET_STATUS")
        await call.until_told("STATUS")
        await call.command("ANSWER")
        await call.until_told("MEDIA_MARK_PROCESSED")
