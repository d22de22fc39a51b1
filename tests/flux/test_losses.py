"""T14: connections that are lost, and what is made of it, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.audio import AudioFormat
from agentkit.core import events as ev
from agentkit.flux import FluxTimings
from agentkit.testing import Cue, ScriptedCall, ScriptedFlux
from agentkit.testing.clock import in_virtual_time

OnCall = Callable[..., Any]
Tone = Callable[..., bytes]
Fastest = Callable[[ScriptedCall], float]
LINE = AudioFormat("linear16", 16000)


@in_virtual_time(until=120)
async def test_T14_three_seconds_of_audio_without_a_message_is_a_loss(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        await call.speak(2.0)
        await flow.stall()
        begun = call.now
        await call.speak(4.0)
        lost = await call.until(ev.SourceLost)
        at = next(time for time, event in call.events if event is lost)
        assert at - begun == pytest.approx(3.0, abs=0.4)
        assert "3.0 s" in lost.reason


@in_virtual_time(until=120)
async def test_T14_a_chatty_connection_is_no_loss(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        await call.ready()
        await asyncio.sleep(60)
        assert not call.of(ev.SourceLost)
        assert len(call.of(ev.TurnUpdated)) == pytest.approx(60 / 0.24, rel=0.05)


@in_virtual_time(until=120)
async def test_T14_what_was_not_accounted_for_comes_first_and_at_most_at_125_percent(
    on_call: OnCall, tone: Tone, fastest: Fastest
) -> None:
    async with ScriptedFlux(chatter=False) as flux, on_call(flux) as call:
        flow = await call.ready()
        spoken = tone(1.0, level=3000) + tone(1.5, level=9000) + tone(1.0, level=6000)
        flow_speech = asyncio.create_task(call.speak(3.5, spoken))
        await flow.heard(1.0)
        await flow.start("one", audio_window_end=1.0)
        await call.until(ev.TurnStarted)
        await flow.heard(2.48)
        flux.accept_delay = 0.6
        await flow.abort()
        again = await call.ready(1)
        await flow_speech
        await again.heard(2.5)
        assert bytes(again.audio[: LINE.size(2.5)]) == spoken[LINE.size(1.0) :]
        assert fastest(again) <= 1.25 + 1e-6
        assert call.source.stats.audio_dropped == 0
        assert call.source.stats.audio_resent == pytest.approx(1.48, abs=0.1)


@in_virtual_time(until=120)
async def test_T14_at_most_three_seconds_are_kept_over_a_long_outage_silence_first(
    on_call: OnCall, tone: Tone
) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        flux.accept_delay = 4.0
        await flow.abort()
        await call.be_silent(1.5)
        await call.speak(1.0, tone(1.0, level=5000))
        await call.be_silent(1.2)
        again = await call.ready(1)
        await again.heard(2.5)
        kept = bytes(again.audio)
        assert tone(0.96, level=5000) in kept
        assert call.source.stats.audio_dropped == pytest.approx(1.0, abs=0.4)


@in_virtual_time(until=120)
async def test_T14_backoff_grows_and_the_last_try_is_one_failure(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        flux.drop(99)
        begun = call.now
        await flow.abort()
        failed = await call.until(ev.SourceFailed)
        assert failed.code == "flux_connection"
        assert [
            type(event) for _, event in call.events if not isinstance(event, ev.TurnUpdated)
        ] == [
            ev.SourceConnected,
            ev.SourceTuned,
            ev.SourceLost,
            ev.SourceFailed,
        ]
        assert len(flux.handshakes) == 1 + 5
        assert 1.5 < call.now - begun < 5.0


@in_virtual_time(until=120)
async def test_only_a_working_connection_restores_the_tries(on_call: OnCall) -> None:
    async with ScriptedFlux(chatter=False) as flux, on_call(flux) as call:
        for number in range(6):
            flow = await flux.connection(number)
            await flow.abort()  # connected, but never of any use
        await call.until(ev.SourceFailed)
        assert len(call.of(ev.SourceLost)) == 6
    async with ScriptedFlux() as flux, on_call(flux) as call:
        for number in range(12):
            flow = await flux.connection(number, timeout=20)
            await asyncio.sleep(5.5)
            await flow.abort()
        await flux.connection(12)
        assert not call.of(ev.SourceFailed)


@in_virtual_time(until=120)
@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_refusals_that_may_pass_are_tried_again(status: int, on_call: OnCall) -> None:
    async with ScriptedFlux() as flux:
        flux.refuse(status, times=2)
        async with on_call(flux) as call:
            await call.until(ev.SourceConnected)
        assert len(flux.handshakes) == 3


@in_virtual_time(until=120)
async def test_a_server_that_never_says_connected_is_given_up_on(on_call: OnCall) -> None:
    async with ScriptedFlux(connected=False) as flux, on_call(flux) as call:
        failed = await call.until(ev.SourceFailed)
        assert "not ready" in failed.message
        assert all(not flow.audio for flow in flux.calls), "no audio before Connected"
        for flow in flux.calls:
            await flow.gone()


@in_virtual_time(until=300)
async def test_a_peer_that_reads_nothing_is_aborted(on_call: OnCall) -> None:
    patient = FluxTimings(stall=1e9, ping_interval=1e6)
    audio = AudioFormat("linear16", 48000)
    async with (
        ScriptedFlux(receive_buffer=4096) as flux,
        on_call(flux, audio=audio, timings=patient) as call,
    ):
        flow = await call.ready()
        await flow.block_reads()
        lost = await call.until(ev.SourceLost, within=250)
        assert "took no data for 5 s" in lost.reason
        await call.ready(1)


@in_virtual_time(until=120)
async def test_pings_keep_a_connection_watched(on_call: OnCall) -> None:
    """A peer that answers no ping is lost, also where the stall rule does not see it."""
    async with (
        ScriptedFlux() as flux,
        on_call(flux, timings=FluxTimings(stall=1e9, send=1e9)) as call,
    ):
        flow = await call.ready()
        await flow.block_reads()
        lost = await call.until(ev.SourceLost)
        assert "ping" in lost.reason
        assert call.now == pytest.approx(21, abs=0.5)


@in_virtual_time(until=120)
async def test_one_receiver_after_many_reconnects(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        for number in range(4):
            await flux.connection(number)
            await call.until(ev.SourceConnected, number + 1)
            call.source.reconnect("as the test wants")
        flow = await flux.connection(4)
        await call.until(ev.SourceConnected, 5)
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert sorted(name for name in names if name.startswith("flux ")) == [
            "flux listener 4",
            "flux sender 4",
        ]
        await flow.start("hello")
        await call.until(ev.TurnStarted)
        assert len(call.of(ev.TurnStarted)) == 1
        assert [event.connection for event in call.of(ev.SourceLost)] == [0, 1, 2, 3]


@in_virtual_time(until=60)
async def test_what_was_said_before_a_close_is_still_heard(on_call: OnCall) -> None:
    script = [
        Cue("start", "yes", at=0.5),
        Cue("end", "yes", at=0.8),
        Cue("close", 1011, "NET-0001"),
    ]
    async with ScriptedFlux(script) as flux, on_call(flux) as call:
        lost = await call.until(ev.SourceLost)
        assert call.of(ev.TurnEnded)[0].text == "yes"
        assert "1011 NET-0001" in lost.reason


@in_virtual_time(until=120)
async def test_a_drop_while_a_send_is_blocked_is_one_loss_and_made_good(on_call: OnCall) -> None:
    patient = FluxTimings(stall=1e9, send=1e9, ping_interval=1e6)
    audio = AudioFormat("linear16", 48000)
    async with (
        ScriptedFlux(receive_buffer=4096) as flux,
        on_call(flux, audio=audio, timings=patient) as call,
    ):
        flow = await call.ready()
        await flow.block_reads()
        while call.source.stats.audio_dropped == 0.0:  # nothing goes out any more
            await call.speak(1.0)
        flow.abort_now()
        await call.ready(1)
        assert len(call.of(ev.SourceLost)) == 1
        assert not call.of(ev.SourceFailed)


@in_virtual_time(until=120)
async def test_audio_that_flux_cannot_decode_ends_the_call_and_is_named(on_call: OnCall) -> None:
    script = [Cue("close", 1008, "DATA-0000", at=0.2)]
    async with ScriptedFlux(*[script] * 9) as flux, on_call(flux) as call:
        failed = await call.until(ev.SourceFailed)
        assert "1008 DATA-0000" in failed.message
        assert len(flux.handshakes) == FluxTimings().tries


@in_virtual_time(until=60)
async def test_a_turn_in_which_the_audio_stops_still_comes_to_its_end(on_call: OnCall) -> None:
    """Flux counts time in audio: without any, a turn that is open stays open for ever."""
    script = [Cue("start", "hello", at=0.5), Cue("end", "hello", at=6.0, trigger="timeout")]
    async with ScriptedFlux(script) as flux, on_call(flux) as call:
        await call.ready()
        await call.speak(1.0)
        ended = await call.until(ev.TurnEnded, within=6.0)
        assert ended.trigger == "timeout"
        assert not call.of(ev.SourceLost)


@in_virtual_time(until=60)
async def test_a_whole_call_is_one_connection(on_call: OnCall) -> None:
    """A socket for each utterance lost the first words of each."""
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        for number in range(10):
            await call.speak(0.5)
            await flow.start(f"turn {number}")
            await flow.end(f"turn {number}")
            await call.be_silent(0.5)
        await call.until(ev.TurnEnded, 10)
        assert [end.index for end in call.of(ev.TurnEnded)] == list(range(10))
        assert len(flux.handshakes) == 1
