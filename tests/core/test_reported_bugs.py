"""What users of other frameworks have reported about turns, drafts and tools: here it holds.

Each test names the report: a repository's issue or pull request. LK is livekit/agents, JS
livekit/agents-js, P pipecat-ai/pipecat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall
from agentkit.core.policy import Limits, Policy

Call = Any
Make = Callable[[Policy], Any]
LONG = "We are open from nine to five on weekdays and from ten to two on Saturdays."


def answers(call: Call) -> list[cmd.StartReply]:
    return [c for c in call.of(cmd.StartReply) if c.kind == "answer"]


def test_a_new_socket_may_begin_in_the_middle_of_a_turn(call: Call) -> None:
    """livekit/agents-js#1813: a stale flag swallowed the caller's words after a reconnect."""
    call.start("I would")
    call.lose()
    call.update("like a room")
    call.end("like a room")
    assert call.said == ["user: I would like a room"]


def test_an_end_right_after_a_pause_is_not_stale(call: Call) -> None:
    """vellum#40224."""
    call.start("well")
    call.eager("well")
    call.resume("well")
    call.now += 0.05
    call.end("well then")
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "well then")]


def test_a_caller_who_goes_on_again_and_again_is_answered_at_last(call: Call) -> None:
    """pipecat#3949: each start cancelled the model before any sound; the agent never answered."""
    words = []
    for number in range(8):
        words.append(f"part {number}")
        call.start(words[-1])
        call.end(words[-1])
        call.wait(0.3)
    call.answer("I have all of it.", 1.0)
    call.hear(1.0)
    assert call.said == ["user: " + " ".join(words), "assistant: I have all of it."]
    assert list(call.outcomes.values()) == ["merged"] * 7 + ["heard"]


def test_no_timeout_of_ours_fires_while_an_utterance_goes_on(call: Call) -> None:
    """pipecat#3454."""
    call.start("one")
    for count in range(60):
        call.wait(1.0)
        call.update("one " * (count + 2))
    assert not call.of(cmd.TurnCommitted)
    assert not call.of(cmd.Reconnect)


def test_a_late_transcript_of_the_turn_is_no_interruption(call: Call) -> None:
    """LK#4243, LK#6504: text after the end cancelled the reply, or became a turn of its own."""
    call.start("book a table")
    call.eager("book a table")
    call.answer("A table, gladly.", 2.0)
    call.end("book a table")
    call.index -= 1
    call.update("Book a table.")
    call.hear(2.0)
    assert call.outcomes == {0: "heard"}
    assert len(call.of(cmd.TurnCommitted)) == 1


def test_the_callers_words_are_told_once(call: Call) -> None:
    """cloudflare/agents#2083."""
    call.start("book a table")
    call.eager("book a table")
    assert [m.text for m in call.machine.prompt(0)] == ["book a table"]
    call.end("book a table")
    assert [m.text for m in call.machine.prompt(0)] == ["book a table"]


def test_an_empty_end_after_eager_leaves_no_draft_for_the_next_turn(call: Call) -> None:
    """bolna#718, #754, #843."""
    call.start("uh")
    call.eager("uh")
    call.resume("")
    call.end("")
    call.start("book a table")
    call.end("book a table")
    assert [(c.turn, c.draft) for c in answers(call)] == [(0, True), (1, False)]
    assert not call.of(cmd.Commit)


def test_LK4219_a_draft_whose_words_stand_costs_one_request(call: Call) -> None:
    """Also LK's and Pipecat's two requests for words that stayed the same after a resume."""
    call.start("book a table")
    call.eager("book a table")
    call.answer("A table, gladly.")
    call.resume("book a table")
    call.eager("book a table")
    call.end("Book a table.")
    assert len(answers(call)) == 1


def test_LK3333_what_changes_meanwhile_makes_one_new_reply_not_two(call: Call) -> None:
    call.start("book a table")
    call.eager("book a table")
    call.on(ev.Touched())
    call.end("book a table")
    assert len(answers(call)) == 2
    assert [c.reason for c in call.of(cmd.Discard)] == ["version"]


def test_LK4881_what_replies_are_not_made_from_leaves_the_draft_as_it_is(call: Call) -> None:
    call.say("One moment.", interruptible=False, seconds=3.0)
    call.hear(1.0)
    call.start("book a table")
    call.eager("book a table")
    for event in (ev.Muted(True), ev.Muted(False), ev.DigitsExpected(None), ev.SayRequested(7)):
        call.on(event)
    call.hear(2.0)
    call.end("book a table")
    assert len(answers(call)) == 1
    assert call.of(cmd.Commit)


