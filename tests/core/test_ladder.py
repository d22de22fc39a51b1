"""Drafts from words that have come to rest, before the turn may have ended: rule T2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Early, Tuning
from agentkit.core.policy import Policy, Speculation
from tests.core.conftest import Driver

Make = Callable[[Policy], Driver]


def drafts(call: Driver) -> list[cmd.StartReply]:
    return [command for command in call.of(cmd.StartReply) if command.draft]


def early(call_with: Make, **rules: Any) -> Driver:
    return call_with(Policy(speculation=Speculation(early=Early(**rules))))


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
