"""The benchmark of turn-taking measures what it says: its chance, its recogniser, its formulas."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Budget, Cost, Early
from agentkit.core.policy import Speculation
from agentkit.core.wordlists import BACKCHANNELS, CLAIMS
from agentkit.core.words import claims_floor
from tests.bench.turns import measures, runs
from tests.bench.turns.call import Call, SaidTurn, run_call
from tests.bench.turns.corpus import Dialogue, Exchange, spoken
from tests.bench.turns.estimates import bootstrap, extra_calls, percentile, saved_per_extra
from tests.bench.turns.inventory import ATTENTION
from tests.bench.turns.measures import Figures, eva_curve, eva_score, eva_turn, measure
from tests.bench.turns.parameters import (
    HELD_OUT_SEEDS,
    TUNING_SEEDS,
    WORLDS,
    Callers,
    Listener,
)
from tests.bench.turns.plan import (
    Silence,
    draw_plan,
    end_silence,
    hold_silence,
    pause_length,
)
from tests.bench.turns.policies import OFF, WORDS, Candidate
from tests.bench.turns.report import picture, points, table

TALK: Dialogue = tuple(
    Exchange(spoken(said, 40), answer)
    for said, answer in (
        ("Hello there, I would like to hear about the garden. Is it open?", "Yes, it is open."),
        ("That is great, because my sister comes, and she has never seen it.",
         "How nice. There are roses now, and the old trees by the lake are in flower as well."),
        ("And what does it cost to get in for two of us?", "Five each. Shall I book that?"),
        ("Yes.", "Good. For which day, and at what time would the two of you like to come?"),
        ("On Friday, I think, or maybe Saturday, if that is not too full.",
         "Saturday is fine. I wrote it down, and you will get a message about it soon."),
    )
)  # fmt: skip
SPEECH = Candidate("speech", Speculation())
ADAPTIVE = Candidate("adaptive", Speculation(mode="adaptive", budget=Budget(drafts=2)))
LADDER = Candidate("ladder", Speculation(early=Early(finished=True)))
WORLD = WORLDS["measured"]


def call(candidate: Candidate, seed: int) -> Call:
    plan = draw_plan(WORLD, seed, TALK)
    return run_call(plan, WORLD, candidate.agent, candidate.eager)


def figures_of(candidate: Candidate, seed: int) -> Figures:
    budget = candidate.speculation.budget
    return measure(call(candidate, seed), WORLD.backends, candidate.floor, budget)


def without_cpu(figures: Figures) -> Figures:
    return replace(figures, cpu=Figures(0).cpu)


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    return [call(SPEECH, seed) for seed in range(3)]


# -------------------------------------------------------------------------------- determinism


def test_a_seed_always_gives_the_same_call() -> None:
    once, again = figures_of(ADAPTIVE, 3), figures_of(ADAPTIVE, 3)
    assert without_cpu(once) == without_cpu(again)
    assert without_cpu(figures_of(ADAPTIVE, 4)) != without_cpu(once)


def test_policies_meet_the_same_caller() -> None:
    first = call(OFF, 1).turns[0]
    assert (first.began, first.ended) == (call(SPEECH, 1).turns[0].began, first.ended)


def test_tuning_and_tables_share_no_seed() -> None:
    assert not set(TUNING_SEEDS) & set(HELD_OUT_SEEDS)


# ------------------------------------------------------------------------- Flux's own promises


def of_source(made: Call) -> list[tuple[float, ev.TurnEvent]]:
    return [(now, event) for now, event, _ in made.log if isinstance(event, ev.TurnEvent)]


def test_the_recogniser_keeps_fluxs_promises(calls: Sequence[Call]) -> None:
    for made in calls:
        told = of_source(made)
        assert [event.sequence for _, event in told] == [*range(1, len(told) + 1)]
        assert all((event.trigger != "") == isinstance(event, ev.TurnEnded) for _, event in told)
        for (earlier, one), (later, two) in pairwise(told):
            grown = two.index - one.index
            assert grown == isinstance(one, ev.TurnEnded)
            assert later - earlier <= WORLD.listener.update + WORLD.listener.frame + 1e-6
        for now, event in told:
            assert event.speech_end is None or event.speech_end <= now + 1e-6
            if isinstance(event, ev.TurnStarted | ev.TurnMaybeEnded):
                assert event.text


def test_a_turn_goes_the_ways_that_flux_draws(calls: Sequence[Call]) -> None:
    seen = set()
    for made in calls:
        state, words = "idle", ""
        for _, event in of_source(made):
            match event:
                case ev.TurnStarted():
                    assert state == "idle"
                    state = "speaking"
                case ev.TurnMaybeEnded():
                    assert state == "speaking"
                    state, words = "maybe", event.text
                case ev.TurnResumed():
                    assert state == "maybe"
                    state = "speaking"
                case ev.TurnEnded():
                    assert state in ("speaking", "maybe")
                    assert state == "speaking" or event.text == words
                    state = "idle"
                case _:
                    assert state != "maybe" or event.text == words
            seen.add(type(event))
    assert {ev.TurnStarted, ev.TurnMaybeEnded, ev.TurnResumed, ev.TurnEnded} <= seen


def test_a_lower_eager_threshold_is_crossed_sooner_and_an_end_no_sooner() -> None:
    listener, silence = Listener(), Silence(0.26, 0.15, 0.95)

    def crosses(threshold: float) -> float:
        steps = (n / 1000 for n in range(1000))
        return next(at for at in steps if silence.confidence(at, listener) >= threshold)

    assert crosses(0.7) == pytest.approx(0.26, abs=0.002)
    assert crosses(0.4) == pytest.approx(0.11, abs=0.002)
    assert crosses(0.3) < crosses(0.4) < crosses(0.5) < crosses(0.7)
    assert max(Silence(0.26, 0.15, 0.55).confidence(n / 10, listener) for n in range(50)) == 0.55


# ------------------------------------------------------------------- chance and its parameters


def test_pauses_are_as_long_as_they_were_measured() -> None:
    chance, callers = random.Random(1), Callers()
    drawn = [pause_length(chance, callers) for _ in range(8000)]
    for longer, published in ((0.3, 0.556), (0.6, 0.217), (1.0, 0.10), (1.6, 0.05)):
        assert sum(d > longer for d in drawn) / len(drawn) == pytest.approx(published, abs=0.02)
    assert min(drawn) >= 0.2
    assert max(drawn) <= 5.0


def test_ends_are_detected_as_they_were_measured() -> None:
    chance, listener = random.Random(2), Listener()
    drawn = [end_silence(chance, listener) for _ in range(8000)]
    assert sum(s.delay for s in drawn) / len(drawn) == pytest.approx(0.271, abs=0.005)
    assert percentile([s.delay for s in drawn], 50) == pytest.approx(0.26, abs=0.005)
    assert percentile([s.lead for s in drawn], 50) == pytest.approx(0.15, abs=0.005)
    missed = sum(s.peak < listener.final for s in drawn) / len(drawn)
    assert missed == pytest.approx(listener.undetected, abs=0.003)


def test_pauses_are_taken_for_ends_as_often_as_was_measured() -> None:
    chance, listener, callers = random.Random(3), Listener(), Callers()
    drawn = [
        (hold_silence(chance, listener, chance.random() < 0.38), pause_length(chance, callers))
        for _ in range(8000)
    ]
    # A threshold is seen to be crossed at the end of a frame, half a frame later on average.
    late = listener.frame / 2
    ended = sum(s.peak >= listener.final and pause > s.delay + late for s, pause in drawn)
    assert ended / len(drawn) == pytest.approx(listener.hold_final, abs=0.015)
    eager = sum(s.peak >= listener.reference for s, _ in drawn) / len(drawn)
    # No kind of pause reaches it more often than 0.98: that takes 0.04 of the 0.75.
    assert eager == pytest.approx(listener.hold_eager - 0.04, abs=0.02)


def test_confidence_that_says_nothing_does_not_tell_pauses_apart() -> None:
    chance, listener = random.Random(4), WORLDS["silent"].listener
    drawn = [hold_silence(chance, listener, False) for _ in range(5000)]
    low, high = (sum(s.peak >= at for s in drawn) for at in (0.4, 0.65))
    assert low == high
    told = [s.told for s in drawn if s.told is not None]
    assert len(told) == len(drawn)
    ends = [end_silence(chance, listener).told or 0.0 for _ in range(5000)]
    assert sum(told) / len(told) == pytest.approx(sum(ends) / len(ends), abs=0.02)


@pytest.mark.parametrize(("world", "median"), [("lead100", 0.1), ("lead250", 0.25)])
def test_other_leads_move_the_end_and_not_the_maybe_end(world: str, median: float) -> None:
    plain = [end_silence(random.Random(n), Listener()) for n in range(4000)]
    other = [end_silence(random.Random(n), WORLDS[world].listener) for n in range(4000)]  # type: ignore[index]
    assert percentile([s.lead for s in other], 50) == pytest.approx(median, abs=0.01)
    for one, two in zip(plain, other, strict=True):
        assert one.delay - one.lead == pytest.approx(two.delay - two.lead)


def test_no_built_in_list_has_seen_the_inventory() -> None:
    known = [
        words for words in ATTENTION if not claims_floor(words, BACKCHANNELS, {}, "en", unlisted=1)
    ]
    assert known == []
    assert not CLAIMS["en"] & set(ATTENTION)


# ----------------------------------------------------------------------------------- formulas


def test_evas_curve() -> None:
    plain = [(-0.5, 0.0), (0.0, 0.5), (0.2, 0.7), (0.5, 1.0), (2.0, 1.0), (2.75, 0.5), (3.5, 0.0)]
    for latency, score in plain:
        assert eva_curve(latency, tool=False) == pytest.approx(score)
    assert eva_curve(3.0, tool=True) == 1.0
    assert eva_curve(4.0, tool=True) == pytest.approx(0.5)
    assert eva_curve(9.0, tool=True) == 0.0


def test_evas_score_of_a_turn() -> None:
    turn = SaidTurn(0, began=0.0, ended=2.0)
    assert eva_turn(turn, [(2.3, 4.0)], 9.0) == pytest.approx(0.8)
    assert eva_turn(turn, [], 9.0) == 0.0
    # The agent talks into it for 0.5 s, and answers 0.4 s after its end: the overlap is worst.
    assert eva_turn(turn, [(1.0, 1.5), (2.4, 4.0)], 9.0) == pytest.approx(0.25)
    # The caller breaks in, and the agent falls silent after 0.4 s.
    breaks_in = SaidTurn(0, 0.0, 2.0, breaks_in=True)
    assert eva_turn(breaks_in, [(-3.0, 0.4), (2.6, 4.0)], 9.0) == pytest.approx(0.8)


def test_evas_score_is_nothing_without_a_last_answer() -> None:
    turns = [SaidTurn(0, 0.0, 2.0), SaidTurn(1, 5.0, 6.0)]
    assert eva_score(turns, [(2.6, 4.0), (6.3, 7.0)]) == pytest.approx(0.9)
    assert eva_score(turns, [(2.6, 4.0)]) == 0.0


def test_a_tick_of_silence_divides_the_agents_speech() -> None:
    assert measures.segments([(0.0, 1.0), (1.1, 2.0), (2.3, 3.0)]) == [(0.0, 2.0), (2.3, 3.0)]
    assert measures.silent_after([(0.0, 2.0)], 0.7) == 2.0


def test_answers_are_timed_from_the_last_word() -> None:
    turns = [SaidTurn(0, 0.0, 2.0), SaidTurn(1, 5.0, 6.0)]
    talks = [(2.5, 4.0), (5.5, 6.5)]
    assert [*measures.latencies(turns, talks)] == [0.5]
    assert [*measures.responses(turns, talks)] == [True]
    assert [*measures.responses(turns, [(2.5, 4.0)])] == [True, False]


def test_what_an_extra_call_saves() -> None:
    base = [Figures(0, turns=2, reactions=[1.0, 0.8], requests=4)]
    with_drafts = [Figures(0, turns=2, reactions=[0.7, 0.7], requests=6)]
    assert extra_calls(with_drafts, base) == pytest.approx(0.5)
    assert saved_per_extra(with_drafts, base) == pytest.approx(0.2)


def test_the_interval_is_by_dialogue() -> None:
    same = [Figures(n, turns=1, eva=0.5) for n in range(9)]
    assert bootstrap(same, lambda s: s[0].eva).low == 0.5
    apart = [Figures(n, turns=1, eva=float(n % 2)) for n in range(40)]
    found = bootstrap(apart, lambda s: sum(f.eva for f in s) / len(s))
    assert found.low < 0.4 < found.value < 0.6 < found.high


# --------------------------------------------------------------------------------- whole calls


def test_nothing_is_slower_than_its_bound(calls: Sequence[Call]) -> None:
    found = [over for made in calls for over in measures.overheads(made, WORLD.backends, 0.0)]
    assert len(found) >= 6
    assert max(found) == pytest.approx(0.0, abs=1e-6)
    assert min(found) == pytest.approx(0.0, abs=1e-6)


def test_drafts_save_time_and_cost_requests() -> None:
    off = [figures_of(OFF, seed) for seed in range(3)]
    speech = [figures_of(SPEECH, seed) for seed in range(3)]
    assert extra_calls(speech, off) > 0
    assert sum(f.lost_drafts for f in speech) > 0
    assert saved_per_extra(speech, off) > 0
    assert not any(f.broken for f in [*off, *speech])
    assert all(f.lost_drafts == 0 for f in off)


@pytest.mark.parametrize("candidate", [SPEECH, ADAPTIVE, LADDER], ids=lambda one: one.name)
def test_the_ledger_of_a_call_is_what_the_model_and_the_voice_were_asked(
    candidate: Candidate,
) -> None:
    exact = 0
    for seed in range(4):
        made = call(candidate, seed)
        assert made.record is not None
        ledger = made.record.ledger
        commands = [command for _, _, commands in made.log for command in commands]
        booked = [command for command in commands if isinstance(command, cmd.DraftBooked)]
        begun = {c.reply for c in commands if isinstance(c, cmd.StartReply) and c.draft}
        committed = {c.reply for c in commands if isinstance(c, cmd.Commit)}
        assert {one.reply for one in booked} == begun
        assert len(booked) == ledger.drafts == len(begun)
        assert {a.reply for a in made.asked if a.draft} <= begun
        assert ledger.extra == sum(not one.adopted for one in booked)
        assert ledger.wasted == sum((b.cost for b in booked if not b.adopted), Cost())
        given = voiced(made)
        for one in booked:
            asked = [a for a in made.asked if a.reply == one.reply]
            if one.reply in committed:
                continue
            assert one.cost.characters == sum(len(text) for text in given.get(one.reply, []))
            if one.estimated:
                assert one.cost.input > 0
                continue
            exact += bool(asked)
            assert one.cost.input == sum(a.prompt for a in asked)
            assert one.cost.cached == sum(a.cached for a in asked)
            assert one.cost.output == sum(a.output for a in asked)
        figures = measure(made, WORLD.backends)
        assert figures.lost_drafts == len(begun - committed)
        assert figures.requests == len(made.asked) >= len(begun)
    assert exact > 0


def voiced(made: Call) -> dict[int, list[str]]:
    """By reply: what the voice was told to say, which is what it was given."""
    told: dict[int, list[str]] = {}
    for _, _, commands in made.log:
        for command in commands:
            if isinstance(command, cmd.Speak):
                told.setdefault(command.reply, []).append(command.text)
    assert [[text.strip() for text in texts] for texts in told.values()] == made.given
    return told


def test_a_policy_of_the_floor_is_one_of_the_call() -> None:
    words = Candidate("words", Speculation(), interruption=WORDS)
    assert words.agent().policy().interruption.hold == "words"
    attended = [kept for seed in range(6) for kept in figures_of(words, seed).attended]
    before = [kept for seed in range(6) for kept in figures_of(SPEECH, seed).attended]
    assert sum(attended) > sum(before)


def test_figures_that_are_kept_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_run", lambda _c, _w, seeds: [Figures(seed) for seed in seeds])
    with ThreadPoolExecutor(1) as pool:
        held = runs.Runs(1, tmp_path)
        held._pool = pool  # type: ignore[assignment]
        first = held.of(SPEECH, "measured", range(12))
        assert [figures.seed for figures in first] == [*range(12)]
        monkeypatch.setattr(runs, "_run", lambda *_: pytest.fail("it was held already"))
        assert held.of(SPEECH, "measured", range(12)) == first
        assert len([*tmp_path.iterdir()]) == 2
        with pytest.raises(pytest.fail.Exception):
            held.of(ADAPTIVE, "measured", range(12))


def test_a_budget_is_never_exceeded() -> None:
    for seed in range(3):
        figures = figures_of(ADAPTIVE, seed)
        assert figures.lost_drafts <= 2
        assert figures.over_budget == 0


def test_what_is_over_a_budget_is_seen(calls: Sequence[Call]) -> None:
    figures = [measure(made, WORLD.backends, 0.0, Budget(drafts=0)) for made in calls]
    assert any(found.over_budget for found in figures)


def test_the_table_and_the_picture_name_each_policy() -> None:
    samples = {
        "no draft": [Figures(n, 2, [1.0, 0.8], [1.2], [0.0], requests=4) for n in range(3)],
        "speech": [Figures(n, 2, [0.7, 0.7], [1.0], [0.0], requests=6) for n in range(3)],
    }
    made = table("a world", samples, "no draft")
    assert "| | no draft | speech |" in made
    assert "| extra LLM calls | 0.0 % | 50.0 % |" in made
    assert "| saved for each extra call, ms | - | 200 |" in made
    drawn = picture("costs", points(samples, "no draft"))
    assert drawn.count("<circle") == 4
    assert "speech" in drawn
