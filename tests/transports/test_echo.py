"""What of the microphone's sound is the caller's."""

from __future__ import annotations

import asyncio
import sys
from array import array
from collections.abc import Callable
from itertools import pairwise

import pytest

from agentkit.errors import ConfigError
from agentkit.testing.clock import in_virtual_time
from agentkit.transports.desktop import DesktopTransport
from agentkit.transports.echo import FullDuplex, HalfDuplex
from tests.transports.desk import BUFFER, Half, talking
from tests.transports.fake_pyaudio import FakePyAudio

Use = Callable[[FakePyAudio], FakePyAudio]


def test_full_duplex_hears_the_canceller_while_the_agent_speaks_and_else_the_room(
    halves: list[Half],
) -> None:
    control = FullDuplex()
    frame = array("h", [1000] * 160).tobytes()
    heard = array("h")
    for playing in (False, False, True, True, False, False):
        control.played(array("h", [5] * 160).tobytes())
        heard.frombytes(control.heard(frame, playing))
    assert list(heard[:320]) == [1000] * 320
    assert heard[320] == 1000
    assert list(heard[480:640]) == [500] * 160
    assert heard[640] == 500
    assert list(heard[800:]) == [1000] * 160
    steps = [b - a for a, b in pairwise(heard[320:])]
    assert max(map(abs, steps)) <= 5
    # It was given both sides in step, in silence, too.
    assert len(halves[0].near) == len(halves[0].far) == 6 * 320
    assert set(array("h", halves[0].far)) == {5}


def test_of_buffers_that_are_whole_frames_nothing_waits_for_the_next(halves: list[Half]) -> None:
    control = FullDuplex()
    sizes = [272, 320, 320, 640]  # bytes; a resampler keeps back 1.5 ms of the first 10 ms
    assert [len(control.heard(bytes(size), False)) for size in sizes] == [320, 320, 320, 640]


def test_the_loudspeaker_and_the_microphone_stay_in_step(halves: list[Half]) -> None:
    control = FullDuplex()
    control.heard(bytes(320), False)  # nothing was played yet
    assert halves[0].far == bytes(320)
    for _ in range(25):  # the event loop was busy for half a second
        control.played(bytes([1]) * 640)
    for _ in range(25):
        control.heard(bytes(640), False)
    assert halves[0].far[320:] == bytes([1]) * 25 * 640  # nothing was dropped
    for _ in range(500):  # a card that plays faster than the other one hears
        control.played(bytes([1]) * 700)
        control.heard(bytes(640), False)
    assert len(control._far) <= 16000 * 2 * 0.2 + 60 * 32000 / 640
    assert control.heard(bytes(100), False) == b""
    assert len(control.heard(bytes(600), True)) == 640


def test_after_a_gap_the_canceller_begins_anew_and_nothing_is_heard_for_half_a_second(
    halves: list[Half],
) -> None:
    control = FullDuplex()
    frame = array("h", [1000] * 160).tobytes()

    def heard(playing: bool) -> bool:
        control.played(frame)
        return any(control.heard(frame, playing))

    assert heard(True)
    control.slipped()
    assert [heard(True) for _ in range(100)] == [False] * 50 + [True] * 50
    control.slipped()
    assert heard(False)  # in a pause there is nothing to be taken out
    assert halves[0].resets == 2
    control.heard(frame, True)  # more was heard than was played
    assert halves[0].resets == 3


def test_half_duplex_is_as_long_as_what_was_heard() -> None:
    control = HalfDuplex()
    control.played(b"12")
    control.slipped()
    assert control.heard(b"1234", True) == bytes(4)
    assert control.heard(b"1234", False) == b"1234"


def test_without_a_canceller_it_is_half_duplex_and_says_how_to_change_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentkit.transports.desktop.has_canceller", lambda: False)
    assert DesktopTransport().duplex == "half"
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    with pytest.raises(ConfigError, match=r"agentkit\[desktop\]"):
        DesktopTransport(duplex="full")


def test_with_one_it_is_full_duplex(halves: list[Half], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.transports.desktop.has_canceller", lambda: True)
    assert DesktopTransport().duplex == "full"


@in_virtual_time()
async def test_a_late_buffer_puts_the_canceller_out_of_step(use: Use, halves: list[Half]) -> None:
    fake = use(FakePyAudio())
    async with talking(duplex="full") as (transport, _):
        await asyncio.sleep(1)
        before = halves[0].resets
        fake.status = FakePyAudio.paOutputUnderflow
        await asyncio.sleep(BUFFER)
        fake.status = 0
        await asyncio.sleep(1)
        assert halves[0].resets > before
        before = halves[0].resets
        await asyncio.sleep(1)
        assert halves[0].resets == before
        assert transport.statuses.total() >= 1
