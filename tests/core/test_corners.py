"""What the rules' own tests leave out: settings, small states, and rare paths."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.caller import Caller, CallerState
from agentkit.core.floor import Floor, PlayoutState
from agentkit.core.history import History, ToolCall, ToolMessage, UserMessage
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import Interruption, Limits, Policy, Speculation
from agentkit.core.replies import Piece, Reply, ReplyState
from agentkit.core.segment import Segmenter
from agentkit.errors import ConfigError

Call = Any


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Speculation(depth="all"), "speculation.depth"),  # type: ignore[arg-type]
        (lambda: Speculation(max_drafts=-1), "speculation.max_drafts"),
        (lambda: Interruption(resume_after=-1), "interruption.resume_after"),
        (lambda: Limits(settle=-0.1), "limits.settle"),
        (lambda: Limits(attempts=0), "limits.attempts"),
    ],
)
def test_bad_settings_name_the_field(make: Any, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field


def ignored(_command: cmd.Command) -> None:
    """Takes commands that nobody looks at."""


def test_the_state_of_playout_can_be_seen() -> None:
    floor = Floor(ignored)
    reply = Reply(0, "say", ReplyState.COMMITTED, Segmenter(), 0.0)
    states: list[PlayoutState] = [floor.state]
    floor.add(reply)
    states.append(floor.state)
    floor.hold(0.0)
    states.append(floor.state)
    assert states == [PlayoutState.IDLE, PlayoutState.PLAYING, PlayoutState.HELD]


def test_an_attempt_that_waits_can_be_replaced() -> None:
    floor = Floor(ignored)
    one, two, three = (Reply(n, "say", ReplyState.COMMITTED, Segmenter(), 0.0) for n in range(3))
    floor.add(one)
    floor.add(two)
    floor.replace(two, three)
    assert floor.replies == [one, three]
    floor.replace(two, one)
    assert floor.replies == [one, three]


def test_whether_a_reply_is_a_draft_and_what_it_answers(call: Call) -> None:
    call.start("hello")
    call.eager("hello")
    machine: TurnMachine = call.machine
    assert machine.is_draft(0)
    assert machine.words_of(0) == "hello"
    call.end("hello")
    assert not machine.is_draft(0)
    assert not machine.is_draft(9)
    assert machine.words_of(9) == ""


def test_uninterruptible_speech_counts_as_heard_in_a_prompt_while_it_plays(call: Call) -> None:
    call.say("One two three four five.", interruptible=False, seconds=3)
    call.hear(0.5)
    assert call.said == ["assistant: One two three four five."]


def test_a_call_started_twice_changes_nothing(call: Call) -> None:
    assert call.on(ev.CallStarted()) == []


def test_T12_turns_with_nothing_heard_between_are_one_message(call: Call) -> None:
    call.turn("hello")
    call.on(ev.InterruptRequested())
    call.wait(0.7)
    call.turn("are you open")
    assert call.said == ["user: hello are you open"]


def test_other_settings_hold_from_the_next_reply_on(call: Call) -> None:
    """Hand-over: a draft made under the old ones does not fit."""
    call.start("hello")
    call.eager("hello")
    call.on(ev.PolicyChanged(Policy(speculation=Speculation(depth="off"))))
    assert cmd.Discard(0, "version") in call.end("hello")
    call.start("and")
    assert call.eager("and you") == []


def test_T7_speech_of_the_agents_own_is_begun_again_in_its_place(call: Call) -> None:
    call.on(ev.SayRequested(0))
    out = call.on(ev.ReplyFailed(0, "tts", "tts.server", True))
    assert cmd.StartReply(1, "say", None, 0, attempt=2) in out
    out = call.on(ev.ReplyFailed(1, "tts", "tts.server", True))
    assert cmd.StartReply(2, "apology") in out
    call.answer("I am sorry.")
    call.hear(1.0)
    assert call.said == ["assistant: I am sorry."]


def test_T21_the_first_sound_that_is_not_silence_has_its_own_time(call: Call) -> None:
    call.turn("hello")
    call.answer("Good morning.")
    times = []
    for silent in (True, True, False, False):
        times.append(call.now)
        call.on(ev.SoundSent(0, silent))
        call.now += 0.02
    call.hear(1.0)
    closed = call.of(cmd.TurnClosed)[0].times
    assert (closed.first_audio_sent, closed.first_sound_sent) == (times[0], times[2])


def test_text_of_a_reply_that_was_written_is_passed_over(call: Call) -> None:
    call.turn("hello")
    call.write(0, "Good morning.")
    assert call.on(ev.ReplyText(0, "more")) == []
    assert call.on(ev.ReplyDone(0)) == []
    assert call.on(ev.SpeechMade(0, 7, 1.0)) == []


def test_a_new_connection_without_word_of_the_loss(call: Call) -> None:
    call.start("book a table")
    call.connection, call.index, call.sequence = 1, 0, 0
    call.on(ev.SourceConnected(1))
    call.end("a table for two")
    assert call.said == ["user: book a table for two"]
    assert call.on(ev.SourceLost(0, "old")) == []


def test_events_of_a_connection_that_was_not_announced(call: Call) -> None:
    call.connection, call.sequence = 3, 0
    call.turn("hello")
    assert call.said == ["user: hello"]


def test_a_caller_knows_connections_without_turns() -> None:
    caller = Caller()
    caller.connect(0)
    assert caller.lose(0)
    caller.connect(1)
    assert not caller.lose(0)
    assert caller.turn is None


def test_more_words_of_a_turn_that_the_machine_ended_open_another(call: Call) -> None:
    call.start("hello there")
    call.index += 1
    call.update("")
    call.wait(5.1)
    call.answer("Good morning.")
    call.hear(1.0)
    assert call.update("hello there") == []
    call.end("hello there I need help")
    assert call.said[-1] == "user: I need help"


def test_words_without_a_start_are_answered_when_the_source_is_gone(call: Call) -> None:
    call.update("hello there")
    assert call.machine.caller.turn.state is CallerState.FORMING
    call.on(ev.SourceLost(0, "closed"))
    call.wait(5.1)
    assert call.said == ["user: hello there"]


def test_a_source_that_fails_while_the_call_is_ending(call: Call) -> None:
    call.say("Goodbye.", seconds=1)
    call.on(ev.HangUpRequested("bye"))
    out = call.on(ev.SourceFailed("x", "y"))
    assert not [c for c in out if isinstance(c, cmd.StartReply)]


def test_what_is_said_while_the_call_is_ending_is_recorded(call: Call) -> None:
    call.say("Goodbye.", seconds=2)
    call.on(ev.HangUpRequested("bye"))
    call.turn("thank you")
    assert call.outcomes == {0: "cut_off"}
    assert not call.of(cmd.Discard)


def test_an_unanswered_stall_timer_of_an_ended_turn(call: Call) -> None:
    call.start("hello")
    call.on(ev.SourceLost(0, "closed"))
    assert call.on(ev.TimerFired("stalled_turn")) == []
    assert call.on(ev.TimerFired("nonsense")) == []


def test_a_hedge_is_not_begun_for_a_reply_that_waits_for_a_tool(call: Call) -> None:
    call.turn("book it")
    call.on(ev.ToolRequested(0, (ToolCall("c", "book", "{}"),), frozenset({"c"})))
    call.wait(5)
    assert len(call.of(cmd.StartReply)) == 1


def test_effects_that_waive_the_wait_run_at_the_commit(call: Call) -> None:
    call.start("book it")
    call.eager("book it")
    tool = ToolCall("c", "book", "{}")
    call.on(ev.ToolRequested(0, (tool,), frozenset({"c"}), frozenset({"c"})))
    assert not call.of(cmd.RunTool)
    call.end("book it")
    assert call.of(cmd.RunTool) == [cmd.RunTool(0, tool)]
    call.on(ev.ToolRequested(0, (tool,), frozenset({"c"}), frozenset({"c"})))
    assert len(call.of(cmd.RunTool)) == 1, "one call runs once"


def test_several_tools_asked_for_together_stand_together(call: Call) -> None:
    call.turn("hours and parking")
    calls = (ToolCall("a", "hours", "{}"), ToolCall("b", "parking", "{}"))
    call.on(ev.ToolRequested(0, calls, frozenset()))
    call.on(ev.ToolReturned(0, "b", "yes"))
    call.on(ev.ToolReturned(0, "a", "nine"))
    call.write(0, "Nine, and yes.")
    messages = call.machine.messages()
    assert messages[1].tool_calls == calls
    assert messages[2:4] == (ToolMessage("a", "hours", "nine"), ToolMessage("b", "parking", "yes"))


def test_the_history_passes_over_what_it_does_not_know() -> None:
    history = History()
    history.forget(3)
    history.tool_returned(3, "c", "x")
    history.hear(3, "  ")
    history.add(UserMessage("note"))
    history.call_tool(1, 0, ToolCall("c", "t", "{}"))
    history.hear(1, "", interrupted=True)
    history.tool_returned(1, "other", "x")
    assert [type(m).__name__ for m in history.messages()] == [
        "UserMessage",
        "AssistantMessage",
        "ToolMessage",
    ]


def reply_with(*pieces: Piece) -> Reply:
    reply = Reply(0, "say", ReplyState.COMMITTED, Segmenter(), 0.0)
    reply.pieces = list(pieces)
    reply.text = "".join(piece.text for piece in pieces)
    return reply


def test_what_was_heard_of_a_piece_that_is_still_being_made_is_guessed() -> None:
    reply = reply_with(Piece("One two three four five six seven.", 0.0, 1.0))
    assert reply.text_heard(0.7) == "One two"
    assert reply.text_heard(90.0) == "One two three four five six seven."
    assert reply.word_start(0.7) < 0.7
    assert reply.word_start(9.0) == 1.0


def test_a_piece_without_length_or_text() -> None:
    reply = reply_with(Piece("", 0.0), Piece("", 0.0, 0.5, (), True))
    assert reply.text_heard(0.2) == ""
    assert reply.word_start(0.2) == 0.0


def test_the_sentence_that_is_being_heard() -> None:
    reply = reply_with(Piece("It is noon. Shall I book it? Or not.", 0.0, 3.6, (), True))
    assert reply.sentence_at(0.5) == "It is noon."
    assert reply.sentence_at(2.0) == "Shall I book it?"
    assert reply_with(Piece("No end", 0.0, 1.0, (), True)).sentence_at(0.5) == "No end"


def test_a_voice_that_fails_in_a_word_keeps_the_words_before(call: Call) -> None:
    call.turn("hello")
    call.write(0, "One two three four five six seven eight nine ten.")
    call.on(ev.SpeechMade(0, 0, 1.0))
    call.hear(0.5)
    call.on(ev.ReplyFailed(0, "tts", "tts.server", False))
    call.hear(0.6)
    assert call.said[1].startswith("assistant: One two")
    assert "ten" not in call.said[1]


@pytest.mark.parametrize(("whole", "kept"), [(True, "One two.\nThree four."), (False, "One two.")])
def test_a_voice_that_fails_leaves_a_beginning_of_the_text(
    call: Call, whole: bool, kept: str
) -> None:
    """Also if a piece made no sound, or a later one came before an earlier was whole."""
    call.turn("hello")
    call.write(0, "One two.\nThree four.\nFive six.\n")
    assert len(call.of(cmd.Speak)) == 3
    call.on(ev.SpeechMade(0, 0, 1.0, (), True))
    call.on(ev.SpeechMade(0, 1, 0.0, (), whole))
    call.on(ev.SpeechMade(0, 2, 0.3))
    call.on(ev.ReplyFailed(0, "tts", "tts.server", False))
    call.hear(1.3)
    heard = call.of(cmd.ReplyEnded)[0].heard
    assert "One two.\nThree four.\nFive six.\n".startswith(heard)
    assert heard.strip().startswith(kept)


def test_the_policy_in_force_can_be_read(call: Call) -> None:
    assert call.machine.policy == Policy()


def test_the_next_turn_has_an_id_before_it_begins(call: Call) -> None:
    """Words that came before StartOfTurn have a turn already; keys have one of their own."""
    caller = call.machine.caller
    assert caller.next_turn == 0
    call.update("hello")
    assert caller.next_turn == 0
    call.start("hello")
    assert caller.next_turn == 1
    call.on(ev.KeyPressed("#"))
    assert caller.next_turn == 2
    call.end("hello")
    assert [command.turn for command in call.of(cmd.TurnCommitted)] == [1, 0]
