"""Audio between the sound card's threads and the event loop."""

from __future__ import annotations

import asyncio
import threading
from array import array
from collections.abc import Callable
from itertools import pairwise

from agentkit.transports.rings import Doorbell, MicrophoneRing, SpeakerRing
from tests.transports.desk import AT_48, now, steady
from tests.transports.fake_pyaudio import FakePyAudio

Use = Callable[[FakePyAudio], FakePyAudio]


def test_a_buffer_is_always_whole() -> None:
    ring = SpeakerRing(AT_48)
    ring.write(b"\x01\x00" * 3)
    buffer = ring.read(10, 0.0)
    assert buffer.data == b"\x01\x00" * 3 + bytes(4)
    assert (buffer.audio, buffer.position) == (6, 6)
    assert ring.read(4, 0.0) == (bytes(4), 0, 6, 0.0)


def test_pieces_of_any_length_come_out_in_order() -> None:
    ring = SpeakerRing(AT_48)
    sent = array("h", range(1000)).tobytes()
    for at in range(0, len(sent), 14):
        ring.write(sent[at : at + 14])
    ring.write(b"")
    got = b"".join(ring.read(160, 0.0).data for _ in range(13))
    assert got == sent + bytes(13 * 160 - len(sent))


def test_what_is_cleared_dies_away_in_5_ms() -> None:
    ring = SpeakerRing(AT_48)
    ring.write(steady(1.0))
    ring.read(1920, 0.0)
    ring.clear()
    ring.write(steady(0.001, 50))
    buffer = ring.read(1920, 0.0)
    samples = array("h", buffer.data)
    assert 7900 < samples[0] < 8000
    assert all(0 <= a - b <= 34 for a, b in pairwise(samples[:240]))
    assert 0 < samples[239] < 40
    assert list(samples[240:288]) == [50] * 48
    assert not any(samples[288:])
    assert (buffer.audio, buffer.position) == (2 * 288, ring.queued)


def test_a_rest_shorter_than_the_fade_has_no_click_either() -> None:
    ring = SpeakerRing(AT_48)
    ring.write(steady(0.02) + steady(0.001))
    ring.read(1920, 0.0)
    ring.clear()
    samples = array("h", ring.read(1920, 0.0).data)
    assert 7800 < samples[0] < 8000
    assert 0 < samples[47] < 200
    assert not any(samples[48:])


def test_what_never_began_is_not_faded() -> None:
    ring = SpeakerRing(AT_48)
    ring.write(steady(1.0))
    ring.clear()
    assert not any(ring.read(1920, 0.0).data)
    ring.write(steady(0.01, 9))
    assert ring.read(20, 0.0).data == steady(0.01, 9)[:20]


def test_a_microphone_that_nobody_takes_from_loses_the_oldest() -> None:
    ring = MicrophoneRing(3)
    for each in b"abcde":
        ring.write(bytes([each]))
    assert ring.take() == [b"c", b"d", b"e"]
    assert ring.dropped == 2
    assert ring.take() == []


async def test_many_rings_are_one_call() -> None:
    calls = []
    bell = Doorbell(asyncio.get_running_loop(), lambda: calls.append(now()))

    def ring() -> None:
        for _ in range(5):
            bell.ring()

    thread = threading.Thread(target=ring)
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    bell.ring()
    await asyncio.sleep(0)
    assert len(calls) == 2


def test_a_bell_without_a_loop_is_silent() -> None:
    loop = asyncio.new_event_loop()
    bell = Doorbell(loop, lambda: None)
    loop.close()
    bell.ring()
