"""A model or a voice that stalls without an error of its own: rule T7, `Limits.stalled_reply`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import Limits, Policy
from agentkit.errors import ConfigError
from agentkit.observe.record import from_json, to_json
from tests.core.conftest import kinds

Call = Any
Make = Callable[[Policy], Any]
ALONE = Policy(hedge=False, limits=Limits(first_text=100.0))
STORY = "Once upon a time there was a story that was long."


def asked(call: Call, words: str = "hello") -> int:
    """A turn has ended, and the model is asked for its answer; returns the reply's id."""
    call.start(words)
    call.end(words)
    reply: int = call.of(cmd.StartReply)[-1].reply
    call.on(ev.ModelAsked(reply, 100))
    return reply


def failures(call: Call) -> list[str]:
    return [command.code for command in call.of(cmd.ErrorRaised)]


# ------------------------------------------------------------------------------------ the model


def test_T7_a_model_that_writes_nothing_is_asked_once_more_then_apologised_for(
    call_with: Make,
) -> None:
    call = call_with(ALONE)
    asked(call)
    assert kinds(call.wait(9.9)) == ["TurnSettled"]
    out = call.wait(0.2)
    again = call.of(cmd.StartReply)[-1]
    assert (again.kind, again.turn, again.attempt) == ("answer", 0, 2)
    assert cmd.Discard(0, "failed") in out, "its stream is closed on the wire"
    call.on(ev.ModelAsked(again.reply, 100))
    assert not call.wait(9.8)
    call.wait(0.2)
    assert failures(call) == ["llm.timeout"]
    assert call.of(cmd.StartReply)[-1].kind == "apology"
    call.answer("I am sorry.", 1.0)
    call.hear(1.1)
    assert call.outcomes == {0: "heard"}
    assert call.said == ["user: hello", "assistant: I am sorry."]


def test_T7_both_attempts_at_a_first_token_may_stall(call: Call) -> None:
    """The second one began 2 s later, and has as long."""
    asked(call)
    call.wait(2.1)
    twin = call.of(cmd.StartReply)[-1].reply
    call.on(ev.ModelAsked(twin, 100))
    call.wait(8.0)
    assert cmd.Discard(0, "superseded") in call.of(cmd.Discard)
    assert not failures(call)
    call.wait(2.0)
    assert failures(call) == ["llm.timeout"]
    assert call.of(cmd.StartReply)[-1].kind == "apology"


def test_T7_a_model_that_stalls_after_its_first_words(call_with: Make) -> None:
    call = call_with(ALONE)
    reply = asked(call)
    call.write(reply, STORY + " And", done=False)
    call.voice(reply, 2.0)
    call.hear(2.0)
    call.wait(9.9)
    assert not failures(call)
    call.wait(0.2)
    assert failures(call) == ["llm.timeout"]
    assert call.of(cmd.ReplyEnded)[0].heard == STORY, "what was said stands"
    assert call.of(cmd.StartReply)[-1].kind == "apology"


def test_T7_what_is_still_to_be_heard_is_no_stall(call_with: Make) -> None:
    call = call_with(ALONE)
    reply = asked(call)
    call.write(reply, STORY, done=False)
    call.voice(reply, 30.0)
    call.hear(30.0)
    call.wait(9.0)
    assert not failures(call)
    call.write(reply, " The end.")
    call.voice(reply, 1.0)
    call.hear(1.1)
    assert call.outcomes == {0: "heard"}
    assert not failures(call)


def test_T7_a_model_that_goes_on_is_slow_not_stalled(call_with: Make) -> None:
    """Words of which none makes a clause yet; or code of the agent's own keeps them back."""
    call = call_with(ALONE)
    reply = asked(call)
    call.wait(8.0)
    call.on(ev.ReplyText(reply, "Well"))
    call.wait(8.0)
    call.on(ev.ModelAnswered(reply, end=False))
    call.wait(9.9)
    assert len(call.of(cmd.StartReply)) == 1
    call.wait(0.2)
    assert len(call.of(cmd.StartReply)) == 2, "nothing was heard: it is begun again"


def test_T7_code_of_the_agents_own_takes_what_it_takes(call_with: Make) -> None:
    """It waits for something else than the model: before it asks, or when it has its answer."""
    call = call_with(ALONE)
    call.start("hello")
    call.end("hello")
    call.wait(300.0)
    call.on(ev.ModelAsked(0, 100))
    call.on(ev.ModelAnswered(0))
    call.on(ev.ModelAnswered(0))
    call.wait(300.0)
    call.answer("Here I am.", 1.0)
    call.hear(1.1)
    assert call.outcomes == {0: "heard"}
    assert len(call.of(cmd.StartReply)) == 1


