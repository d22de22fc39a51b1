"""The soak counts right: what is left behind, and what grows."""

from __future__ import annotations

import pytest

from tests.bench.soak import Sample, leaked, slope


def sample(**fields: int) -> Sample:
    held = {"tasks": 5, "sockets": 7, "pooled": 3, "files": 9, "resident": 100, "objects": 1000}
    return Sample(at=0.0, calls=0, cpu=0.0, **{**held, **fields})


def test_what_there_is_more_of_is_left_behind() -> None:
    assert leaked(sample(), sample(tasks=8, files=10)) == ["3 tasks", "1 files"]
    assert leaked(sample(), sample(tasks=4, sockets=7, resident=200)) == []


def test_growth_is_a_line_through_all_samples() -> None:
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == pytest.approx(2.0)
    assert slope([(0.0, 1.0)]) == 0.0
