"""Frames are sent when they are due: exactly, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.testing.clock import in_virtual_time
from agentkit.transports.pacer import Pacer

SILENCE = b"\x00" * 4


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


class Line:
    """What was sent and which marks came back, with their times."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, bytes]] = []
        self.marks: list[tuple[float, str]] = []
        self.stalled_at: list[float] = []
        self.has_room = True
        self.on_mark: Callable[[str], Any] = lambda name: None
        self.pacer = Pacer(SILENCE, send=self.send, marked=self.marked, stalled=self.stalled)

    def send(self, frame: bytes) -> bool:
        if self.has_room:
            self.sent.append((now(), frame))
        return self.has_room

    def marked(self, name: str) -> None:
        self.marks.append((now(), name))
        self.on_mark(name)

    def stalled(self) -> None:
        self.stalled_at.append(now())

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.sent]

    @property
    def heard(self) -> bytes:
        return b"".join(frame for _, frame in self.sent)


def frames(count: int, first: int = 1) -> bytes:
    return b"".join(bytes([each]) * 4 for each in range(first, first + count))


@in_virtual_time()
async def test_a_frame_every_20_ms_and_nothing_after_the_last() -> None:
    line = Line()
    await asyncio.sleep(1)
    line.pacer.play(frames(5))
    await asyncio.sleep(10)
    assert line.times == [1.0, 1.02, 1.04, 1.06, 1.08]
    assert line.heard == frames(5)


@in_virtual_time()
async def test_the_schedule_does_not_drift() -> None:
    line = Line()
    line.pacer.play(frames(200) * 250)
    await asyncio.sleep(1001)
    assert len(line.times) == 50_000
    assert line.times[-1] == pytest.approx(999.98, abs=1e-6)


@in_virtual_time()
async def test_what_comes_in_time_follows_without_a_gap() -> None:
    line = Line()
    for first in range(1, 10):
        line.pacer.play(frames(1, first))
        await asyncio.sleep(0.019)
    await asyncio.sleep(1)
    assert line.times == pytest.approx([0.02 * at for at in range(9)])


@in_virtual_time()
async def test_after_a_pause_the_schedule_begins_anew_at_once() -> None:
    line = Line()
    line.pacer.play(frames(2))
    await asyncio.sleep(0.733)
    line.pacer.play(frames(2))
    await asyncio.sleep(1)
    assert line.times == [0.0, 0.02, 0.733, 0.753]


@in_virtual_time()
async def test_a_pause_shorter_than_a_frame_does_not_hurry_the_next() -> None:
    line = Line()
    line.pacer.play(frames(1))
    await asyncio.sleep(0.005)
    line.pacer.clear()
    line.pacer.play(frames(1))
    await asyncio.sleep(1)
    assert line.times == [0.0, 0.02]


@in_virtual_time()
async def test_the_last_frame_is_filled_up_with_silence() -> None:
    line = Line()
    line.pacer.play(frames(1) + b"\x07\x07")
    await asyncio.sleep(1)
    assert line.sent == [(0.0, frames(1)), (0.02, b"\x07\x07\x00\x00")]


@in_virtual_time()
async def test_the_rest_of_the_first_frame_is_waited_for() -> None:
    line = Line()
    line.pacer.play(b"\x01\x01")
    await asyncio.sleep(0.005)
    line.pacer.play(b"\x01\x01")
    await asyncio.sleep(1)
    assert line.sent == [(0.02, frames(1))]
    line.pacer.play(b"\x02")
    await asyncio.sleep(1)
    assert line.sent[1:] == [(1.025, b"\x02\x00\x00\x00")]


@in_virtual_time()
async def test_a_mark_comes_back_a_frame_after_the_last_byte_before_it() -> None:
    line = Line()
    line.pacer.play(frames(2))
    line.pacer.mark("two")
    line.pacer.play(b"\x03\x03")
    line.pacer.mark("two and a half")
    line.pacer.mark("again")
    await asyncio.sleep(1)
    assert line.times == [0.0, 0.02, 0.04]
    assert line.marks == [(0.04, "two"), (0.06, "two and a half"), (0.06, "again")]


@in_virtual_time()
async def test_a_mark_behind_nothing_comes_back_from_the_loop() -> None:
    line = Line()
    await asyncio.sleep(1)
    line.pacer.mark("none")
    assert line.marks == []
    await asyncio.sleep(1)
    assert line.marks == [(1.0, "none")]


@in_virtual_time()
async def test_a_mark_that_comes_late_waits_for_what_was_sent_last() -> None:
    line = Line()
    line.pacer.play(frames(1))
    await asyncio.sleep(0.007)
    line.pacer.mark("sent")
    await asyncio.sleep(1)
    assert line.marks == [(0.02, "sent")]


@in_virtual_time()
async def test_a_clear_drops_what_was_not_sent_and_its_marks() -> None:
    line = Line()
    line.pacer.play(frames(2))
    line.pacer.mark("sent")
    line.pacer.play(frames(50) + b"\x07")
    line.pacer.mark("dropped")
    await asyncio.sleep(0.025)
    line.pacer.clear()
    line.pacer.mark("after")
    line.pacer.play(frames(1, 9))
    await asyncio.sleep(1)
    assert line.sent == [(0.0, frames(1)), (0.02, frames(1, 2)), (0.04, frames(1, 9))]
    assert line.marks == [(0.04, "sent"), (0.04, "after")]


