"""Drafts: rules T1 to T8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall, UserMessage
from agentkit.core.policy import Limits, Policy, Speculation

Call = Any
Make = Callable[[Policy], Any]


def names(commands: list[cmd.Command]) -> list[str]:
    timers = (cmd.SetTimer, cmd.CancelTimer)
    return [type(command).__name__ for command in commands if not isinstance(command, timers)]


def test_T1_nothing_of_a_draft_is_heard_before_its_turn_has_ended(call: Call) -> None:
    call.start("book a table")
    call.eager("book a table")
    call.answer("Sure, for how many people will that be?")
    assert not call.of(cmd.Play)
    call.end("book a table")
    assert [play.reply for play in call.of(cmd.Play)] == [0]


def test_T2_eager_end_of_turn_starts_a_draft_from_the_history_and_its_words(call: Call) -> None:
    call.turn("hello")
    call.answer("Good morning.")
    call.hear(1.0)
    call.start("book")
    out = call.eager("book a table")
    assert cmd.StartReply(1, "answer", 1, None, True, 1, rung="eager") in out
    assert [m.text for m in call.machine.prompt(1)] == ["hello", "Good morning.", "book a table"]


@pytest.mark.parametrize("words", ["Book a table.", "book  a TABLE", "“Book a table”"])
def test_T2_a_draft_of_the_same_words_is_kept(call: Call, words: str) -> None:
    call.start("book a table")
    call.eager("book a table")
    call.eager(words)
    call.end(words)
    assert len(call.of(cmd.StartReply)) == 1
    assert not call.of(cmd.Discard)
    assert call.said == [f"user: {words}"]


@pytest.mark.parametrize(
    "words", ["book a table?", "book a tables", "book table a", "book -a table"]
)
def test_T2_a_draft_of_other_words_is_replaced(call: Call, words: str) -> None:
    call.start("book a table")
    call.eager("book a table")
    out = call.eager(words)
    assert names(out) == ["Discard", "StartReply"]
    assert call.of(cmd.Discard)[0].reason == "superseded"


def test_T2_no_more_than_three_new_drafts_in_a_turn(call: Call) -> None:
    call.start("one")
    for words in ("one", "one two", "one two three", "one two three four"):
        call.eager(words)
        call.resume(words)
    assert len(call.of(cmd.StartReply)) == 3
    call.end("one two three four")
    assert len(call.of(cmd.StartReply)) == 4


def test_T2_no_draft_after_ten_seconds_of_speech(call: Call) -> None:
    call.start("well")
    call.now += 10.5
    call.eager("well it is a long story")
    assert not call.of(cmd.StartReply)
    call.end("well it is a long story")
    assert call.of(cmd.StartReply)[0].draft is False


def test_T2_no_draft_while_unheld_audio_of_the_agent_plays(call: Call) -> None:
    call.say("We are open from eight in the morning to six in the evening.", seconds=4)
    call.hear(0.5)
    call.start("mm-hm")
    call.wait(1.1)
    assert call.of(cmd.Play)[-1].offset > 0, "it goes on after the backchannel"
    call.eager("mm-hm")
    assert not call.of(cmd.StartReply)[1:]


def test_T2_no_draft_while_a_tool_with_effects_is_running(call: Call) -> None:
    call.turn("book it")
    call.on(ev.ToolRequested(0, (ToolCall("c1", "book", "{}"),), frozenset({"c1"})))
    call.wait(0.7)
    assert call.of(cmd.RunTool)
    call.start("and")
    call.eager("and another thing")
    assert len(call.of(cmd.StartReply)) == 1
    call.end("and another thing")
    assert len(call.of(cmd.StartReply)) == 2


def test_T3_resumed_discards_a_draft_that_is_being_written(call: Call) -> None:
    call.start("book")
    call.eager("book a table")
    call.write(0, "Sure, ", done=False)
    assert call.resume("book a table") == [cmd.Discard(0, "resumed")]


def test_T3_a_complete_draft_is_parked_and_adopted_when_its_words_come_again(call: Call) -> None:
    call.start("book")
    call.eager("book a table")
    call.answer("Sure.")
    assert call.resume("book a table") == [cmd.Park(0)]
    call.now += 0.5
    call.eager("Book a table.")
    out = call.end("Book a table.")
    assert "Commit" in names(out)
    assert len(call.of(cmd.StartReply)) == 1, "no second request to the model"


def test_T3_a_parked_draft_speaks_again_what_was_not_voiced_whole(call: Call) -> None:
    call.start("book")
    call.eager("book a table")
    call.write(0, "Sure, I can do that. Which day suits you best?")
    call.on(ev.SpeechMade(0, 0, 1.0, (), True))
    call.on(ev.SpeechMade(0, 1, 0.2))
    call.resume()
    out = call.eager("book a table")
    assert [speak.piece for speak in out if isinstance(speak, cmd.Speak)] == [1]


def test_T3_the_end_of_the_turn_adopts_the_parked_draft_that_fits(call: Call) -> None:
    """With two parked, and no EagerEndOfTurn before the end."""
    call.start("book")
    for reply, words in enumerate(("book a table", "book a taxi")):
        call.eager(words)
        call.answer("Sure.")
        call.resume(words)
        assert call.of(cmd.Park)[-1] == cmd.Park(reply)
    out = call.end("Book a taxi.")
    assert cmd.Commit(1) in out
    assert cmd.Discard(0, "words") in out
    assert len(call.of(cmd.StartReply)) == 2


def test_T3_parked_drafts_of_other_words_go_when_the_turn_ends(call: Call) -> None:
    call.start("book")
    call.eager("book a table")
    call.answer("Sure.")
    call.resume("book a table")
    out = call.end("book a table for two")
    assert cmd.Discard(0, "words") in out
    assert cmd.StartReply(1, "answer", 0, None, False, 1) in out


def test_T4_commit_reuses_the_draft(call: Call) -> None:
    call.start("hello")
    call.eager("hello")
    call.answer("Good morning, how can I help?")
    out = call.end("Hello.")
    assert names(out)[:3] == ["Commit", "Play", "TurnCommitted"]
    assert len(call.of(cmd.StartReply)) == 1
    assert call.said == ["user: Hello."]


def test_T4_other_final_words_start_a_reply_from_the_final_transcript(call: Call) -> None:
    call.start("hello")
    call.eager("hello")
    out = call.end("hello there")
    assert cmd.Discard(0, "words") in out
    assert cmd.StartReply(1, "answer", 0, None, False, 1) in out
    assert call.machine.prompt(1) == (UserMessage("hello there", 0),)


@pytest.mark.parametrize("event", [ev.Touched(), ev.HistoryWritten(UserMessage("note"))])
def test_T4_a_draft_made_from_something_else_is_not_committed(call: Call, event: Any) -> None:
    call.start("hello")
    call.eager("hello")
    call.on(event)
    out = call.end("hello")
    assert cmd.Discard(0, "version") in out
    assert call.of(cmd.StartReply)[-1] == cmd.StartReply(1, "answer", 0, None, False, 1)


def test_T5_what_comes_late_changes_nothing(call: Call) -> None:
    call.start("book")
    call.eager("book a table")
    call.write(0, "Sure, ", done=False)
    call.resume("book a table")
    late: list[ev.Event] = [
        ev.ReplyText(0, "more"),
        ev.ReplyDone(0),
        ev.ReplyFailed(0, "llm", "llm.server", True),
        ev.SpeechMade(0, 0, 1.0, (), True),
        ev.ToolRequested(0, (ToolCall("c", "t", "{}"),), frozenset()),
        ev.ToolReturned(0, "c", "x"),
        ev.SoundSent(0, False),
        ev.PlayoutReached(0, 1.0),
    ]
    assert [call.on(event) for event in late] == [[]] * len(late)
    assert call.said == []


def test_T5_a_report_of_an_older_epoch_proves_nothing(call: Call) -> None:
    reply = call.say("Good morning, this is the clinic.", seconds=3)
    epoch = call.epoch
    call.start("wait a moment")
    call.on(ev.PlayoutReached(epoch, 3.0))
    assert [e.heard for e in call.of(cmd.ReplyEnded) if e.reply == reply] == [""]


def test_T6_a_tool_with_effects_waits_until_the_turn_has_settled_and_runs_once(call: Call) -> None:
    call.start("book it")
    call.eager("book it")
    call.on(ev.ToolRequested(0, (ToolCall("c1", "book", "{}"),), frozenset({"c1"})))
    assert not call.of(cmd.RunTool)
    call.end("book it")
    assert not call.of(cmd.RunTool)
    out = call.wait(0.61)
    assert names(out) == ["TurnSettled", "RunTool"]
    call.wait(5)
    assert len(call.of(cmd.RunTool)) == 1


def test_T6_a_tool_asked_for_by_a_discarded_draft_never_runs(call: Call) -> None:
    call.start("book it")
    call.eager("book it")
    call.on(ev.ToolRequested(0, (ToolCall("c1", "book", "{}"),), frozenset({"c1"})))
    call.resume("book it")
    call.end("book it not")
    call.wait(5)
    assert not call.of(cmd.RunTool)


def test_T7_a_draft_fails_in_silence_and_the_end_starts_afresh(call: Call) -> None:
    call.start("hello")
    call.eager("hello")
    assert call.on(ev.ReplyFailed(0, "llm", "llm.rate_limit", True)) == [cmd.Discard(0, "failed")]
    call.end("hello")
    assert call.of(cmd.StartReply)[-1].reply == 1
    assert not call.of(cmd.ErrorRaised)


def test_T7_a_late_first_token_is_asked_for_on_another_connection(call: Call) -> None:
    call.turn("hello")
    out = call.wait(2.01)
    assert cmd.StartReply(1, "answer", 0, None, False, 2) in out
    out = call.on(ev.ReplyText(1, "Good morning."))
    assert cmd.Discard(0, "superseded") in out
    call.on(ev.ReplyDone(1))
    call.voice(1)
    assert call.of(cmd.Play)[-1].reply == 1
    call.hear(1.0)
    assert call.outcomes == {0: "heard"}


def test_T7_the_first_attempt_may_still_win(call: Call) -> None:
    call.turn("hello")
    call.wait(2.01)
    out = call.on(ev.ReplyText(0, "Good morning."))
    assert cmd.Discard(1, "superseded") in out
    assert not [c for c in call.of(cmd.Discard) if c.reply == 0]


def test_T7_an_attempt_that_fails_leaves_it_to_the_other(call: Call) -> None:
    call.turn("hello")
    call.wait(2.01)
    call.on(ev.ReplyFailed(0, "llm", "llm.timeout", True))
    call.answer("Good morning.")
    call.hear(1.0)
    assert call.outcomes == {0: "heard"}
    assert not call.of(cmd.ErrorRaised)


def test_T7_no_second_attempt_for_a_brain_of_the_users_own(call_with: Make) -> None:
    call = call_with(Policy(hedge=False))
    call.turn("hello")
    call.wait(30)
    assert len(call.of(cmd.StartReply)) == 1


def test_T7_a_committed_reply_is_begun_again_once_then_apologised_for(call: Call) -> None:
    call.turn("hello")
    out = call.on(ev.ReplyFailed(0, "llm", "llm.server", True))
    assert cmd.StartReply(1, "answer", 0, None, False, 2) in out
    out = call.on(ev.ReplyFailed(1, "llm", "llm.server", True))
    assert cmd.ErrorRaised(1, "llm.server", True) in out
    assert cmd.StartReply(2, "apology", 0) in out
    call.answer("I am sorry.")
    call.hear(1.0)
    assert call.outcomes == {0: "heard"}
    assert call.said == ["user: hello", "assistant: I am sorry."]


def test_T7_what_is_not_retryable_is_apologised_for_at_once(call: Call) -> None:
    call.turn("hello")
    out = call.on(ev.ReplyFailed(0, "llm", "llm.auth", False))
    assert [c.kind for c in out if isinstance(c, cmd.StartReply)] == ["apology"]


@pytest.mark.parametrize("stage", ["llm", "tts"])
def test_T7_what_was_said_stands_then_the_apology(call: Call, stage: Any) -> None:
    call.turn("hello")
    call.write(0, "Good morning to you. We are op", done=False)
    call.voice(0, 2.0)
    call.hear(1.0)
    out = call.on(ev.ReplyFailed(0, stage, "llm.connection", True))
    assert cmd.ErrorRaised(0, "llm.connection", True) in out
    call.answer("I am sorry.")
    call.hear(2.0)
    call.hear(1.0)
    assert call.said == ["user: hello", "assistant: Good morning to you.", "assistant: I am sorry."]
    assert call.outcomes == {0: "heard"}


def test_T7_a_failing_apology_ends_the_call_in_order(call: Call) -> None:
    call.turn("hello")
    call.on(ev.ReplyFailed(0, "tts", "tts.auth", False))
    out = call.on(ev.ReplyFailed(1, "tts", "tts.auth", False))
    assert cmd.HangUp("failed") in out
    assert call.outcomes == {0: "silent"}


@pytest.mark.parametrize(("depth", "spoken"), [("llm", 0), ("speech", 1)])
def test_T8_how_far_a_draft_goes_is_a_setting(call_with: Make, depth: Any, spoken: int) -> None:
    call = call_with(Policy(speculation=Speculation(depth=depth)))
    call.start("hello")
    call.eager("hello")
    call.write(0, "Good morning, how can I help?")
    assert len(call.of(cmd.Speak)) == spoken
    call.end("hello")
    assert len(call.of(cmd.Speak)) == 1


def test_T8_without_speculation_no_draft_is_begun(call_with: Make) -> None:
    call = call_with(Policy(speculation=Speculation(depth="off")))
    call.start("hello")
    assert call.eager("hello") == []


def test_T8_ahead_of_the_commit_little_goes_to_the_voice(call: Call) -> None:
    call.start("hello")
    call.eager("hello")
    sentence = "This is a sentence of about fifty characters here. "
    call.write(0, sentence * 4)
    assert sum(len(speak.text) for speak in call.of(cmd.Speak)) <= 120
    call.end("hello")
    assert "".join(speak.text for speak in call.of(cmd.Speak)) == (sentence * 4).rstrip()
    assert call.of(cmd.EndSpeech) == [cmd.EndSpeech(0)]


def test_T8_the_first_piece_goes_out_before_the_next_token(call: Call) -> None:
    call.start("hello")
    call.eager("hello")
    assert not call.on(ev.ReplyText(0, "Good morning, how can "))
    out = call.on(ev.ReplyText(0, "I help?"))
    assert out == [cmd.Speak(0, 0, "Good morning, how can I help?")]


def test_T21_saved_time_is_the_head_start_or_all_the_work(call: Call) -> None:
    """T21: what speculation saved."""
    call.start("hello")
    call.eager("hello")
    call.now += 0.3
    call.answer("Good morning.")
    call.now += 0.2
    call.end("hello")
    call.on(ev.SoundSent(0, False))
    call.hear(1.0)
    times = call.of(cmd.TurnClosed)[0].times
    assert times.saved == pytest.approx(0.3), "all the work was done ahead"
    assert times.draft_started == pytest.approx(times.ended - 0.5)
    assert times.first_sound_sent == times.ended


def test_a_limit_on_attempts_of_one_means_no_second_one(call_with: Make) -> None:
    call = call_with(Policy(limits=Limits(attempts=1)))
    call.turn("hello")
    call.wait(3)
    out = call.on(ev.ReplyFailed(0, "llm", "llm.server", True))
    assert [c.kind for c in out if isinstance(c, cmd.StartReply)] == ["apology"]
