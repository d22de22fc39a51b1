"""Silence, longest lengths and the keys of a telephone: rules T23 and T25."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.policy import Digits, Limits, Policy, Silence
from agentkit.errors import ConfigError

Call = Any
Make = Callable[[Policy], Any]
PATIENT = Policy(silence=Silence(after=8.0, times=2, lines=("Hello?", "Are you still there?")))


def press(call: Call, keys: str, *, pause: float = 0.2) -> list[cmd.Command]:
    out: list[cmd.Command] = []
    for key in keys:
        out += call.on(ev.KeyPressed(key))
        out += call.wait(pause)
    return out


def lines(call: Call) -> list[str]:
    return [c.text for c in call.of(cmd.StartReply) if c.kind == "line"]


def speak_line(call: Call, seconds: float = 1.0) -> None:
    call.answer(call.of(cmd.StartReply)[-1].text, seconds)
    call.hear(seconds)


# -------------------------------------------------------------------------------- T23: silence


def test_T23_a_silent_caller_is_asked_so_often_and_then_taken_leave_of(call_with: Make) -> None:
    call = call_with(PATIENT)
    call.say("Hello")
    call.hear(2.0)
    call.wait(7.9)
    assert not lines(call)
    call.wait(0.2)
    speak_line(call)
    call.wait(8.1)
    speak_line(call)
    assert not call.of(cmd.HangUp)
    call.wait(8.1)
    assert lines(call) == ["Hello?", "Are you still there?", PATIENT.silence.farewell]
    assert [c.count for c in call.of(cmd.SilenceNoticed)] == [1, 2, 3]
    speak_line(call)
    call.hear(5.0)
    assert call.of(cmd.HangUp) == [cmd.HangUp("silence")]


def test_T23_an_agent_that_has_not_spoken_waits_for_ever(call_with: Make) -> None:
    """livekit, pipecat: an agent without a greeting is silent until spoken to."""
    call = call_with(PATIENT)
    call.wait(600)
    assert not lines(call)


def test_T23_by_default_nobody_is_asked(call: Call) -> None:
    call.say("Hello")
    call.hear(2.0)
    call.wait(600)
    assert not call.of(cmd.SilenceNoticed)


def test_T23_an_answer_begins_the_count_anew(call_with: Make) -> None:
    call = call_with(PATIENT)
    call.say("Hello")
    call.hear(2.0)
    call.wait(8.1)
    speak_line(call)
    call.turn("yes I am here")
    call.answer("Good.", 1.0)
    call.hear(1.0)
    call.wait(8.1)
    assert lines(call) == ["Hello?", "Hello?"]


@pytest.mark.parametrize(
    "busy",
    [
        lambda call: call.start("well"),
        lambda call: call.on(ev.Muted(True)),
        lambda call: call.on(ev.SourceLost(0, "closed")),
        lambda call: call.on(ev.KeyPressed("1")),
        lambda call: call.on(ev.HangUpRequested("bye")),
    ],
    ids=["caller speaks", "muted", "nothing can be heard", "keys", "hanging up"],
)
def test_T23_it_is_no_silence_while(call_with: Make, busy: Callable[[Call], object]) -> None:
    """pipecat#1124, #3742: not while the agent speaks, nor while the caller is muted."""
    call = call_with(PATIENT)
    call.say("Hello", seconds=20.0)
    call.hear(19.0)
    assert not call.of(cmd.SilenceNoticed)
    call.hear(1.0)
    call.wait(5)
    busy(call)
    assert cmd.CancelTimer("silence") in call.of(cmd.CancelTimer)
    assert "silence" not in call.timers


def test_T23_without_lines_the_agent_is_told_and_nothing_is_said(call_with: Make) -> None:
    call = call_with(Policy(silence=Silence(after=5.0, times=1, lines=(), farewell="")))
    call.say("Hello")
    call.hear(2.0)
    call.wait(5.1)
    assert call.of(cmd.SilenceNoticed) == [cmd.SilenceNoticed(1)]
    call.wait(5.1)
    assert call.of(cmd.HangUp) == [cmd.HangUp("silence")]


def test_T23_the_machine_ends_a_turn_that_never_ends(call_with: Make) -> None:
    """livekit#5862: hold music without a boundary."""
    call = call_with(Policy(limits=Limits(longest_turn=30.0, stalled_turn=1000)))
    call.start("la")
    for second in range(29):
        call.wait(1.0)
        call.update("la " * (second + 2))
    assert not call.of(cmd.TurnCommitted)
    call.wait(1.1)
    assert len(call.of(cmd.TurnCommitted)) == 1
    call.update("la " * 31)
    assert len(call.of(cmd.TurnCommitted)) == 1, "later text counts beyond the words answered"


def test_T23_noise_without_words_is_ended_too_and_needs_no_answer(call_with: Make) -> None:
    call = call_with(Policy(limits=Limits(longest_turn=30.0, stalled_turn=1000)))
    call.say("One moment", seconds=5.0)
    call.hear(1.0)
    call.start()
    call.wait(31)
    assert not call.of(cmd.TurnCommitted)
    assert "longest_turn" not in call.timers


def test_T23_a_call_has_a_longest_length(call_with: Make) -> None:
    call = call_with(Policy(limits=Limits(longest_call=60.0), farewell="I have to go. Goodbye."))
    call.wait(60.1)
    assert lines(call) == ["I have to go. Goodbye."]
    speak_line(call)
    call.hear(5.0)
    assert call.of(cmd.HangUp) == [cmd.HangUp("longest call")]


