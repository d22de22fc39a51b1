"""How the conversation is ended, and where there is no screen for it."""

from __future__ import annotations

import gc
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from agentkit.errors import UsageError
from agentkit.talk.command import Leaving, has_screen, way_for_sound


class Session:
    """Writes down what it is asked; before the call has begun nothing works."""

    def __init__(self, farewell: str | None, *, running: bool = True) -> None:
        self.agent = SimpleNamespace(farewell=farewell)
        self.asked: list[tuple[str, ...]] = []
        self.running = running

    def interrupt(self) -> None:
        if not self.running:
            raise UsageError("not yet")
        self.asked.append(("interrupt",))

    def say(self, text: str) -> None:
        self.asked.append(("say", text))

    def hang_up(self, reason: str) -> None:
        self.asked.append(("hang_up", reason))

    def call_is_over(self) -> None:
        self.asked.append(("over",))


def leaving(session: Session) -> Leaving:
    both: Any = session
    return Leaving(both, both)


def test_it_says_goodbye_and_asked_again_ends_at_once() -> None:
    session = Session("Bye.")
    going = leaving(session)
    going.ask()
    assert session.asked == [("interrupt",), ("say", "Bye."), ("hang_up", "caller hung up")]
    going.ask()
    assert session.asked[3:] == [("over",)]


def test_an_agent_without_a_farewell_just_ends() -> None:
    session = Session(None)
    leaving(session).ask()
    assert session.asked == [("interrupt",), ("hang_up", "caller hung up")]


def test_before_the_call_has_begun_there_is_nothing_to_say() -> None:
    session = Session("Bye.", running=False)
    leaving(session).ask()
    assert session.asked == [("over",)]


def terminal(answer: bool) -> Any:
    return SimpleNamespace(isatty=lambda: answer)


@pytest.mark.parametrize(
    ("term", "reads", "writes", "screen"),
    [
        ("xterm-256color", True, True, True),
        ("dumb", True, True, False),
        ("", True, True, False),
        ("xterm", False, True, False),
        ("xterm", True, False, False),
    ],
)
def test_a_screen_needs_a_terminal(
    monkeypatch: pytest.MonkeyPatch, term: str, reads: bool, writes: bool, screen: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stdin", terminal(reads))
    monkeypatch.setattr(sys, "stdout", terminal(writes))
    assert has_screen() == screen


def test_windows_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "termios", None)
    monkeypatch.delitem(sys.modules, "agentkit.talk.terminal", raising=False)
    assert not has_screen()


def test_sound_has_its_way_and_all_is_put_back() -> None:
    before = sys.getswitchinterval()
    with way_for_sound():
        assert sys.getswitchinterval() == pytest.approx(0.001)
        assert gc.get_freeze_count() > 10_000
    assert sys.getswitchinterval() == before
    assert gc.get_freeze_count() == 0
