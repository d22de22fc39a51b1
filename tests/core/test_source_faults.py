"""A source that misbehaves: rules T13 to T15."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev

Call = Any


def names(commands: list[cmd.Command]) -> list[str]:
    return [type(command).__name__ for command in commands]


# ------------------------------------------------------------------------ T13: odd messages


def test_T13_messages_of_an_older_connection_change_nothing(call: Call) -> None:
    call.lose()
    out = call.end("hello", connection=0)
    assert out == [cmd.Oddity("message of an older connection")]


def test_T13_what_comes_after_its_connection_was_lost_changes_nothing(call: Call) -> None:
    """It must not keep the turn open either: nothing will end it but the machine."""
    call.start("hello")
    call.on(ev.SourceLost(0, "closed"))
    assert call.update("hello there") == [cmd.Oddity("message of an older connection")]
    call.wait(5.1)
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "hello")]


def test_T13_a_connection_announced_twice_is_one(call: Call) -> None:
    call.start("hello")
    call.on(ev.SourceConnected(0))
    assert names(call.update("hello", sequence=1)) == ["Oddity"], "its numbers go on"
    call.end("hello there")
    assert call.said == ["user: hello there"]


def test_T13_a_source_may_number_nothing(call: Call) -> None:
    call.start("hello", sequence=None)
    call.end("hello there", sequence=None)
    assert call.said == ["user: hello there"]


def test_T13_updates_without_words_open_no_turn(call: Call) -> None:
    assert [call.update("") for _ in range(3)] == [[]] * 3
    assert call.end("") == []


def test_T13_repeated_and_late_sequence_ids_change_nothing(call: Call) -> None:
    call.start("hello", sequence=5)
    assert names(call.update("hello there", sequence=5)) == ["Oddity"]
    assert names(call.end("hello there", sequence=3)) == ["Oddity"]


def test_T13_unknown_kinds_are_counted(call: Call) -> None:
    assert call.on(ev.SourceOddity("event Whistle")) == [cmd.Oddity("event Whistle")]


def test_T13_events_of_an_earlier_turn_change_nothing(call: Call) -> None:
    """An event is stale only if its index is below the newest opened index."""
    call.turn("hello")
    call.start("and", index=1)
    out = call.end("hello", index=0)
    assert out == [cmd.Oddity("event of an earlier turn")]


def test_a_second_end_of_the_same_turn_changes_nothing(call: Call) -> None:
    """livekit-js#1791: one utterance finalised twice made the agent silent for good."""
    call.turn("hello")
    call.index -= 1
    assert call.end("hello") == [cmd.Oddity("event of a turn that has ended")]
    call.answer("Good morning.")
    call.hear(1.0)
    assert call.outcomes == {0: "heard"}


def test_late_words_of_an_ended_turn_are_no_interruption(call: Call) -> None:
    """The transcript after EndOfTurn was taken for a barge-in."""
    call.turn("hello")
    call.answer("Good morning, how are you?", seconds=3)
    call.hear(0.5)
    call.index -= 1
    assert call.update("hello") == []
    assert not call.of(cmd.ClearPlayout)


# --------------------------------------------------------------------- T14: lost connections


def test_T14_the_open_turn_goes_on_over_a_new_connection(call: Call) -> None:
    call.start("book a table")
    call.lose()
    call.update("a table for two")
    call.end("a table for two on Monday")
    assert call.said == ["user: book a table for two on Monday"]


def test_T14_words_cut_in_the_middle_still_match(call: Call) -> None:
    call.start("I would like to book")
    call.lose()
    call.end("ike to book a table")
    assert call.said == ["user: I would like to book a table"]


def test_T14_without_new_words_the_machine_ends_the_turn_with_its_draft(call: Call) -> None:
    """livekit: a socket lost after EagerEndOfTurn left the finished answer unspoken."""
    call.start("hello")
    call.eager("hello")
    call.answer("Good morning.")
    call.lose()
    out = call.wait(5.01)
    assert "Commit" in names(out)
    call.hear(1.0)
    assert call.outcomes == {0: "heard"}


