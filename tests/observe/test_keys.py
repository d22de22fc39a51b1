"""T25: what was pressed on a telephone's keys reaches no log, also where words do."""

from __future__ import annotations

import io
from typing import Any

import pytest

from agentkit.core import events as ev
from agentkit.core.machine import TurnMachine
from agentkit.core.words import hide_keys
from agentkit.observe import LiveView
from agentkit.observe.log import CallLogger, configure_logging


def test_T25_keys_are_in_no_log_and_no_live_view(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug")
    screen = io.StringIO()
    observers: list[Any] = [CallLogger(words=True), LiveView(screen)]
    machine = TurnMachine()
    keys = [ev.KeyPressed(key) for key in "90210#"]
    turns: list[ev.Event] = [
        ev.TurnStarted(connection=0, index=0, text="is my number"),
        ev.TurnEnded(connection=0, index=0, text="is my number"),
    ]
    events: list[ev.Event] = [*keys, *turns, ev.CallEnded("hangup")]
    for at, event in enumerate(events):
        commands = machine.handle(event, at / 10)
        for observer in observers:
            observer(at / 10, event, commands)
    shown = screen.getvalue() + "".join(capsys.readouterr())
    assert "is my number" in shown, "the words were asked for"
    assert "90210" not in shown
    assert "·····" in shown


def test_keys_are_hidden_wherever_they_stand() -> None:
    assert hide_keys("my number is 55 yes", ("55",)) == "my number is ·· yes"
    assert hide_keys("nothing", ()) == "nothing"
