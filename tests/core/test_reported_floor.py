"""What users of other frameworks have reported about the floor, what was heard, and silence.

Each test names the report: a repository's issue or pull request. LK is livekit/agents, JS
livekit/agents-js, P pipecat-ai/pipecat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import AssistantMessage, ToolCall, ToolMessage
from agentkit.core.policy import Interruption, Limits, Policy, Silence

Call = Any
Make = Callable[[Policy], Any]
LONG = "We are open from nine to five on weekdays and from ten to two on Saturdays."
LOOK = ToolCall("c1", "hours", "{}")


def talking(call: Call, *, heard: float = 2.0) -> Call:
    """The agent is saying a sentence of 5 s, and so much of it was heard."""
    call.turn("when are you open")
    call.wait(0.7)
    call.answer(LONG, 5.0)
    call.hear(heard)
    return call


# ---------------------------------------------------------------------------------- who has it


def test_livekit4270_sounds_of_several_turns_do_not_add_up(call: Call) -> None:
    """Also JS#1983: words of dropped utterances were counted towards the next interruption."""
    talking(call, heard=1.0)
    for words in ("yeah", "okay", "mm-hm", "I see", "right"):
        call.start(words)
        call.end(words)
        call.hear(0.5)
    assert not call.outcomes
    assert [c.text for c in call.of(cmd.BackchannelHeard)] == [
        "yeah",
        "okay",
        "mm-hm",
        "I see",
        "right",
    ]
    call.start("yeah but")
    assert call.outcomes == {0: "heard"}, "an interruption"


def test_LK3515_a_word_that_takes_the_floor_needs_no_length(call: Call) -> None:
    """Also LK#2197, P#3191, P#2988: least words and least seconds stood in each other's way."""
    talking(call)
    call.start("No.")
    assert call.outcomes == {0: "heard"}


def test_LK3515_a_long_sound_without_words_takes_no_floor(call: Call) -> None:
    """P#1391: short noises interrupted; here no noise does, however long it is."""
    talking(call)
    call.start()
    call.wait(10)
    assert not call.outcomes
    assert call.of(cmd.Play)[-1].offset > 0


def test_LK6548_a_reply_can_be_interrupted_after_its_tool_as_before(call: Call) -> None:
    call.turn("are you open")
    call.wait(0.7)
    call.write(0, "Let me see. ", done=False)
    call.on(ev.ToolRequested(0, (LOOK,), frozenset()))
    call.voice(0, 1.0)
    call.hear(1.0)
    call.on(ev.ToolReturned(0, "c1", "nine to five"))
    call.write(0, LONG)
    call.voice(0, 5.0)
    call.hear(2.0)
    assert cmd.ClearPlayout(call.epoch + 1) in call.start("no on Sunday")
    assert call.outcomes == {0: "heard"}


def test_LK6033_any_language_can_have_sounds_of_its_own(call_with: Make) -> None:
    sounds = {"hi": frozenset({"हाँ", "अच्छा", "ठीक है"})}
    policy = Policy(language="hi", interruption=Interruption(backchannels=sounds))
    call = talking(call_with(policy))
    call.start("हाँ, ठीक है।".rstrip("।"))
    call.end("हाँ, ठीक है")
    assert call.of(cmd.BackchannelHeard) == [cmd.BackchannelHeard(1, "हाँ, ठीक है")]
    call.hear(0.5)
    call.start("नहीं")
    assert call.outcomes == {0: "heard"}


def test_a_draft_is_begun_while_what_it_interrupts_is_still_held(call: Call) -> None:
    """LK begins none while any speech of the agent is current, even held: 200 ms later."""
    talking(call)
    call.start()
    call.eager("and on Sundays")
    assert call.of(cmd.StartReply)[-1].draft
    call.end("and on Sundays")
    assert call.of(cmd.Commit)[-1].reply == 1


def test_P4308_words_that_were_none_leave_the_next_turn_alone(call: Call) -> None:
    """The reply is cut off by words that the source then takes back: the call goes on."""
    talking(call)
    call.start("stop")
    call.resume("")
    call.end("")
    call.turn("and on Sundays")
    call.answer("On Sundays we are closed.", 1.0)
    call.hear(1.0)
    assert call.outcomes == {0: "heard", 2: "heard"}


# ----------------------------------------------------------------------------- what was heard


def test_P2922_what_was_heard_stands_before_the_words_that_cut_it(call: Call) -> None:
    talking(call)
    call.start("no")
    call.update("no wait")
    call.end("no wait")
    assert [line.split()[0] for line in call.said] == ["user:", "assistant:", "user:"]
    assert call.said[-1] == "user: no wait"


def test_LK2094_a_reply_held_and_cut_is_remembered_once_and_as_far_as_heard(call: Call) -> None:
    """Also LK#2201, LK#1994, P#5426, P#2791: it was there twice, or whole, or not at all."""
    talking(call, heard=1.5)
    for _ in range(2):
        call.start()
        call.wait(1.1)
        call.hear(0.8)
    call.start("stop please")
    (heard,) = [m.text for m in call.machine.messages() if isinstance(m, AssistantMessage)]
    assert LONG.startswith(heard)
    assert 20 < len(heard) < len(LONG)


