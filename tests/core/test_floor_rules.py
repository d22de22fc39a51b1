"""The caller and the agent share the floor: rules T10 to T12 and T16 to T19."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import STILL_RUNNING, AssistantMessage, SpokenWord, ToolCall, ToolMessage

Call = Any

BOOK = ToolCall("c1", "book", '{"name": "Ann"}')
HOURS = "We are open from eight in the morning to six in the evening on every weekday"


def names(commands: list[cmd.Command]) -> list[str]:
    timers = (cmd.SetTimer, cmd.CancelTimer)
    return [type(command).__name__ for command in commands if not isinstance(command, timers)]


# ----------------------------------------------------------------------------- T10: final words


def test_T10_an_empty_end_takes_the_last_words_of_the_turn(call: Call) -> None:
    """Cloudflare is reported to end turns without a transcript."""
    call.start("book")
    call.update("book a table")
    call.eager("book a table for two")
    out = call.end("")
    assert "Commit" in names(out)
    assert call.said == ["user: book a table for two"]


def test_T10_words_before_a_resume_are_not_committed_by_an_empty_end(call: Call) -> None:
    """cloudflare/agents#1454, #1497."""
    call.start("book")
    call.eager("book")
    call.resume("")
    out = call.end("")
    assert cmd.Discard(0, "words") not in out
    assert not call.of(cmd.TurnCommitted)
    assert call.of(cmd.Discard) == [cmd.Discard(0, "resumed")]


def test_T10_a_turn_without_words_gets_no_reply_and_what_it_held_goes_on(call: Call) -> None:
    """pipecat#3949 and #4308: noise must not silence the agent."""
    call.say(HOURS, seconds=5)
    call.hear(1.0)
    call.start("")
    assert call.epoch == 2
    out = call.end("")
    assert [c.offset > 0 for c in out if isinstance(c, cmd.Play)] == [True]
    assert not call.of(cmd.TurnCommitted)


def test_T10_noise_again_and_again_starves_no_answer(call: Call) -> None:
    call.turn("hello")
    for _ in range(5):
        call.start("")
        call.now += 0.3
        call.end("")
    call.answer("Good morning.")
    call.hear(1.0)
    assert call.outcomes == {0: "heard"}


# ---------------------------------------------------------------- T11: ends that are taken back


def test_T11_going_on_before_the_reply_was_heard_makes_one_turn_of_two(call: Call) -> None:
    call.turn("book a table")
    call.answer("Sure.")
    call.now += 0.4
    held = call.start("")
    assert "ClearPlayout" in names(held)
    assert call.said == ["user: book a table"], "only held until there are words"
    call.update("for two")
    assert call.outcomes == {0: "merged"}
    assert cmd.Discard(0, "taken_back") in call.of(cmd.Discard)
    call.end("for two")
    call.answer("A table for two.")
    call.hear(1.0)
    assert call.said == ["user: book a table for two", "assistant: A table for two."]
    assert call.outcomes == {0: "merged", 1: "heard"}


@pytest.mark.parametrize(("onset", "merged"), [(0.2, True), (0.4, False)])
def test_T11_the_first_words_own_time_decides(call: Call, onset: float, merged: bool) -> None:
    call.turn("book a table")
    begins = call.now
    call.answer("Sure, for which day would you like it?", seconds=3)
    call.hear(1.0)
    call.start("for two please", speech_start=begins + onset)
    assert (call.outcomes == {0: "merged"}) is merged


def test_T11_without_word_times_the_usual_onset_is_taken(call: Call) -> None:
    call.turn("book a table")
    call.answer("Sure, for which day would you like it?", seconds=3)
    call.hear(0.8)
    call.start("for two please")
    assert call.outcomes == {0: "merged"}


