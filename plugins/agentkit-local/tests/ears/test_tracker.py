"""The turn states of the ears, without audio or models."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit_local.ears.turns import (
    ONSET,
    PRE_ROLL,
    TOO_LONG,
    Decode,
    Output,
    Thresholds,
    TurnEvent,
    TurnTracker,
)
from agentkit_local.ears.vad import HOP_SECONDS
from agentkit_local.ears.wording import wording


class Caller:
    """Speaks by hops; recognition answers at once with what was said so far."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.tracker = TurnTracker(thresholds or Thresholds(0.7, 0.4, 5.0))
        self.events: list[TurnEvent] = []
        self.text = ""
        self.decodes: list[Decode] = []

    @property
    def longest(self) -> float:
        return max(decode.end - decode.begin for decode in self.decodes)

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
                self.decodes.append(output)
                said = [(word, 0.9) for word in self.text.split()]
                self._take(self.tracker.transcribed(output, said))
            else:
                self.events.append(output)


def check_guarantees(events: list[TurnEvent]) -> None:
    """Deepgram's own guarantees (docs flux/state)."""
    state, index, end, eager, window = "idle", 0, 0.0, "", 0.0
    for event in events:
        assert event.end >= end
        assert event.start == window, "a turn's window begins where the turn before it ended"
        assert 0.0 <= event.confidence <= 1.0
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
            assert event.text
            window = event.end
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


def test_speech_without_a_pause_is_cut_at_its_quietest_and_keeps_its_words() -> None:
    caller = Caller()
    caller.speak("i have a very long story", 10.0)
    caller.run(HOP_SECONDS, 0.6)
    quietest = caller.tracker.now
    caller.speak("and it never", 4.2)
    caller.speak("ends", 2.0)
    assert caller.longest <= TOO_LONG + 0.1
    assert [d.end for d in caller.decodes if d.final] == [pytest.approx(quietest)]
    assert caller.tracker.text.split()[-1] == "ends"
    caller.pause(1.0)
    assert caller.names() == ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"]
    check_guarantees(caller.events)


def test_recognition_is_asked_for_less_often_in_a_long_stretch() -> None:
    caller = Caller()
    caller.speak("i have a long story", 7.5)
    ends = [decode.end for decode in caller.decodes]
    assert ends[1] - ends[0] < 0.5
    assert ends[-1] - ends[-2] > 0.6


def test_after_a_long_pause_the_words_before_it_are_not_recognised_again() -> None:
    caller = Caller(Thresholds(1.0, None, 30.0))
    caller.speak("my number is")
    caller.pause(4.0)
    assert caller.tracker.now - caller.tracker.keep_from < 1.0, "its audio is let go"
    again = caller.tracker.now
    caller.speak("one two three")
    caller.pause(0.3)
    assert caller.decodes[-1].begin > again - 0.5
    assert caller.tracker.text == "my number is one two three"
    assert caller.names() == ["StartOfTurn"]


def test_the_audio_before_the_onset_is_still_there() -> None:
    tracker = TurnTracker(Thresholds())
    kept = []
    for _ in range(40):
        tracker.hop(0.02)
    for _ in range(20):
        kept.append(tracker.keep_from)
        asked = [item for item in tracker.hop(0.95) if isinstance(item, Decode)]
        if asked:
            onset = round(ONSET / HOP_SECONDS)
            assert max(kept[:onset]) <= asked[0].begin, "what is asked for was not forgotten"
            assert 40 * HOP_SECONDS - asked[0].begin == pytest.approx(PRE_ROLL)
            return
    pytest.fail("nothing was asked")


def test_audio_after_a_forced_end_belongs_to_the_next_turn_alone() -> None:
    caller = Caller()
    caller.speak("i would like")
    (ended,) = caller.tracker.force_end()
    assert isinstance(ended, TurnEvent)
    caller.speak("a table")
    assert caller.decodes[-1].begin >= ended.end


