"""Comparing words (the rules' own definition), joining overlaps, backchannels."""

from __future__ import annotations

import pytest

from agentkit.core.policy import Interruption
from agentkit.core.words import (
    beyond,
    claims_floor,
    hide_keys,
    join_overlapping,
    same_words,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello there.", "hello there"),
        ("“Hello”, she said!", "hello she said"),
        ("ＡＢＣ", "abc"),
        ("Straße", "STRASSE"),
        ("a  b\nc", "a b c"),
        ("wait; no: yes", "wait no yes"),
    ],
)
def test_same_words(one: str, other: str) -> None:
    assert same_words(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10.5", "105"),
        ("-5", "5"),
        ("C++", "C"),
        ("you are open?", "you are open"),
        ("résumé", "resume"),
        ("five o'clock", "five oclock"),
        ("book a table", "book table"),
    ],
)
def test_other_words(one: str, other: str) -> None:
    assert not same_words(one, other)


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        ("book a table", "a table for two", "book a table for two"),
        ("book a", "table", "book a table"),
        ("book a table", "Book a table.", "book a table"),
        ("I would like to book", "uld like to book it", "I would like to book it"),
        ("yes yes", "yes please", "yes yes please"),
        ("", "hello", "hello"),
        ("hello", "", "hello"),
    ],
)
def test_T14_overlaps_are_joined_by_words(before: str, after: str, joined: str) -> None:
    assert join_overlapping(before, after) == joined


@pytest.mark.parametrize(
    ("answered", "text", "rest"),
    [
        ("hello there", "hello there", ""),
        ("hello there", "Hello there, I need help.", "I need help."),
        ("hello there", "there I need help", "I need help"),
        ("hello there", "I need help", "I need help"),
        ("hello there", "hello", ""),
        ("hello there", "hello world", "hello world"),
    ],
)
def test_T15_only_what_is_beyond_the_answered_words_counts(
    answered: str, text: str, rest: str
) -> None:
    assert beyond(answered, text) == rest


LISTS = Interruption().backchannels


@pytest.mark.parametrize("text", ["mm-hm", "Mm-hm.", "yeah, okay", "oh I see", "uh huh uh-huh"])
def test_T17_backchannels(text: str) -> None:
    assert not claims_floor(text, LISTS, {}, "en", unlisted=1)
    assert not claims_floor(text, LISTS, {}, "en-GB", unlisted=1)


@pytest.mark.parametrize("text", ["", "yeah but", "no", "okay goodbye", "see"])
def test_T17_no_backchannels(text: str) -> None:
    assert claims_floor(text, LISTS, {}, "en", unlisted=1)


def test_T17_a_language_without_a_list_knows_none() -> None:
    assert claims_floor("yeah", LISTS, {}, "fi", unlisted=1)


def test_T25_keys_are_hidden_wherever_they_stand_in_a_text() -> None:
    assert hide_keys("47 and 11, 47", ("47", "11")) == "·· and ··, ··"
