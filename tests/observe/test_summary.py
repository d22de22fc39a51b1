"""What `summarise` puts together from a call."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.observe import read_record
from agentkit.observe.summary import summarise


def test_a_call_in_numbers(call: tuple[Path, str]) -> None:
    found = summarise(read_record(call[0]).entries)
    assert found.reason == "caller hung up"
    assert [turn.text for turn in found.turns] == ["book a table for two", "no wait for three"]
    assert [speech.text for speech in found.speech] == [
        "book a table for two",
        "mm-hm",
        "no wait for three",
    ]
    assert [speech.backchannel for speech in found.speech] == [False, True, False]
    assert [speech.turn for speech in found.speech] == [0, None, found.turns[1].id]
    assert [edge for _, edge in found.speech[0].edges] == [
        "started",
        "maybe_ended",
        "resumed",
        "maybe_ended",
        "ended",
    ]
    assert found.speech[0].arrivals[-1][1] == 5


def test_T21_reaction_and_what_was_saved(call: tuple[Path, str]) -> None:
    found = summarise(read_record(call[0]).entries)
    first = found.turns[0]
    assert first.outcome == "heard"
    assert first.reaction == pytest.approx(0.0, abs=0.01)
    assert first.times is not None
    assert 0 < first.times.saved <= 0.5
    assert found.saved == pytest.approx(sum(t.times.saved for t in found.turns if t.times))


def test_the_fates_of_drafts(call: tuple[Path, str]) -> None:
    found = summarise(read_record(call[0]).entries)
    gone, kept = found.drafts
    assert (gone.fate, gone.reason, kept.fate) == ("discarded", "words", "committed")
    assert gone.parked is not None
    assert kept.ended - kept.began == pytest.approx(0.5)
    assert found.fates == {"discarded": 1, "committed": 1}


def test_a_hold_makes_two_spans_of_one_reply(call: tuple[Path, str]) -> None:
    found = summarise(read_record(call[0]).entries)
    greeting, answer, last = found.replies
    assert (greeting.kind, greeting.turn, greeting.heard) == ("say", None, "Good morning.")
    assert len(answer.spans) > 1
    assert answer.interrupted
    assert not last.interrupted
    ends = [end for _, end in answer.spans]
    begins = [begin for begin, _ in answer.spans]
    assert all(end <= begin for end, begin in zip(ends[:-1], begins[1:], strict=True))


def test_errors_oddities_and_tools_are_kept() -> None:
    found = summarise(
        [
            (5.0, ev.SourceOddity("late"), [cmd.Oddity("late"), cmd.Oddity("late")]),
            (7.0, ev.Touched(), [cmd.ErrorRaised(None, "llm", retryable=True)]),
        ]
    )
    assert found.oddities == {"late": 2}
    assert found.errors == [(2.0, "llm")]
    assert (found.duration, found.reason) == (2.0, None)


def test_an_empty_record() -> None:
    assert summarise([]).duration == 0.0


def test_updates_before_the_first_word_are_no_speech() -> None:
    quiet = ev.TurnUpdated(connection=0, index=0, speech_start=0.1)
    start = ev.TurnStarted(connection=0, index=0, text="hi", speech_start=3.8)
    found = summarise([(0.0, quiet, []), (4.0, start, [])])
    assert [speech.began for speech in found.speech] == [3.8]


def test_what_stopped_the_agent_and_what_followed() -> None:
    def stopped(*commands: cmd.Command, kind: cmd.Kind = "answer") -> list[str]:
        found = summarise(
            [
                (0.0, ev.CallStarted(), [cmd.StartReply(0, kind), cmd.Play(0, 1)]),
                (1.0, ev.InterruptRequested(), [cmd.ClearPlayout(2)]),
                (1.5, ev.Touched(), commands),
                (3.0, ev.CallEnded("over"), []),
            ]
        )
        (hold,) = found.holds
        assert (hold.reply, hold.began) == (0, 1.0)
        assert hold.ended == (3.0 if hold.end == "open" else 1.5)
        return [hold.end]

    assert stopped(cmd.Play(0, 3, 1.0)) == ["went_on"]
    assert stopped(cmd.Discard(0, "interrupted")) == ["interrupted"]
    assert stopped(cmd.Discard(0, "keys")) == ["interrupted"]
    assert stopped(cmd.Discard(0, "taken_back")) == ["taken_back"]
    assert stopped(cmd.Discard(0, "cancelled")) == ["given_up"]
    assert stopped(cmd.ReplyEnded(0, None, None, "a", interrupted=True)) == ["interrupted"]
    assert stopped(cmd.ReplyEnded(0, None, None, "a", interrupted=False)) == ["given_up"]
    assert stopped(cmd.Play(7, 3)) == ["open"]


def test_a_clear_while_nothing_plays_is_no_hold() -> None:
    assert summarise([(0.0, ev.CallStarted(), [cmd.ClearPlayout(1)])]).holds == []


def test_what_the_voice_was_given_of_a_draft_ends_with_it() -> None:
    found = summarise(
        [
            (0.0, ev.CallStarted(), [cmd.StartReply(0, draft=True)]),
            (0.1, ev.ReplyText(0, "One. Two."), [cmd.Speak(0, 0, "One.")]),
            (0.2, ev.Touched(), [cmd.Commit(0), cmd.Speak(0, 1, " Two.")]),
        ]
    )
    assert found.drafts[0].given == "One."
    assert [reply.given for reply in found.unplayed] == ["One. Two."]


def test_echo_is_no_turn() -> None:
    echo = ev.TurnEnded(connection=0, index=0, text="good morning")
    said = ev.TurnEnded(connection=0, index=1, text="hello")
    found = summarise(
        [
            (0.0, echo, [cmd.EchoHeard(0, "good morning")]),
            (1.0, said, [cmd.TurnCommitted(1, "hello 4711", ("4711",))]),
        ]
    )
    assert [(one.echo, one.turn) for one in found.speech] == [(True, None), (False, 1)]
    assert found.turns[0].text == "hello ····"
