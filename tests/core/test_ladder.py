"""When a draft is begun, by rungs: words at rest, answers that are expected (T2); and the pace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Budget, Early, Pace, Tuning
from agentkit.core.history import AssistantMessage, UserMessage
from agentkit.core.policy import Policy, Speculation
from tests.core.conftest import Driver

Make = Callable[[Policy], Driver]
QUESTION = "Shall I book that for you?"


def drafts(call: Driver) -> list[cmd.StartReply]:
    return [command for command in call.of(cmd.StartReply) if command.draft]


def early(call_with: Make, **rules: Any) -> Driver:
    return call_with(Policy(speculation=Speculation(early=Early(**rules))))


# -------------------------------------------------------------------------------- words at rest


def test_T2_words_at_rest_begin_no_draft_unless_asked_to(call: Driver) -> None:
    call.start("book a table.")
    call.update("book a table.", confidence=0.9)
    call.wait(2)
    assert not drafts(call)


def test_T2_words_that_stay_the_same_begin_a_draft(call_with: Make) -> None:
    call = early(call_with, rest=0.3)
    call.start("book")
    call.now += 0.24
    call.update("book a table")
    call.wait(0.29)
    assert not drafts(call)
    call.wait(0.02)
    assert [(one.rung, one.turn) for one in drafts(call)] == [("rest", 0)]
    assert call.machine.words_of(0) == "book a table"
    assert not call.of(cmd.TurnCommitted), "that is no end"


def test_T2_the_maybe_end_keeps_that_draft_and_the_end_commits_it(call_with: Make) -> None:
    call = early(call_with, rest=0.3)
    call.start("book a table")
    call.wait(0.4)
    call.eager("Book a table.")
    call.end("Book a table.")
    assert call.of(cmd.Commit) == [cmd.Commit(0)]
    assert len(call.of(cmd.StartReply)) == 1


def test_T2_the_end_commits_it_without_a_maybe_end(call_with: Make) -> None:
    call = early(call_with, rest=0.3)
    call.start("book a table")
    call.wait(0.4)
    call.end("book a table")
    assert call.of(cmd.Commit) == [cmd.Commit(0)]


def test_T3_more_words_discard_it_at_once(call_with: Make) -> None:
    call = early(call_with, rest=0.3)
    call.start("book a table")
    call.wait(0.4)
    assert cmd.Discard(0, "resumed") in call.update("book a table for two")
    call.wait(0.4)
    call.end("book a table for two")
    assert call.of(cmd.Commit) == [cmd.Commit(1)]


def test_T3_more_words_park_it_if_it_is_complete(call_with: Make) -> None:
    call = early(call_with, rest=0.3)
    call.start("book a table")
    call.wait(0.4)
    call.write(0, "For how many?")
    assert cmd.Park(0) in call.update("book a table for")
    call.end("book a table")
    assert call.of(cmd.Commit) == [cmd.Commit(0)]


def test_T2_the_same_words_again_keep_it(call_with: Make) -> None:
    call = early(call_with, rest=0.3)
    call.start("book a table")
    call.wait(0.4)
    call.update("Book a table,")
    call.wait(0.4)
    assert len(drafts(call)) == 1
    assert not call.of(cmd.Discard)


def test_T2_too_little_confidence_holds_it_back(call_with: Make) -> None:
    call = early(call_with, rest=0.3, confidence=0.4)
    call.start("book a table")
    call.wait(0.4)
    assert not drafts(call)
    call.update("book a table", confidence=0.3)
    assert not drafts(call)
    call.update("book a table", confidence=0.45)
    assert len(drafts(call)) == 1


def test_T2_a_finished_sentence_with_rising_confidence_is_at_rest(call_with: Make) -> None:
    call = early(call_with, finished=True, confidence=0.2)
    call.start("book a table", confidence=0.1)
    call.update("Book a table.", confidence=0.1)
    call.update("Book a table", confidence=0.3)
    assert not drafts(call)
    call.update("Book a table.", confidence=0.3)
    assert not drafts(call), "it does not rise"
    call.update("Book a table.", confidence=0.35)
    assert [one.rung for one in drafts(call)] == ["rest"]


def test_T2_no_words_are_never_at_rest(call_with: Make) -> None:
    call = early(call_with, rest=0.3)
    call.start("")
    call.wait(1)
    call.update("", confidence=0.5)
    assert not drafts(call)


def test_T2_a_timer_that_is_late_begins_nothing(call_with: Make) -> None:
    call = early(call_with, rest=0.3)
    call.start("book")
    call.eager("book")
    assert "rest" not in call.timers
    call.resume("book")
    call.end("book")
    call.wait(1)
    assert len(drafts(call)) == 1


def off_now(call: Driver) -> None:
    """Another agent takes over, who drafts nothing."""
    call.on(ev.PolicyChanged(Policy(speculation=Speculation(mode="off"))))


def test_T9_an_agent_that_drafts_nothing_takes_over_while_words_rest(call_with: Make) -> None:
    call = early(call_with, rest=0.3)
    call.start("book")
    off_now(call)
    call.wait(1)
    assert not drafts(call)
    call = early(call_with, rest=0.3)
    call.start("book")
    off_now(call)
    call.eager("book")
    call.wait(1)
    assert not drafts(call)


def test_T9_an_agent_that_drafts_takes_over_in_a_maybe_end(call_with: Make) -> None:
    call = call_with(Policy(speculation=Speculation(mode="off")))
    call.start("book")
    call.eager("book")
    call.on(ev.PolicyChanged(Policy(speculation=Speculation(mode="adaptive"))))
    call.update("book", confidence=0.9)
    assert not drafts(call)


def test_T9_a_draft_that_waits_is_not_begun_once_the_call_is_ending(call_with: Make) -> None:
    rules = Speculation(mode="adaptive", tuning=Tuning(delays=(0.1,), held=0.9))
    call = call_with(Policy(speculation=rules))
    call.say("We are open from nine.", interruptible=False)
    call.start("book")
    call.eager("book")
    assert "worth" in call.timers
    call.on(ev.HangUpRequested("bye"))
    call.wait(0.2)
    assert not drafts(call)


def test_T17_attention_is_not_drafted_for(call_with: Make) -> None:
    call = early(call_with, rest=0.3)
    call.say("We are open from nine to five on all days of the week.", seconds=5)
    call.hear(1.0)
    call.start("mm-hm")
    call.wait(0.5)
    assert not drafts(call)


def test_T2_drafts_of_all_rungs_count_together(call_with: Make) -> None:
    call = call_with(Policy(speculation=Speculation(early=Early(rest=0.1), max_drafts=2)))
    call.start("a")
    for words in ("a b", "a b c", "a b c d"):
        call.update(words)
        call.wait(0.2)
    assert len(drafts(call)) == 2


# ------------------------------------------------------------------- answers that are expected


def expecting(call_with: Make, most: int = 2, **rules: Any) -> Driver:
    call = call_with(Policy(speculation=Speculation(expected=most, **rules)))
    call.on(ev.AnswersExpected(("Yes.", "No.", "Maybe.")))
    call.on(ev.SayRequested(0))
    call.requests = 1
    return call


def test_T2_answers_are_not_drafted_unless_asked_to(call_with: Make) -> None:
    call = expecting(call_with, most=0)
    call.write(0, QUESTION)
    assert not drafts(call)


def test_T2_the_likeliest_answers_are_drafted_once_the_question_has_all_its_words(
    call_with: Make,
) -> None:
    call = expecting(call_with)
    call.write(0, "Shall I book ", done=False)
    assert not drafts(call)
    call.write(0, "that for you?")
    assert [(one.reply, one.rung, one.turn) for one in drafts(call)] == [
        (1, "expected", None),
        (2, "expected", None),
    ]
    assert [call.machine.words_of(one.reply) for one in drafts(call)] == ["Yes.", "No."]
    call.voice(0)
    call.hear(2.0)
    assert len(drafts(call)) == 2, "once for a question"


def test_T12_their_prompt_has_the_question_as_if_it_had_been_heard_whole(call_with: Make) -> None:
    call = expecting(call_with)
    call.write(0, QUESTION)
    whole = (AssistantMessage(QUESTION, 0), UserMessage("Yes."))
    assert call.machine.prompt(1) == whole
    call.voice(0)
    call.hear(0.5)
    assert call.machine.prompt(1) == whole
    assert call.said == ["assistant: Shall I book"]
    call.hear(2.0)
    assert call.machine.prompt(1) == whole


def test_T12_what_has_no_words_yet_is_not_in_it(call_with: Make) -> None:
    call = call_with(Policy(speculation=Speculation(expected=1)))
    call.on(ev.AnswersExpected(("Yes.",)))
    call.on(ev.SayRequested(0, interruptible=False))
    call.say(QUESTION)
    assert [one.reply for one in drafts(call)] == [2]
    assert call.machine.prompt(2) == (AssistantMessage(QUESTION, 1), UserMessage("Yes."))


def test_T4_the_answer_that_comes_is_answered_from_its_draft(call_with: Make) -> None:
    call = expecting(call_with)
    call.write(0, QUESTION)
    call.voice(0)
    call.hear(2.5)
    call.write(1, "Done.")
    assert not [command for command in call.of(cmd.Speak) if command.reply == 1], "no voice yet"
    assert cmd.Adopt(1, 0) in call.start("yes")
    assert [command.reply for command in call.of(cmd.Speak)] == [0, 1], "now it has"
    call.eager("Yes.")
    out = call.end("Yes.")
    assert cmd.Commit(1) in out
    assert cmd.Discard(2, "words") in out
    call.voice(1)
    call.hear(1.0)
    assert call.outcomes == {0: "heard"}
    assert call.said == [f"assistant: {QUESTION}", "user: Yes.", "assistant: Done."]
    ledger = call.machine.ledger
    assert (ledger.adopted, ledger.lost) == (1, {"words": 1})
    booked = {one.reply: one for one in call.of(cmd.DraftBooked)}
    assert (booked[1].rung, booked[1].turn, booked[2].turn) == ("expected", 0, None)


def test_T4_an_end_without_anything_before_it_finds_its_draft(call_with: Make) -> None:
    call = expecting(call_with)
    call.write(0, QUESTION)
    call.voice(0)
    call.hear(2.5)
    assert cmd.Commit(2) in call.end("no")


def test_T4_another_answer_discards_them_all(call_with: Make) -> None:
    call = expecting(call_with)
    call.write(0, QUESTION)
    call.voice(0)
    call.hear(2.5)
    call.start("what")
    call.eager("what did you say")
    assert [one.rung for one in drafts(call)] == ["expected", "expected", "eager"]
    call.end("what did you say")
    assert call.machine.ledger.lost == {"words": 2}
    assert call.of(cmd.Commit) == [cmd.Commit(3)]


def test_T3_an_answer_that_goes_on_drops_its_draft(call_with: Make) -> None:
    call = expecting(call_with)
    call.write(0, QUESTION)
    call.voice(0)
    call.hear(2.5)
    call.start("yes")
    assert cmd.Discard(1, "resumed") in call.update("yes but on Monday")


def test_T4_a_draft_of_the_turn_that_fits_is_kept(call_with: Make) -> None:
    call = expecting(call_with)
    call.write(0, QUESTION)
    call.voice(0)
    call.hear(2.5)
    call.start("yes")
    call.update("Yes.")
    call.eager("Yes.")
    assert call.of(cmd.Adopt) == [cmd.Adopt(1, 0)]


def test_T16_an_answer_into_the_question_takes_its_draft(call_with: Make) -> None:
    call = expecting(call_with)
    call.write(0, QUESTION)
    call.voice(0, 3.0)
    call.hear(2.5)
    call.start("yes")
    call.end("yes")
    assert call.of(cmd.Commit) == [cmd.Commit(1)]
    assert [one.heard for one in call.of(cmd.ReplyEnded)] == ["Shall I book that for"]


def test_T17_a_sound_of_attention_takes_none(call_with: Make) -> None:
    call = call_with(Policy(speculation=Speculation(expected=1)))
    call.on(ev.AnswersExpected(("yeah",)))
    call.say("I can do that now. We are open until five o'clock in the afternoon.", seconds=8)
    call.hear(1.0)
    call.start("yeah")
    call.end("yeah")
    assert not call.of(cmd.Adopt)
    assert not call.of(cmd.Discard), "the question goes on"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (ev.AnswersExpected(()), "over"),
        (ev.KeyPressed("1"), "keys"),
        (ev.HangUpRequested("bye"), "call_ended"),
        (ev.CallEnded("hangup"), "call_ended"),
    ],
)
def test_T9_answers_that_nobody_will_give_are_discarded(
    call_with: Make, event: ev.Event, reason: cmd.DiscardReason
) -> None:
    call = expecting(call_with)
    call.write(0, QUESTION)
    out = call.on(event)
    assert [c for c in out if isinstance(c, cmd.Discard) and c.reply in (1, 2)] == [
        cmd.Discard(2, reason),
        cmd.Discard(1, reason),
    ]


def test_T4_what_the_agent_was_told_since_makes_them_unfit(call_with: Make) -> None:
    call = expecting(call_with)
    call.write(0, QUESTION)
    call.on(ev.Touched())
    call.start("yes")
    call.end("yes")
    assert not call.of(cmd.Commit)


def test_T7_one_that_fails_is_silent(call_with: Make) -> None:
    call = expecting(call_with)
    call.write(0, QUESTION)
    call.on(ev.ReplyFailed(1, "llm", "llm.server", True))
    assert not call.of(cmd.ErrorRaised)
    call.start("yes")
    call.end("yes")
    assert call.of(cmd.StartReply)[-1].draft is False


def test_T9_they_keep_to_the_budget(call_with: Make) -> None:
    call = expecting(call_with, budget=Budget(drafts=1))
    call.write(0, QUESTION)
    assert len(drafts(call)) == 1
    declined = cmd.DraftDeclined(None, "expected", "drafts")
    assert call.of(cmd.DraftDeclined) == [declined]


def test_T9_one_that_takes_too_much_is_given_up(call_with: Make) -> None:
    call = expecting(call_with, budget=Budget(input=100))
    call.write(0, QUESTION)
    assert call.on(ev.ModelAsked(2, 101)) == [cmd.Discard(2, "budget")]


def test_T9_adaptive_drafts_those_that_come_often_enough(call_with: Make) -> None:
    """Of one answer that is expected, it is likely; of three, none is."""
    tuning = Tuning(exchange=0.6)
    for most, begun in ((1, 1), (3, 0)):
        call = expecting(call_with, most, mode="adaptive", tuning=tuning)
        call.write(0, QUESTION)
        assert len(drafts(call)) == begun
    assert {one.reason for one in call.of(cmd.DraftDeclined)} == {"worth"}


def test_T2_the_agent_may_name_the_question_itself(call_with: Make) -> None:
    call = call_with(Policy(speculation=Speculation(expected=1)))
    call.say(QUESTION)
    call.on(ev.AnswersExpected(("Yes.",), 0))
    assert [one.reply for one in drafts(call)] == [1]


def test_T2_a_question_that_was_heard_is_still_asked(call_with: Make) -> None:
    call = call_with(Policy(speculation=Speculation(expected=1)))
    call.say(QUESTION)
    call.hear(2.5)
    call.on(ev.AnswersExpected(("Yes.",), 0))
    assert len(drafts(call)) == 1


def test_T2_nothing_is_drafted_while_the_caller_speaks(call_with: Make) -> None:
    call = expecting(call_with)
    call.start("wait a moment")
    call.write(0, QUESTION)
    assert not drafts(call)


def test_question_is_what_a_reply_asks(call: Driver) -> None:
    reply = call.say(QUESTION)
    assert call.machine.question(reply) == QUESTION
    other = call.say("Thank you.")
    assert call.machine.question(other) is None
    call.on(ev.SayRequested(5))
    assert call.machine.question(other + 1) is None
    assert call.machine.question(99) is None


# ----------------------------------------------------------------------------------- the pace


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
