"""The client over real sockets, against a scripted Flux."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from agentkit.audio import AudioFormat
from agentkit.core import events as ev
from agentkit.errors import ConfigError
from agentkit.flux import CLOUDFLARE, FluxOptions, FluxSource, FluxTimings
from agentkit.testing import ScriptedFlux
from agentkit.testing.clock import in_virtual_time

LINE = AudioFormat("linear16", 16000)
SECRET = "dg-very-secret-key"
QUICK = FluxTimings(stall=0.6, keep=1.0, tries=3, backoff=0.02, longest_backoff=0.05, send=0.4)


class Listening:
    """A source that runs, what it emits, and a microphone."""

    def __init__(self, source: FluxSource, audio: AudioFormat = LINE) -> None:
        self.source = source
        self.audio = audio
        self.events: list[ev.SourceEvent] = []
        self.changed = asyncio.Event()

    def emit(self, event: ev.SourceEvent) -> None:
        self.events.append(event)
        self.changed.set()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[Any], count: int = 1) -> Any:
        async with asyncio.timeout(5):
            while len(self.of(kind)) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.of(kind)[count - 1]

    async def speak(self) -> None:
        """20 ms of noise every 20 ms."""
        frame = bytes(range(64)) * (self.audio.size(0.02) // 64 + 1)
        frame = frame[: self.audio.size(0.02)]
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self.source.feed(frame)
            due += 0.02
            await asyncio.sleep(max(0.0, due - loop.time()))


@asynccontextmanager
async def listening(
    flux: ScriptedFlux, *, audio: AudioFormat = LINE, speak: bool = True, **options: Any
) -> AsyncIterator[Listening]:
    options.setdefault("timings", QUICK)
    source = FluxSource(url=flux.url, **options)
    heard = Listening(source, audio)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(source.run(audio, heard.emit, loop.time))
        speaking = tasks.create_task(heard.speak()) if speak else None
        yield heard
        if speaking is not None:
            speaking.cancel()
        await source.aclose()
        async with asyncio.timeout(5):
            await running


async def test_a_turn_from_socket_to_neutral_events() -> None:
    async with ScriptedFlux() as flux, listening(flux, key=SECRET) as heard:
        call = await flux.connection()
        await call.start("hello")
        await call.eager("hello there")
        await call.resume("hello there")
        await call.end("hello there friend")
        ended = await heard.until(ev.TurnEnded)
        assert (ended.connection, ended.index, ended.text) == (0, 0, "hello there friend")
        kinds = [type(e).__name__ for e in heard.events if not isinstance(e, ev.TurnUpdated)]
        assert kinds == [
            "SourceConnected",
            "SourceTuned",
            "TurnStarted",
            "TurnMaybeEnded",
            "TurnResumed",
            "TurnEnded",
        ]
        assert flux.handshakes[0].headers["authorization"] == f"Token {SECRET}"
        assert flux.handshakes[0].headers["user-agent"]
    assert call.controls[-1] == {"type": "CloseStream"}


async def test_speech_times_are_on_the_sessions_clock() -> None:
    """T21: speech end as Flux reports it, over the audio that was really sent."""
    async with ScriptedFlux() as flux, listening(flux) as heard:
        began = asyncio.get_running_loop().time()
        call = await flux.connection()
        await call.heard(0.8)
        await call.start("hello")
        started = await heard.until(ev.TurnStarted)
        assert started.speech_end is not None
        assert began - 0.1 <= started.speech_end <= asyncio.get_running_loop().time()


async def test_audio_is_sent_in_80_ms_chunks_as_it_is() -> None:
    phone = AudioFormat("mulaw", 8000)
    async with ScriptedFlux() as flux, listening(flux, audio=phone) as heard:
        call = await flux.connection()
        await call.heard(0.5)
        assert {size for _, size in call.arrivals} == {640}
        assert dict(flux.handshakes[0].query)["encoding"] == "mulaw"
        assert heard.source.stats.audio_dropped == 0


async def test_audio_waits_for_connected_and_keeps_its_order() -> None:
    async with ScriptedFlux(connected_delay=0.2) as flux:
        source = FluxSource(url=flux.url, timings=QUICK)
        first = bytes(range(256)) * 10
        source.feed(first)
        heard = Listening(source)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(
                source.run(LINE, heard.emit, asyncio.get_running_loop().time)
            )
            call = await flux.connection()
            await call.heard(0.08)
            assert bytes(call.audio[: len(first)]) == first
            await source.aclose()
            await running


async def test_missing_audio_is_replaced_by_silence() -> None:
    async with ScriptedFlux() as flux, listening(flux, speak=False) as heard:
        call = await flux.connection()
        heard.source.feed(b"\x10\x10" * 1280)
        await call.heard(0.6)
        assert heard.source.stats.silence_sent > 0.3
        assert bytes(call.audio[-640:]) == bytes(640)
        assert all(control["type"] != "KeepAlive" for control in call.controls)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_refusals_are_final_and_named_without_the_key(
    status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with ScriptedFlux() as flux:
        flux.refuse(status, f"no {SECRET} here", times=9)
        async with listening(flux, key=SecretStr(SECRET)) as heard:
            failed = await heard.until(ev.SourceFailed)
        assert len(flux.handshakes) == 1, "4xx is never tried again"
    assert failed.code == "flux_handshake"
    assert str(status) in failed.message
    output = capsys.readouterr()
    assert SECRET not in failed.message + output.out + output.err + repr(heard.source)


async def test_T14_it_gives_up_after_its_tries_with_one_failure() -> None:
    async with ScriptedFlux() as flux:
        flux.refuse(503, times=99)
        async with listening(flux) as heard:
            await heard.until(ev.SourceFailed)
        assert len(flux.handshakes) == QUICK.tries
        assert len(heard.of(ev.SourceFailed)) == 1
        assert not heard.of(ev.SourceLost)


@pytest.mark.parametrize("how", ["abort", "close_without_code", "error"])
async def test_a_lost_connection_is_one_loss_and_is_made_again(
    how: str,
) -> None:
    async with ScriptedFlux() as flux, listening(flux) as heard:
        call = await flux.connection()
        await call.start("book a")
        await heard.until(ev.TurnStarted)
        if how == "error":
            await call.error("NET-0000", "the server is going away")
        else:
            await getattr(call, how)()
        again = await flux.connection(1)
        await again.start("table")
        started = await heard.until(ev.TurnStarted, 2)
        assert started.connection == 1
        lost = heard.of(ev.SourceLost)
        assert len(lost) == 1
        if how == "error":
            assert "NET-0000" in lost[0].reason
            assert "the server is going away" in lost[0].reason
        assert [e.connection for e in heard.of(ev.SourceConnected)] == [0, 1]


async def test_T14_audio_that_flux_had_not_accounted_for_is_sent_again() -> None:
    async with ScriptedFlux(chatter=False) as flux, listening(flux) as heard:
        call = await flux.connection()
        await call.heard(0.4)
        await call.abort()
        again = await flux.connection(1)
        await again.heard(0.4)
        assert heard.source.stats.audio_resent >= 0.3


async def test_a_silent_connection_counts_as_lost() -> None:
    async with ScriptedFlux(chatter=False) as flux, listening(flux) as heard:
        await flux.connection()
        lost = await heard.until(ev.SourceLost)
        assert lost.connection == 0
        await flux.connection(1)


async def test_reconnect_on_request() -> None:
    async with ScriptedFlux() as flux, listening(flux) as heard:
        await flux.connection()
        await heard.until(ev.SourceConnected)
        heard.source.reconnect("an open turn made no progress")
        lost = await heard.until(ev.SourceLost)
        assert "no progress" in lost.reason
        await flux.connection(1)


async def test_success_restores_the_tries() -> None:
    timings = FluxTimings(tries=2, backoff=0.01, healthy=0.0)
    async with ScriptedFlux() as flux, listening(flux, timings=timings) as heard:
        for number in range(5):
            call = await flux.connection(number)
            await call.start("hi")
            await heard.until(ev.TurnStarted, number + 1)
            await call.abort()
        await flux.connection(5)
        assert not heard.of(ev.SourceFailed)


async def test_one_configure_is_in_flight_and_the_latest_values_win() -> None:
    async with ScriptedFlux(configure_delay=0.15) as flux, listening(flux) as heard:
        call = await flux.connection()
        await heard.until(ev.SourceConnected)
        heard.source.configure({"eot_threshold": 0.71})
        await call.asked("Configure")
        for value in (0.72, 0.73, 0.74):
            heard.source.configure({"eot_threshold": value})
            await asyncio.sleep(0.01)
        await call.asked("Configure", 2)
        sent = [c["thresholds"]["eot_threshold"] for c in call.controls if "thresholds" in c]
        assert sent == [0.71, 0.74]


async def test_a_configure_without_an_answer_is_given_up() -> None:
    timings = FluxTimings(configure=0.2)
    async with (
        ScriptedFlux(configure="ignore") as flux,
        listening(flux, timings=timings) as heard,
    ):
        call = await flux.connection()
        await heard.until(ev.SourceConnected)
        heard.source.configure({"eot_threshold": 0.8})
        await call.asked("Configure")
        await call.heard(0.5)
        heard.source.configure({"eot_threshold": 0.9})
        await call.asked("Configure", 2)
        assert heard.source.stats.configures_given_up == 1


async def test_changed_options_are_in_the_next_url() -> None:
    async with ScriptedFlux() as flux, listening(flux) as heard:
        call = await flux.connection()
        await heard.until(ev.SourceConnected)
        heard.source.configure({"eot_threshold": 0.8, "keyterms": ["Ann"]})
        await call.asked("Configure")
        await call.heard(0.3)
        await call.abort()
        await flux.connection(1)
        query = flux.handshakes[1]
        assert query.values("eot_threshold") == ["0.8"]
        assert query.values("keyterm") == ["Ann"]


async def test_a_server_without_configure_is_never_sent_one() -> None:
    async with (
        ScriptedFlux(form="cloudflare", connected=False) as flux,
        listening(flux, dialect=CLOUDFLARE) as heard,
    ):
        call = await flux.connection()
        assert not heard.source.can_configure
        heard.source.configure({"eot_threshold": 0.8})
        heard.source.end_turn()
        await call.heard(0.3)
        await call.start("hello")
        await heard.until(ev.TurnStarted)
        assert call.controls == []
        assert "model" not in dict(flux.handshakes[0].query)


async def test_force_end_turn_and_its_warning() -> None:
    async with ScriptedFlux() as flux, listening(flux) as heard:
        call = await flux.connection()
        await heard.until(ev.SourceConnected)
        heard.source.end_turn()
        await call.asked("ForceEndTurn")
        await call.start("hello")
        await heard.until(ev.TurnStarted)
        heard.source.end_turn()
        ended = await heard.until(ev.TurnEnded)
        assert ended.trigger == "manual"


async def test_T13_what_is_unknown_is_an_oddity() -> None:
    async with ScriptedFlux() as flux, listening(flux) as heard:
        call = await flux.connection()
        await call.say({"type": "Whistle"})
        await call.send("not json")
        await call.start("hello")
        await heard.until(ev.TurnStarted)
        assert len(heard.of(ev.SourceOddity)) == 2
        assert not heard.of(ev.SourceLost)


async def test_closing_is_quick_and_idempotent() -> None:
    async with ScriptedFlux() as flux:
        async with listening(flux) as heard:
            await flux.connection()
        began = time.monotonic()
        await heard.source.aclose()
        assert time.monotonic() - began < 0.1


@in_virtual_time(until=60)
async def test_closing_while_connecting() -> None:
    async with ScriptedFlux(accept_delay=2) as flux:
        source = FluxSource(url=flux.url)
        running = asyncio.create_task(
            source.run(LINE, lambda event: None, asyncio.get_running_loop().time)
        )
        await flux.attempts(1)
        await source.aclose()
        async with asyncio.timeout(1):
            await running


def test_settings_that_cannot_be_right_are_named() -> None:
    for options, says in (
        ({"url": "http://x"}, "ws"),
        ({}, "DEEPGRAM_API_KEY"),
        ({"key": "a", "token": "b"}, "either a key or a token"),
        ({"key": " "}, "empty"),
    ):
        with pytest.raises(ConfigError, match=says):
            FluxSource(**options)  # type: ignore[arg-type]
    source = FluxSource(key=SECRET, options=FluxOptions(keyterms=["x"]))
    assert SECRET not in repr(source)
    assert FluxSource(token=SECRET).options == FluxOptions()
