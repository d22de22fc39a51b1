"""What waits to be sent, and what may have to be sent again: rule T14's part about audio."""

from __future__ import annotations

import pytest

from agentkit.audio import AudioFormat
from agentkit.flux.outbox import Outbox

LINE = AudioFormat("linear16", 8000)
LOUD, QUIET = b"\x00\x20", b"\x00\x00"


def outbox() -> Outbox:
    return Outbox(LINE, chunk=0.08, gap=0.2)


def chunk(sound: bytes = LOUD, seconds: float = 0.08) -> bytes:
    return sound * round(8000 * seconds)


def fed(box: Outbox, count: int, sound: bytes = LOUD, begin: float = 0.0) -> None:
    for n in range(count):
        box.feed(chunk(sound), begin + 0.08 * (n + 1))


def sent(box: Outbox) -> bytes:
    made = b""
    while (found := box.take()) is not None:
        made += found.data
    return made


def test_any_pieces_become_whole_chunks_in_order() -> None:
    box = outbox()
    data = bytes(range(256)) * 21
    for at in range(0, len(data), 100):
        box.feed(data[at : at + 100], at / 16000)
    sizes = []
    made = b""
    while (found := box.take()) is not None:
        sizes.append(len(found.data))
        made += found.data
    assert set(sizes) == {1280}
    box.flush()
    rest = box.take()
    assert rest is not None
    assert made + rest.data == data
    assert box.feed(b"", 9.0) is False


def test_T14_what_was_not_accounted_for_is_sent_first_again() -> None:
    box = outbox()
    fed(box, 5)
    assert len(sent(box)) == 5 * 1280
    box.account(0.24)
    box.feed(chunk(b"\x00\x30"), 0.5)
    assert box.restart(3.0) == pytest.approx(0.16)
    assert sent(box) == chunk() * 2 + chunk(b"\x00\x30")


def test_T14_a_chunk_that_was_heard_in_part_is_sent_from_there() -> None:
    box = outbox()
    fed(box, 1)
    sent(box)
    box.account(0.05)
    assert box.restart(3.0) == pytest.approx(0.03)
    assert len(sent(box)) == LINE.size(0.03)


def test_T14_at_most_three_seconds_are_kept_and_silence_goes_first() -> None:
    box = outbox()
    fed(box, 20, LOUD)
    fed(box, 20, QUIET, 1.6)
    fed(box, 20, LOUD, 3.2)
    box.restart(3.0)
    made = sent(box)
    assert LINE.seconds(len(made)) <= 3.0
    assert made.count(LOUD) > 36 * 640, "nearly all of the speech is kept"
    assert box.dropped == pytest.approx(4.8 - LINE.seconds(len(made)))


def test_T14_beyond_that_the_oldest_speech_goes() -> None:
    box = outbox()
    for n in range(60):
        box.feed(bytes([n, 0x20]) * 640, 0.08 * (n + 1))
    box.restart(3.0)
    made = sent(box)
    assert made[-2:] == bytes([59, 0x20])
    assert LINE.seconds(len(made)) == pytest.approx(2.96, abs=0.05)


def test_missing_audio_is_due_as_silence_after_two_usual_pieces() -> None:
    box = outbox()
    box.feed(chunk(seconds=0.3), 1.0)
    assert box.gap == pytest.approx(0.6)
    assert box.filler_due >= 1.6
    before = box.last_number
    assert 0.0 < box.fill() <= 0.08
    assert box.last_number == before + 1


def test_T21_positions_are_on_the_sessions_clock_also_after_a_loss() -> None:
    box = outbox()
    fed(box, 10, begin=100.0)
    sent(box)
    assert box.times.end_time(0.4) == pytest.approx(100.4, abs=0.1)
    box.account(0.4)
    box.restart(3.0)
    sent(box)
    assert box.times.start_time(0.0) == pytest.approx(100.4, abs=0.1)


def test_what_is_old_is_let_go() -> None:
    box = outbox()
    fed(box, 10)
    sent(box)
    box.forget(0.16)
    assert box.restart(3.0) == pytest.approx(0.16)
