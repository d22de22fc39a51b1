"""Cutting a reply into pieces for the voice: rule T8."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from agentkit.core.segment import Pace, Segmenter


def pieces(*tokens: str, first: int = 10, later: int = 30, longest: int = 120) -> list[str]:
    segmenter = Segmenter(first, later, longest)
    out = [piece for token in tokens for piece in segmenter.push(token)]
    return out + segmenter.finish()


def test_T8_a_complete_clause_never_waits_for_the_next_token() -> None:
    segmenter = Segmenter(10)
    assert segmenter.push("Sure, let me") == []
    assert segmenter.push(" see.") == ["Sure, let me see."]


def test_T8_the_first_piece_is_the_shortest_run_of_whole_clauses_that_is_long_enough() -> None:
    assert pieces("Sure. Of course. I will look that up for you now.", first=12) == [
        "Sure. Of course.",
        " I will look that up for you now.",
    ]


def test_T8_a_short_reply_is_one_piece() -> None:
    assert pieces("Yes.", first=15) == ["Yes."]


def test_later_pieces_are_sentences_or_long_clauses() -> None:
    assert pieces("Good morning. I think, on the whole, that we are open. Bye.") == [
        "Good morning.",
        " I think, on the whole, that we are open.",
        " Bye.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Doctor Dr. Patel is in",
        "It costs 10.50 in all",
        "Come at 10:30 today then",
        "Ask J. Smith about that one",
        "We have e.g. aspirin here",
        "1,000 people came by here",
    ],
)
def test_marks_inside_numbers_and_names_end_no_clause(text: str) -> None:
    assert pieces(*text, first=1, later=1) == [text]


def test_a_number_at_the_end_waits_for_what_follows() -> None:
    segmenter = Segmenter(1)
    assert segmenter.push("That is 10.") == []
    assert segmenter.push("30 in all.") == ["That is 10.30 in all."]
    segmenter = Segmenter(1)
    assert segmenter.push("That is 10.") == []
    assert segmenter.push(" Right?") == ["That is 10.", " Right?"]


def test_closing_quotes_belong_to_their_clause() -> None:
    assert pieces('She said "yes." Then she left.', first=5) == [
        'She said "yes."',
        " Then she left.",
    ]


def test_a_long_clause_is_cut_at_a_space() -> None:
    text = "word " * 60
    parts = pieces(text.strip(), first=10, longest=50)
    assert all(len(part) <= 50 for part in parts)
    assert "".join(parts) == text.strip()


def test_a_word_longer_than_everything_is_cut() -> None:
    assert [len(part) for part in pieces("x" * 100, longest=40)] == [40, 40, 20]


@given(st.lists(st.text(alphabet="ab 1.,!?\"'\n:", max_size=12), max_size=30), st.integers(1, 30))
def test_the_pieces_together_are_the_text(tokens: list[str], first: int) -> None:
    whole = "".join(tokens)
    assert "".join(pieces(*tokens, first=first, longest=25)).rstrip() == whole.rstrip()


def test_T8_the_measured_pace_makes_the_first_piece_shorter() -> None:
    pace = Pace(first_piece=1.0)
    usual = pace.first_characters
    pace.wrote(400, 2.0)
    pace.voiced(0.05)
    assert pace.first_characters < usual
    slow = Pace(first_piece=1.0)
    slow.wrote(20, 2.0)
    slow.voiced(1.0)
    assert slow.first_characters == usual
    slow.spoke(100, 20.0)
    assert slow.first_characters < usual, "a slow speaker needs fewer characters a second"