def test_T23_zero_means_no_longest_length(call_with: Make) -> None:
    call = call_with(Policy(limits=Limits(longest_call=0, longest_turn=0)))
    call.start("hello")
    assert not {"longest_call", "longest_turn"} & call.timers.keys()


# ------------------------------------------------------------------------------------ T25: keys


def test_T25_keys_make_one_message_after_three_seconds_of_quiet(call: Call) -> None:
    press(call, "4711")
    call.wait(2.7)
    assert not call.of(cmd.TurnCommitted)
    call.wait(0.2)
    assert call.of(cmd.DigitsCollected) == [cmd.DigitsCollected(0, "4711")]
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "4711", ("4711",))]
    assert call.said == ["user: 4711"]
    call.answer("Thank you.", 1.0)
    call.hear(1.0)
    assert call.outcomes == {0: "heard"}


def test_T25_a_terminator_ends_them_and_is_no_part_of_them(call: Call) -> None:
    press(call, "47#")
    assert call.of(cmd.DigitsCollected) == [cmd.DigitsCollected(0, "47")]
    press(call, "#")
    assert call.of(cmd.DigitsCollected)[-1].digits == "#", "alone it is what was meant"


def test_T25_a_length_ends_them(call_with: Make) -> None:
    call = call_with(Policy(digits=Digits(length=2, terminator="")))
    press(call, "4711")
    assert [c.digits for c in call.of(cmd.DigitsCollected)] == ["47", "11"]


def test_T25_a_question_may_want_other_rules(call: Call) -> None:
    call.on(ev.DigitsExpected(Digits(terminator="*", length=6)))
    press(call, "1#2*")
    assert call.of(cmd.DigitsCollected)[-1].digits == "1#2"
    call.on(ev.DigitsExpected(None))
    press(call, "3#")
    assert call.of(cmd.DigitsCollected)[-1].digits == "3"


def test_T25_keys_stop_playout_as_words_do(call: Call) -> None:
    call.say("For sales press one, for service press two.", seconds=4.0)
    call.hear(2.0)
    out = call.on(ev.KeyPressed("2"))
    assert [type(c).__name__ for c in out[:3]] == ["ClearPlayout", "Discard", "ReplyEnded"]
    call.wait(4)
    assert call.said[-1] == "user: 2"


def test_T25_keys_discard_any_draft_and_none_is_begun_meanwhile(call: Call) -> None:
    call.start("my number is")
    call.eager("my number is")
    out = call.on(ev.KeyPressed("5"))
    assert cmd.Discard(0, "keys") in out
    call.resume("my number is")
    call.eager("my number is um")
    assert len(call.of(cmd.StartReply)) == 1


def test_T25_keys_after_words_that_were_not_answered_are_one_message_with_them(call: Call) -> None:
    call.turn("my number is")
    press(call, "55#")
    assert call.outcomes == {0: "merged"}
    assert call.said == ["user: my number is 55"]
    assert call.of(cmd.TurnCommitted)[-1] == cmd.TurnCommitted(1, "my number is 55", ("55",))


def test_T25_uninterruptible_speech_is_played_to_its_end(call: Call) -> None:
    call.say("This call is recorded.", interruptible=False, seconds=3.0)
    call.hear(1.0)
    press(call, "1#")
    assert not call.of(cmd.ClearPlayout)
    call.hear(2.0)
    assert call.of(cmd.Play)[-1].reply == 1


def test_T25_speech_waits_while_keys_are_pressed(call: Call) -> None:
    press(call, "4")
    call.say("By the way", seconds=1.0)
    assert not call.of(cmd.Play)
    call.wait(3)
    assert [p.reply for p in call.of(cmd.Play)] == [0]


def test_T25_an_open_turn_keeps_its_own_words(call: Call) -> None:
    call.start("it is")
    press(call, "12#")
    call.end("it is the red one")
    assert call.said == ["user: 12 it is the red one"]
    assert call.outcomes == {1: "merged"}
    assert call.of(cmd.TurnCommitted)[-1].keys == ("12",), "no log may show them"


def test_T25_keys_are_not_lost_when_the_call_ends(call: Call) -> None:
    press(call, "12")
    call.on(ev.CallEnded("hangup"))
    assert call.said == ["user: 12"]
    assert call.outcomes == {0: "cut_off"}


def test_T25_keys_while_the_call_is_ending_are_passed_over(call: Call) -> None:
    call.say("Goodbye.")
    call.on(ev.HangUpRequested("bye"))
    assert call.on(ev.KeyPressed("1")) == []


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Digits(terminator="##"), "digits.terminator"),
        (lambda: Digits(terminator="x"), "digits.terminator"),
        (lambda: Digits(length=0), "digits.length"),
        (lambda: Digits(quiet=0), "digits.quiet"),
        (lambda: Silence(after=0), "silence.after"),
        (lambda: Silence(times=-1), "silence.times"),
        (lambda: Silence(lines="Hello?"), "silence.lines"),  # type: ignore[arg-type]
    ],
)
def test_bad_settings_name_the_field(make: Callable[[], object], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        make()


def test_T7_a_second_attempt_may_still_win_when_keys_were_answered_meanwhile(call: Call) -> None:
    call.on(ev.KeyPressed("1"))
    call.start("hello")
    call.end("hello")
    call.on(ev.ReplyRequested(0, ""))
    call.wait(5)
    call.write(2, "Sure.")
    assert cmd.Discard(0, "superseded") in call.of(cmd.Discard)
    call.on(ev.CallEnded("hangup"))
    assert call.outcomes == {1: "cut_off", 0: "cut_off"}
