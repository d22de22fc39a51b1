"""A SIP telephone calls Asterisk, which lets it speak with us: sound, keys, hanging up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from tests.pbx import dialplan, far_ends, sound
from tests.pbx.asterisk import Asterisk
from tests.pbx.far_ends import HANG_UP
from tests.pbx.phone import Phone

SwitchOn = Callable[..., Awaitable[Phone]]


async def test_the_phone_hears_over_audiosocket_what_it_said(
    asterisk: Asterisk, phone: SwitchOn
) -> None:
    async with far_ends.audiosocket(echo=True) as far:
        agent = await asterisk.extend(
            dialplan.answer(), dialplan.dial_audiosocket("127.0.0.1", far.port, uuid4())
        )
        ours = await phone("demo-congrats")
        await ours.dial(asterisk.sip, agent)
        call = await far.call()
        await call.until_heard(3.0, 16_000)
        await ours.hang_up()
        await call.ended.wait()
        await ours.stop()
    assert {len(came.data) for came in call.sound} == {320}
    like = sound.compare_pieces(
        sound.read(ours.microphone)[: 2 * sound.RATE], sound.read(ours.heard)
    )
    assert like.correlation > 0.95
    assert like.delay < 0.5


async def test_the_phone_hears_over_websocket_what_it_said(
    asterisk: Asterisk, phone: SwitchOn
) -> None:
    async with far_ends.media_websocket(echo=True) as far:
        client = await asterisk.connects(far.url)
        agent = await asterisk.extend(dialplan.answer(), dialplan.dial_websocket(client, "ulaw"))
        ours = await phone("demo-congrats")
        await ours.dial(asterisk.sip, agent)
        call = await far.call()
        await call.until_heard(3.0, 8_000)
        await ours.hang_up()
        await call.ended.wait()
        await ours.stop()
    like = sound.compare_pieces(
        sound.read(ours.microphone)[: 2 * sound.RATE], sound.read(ours.heard)
    )
    assert like.correlation > 0.95
    assert like.delay < 0.5


async def test_the_keys_of_the_phone_come_as_keys(asterisk: Asterisk, phone: SwitchOn) -> None:
    async with far_ends.audiosocket() as far:
        agent = await asterisk.extend(
            dialplan.answer(), dialplan.dial_audiosocket("127.0.0.1", far.port, uuid4())
        )
        ours = await phone()
        await ours.dial(asterisk.sip, agent)
        call = await far.call()
        ours.press("42#")
        await call.until(lambda: len(call.keys) == 3)
    assert call.keys == "42#"


@pytest.mark.parametrize("kind", ["audiosocket", "websocket"])
async def test_we_hang_up_on_the_phone(asterisk: Asterisk, phone: SwitchOn, kind: str) -> None:
    ours = await phone("demo-congrats")
    if kind == "audiosocket":
        async with far_ends.audiosocket() as far:
            agent = await asterisk.extend(
                dialplan.answer(), dialplan.dial_audiosocket("127.0.0.1", far.port, uuid4())
            )
            await ours.dial(asterisk.sip, agent)
            (await far.call()).send(HANG_UP)
            await ours.until("CALL_CLOSED")
    else:
        async with far_ends.media_websocket() as media:
            client = await asterisk.connects(media.url)
            step = dialplan.dial_websocket(client, "ulaw")
            agent = await asterisk.extend(dialplan.answer(), step)
            await ours.dial(asterisk.sip, agent)
            call = await media.call()
            await call.until_told("MEDIA_START")
            await call.command("HANGUP")
            await ours.until("CALL_CLOSED")
