"""Our transports on calls through Asterisk: what the caller hears, and when we know of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from agentkit.testing.backends import tone
from tests.pbx import dialplan, sound
from tests.pbx.asterisk import Asterisk, Keys
from tests.pbx.bots import KINDS, Kind, answering
from tests.pbx.phone import Phone

on_every_kind = pytest.mark.parametrize("kind", KINDS)


def length(samples: sound.Samples) -> float:
    """Seconds from the first to the last sound."""
    found = sound.loud(samples)
    return found[1] - found[0] if found else 0.0


@on_every_kind
async def test_what_is_played_is_what_the_caller_hears(asterisk: Asterisk, kind: Kind) -> None:
    async with answering(asterisk, kind, echoes=True) as bots:
        caller = await asterisk.caller(0.5, "demo-congrats", leaves_after=3.0)
        await asterisk.originate(caller, bots.agent)
        bot = await bots.call()
        await bot.ended.wait()
        await caller.recorded()
    assert bot.reason == "caller hung up"
    like = sound.compare(sound.read(caller.said), sound.read(caller.heard))
    assert like.correlation > 0.98
    assert like.delay < 0.3
    assert bot.transport.input.seconds(len(bot.heard)) == pytest.approx(3.0, abs=0.3)


@on_every_kind
async def test_a_mark_comes_when_the_caller_has_heard_it(asterisk: Asterisk, kind: Kind) -> None:
    async with answering(asterisk, kind) as bots:
        caller = await asterisk.caller(20.0)
        await asterisk.originate(caller, bots.agent)
        bot = await bots.call()
        begin = time.monotonic()
        for name in ("one", "two"):
            bot.transport.play(tone(0.7, bot.transport.output))
            bot.transport.mark(name)
        await bot.until(lambda: len(bot.marks) == 2)
        await bot.transport.hang_up()
        await bot.ended.wait()
        await caller.recorded()
    assert [name for name, _ in bot.marks] == ["one", "two"]
    assert bot.marks[0][1] - begin == pytest.approx(0.7, abs=0.15)
    assert bot.marks[1][1] - begin == pytest.approx(1.4, abs=0.15)
    assert length(sound.read(caller.heard)) == pytest.approx(1.4, abs=0.1)


@on_every_kind
async def test_what_was_cleared_is_not_heard(asterisk: Asterisk, kind: Kind) -> None:
    async with answering(asterisk, kind) as bots:
        caller = await asterisk.caller(20.0)
        await asterisk.originate(caller, bots.agent)
        bot = await bots.call()
        bot.transport.play(tone(0.5, bot.transport.output))
        bot.transport.mark("kept")
        bot.transport.play(tone(3.0, bot.transport.output))
        bot.transport.mark("cleared")
        await bot.until(lambda: len(bot.marks) == 1)
        bot.transport.clear()
        bot.transport.play(bot.transport.output.silence(0.2))
        bot.transport.mark("after")
        await bot.until(lambda: "after" in dict(bot.marks))
        await bot.transport.hang_up()
        await bot.ended.wait()
        await caller.recorded()
    assert length(sound.read(caller.heard)) == pytest.approx(0.5, abs=0.12)


@on_every_kind
async def test_keys_are_told(asterisk: Asterisk, kind: Kind) -> None:
    async with answering(asterisk, kind) as bots:
        await asterisk.originate(await asterisk.caller(0.2, Keys("4#A"), 0.2), bots.agent)
        bot = await bots.call()
        await bot.ended.wait()
    assert bot.keys == "4#A"


@on_every_kind
async def test_we_hang_up(asterisk: Asterisk, kind: Kind) -> None:
    async with answering(asterisk, kind) as bots:
        await asterisk.originate(await asterisk.caller(20.0), bots.agent)
        bot = await bots.call()
        bot.transport.play(tone(2.0, bot.transport.output))
        await bot.transport.hang_up()
        await bot.ended.wait()
        await asterisk.until_idle()
    assert bot.reason == "agent hung up"


@on_every_kind
async def test_the_caller_hangs_up_while_we_speak(asterisk: Asterisk, kind: Kind) -> None:
    async with answering(asterisk, kind) as bots:
        await asterisk.originate(
            await asterisk.caller("demo-congrats", leaves_after=0.7), bots.agent
        )
        bot = await bots.call()
        bot.transport.play(tone(4.0, bot.transport.output))
        await bot.ended.wait()
    assert bot.reason == "caller hung up"


@on_every_kind
async def test_a_dead_line_does_not_end_the_call(asterisk: Asterisk, kind: Kind) -> None:
    async with answering(asterisk, kind) as bots:
        caller = await asterisk.extend(dialplan.answer(), dialplan.send_nothing(3.5))
        begin = asyncio.get_running_loop().time()
        await asterisk.originate(caller, bots.agent)
        bot = await bots.call()
        await bot.ended.wait()
    assert asyncio.get_running_loop().time() - begin > 3.0
    assert bot.reason == "caller hung up"


@pytest.mark.parametrize("kind", ["AudioSocket()", "WebSocket/ulaw plain"])
async def test_a_telephone_hears_us_and_is_heard(
    asterisk: Asterisk, phone: Callable[..., Awaitable[Phone]], kind: Kind
) -> None:
    async with answering(asterisk, kind, echoes=True) as bots:
        ours = await phone("demo-congrats")
        await ours.dial(asterisk.sip, bots.agent)
        bot = await bots.call()
        await bot.until(lambda: bot.transport.input.seconds(len(bot.heard)) > 3.0)
        ours.press("42#")
        await bot.until(lambda: bot.keys == "42#")
        await bot.transport.hang_up()
        await ours.until("CALL_CLOSED")
        await ours.stop()
    microphone = sound.read(ours.microphone)[: 2 * sound.RATE]
    like = sound.compare_pieces(microphone, sound.read(ours.heard))
    assert like.correlation > 0.95
    assert like.delay < 0.5
