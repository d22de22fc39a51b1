"""Drafts for the answers that the agent expects to its own question: rules T2 and T9."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Budget, Tuning
from agentkit.core.history import AssistantMessage, UserMessage
from agentkit.core.policy import Policy, Speculation
from tests.core.conftest import Driver

Make = Callable[[Policy], Driver]
QUESTION = "Shall I book that for you?"


def drafts(call: Driver) -> list[cmd.StartReply]:
    return [command for command in call.of(cmd.StartReply) if command.draft]


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
