"""The client's rules of time, in virtual time over real sockets: exact, and quick."""

from __future__ import annotations

import asyncio
import logging
import math
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agentkit.audio import AudioFormat
from agentkit.core import events as ev
from agentkit.flux import FluxOptions, FluxSource, FluxTimings
from agentkit.testing import Cue, ScriptedFlux
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.flux import ScriptedCall

LINE = AudioFormat("linear16", 16000)
FRAME = 0.02


def tone(seconds: float, audio: AudioFormat = LINE, *, level: int = 8000) -> bytes:
    count = round(seconds * audio.rate)
    if audio.encoding != "linear16":
        return bytes([0x10]) * count
    return array("h", (level if place % 20 < 10 else -level for place in range(count))).tobytes()


class Call:
    """A running source, what it says, and a caller who speaks on time."""

    def __init__(self, source: FluxSource, audio: AudioFormat) -> None:
        self.source = source
        self.audio = audio
        self.loop = asyncio.get_running_loop()
        self.events: list[tuple[float, ev.SourceEvent]] = []
        self._changed = asyncio.Event()

    @property
    def now(self) -> float:
        return self.loop.time()

    def emit(self, event: ev.SourceEvent) -> None:
        self.events.append((self.now, event))
        self._changed.set()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for _, event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[Any], count: int = 1, *, within: float = 60.0) -> Any:
        async with asyncio.timeout(within):
            while len(self.of(kind)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.of(kind)[count - 1]

    async def speak(self, seconds: float, data: bytes | None = None) -> None:
        """Frames of 20 ms, each when it has been said."""
        spoken = tone(seconds, self.audio) if data is None else data
        size = self.audio.size(FRAME)
        began = self.now
        for place in range(math.ceil(len(spoken) / size)):
            due = began + (place + 1) * FRAME
            await asyncio.sleep(max(0.0, due - self.now))
            self.source.feed(spoken[place * size : (place + 1) * size])

    async def be_silent(self, seconds: float) -> None:
        await self.speak(seconds, self.audio.silence(seconds))


@asynccontextmanager
async def on_call(
    flux: ScriptedFlux, *, audio: AudioFormat = LINE, **options: Any
) -> AsyncIterator[Call]:
    source = FluxSource(url=flux.url, **options)
    call = Call(source, audio)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(source.run(audio, call.emit, lambda: call.now))
        yield call
        await source.aclose()
        async with asyncio.timeout(10):
            await running


async def ready(flux: ScriptedFlux, call: Call, number: int = 0) -> ScriptedCall:
    """The connection of that number, in use by the client."""
    await call.until(ev.SourceConnected, number + 1)
    return flux.calls[number]


def fastest(call: ScriptedCall) -> float:
    """How many times faster than real time audio came, over the worst half second or more."""
    second = call.handshake.audio.byte_rate
    worst = 0.0
    for first in range(len(call.arrivals)):
        began = call.arrivals[first][0]
        size = 0
        for time, got in call.arrivals[first:]:
            if time - began >= 0.5:
                worst = max(worst, size / second / (time - began))
            size += got
    return worst


# ------------------------------------------------------------------------------ sending on time


@in_virtual_time(until=60)
async def test_audio_goes_out_as_it_comes() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        begun = call.now
        await call.speak(2.0)
        await flow.heard(2.0)
        assert call.now - begun < 2.05, "nothing waits for its turn"
        assert {size for _, size in flow.arrivals} == {2560}
        assert bytes(flow.audio[: LINE.size(2.0)]) == tone(2.0)
        assert call.source.stats.silence_sent == 0


@in_virtual_time(until=60)
async def test_flux_row_19_a_jittered_sender_gets_no_silence_and_no_burst() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
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
async def test_a_burst_is_sent_at_125_percent_of_real_time_and_nothing_is_lost() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        call.source.feed(tone(4.0))
        begun = call.now
        await flow.heard(4.0)
        assert call.now - begun == pytest.approx(4.0 / 1.25, abs=0.2)
        assert fastest(flow) <= 1.25 + 1e-6
        assert call.source.stats.audio_dropped == 0


@in_virtual_time(until=60)
async def test_beyond_the_backlog_the_oldest_is_dropped_and_counted() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        call.source.feed(tone(8.0))
        assert call.source.stats.audio_dropped == pytest.approx(3.0, abs=0.1)
        await flow.heard(4.9, timeout=10)


@in_virtual_time(until=60)
async def test_flux_row_18_silence_stands_for_missing_audio_and_is_counted() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        await call.speak(1.0)
        await asyncio.sleep(3.0)
        await call.speak(1.0)
        await flow.heard(4.9)
        assert call.source.stats.silence_sent == pytest.approx(3.0, abs=0.2)
        assert fastest(flow) <= 1.25 + 0.16 / 0.5
        middle = bytes(flow.audio[LINE.size(1.5) : LINE.size(3.5)])
        assert middle == LINE.silence(2.0)


@in_virtual_time(until=60)
async def test_flux_row_18_long_pieces_are_no_gaps() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        for _ in range(8):
            await asyncio.sleep(0.5)
            call.source.feed(tone(0.5))
        await flow.heard(4.0)
        # Until the first piece it cannot be known that they are long.
        assert call.source.stats.silence_sent <= 0.5


@in_virtual_time(until=60)
async def test_silence_flows_before_the_caller_is_heard_at_all() -> None:
    """Flux closes a socket that gets no audio in its first 10 s."""
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        await flow.heard(12.0, timeout=13)
        assert call.now == pytest.approx(12.0, abs=0.5)
        assert all(size for _, size in flow.arrivals), "never an empty message"


async def test_flux_row_19_a_loop_that_stood_still_gets_no_silence() -> None:
    """Audio that waits to be handed over is not missing."""
    async with ScriptedFlux() as flux, on_call(flux) as call:
        await ready(flux, call)
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


# --------------------------------------------------------------------------- T14: lost connections


@in_virtual_time(until=120)
async def test_T14_three_seconds_of_audio_without_a_message_is_a_loss() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        await call.speak(2.0)
        await flow.stall()
        begun = call.now
        await call.speak(4.0)
        lost = await call.until(ev.SourceLost)
        at = next(time for time, event in call.events if event is lost)
        assert at - begun == pytest.approx(3.0, abs=0.4)
        assert "3.0 s" in lost.reason


@in_virtual_time(until=120)
async def test_T14_a_chatty_connection_is_no_loss() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        await ready(flux, call)
        await asyncio.sleep(60)
        assert not call.of(ev.SourceLost)
        assert len(call.of(ev.TurnUpdated)) == pytest.approx(60 / 0.24, rel=0.05)


@in_virtual_time(until=120)
async def test_T14_what_was_not_accounted_for_comes_first_and_at_most_at_125_percent() -> None:
    async with ScriptedFlux(chatter=False) as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        spoken = tone(1.0, level=3000) + tone(1.5, level=9000) + tone(1.0, level=6000)
        flow_speech = asyncio.create_task(call.speak(3.5, spoken))
        await flow.heard(1.0)
        await flow.start("one", audio_window_end=1.0)
        await call.until(ev.TurnStarted)
        await flow.heard(2.48)
        flux.accept_delay = 0.6
        await flow.abort()
        again = await ready(flux, call, 1)
        await flow_speech
        await again.heard(2.5)
        assert bytes(again.audio[: LINE.size(2.5)]) == spoken[LINE.size(1.0) :]
        assert fastest(again) <= 1.25 + 1e-6
        assert call.source.stats.audio_dropped == 0
        assert call.source.stats.audio_resent == pytest.approx(1.48, abs=0.1)


@in_virtual_time(until=120)
async def test_T14_at_most_three_seconds_are_kept_over_a_long_outage_silence_first() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        flux.accept_delay = 4.0
        await flow.abort()
        await call.be_silent(1.5)
        await call.speak(1.0, tone(1.0, level=5000))
        await call.be_silent(1.2)
        again = await ready(flux, call, 1)
        await again.heard(2.5)
        kept = bytes(again.audio)
        assert tone(0.96, level=5000) in kept
        assert call.source.stats.audio_dropped == pytest.approx(1.0, abs=0.4)


@in_virtual_time(until=120)
async def test_T14_backoff_grows_and_the_last_try_is_one_failure() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        flux.drop(99)
        begun = call.now
        await flow.abort()
        failed = await call.until(ev.SourceFailed)
        assert failed.code == "flux_connection"
        assert [
            type(event) for _, event in call.events if not isinstance(event, ev.TurnUpdated)
        ] == [
            ev.SourceConnected,
            ev.SourceLost,
            ev.SourceFailed,
        ]
        assert len(flux.handshakes) == 1 + 5
        assert 1.5 < call.now - begun < 5.0


@in_virtual_time(until=120)
async def test_flux_row_27_only_a_working_connection_restores_the_tries() -> None:
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
async def test_refusals_that_may_pass_are_tried_again(status: int) -> None:
    async with ScriptedFlux() as flux:
        flux.refuse(status, times=2)
        async with on_call(flux) as call:
            await call.until(ev.SourceConnected)
        assert len(flux.handshakes) == 3


@in_virtual_time(until=120)
async def test_a_server_that_never_says_connected_is_given_up_on() -> None:
    async with ScriptedFlux(connected=False) as flux, on_call(flux) as call:
        failed = await call.until(ev.SourceFailed)
        assert "not ready" in failed.message
        assert all(not flow.audio for flow in flux.calls), "no audio before Connected"
        for flow in flux.calls:
            await flow.gone()


@in_virtual_time(until=300)
async def test_flux_row_23_a_peer_that_reads_nothing_is_aborted() -> None:
    patient = FluxTimings(stall=1e9, ping_interval=1e6)
    audio = AudioFormat("linear16", 48000)
    async with (
        ScriptedFlux(receive_buffer=4096) as flux,
        on_call(flux, audio=audio, timings=patient) as call,
    ):
        flow = await ready(flux, call)
        await flow.block_reads()
        lost = await call.until(ev.SourceLost, within=250)
        assert "took no data for 5 s" in lost.reason
        await ready(flux, call, 1)


@in_virtual_time(until=120)
async def test_flux_row_17_pings_keep_a_connection_watched() -> None:
    """A peer that answers no ping is lost, also where the stall rule does not see it."""
    async with (
        ScriptedFlux() as flux,
        on_call(flux, timings=FluxTimings(stall=1e9, send=1e9)) as call,
    ):
        flow = await ready(flux, call)
        await flow.block_reads()
        lost = await call.until(ev.SourceLost)
        assert "ping" in lost.reason
        assert call.now == pytest.approx(21, abs=0.5)


@in_virtual_time(until=120)
async def test_flux_row_24_one_receiver_after_many_reconnects() -> None:
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
async def test_what_was_said_before_a_close_is_still_heard() -> None:
    script = [
        Cue("start", "yes", at=0.5),
        Cue("end", "yes", at=0.8),
        Cue("close", 1011, "NET-0001"),
    ]
    async with ScriptedFlux(script) as flux, on_call(flux) as call:
        lost = await call.until(ev.SourceLost)
        assert call.of(ev.TurnEnded)[0].text == "yes"
        assert "1011 NET-0001" in lost.reason


# --------------------------------------------------------------------------------- T21: the times


def steps(seconds: float) -> bytes:
    """Speech of which each tenth of a second can be told from all others."""
    count = round(seconds * 10)
    return b"".join(tone(0.1, level=1000 + 50 * step) for step in range(count))


def position(flow: ScriptedCall, step: int) -> float:
    """Where that tenth of `steps` begins in a connection's audio, in seconds."""
    place = bytes(flow.audio).find(tone(0.02, level=1000 + 50 * step))
    assert place >= 0, f"step {step} was not received"
    return LINE.seconds(place)


@in_virtual_time(until=120)
async def test_T21_speech_end_stays_right_over_silence_catch_up_and_reconnection() -> None:
    """A word that the caller ended at T on the session's clock is reported as T, always."""

    async def heard_at(flow: ScriptedCall, end: float) -> float:
        """Flux hears a word that ends at this second of the connection's audio."""
        word = {"word": "yes", "confidence": 0.9, "start": end - 0.3, "end": end}
        await flow.start("yes", words=[word])
        await flow.end("yes", words=[word])
        ended = await call.until(ev.TurnEnded, len(call.of(ev.TurnEnded)) + 1)
        assert ended.speech_start == pytest.approx(ended.speech_end - 0.3, abs=0.01)
        return float(ended.speech_end)

    exact = 0.021  # the times of audio are known no better than its frames
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        await asyncio.sleep(1.0)  # silence is sent for it
        base = call.now
        await call.speak(2.0, steps(2.0))
        await flow.heard(2.8)
        assert await heard_at(flow, position(flow, 12)) == pytest.approx(base + 1.2, abs=exact)

        await asyncio.sleep(2.07)  # missing audio
        base = call.now
        spoken = asyncio.create_task(call.speak(5.0, b"".join((steps(5.0),))))
        await asyncio.sleep(1.5)
        flow.audio[:] = bytes(len(flow.audio) - LINE.size(2.0)) + flow.audio[-LINE.size(2.0) :]
        assert await heard_at(flow, position(flow, 10)) == pytest.approx(base + 1.0, abs=exact)

        await flow.stall()
        flux.accept_delay = 0.7
        await asyncio.sleep(0.6)
        await flow.abort()
        again = await flux.connection(1)
        await again.heard(2.0)
        # Caught up at 1.25 times real time, from what the old connection had not accounted for.
        assert position(again, 18) < 18 / 10 - 1.0
        assert await heard_at(again, position(again, 18)) == pytest.approx(base + 1.8, abs=exact)
        assert await heard_at(again, position(again, 30)) == pytest.approx(base + 3.0, abs=exact)
        await spoken


@in_virtual_time(until=60)
async def test_T21_a_burst_of_early_audio_is_dated_before_it_came() -> None:
    async with ScriptedFlux() as flux:
        source = FluxSource(url=flux.url)
        for _ in range(50):
            source.feed(tone(FRAME))
        call = Call(source, LINE)
        await asyncio.sleep(5.0)
        running = asyncio.create_task(source.run(LINE, call.emit, lambda: call.now))
        flow = await ready(flux, call)
        await flow.heard(1.0)
        word = {"word": "hi", "start": 0.2, "end": 0.5}
        await flow.start("hi", words=[word])
        started = await call.until(ev.TurnStarted)
        assert started.speech_start == pytest.approx(4.2, abs=0.05)
        assert started.speech_end == pytest.approx(4.5, abs=0.05)
        await source.aclose()
        await running


# ------------------------------------------------------------------------------- control messages


@in_virtual_time(until=60)
async def test_end_turn_is_behind_the_audio_that_was_fed_before_it() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        call.source.feed(tone(1.05))
        call.source.end_turn()
        await flow.asked("ForceEndTurn")
        before = flow.events.index("ForceEndTurn")
        assert sum(size for _, size in flow.arrivals[:before]) == LINE.size(1.05)


@in_virtual_time(until=60)
async def test_flux_row_14_a_refused_configure_is_undone_and_the_next_goes_out() -> None:
    async with ScriptedFlux(configure="refuse", configure_delay=0.3) as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        call.source.configure({"eot_threshold": 0.9})
        await flow.asked("Configure")
        call.source.configure({"keyterms": ["Rosewood"]})
        second = await flow.asked("Configure", 2)
        assert second == {"type": "Configure", "keyterms": ["Rosewood"]}
        await call.until(ev.SourceOddity, 2)
        assert call.source.options == FluxOptions(), "what Flux refused is not in the next URL"
        assert call.source.stats.configures_refused == 2


@in_virtual_time(until=60)
async def test_flux_row_14_too_many_pending_is_said_again_later() -> None:
    async with ScriptedFlux(configure="ignore") as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        call.source.configure({"eot_threshold": 0.9})
        await flow.asked("Configure")
        await flow.configure_failure("", "Too many pending Configure messages")
        asked_at = call.now
        again = await flow.asked("Configure", 2, timeout=10)
        assert again["thresholds"] == {"eot_threshold": 0.9}
        assert call.now - asked_at == pytest.approx(5.0, abs=0.3)


@in_virtual_time(until=60)
async def test_flux_row_14_nothing_is_replayed_on_a_new_connection() -> None:
    async with ScriptedFlux(configure="ignore") as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        call.source.configure({"eot_threshold": 0.9})
        await flow.asked("Configure")
        call.source.configure({"eager_eot_threshold": None})
        await flow.abort()
        again = await ready(flux, call, 1)
        await again.heard(8.0, timeout=12)
        assert again.controls == []
        assert again.handshake.values("eot_threshold") == ["0.9"]
        assert again.handshake.values("eager_eot_threshold") == []


@in_virtual_time(until=60)
async def test_flux_row_9_and_15_what_only_a_url_takes_makes_a_new_connection() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        await ready(flux, call)
        call.source.configure({"profanity_filter": True, "tags": ["night"]})
        again = await ready(flux, call, 1)
        assert again.handshake.values("profanity_filter") == ["true"]
        assert again.handshake.values("tag") == ["night"]


@in_virtual_time(until=60)
async def test_flux_row_4_values_that_a_url_does_not_take_do_not_end_the_call() -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        call.source.configure({"keyterms": ["something new"]})
        await flow.asked("Configure")
        flux.refuse(400, "INVALID_PARAMETER: keyterm")
        await flow.abort()
        again = await ready(flux, call, 1)
        assert again.handshake.values("keyterm") == []
        assert not call.of(ev.SourceFailed)


@in_virtual_time(until=60)
@pytest.mark.parametrize("verb", ["configure", "end_turn"])
async def test_flux_row_16_a_control_message_that_was_fatal_is_not_sent_again(verb: str) -> None:
    async with ScriptedFlux(knows={"CloseStream"}) as flux, on_call(flux) as call:
        for number in range(2):
            flow = await ready(flux, call, number)
            if verb == "configure":
                call.source.configure({"eot_threshold": 0.8 + number / 10})
            else:
                call.source.end_turn()
            await asyncio.sleep(2.0)
        assert len(flow.controls) == 0
        lost = call.of(ev.SourceLost)
        assert len(lost) == 1
        assert "UNPARSABLE_CLIENT_MESSAGE" in lost[0].reason
        assert not (call.source.can_configure if verb == "configure" else call.source.can_end_turn)


# ----------------------------------------------------------------------------------- its end


@in_virtual_time(until=60)
async def test_flux_row_6_closing_sends_the_tail_and_reads_what_is_left() -> None:
    async with ScriptedFlux() as flux:
        async with on_call(flux) as call:
            flow = await ready(flux, call)
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
async def test_closing_does_not_wait_for_a_server_that_has_stopped() -> None:
    async with ScriptedFlux(knows={"CloseStream"}) as flux, on_call(flux) as call:
        flow = await ready(flux, call)
        await flow.block_reads()
        begun = call.now
        await call.source.aclose()
        assert call.now - begun <= 3.1


@in_virtual_time(until=60)
async def test_cancelling_closes_the_connection_and_leaves_no_task() -> None:
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
async def test_flux_row_26_after_giving_up_it_takes_no_more_audio() -> None:
    async with ScriptedFlux() as flux:
        flux.refuse(401)
        async with on_call(flux) as call:
            await call.until(ev.SourceFailed)
            await call.speak(5.0)
            assert call.source.stats.audio_dropped == 0


# ------------------------------------------------------------------------------------- secrets


@in_virtual_time(until=60)
async def test_secrets_reach_no_log_error_or_repr(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets").setLevel(logging.DEBUG)
    secrets = ["key-of-the-house", "cf-token-123456", "url-token-98765"]
    async with ScriptedFlux() as flux:
        url = f"{flux.url}?access_token={secrets[2]}"
        source = FluxSource(
            url=url, key=secrets[0], headers={"cf-aig-authorization": f"Bearer {secrets[1]}"}
        )
        call = Call(source, LINE)
        running = asyncio.create_task(source.run(LINE, call.emit, lambda: call.now))
        flow = await ready(flux, call)
        await flow.start("a private matter")
        await call.until(ev.TurnStarted)
        await flow.error("BAD", f"your {secrets[0]} and {secrets[1]} and {secrets[2]}")
        await ready(flux, call, 1)
        flux.refuse(400, f"no {secrets[0]} {secrets[1]} {secrets[2]}")
        source.reconnect("as the test wants")
        await call.until(ev.SourceFailed)
        await running
    sent = flux.handshakes[0]
    assert sent.headers["authorization"] == f"Token {secrets[0]}"
    assert sent.values("access_token") == [secrets[2]]
    output = capsys.readouterr()
    losses = [event for _, event in call.events if not isinstance(event, ev.TurnEvent)]
    shown = "".join((output.out, output.err, caplog.text, repr(source), repr(losses)))
    for secret in secrets:
        assert secret not in shown
    assert "a private matter" not in output.out + output.err + caplog.text


@in_virtual_time(until=60)
async def test_headers_can_be_made_for_each_connection() -> None:
    made = 0

    async def headers() -> dict[str, str]:
        nonlocal made
        made += 1
        if made == 2:
            raise RuntimeError("token-service-secret is down")
        return {"Authorization": f"Bearer jwt-number-{made}"}

    async with ScriptedFlux() as flux, on_call(flux, headers=headers) as call:
        flow = await ready(flux, call)
        await flow.abort()
        await ready(flux, call, 1)
        assert [shake.headers["authorization"] for shake in flux.handshakes] == [
            "Bearer jwt-number-1",
            "Bearer jwt-number-3",
        ]
        assert "secret" not in repr(call.of(ev.SourceLost))


@in_virtual_time(until=60)
async def test_a_redirect_is_not_followed_with_the_key() -> None:
    async with ScriptedFlux() as flux:
        flux.refuse(302, "elsewhere")
        async with on_call(flux, key="key-of-the-house") as call:
            failed = await call.until(ev.SourceFailed)
        assert "redirect" in failed.message
        assert len(flux.handshakes) == 1
