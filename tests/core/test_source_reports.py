"""What sources of turns were seen to do, and what became of it in other frameworks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.policy import Limits, Policy

Call = Any
Make = Callable[[Policy], Any]


def answers(call: Call) -> list[cmd.StartReply]:
    return [command for command in call.of(cmd.StartReply) if command.kind == "answer"]


# ------------------------------------------------------------------------ turns that never close


@pytest.mark.parametrize("chatter", ["", "hello"])
def test_T14_messages_without_progress_do_not_keep_a_turn_alive(call: Call, chatter: str) -> None:
    """A stuck connection goes on sending Updates, empty or the same: they prove nothing."""
    call.start("hello")
    for _ in range(50):
        call.wait(0.5)
        call.update(chatter)
    assert len(call.of(cmd.Reconnect)) == 1


def test_T14_a_stuck_turn_is_answered_once_with_the_draft_it_has(call: Call) -> None:
    """bolna#758, #843: the draft was orphaned, and the turn answered beside it."""
    call.start("hello")
    call.eager("hello")
    call.answer("Good morning.")
    call.wait(20.1)
    assert call.of(cmd.Reconnect)
    call.lose()
    call.wait(5.1)
    call.hear(1.0)
    assert len(answers(call)) == 1
    assert call.said == ["user: hello", "assistant: Good morning."]
    assert call.outcomes == {0: "heard"}


def test_T14_words_that_neither_start_nor_end_a_turn_are_answered(call: Call) -> None:
    """bolna#758: a turn was opened by an Update, and no closing event ever came."""
    call.update("book a table")
    call.wait(20.1)
    assert call.of(cmd.Reconnect)
    call.lose()
    call.wait(5.1)
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "book a table")]


def test_T17_a_start_by_noise_after_which_nothing_comes_keeps_no_reply_back(call: Call) -> None:
    """pipecat#5735: noise opened a turn, then came no event for 23 s though audio flowed."""
    call.say("We are open from nine to five on weekdays.", seconds=4)
    call.hear(1.0)
    call.start("")
    call.wait(1.1)
    call.hear(3.5)
    assert call.said == ["assistant: We are open from nine to five on weekdays."]
    call.wait(23)
    assert call.of(cmd.Reconnect)
    call.lose()
    call.wait(6)
    assert not call.of(cmd.TurnCommitted)
    call.turn("hello")
    assert call.of(cmd.TurnCommitted)


@pytest.mark.parametrize(("timeout", "stalled"), [(0.5, 3.0), (5.0, 20.0), (16.0, 64.0)])
def test_T14_patience_follows_the_sources_own_timeout(
    call: Call, timeout: float, stalled: float
) -> None:
    """A caller who may be silent for 16 s is not cut off by a number written down elsewhere."""
    call.on(ev.SourceTuned(timeout))
    call.start("my number is")
    call.wait(stalled - 0.1)
    assert not call.of(cmd.Reconnect)
    call.wait(0.2)
    assert call.of(cmd.Reconnect)
    call.lose()
    call.wait(timeout - 0.1)
    assert not call.of(cmd.TurnCommitted)
    call.wait(0.2)
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "my number is")]


def test_T14_a_longer_timeout_counts_for_the_open_turn_too(call: Call) -> None:
    call.start("my number is")
    call.on(ev.SourceTuned(20.0))
    call.wait(79)
    assert not call.of(cmd.Reconnect)


def test_T14_limits_of_the_agents_own_come_first(call_with: Make) -> None:
    call = call_with(Policy(limits=Limits(end_of_turn=1.0, stalled_turn=10.0)))
    call.on(ev.SourceTuned(30.0))
    call.start("my number is")
    call.wait(10.1)
    assert call.of(cmd.Reconnect)
    call.lose()
    call.wait(1.1)
    assert call.of(cmd.TurnCommitted)


# -------------------------------------------------------------------------- drafts and their end


def empty_end(call: Call) -> None:
    call.resume("")
    call.end("")


def other_words(call: Call) -> None:
    call.end("hello there")


def overtaken(call: Call) -> None:
    call.index += 1
    call.start("there")
    call.end("there")


def lost_and_ended_by_the_machine(call: Call) -> None:
    call.lose()
    call.wait(5.1)


def lost_and_gone_on(call: Call) -> None:
    call.lose()
    call.start("there")
    call.end("there")


def touched(call: Call) -> None:
    call.on(ev.Touched())
    call.end("hello")


def committed(call: Call) -> None:
    call.end("hello")


def failed(call: Call) -> None:
    call.on(ev.ReplyFailed(0, "llm", "llm.server", True))
    call.end("hello")


