"""Interruption as a policy: word lists, verdicts, echo, and when a draft still fits (T4, T17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.policy import Interruption, Policy, Speculation
from agentkit.core.wordlists import BACKCHANNELS, COURTESY
from agentkit.core.words import claims_floor, is_echo, without_courtesy
from agentkit.errors import ConfigError

Call = Any
Make = Callable[[Policy], Any]
HOURS = "We are open from nine to five on weekdays and from ten to two on Saturdays."


def talking(call: Call, *, heard: float = 2.0) -> Call:
    """The agent is saying the hours, 5 s long, and so much of it was heard."""
    call.turn("when are you open")
    call.wait(0.7)
    call.answer(HOURS, seconds=5.0)
    call.hear(heard)
    return call


# ------------------------------------------------------------------------------ the word lists


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Mm-hm."), ("en", "Yeah, okay."), ("en-GB", "Oh, I see."), ("en", "uh-huh, uh-huh"),
        ("es", "Ajá."), ("es", "Sí, sí."), ("es-MX", "Ya veo, de acuerdo."), ("es", "vale"),
        ("fr", "D’accord."), ("fr", "Ah bon ?".replace(" ?", "")), ("fr-CA", "oui oui, je vois"),
        ("de", "Ach so, genau."), ("de-AT", "Ja, alles klar."), ("de", "Mhm"), ("de", "Na gut."),
    ],
)  # fmt: skip
def test_T17_sounds_of_attention_by_language(language: str, text: str) -> None:
    assert not claims_floor(text, BACKCHANNELS, {}, language, unlisted=1)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "yeah but on Sunday"), ("en", "no"), ("en", "wait"), ("en", "stop"), ("en", ""),
        ("es", "espera"), ("es", "no, el lunes"), ("fr", "attendez"), ("fr", "non merci"),
        ("de", "Moment mal"), ("de", "nein"), ("de", "ja aber"), ("en", "okay?"),
        ("ja", "hai"),
    ],
)  # fmt: skip
def test_T17_words_that_take_the_floor(language: str, text: str) -> None:
    assert claims_floor(text, BACKCHANNELS, {}, language, unlisted=1)


@pytest.mark.parametrize("lists", [BACKCHANNELS, COURTESY])
def test_the_lists_are_written_as_words_are_compared(lists: Any) -> None:
    for language, known in lists.items():
        assert len(known) > 10
        for phrase in known:
            assert not claims_floor(phrase, lists, {}, language, unlisted=1), phrase
            assert len(phrase.split()) <= 4


def test_T17_the_list_of_the_agents_language_counts(call_with: Make) -> None:
    german = talking(call_with(Policy(language="de")))
    german.start("genau")
    german.end("genau")
    assert german.of(cmd.BackchannelHeard)
    english = talking(call_with(Policy(language="en")))
    english.start("genau")
    assert english.outcomes == {0: "heard"}, "an interruption"


# --------------------------------------------------------------------- the user's own function


def judged(call: Call, text: str, takes_floor: bool) -> None:
    call.on(ev.FloorJudged(text, takes_floor))


def test_T17_a_function_of_the_users_own_decides_before_the_lists(call_with: Make) -> None:
    call = talking(call_with(Policy(interruption=Interruption(judged=True))))
    judged(call, "so I told him", False)
    call.start("so I told him")
    call.end("so I told him")
    assert call.of(cmd.BackchannelHeard) == [cmd.BackchannelHeard(1, "so I told him")]
    judged(call, "mm-hm", True)
    call.start("mm-hm")
    assert call.outcomes == {0: "heard"}, "here the function calls it an interruption"


def test_T17_a_verdict_holds_for_its_words_only(call_with: Make) -> None:
    call = talking(call_with(Policy(interruption=Interruption(judged=True))))
    judged(call, "so", False)
    call.start("so")
    assert not call.outcomes
    call.update("so stop")
    assert call.outcomes == {0: "heard"}


def test_T17_a_verdict_nobody_asked_for_changes_nothing(call: Call) -> None:
    talking(call)
    judged(call, "mm-hm", True)
    call.start("mm-hm")
    assert not call.outcomes


def test_the_sentence_that_is_at_stake(call: Call) -> None:
    assert call.machine.sentence() is None
    talking(call)
    assert call.machine.sentence() == HOURS
    call.on(ev.InterruptRequested())
    call.say("This is recorded.", interruptible=False)
    assert call.machine.sentence() is None, "it cannot lose the floor"


# ------------------------------------------------------------------------------------ the echo


@pytest.mark.parametrize(
    ("said", "echo"),
    [
        ("nine to five", True),
        ("Nine to five.", True),
        ("open from nine to fife on weekdays", True),
        ("nine", False),
        ("no not nine to five", False),
        ("we Saturdays", False),
        ("five to nine", False),
        ("", False),
    ],
)
def test_what_is_an_echo(said: str, echo: bool) -> None:
    assert is_echo(said, HOURS, 2) is echo


def test_T17_the_agents_own_words_are_no_interruption(call: Call) -> None:
    """livekit#315, pipecat#4383: the agent hears itself."""
    talking(call)
    heard = call.machine.messages()[-1].text
    tail = " ".join(heard.split()[-2:])
    out = call.start(tail, speech_start=call.now - 0.6)
    assert [type(c) for c in out if isinstance(c, cmd.ClearPlayout | cmd.Play)] == [
        cmd.ClearPlayout,
        cmd.Play,
    ], "held, and let go on at once"
    call.eager(tail)
    call.end(tail)
    assert call.of(cmd.EchoHeard) == [cmd.EchoHeard(1, tail)]
    assert len(call.of(cmd.StartReply)) == 1
    call.hear(5.0)
    assert call.outcomes == {0: "heard"}
    assert len(call.said) == 2