def test_T11_a_tool_with_effects_that_has_begun_lets_both_turns_stand(call: Call) -> None:
    call.turn("book it for Ann")
    call.on(ev.ToolRequested(0, (BOOK,), frozenset({"c1"})))
    call.wait(0.7)
    call.turn("and for Bob")
    call.on(ev.ToolReturned(0, "c1", "booked"))
    call.answer("Both are booked.")
    call.hear(1.0)
    assert [type(m).__name__ for m in call.machine.messages()] == [
        "UserMessage",
        "AssistantMessage",
        "ToolMessage",
        "UserMessage",
        "AssistantMessage",
    ]
    assert call.outcomes == {0: "merged", 1: "heard"}


def test_T11_a_turn_that_was_acted_upon_stands(call: Call) -> None:
    """The agent's own code has done what it does for settled turns; nothing was heard yet."""
    call.turn("book it for Ann")
    call.on(ev.ActedUpon(0))
    call.wait(0.7)
    call.on(ev.ActedUpon(0))
    call.turn("and for Bob")
    assert [c.reason for c in call.of(cmd.Discard)] == ["interrupted"]
    assert [c.text for c in call.of(cmd.TurnCommitted)] == ["book it for Ann", "and for Bob"]
    assert call.said == ["user: book it for Ann and for Bob"], "one message to the model"


def test_T11_acting_before_the_turn_has_settled_binds_nobody(call: Call) -> None:
    call.turn("book it for Ann")
    call.on(ev.ActedUpon(0))
    call.turn("and for Bob")
    assert [c.reason for c in call.of(cmd.Discard)] == ["taken_back"]


def test_T11_a_turn_with_nothing_after_what_is_owed_still_gets_its_answer(call: Call) -> None:
    call.turn("book a table")
    call.start("no")
    call.resume("")
    call.end("")
    assert call.of(cmd.TurnCommitted)[-1].text == "book a table"
    call.answer("Sure.")
    call.hear(1.0)
    assert call.said == ["user: book a table", "assistant: Sure."]


def test_T11_an_end_settles_when_nobody_goes_on(call: Call) -> None:
    call.turn("hello")
    assert not call.of(cmd.TurnSettled)
    call.wait(0.61)
    assert call.of(cmd.TurnSettled) == [cmd.TurnSettled(0)]


def test_T11_noise_puts_settling_off_only_for_a_while(call: Call) -> None:
    call.turn("hello")
    call.now += 0.3
    call.start("")
    call.wait(1.05)
    assert call.of(cmd.TurnSettled) == [cmd.TurnSettled(0)]


# ---------------------------------------------------------------------- T12: what was heard


def test_T12_the_history_is_cut_to_what_was_heard(call: Call) -> None:
    call.say("One two three four five six seven eight nine ten.", seconds=5)
    call.hear(2.5)
    call.start("stop please")
    assert call.said == ["assistant: One two three four five (interrupted)"]
    assert call.of(cmd.ReplyEnded)[0].heard == "One two three four five"


def test_T12_word_times_of_the_voice_are_believed(call: Call) -> None:
    call.on(ev.SayRequested(0))
    call.write(0, "One twotwotwotwotwo three.")
    words = (SpokenWord("One", 0.0, 1.5), SpokenWord("two", 1.5, 1.9), SpokenWord("t", 1.9, 3.0))
    call.on(ev.SpeechMade(0, 0, 3.0, words, True))
    call.hear(1.6)
    call.start("stop please")
    assert call.said == ["assistant: One (interrupted)"]


def test_T12_a_reply_of_which_nothing_was_heard_leaves_no_message(call: Call) -> None:
    call.say("Good morning, this is the clinic.", seconds=3)
    call.start("hello there")
    assert call.said == []


def test_T12_a_reply_cut_in_its_first_word_leaves_no_message(call: Call) -> None:
    call.say("Good morning, this is the clinic.", seconds=3)
    call.hear(0.1)
    call.start("hello there")
    assert call.said == []
    assert call.of(cmd.ReplyEnded)[0].interrupted