def test_T14_a_turn_without_words_just_ends(call: Call) -> None:
    call.say("Good morning, this is the clinic speaking.", seconds=4)
    call.hear(1.0)
    call.start("")
    call.lose()
    call.wait(6)
    assert not call.of(cmd.TurnCommitted)
    assert call.of(cmd.Play)[-1].offset > 0


def test_T14_an_open_turn_without_progress_means_a_lost_connection(call: Call) -> None:
    """The socket is open, audio flows, nothing comes."""
    call.start("hello")
    for _ in range(40):
        call.wait(0.5)
        call.update("hello")
    assert call.of(cmd.Reconnect)


def test_T14_progress_keeps_the_connection(call: Call) -> None:
    call.start("hello")
    for n in range(60):
        call.wait(0.5)
        call.update(f"hello {n}")
    assert not call.of(cmd.Reconnect)


def test_T14_when_all_tries_failed_the_agent_apologises_and_hangs_up(call: Call) -> None:
    call.start("hello there")
    out = call.on(ev.SourceFailed("flux_connection", "gave up"))
    assert cmd.ErrorRaised(None, "flux_connection", False) in out
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "hello there")]
    kinds = {start.reply: start.kind for start in call.of(cmd.StartReply)}
    answer, apology = kinds
    assert kinds == {answer: "answer", apology: "apology"}
    call.write(answer, "Good morning.")
    call.voice(answer)
    call.hear(1.0)
    call.write(apology, "I am sorry.")
    call.voice(apology)
    call.hear(1.0)
    assert call.of(cmd.HangUp) == [cmd.HangUp("source_failed")]


# -------------------------------------------------------------------- T15: missing messages


def test_T15_an_end_without_a_start_is_answered(call: Call) -> None:
    """pipecat#5425: a swallowed start left the caller unheard for good."""
    out = call.end("hello")
    assert names(out)[:1] == ["SetTimer"]
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "hello")]
    assert call.of(cmd.StartReply)


def test_T15_an_end_without_an_eager_end_is_answered(call: Call) -> None:
    call.start("hello")
    call.end("hello")
    assert call.of(cmd.StartReply)[0].draft is False


def test_T15_words_before_the_start_are_no_turn_yet(call: Call) -> None:
    call.say("Good morning, this is the clinic.", seconds=4)
    call.hear(1.0)
    call.update("We")
    assert not call.of(cmd.ClearPlayout)
    call.start("We the")
    assert call.of(cmd.ClearPlayout)


def test_T15_an_update_after_reconnecting_can_open_a_turn(call: Call) -> None:
    """agents-js#1813: the new socket began with Updates."""
    call.lose()
    call.update("book")
    call.update("book a table")
    call.end("book a table")
    assert call.said == ["user: book a table"]


def test_T15_a_turn_overtaken_by_a_newer_index_is_merged_into_it(call: Call) -> None:
    call.start("book a table")
    call.index += 1
    call.start("for two")
    call.end("for two")
    assert call.said == ["user: book a table for two"]


def test_T15_an_overtaken_turn_of_which_nothing_more_comes_is_answered(call: Call) -> None:
    call.start("book a table")
    call.index += 1
    call.update("")
    call.wait(5.1)
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "book a table")]


@pytest.mark.parametrize("again", ["hello there", "there", "Hello there."])
def test_T15_words_that_the_machine_has_answered_are_not_answered_twice(
    call: Call, again: str
) -> None:
    call.start("hello there")
    call.lose()
    call.wait(5.01)
    call.answer("Good morning.")
    call.hear(1.0)
    call.start(again)
    call.end(again)
    assert len(call.of(cmd.TurnCommitted)) == 1


def test_T15_words_beyond_those_are_answered(call: Call) -> None:
    call.start("hello there")
    call.lose()
    call.wait(5.01)
    call.answer("Good morning.")
    call.hear(1.0)
    call.start("there I need help")
    call.end("there I need help")
    assert call.said[-1] == "user: I need help"


def test_T15_resumed_without_a_turn_opens_one(call: Call) -> None:
    call.resume("hello")
    call.end("hello")
    assert call.said == ["user: hello"]
