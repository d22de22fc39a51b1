"""What is sent and when: in virtual time over real sockets, exact, and quick."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.audio import AudioFormat
from agentkit.testing import ScriptedCall, ScriptedFlux
from agentkit.testing.clock import in_virtual_time

OnCall = Callable[..., Any]
Tone = Callable[..., bytes]
Fastest = Callable[[ScriptedCall], float]
LINE = AudioFormat("linear16", 16000)
FRAME = 0.02


@in_virtual_time(until=60)
async def test_audio_goes_out_as_it_comes(on_call: OnCall, tone: Tone) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        begun = call.now
        await call.speak(2.0)
        await flow.heard(2.0)
        assert call.now - begun < 2.05, "nothing waits for its turn"
        assert {size for _, size in flow.arrivals} == {2560}
        assert bytes(flow.audio[: LINE.size(2.0)]) == tone(2.0)
        assert call.source.stats.silence_sent == 0


@in_virtual_time(until=60)
async def test_a_whole_chunk_is_sent_before_anything_else_can_happen(
    on_call: OnCall, tone: Tone
) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        await call.speak(0.4)
        before = call.source.stats.audio_sent
        await asyncio.sleep(0.08)
        call.source.feed(tone(0.08))
        assert call.source.stats.audio_sent == pytest.approx(before + 0.08)
        # What comes too soon after it waits: no faster than 1.25 times real time.
        call.source.feed(tone(0.8))
        assert call.source.stats.audio_sent < before + 0.5
        await flow.heard(before + 0.88)


@in_virtual_time(until=60)
async def test_a_jittered_sender_gets_no_silence_and_no_burst(
    on_call: OnCall, tone: Tone, fastest: Fastest
) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        spoken = tone(6.0)
        size = LINE.size(FRAME)
        # Frames are late by up to 150 ms, in waves, and then come together.
        for place in range(300):
            due = (place + 1) * FRAME + 0.075 * (1 + math.sin(place / 4))
            await asyncio.sleep(max(0.0, due - call.now))
            call.source.feed(spoken[place * size : (place + 1) * size])
        await flow.heard(6.0)
        assert bytes(flow.audio[: len(spoken)]) == spoken
        assert call.source.stats.silence_sent == 0
        assert fastest(flow) <= 1.25 + 0.16 / 0.5


@in_virtual_time(until=60)
async def test_a_burst_is_sent_at_125_percent_of_real_time_and_nothing_is_lost(
    on_call: OnCall, tone: Tone, fastest: Fastest
) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        call.source.feed(tone(4.0))
        begun = call.now
        await flow.heard(4.0)
        assert call.now - begun == pytest.approx(4.0 / 1.25, abs=0.2)
        assert fastest(flow) <= 1.25 + 1e-6
        assert call.source.stats.audio_dropped == 0


@in_virtual_time(until=60)
async def test_beyond_the_backlog_the_oldest_is_dropped_and_counted(
    on_call: OnCall, tone: Tone
) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        call.source.feed(tone(8.0))
        assert call.source.stats.audio_dropped == pytest.approx(3.0, abs=0.1)
        await flow.heard(4.9, timeout=10)


@in_virtual_time(until=60)
async def test_silence_stands_for_missing_audio_and_is_counted(
    on_call: OnCall, fastest: Fastest
) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        await call.speak(1.0)
        await asyncio.sleep(3.0)
        await call.speak(1.0)
        await flow.heard(4.9)
        assert call.source.stats.silence_sent == pytest.approx(3.0, abs=0.2)
        assert call.source.stats.audio_sent == pytest.approx(flow.seconds), "Flux bills all of it"
        assert fastest(flow) <= 1.25 + 0.16 / 0.5
        middle = bytes(flow.audio[LINE.size(1.5) : LINE.size(3.5)])
        assert middle == LINE.silence(2.0)


@in_virtual_time(until=60)
async def test_long_pieces_are_no_gaps(on_call: OnCall, tone: Tone) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        for _ in range(8):
            await asyncio.sleep(0.5)
            call.source.feed(tone(0.5))
        await flow.heard(4.0)
        # Until the first piece it cannot be known that they are long.
        assert call.source.stats.silence_sent <= 0.5


@in_virtual_time(until=60)
async def test_silence_flows_before_the_caller_is_heard_at_all(on_call: OnCall) -> None:
    """Flux closes a socket that gets no audio in its first 10 s."""
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        await flow.heard(12.0, timeout=13)
        assert call.now == pytest.approx(12.0, abs=0.5)
        assert all(size for _, size in flow.arrivals), "never an empty message"
        assert flow.controls == [], "Flux takes no KeepAlive"


async def test_a_loop_that_stood_still_gets_no_silence(on_call: OnCall, tone: Tone) -> None:
    """Audio that waits to be handed over is not missing."""
    async with ScriptedFlux() as flux, on_call(flux) as call:
        await call.ready()
        await call.speak(0.3)
        stood = call.now

        def stand_still() -> None:
            while call.now < stood + 0.5:
                pass

        call.loop.call_soon(stand_still)
        due = call.loop.call_later(0.02, call.source.feed, tone(0.5))
        await asyncio.sleep(0.02)
        assert due.when() < call.now
        await call.speak(0.2)
        assert call.source.stats.silence_sent == 0