def test_T12_a_reply_heard_whole_is_remembered_whole(call: Call) -> None:
    call.turn("hello")
    call.answer("Good morning. How can I help you today?")
    call.hear(2.0)
    assert call.said == ["user: hello", "assistant: Good morning. How can I help you today?"]


def test_T12_text_before_and_after_a_tool_stays_in_order(call: Call) -> None:
    call.turn("book it")
    call.on(ev.ReplyText(0, "One moment. "))
    call.on(ev.ToolRequested(0, (BOOK,), frozenset({"c1"})))
    call.wait(0.7)
    call.on(ev.ToolReturned(0, "c1", "booked"))
    call.write(0, "It is booked.")
    call.voice(0)
    call.hear(2.0)
    first, result, last = call.machine.messages()[1:]
    assert first == AssistantMessage("One moment.", 0, False, (BOOK,))
    assert result == ToolMessage("c1", "book", "booked")
    assert last == AssistantMessage("It is booked.", 0, False, ())


# ------------------------------------------------------------- T16, T17: hold, then decide


def test_T16_words_that_take_the_floor_stop_the_reply_at_once(call: Call) -> None:
    call.turn("when are you open")
    call.wait(0.7)
    call.answer(HOURS, seconds=5)
    call.hear(2.0)
    out = call.start("no I meant on Sunday")
    assert names(out)[:3] == ["ClearPlayout", "Discard", "ReplyEnded"]
    assert call.outcomes == {0: "heard"}
    assert call.said[1].endswith("(interrupted)")


def test_T16_clears_also_when_the_voice_has_long_finished(call: Call) -> None:
    """openai-agents-js#1184: the far end may still be playing."""
    call.say(HOURS, seconds=5)
    call.hear(1.0)
    assert "ClearPlayout" in names(call.start("wait"))


def test_T17_start_of_turn_holds_at_once_and_no_words_let_it_go_on(call: Call) -> None:
    call.say(HOURS, seconds=5)
    call.hear(2.0)
    assert "ClearPlayout" in names(call.start(""))
    assert not call.of(cmd.Discard)
    out = call.wait(1.01)
    plays = [c for c in out if isinstance(c, cmd.Play)]
    assert len(plays) == 1
    assert 1.2 < plays[0].offset <= 2.0, "at most one word is heard twice, none is skipped"


def test_T17_with_word_times_it_goes_on_from_the_word_that_was_being_heard(call: Call) -> None:
    call.on(ev.SayRequested(0))
    call.write(0, "One two three four.")
    times = ((0.1, 0.9), (1.0, 1.9), (2.0, 2.9), (3.0, 3.9))
    words = tuple(SpokenWord("word", start, end) for start, end in times)
    call.on(ev.SpeechMade(0, 0, 4.0, words, True))
    call.hear(1.5)
    call.start("")
    out = call.wait(1.01)
    assert [c.offset for c in out if isinstance(c, cmd.Play)] == [1.0]


@pytest.mark.parametrize("words", ["mm-hm", "Yeah, okay.", "I see."])
def test_T17_a_backchannel_lets_playout_go_on(call: Call, words: str) -> None:
    call.say(HOURS, seconds=5)
    call.hear(2.0)
    call.start(words)
    out = call.end(words)
    assert "Play" in names(out)
    assert call.of(cmd.BackchannelHeard) == [cmd.BackchannelHeard(0, words)]
    assert not [line for line in call.said if line.startswith("user")]


def test_T17_no_going_on_while_the_turn_has_more_than_backchannels(call: Call) -> None:
    call.say(HOURS, seconds=5)
    call.hear(2.0)
    call.start("yeah")
    call.now += 0.5
    call.update("yeah but")
    out = call.wait(10)
    assert "Play" not in names(out)
    assert call.of(cmd.Discard) == [cmd.Discard(0, "interrupted")]


