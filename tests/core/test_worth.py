"""What a draft is worth, learned from a caller's pauses; the eager threshold moves with it (T9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Early, Experience, Pace, Prices, Tuning
from agentkit.core.policy import Policy, Speculation
from agentkit.core.worth import BUCKETS, Judge, Pause, bucket_of
from tests.core.conftest import Driver

Make = Callable[[Policy], Driver]


def judged(call_with: Make, depth: Any = "speech", **tuning: Any) -> Driver:
    rules = Speculation(depth=depth, mode="adaptive", tuning=Tuning(**tuning))
    return call_with(Policy(speculation=rules))


def drafts(call: Driver) -> list[cmd.StartReply]:
    return [command for command in call.of(cmd.StartReply) if command.draft]


def resumes(call: Driver, times: int, confidence: float = 0.5, pause: float = 0.3) -> None:
    """So often the caller pauses and goes on."""
    call.start("well")
    for number in range(times):
        call.now += 0.5
        call.eager(f"well {number}", confidence=confidence)
        call.now += pause
        call.resume(f"well {number} and")
    call.end("well that is all")
    call.now += 0.6
    call.answer("I see.")
    call.hear(1.0)


def holds(call: Driver, times: int, confidence: float = 0.5, lead: float = 0.4) -> None:
    """So many turns end as their maybe-end said."""
    for number in range(times):
        call.start("hello")
        call.now += 0.5
        call.eager(f"hello {number}", confidence=confidence)
        call.now += lead
        call.end(f"hello {number}")
        call.now += 0.6
        call.answer("I see.")
        call.hear(1.0)
        call.now += 1.0


def seen(judge: Judge, held: bool, times: int, confidence: float, seconds: float) -> None:
    bucket = bucket_of(confidence)
    for _ in range(times):
        judge.ended(Pause("eager", 0.0, "", bucket, bucket), seconds, held=held)


# ------------------------------------------------------------------------------------ the judge


@pytest.mark.parametrize(
    ("confidence", "bucket"), [(-1, 0), (0, 0), (0.3, 3), (0.39, 3), (0.7, 7), (1.0, 9)]
)
def test_confidence_is_told_in_tenths(confidence: float, bucket: int) -> None:
    assert bucket_of(confidence) == bucket


def test_T9_what_was_seen_takes_the_place_of_what_was_believed() -> None:
    judge = Judge(Tuning(held=0.6, weight=4))
    assert judge.held("eager", 5) == pytest.approx(0.6)
    seen(judge, False, 30, 0.5, 0.1)
    assert judge.held("eager", 5) < 0.15
    seen(judge, True, 300, 0.5, 0.3)
    assert judge.held("eager", 5) > 0.85


def test_T9_a_caller_who_pauses_much_is_believed_to_do_so_at_every_confidence() -> None:
    judge = Judge(Tuning(held=0.6))
    seen(judge, False, 10, 0.4, 0.1)
    assert judge.held("eager", 4) < judge.held("eager", 7) < 0.6


def test_T9_confidence_that_says_something_is_listened_to() -> None:
    judge = Judge(Tuning())
    seen(judge, False, 20, 0.4, 0.3)
    seen(judge, True, 20, 0.8, 0.4)
    assert judge.best("eager", 4, 0.25)[0] is None
    assert judge.best("eager", 8, 0.25)[0] == 0.0


def test_T9_a_draft_is_worth_its_head_start_and_no_more_than_its_work() -> None:
    judge = Judge(Tuning(held=1.0, delays=(0.0,)))
    seen(judge, True, 50, 0.5, 5.0)
    assert judge.best("eager", 5, 0.0)[1] == pytest.approx(0.6, rel=0.05)
    for _ in range(40):
        judge.worked(0.2)
    assert judge.best("eager", 5, 0.0)[1] == pytest.approx(0.2, rel=0.05)


def test_T9_what_the_pace_keeps_back_is_not_saved() -> None:
    judge = Judge(Tuning(held=1.0, delays=(0.0,)))
    seen(judge, True, 50, 0.5, 5.0)
    judge.pace = Pace(0.3, "turn", jitter=0.2)
    assert judge.best("eager", 5, 0.0)[1] == pytest.approx(0.2, rel=0.05)
    judge.pace = Pace(1.2)
    assert judge.best("eager", 5, 0.15)[0] is None
    assert judge.expected(1, 0.15) <= 0
    judge.pace = Pace(0.85)  # from the last word, whose turn ends some 0.45 s later
    assert judge.best("eager", 5, 0.0)[1] == pytest.approx(0.2, rel=0.05)
    for _ in range(40):
        judge.told(0.85)
    assert judge.best("eager", 5, 0.0)[1] == pytest.approx(0.6, rel=0.05)


def test_T9_waiting_pays_where_the_caller_soon_goes_on_or_not_at_all() -> None:
    judge = Judge(Tuning())
    seen(judge, False, 40, 0.5, 0.08)
    seen(judge, True, 20, 0.5, 0.6)
    assert judge.best("eager", 5, 0.5)[0] == pytest.approx(0.1)
    assert judge.best("eager", 5, 0.5, elapsed=0.07)[0] == pytest.approx(0.03)
    assert judge.best("eager", 5, 0.5, elapsed=2.0)[0] is None, "it never took so long"


def test_T9_the_higher_the_price_the_fewer_drafts() -> None:
    judge = Judge(Tuning())
    assert judge.best("eager", 5, 0.0)[0] == 0.0
    delay, worth = judge.best("eager", 5, 1000.0)
    assert delay is None
    assert worth <= 0


def test_T9_answers_that_are_expected_are_judged_by_how_often_they_came() -> None:
    judge = Judge(Tuning())
    before = judge.expected(2, 0.25)
    for _ in range(10):
        judge.answered(held=False)
    after = judge.expected(2, 0.25)
    assert before > 0 > after
    for _ in range(40):
        judge.answered(held=True)
    assert judge.expected(2, 0.25) > after


def test_T9_what_earlier_calls_showed_is_a_belief_to_begin_with() -> None:
    first = Judge(Tuning())
    seen(first, False, 40, 0.4, 0.1)
    seen(first, True, 40, 0.8, 0.9)
    later = Judge(Tuning(experience=first.experience))
    assert later.held("eager", 4) < 0.2 < 0.8 < later.held("eager", 8)
    assert later.best("eager", 8, 0.25)[1] > Judge(Tuning()).best("eager", 8, 0.25)[1]
    later.tune(Tuning())
    assert later.held("eager", 4) == pytest.approx(0.6)


def test_T9_the_threshold_is_left_alone_until_enough_was_seen() -> None:
    judge = Judge(Tuning())
    seen(judge, False, 2, 0.4, 0.5)
    assert judge.move(0.4, 0.7, 0.25) is None
    seen(judge, False, 20, 0.4, 0.5)
    assert judge.move(0.4, 0.7, 0.25) == 0.5


def test_T9_the_threshold_stays_within_its_bounds() -> None:
    judge = Judge(Tuning(highest=0.8, step=0.05))
    for confidence in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        seen(judge, False, 30, confidence, 0.5)
    assert judge.move(0.4, 0.7, 0.25) == 0.45
    assert judge.move(0.68, 0.7, 0.25) == 0.7
    assert judge.move(0.7, 0.7, 0.25) is None, "never above the final one"
    assert judge.move(0.8, None, 0.25) is None
    assert judge.move(0.9, 0.95, 0.25) is None, "and never down for what is worth less"
    judge = Judge(Tuning(lowest=0.3, step=0.2))
    for confidence in (0.3, 0.4, 0.5):
        seen(judge, True, 30, confidence, 0.5)
    assert judge.move(0.5, 0.7, 0.25) == 0.4
    assert judge.move(0.35, 0.7, 0.25) == 0.3
    assert judge.move(0.3, 0.7, 0.25) is None


def test_T9_it_is_not_moved_to_where_it_is_not_worth_it() -> None:
    judge = Judge(Tuning())
    seen(judge, False, 60, 0.4, 0.5)
    seen(judge, True, 20, 0.5, 0.5)
    assert judge.move(0.5, 0.7, 0.25) is None
    judge = Judge(Tuning(lowest=0.0))
    seen(judge, True, 10, 0.05, 0.5)
    assert judge.move(0.05, 0.7, 0.25) is None, "there is nothing below"


# ---------------------------------------------------------------------------------- in a call


def test_T9_a_caller_who_pauses_much_is_not_drafted_for_any_more(call_with: Make) -> None:
    call = judged(call_with)
    resumes(call, 1)
    assert len(drafts(call)) == 1
    for _ in range(6):
        resumes(call, 3)
    begun = len(drafts(call))
    resumes(call, 3)
    assert len(drafts(call)) == begun
    last = call.of(cmd.DraftDeclined)[-1]
    assert (last.reason, last.rung) == ("worth", "eager")
    assert last.worth < 0


def test_T9_nothing_is_drafted_that_the_pace_would_keep_back(call_with: Make) -> None:
    rules = Speculation(mode="adaptive")
    call = call_with(Policy(speculation=rules, pace=Pace(1.5)))
    call.start("hello")
    call.eager("hello", confidence=0.6)
    assert not drafts(call)
    assert call.of(cmd.DraftDeclined)[-1].reason == "worth"
    call.on(ev.Listening(Pace()))
    call.resume("hello and")
    call.eager("hello and good-bye", confidence=0.6)
    assert len(drafts(call)) == 1


def test_T9_and_is_again_once_the_pauses_hold(call_with: Make) -> None:
    call = judged(call_with)
    for _ in range(4):
        resumes(call, 3)
    holds(call, 25)
    assert drafts(call)[-1].turn == call.of(cmd.TurnCommitted)[-1].turn


def test_T9_a_draft_may_wait_until_the_pause_has_lasted(call_with: Make) -> None:
    call = judged(call_with, exchange=0.5, weight=1.0)
    for _ in range(10):
        resumes(call, 3, pause=0.08)
        holds(call, 2, lead=0.7)
    before = len(drafts(call))
    call.start("hello")
    call.eager("hello again", confidence=0.5)
    assert len(drafts(call)) == before
    assert "worth" in call.timers
    call.wait(0.11)
    assert len(drafts(call)) == before + 1
    call.end("hello again")
    assert call.of(cmd.Commit)[-1].reply == drafts(call)[-1].reply
    call.start("and")
    call.eager("and then", confidence=0.5)
    call.now += 0.05
    call.resume("and then")
    assert "worth" not in call.timers


def test_T9_a_source_that_becomes_surer_is_asked_again(call_with: Make) -> None:
    call = judged(call_with)
    for _ in range(6):
        resumes(call, 3, confidence=0.4)
        holds(call, 3, confidence=0.8)
    before = len(drafts(call))
    call.start("hello")
    call.eager("hello there", confidence=0.4)
    assert len(drafts(call)) == before
    call.update("hello there", confidence=0.4)
    assert len(drafts(call)) == before
    call.update("hello there", confidence=0.45)
    assert len(drafts(call)) == before
    call.update("hello there", confidence=0.85)
    assert len(drafts(call)) == before + 1
    call.update("hello there", confidence=0.9)
    assert len(drafts(call)) == before + 1
    call.end("hello there")
    assert call.of(cmd.Commit)[-1].reply == drafts(call)[-1].reply


def test_T9_other_words_without_a_resume_are_another_pause(call_with: Make) -> None:
    call = judged(call_with)
    call.start("book")
    call.eager("book", confidence=0.5)
    call.eager("book a table", confidence=0.5)
    call.eager("book a table", confidence=0.6)
    call.end("book a table")
    known = call.machine.experience
    assert (sum(known.lost), sum(known.held)) == (1, 2)
    assert len(drafts(call)) == 2


def test_T9_a_draft_of_other_words_goes_even_if_no_other_is_worth_it(call_with: Make) -> None:
    call = judged(call_with, weight=0.5)
    call.start("book")
    call.eager("book", confidence=0.5)
    assert len(drafts(call)) == 1
    for _ in range(8):
        call.now += 0.5
        call.eager(f"book {call.now}", confidence=0.5)
    assert call.of(cmd.DraftDeclined)
    assert call.machine.ledger.lost == {"superseded": len(drafts(call))}


def test_T14_an_end_that_the_machine_made_says_nothing_of_pauses(call_with: Make) -> None:
    call = judged(call_with)
    call.start("book")
    call.eager("book", confidence=0.5)
    call.lose()
    call.wait(6)
    assert call.of(cmd.TurnCommitted)
    assert call.machine.experience == Experience((0.0,) * BUCKETS, (0.0,) * BUCKETS)


def test_T9_a_text_draft_is_worth_its_text(call_with: Make) -> None:
    call = judged(call_with, "llm", delays=(0.0,))
    for _ in range(20):
        call.start("hello")
        call.eager("hello", confidence=0.5)
        call.now += 0.05
        reply = call.of(cmd.StartReply)[-1].reply
        call.write(reply, "Hello.")
        call.now += 0.5
        call.end("hello")
        call.voice(reply)
        call.hear(1.0)
    worth = call.machine._judge.best("eager", 5, 0.0)[1]
    assert worth == pytest.approx(0.05, abs=0.02)


def test_T9_words_at_rest_are_judged_by_themselves(call_with: Make) -> None:
    rules = Speculation(mode="adaptive", early=Early(rest=0.2), tuning=Tuning(weight=1.0))
    call = call_with(Policy(speculation=rules))
    call.start("well")
    for number in range(8):
        call.update(f"well {number}")
        call.wait(0.8)
    call.end("well that is all")
    assert 0 < len(drafts(call)) < 8
    declined = call.of(cmd.DraftDeclined)[-1]
    assert (declined.rung, declined.reason) == ("rest", "worth")


def test_T9_a_delayed_draft_from_words_at_rest(call_with: Make) -> None:
    tuning = Tuning(delays=(0.1,), held=0.9)
    rules = Speculation(mode="adaptive", early=Early(rest=0.2), tuning=tuning)
    call = call_with(Policy(speculation=rules))
    call.start("hello")
    call.wait(0.25)
    assert not drafts(call)
    call.wait(0.1)
    assert [one.rung for one in drafts(call)] == ["rest"]


def test_T9_the_price_of_a_draft_and_the_worth_of_a_second_decide(call_with: Make) -> None:
    for second, begun in ((1.0, 1), (0.000001, 0)):
        rules = Speculation(
            mode="adaptive",
            prices=Prices(input=1.0, output=4.0),
            tuning=Tuning(second=second),
        )
        call = call_with(Policy(speculation=rules))
        call.start("hello")
        call.eager("hello", confidence=0.5)
        call.wait(0.5)
        assert len(drafts(call)) == begun


# ------------------------------------------------------------------------------- the threshold


def tuned(call: Driver, eager: float | None, final: float = 0.8, tunable: bool = True) -> None:
    call.on(ev.SourceTuned(5.0, eager, final, tunable))


def moves(call: Driver) -> list[float]:
    return [command.eager for command in call.of(cmd.TuneSource)]


def test_T9_the_threshold_goes_up_where_drafts_are_not_worth_it(call_with: Make) -> None:
    call = judged(call_with)
    tuned(call, 0.4)
    for _ in range(5):
        resumes(call, 3, confidence=0.4)
    moved = call.of(cmd.TuneSource)
    assert moved
    assert (moved[0].before, moved[0].eager, moved[0].reason) == (0.4, 0.5, "worth_less")
    assert 0 <= moved[0].held <= 1
    assert call.machine.ledger.moves == len(moved)


def test_T9_and_down_where_they_are(call_with: Make) -> None:
    call = judged(call_with)
    tuned(call, 0.6)
    holds(call, 4, confidence=0.6)
    moved = call.of(cmd.TuneSource)[0]
    assert (moved.before, moved.eager, moved.reason) == (0.6, 0.5, "worth_more")


def test_T9_it_moves_one_step_at_a_time_and_seldom(call_with: Make) -> None:
    call = judged(call_with, every=8.0)
    tuned(call, 0.4)
    while not moves(call):
        resumes(call, 3, confidence=0.4)
    assert moves(call) == [0.5]
    tuned(call, 0.5)
    at = next(now for now, _, out in call.log if any(isinstance(c, cmd.TuneSource) for c in out))
    while call.now < at + 7:
        resumes(call, 1, confidence=0.5)
    assert moves(call) == [0.5]
    call.now += 2
    resumes(call, 3, confidence=0.5)
    assert moves(call) == [0.5, 0.6]


def test_T9_a_source_that_does_not_say_that_it_moved_is_given_time(call_with: Make) -> None:
    call = judged(call_with, every=1.0)
    tuned(call, 0.4)
    while not moves(call):
        resumes(call, 1, confidence=0.4)
    at = next(now for now, _, out in call.log if any(isinstance(c, cmd.TuneSource) for c in out))
    call.now = at + 3
    resumes(call, 1, confidence=0.4)
    assert len(moves(call)) == 1
    call.now = at + 6
    resumes(call, 1, confidence=0.4)
    assert moves(call) == [0.5, 0.5]


@pytest.mark.parametrize(
    ("rules", "eager", "tunable"),
    [
        (Speculation(), 0.4, True),
        (Speculation(mode="adaptive", tuning=Tuning(threshold=False)), 0.4, True),
        (Speculation(mode="adaptive"), 0.4, False),
        (Speculation(mode="adaptive"), None, True),
    ],
)
def test_T9_it_is_not_moved_unless_it_may_be(
    call_with: Make, rules: Speculation, eager: float | None, tunable: bool
) -> None:
    call = call_with(Policy(speculation=rules))
    tuned(call, eager, tunable=tunable)
    for _ in range(4):
        resumes(call, 3, confidence=0.4)
    assert not moves(call)


def test_T9_a_question_with_thresholds_of_its_own_keeps_them(call_with: Make) -> None:
    call = judged(call_with)
    tuned(call, 0.4)
    call.on(ev.Listening(thresholds=True))
    for _ in range(4):
        resumes(call, 3, confidence=0.4)
    assert not moves(call)
    call.on(ev.Listening())
    resumes(call, 1, confidence=0.4)
    assert moves(call) == [0.5]