@in_virtual_time()
async def test_a_clear_of_nothing_is_nothing() -> None:
    line = Line()
    line.pacer.clear()
    await asyncio.sleep(1)
    assert (line.sent, line.marks) == ([], [])


@in_virtual_time()
async def test_a_mark_may_ask_for_more() -> None:
    """What is played from inside a mark follows in its time: there is one schedule only."""
    line = Line()

    def again(name: str) -> None:
        if len(line.marks) < 4:
            line.pacer.play(frames(1))
            line.pacer.mark(name)

    line.on_mark = again
    line.pacer.play(frames(1))
    line.pacer.mark("m")
    await asyncio.sleep(1)
    assert line.times == pytest.approx([0.0, 0.02, 0.04, 0.06])
    assert [time for time, _ in line.marks] == pytest.approx([0.02, 0.04, 0.06, 0.08])


@in_virtual_time()
async def test_a_mark_may_clear_or_stop() -> None:
    line = Line()
    line.on_mark = lambda name: line.pacer.clear() if name == "clear" else line.pacer.stop()
    line.pacer.play(frames(1))
    line.pacer.mark("clear")
    line.pacer.play(frames(5))
    await asyncio.sleep(1)
    assert line.times == [0.0]
    line.pacer.play(frames(1))
    line.pacer.mark("stop")
    line.pacer.mark("never")
    line.pacer.play(frames(5))
    await asyncio.sleep(1)
    assert line.times == [0.0, 1.0]
    assert line.marks == [(0.02, "clear"), (1.02, "stop")]


@in_virtual_time()
async def test_keys_go_ahead_of_audio_and_a_clear_leaves_them() -> None:
    line = Line()
    line.pacer.play(frames(3))
    line.pacer.mark("three")
    await asyncio.sleep(0.01)
    line.pacer.press(b"\xaa" * 8)
    assert line.pacer.pressing == 0.04
    await asyncio.sleep(0.02)
    assert line.pacer.pressing == 0.02
    line.pacer.clear()
    await asyncio.sleep(1)
    assert line.heard == frames(1) + b"\xaa" * 8
    assert line.pacer.pressing == 0
    assert line.marks == []


@in_virtual_time()
async def test_keys_delay_the_marks_behind_them() -> None:
    line = Line()
    line.pacer.play(frames(2))
    line.pacer.mark("two")
    line.pacer.press(b"\xaa" * 8)
    await asyncio.sleep(1)
    assert line.heard == b"\xaa" * 8 + frames(2)
    assert line.marks == [(0.08, "two")]


def stall(seconds: float) -> None:
    """Nothing else runs for so long: the loop's own clock is moved, as by a blocked thread."""
    loop: Any = asyncio.get_running_loop()
    loop._now += seconds


@in_virtual_time()
async def test_a_short_stall_of_the_process_is_made_up_for() -> None:
    line = Line()
    line.pacer.play(frames(10))
    await asyncio.sleep(0.03)
    stall(0.06)
    await asyncio.sleep(1)
    late = [0.09, 0.09, 0.09]
    assert line.times == pytest.approx([0.0, 0.02, *late, *[0.1 + 0.02 * at for at in range(5)]])


@in_virtual_time()
async def test_after_a_long_stall_nothing_comes_in_a_burst() -> None:
    line = Line()
    line.pacer.play(frames(10))
    await asyncio.sleep(0.03)
    stall(0.5)
    await asyncio.sleep(1)
    assert line.times == pytest.approx([0.0, 0.02, *[0.53 + 0.02 * at for at in range(8)]])
    assert line.heard == frames(10)


@in_virtual_time()
async def test_without_room_frames_wait_and_then_come_in_their_pace() -> None:
    line = Line()
    line.pacer.play(frames(5))
    line.pacer.mark("five")
    await asyncio.sleep(0.03)
    line.has_room = False
    await asyncio.sleep(1)
    line.has_room = True
    await asyncio.sleep(1)
    assert line.times == pytest.approx([0.0, 0.02, 1.04, 1.06, 1.08])
    assert line.heard == frames(5)
    assert line.marks == [(1.1, "five")]
    assert line.stalled_at == []


@in_virtual_time()
async def test_without_room_for_two_seconds_it_is_given_up_once() -> None:
    line = Line()
    line.pacer.play(frames(200))
    await asyncio.sleep(0.99)
    line.has_room = False
    await asyncio.sleep(1.9)
    line.has_room = True
    await asyncio.sleep(0.05)
    line.has_room = False
    await asyncio.sleep(5)
    line.has_room = True
    line.pacer.play(frames(1))
    await asyncio.sleep(5)
    assert line.stalled_at == pytest.approx([4.94], abs=0.021)
    assert len(line.sent) == 52


@in_virtual_time()
async def test_a_stopped_pacer_sends_nothing() -> None:
    line = Line()
    line.pacer.play(frames(5))
    line.pacer.mark("five")
    await asyncio.sleep(0.03)
    line.pacer.stop()
    line.pacer.play(frames(5))
    line.pacer.press(frames(5))
    line.pacer.mark("more")
    line.pacer.stop()
    await asyncio.sleep(1)
    assert line.times == [0.0, 0.02]
    assert line.marks == []


@in_virtual_time()
async def test_stopping_before_anything_was_played_is_nothing() -> None:
    line = Line()
    line.pacer.stop()
    await asyncio.sleep(1)
    assert line.sent == []
