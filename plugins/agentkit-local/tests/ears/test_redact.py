"""Numbers are taken out of what was recognised."""

from __future__ import annotations

import pytest

from agentkit_local.ears.redact import redacted


def spoken(text: str) -> tuple[tuple[str, float, float, float], ...]:
    return tuple(
        (word, 0.9 - at / 100, float(at), at + 1.0) for at, word in enumerate(text.split())
    )


@pytest.mark.parametrize(
    ("said", "runs", "every"),
    [
        ("A table for two, please.", "A table for two, please.", "A table for *, please."),
        ("It is five five five one two.", "It is *.", "It is *."),
        ("My card is 4111 1111 and done", "My card is * and done", "My card is * and done"),
        ("Room 12 or 3", "Room 12 or 3", "Room * or *"),
        ("Twenty-five people", "Twenty-five people", "* people"),
        ("nineteen eighty-four?", "*?", "*?"),
        ("No numbers here", "No numbers here", "No numbers here"),
        ("", "", ""),
    ],
)
def test_runs_of_three_or_all(said: str, runs: str, every: str) -> None:
    assert " ".join(word[0] for word in redacted(spoken(said), "numbers")) == runs
    assert " ".join(word[0] for word in redacted(spoken(said), "aggressive_numbers")) == every


def test_a_star_has_the_time_of_what_it_hides_and_the_least_confidence() -> None:
    _, star, after = redacted(spoken("code one two three ok"), "numbers")
    assert (star[0], star[2], star[3]) == ("*", 1.0, 4.0)
    assert star[1] == pytest.approx(0.87)
    assert after[0] == "ok"