def test_T17_new_backchannels_keep_the_hold_then_it_goes_on_still_interruptible(call: Call) -> None:
    call.say(HOURS, seconds=5)
    call.hear(2.0)
    call.start("yeah")
    call.wait(0.6)
    call.update("yeah okay")
    assert "Play" not in names(call.wait(0.6))
    assert "Play" in names(call.wait(0.5))
    call.hear(0.3)
    assert "ClearPlayout" in names(call.update("yeah okay but on Sunday"))


def test_T17_a_listed_word_is_an_answer_to_a_question(call: Call) -> None:
    call.say("Shall I book it for you on Monday then?", seconds=3)
    call.hear(1.5)
    call.start("yes")
    call.end("yes")
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "yes")]


def test_T17_a_listed_word_near_the_end_of_the_reply_is_an_answer(call: Call) -> None:
    call.say("It is booked for Monday at ten in the morning.", seconds=4)
    call.hear(3.3)
    call.start("okay")
    call.end("okay")
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "okay")]


def test_T17_nothing_starts_to_play_while_the_caller_speaks(call: Call) -> None:
    """livekit#5509: a stale reply starts after the caller has begun to speak."""
    call.turn("hello")
    call.start("")
    call.answer("Good morning.")
    assert "Play" in names(call.end(""))


def test_one_start_of_turn_means_one_interruption(call: Call) -> None:
    """Two resolvers gave two interruptions."""
    call.say(HOURS, seconds=5)
    call.hear(2.0)
    call.start("no wait")
    call.start("no wait")
    call.update("no wait please")
    assert len(call.of(cmd.ClearPlayout)) == 1


# ------------------------------------------------------------------------ T18: uninterruptible


def test_T18_uninterruptible_speech_is_played_to_its_end_then_the_caller_answered(
    call: Call,
) -> None:
    say = call.say("This call may be recorded for training.", interruptible=False, seconds=3)
    call.hear(1.0)
    call.start("book a table")
    call.eager("book a table")
    assert not call.of(cmd.ClearPlayout)
    texts = [m.text for m in call.machine.prompt(1)]
    assert texts == ["This call may be recorded for training.", "book a table"]
    call.end("book a table")
    call.answer("Sure.")
    assert [play.reply for play in call.of(cmd.Play)] == [say]
    call.on(ev.PlayoutReached(call.epoch, 3.0))
    assert [play.reply for play in call.of(cmd.Play)] == [say, 1]


def test_T18_a_backchannel_to_it_needs_no_answer(call: Call) -> None:
    call.say("This call may be recorded for training.", interruptible=False, seconds=5)
    call.hear(1.0)
    call.start("okay")
    call.end("okay")
    assert not call.of(cmd.TurnCommitted)


# --------------------------------------------------------------------- T19: effects that begun


def test_T19_an_effect_that_has_begun_outlives_its_reply_and_is_recorded(call: Call) -> None:
    call.turn("book it for Ann")
    call.on(ev.ReplyText(0, "One moment please. "))
    call.on(ev.ToolRequested(0, (BOOK,), frozenset({"c1"})))
    call.voice(0)
    call.hear(0.9)
    call.start("no wait")
    assert ToolMessage("c1", "book", STILL_RUNNING) in call.machine.messages()
    call.on(ev.ToolReturned(0, "c1", "booked"))
    assert ToolMessage("c1", "book", "booked") in call.machine.messages()


def test_T19_a_result_after_the_end_of_the_call_is_recorded(call: Call) -> None:
    call.turn("book it for Ann")
    call.on(ev.ToolRequested(0, (BOOK,), frozenset({"c1"})))
    call.wait(0.7)
    call.on(ev.CallEnded("hangup"))
    call.on(ev.ToolReturned(0, "c1", "booked"))
    assert ToolMessage("c1", "book", "booked") in call.machine.messages()
    assert call.outcomes == {0: "cut_off"}


