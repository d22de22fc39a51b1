"""The turn states of the ears, without audio or models."""

from __future__ import annotations

import pytest

from agentkit_local.ears.turns import Decode, Output, Thresholds, TurnEvent, TurnTracker
from agentkit_local.ears.vad import HOP_SECONDS
from agentkit_local.ears.wording import wording


class Caller:
    """Speaks by hops; recognition answers at once with what was said so far."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.tracker = TurnTracker(thresholds or Thresholds(0.7, 0.4, 5.0))
        self.events: list[TurnEvent] = []
        self.text = ""

    def run(self, seconds: float, chance: float) -> list[str]:
        before = len(self.events)
        for _ in range(round(seconds / HOP_SECONDS)):
            self._take(self.tracker.hop(chance))
        return self.names(before)

    def speak(self, text: str, seconds: float = 1.0) -> list[str]:
        self.text = text
        return self.run(seconds, 0.95)

    def pause(self, seconds: float) -> list[str]:
        return self.run(seconds, 0.02)

    def names(self, since: int = 0) -> list[str]:
        return [e.name for e in self.events[since:] if e.name != "Update"]

    def _take(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Decode):
                said = [(word, 0.9) for word in self.text.split()]
                self._take(self.tracker.transcribed(output, said))
            else:
                self.events.append(output)


def check_guarantees(events: list[TurnEvent]) -> None:
    """Deepgram's own guarantees (docs flux/state)."""
    state, index, end, eager = "idle", 0, 0.0, ""
    for event in events:
        assert event.end >= end
        assert event.index == index
        end = event.end
        if event.name == "StartOfTurn":
            assert state == "idle"
            assert event.text
            state = "speaking"
        elif event.name == "EagerEndOfTurn":
            assert state == "speaking"
            assert event.text
            state, eager = "maybe", event.text
        elif event.name == "TurnResumed":
            assert state == "maybe"
            state = "speaking"
        elif event.name == "EndOfTurn":
            assert state in ("speaking", "maybe")
            assert event.trigger in ("model", "timeout", "manual")
            if state == "maybe":
                assert event.text == eager
            state, index = "idle", index + 1
        else:
            assert not event.trigger


def test_a_turn_starts_may_end_and_ends() -> None:
    caller = Caller()
    assert caller.pause(1.0) == []
    assert caller.speak("when are you open") == ["StartOfTurn"]
    assert caller.pause(1.0) == ["EagerEndOfTurn", "EndOfTurn"]
    check_guarantees(caller.events)
    assert caller.events[-1].index == 1, "the next Update has the next index"


def test_updates_come_every_quarter_of_a_second_of_audio() -> None:
    caller = Caller()
    caller.pause(2.4)
    gaps = [b.end - a.end for a, b in zip(caller.events, caller.events[1:], strict=False)]
    assert all(0.2 < gap < 0.3 for gap in gaps)
    assert len(caller.events) == pytest.approx(9, abs=1)


def test_going_on_after_an_eager_end_resumes_the_turn() -> None:
    caller = Caller()
    caller.speak("i would like to book a table")
    assert caller.pause(0.3) == ["EagerEndOfTurn"]
    assert caller.speak("i would like to book a table on monday") == ["TurnResumed"]
    assert caller.pause(1.0) == ["EagerEndOfTurn", "EndOfTurn"]
    check_guarantees(caller.events)
    assert caller.events[-2].text.endswith("monday") or caller.events[-1].text == ""


def test_without_an_eager_threshold_there_is_neither_eager_end_nor_resumption() -> None:
    caller = Caller(Thresholds(0.7, None, 5.0))
    caller.speak("hello there")
    caller.pause(0.2)
    caller.speak("hello there friend")
    caller.pause(1.0)
    assert caller.names() == ["StartOfTurn", "EndOfTurn"]
    check_guarantees(caller.events)


def test_an_open_sentence_waits_longer() -> None:
    done, left_open = Caller(), Caller()
    done.speak("i want to book a table")
    left_open.speak("i want to book a table for the")
    assert "EndOfTurn" in done.pause(0.7)
    assert left_open.pause(1.0) == []
    assert "EndOfTurn" in left_open.pause(1.5)


def test_a_threshold_of_one_leaves_it_to_the_timeout() -> None:
    caller = Caller(Thresholds(1.0, None, 2.0))
    caller.speak("hello there")
    assert caller.pause(1.8) == []
    assert caller.pause(0.5) == ["EndOfTurn"]
    assert [e.trigger for e in caller.events if e.name == "EndOfTurn"] == ["timeout"]


def test_a_higher_threshold_ends_later() -> None:
    ends = []
    for eot in (0.5, 0.7, 0.9):
        caller = Caller(Thresholds(eot, None, 5.0))
        caller.speak("hello there")
        caller.pause(3.0)
        ends.append(next(e.end for e in caller.events if e.name == "EndOfTurn"))
    assert ends == sorted(ends)
    assert ends[0] < ends[1] < ends[2]


def test_force_end_turn_ends_with_the_words_so_far() -> None:
    caller = Caller()
    assert caller.tracker.force_end() == []
    caller.speak("i would like")
    (ended,) = caller.tracker.force_end()
    assert isinstance(ended, TurnEvent)
    assert (ended.text, ended.trigger) == ("i would like", "manual")
    assert not caller.tracker.is_open


def test_a_click_is_no_turn_and_sound_without_words_neither() -> None:
    caller = Caller()
    caller.run(0.064, 0.95)
    caller.pause(0.5)
    caller.speak("", 0.6)
    caller.pause(3.0)
    assert caller.names() == []
    caller.speak("hello there")
    assert caller.names() == ["StartOfTurn"]


def test_a_long_turn_is_recognised_in_stretches_and_keeps_its_words() -> None:
    caller = Caller()
    caller.speak("i have a long story", 15.0)
    caller.pause(0.25)
    caller.speak("to tell you", 2.0)
    caller.pause(3.0)
    check_guarantees(caller.events)
    assert caller.names()[-1] == "EndOfTurn"
    ended = [e for e in caller.events if e.name == "EndOfTurn"][-1]
    assert ended.text.startswith("i have a long story")
    assert ended.text.endswith("to tell you")


def test_what_comes_late_for_an_ended_turn_changes_nothing() -> None:
    caller = Caller()
    caller.speak("hello there")
    caller.pause(1.0)
    assert caller.tracker.transcribed(Decode(0.0, 9.0, True), [("late", 1.0)]) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I would like to book a table for the", "open"),
        ("And", "open"),
        ("Well, I was wondering if", "open"),
        ("My number is five five five", "open"),
        ("five five five one two", "open"),
        ("", "open"),
        ("I would like to book a table.", "plain"),
        ("No thank you.", "plain"),
        ("Yes please.", "plain"),
        ("When are you open?", "question"),
        ("Can you tell me your address", "question"),
    ],
)
def test_how_complete_words_sound(text: str, kind: str) -> None:
    assert wording(text) == kind
