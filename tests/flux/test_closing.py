"""How a source ends: closed, cancelled, given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.audio import AudioFormat
from agentkit.core import events as ev
from agentkit.flux import FluxSource
from agentkit.testing import ScriptedFlux
from agentkit.testing.clock import in_virtual_time

OnCall = Callable[..., Any]
Tone = Callable[..., bytes]
LINE = AudioFormat("linear16", 16000)


@in_virtual_time(until=60)
async def test_closing_sends_the_tail_and_reads_what_is_left(on_call: OnCall, tone: Tone) -> None:
    async with ScriptedFlux() as flux:
        async with on_call(flux) as call:
            flow = await call.ready()
            await flow.heard(0.4)
            await flow.start("how many")
            call.source.feed(tone(0.55))
            heard = flow.seconds
        assert flow.seconds == pytest.approx(heard + 0.55, abs=0.001)
        assert flow.events[-1] == "CloseStream"
        assert call.of(ev.TurnUpdated)[-1].text == "how many"
        assert not call.of(ev.SourceLost)
        assert not call.of(ev.SourceFailed)


@in_virtual_time(until=60)
async def test_closing_does_not_wait_for_a_server_that_has_stopped(on_call: OnCall) -> None:
    async with ScriptedFlux(knows={"CloseStream"}) as flux, on_call(flux) as call:
        flow = await call.ready()
        await flow.block_reads()
        begun = call.now
        await call.source.aclose()
        assert call.now - begun <= 3.1


@in_virtual_time(until=60)
async def test_cancelling_closes_the_connection_and_leaves_no_task(tone: Tone) -> None:
    async with ScriptedFlux() as flux:
        before = asyncio.all_tasks()
        source = FluxSource(url=flux.url)
        loop = asyncio.get_running_loop()
        running = asyncio.create_task(source.run(LINE, lambda event: None, loop.time))
        flow = await flux.connection()
        await flow.heard(1.0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await flow.gone()
        left = {task.get_name() for task in asyncio.all_tasks() - before}
        assert not [name for name in left if name.startswith("flux ")]
        await source.aclose()
        source.feed(tone(1.0))


@in_virtual_time(until=60)
async def test_after_giving_up_it_takes_no_more_audio(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux:
        flux.refuse(401)
        async with on_call(flux) as call:
            await call.until(ev.SourceFailed)
            await call.speak(5.0)
            assert call.source.stats.audio_dropped == 0


@in_virtual_time(until=60)
async def test_closing_from_two_sides_at_once_and_again(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        await asyncio.gather(call.source.aclose(), call.source.aclose())
        await call.source.aclose()
        assert [control["type"] for control in flow.controls] == ["CloseStream"]
        assert not call.of(ev.SourceLost)
        call.source.reconnect("too late")
        call.source.end_turn()
        call.source.feed(bytes(640))


async def test_closing_before_it_has_run() -> None:
    async with ScriptedFlux() as flux:
        source = FluxSource(url=flux.url)
        source.feed(bytes(640))
        await source.aclose()
        await source.run(LINE, lambda event: None, asyncio.get_running_loop().time)
        assert flux.handshakes == []


@in_virtual_time(until=60)
async def test_closing_while_it_waits_to_connect_again(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        flux.drop(99)
        await flow.abort()
        await flux.attempts(4)
        begun = call.now
        await call.source.aclose()
        assert call.now - begun < 0.1
        assert not call.of(ev.SourceFailed)