def test_P4996_what_was_heard_before_a_filler_survives_an_interruption(call_with: Make) -> None:
    """What the caller had heard was lost when the interruption came, and was said again."""
    call = call_with(Policy(limits=Limits(filler_after=1.0)))
    call.turn("are you open")
    call.wait(0.7)
    call.write(0, "Let me see. ", done=False)
    call.on(ev.ToolRequested(0, (LOOK,), frozenset(), filler="One moment."))
    call.voice(0, 1.0)
    call.hear(1.0)
    call.wait(1.1)
    call.answer("One moment.", 2.0)
    call.hear(1.0)
    assert call.said[1:] == ["assistant: Let me see.", "tool: still running", "assistant: One"]
    call.start("never mind")
    call.end("never mind")
    assert call.said == [
        "user: are you open",
        "assistant: Let me see. (interrupted)",
        "tool: still running",
        "assistant: One (interrupted)",
        "user: never mind",
    ]
    assert call.outcomes == {0: "heard"}
    ended = {c.reply: c.heard for c in call.of(cmd.ReplyEnded)}
    assert ended == {0: "Let me see.", 1: "One"}


def test_P1663_the_field_stands_where_the_reply_was_cut(call: Call) -> None:
    """Cut in the words before a tool: it is these that were interrupted."""
    call.turn("order it")
    call.write(0, "One moment while I order that for you, please. ", done=False)
    call.voice(0, 3.0)
    call.hear(0.9)
    call.on(ev.ToolRequested(0, (LOOK,), frozenset()))
    call.start("wait a moment")
    cut, result = call.machine.messages()[1:]
    assert cut == AssistantMessage("One moment", 0, True, (LOOK,))
    assert result == ToolMessage("c1", "hours", "still running")


def test_P1663_a_reply_cut_before_its_first_word_was_cut_at_its_tool(call: Call) -> None:
    call.turn("order it")
    call.wait(0.7)
    call.on(ev.ToolRequested(0, (LOOK,), frozenset()))
    call.on(ev.InterruptRequested())
    assert call.machine.messages()[1] == AssistantMessage("", 0, True, (LOOK,))


def test_speech_that_made_no_sound_was_not_heard(call: Call) -> None:
    """The voice gave nothing for a piece that waits for its turn; the call ends."""
    call.say(LONG, seconds=5.0)
    call.say("One more thing.", seconds=0.0)
    call.hear(1.0)
    call.on(ev.CallEnded("hangup"))
    assert [c.heard for c in call.of(cmd.ReplyEnded)][1] == ""
    assert len(call.said) == 1


# ------------------------------------------------------------------------------ never silence


@pytest.mark.parametrize(
    "happens",
    [
        lambda call: (call.start(), call.end("")),
        lambda call: (call.start("uh"), call.resume(""), call.end("")),
        lambda call: (call.turn("hello"), call.on(ev.ReplyDone(call.of(cmd.StartReply)[-1].reply))),
        lambda call: (call.turn("hello"), call.on(ev.InterruptRequested())),
        lambda call: (call.start(), call.lose(), call.wait(5.1)),
        lambda call: (call.say("Hello", seconds=5.0), call.hear(1.0), call.start("no"),
                      call.resume(""), call.end("")),
    ],
    ids=["noise", "words that were none", "no reply", "interrupted by the agent itself",
         "a lost connection", "cut off by words that were none"],
)  # fmt: skip
def test_P5145_there_is_always_a_timer_that_asks(
    call_with: Make, happens: Callable[[Call], object]
) -> None:
    """Also P#5240, P#4308, P#4911: after a turn without an answer nothing was ever said again."""
    call = call_with(Policy(silence=Silence(after=8.0, lines=("Hello?",))))
    call.say("Good morning", seconds=1.0)
    call.hear(1.0)
    happens(call)
    asked = len(call.of(cmd.SilenceNoticed))
    call.wait(8.1)
    assert len(call.of(cmd.SilenceNoticed)) == asked + 1
    assert call.of(cmd.StartReply)[-1].text == "Hello?"


def test_P2941_a_reply_of_many_sentences_needs_nobody_to_go_on(call: Call) -> None:
    """It stopped after its first sentence until the caller spoke."""
    call.turn("tell me all")
    call.wait(0.7)
    call.write(0, "One is this. Two is that. Three is another one. Four is the last of them.")
    call.voice(0, 1.0)
    pieces = len(call.of(cmd.Speak))
    assert pieces > 1
    call.hear(float(pieces))
    assert call.outcomes == {0: "heard"}
    assert len(call.of(cmd.Play)) == 1


def test_P2704_silence_after_the_last_word_does_not_keep_the_callers_answer_out(
    call: Call,
) -> None:
    """The voice adds 0.8 s of silence; the caller answers in it."""
    call.say("It is booked for Monday at ten in the morning.", seconds=3.0)
    call.hear(2.3)
    call.on(ev.SoundSent(0, True))
    call.start("Okay.")
    call.end("Okay.")
    assert call.of(cmd.TurnCommitted) == [cmd.TurnCommitted(0, "Okay.")]


# ---------------------------------------------------------------------------------- the times


def test_LK6093_each_turn_has_its_own_times(call: Call) -> None:
    """Also LK#6726, LK#5669: delays of minutes, measured from an edge of an earlier turn."""
    call.start("hello")
    call.eager("hello", speech_end=call.now - 0.3)
    call.end("hello", speech_end=call.now - 0.3)
    call.answer("Good morning.", 1.0)
    call.hear(1.0)
    call.wait(240)
    began = call.now
    call.start("are you open")
    call.end("are you open")
    call.answer("We are.", 1.0)
    call.on(ev.SoundSent(1, False))
    call.hear(1.0)
    first, second = (c.times for c in call.of(cmd.TurnClosed))
    assert first.speech_end == pytest.approx(first.ended - 0.3)
    assert second.speech_end is None, "the source gave none for this turn"
    assert second.maybe_ended is None
    assert second.draft_started is None
    known = (second.ended, second.first_text, second.first_sound_sent, second.first_heard)
    assert all(began <= at <= call.now for at in known)
