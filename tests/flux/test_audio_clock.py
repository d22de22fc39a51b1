"""Where audio lies on the session's clock."""

from __future__ import annotations

import pytest

from agentkit.flux.audio_clock import AudioMap, CaptureClock


def test_T21_no_audio_was_captured_after_it_came() -> None:
    """Arrivals that are ever less late move the line at once, however little."""
    clock, times = CaptureClock(), AudioMap()
    for number in range(1, 40):
        heard = 0.08 * number
        now = 100.0 + heard + 0.004 / number
        clock.arrived(heard, now)
        times.add(heard - 0.08, heard - 0.08 + clock.offset)
        end = times.end_time(heard)
        assert end is not None
        assert end <= now + 1e-6
        assert end == pytest.approx(100.0 + heard, abs=0.005)


def test_a_line_that_moves_later_by_less_than_its_slack_stays() -> None:
    times = AudioMap()
    times.add(0.0, 10.0)
    times.add(1.0, 11.004)
    assert times.end_time(2.0) == pytest.approx(12.0)
    times.add(2.0, 12.02)
    assert times.end_time(3.0) == pytest.approx(13.02)


def test_before_any_audio_there_are_no_times() -> None:
    assert AudioMap().start_time(0.0) is None
    assert AudioMap().end_time(0.0) is None
