"""Asterisk speaks with an AudioSocket server: what comes, in which time, and what ends a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from tests.pbx import dialplan, far_ends, sound
from tests.pbx.asterisk import Asterisk, Keys
from tests.pbx.far_ends import CALL, HANG_UP, KEY, SOUND, SocketCall

Form = Callable[[str, int, UUID], str]
FORMS = [dialplan.run_audiosocket, dialplan.dial_audiosocket]


@pytest.mark.parametrize("form", FORMS)
async def test_what_comes_back_is_what_the_caller_said(asterisk: Asterisk, form: Form) -> None:
    number = uuid4()
    async with far_ends.audiosocket(echo=True) as far:
        agent = await asterisk.extend(dialplan.answer(), form("127.0.0.1", far.port, number))
        caller = await asterisk.caller(0.5, "demo-congrats", leaves_after=2.5)
        await asterisk.originate(caller, agent)
        call = await far.call()
        await call.ended.wait()
        await caller.recorded()
    assert call.call == number
    assert call.kinds == [CALL, SOUND]
    assert len(call.heard) == pytest.approx(2.5 * 16_000, abs=1000)
    like = sound.compare(sound.read(caller.said), sound.read(caller.heard))
    assert like.correlation > 0.999
    assert like.delay < 0.1


async def test_a_frame_comes_each_20_ms(asterisk: Asterisk) -> None:
    async with far_ends.audiosocket() as far:
        agent = await asterisk.extend(
            dialplan.answer(), dialplan.dial_audiosocket("127.0.0.1", far.port, uuid4())
        )
        await asterisk.originate(await asterisk.caller(2.0), agent)
        call = await far.call()
        await call.ended.wait()
    gaps = call.gaps()
    assert gaps[len(gaps) // 2] == pytest.approx(0.02, abs=0.002)
    assert gaps[len(gaps) * 99 // 100] < 0.06
    assert {len(came.data) for came in call.sound} == {320}


@pytest.mark.parametrize(("codec", "kind", "size"), [("slin16", 0x12, 640), ("slin24", 0x13, 960)])
async def test_other_rates_have_kinds_of_their_own(
    asterisk: Asterisk, codec: str, kind: int, size: int
) -> None:
    async with far_ends.audiosocket() as far:
        agent = await asterisk.extend(
            dialplan.answer(), dialplan.dial_audiosocket("127.0.0.1", far.port, uuid4(), codec)
        )
        await asterisk.originate(await asterisk.caller(0.5), agent)
        call = await far.call()
        await call.ended.wait()
    assert call.kinds == [CALL, kind]
    assert {len(came.data) for came in call.sound} == {size}


@pytest.mark.parametrize("form", FORMS)
async def test_keys_come_one_by_one(asterisk: Asterisk, form: Form) -> None:
    async with far_ends.audiosocket() as far:
        agent = await asterisk.extend(dialplan.answer(), form("127.0.0.1", far.port, uuid4()))
        await asterisk.originate(await asterisk.caller(0.2, Keys("4#A"), 0.2), agent)
        call = await far.call()
        await call.ended.wait()
    assert call.keys == "4#A"
    assert KEY in call.kinds


def say_hang_up(call: SocketCall) -> None:
    call.send(HANG_UP)


def close(call: SocketCall) -> None:
    call.writer.close()


def end_the_sending(call: SocketCall) -> None:
    call.writer.write_eof()


def send_no_sound(call: SocketCall) -> None:
    call.send(SOUND)


def send_a_key(call: SocketCall) -> None:
    call.send(KEY, b"5")


@pytest.mark.parametrize("end", [say_hang_up, close, end_the_sending, send_no_sound, send_a_key])
async def test_what_hangs_up_on_the_caller(
    asterisk: Asterisk, end: Callable[[SocketCall], None]
) -> None:
    async with far_ends.audiosocket() as far:
        agent = await asterisk.extend(
            dialplan.answer(), dialplan.dial_audiosocket("127.0.0.1", far.port, uuid4())
        )
        await asterisk.originate(await asterisk.caller(20.0), agent)
        call = await far.call()
        await call.until_heard(0.1, 16_000)
        end(call)
        await call.ended.wait()
        await asterisk.until_idle()


async def test_after_the_application_the_extension_goes_on(asterisk: Asterisk) -> None:
    async with far_ends.audiosocket() as far:
        agent = await asterisk.extend(
            dialplan.answer(),
            dialplan.run_audiosocket("127.0.0.1", far.port, uuid4()),
            dialplan.dial_audiosocket("127.0.0.1", far.port, UUID(int=2)),
        )
        await asterisk.originate(await asterisk.caller(20.0), agent)
        first = await far.call()
        first.send(HANG_UP)
        second = await far.call()
        await asterisk.hang_up_all()
        await second.ended.wait()
    assert second.call == UUID(int=2)


@pytest.mark.parametrize(("form", "lasts"), [(FORMS[0], 2.0), (FORMS[1], 2.6)])
async def test_on_a_dead_line_nothing_comes(asterisk: Asterisk, form: Form, lasts: float) -> None:
    async with far_ends.audiosocket() as far:
        agent = await asterisk.extend(dialplan.answer(), form("127.0.0.1", far.port, uuid4()))
        caller = await asterisk.extend(dialplan.answer(), dialplan.send_nothing(2.6))
        begin = asyncio.get_running_loop().time()
        await asterisk.originate(caller, agent)
        call = await far.call()
        await call.ended.wait()
    assert asyncio.get_running_loop().time() - begin == pytest.approx(lasts, abs=0.3)
    assert call.sound == []