# --------------------------------------------------------------------------- say, hang up, end


def test_speech_of_the_agents_own_queues_after_the_reply(call: Call) -> None:
    call.turn("hello")
    call.answer("Good morning.")
    say = call.say("By the way, we close at noon.", seconds=1)
    assert [play.reply for play in call.of(cmd.Play)] == [0]
    call.hear(1.0)
    assert [play.reply for play in call.of(cmd.Play)] == [0, say]


def test_cancelled_speech_leaves_the_queue(call: Call) -> None:
    call.say("One.", seconds=1)
    call.say("Two.", seconds=1)
    call.say("Three.", seconds=1)
    call.on(ev.SayCancelled(1))
    call.hear(1.0)
    call.hear(1.0)
    assert call.said == ["assistant: One.", "assistant: Three."]


def test_speech_waits_while_the_caller_speaks(call: Call) -> None:
    call.start("well you see")
    call.say("Are you still there?")
    assert not call.of(cmd.Play)
    call.end("well you see")
    assert call.of(cmd.Play)[0].reply == 0


def test_hang_up_waits_until_the_goodbye_was_heard(call: Call) -> None:
    """livekit#5096: the goodbye is cut short."""
    call.say("Goodbye!", seconds=1)
    assert "HangUp" not in names(call.on(ev.HangUpRequested("bye")))
    call.hear(0.9)
    assert not call.of(cmd.HangUp)
    call.on(ev.PlayoutReached(call.epoch, 1.0))
    assert call.of(cmd.HangUp) == [cmd.HangUp("bye")]


def test_hang_up_does_not_wait_for_ever(call: Call) -> None:
    call.say("Goodbye!", seconds=1)
    call.on(ev.HangUpRequested("bye"))
    call.wait(10.1)
    assert call.of(cmd.HangUp) == [cmd.HangUp("bye")]


def test_hang_up_with_nothing_to_say_is_at_once(call: Call) -> None:
    assert call.on(ev.HangUpRequested("bye")) == [cmd.HangUp("bye")]
    assert call.on(ev.HangUpRequested("again")) == []


def test_the_end_of_the_call_closes_everything_and_loses_no_words(call: Call) -> None:
    """What was said before the line went dead is kept."""
    call.turn("hello")
    call.answer("Good morning, how are you?", seconds=3)
    call.hear(1.0)
    call.start("")
    call.update("I would like to")
    out = call.on(ev.CallEnded("hangup"))
    assert "TurnClosed" in names(out)
    assert call.said[-1] == "user: I would like to"
    assert call.outcomes == {0: "heard", 1: "cut_off"} or call.outcomes[1] == "cut_off"
    assert call.on(ev.TimerFired("hold")) == []


def test_an_agent_that_stops_itself_is_silent_by_choice(call: Call) -> None:
    call.turn("hello")
    call.answer("Good morning.")
    call.on(ev.InterruptRequested())
    assert call.outcomes == {0: "silent"}


def test_a_reply_that_yields_nothing_is_silent_by_choice(call: Call) -> None:
    call.turn("hello")
    call.on(ev.ReplyDone(0))
    assert call.outcomes == {0: "silent"}
    assert call.of(cmd.ReplyEnded)[0].heard == ""


def test_the_model_speaks_unasked_from_the_history(call: Call) -> None:
    call.turn("hello")
    call.answer("Good morning.")
    call.hear(1.0)
    out = call.on(ev.ReplyRequested(0, "Ask whether they are still there."))
    assert cmd.StartReply(1, "asked", None, 0) in out
    assert [m.text for m in call.machine.prompt(1)] == ["hello", "Good morning."]


def test_waiting_for_ones_own_reply_can_be_told(call: Call) -> None:
    call.turn("hello")
    call.on(ev.SayRequested(7))
    assert call.machine.is_behind(7, 0)
    assert not call.machine.is_behind(7, 1)