def test_T7_of_two_questions_to_the_model_the_open_one_counts(call_with: Make) -> None:
    call = call_with(ALONE)
    reply = asked(call)
    call.on(ev.ModelAsked(reply, 100))
    call.on(ev.ModelAnswered(reply))
    call.wait(10.1)
    assert cmd.Discard(reply, "failed") in call.of(cmd.Discard)


def test_T7_a_draft_that_stalls_is_given_up_after_its_commit(call_with: Make) -> None:
    """Nobody waits for a draft; who waits for the reply waits from the end of the turn on."""
    call = call_with(ALONE)
    call.start("hello")
    call.eager("hello")
    call.on(ev.ModelAsked(0, 100))
    call.write(0, "Well", done=False)
    call.wait(60.0)
    assert not call.of(cmd.Discard)
    call.end("hello")
    assert call.of(cmd.Commit)
    call.wait(9.9)
    assert not call.of(cmd.Discard)
    call.wait(0.2)
    assert call.of(cmd.Discard) == [cmd.Discard(0, "failed")]
    assert call.of(cmd.StartReply)[-1].attempt == 2


def test_T7_words_that_the_model_speaks_unasked_may_stall_too(call_with: Make) -> None:
    call = call_with(ALONE)
    call.on(ev.ReplyRequested(7, "Greet them."))
    call.on(ev.ModelAsked(0, 100))
    call.wait(10.1)
    again = call.of(cmd.StartReply)[-1]
    assert (again.kind, again.request, again.attempt) == ("asked", 7, 2)


# ------------------------------------------------------------------------------------ the voice


def test_T7_a_voice_that_makes_nothing_is_asked_once_more_then_apologised_for(
    call: Call,
) -> None:
    reply = asked(call)
    call.write(reply, STORY)
    call.wait(9.9)
    assert not call.of(cmd.Discard)
    call.wait(0.2)
    assert call.of(cmd.Discard) == [cmd.Discard(reply, "failed")]
    call.write(call.of(cmd.StartReply)[-1].reply, STORY)
    call.wait(10.1)
    assert failures(call) == ["tts.timeout"]
    assert call.of(cmd.StartReply)[-1].kind == "apology"


def test_T7_a_voice_that_stalls_in_a_word(call: Call) -> None:
    reply = asked(call)
    call.write(reply, STORY)
    call.on(ev.SpeechMade(reply, 0, 1.0))
    call.hear(1.0)
    call.wait(10.1)
    assert failures(call) == ["tts.timeout"]
    heard = call.of(cmd.ReplyEnded)[0].heard
    assert heard
    assert STORY.startswith(heard)
    assert heard != STORY


def test_T7_a_piece_without_sound_is_progress(call: Call) -> None:
    """An empty stretch of audio is none."""
    reply = asked(call)
    call.write(reply, "Well, " + STORY + " " + STORY)
    call.wait(6.0)
    call.on(ev.SpeechMade(reply, 0, 0.0))
    call.wait(3.0)
    call.on(ev.SpeechMade(reply, 0, 0.0, (), True))
    call.wait(9.9)
    assert not call.of(cmd.Discard)
    call.wait(0.2)
    assert call.of(cmd.Discard)


def test_T7_a_greeting_and_words_of_the_agents_own_are_told_again(call: Call) -> None:
    call.on(ev.SayRequested(3, False))
    call.write(0, "Hello.")
    call.wait(10.1)
    again = call.of(cmd.StartReply)[-1]
    assert (again.kind, again.request, again.attempt) == ("say", 3, 2)
    call.answer("Hello.", 1.0)
    call.hear(1.1)
    assert call.of(cmd.ReplyEnded)[-1].heard == "Hello."
    assert not failures(call)


def test_T7_a_stalled_apology_ends_the_call(call: Call) -> None:
    reply = asked(call)
    call.on(ev.ReplyFailed(reply, "llm", "llm.auth", False))
    call.write(call.of(cmd.StartReply)[-1].reply, "I am sorry.")
    call.wait(10.1)
    assert call.of(cmd.HangUp) == [cmd.HangUp("failed")]


def test_T20_a_stalled_filler_leaves_its_place(call_with: Make) -> None:
    call = call_with(Policy(hedge=False, filler="One moment."))
    reply = asked(call)
    call.wait(1.3)
    filler = call.of(cmd.StartReply)[-1]
    assert filler.kind == "filler"
    call.write(filler.reply, filler.text)
    call.wait(8.6)
    assert not call.of(cmd.Discard)
    call.wait(1.4)
    assert call.of(cmd.Discard) == [
        cmd.Discard(filler.reply, "failed"),
        cmd.Discard(reply, "failed"),
    ], "the caller has heard nothing for so long"


