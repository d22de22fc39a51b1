"""The least time before an answer is heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Pace
from agentkit.core.policy import Policy
from tests.core.conftest import Driver

Make = Callable[[Policy], Driver]


def paced(call_with: Make, pace: Pace) -> Driver:
    return call_with(Policy(pace=pace))


def ready_turn(call: Driver, **fields: Any) -> None:
    """A turn whose draft is voiced when it ends."""
    call.start("hello")
    call.eager("hello")
    call.answer("Good morning.")
    call.now += 0.2
    call.end("hello", **fields)


def test_an_answer_is_not_heard_before_the_pace_allows_it(call_with: Make) -> None:
    call = paced(call_with, Pace(0.5))
    ready_turn(call, speech_end=call.now + 0.1)
    ended = call.now
    assert call.of(cmd.Commit)
    assert not call.of(cmd.Play)
    call.wait(0.39)
    assert not call.of(cmd.Play)
    call.wait(0.02)
    assert [command.reply for command in call.of(cmd.Play)] == [0]
    assert call.timers.get("pace") is None
    call.hear(1.0)
    times = call.of(cmd.TurnClosed)[0].times
    assert times.first_heard == pytest.approx(ended + 0.41)
    assert times.saved == 0.0, "without a draft it would have been heard then, too"


def test_the_pace_counts_from_the_end_of_the_turn_if_so_set(call_with: Make) -> None:
    call = paced(call_with, Pace(0.3, "turn"))
    ready_turn(call, speech_end=call.now - 5)
    call.wait(0.29)
    assert not call.of(cmd.Play)
    call.wait(0.02)
    assert call.of(cmd.Play)


def test_the_pace_counts_from_the_end_of_the_turn_where_speech_is_not_told(call_with: Make) -> None:
    call = paced(call_with, Pace(0.3))
    ready_turn(call)
    call.wait(0.29)
    assert not call.of(cmd.Play)
    call.wait(0.02)
    assert call.of(cmd.Play)


def test_an_answer_that_is_late_anyhow_is_not_kept_back(call_with: Make) -> None:
    call = paced(call_with, Pace(0.5))
    ready_turn(call, speech_end=call.now - 1)
    assert call.of(cmd.Play)


def test_T11_a_caller_who_goes_on_meanwhile_takes_the_end_back(call_with: Make) -> None:
    call = paced(call_with, Pace(0.5))
    ready_turn(call)
    call.now += 0.1
    call.start("are you there")
    assert call.outcomes == {0: "merged"}
    call.wait(1)
    assert not call.of(cmd.Play)


def test_T7_another_attempt_keeps_the_pace(call_with: Make) -> None:
    call = paced(call_with, Pace(0.5))
    call.end("hello")
    call.on(ev.ReplyFailed(0, "llm", "llm.server", True))
    call.answer("Good morning.")
    assert not call.of(cmd.Play)
    call.wait(0.51)
    assert [command.reply for command in call.of(cmd.Play)] == [1]


def test_T25_keys_are_answered_at_once(call_with: Make) -> None:
    call = paced(call_with, Pace(0.5))
    call.on(ev.KeyPressed("1"))
    call.on(ev.KeyPressed("#"))
    call.answer("Thank you.")
    assert call.of(cmd.Play)


def test_a_question_may_have_a_pace_of_its_own(call_with: Make) -> None:
    call = paced(call_with, Pace(0.5))
    call.on(ev.Listening(Pace(0.0)))
    ready_turn(call)
    assert call.of(cmd.Play)
    call.hear(1.0)
    call.on(ev.Listening())
    call.wait(1)
    call.end("goodbye")
    call.answer("Bye.")
    assert len(call.of(cmd.Play)) == 1


def test_jitter_is_another_for_each_turn_and_the_same_each_time() -> None:
    pace = Pace(0.3, jitter=0.2, seed=3)
    waits = [pace.wait(turn) for turn in range(100)]
    assert waits == [replace(pace).wait(turn) for turn in range(100)]
    assert min(waits) >= 0.3
    assert max(waits) < 0.5
    assert len({round(wait, 2) for wait in waits}) >= 20
    assert waits != [replace(pace, seed=4).wait(turn) for turn in range(100)]


def test_what_is_told_besides_waits_behind_it(call_with: Make) -> None:
    call = paced(call_with, Pace(1.0))
    ready_turn(call)
    call.say("By the way.", seconds=1.0)
    call.wait(0.9)
    assert not call.of(cmd.Play)
    call.wait(0.11)
    assert [command.reply for command in call.of(cmd.Play)] == [0]
