"""When words take the floor and when playout stops for them: `Interruption`'s ``hold``,
``unlisted`` and ``claims`` (T17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.policy import Interruption, Policy
from agentkit.core.wordlists import BACKCHANNELS, CLAIMS
from agentkit.core.words import claims_floor
from agentkit.errors import ConfigError

Call = Any
Make = Callable[[Policy], Any]
HOURS = "We are open from nine to five on weekdays and from ten to two on Saturdays."
PATIENT = Policy(interruption=Interruption(hold="words", unlisted=3))
HELD = Policy(interruption=Interruption(unlisted=3))


def talking(call: Call, text: str = HOURS, *, heard: float = 2.0, seconds: float = 5.0) -> Call:
    """The agent is saying something, each piece so long, and so much of it was heard."""
    call.turn("when are you open")
    call.wait(0.7)
    call.answer(text, seconds=seconds)
    call.hear(heard)
    return call


def stops(call: Call) -> int:
    """How often playout was cleared."""
    return len(call.of(cmd.ClearPlayout))


def claims(text: str, language: str = "en", unlisted: int = 3) -> bool:
    return claims_floor(text, BACKCHANNELS, CLAIMS, language, unlisted=unlisted)


# ------------------------------------------------------------------------- what words ask for


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Wait."), ("en", "yeah hold on"), ("en", "lovely stop"), ("en", "No."),
        ("en", "blue?"), ("en", "I want that"), ("en-GB", "Sorry,"), ("es", "Un momento."),
        ("es-MX", "perdón"), ("fr", "Attendez"), ("fr", "oui mais"), ("de", "Moment mal"),
        ("de", "ja aber"), ("en", "mm-hm so tell me now"),
    ],
)  # fmt: skip
def test_T17_claims_questions_and_many_words_ask_for_the_floor(language: str, text: str) -> None:
    assert claims(text, language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Lovely."), ("en", "so lovely"), ("en", "yeah, lovely, okay, bravo"),
        ("es", "no me diga"), ("es", "qué maravilla"), ("fr", "mais oui"), ("fr", "trop fort"),
        ("de", "ja, super"), ("en", "mm-hm"), ("en", "..."), ("en", ""),
    ],
)  # fmt: skip
def test_T17_fewer_words_of_no_list_ask_for_nothing(language: str, text: str) -> None:
    assert not claims(text, language)


@pytest.mark.parametrize(
    ("text", "attention"),
    [
        ("mm-hm", True), ("yeah okay", True), ("lovely", False), ("no", False), ("okay?", False),
        ("...", False), ("", False), ("ja", False),
    ],
)  # fmt: skip
def test_T17_with_one_word_of_no_list_all_but_attention_asks_for_the_floor(
    text: str, attention: bool
) -> None:
    assert claims(text, unlisted=1) is not attention


def test_the_lists_contradict_nowhere() -> None:
    assert CLAIMS.keys() == BACKCHANNELS.keys()
    for language, known in CLAIMS.items():
        assert len(known) > 40
        for phrase in known:
            assert len(phrase.split()) <= 4
            assert claims(phrase, language, 99), phrase
            assert claims_floor(phrase, BACKCHANNELS, {}, language, unlisted=1), phrase


def test_T17_a_phrase_on_both_lists_is_attention() -> None:
    both = {"en": frozenset({"no way"})}
    assert not claims_floor("no way", both, both, "en", unlisted=1)
    assert not claims_floor("no way", both, CLAIMS, "en", unlisted=3), "it is longer than a no"


def test_settings_out_of_range_name_the_field() -> None:
    with pytest.raises(ConfigError, match=r"interruption\.hold"):
        Interruption(hold="never")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"interruption\.unlisted"):
        Interruption(unlisted=0)


# -------------------------------------------------------------------- undecided words, and held


def test_T17_undecided_words_are_attention_in_the_record_and_not_in_the_history(
    call_with: Make,
) -> None:
    call = talking(call_with(HELD))
    call.start("so lovely")
    assert stops(call) == 1, "held at once, as ever"
    call.eager("So lovely.")
    out = call.end("So lovely.")
    assert cmd.BackchannelHeard(1, "So lovely.") in out
    assert [type(c) for c in out if isinstance(c, cmd.Play)] == [cmd.Play]
    assert len(call.of(cmd.StartReply)) == 1, "neither drafted nor answered"
    call.hear(5.0)
    assert call.outcomes == {0: "heard"}
    assert call.said == ["user: when are you open", f"assistant: {HOURS}"]


def test_T17_another_word_decides(call_with: Make) -> None:
    call = talking(call_with(HELD))
    call.start("so lovely")
    assert not call.outcomes
    call.update("so lovely but")
    assert call.outcomes == {0: "heard"}, "a claim"


def test_T17_undecided_words_answer_a_question(call_with: Make) -> None:
    call = talking(call_with(HELD), "Would you rather come on Friday, or is Saturday better?")
    call.start("Saturday")
    assert call.outcomes == {0: "heard"}
    call.end("Saturday")
    assert call.said[-1] == "user: Saturday"


def test_T17_undecided_words_at_the_end_are_an_answer(call_with: Make) -> None:
    call = talking(call_with(HELD), heard=4.3)
    call.start("lovely")
    call.end("lovely")
    assert call.said[-1] == "user: lovely"


@pytest.mark.parametrize(("said", "heard"), [("Saturday", 2.0), ("mm-hm", 2.0), ("lovely", 4.3)])
def test_T17_where_only_words_hold_an_answer_waits_for_the_end_of_the_question(
    call_with: Make, said: str, heard: float
) -> None:
    question = "Would you rather come on Friday, or is Saturday better?"
    call = talking(call_with(PATIENT), question if heard < 4 else HOURS, heard=heard)
    call.start(said)
    call.eager(said)
    call.end(said)
    assert not stops(call)
    assert not call.of(cmd.BackchannelHeard)
    assert call.said[-1] == f"user: {said}"
    call.hear(10.0)
    assert call.outcomes == {0: "heard"}
    call.answer("Good.")
    call.hear(1.0)
    assert call.outcomes == {0: "heard", 1: "heard"}


def test_T16_an_answer_that_goes_on_takes_the_floor(call_with: Make) -> None:
    call = talking(call_with(PATIENT), "Would you rather come on Friday, or is Saturday better?")
    call.start("Saturday")
    assert not stops(call)
    call.update("Saturday would be")
    assert call.outcomes == {0: "heard"}


def test_T17_the_users_own_claims(call_with: Make) -> None:
    rules = Interruption(unlisted=3, claims={"en": frozenset({"tomato"})})
    call = talking(call_with(Policy(interruption=rules)))
    call.start("wait")
    assert not call.outcomes
    call.update("wait tomato")
    assert call.outcomes == {0: "heard"}


def test_T17_a_function_of_the_users_own_decides_before_claims(call_with: Make) -> None:
    rules = Interruption(hold="words", unlisted=3, judged=True)
    call = talking(call_with(Policy(interruption=rules)))
    call.on(ev.FloorJudged("wait", False))
    call.start("wait")
    assert not stops(call)
    call.on(ev.FloorJudged("wait mm-hm", True))
    call.update("wait mm-hm")
    assert call.outcomes == {0: "heard"}


# ------------------------------------------------------------- playout stops for words alone


@pytest.mark.parametrize("first", ["", "mm-hm", "Lovely."])
def test_T17_playout_goes_on_until_words_take_the_floor(call_with: Make, first: str) -> None:
    call = talking(call_with(PATIENT))
    call.start(first)
    call.hear(0.5)
    call.end(first)
    assert not stops(call)
    assert len(call.of(cmd.Play)) == 1
    assert bool(call.of(cmd.BackchannelHeard)) is bool(first)
    call.hear(5.0)
    assert call.outcomes == {0: "heard"}


@pytest.mark.parametrize("first", ["wait", "so I would", "Friday?"])
def test_T16_words_that_take_the_floor_stop_it_at_once(call_with: Make, first: str) -> None:
    call = talking(call_with(PATIENT))
    call.start(first)
    assert stops(call) == 1
    assert call.outcomes == {0: "heard"}


def test_T17_what_is_to_be_said_waits_for_who_has_taken_the_floor(call_with: Make) -> None:
    call = talking(call_with(PATIENT))
    call.start("mm-hm")
    call.update("mm-hm wait")
    assert call.outcomes == {0: "heard"}
    call.say("By the way.")
    assert len(call.of(cmd.Play)) == 1
    call.end("mm-hm wait")
    assert len(call.of(cmd.Play)) == 2


def test_T17_a_reply_that_was_not_heard_is_held_whatever_is_said(call_with: Make) -> None:
    call = call_with(PATIENT)
    call.turn("when are you open")
    call.answer(HOURS, seconds=5.0)
    call.start("")
    assert stops(call) == 1, "its turn may take its end back (T11)"
    call.update("mm-hm")
    assert call.outcomes == {0: "merged"}
    call.say("By the way.")
    assert len(call.of(cmd.Play)) == 1, "it waits"


def test_T11_going_on_right_after_the_first_sound_still_makes_one_turn(call_with: Make) -> None:
    call = talking(call_with(PATIENT), heard=0.4)
    call.start("mm-hm", speech_start=call.now - 0.35)
    assert call.outcomes == {0: "merged"}
    call.say("By the way.")
    assert len(call.of(cmd.Play)) == 1, "the caller has the floor"


def test_T17_what_words_meant_does_not_change_with_what_is_said_after_them(
    call_with: Make,
) -> None:
    """The end of a turn comes late: meanwhile the agent has come to a question, or to its end."""
    said = "That is nine to five on weekdays. Shall I book you in?"
    call = talking(call_with(PATIENT), said, seconds=3.0)
    call.start("lovely")
    call.hear(2.0)
    assert call.machine.sentence() == "Shall I book you in?"
    out = call.end("Lovely.")
    assert cmd.BackchannelHeard(1, "Lovely.") in out
    call.start("lovely")
    call.end("lovely")
    assert call.said[-1] == "user: lovely", "now it is the question that is being heard"


def test_T17_attention_to_a_reply_that_has_ended_meanwhile_is_no_turn(call_with: Make) -> None:
    call = talking(call_with(PATIENT), heard=3.5)
    call.start("mm-hm")
    call.hear(5.0)
    assert call.outcomes == {0: "heard"}
    call.end("Mm-hm.")
    assert call.of(cmd.BackchannelHeard) == [cmd.BackchannelHeard(1, "Mm-hm.")]
    assert len(call.of(cmd.StartReply)) == 1


def test_T6_attention_holds_the_last_turns_effects_no_longer_than_held_playout(
    call_with: Make,
) -> None:
    call = call_with(PATIENT)
    call.turn("when are you open")
    call.answer(HOURS, seconds=5.0)
    call.hear(0.5)
    call.start("mm-hm", speech_start=call.now - 0.1)
    assert not call.of(cmd.TurnSettled)
    call.wait(1.0)
    assert [settled.turn for settled in call.of(cmd.TurnSettled)] == [0]


def test_T17_the_agents_own_echo_stops_nothing(call_with: Make) -> None:
    call = talking(call_with(PATIENT))
    tail = " ".join(call.machine.messages()[-1].text.split()[-2:])
    call.start(tail, speech_start=call.now - 0.6)
    call.end(tail)
    assert call.of(cmd.EchoHeard)
    assert not stops(call)
