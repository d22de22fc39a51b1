"""A line whose clock decides what was heard: latency, buffer, marks, clears, and a caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.errors import TransportError
from agentkit.testing.backends import tone
from agentkit.testing.clock import in_virtual_time, run_virtual
from agentkit.testing.transport import FakeTransport, Logged


def now() -> float:
    return asyncio.get_running_loop().time()


class Sink:
    """What the session would be told, and when."""

    def __init__(self) -> None:
        self.audio_heard = b""
        self.marks: list[tuple[float, str]] = []
        self.digits = ""

    def audio(self, data: bytes) -> None:
        self.audio_heard += data

    def marked(self, name: str) -> None:
        self.marks.append((round(now(), 6), name))

    def dtmf(self, digit: str) -> None:
        self.digits += digit


@asynccontextmanager
async def calling(**given: Any) -> AsyncIterator[tuple[FakeTransport, Sink]]:
    """A line in use; at the end the caller hangs up."""
    line, sink = FakeTransport(**given), Sink()
    await line.connect()
    running = asyncio.create_task(line.run(sink))
    await line.ready()
    yield line, sink
    line.hang_up_remote()
    assert await running == "caller hung up"
    await line.aclose()


@in_virtual_time()
async def test_audio_is_heard_in_real_time_and_in_order() -> None:
    async with calling() as (line, _):
        first, second = tone(1.0, pitch=1), tone(0.5, pitch=2)
        line.play(first)
        line.play(second)
        assert line.heard_audio() == b""
        await asyncio.sleep(0.25)
        assert line.heard_audio() == first[:8000]
        assert line.is_playing
        await asyncio.sleep(5)
        assert line.heard_audio() == first + second
        assert [heard.time for heard in line.heard] == [0.0, 1.0]
        assert not line.is_playing


@in_virtual_time()
async def test_latency_and_buffer_delay_what_is_heard() -> None:
    async with calling(latency=0.08, buffer=0.06) as (line, _):
        await asyncio.sleep(1)
        for _ in range(10):
            line.play(tone(0.02))
            await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        assert line.first_heard_at == pytest.approx(1.14)
        assert line.heard_seconds() == pytest.approx(0.2)
        assert line.longest_gap() == pytest.approx(0.0)


@in_virtual_time()
async def test_a_buffer_fills_again_after_it_ran_empty() -> None:
    async with calling(buffer=0.06) as (line, _):
        line.play(tone(0.1))
        await asyncio.sleep(0.3)
        line.play(tone(0.1))
        await asyncio.sleep(1)
        assert [heard.time for heard in line.heard] == pytest.approx([0.06, 0.36])
        assert line.longest_gap() == pytest.approx(0.2)
        assert line.longest_gap(during=(0.0, 0.2)) == pytest.approx(0.04)
        assert line.longest_gap(during=(0.4, 9.0)) == 0.0


def test_jitter_keeps_the_order_and_is_the_same_each_time() -> None:
    async def play() -> tuple[bytes, list[float]]:
        async with calling(latency=0.02, jitter=0.1) as (line, _):
            for number in range(20):
                line.play(bytes([number, 1]) * 160)
                await asyncio.sleep(0.04)
            await asyncio.sleep(1)
            return line.heard_audio(), [heard.time for heard in line.heard]

    audio, times = run_virtual(play())
    assert audio == b"".join(bytes([number, 1]) * 160 for number in range(20))
    assert len({round(time % 0.04, 4) for time in times}) > 5, "it does vary"
    assert run_virtual(play()) == (audio, times)


@in_virtual_time()
async def test_the_first_sound_is_told_from_silence() -> None:
    async with calling(output=AudioFormat("mulaw", 8000)) as (line, _):
        line.play(line.output.silence(0.3))
        line.play(tone(0.2, line.output))
        assert line.first_sound_at() is None
        await asyncio.sleep(1)
        assert line.first_heard_at == 0.0
        assert line.first_sound_at() == pytest.approx(0.3)
        assert line.first_sound_at(after=0.4) == pytest.approx(0.4)
        assert line.first_sound_at(after=0.5) is None


@in_virtual_time()
async def test_marks_come_back_when_what_was_played_before_them_was_heard() -> None:
    async with calling(latency=0.05) as (line, sink):
        line.mark("nothing")
        line.play(tone(0.5))
        line.mark("half")
        line.mark("half again")
        line.play(tone(0.5))
        line.mark("all")
        await asyncio.sleep(2)
        line.mark("idle")
        await asyncio.sleep(1)
        assert sink.marks == [
            (0.1, "nothing"),
            (0.6, "half"),
            (0.6, "half again"),
            (1.1, "all"),
            (2.1, "idle"),
        ]


@in_virtual_time()
async def test_a_clear_drops_what_was_not_heard_when_it_arrives() -> None:
    async with calling(latency=0.05) as (line, _):
        old, new = tone(2.0, pitch=1), tone(0.1, pitch=2)
        line.play(old)
        await asyncio.sleep(1)
        line.clear()
        line.play(new)
        await asyncio.sleep(2)
        assert line.cleared_at == [1.05]
        assert line.heard_audio() == old[: line.output.size(1.0)] + new
        assert [heard.time for heard in line.heard] == pytest.approx([0.05, 1.05])


@pytest.mark.parametrize("on_clear", ["echo", "drop"])
@in_virtual_time()
async def test_marks_on_clear_come_back_at_once_or_never(on_clear: str) -> None:
    """Twilio echoes pending marks on a clear (telephony facts, row 'acks on clear'), Plivo not."""
    async with calling(latency=0.05, on_clear=on_clear) as (line, sink):
        for name in ("one", "two", "three"):
            line.play(tone(0.5))
            line.mark(name)
        await asyncio.sleep(0.53)  # "one" was heard at 0.55, before the clear gets there
        line.clear()
        line.play(tone(0.5))
        line.mark("new")
        await asyncio.sleep(2)
        flushed = [(0.63, "two"), (0.63, "three")] if on_clear == "echo" else []
        assert sink.marks == [(0.6, "one"), *flushed, (1.13, "new")]


@in_virtual_time()
async def test_a_clear_of_an_empty_line_is_harmless() -> None:
    async with calling() as (line, sink):
        line.clear()
        line.play(tone(0.1))
        await asyncio.sleep(1)
        line.clear()
        assert line.heard_seconds() == pytest.approx(0.1)
        assert line.cleared_at == [0.0, 1.0]
        assert sink.marks == []


@in_virtual_time()
async def test_marks_can_be_lost_late_or_doubled() -> None:
    def fate(name: str) -> Iterable[float]:
        return {"lost": (), "late": (0.5,), "twice": (0.0, 0.2)}.get(name, (0.0,))

    async with calling(marks=fate) as (line, sink):
        for name in ("lost", "late", "twice", "plain"):
            line.mark(name)
        await asyncio.sleep(2)
        assert sink.marks == [(0.0, "twice"), (0.0, "plain"), (0.2, "twice"), (0.5, "late")]


@in_virtual_time()
async def test_a_mark_is_never_returned_inside_the_call_that_causes_it() -> None:
    async with calling() as (line, sink):
        line.play(tone(1.0))
        line.mark("end")
        line.clear()
        assert sink.marks == []
        await asyncio.sleep(0.001)
        assert [name for _, name in sink.marks] == ["end"]


@in_virtual_time()
async def test_the_caller_speaks_and_presses_keys() -> None:
    async with calling() as (line, sink):
        line.feed(b"\x01\x00" * 160)
        line.press("12#")
        assert sink.audio_heard == b"\x01\x00" * 160
        assert sink.digits == "12#"
        with pytest.raises(ValueError, match="'x' is not a key"):
            line.press("x")


@in_virtual_time()
async def test_a_caller_cannot_be_driven_before_and_after_the_call() -> None:
    line = FakeTransport()
    with pytest.raises(RuntimeError, match=r"await transport\.ready"):
        line.feed(b"")
    async with calling() as (line, _):
        pass
    with pytest.raises(RuntimeError, match="the call is over: caller hung up"):
        line.press("1")


@in_virtual_time()
async def test_nothing_is_heard_or_told_after_the_end() -> None:
    async with calling() as (line, sink):
        line.play(tone(2.0))
        line.mark("end")
        await asyncio.sleep(0.5)
    line.play(tone(1.0))
    line.mark("more")
    line.clear()
    await asyncio.sleep(3)
    assert line.heard_seconds() == 0.5
    assert sink.marks == []
    assert [event.detail for event in line.events if event.kind == "late"] == [
        "play",
        "mark",
        "clear",
    ]


@in_virtual_time()
async def test_our_hanging_up_ends_the_call_once() -> None:
    line = FakeTransport()
    await line.connect()
    running = asyncio.create_task(line.run(Sink()))
    await line.ready()
    await line.hang_up()
    await line.hang_up()
    line.hang_up_remote()
    assert await running == "agent hung up"
    await line.aclose()
    await line.aclose()
    assert line.closed
    assert [event.kind for event in line.events] == ["hang_up", "end"]


@in_virtual_time()
async def test_a_broken_line_raises() -> None:
    line = FakeTransport()
    await line.connect()
    running = asyncio.create_task(line.run(Sink()))
    await line.ready()
    line.break_off("socket reset")
    with pytest.raises(TransportError, match="socket reset"):
        await running


async def test_a_line_that_cannot_be_had() -> None:
    line = FakeTransport(connect_error=TransportError("no carrier"))
    with pytest.raises(TransportError, match="no carrier"):
        await line.connect()
    await line.aclose()


@in_virtual_time()
async def test_transfers_and_keys_are_noted() -> None:
    async with calling() as (line, _):
        await line.transfer("+4930123456")
        await line.send_dtmf("42")
        assert line.transfers == ["+4930123456"]
        assert line.dtmf_sent == ["42"]


@in_virtual_time()
async def test_a_test_can_wait_for_what_happens() -> None:
    async with calling() as (line, _):
        loop = asyncio.get_running_loop()
        loop.call_at(1.0, line.play, tone(0.5))
        loop.call_at(2.0, line.clear)
        loop.call_at(3.0, line.play, tone(0.25))
        assert await line.wait_for("clear") == Logged(2.0, "clear")
        assert await line.wait_for("play") == Logged(1.0, "play", 16000)
        await line.until_quiet(0.5, after=2.0)
        assert now() == pytest.approx(3.75)
        await line.until_quiet(0.5)
        assert now() == pytest.approx(3.75)


@in_virtual_time()
async def test_waiting_ends_with_the_call() -> None:
    async with calling() as (line, _):
        waiting = asyncio.create_task(line.wait_for("clear"))
        line.play(tone(60))
        quiet = asyncio.create_task(line.until_quiet())
        await asyncio.sleep(1)
    with pytest.raises(RuntimeError, match="before 'clear' number 1: caller hung up"):
        await waiting
    await quiet
    assert now() == 1.0


async def test_it_works_in_real_time_too() -> None:
    async with calling(latency=0.01) as (line, sink), asyncio.timeout(5):
        line.play(tone(0.05))
        line.mark("end")
        await line.wait_for("marked")
        assert [name for _, name in sink.marks] == ["end"]
        assert line.heard_seconds() == pytest.approx(0.05)