@pytest.mark.parametrize(
    "happens",
    [
        lambda call: call.end("book a taxi"),
        lambda call: (call.on(ev.PolicyChanged(Policy())), call.end("book a table")),
        lambda call: call.on(ev.KeyPressed("1")),
        lambda call: call.on(ev.HangUpRequested("bye")),
        lambda call: (call.lose(), call.on(ev.SourceFailed("flux", "gone"))),
        lambda call: call.on(ev.CallEnded("hangup")),
    ],
    ids=["other words", "handed over", "keys", "hanging up", "nothing can be heard", "call ends"],
)
def test_LK6858_a_parked_draft_ends_whatever_happens(
    call: Call, happens: Callable[[Call], object]
) -> None:
    """A draft that nobody ended held up the hand-over for ever."""
    call.start("book a table")
    call.eager("book a table")
    call.answer("A table, gladly.")
    call.resume("book a table for")
    assert call.of(cmd.Park) == [cmd.Park(0)]
    call.update("book a taxi")
    happens(call)
    assert [c.reply for c in call.of(cmd.Discard)] == [0]


def test_JS1365_a_reply_beside_a_running_tool_is_told_that_it_runs(call: Call) -> None:
    """Also P#3661, P#4420: the model made a result up, or ran the tool again."""
    call.turn("order it")
    order = ToolCall("c1", "order", "{}")
    call.on(ev.ToolRequested(0, (order,), frozenset({"c1"})))
    call.wait(0.7)
    call.start("and a second thing")
    call.eager("and a second thing")
    assert len(answers(call)) == 1, "no draft while the effect is on its way"
    call.end("and a second thing")
    told = [message.text for message in call.machine.prompt(answers(call)[-1].reply)]
    assert told == ["order it", "", "still running", "and a second thing"]


@pytest.mark.parametrize("cut", ["resume", "interrupt", "take back"])
def test_LK3119_the_callers_message_is_there_once_after_every_cut(call: Call, cut: str) -> None:
    call.start("book a table")
    call.eager("book a table")
    if cut == "resume":
        call.resume("book a table")
    call.end("book a table")
    if cut == "interrupt":
        call.wait(0.7)
        call.answer(LONG, 5.0)
        call.hear(2.0)
    if cut != "resume":
        call.start("no")
        call.end("no")
    said = " ".join(line for line in call.said if line.startswith("user"))
    assert said.count("book a table") == 1


def test_JS1791_one_utterance_finalised_twice_is_one_turn(call: Call) -> None:
    call.start("hello")
    call.end("hello")
    call.index -= 1
    call.end("hello")
    assert len(call.of(cmd.TurnCommitted)) == 1
    assert len(answers(call)) == 1


def test_JS2430_a_held_reply_does_not_go_on_while_words_are_open(call: Call) -> None:
    call.turn("when are you open")
    call.wait(0.7)
    call.answer(LONG, 5.0)
    call.hear(2.0)
    call.start()
    call.eager("no I meant")
    plays = len(call.of(cmd.Play))
    call.wait(5.0)
    assert len(call.of(cmd.Play)) == plays


def test_LK5509_a_start_between_commit_and_first_sound_holds_the_reply(call: Call) -> None:
    call.turn("book a table")
    call.start("for two")
    call.write(0, "A table, gladly.")
    call.voice(0)
    assert call.outcomes == {0: "merged"}
    call.end("for two")
    assert call.said == ["user: book a table for two"]


def test_LK5038_a_reply_held_before_its_first_sound_is_not_lost(call: Call) -> None:
    call.turn("book a table")
    call.answer("A table, gladly.", 1.0)
    call.start()
    call.wait(1.1)
    call.hear(1.0)
    assert call.said[-1] == "assistant: A table, gladly."


def test_LK3702_a_result_that_comes_in_an_interruption_is_recorded(call: Call) -> None:
    """Also pipecat#4420: the order was placed twice, since nobody knew of the first."""
    call.turn("order it")
    call.write(0, "One moment while I order that for you, please. ", done=False)
    call.voice(0, 3.0)
    call.hear(0.9)
    order = ToolCall("c1", "order", "{}")
    call.on(ev.ToolRequested(0, (order,), frozenset({"c1"})))
    call.start("wait a moment")
    call.on(ev.ToolReturned(0, "c1", "ordered"))
    call.end("wait a moment")
    assert "tool: ordered" in call.said
    assert len(call.of(cmd.RunTool)) == 1


def test_P4997_a_tool_of_an_interrupted_reply_does_not_begin(call: Call) -> None:
    """The agent hung up on a caller who was speaking."""
    call.turn("goodbye")
    call.answer(LONG, 5.0)
    call.hear(2.0)
    call.start("no wait")
    call.on(ev.ToolRequested(0, (ToolCall("c1", "hang_up", "{}"),), frozenset({"c1"})))
    call.wait(5)
    assert not call.of(cmd.RunTool)


