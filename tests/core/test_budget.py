"""What drafts may cost, and where each token of theirs went (T9)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import (
    Budget,
    Cost,
    Early,
    Experience,
    Ledger,
    Pace,
    Prices,
    Tuning,
)
from agentkit.core.history import ToolCall
from agentkit.core.policy import Policy, Speculation
from agentkit.core.spending import Books, Spending, tokens
from agentkit.errors import ConfigError
from tests.core.conftest import Driver

Make = Callable[[Policy], Driver]


def limited(call_with: Make, prices: Prices | None = None, **limits: Any) -> Driver:
    rules = Speculation(budget=Budget(**limits), prices=prices or Prices())
    return call_with(Policy(speculation=rules))


def lose_a_draft(call: Driver, words: str = "book") -> None:
    """A turn whose first draft comes to nothing; its reply is heard."""
    call.start(words)
    call.eager(words)
    call.resume(f"{words} a")
    call.end(f"{words} a table")
    call.answer("All right.")
    call.hear(1.0)


def drafts(call: Driver) -> list[cmd.StartReply]:
    return [command for command in call.of(cmd.StartReply) if command.draft]


def why(call: Driver) -> list[str]:
    return [command.reason for command in call.of(cmd.DraftDeclined)]


# ---------------------------------------------------------------------------------- the limits


def test_T9_no_draft_is_begun_past_the_number_of_drafts_that_may_be_lost(call_with: Make) -> None:
    call = limited(call_with, drafts=2)
    lose_a_draft(call)
    lose_a_draft(call)
    lose_a_draft(call)
    assert len(drafts(call)) == 2
    assert why(call) == ["drafts"]
    assert call.of(cmd.DraftDeclined)[0].turn == 2
    assert call.outcomes == {0: "heard", 1: "heard", 2: "heard"}


def test_T9_a_draft_that_was_heard_is_given_back(call_with: Make) -> None:
    call = limited(call_with, drafts=1)
    for _ in range(3):
        call.turn("hello")
        call.answer("Good morning.")
        call.hear(1.0)
    assert call.machine.ledger.adopted == 3
    assert not why(call)


def test_T9_a_draft_that_is_not_over_counts(call_with: Make) -> None:
    call = limited(call_with, drafts=1)
    call.start("book")
    call.eager("book")
    call.eager("book a table")
    assert len(drafts(call)) == 1, "the first was lost when the words changed"
    assert why(call) == ["drafts"]


def test_T9_drafts_for_a_share_of_the_turns(call_with: Make) -> None:
    call = limited(call_with, share=0.5)
    for _ in range(6):
        lose_a_draft(call)
    assert call.machine.ledger.turns == 6
    assert len(drafts(call)) <= 1 + 0.5 * 7
    assert set(why(call)) == {"share"}


def test_T9_turns_that_became_one_count_once(call_with: Make) -> None:
    call = limited(call_with)
    call.turn("book a table")
    call.start("for two")
    call.end("for two")
    assert call.outcomes[0] == "merged"
    assert call.machine.ledger.turns == 1


def test_T9_a_prompt_that_is_too_long_is_not_sent(call_with: Make) -> None:
    call = limited(call_with, input=100)
    call.start("book")
    call.eager("book")
    out = call.on(ev.ModelAsked(0, 101))
    assert out == [cmd.Discard(0, "budget")]
    booked = call.of(cmd.DraftBooked)[0]
    assert (booked.reason, booked.cost.input, booked.estimated) == ("budget", 101, True)
    call.end("book")
    call.on(ev.ModelAsked(1, 500))
    assert cmd.StartReply(1, "answer", 0) in call.of(cmd.StartReply), "the reply is no draft"
    assert call.answer("Sure.") == 1


def test_T9_a_prompt_as_long_as_the_last_one_has_to_fit(call_with: Make) -> None:
    call = limited(call_with, input=150)
    call.start("book")
    call.eager("book")
    call.on(ev.ModelAsked(0, 100))
    call.resume("book a")
    call.eager("book a table")
    assert len(drafts(call)) == 1
    assert why(call) == ["input"]


def test_T9_a_draft_that_writes_more_than_there_is_left_is_given_up(call_with: Make) -> None:
    call = limited(call_with, output=50)
    call.start("book")
    call.eager("book")
    call.write(0, "a" * 200, done=False)
    assert not call.of(cmd.Discard)
    call.write(0, "a", done=False)
    assert call.of(cmd.Discard) == [cmd.Discard(0, "budget")]
    call.end("book")
    assert call.of(cmd.StartReply)[-1].draft is False


def test_T9_what_the_provider_counts_takes_the_place_of_the_estimate(call_with: Make) -> None:
    call = limited(call_with)
    call.start("book")
    call.eager("book")
    call.on(ev.ModelAsked(0, 90))
    call.write(0, "Which day?")
    call.on(ev.ModelCounted(0, 100, 4, 64))
    call.end("book")
    call.voice(0)
    call.hear(1.0)
    booked = call.of(cmd.DraftBooked)[0]
    assert (booked.adopted, booked.estimated) == (True, False)
    assert booked.cost == Cost(100, 64, 4, len("Which day?"))


def test_T9_a_request_that_was_never_counted_is_guessed(call_with: Make) -> None:
    call = limited(call_with)
    call.start("book")
    call.eager("book")
    call.on(ev.ModelAsked(0, 90))
    call.write(0, "Let me look. ", done=False)
    call.on(ev.ModelAsked(0, 120))
    call.resume("book a")
    booked = call.of(cmd.DraftBooked)[0]
    assert booked.estimated
    assert (booked.cost.input, booked.cost.output) == (210, tokens(13))


def test_T9_money_binds_too(call_with: Make) -> None:
    prices = Prices(input=10.0, cached=1.0, output=1.0, characters=20.0)
    call = limited(call_with, prices, price=0.002)
    call.start("book")
    call.eager("book")
    call.on(ev.ModelAsked(0, 150))
    call.resume("book a")
    assert call.of(cmd.DraftBooked)[0].cost.price == pytest.approx(0.0015)
    call.eager("book a table")
    assert why(call) == ["price"]
    assert call.machine.ledger.currency == "USD"


def test_T9_the_voice_gets_no_more_than_there_is_left(call_with: Make) -> None:
    call = limited(call_with, characters=20)
    call.start("book")
    call.eager("book")
    call.write(0, "Sure, I can do that. ", done=False)
    call.write(0, "Which day suits you best, and when?")
    given = sum(len(command.text) for command in call.of(cmd.Speak))
    assert 0 < given <= 20
    call.end("book")
    assert sum(len(command.text) for command in call.of(cmd.Speak)) > 20, "a reply has no limit"


def test_T9_without_characters_left_a_draft_is_text_alone(call_with: Make) -> None:
    call = limited(call_with, characters=0)
    call.start("book")
    call.eager("book")
    call.write(0, "Sure.")
    assert not call.of(cmd.Speak)
    assert len(drafts(call)) == 1


def test_T9_a_parked_draft_is_kept_whatever_the_budget(call_with: Make) -> None:
    call = limited(call_with, drafts=1)
    call.start("book a table")
    call.eager("book a table")
    call.write(0, "Sure.")
    call.resume("")
    call.eager("book a table")
    call.end("book a table")
    assert call.of(cmd.Commit) == [cmd.Commit(0)]


def test_T9_the_budget_of_all_calls_together(call_with: Make) -> None:
    call = limited(call_with)
    call.on(ev.SharedBudget(1))
    lose_a_draft(call)
    lose_a_draft(call)
    assert len(drafts(call)) == 1
    assert why(call) == ["process"]
    call.on(ev.SharedBudget(None))
    lose_a_draft(call)
    assert len(drafts(call)) == 2


def test_T9_off_is_off(call_with: Make) -> None:
    call = call_with(Policy(speculation=Speculation(mode="off", early=Early(rest=0.1))))
    call.turn("hello")
    call.wait(1)
    assert not drafts(call)
    assert not why(call)


# ---------------------------------------------------------------------------------- the ledger


def test_T9_every_draft_is_booked_once_with_its_reason(call: Driver) -> None:
    call.start("book")
    call.eager("book")
    call.resume("book a")
    call.eager("book a table")
    call.on(ev.ReplyFailed(1, "llm", "llm.server", True))
    call.eager("book a table please")
    call.end("book a table thanks")
    call.answer("All right.")
    call.hear(1.0)
    call.start("hello")
    call.eager("hello")
    call.on(ev.Touched())
    call.end("hello")
    call.answer("Hello.")
    call.start("goodbye")
    call.eager("goodbye")
    call.on(ev.CallEnded("hangup"))
    ledger = call.machine.ledger
    assert ledger.lost == {"resumed": 1, "failed": 1, "words": 1, "version": 1, "call_ended": 1}
    assert ledger.adopted == 0
    assert ledger.drafts == len(drafts(call)) == 5
    assert len({command.reply for command in call.of(cmd.DraftBooked)}) == 5


def test_T9_a_draft_that_was_taken_back_unheard_was_lost(call: Driver) -> None:
    call.turn("book a table")
    call.start("for two")
    assert call.of(cmd.DraftBooked)[0].reason == "taken_back"
    assert call.machine.ledger.lost == {"taken_back": 1}


def test_T9_a_reply_that_was_cut_off_was_no_loss(call: Driver) -> None:
    call.turn("when are you open")
    call.answer("We are open from nine to five on all days of the week.", seconds=5)
    call.wait(0.7)
    call.hear(2.0)
    call.start("no I meant on Sunday")
    booked = call.of(cmd.DraftBooked)[0]
    assert (booked.adopted, booked.reason) == (True, None)
    assert booked.saved == pytest.approx(0.2), "its head start"


def test_T9_what_was_saved_is_in_the_ledger(call: Driver) -> None:
    call.start("hello")
    call.eager("hello")
    call.now += 0.3
    call.answer("Good morning.")
    call.now += 0.1
    call.end("hello")
    call.hear(1.0)
    assert call.machine.ledger.saved == pytest.approx(0.3)
    assert call.of(cmd.TurnClosed)[0].times.saved == pytest.approx(0.3)


def test_T9_time_that_a_draft_lay_parked_after_it_was_ready_was_no_delay(call: Driver) -> None:
    call.start("hello")
    call.eager("hello")
    call.now += 0.4
    call.answer("Good morning.")
    call.resume("")
    call.now += 2.0
    call.eager("hello")
    call.now += 0.2
    call.end("hello")
    call.hear(1.0)
    assert call.machine.ledger.saved == pytest.approx(0.4)


def test_T9_the_ledger_tells_itself_to_people() -> None:
    ledger = Ledger(
        adopted=3,
        lost={"resumed": 2},
        cost_lost={"resumed": Cost(1200, 1024, 40, 60, 0.00123)},
        saved=0.9,
        declined={"worth": 4},
        moves=1,
        estimated=1,
        currency="USD",
    )
    assert ledger.describe() == (
        "5 drafts: 3 heard, 2 lost (2 resumed); lost in them: about 1,200 tokens in (1,024 of "
        "them cached), 40 out, 60 characters, 0.0012 USD; 0.90 s saved, 450 ms for each that was "
        "lost; not begun: 4 worth; the eager threshold was moved 1 time"
    )
    assert Ledger().describe() == "0 drafts: 0 heard, 0 lost; 0.00 s saved"
    assert Ledger(lost={"words": 1}, cost_lost={"words": Cost(5)}).describe() == (
        "1 draft: 0 heard, 1 lost (1 words); lost in them: 5 tokens in, 0 out, "
        "0 characters; 0.00 s saved, 0 ms for each that was lost"
    )


def test_T9_books_pass_over_what_is_not_of_drafts() -> None:
    books = Books()
    books.take(cmd.Oddity("late"))
    books.take(cmd.TurnCommitted(0, "hello"))
    books.take(cmd.TurnClosed(0, "merged", cmd.TurnTimes()))
    assert books.ledger(Prices()) == Ledger()


def test_T9_accounts_of_replies_that_are_no_drafts_are_not_kept() -> None:
    spending = Spending()
    spending.ask(7, 100)
    spending.count(7, 110, 20, 0)
    spending.wrote(7, 5)
    spending.commit(7, Prices())
    assert spending.spent(Prices()) == Cost()
    assert spending.estimate(Prices()) == Cost(110, 0, 20, 0)


def test_T9_a_late_count_of_a_draft_that_is_over_changes_nothing(call: Driver) -> None:
    call.start("book")
    call.eager("book")
    call.resume("book a")
    assert not call.on(ev.ModelAsked(0, 100))
    assert not call.on(ev.ModelCounted(0, 100, 3))
    assert call.machine.ledger.wasted.input == 0


def test_T9_a_tool_with_effects_that_runs_leaves_no_draft_to_expect(call_with: Make) -> None:
    call = call_with(Policy(speculation=Speculation(expected=2)))
    call.turn("book it")
    call.wait(0.7)
    call.on(ev.ToolRequested(0, (ToolCall("a", "book", "{}"),), frozenset({"a"})))
    call.on(ev.AnswersExpected(("yes",)))
    call.say("Shall I?")
    assert len(drafts(call)) == 1


# -------------------------------------------------------------------------------- the settings


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Budget(drafts=-1), "budget.drafts"),
        (lambda: Budget(price=float("nan")), "budget.price"),
        (lambda: Prices(output=-1), "prices.output"),
        (lambda: Tuning(exchange=-1), "tuning.exchange"),
        (lambda: Tuning(held=1.2), "tuning.held: 1.2 is not from 0 to 1"),
        (lambda: Tuning(weight=0), "tuning.weight"),
        (lambda: Tuning(delays=()), "tuning.delays"),
        (lambda: Tuning(lowest=0.8, highest=0.4), "tuning.lowest"),
        (lambda: Tuning(step=0), "tuning.step"),
        (lambda: Tuning(every=0.1), "tuning.every"),
        (lambda: Early(rest=-1), "early.rest"),
        (lambda: Early(confidence=2), "early.confidence"),
        (lambda: Pace(floor=-1), "pace.floor"),
        (lambda: Pace(after="now"), "pace.after"),  # type: ignore[arg-type]
        (lambda: Speculation(mode="on"), "speculation.mode"),  # type: ignore[arg-type]
        (lambda: Speculation(expected=-1), "speculation.expected"),
        (lambda: Experience(held=(1.0,)), "experience.held"),
        (lambda: Experience(lost=(-1.0,) * 10), "experience.lost"),
        (lambda: Experience(leads=(-1.0,)), "experience.leads"),
        (lambda: Experience(resumes=(float("inf"),)), "experience.resumes"),
    ],
)
def test_settings_that_cannot_be_right_are_named(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        make()


def test_prices_know_what_they_do_not_know() -> None:
    assert not Prices().known
    assert Prices(cached=1.0).known
    assert Prices(input=2.0).of(1_000_000, 500_000, 0, 0) == pytest.approx(2.0)
    assert Prices(input=2.0, cached=0.5).of(1_000_000, 500_000, 0, 0) == pytest.approx(1.25)


def test_T21_text_that_waits_for_the_end_saves_what_the_model_took(call_with: Make) -> None:
    """Drafted as text alone: the voice begins at the end of the turn, as without a draft."""
    call = call_with(Policy(speculation=Speculation(depth="llm")))
    call.start("hello")
    call.eager("hello")
    call.now += 0.3
    call.write(0, "Good morning.")
    call.now += 0.7
    call.end("hello")
    call.now += 0.2
    call.voice(0)
    call.hear(1.0)
    assert call.of(cmd.TurnClosed)[0].times.saved == pytest.approx(0.3)
