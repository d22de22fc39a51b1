"""Keys and the line that is typed."""

from __future__ import annotations

import pytest

from agentkit.talk.keys import Keys, Line


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("mq?", ["m", "q", "?"]),
        ("é日👋", ["é", "日", "👋"]),
        ("\r", ["enter"]),
        ("\x7f\x15\x17\x04", ["backspace", "clear", "word", "end"]),
        ("\x1b", ["escape"]),
        ("\x1bq", ["escape", "q"]),
        ("\x1b\x1b", ["escape", "escape"]),
        ("a\x1b[A\x1bOB\x1b[15~\x1b[1;5Cb", ["a", "b"]),
        ("\x1b[200~two\nlines\x1b[201~\r", [*"two", " ", *"lines", "enter"]),
        ("\x00\x01", []),
    ],
)
def test_bytes_are_keys(sent: str, keys: list[str]) -> None:
    assert Keys().feed(sent.encode()) == keys


def test_what_is_cut_in_two_is_put_together() -> None:
    keys = Keys()
    sent = "é\x1b[15~日".encode()
    got = [key for at in range(len(sent)) for key in keys.feed(sent[at : at + 1])]
    assert got[0] == "é"
    assert got[-1] == "日"
    keys = Keys()
    assert keys.feed(b"\x1b[1") == []
    assert keys.feed(b"5~x") == ["x"]
    assert keys.feed(b"\xff") == ["\ufffd"]


def test_a_line_is_mended_at_its_end() -> None:
    line = Line()
    for key in [*"two wordz", "backspace", "s", "e", "\u0301", "backspace"]:
        line.press(key)
    assert line.text == "two words"
    line.press("word")
    assert line.text == "two "
    line.press("clear")
    line.press("backspace")
    assert line.text == ""