def test_a_turn_does_not_end_before_its_last_words_are_recognised() -> None:
    tracker = TurnTracker(Thresholds(0.7, 0.4, 5.0))
    decodes: list[Decode] = []
    events: list[TurnEvent] = []

    def take(outputs: list[Output]) -> None:
        decodes.extend(item for item in outputs if isinstance(item, Decode))
        events.extend(item for item in outputs if isinstance(item, TurnEvent))

    for _ in range(31):
        take(tracker.hop(0.95))
    take(tracker.transcribed(decodes[0], [("hello", 0.9)]))
    for _ in range(20):
        take(tracker.hop(0.02))
    assert [e.name for e in events if e.name != "Update"] == ["StartOfTurn"]
    assert tracker.starved
    assert decodes[-1].final
    take(tracker.transcribed(decodes[-1], [("hello", 0.9), ("there", 0.9)]))
    assert not tracker.starved
    ended = [e for e in events if e.name != "Update"]
    assert [e.name for e in ended] == ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"]
    assert ended[-1].text == "hello there"


def test_words_that_were_there_do_not_vanish() -> None:
    caller = Caller()
    caller.speak("yes")
    caller.text = ""
    assert caller.pause(1.0)[-1] == "EndOfTurn"
    assert next(e for e in caller.events if e.name == "EndOfTurn").text == "yes"


def test_the_rest_of_the_stream_is_asked_for_once() -> None:
    caller = Caller()
    assert caller.tracker.rest_of_stretch() is None
    caller.speak("hello there", 0.9)
    rest = caller.tracker.rest_of_stretch()
    assert rest is not None
    assert rest.end == caller.tracker.now
    caller.tracker.transcribed(rest, [("hello", 0.9)])
    assert caller.tracker.update().text == "hello"
    assert caller.tracker.is_open
    caller.pause(0.15)
    assert caller.tracker.rest_of_stretch() is None


@given(
    hops=st.lists(
        st.tuples(st.sampled_from((0.02, 0.4, 0.6, 0.95)), st.integers(1, 60)),
        min_size=5,
        max_size=60,
    ),
    lateness=st.integers(0, 12),
    texts=st.lists(
        st.sampled_from(("", "yes", "i want to", "when are you open?", "book a table")),
        min_size=1,
    ),
    eager=st.sampled_from((None, 0.3, 0.4, 0.7)),
    timeout=st.sampled_from((0.5, 2.0)),
    force=st.sets(st.integers(0, 500)),
)
@settings(max_examples=150, deadline=None)
def test_the_guarantees_hold_whatever_is_heard_and_however_late(
    hops: list[tuple[float, int]],
    lateness: int,
    texts: list[str],
    eager: float | None,
    timeout: float,
    force: set[int],
) -> None:
    """Flux's own guarantees, with recognition that answers late and says anything."""
    tracker = TurnTracker(Thresholds(0.7, eager, timeout))
    events: list[TurnEvent] = []
    due: list[tuple[int, Decode]] = []
    said = 0

    def take(outputs: list[Output], at: int) -> None:
        for output in outputs:
            if isinstance(output, TurnEvent):
                events.append(output)
            elif output.final or not due:  # as a call does: interim ones are left out when busy
                if due and output.final:
                    del due[1:]
                due.append((at + lateness, output))
            assert not isinstance(output, Decode) or output.begin < output.end <= tracker.now

    at = 0
    for chance, count in hops:
        for _ in range(count):
            at += 1
            take(tracker.hop(chance), at)
            while due and due[0][0] <= at:
                _, decode = due.pop(0)
                said += 1
                words = [(word, 0.9) for word in texts[said % len(texts)].split()]
                take(tracker.transcribed(decode, words), at)
            if at in force:
                take(tracker.force_end(), at)
            assert tracker.keep_from <= tracker.now
    check_guarantees(events)
    assert eager is not None or not {e.name for e in events} & {"EagerEndOfTurn", "TurnResumed"}


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
