"""Redacted records: nothing that was said is left, and they still replay (rule T22)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import Interruption, Policy, Silence
from agentkit.core.words import claims_floor, normal_words, same_words
from agentkit.observe import Record, read_record, redact, replay, write_record
from agentkit.observe.redact import Redactor


def test_T22_a_redacted_record_still_replays(call: tuple[Path, str], tmp_path: Path) -> None:
    record = read_record(call[0])
    path = tmp_path / "redacted.jsonl"
    write_record(path, redact(record))
    again = read_record(path)
    assert replay(again, TurnMachine) is None
    assert again.ended == record.ended
    assert [at for at, _, _ in again.entries] == [at for at, _, _ in record.entries]
    text = path.read_text()
    for word in ("Certainly", "morning", "table", "three"):
        assert re.search(rf"\b{word}\b", text, re.IGNORECASE) is None, word
    assert "mm-hm" in text


def test_the_same_word_has_the_same_token_however_it_is_written() -> None:
    redactor = Redactor(Policy())
    one, two = redactor.text("Thursday, thursday! THURSDAY"), redactor.text("Friday")
    first, second, third = one.split()
    assert first.strip(",").lower() == second.strip("!") == third.lower()
    assert (first[-1], second[-1]) == (",", "!")
    assert len(first) == len("Thursday,")
    assert two.lower() not in one.lower()
    assert "thursday" not in one.lower()


@pytest.mark.parametrize("text", ["mm-hm", "Yeah, okay.", "I see", "uh huh", "Dr.", "?", "...", ""])
def test_what_the_machine_knows_stays(text: str) -> None:
    assert Redactor(Policy()).text(text) == text


def test_what_the_policy_lists_stays() -> None:
    policy = Policy(interruption=Interruption(backchannels={"de": frozenset({"ja genau"})}))
    redactor = Redactor(policy)
    assert redactor.text("Ja, genau") == "Ja, genau"
    assert redactor.text("yeah") != "yeah"


def test_a_number_stays_a_number_and_a_question_a_question() -> None:
    assert re.fullmatch(
        r"[a-z]{2} \d\d\.\d\d, [a-z]{4}\?", Redactor(Policy()).text("at 10.30, then?")
    )


def test_there_are_more_words_than_tokens_of_a_length() -> None:
    redactor = Redactor(Policy())
    tokens = {redactor.text(chr(0x400 + n)).lower() for n in range(0x20)}
    tokens |= {redactor.text(letter).lower() for letter in "abcdefghjklmnopqrstuvwxyz"}
    digits = {redactor.text(digit) for digit in "0123456789"}
    assert len(digits) == 10
    assert len(tokens) == len({chr(0x400 + n).casefold() for n in range(0x20)}) + 25


TEXTS = (
    *("yeah", "okay", "no", "Straße", "STRASSE", "don't", "10.5", "C++", "mm-hm", "what?"),
    *("\u00e9", "e\u0301", "\ufb01n", "fin"),
)
WORDS = st.lists(st.sampled_from(TEXTS), max_size=6).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(WORDS, WORDS)
def test_T22_tokens_keep_equality(one: str, two: str) -> None:
    policy = Policy()
    redactor = Redactor(policy)
    hidden = redactor.text(one), redactor.text(two)
    assert same_words(*hidden) == same_words(one, two)
    known = policy.interruption.backchannels, policy.interruption.claims
    claim = claims_floor(one, *known, "en", unlisted=1)
    assert claims_floor(hidden[0], *known, "en", unlisted=1) == claim
    assert len(normal_words(hidden[0])) == len(normal_words(one))


def test_words_that_come_in_two_tokens_are_one_word_in_commands_too() -> None:
    entries = (
        (0.0, ev.ReplyText(1, "Rose"), ()),
        (0.1, ev.ReplyText(1, "wood Clinic. He"), (cmd.Speak(1, 0, "Rosewood Clinic."),)),
        (0.2, ev.ReplyText(1, "llo"), (cmd.Speak(1, 1, " Hello"),)),
        (0.3, ev.ReplyDone(1), (cmd.ReplyEnded(1, None, None, "Rosewood Cli", True),)),
    )
    hidden = redact(Record("", Policy(), entries, "over")).entries
    texts = [event.text for _, event, _ in hidden if isinstance(event, ev.ReplyText)]
    commands = [command for _, _, found in hidden for command in found]
    spoken = [command.text for command in commands if isinstance(command, cmd.Speak)]
    assert "".join(texts) == "".join(spoken)
    ended = commands[-1]
    assert isinstance(ended, cmd.ReplyEnded)
    assert spoken[0].startswith(ended.heard)
    assert "Rosewood" not in "".join(texts)


def test_tools_keep_their_names_and_lose_what_was_said() -> None:
    call = ToolCall("call_1", "book", '{"name": "Ann Lee"}')
    event = ev.ToolRequested(1, (call,), frozenset({"call_1"}))
    hidden = Redactor(Policy()).value(event)
    assert hidden.effects == frozenset({"call_1"})
    assert (hidden.calls[0].id, hidden.calls[0].name) == ("call_1", "book")
    assert "Ann" not in hidden.calls[0].arguments
    assert hidden.calls[0].arguments.startswith('{"')


def test_T22_a_reply_without_a_word_is_redacted_too() -> None:
    machine = TurnMachine(Policy())
    events = (ev.ReplyRequested(0, "greet"), ev.CallEnded("hangup"))
    entries = tuple((0.0, event, tuple(machine.handle(event, 0.0))) for event in events)
    hidden = redact(Record("", Policy(), entries, None))
    assert replay(hidden, TurnMachine) is None


def test_T25_keys_that_were_pressed_are_noughts_and_it_still_replays() -> None:
    machine = TurnMachine(Policy(silence=Silence(5.0)))
    events: list[ev.Event] = [*map(ev.KeyPressed, "81*3#"), ev.TimerFired("settle")]
    entries = tuple(
        (at / 10, event, tuple(machine.handle(event, at / 10))) for at, event in enumerate(events)
    )
    record = Record("", machine.policy, entries, None)
    hidden = redact(record)
    assert replay(hidden, TurnMachine) is None
    shown = repr(hidden)
    assert "00*0" in shown
    assert "81*3" not in shown
    assert "KeyPressed(key='8')" not in shown


def test_the_agents_fixed_lines_stay() -> None:
    """They are in the policy anyway, and the machine says them itself."""
    policy = Policy(filler="One moment.")
    machine = TurnMachine(policy)
    entries = []
    for at, event in (
        (0.0, ev.TurnEnded(connection=0, index=0, text="hello")),
        (2.0, ev.TimerFired("filler")),
    ):
        entries.append((at, event, tuple(machine.handle(event, at))))
    hidden = redact(Record("", policy, tuple(entries), None))
    assert "One moment." in repr(hidden.entries)
    assert "hello" not in repr(hidden.entries)
    assert replay(hidden, TurnMachine) is None