def test_T17_an_echo_of_the_last_words_is_no_turn(call: Call) -> None:
    talking(call, heard=5.0)
    assert call.outcomes == {0: "heard"}
    call.wait(0.3)
    call.start("on Saturdays", speech_start=call.now - 0.7)
    call.eager("on Saturdays")
    call.end("on Saturdays")
    assert call.of(cmd.EchoHeard)
    assert len(call.of(cmd.StartReply)) == 1


def test_T17_a_caller_who_repeats_a_phrase_begins_later_than_an_echo(call: Call) -> None:
    talking(call)
    early = " ".join(HOURS.split()[:4])
    call.start(early, speech_start=call.now - 0.1)
    assert call.outcomes == {0: "heard"}, "an interruption"
    assert not call.of(cmd.EchoHeard)


def test_T17_more_than_an_echo_takes_the_floor(call: Call) -> None:
    talking(call)
    tail = " ".join(call.machine.messages()[-1].text.split()[-2:])
    onset = call.now - 0.6
    call.start(tail, speech_start=onset)
    call.update(f"{tail} but I can only come on Sundays", speech_start=onset)
    assert call.outcomes == {0: "heard"}


def test_T17_an_echo_long_after_is_a_turn(call: Call) -> None:
    talking(call, heard=5.0)
    call.wait(1.5)
    call.turn("on Saturdays")
    assert len(call.of(cmd.StartReply)) == 2


def test_T17_the_guard_can_be_off(call_with: Make) -> None:
    call = talking(call_with(Policy(interruption=Interruption(echo_words=0))))
    tail = " ".join(call.machine.messages()[-1].text.split()[-2:])
    call.start(tail, speech_start=call.now - 0.6)
    assert call.outcomes == {0: "heard"}


# ------------------------------------------------------------------- T4: when a draft still fits

COURTEOUS = Policy(speculation=Speculation(fit="courtesy"))


@pytest.mark.parametrize(
    ("drafted", "final", "fits"),
    [
        ("book a table", "book a table please", True),
        ("um book a table", "Book a table, thank you.", True),
        ("book a table", "book a table for two", False),
        ("book a table", "book a table?", False),
        ("okay", "okay please", False),
        ("okay", "please", False),
        ("thanks", "thank you", False),
    ],
)
def test_T4_courtesy_may_be_added_if_the_agent_asks_for_it(
    call_with: Make, drafted: str, final: str, fits: bool
) -> None:
    call = call_with(COURTEOUS)
    call.start(drafted)
    call.eager(drafted)
    call.end(final)
    assert bool(call.of(cmd.Commit)) is fits
    assert call.said == [f"user: {final}"], "the history keeps the final transcript (T4)"


def test_T4_strict_by_default(call: Call) -> None:
    call.start("book a table")
    call.eager("book a table")
    call.end("book a table please")
    assert not call.of(cmd.Commit)


def test_T4_courtesy_by_language() -> None:
    assert without_courtesy("Einen Tisch, bitte, danke schön", COURTESY, "de") == ["einen", "tisch"]
    assert without_courtesy("s’il vous plaît une table", COURTESY, "fr") == ["une", "table"]
    assert without_courtesy("por favor", COURTESY, "es") == ["por", "favor"]
    assert without_courtesy("book it please", {}, "en") == ["book", "it", "please"]


def test_an_unknown_fit_names_the_field() -> None:
    with pytest.raises(ConfigError, match=r"speculation\.fit"):
        Speculation(fit="loose")  # type: ignore[arg-type]
