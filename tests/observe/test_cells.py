"""Text in a terminal: its width, and what of it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.observe.cells import cells, cut, ending, plain, wrap

ARABIC = "أهلا وسهلا"


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("abc", 3), ("日本", 4), ("cafe\u0301", 4), ("\u200d", 0), (ARABIC, 10), ("👋", 2)],
)
def test_wide_letters_take_two_columns_and_marks_none(text: str, columns: int) -> None:
    assert cells(text) == columns


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\x1b[2Jb", "a [2Jb"),
        (" a\r\n\tb\x07 ", "a   b"),
        ("a\u202eb\u2066c\u2028d", "abc d"),
        ("\u0646\u200c\u0647", "\u0646\u200c\u0647"),  # Persian is spelled so
        ("a\ud800", "a\ufffd"),
        ("soft\u00adhyphen\ufeff", "softhyphen"),
    ],
)
def test_what_is_said_steers_neither_the_terminal_nor_its_direction(said: str, shown: str) -> None:
    assert plain(said) == shown


@given(st.text(), st.integers(4, 30))
def test_lines_fit_and_nothing_is_lost(text: str, room: int) -> None:
    text = plain(text)
    lines = wrap(text, room)
    assert "".join(lines) == text
    assert all(cells(line.rstrip()) <= room for line in lines)
    assert cells(cut(text, room)) <= room
    assert text.startswith(cut(text, room))
    end = ending(text, room)
    assert cells(end) <= room
    assert end == text or text.endswith(end.removeprefix("..."))


def test_lines_break_at_spaces_where_there_are_any() -> None:
    assert wrap("one two three", 8) == ("one two ", "three")
    assert wrap("日本語日本語 x", 5) == ("日本", "語日", "本語 ", "x")
    assert ending("one two three", 9) == "... three"
