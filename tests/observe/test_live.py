"""The live view where streams are odd, and what it does with what people say."""

from __future__ import annotations

import io

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.observe import LiveView


def turn(text: str) -> ev.TurnUpdated:
    return ev.TurnUpdated(connection=0, index=0, text=text)


@pytest.mark.parametrize("tty", [True, False])
def test_what_is_said_does_not_steer_the_terminal(tty: bool) -> None:
    shown = io.StringIO()
    view = LiveView(shown, tty=tty)
    view(0.0, turn("\x1b]0;title\x07 \x1b[2J"), [cmd.TurnCommitted(0, "a\x1b[2Jb\nc\rd")])
    assert "\x1b[2J" not in shown.getvalue()
    assert "\x07" not in shown.getvalue()
    assert "a [2Jb c d" in shown.getvalue()


def test_a_stream_that_fails_never_raises_into_the_call() -> None:
    stream = io.StringIO()
    view = LiveView(stream, tty=False)
    stream.close()
    view(0.0, ev.Touched(), [cmd.TurnCommitted(0, "a")])
    view(0.1, ev.Touched(), [cmd.TurnCommitted(1, "b")])


def test_letters_that_the_stream_does_not_know_are_shown_as_marks() -> None:
    raw = io.BytesIO()
    view = LiveView(io.TextIOWrapper(raw, encoding="ascii", newline="\n"), tty=False)
    view(0.0, ev.Touched(), [cmd.TurnCommitted(0, "café 日本")])
    view(0.0, ev.Touched(), [cmd.TurnCommitted(1, "plain")])
    assert raw.getvalue().decode() == ("   0.00  caller      caf? ??\n   0.00  caller      plain\n")


def test_long_lines_are_wrapped_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = io.StringIO()
    LiveView(shown, tty=True)(0.0, ev.Touched(), [cmd.TurnCommitted(0, "word " * 30)])
    lines = shown.getvalue().replace("\r\x1b[K", "").splitlines()
    assert len(lines) > 3
    for line in lines:
        plain = line.replace("\x1b[36m", "").replace("\x1b[0m", "")
        assert len(plain) < 60
    assert lines[1].startswith(" " * 21)


def test_the_growing_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    shown = io.StringIO()
    LiveView(shown, tty=True)(0.0, turn("日本語 " * 40), [])
    text = shown.getvalue().split("caller      ")[1].removesuffix("\x1b[0m")
    assert sum(2 if ord(letter) > 0x2E80 else 1 for letter in text) <= 28
    assert text.startswith("...")


def test_growing_words_stay_below_what_else_is_told() -> None:
    shown = io.StringIO()
    view = LiveView(shown, tty=True)
    draft = cmd.StartReply(1, turn=0, draft=True)
    view(0.0, turn("I would"), [])
    view(0.1, ev.TurnMaybeEnded(connection=0, index=0, text="I would"), [draft])
    assert shown.getvalue().endswith("I would\x1b[0m")
    view(0.2, ev.ReplyText(1, "Yes?"), [])
    view(0.4, ev.TurnResumed(connection=0, index=0), [cmd.Discard(1, "resumed")])
    assert '(resumed) after 300 ms: "Yes?"' in shown.getvalue()
    view(0.5, ev.TurnEnded(connection=0, index=0), [cmd.TurnCommitted(0, "I would go")])
    assert shown.getvalue().endswith("I would go\x1b[0m\n")