def test_T20_a_filler_that_is_heard_is_time_for_the_model(call_with: Make) -> None:
    call = call_with(Policy(hedge=False, filler="One moment."))
    reply = asked(call)
    call.wait(1.3)
    filler = call.of(cmd.StartReply)[-1]
    call.answer(filler.text, 2.0)
    call.hear(2.1)
    call.wait(9.8)
    assert not call.of(cmd.Discard)
    call.wait(0.2)
    assert call.of(cmd.Discard) == [cmd.Discard(reply, "failed")]


# ------------------------------------------------------------------------- what is no such wait


def test_T19_a_tool_has_a_timeout_of_its_own(call_with: Make) -> None:
    call = call_with(ALONE)
    reply = asked(call)
    call.on(ev.ModelAnswered(reply))
    call.on(ev.ToolRequested(reply, (ToolCall("a", "book", "{}"),), frozenset({"a"})))
    call.wait(60.0)
    assert not failures(call)
    call.on(ev.ToolReturned(reply, "a", "done"))
    call.on(ev.ModelAsked(reply, 120))
    call.wait(9.9)
    assert not failures(call)
    call.wait(0.2)
    assert failures(call) == ["llm.timeout"]
    assert call.of(cmd.StartReply)[-1].kind == "apology", "its effect is not made twice"


def test_T17_held_playout_is_no_stall(call: Call) -> None:
    """While the caller speaks nobody waits for the agent; then it has the whole time again."""
    reply = asked(call)
    call.write(reply, STORY, done=False)
    call.voice(reply, 1.0)
    call.hear(1.0)
    call.wait(9.0)
    call.start()
    assert cmd.CancelTimer("stalled_reply") in call.log[-1][2]
    call.wait(0.9)
    call.end("mm-hm")
    call.wait(9.9)
    assert not failures(call)
    call.wait(0.2)
    assert failures(call) == ["llm.timeout"]


def test_T7_what_waits_behind_has_its_time_when_it_has_the_floor(call: Call) -> None:
    call.say("A long story.", seconds=30.0)
    call.on(ev.ReplyRequested(7, "Go on."))
    call.on(ev.ModelAsked(1, 100))
    call.hear(30.0)
    call.wait(9.9)
    assert len(call.of(cmd.StartReply)) == 2
    call.wait(0.2)
    assert call.of(cmd.StartReply)[-1].attempt == 2


def test_T7_silence_counts_on_when_another_takes_the_place_of_what_was_silent(call: Call) -> None:
    """The caller has waited for the first and waits for the second: both are stalled."""
    call.on(ev.SayRequested(0))
    call.on(ev.SayRequested(1))
    call.write(0, "One.")
    call.write(1, "Two.")
    call.wait(6.0)
    call.on(ev.SayCancelled(0))
    call.wait(4.1)
    assert call.of(cmd.StartReply)[-1].request == 1
    assert call.of(cmd.StartReply)[-1].attempt == 2


def test_T7_nothing_is_given_up_without_a_limit(call_with: Make) -> None:
    call = call_with(Policy(hedge=False, limits=Limits(stalled_reply=0)))
    reply = asked(call)
    call.wait(600.0)
    call.answer("Here I am.", 1.0)
    call.hear(1.1)
    assert call.of(cmd.ReplyEnded)[0].reply == reply


def test_T7_a_limit_that_another_agent_does_not_have_holds_no_longer(call: Call) -> None:
    asked(call)
    call.write(0, STORY, done=False)
    call.wait(5.0)
    out = call.on(ev.PolicyChanged(Policy(limits=Limits(stalled_reply=0))))
    assert out == [cmd.CancelTimer("stalled_reply")]
    call.wait(600.0)
    assert not call.of(cmd.Discard)


def test_T7_the_limit_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"limits\.stalled_reply"):
        Limits(stalled_reply=-1)


def test_T22_a_record_from_before_the_limit_replays_without_it() -> None:
    told = to_json(Policy())
    assert from_json(told, Policy).limits.stalled_reply == 10.0
    del told["limits"]["stalled_reply"]
    before = from_json(told, Policy)
    assert before.limits.stalled_reply == 0
    machine = TurnMachine(before)
    machine.handle(ev.SayRequested(0), 0.0)
    machine.handle(ev.ReplyText(0, "Hello."), 0.0)
    assert kinds(machine.handle(ev.ReplyDone(0), 0.0)) == ["Speak", "EndSpeech"], "and no timer"
