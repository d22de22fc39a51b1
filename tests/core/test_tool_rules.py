"""Tools by effect, and the fillers said meanwhile: rules T6, T19 and T20."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall
from agentkit.core.policy import Limits, Policy

Call = Any
Make = Callable[[Policy], Any]
READ = ToolCall("read", "hours", "{}")
BOOK = ToolCall("book", "book", "{}")
SEND = ToolCall("send", "send", "{}")


def ask(
    call: Call, reply: int, *calls: ToolCall, at_once: Iterable[str] = (), filler: str = ""
) -> list[cmd.Command]:
    effects = frozenset(one.id for one in calls if one is not READ)
    event = ev.ToolRequested(reply, calls, effects, frozenset(at_once), filler)
    found: list[cmd.Command] = call.on(event)
    return found


def runs(call: Call) -> list[str]:
    return [command.call.id for command in call.of(cmd.RunTool)]


def drafted(call: Call, text: str = "book me Friday") -> None:
    call.start(text)
    call.eager(text)


# ------------------------------------------------------------------------------ T6: tools by effect


def test_T6_a_tool_that_only_reads_runs_in_a_draft_and_is_reused_at_the_commit(call: Call) -> None:
    drafted(call)
    assert cmd.RunTool(0, READ) in ask(call, 0, READ)
    call.on(ev.ToolReturned(0, "read", "nine to five"))
    assert call.said == [], "nothing of a draft is remembered"
    call.write(0, "We are open from nine to five.")
    call.voice(0)
    call.end("book me Friday")
    assert len(call.of(cmd.StartReply)) == 1, "the model is not asked again"
    assert runs(call) == ["read"]
    call.hear(1.0)
    assert call.said == [
        "user: book me Friday",
        "assistant: ",
        "tool: nine to five",
        "assistant: We are open from nine to five.",
    ]


def test_T6_a_result_that_comes_after_the_commit_is_paired(call: Call) -> None:
    drafted(call)
    ask(call, 0, READ)
    call.end("book me Friday")
    assert call.said[-1] == "tool: still running"
    call.on(ev.ToolReturned(0, "read", "nine to five"))
    assert call.said[-1] == "tool: nine to five"


def test_T6_what_a_discarded_drafts_tool_found_is_dropped(call: Call) -> None:
    drafted(call)
    ask(call, 0, READ)
    call.resume("book me")
    assert call.on(ev.ToolReturned(0, "read", "nine to five")) == []
    call.end("book me a taxi")
    assert call.said == ["user: book me a taxi"]


def test_T6_an_effect_asked_for_in_a_draft_runs_once_when_the_turn_has_settled(call: Call) -> None:
    """Never before, never twice, and the model is not asked again."""
    drafted(call)
    call.write(0, "One moment, I will put that down.", done=False)
    ask(call, 0, BOOK)
    call.end("book me Friday")
    call.wait(0.59)
    assert runs(call) == []
    assert cmd.RunTool(0, BOOK) in call.wait(0.02)
    call.wait(5)
    assert runs(call) == ["book"]
    assert len(call.of(cmd.StartReply)) == 1


def test_T6_effects_of_one_reply_run_in_order_one_after_another(call: Call) -> None:
    drafted(call)
    ask(call, 0, SEND, READ, BOOK)
    assert runs(call) == ["read"], "what only reads waits for nobody"
    call.end("book me Friday")
    call.wait(0.7)
    assert runs(call) == ["read", "send"]
    call.on(ev.ToolReturned(0, "send", "sent"))
    assert runs(call) == ["read", "send", "book"]


def test_T6_an_effect_that_waives_the_wait_runs_at_the_commit_never_in_the_draft(
    call: Call,
) -> None:
    drafted(call)
    ask(call, 0, BOOK, at_once=["book"])
    assert runs(call) == []
    call.end("book me Friday")
    assert runs(call) == ["book"]


def test_T6_one_that_waives_the_wait_does_not_overtake_one_that_waits(call: Call) -> None:
    drafted(call)
    ask(call, 0, BOOK, SEND, at_once=["send"])
    call.end("book me Friday")
    assert runs(call) == []
    call.wait(0.7)
    assert runs(call) == ["book"]


def test_T6_an_effect_that_has_not_begun_when_its_reply_is_cut_never_runs(call: Call) -> None:
    drafted(call)
    call.write(0, "I will book that and send you a message.", done=False)
    ask(call, 0, BOOK, SEND)
    call.end("book me Friday")
    call.voice(0)
    call.wait(0.7)
    call.hear(0.5)
    call.start("no wait")
    call.on(ev.ToolReturned(0, "book", "booked"))
    call.end("no wait")
    call.wait(5)
    assert runs(call) == ["book"]


def test_T6_a_reply_begun_again_forgets_what_its_first_attempt_looked_up(call: Call) -> None:
    drafted(call)
    ask(call, 0, READ)
    call.on(ev.ToolReturned(0, "read", "nine to five"))
    call.end("book me Friday")
    call.on(ev.ReplyFailed(0, "llm", "llm.server", True))
    assert call.said == ["user: book me Friday"]
    assert call.of(cmd.StartReply)[-1].attempt == 2


def test_T6_a_call_that_is_asked_for_twice_runs_once(call: Call) -> None:
    drafted(call)
    ask(call, 0, READ)
    ask(call, 0, READ)
    assert runs(call) == ["read"]


def test_T19_each_result_of_a_reply_that_was_cut_is_recorded(call: Call) -> None:
    call.turn("hours and parking")
    parking = ToolCall("park", "parking", "{}")
    call.on(ev.ToolRequested(0, (READ, parking), frozenset()))
    call.on(ev.InterruptRequested())
    for one, result in ((parking, "behind the house"), (READ, "nine to five")):
        assert call.on(ev.ToolReturned(0, one.id, result)) == []
    assert call.said[2:] == ["tool: nine to five", "tool: behind the house"]


STEPS: dict[str, Callable[[Call], object]] = {
    "resume": lambda call: call.resume("book me"),
    "again": lambda call: call.eager("book me Friday"),
    "end": lambda call: call.end("book me Friday"),
    "settle": lambda call: call.wait(0.7),
    "heard": lambda call: (call.voice(0), call.hear(0.4)),
    "more": lambda call: (call.start("wait no"), call.end("wait no")),
    "read back": lambda call: call.on(ev.ToolReturned(0, "read", "nine")),
    "book back": lambda call: call.on(ev.ToolReturned(0, "book", "booked")),
    "hang up": lambda call: call.on(ev.CallEnded("hangup")),
}


@pytest.mark.parametrize("first", STEPS)
def test_T6_every_interleaving_runs_an_effect_once_or_never(first: str, call_with: Make) -> None:
    """All orders of what can happen after a draft has asked for tools, five steps deep."""
    for order in itertools.permutations(STEPS, 5):
        if order[0] != first:
            continue
        call = call_with(Policy())
        drafted(call)
        call.write(0, "One moment please. ", done=False)
        ask(call, 0, READ, BOOK)
        for step in order:
            STEPS[step](call)
        call.wait(3)
        booked = [c for c in call.of(cmd.RunTool) if c.call.id == "book" and c.reply == 0]
        settled = {c.turn for c in call.of(cmd.TurnSettled)}
        assert len(booked) <= 1, order
        discarded = [c.reason for c in call.of(cmd.Discard) if c.reply == 0]
        if booked:
            assert 0 in settled, order
            ran = next(n for n, (_, _, done) in enumerate(call.log) if booked[0] in done)
            gone = [
                n
                for n, (_, _, done) in enumerate(call.log)
                if any(isinstance(c, cmd.Discard) and c.reply == 0 for c in done)
            ]
            assert not gone or gone[0] > ran, (order, "ran after its reply was given up")
        elif 0 in settled and not discarded and "hang up" not in order:
            pytest.fail(f"{order}: settled, kept, and never run")


# ---------------------------------------------------------------------------------- T20: fillers


def waiting(make: Make, *, filler: str = "", tool_filler: str = "Let me look that up.") -> Call:
    call = make(Policy(filler=filler, limits=Limits(filler_after=1.0)))
    call.turn("when are you open")
    call.wait(0.7)
    ask(call, 0, READ, filler=tool_filler)
    return call


def test_T20_a_slow_tool_is_bridged_by_a_filler_heard_before_the_answer(call_with: Make) -> None:
    call = waiting(call_with)
    call.wait(0.9)
    assert len(call.of(cmd.StartReply)) == 1
    call.wait(0.2)
    filler = call.of(cmd.StartReply)[-1]
    assert (filler.kind, filler.text) == ("filler", "Let me look that up.")
    call.answer(filler.text, 1.0)
    call.hear(0.5)
    call.on(ev.ToolReturned(0, "read", "nine to five"))
    call.write(0, "From nine to five.")
    call.voice(0)
    assert [play.reply for play in call.of(cmd.Play)] == [0, 1], "the answer waits for its end"
    call.hear(0.6)
    call.hear(1.0)
    assert [play.reply for play in call.of(cmd.Play)] == [0, 1, 0]
    assert call.said == [
        "user: when are you open",
        "assistant: ",
        "tool: nine to five",
        "assistant: Let me look that up.",
        "assistant: From nine to five.",
    ]
    assert call.outcomes == {0: "heard"}


def test_T20_one_filler_for_one_wait(call_with: Make) -> None:
    call = waiting(call_with)
    call.wait(1.1)
    call.answer("Let me look that up.", 1.0)
    call.hear(1.1)
    call.wait(10)
    assert [c.kind for c in call.of(cmd.StartReply)].count("filler") == 1


def test_T20_no_filler_when_the_tool_is_quick_or_has_none(call_with: Make) -> None:
    call = waiting(call_with)
    call.wait(0.9)
    call.on(ev.ToolReturned(0, "read", "nine"))
    call.write(0, "Nine.")
    call.voice(0)
    call.hear(1.0)
    quiet = waiting(call_with, tool_filler="")
    quiet.wait(10)
    for one in (call, quiet):
        assert "filler" not in [c.kind for c in one.of(cmd.StartReply)]


def test_T20_a_filler_waits_for_silence_after_what_was_said_before_the_tool(
    call_with: Make,
) -> None:
    call = call_with(Policy(limits=Limits(filler_after=1.0)))
    call.turn("when are you open")
    call.wait(0.7)
    call.write(0, "Let me see. ", done=False)
    ask(call, 0, READ, filler="One moment.")
    call.voice(0, 2.0)
    call.hear(2.0)
    assert "filler" not in [c.kind for c in call.of(cmd.StartReply)]
    call.wait(1.1)
    assert [c.kind for c in call.of(cmd.StartReply)][-1] == "filler"


def test_T20_the_answer_skips_a_filler_that_nobody_heard_yet(call_with: Make) -> None:
    call = waiting(call_with)
    call.wait(1.1)
    call.on(ev.ToolReturned(0, "read", "nine"))
    call.write(0, "From nine.")
    call.voice(0)
    assert cmd.Discard(1, "late") in call.of(cmd.Discard)
    assert call.of(cmd.Play)[-1].reply == 0
    call.hear(1.0)
    assert call.said[-1] == "assistant: From nine."


def test_T20_a_slow_model_is_bridged_by_the_agents_own_filler(call_with: Make) -> None:
    call = call_with(Policy(filler="Hm, let me think.", hedge=False))
    call.turn("when are you open")
    call.wait(1.3)
    assert call.of(cmd.StartReply)[-1].text == "Hm, let me think."
    call.answer("Hm, let me think.", 1.0)
    call.hear(1.1)
    call.write(0, "From nine.")
    call.voice(0)
    call.hear(1.0)
    assert call.said[1:] == ["assistant: Hm, let me think.", "assistant: From nine."]


def test_T20_a_filler_that_is_interrupted_takes_its_reply_with_it(call_with: Make) -> None:
    call = waiting(call_with)
    call.wait(1.1)
    call.answer("Let me look that up.", 2.0)
    call.hear(0.8)
    call.start("never mind")
    call.end("never mind")
    assert call.said[-1] == "user: when are you open never mind"
    assert call.outcomes[0] == "merged"
    assert call.of(cmd.StartReply)[-1].kind == "answer"


def test_T20_a_filler_whose_voice_fails_is_dropped_in_silence(call_with: Make) -> None:
    call = waiting(call_with)
    call.wait(1.1)
    call.on(ev.ReplyFailed(1, "tts", "tts.server", True))
    assert not call.of(cmd.ErrorRaised)
    call.on(ev.ToolReturned(0, "read", "nine"))
    call.write(0, "From nine.")
    call.voice(0)
    call.hear(1.0)
    assert call.outcomes == {0: "heard"}


def test_T20_no_filler_while_the_caller_speaks(call_with: Make) -> None:
    call = waiting(call_with)
    call.wait(0.5)
    call.start()
    call.wait(0.9)
    assert "filler" not in [c.kind for c in call.of(cmd.StartReply)]