@pytest.mark.parametrize(
    "close",
    [
        empty_end,
        other_words,
        overtaken,
        lost_and_ended_by_the_machine,
        lost_and_gone_on,
        touched,
        committed,
        failed,
    ],
)
def test_however_a_turn_with_an_eager_end_closes_the_next_is_not_taken_for_a_draft(
    call: Call, close: Callable[[Call], None]
) -> None:
    """bolna#718, #754, #843: a mark that was left over made the next turn an eager one."""
    call.start("hello")
    call.eager("hello")
    close(call)
    if answers(call) and call.of(cmd.TurnCommitted):
        call.answer("Good morning.")
        call.hear(1.0)
    call.wait(1.0)
    before = len(answers(call))
    call.start("what time is it")
    assert len(answers(call)) == before
    call.end("what time is it")
    last = answers(call)[before:]
    assert [reply.draft for reply in last] == [False]
    assert call.of(cmd.TurnCommitted)[-1].text == "what time is it"
    for reply in {found.reply for found in answers(call)} - {last[0].reply}:
        assert not call.machine.is_draft(reply)


@pytest.mark.parametrize("trigger", ["manual", "timeout", "model", "one not known yet"])
def test_T4_an_end_commits_the_draft_whatever_made_it(call: Call, trigger: str) -> None:
    """ForceEndTurn supersedes an eager end: no TurnResumed comes between."""
    call.start("hello")
    call.eager("hello")
    call.end("hello", trigger=trigger, confidence=0.1)
    assert call.of(cmd.Commit) == [cmd.Commit(0)]
    assert len(answers(call)) == 1


def test_T3_a_resumption_that_comes_after_the_end_takes_nothing_back(call: Call) -> None:
    call.turn("hello")
    call.index -= 1
    assert call.resume("hello and") == [cmd.Oddity("event of a turn that has ended")]
    call.answer("Good morning.")
    call.hear(1.0)
    assert call.outcomes == {0: "heard"}


@pytest.mark.parametrize("confidence", [0.6, 0.99])
def test_a_high_confidence_alone_ends_and_drafts_nothing(call: Call, confidence: float) -> None:
    """Above both thresholds in the middle of a sentence, it fell to 0.008 at the next word."""
    call.start("we the people", confidence=confidence)
    call.update("we the people of the", confidence=confidence)
    call.wait(1.5)
    assert not answers(call)
    assert not call.of(cmd.TurnCommitted)


def test_T4_words_that_were_rewritten_count_as_they_are_at_the_end(call: Call) -> None:
    call.start("insure domestic trend")
    call.eager("insure domestic trend")
    call.resume("insure domestic trend")
    call.update("insure domestic tranquility")
    call.end("insure domestic tranquility.")
    assert call.said == ["user: insure domestic tranquility."]
    assert [reply.draft for reply in answers(call)] == [True, False]


# ------------------------------------------------------------------------- starts, indices, order


def test_a_start_that_comes_again_keeps_the_words_and_the_turn(call: Call) -> None:
    """vellum#43076: starts came twice, also from a new connection."""
    call.start("book a table")
    call.start("")
    call.lose()
    call.start("")
    call.end("")
    assert call.said == ["user: book a table"]
    assert len(call.of(cmd.TurnCommitted)) == 1


def test_T13_numbers_that_are_left_out_are_no_disorder(call: Call) -> None:
    call.start("hello", sequence=4)
    call.end("hello there", sequence=90)
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "hello there")]
    assert not call.of(cmd.Oddity)


def test_T13_messages_without_numbers_are_taken_as_they_come(call: Call) -> None:
    call.start("hello", sequence=None)
    call.end("hello there", sequence=None)
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "hello there")]


def test_indices_that_begin_again_after_a_reconnection_are_new_turns(call: Call) -> None:
    for words in ("one", "two"):
        call.turn(words)
        call.answer("Yes.", 0.5)
        call.hear(0.5)
        call.wait(2.0)
    call.lose()
    call.turn("three")
    call.answer("Yes.", 0.5)
    call.hear(0.5)
    assert [turn.text for turn in call.of(cmd.TurnCommitted)] == ["one", "two", "three"]
    assert set(call.outcomes.values()) == {"heard"}


def test_T18_a_greeting_whose_voice_fails_leaves_no_caller_unheard(call: Call) -> None:
    """pipecat#5344, #5390: the caller was muted for the greeting, and stayed so when it failed."""
    call.on(ev.SayRequested(0, False))
    call.on(ev.ReplyText(0, "Good morning."))
    call.turn("book a table")
    call.on(ev.ReplyFailed(0, "tts", "tts.server", False))
    apology = call.of(cmd.StartReply)[-1]
    assert apology.kind == "apology"
    for reply, text in ((apology.reply, "I am sorry."), (answers(call)[-1].reply, "Sure.")):
        call.write(reply, text)
        call.voice(reply)
        call.hear(1.0)
    assert call.outcomes == {0: "heard"}