def test_P2703_the_answer_to_a_first_part_is_not_heard_after_the_second(call: Call) -> None:
    call.turn("book a table")
    call.start("for two")
    call.end("for two")
    call.on(ev.ReplyText(0, "For how many?"))
    call.on(ev.ReplyDone(0))
    assert [c.reply for c in call.of(cmd.Speak)] == []
    call.answer("For two, gladly.", 1.0)
    assert call.of(cmd.Play)[-1].reply == answers(call)[-1].reply


def test_P3986_audio_of_an_interrupted_reply_never_mixes_with_the_next(call: Call) -> None:
    call.turn("book a table")
    call.write(0, LONG)
    call.start("no a taxi")
    call.end("no a taxi")
    before = len(call.log)
    call.on(ev.SpeechMade(0, 0, 1.0, (), True))
    assert not any(commands for _, _, commands in call.log[before:])


def test_P3023_the_words_before_a_tool_stay_in_the_history(call: Call) -> None:
    call.turn("are you open")
    call.write(0, "Let me see. ", done=False)
    call.on(ev.ToolRequested(0, (ToolCall("c1", "hours", "{}"),), frozenset()))
    call.voice(0, 1.0)
    call.hear(1.0)
    call.on(ev.ToolReturned(0, "c1", "yes"))
    call.write(0, "Yes.")
    call.voice(0, 0.5)
    call.hear(0.5)
    assert call.said[1:] == ["assistant: Let me see.", "tool: yes", "assistant: Yes."]


def test_P4950_a_reset_in_the_middle_of_an_utterance_ends_no_turn(call: Call) -> None:
    call.start("I would like")
    call.on(ev.InterruptRequested())
    call.on(ev.Touched())
    assert not call.of(cmd.TurnCommitted)
    call.end("I would like a room")
    assert call.said == ["user: I would like a room"]


def test_P2145_hanging_up_twice_is_hanging_up_once_after_the_goodbye(call: Call) -> None:
    call.say("Goodbye.", seconds=1.0)
    call.on(ev.HangUpRequested("bye"))
    call.on(ev.HangUpRequested("bye again"))
    assert not call.of(cmd.HangUp)
    call.hear(1.0)
    assert call.of(cmd.HangUp) == [cmd.HangUp("bye")]


def test_P1663_an_interrupted_reply_says_so_in_a_field(call: Call) -> None:
    call.turn("when are you open")
    call.wait(0.7)
    call.answer(LONG, 5.0)
    call.hear(2.0)
    call.start("stop please")
    ended = call.of(cmd.ReplyEnded)[-1]
    assert ended.interrupted
    assert LONG.startswith(ended.heard)
    assert call.machine.messages()[-1].interrupted


def test_LK5862_hold_music_ends_in_a_turn_not_in_silence_for_ever(call_with: Make) -> None:
    call = call_with(Policy(limits=Limits(stalled_turn=20.0)))
    call.start("your call is")
    call.wait(21)
    assert call.of(cmd.Reconnect), "no progress: the connection is taken for lost"
    call.lose()
    call.wait(5.1)
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "your call is")]


def test_LK3382_each_reply_is_made_from_its_own_turns_words(call: Call) -> None:
    """Also LK#2642: each answer was the one to the utterance before."""
    for number in range(4):
        words = f"request {number}"
        call.start(words)
        call.eager(words)
        if number % 2:
            call.resume(words)
        call.end(words)
        reply = answers(call)[-1].reply
        assert call.machine.prompt(reply)[-1].text == words
        call.answer(f"Answer {number}.", 1.0)
        call.hear(1.0)
    assert call.said == [
        line for n in range(4) for line in (f"user: request {n}", f"assistant: Answer {n}.")
    ]


def test_P4098_words_that_come_after_the_machine_ended_their_turn_are_answered_at_once(
    call: Call,
) -> None:
    """A transcript after the timeout waited for another one."""
    call.start()
    call.lose()
    call.wait(5.1)
    assert not call.of(cmd.TurnCommitted)
    call.end("book a table")
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(1, "book a table")]


def test_a_connection_lost_after_eager_keeps_the_words_that_eager_had(call: Call) -> None:
    """Pipecat committed the shorter words of the Update before, and threw the answer away."""
    call.start("what is")
    call.update("what is the status of")
    call.eager("what is the status of my order")
    call.answer("It is on its way.")
    call.lose()
    call.wait(5.1)
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "what is the status of my order")]
    assert call.of(cmd.Commit) == [cmd.Commit(0)]


def test_words_that_came_twice_are_not_glued_to_the_next_turn(call: Call) -> None:
    """Pipecat put a second EndOfTurn's words before the next message."""
    call.turn("book a table")
    call.index -= 1
    call.end("book a table")
    call.answer("A table, gladly.", 1.0)
    call.hear(1.0)
    call.turn("for two")
    assert call.said[-1] == "user: for two"
    assert len(call.of(cmd.Commit)) == 2
