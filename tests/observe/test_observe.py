"""The record, the live view and the timeline of the call that `conftest.call` holds."""

from __future__ import annotations

import io
import json
import math
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Pace
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import Digits, Interruption, Policy, Silence
from agentkit.errors import RecordError
from agentkit.observe import (
    LiveView,
    RecordWriter,
    read_record,
    redact,
    replay,
    timeline_svg,
    write_record,
)
from agentkit.observe.record import from_json, to_json


def test_T22_a_record_replays_exactly(call: tuple[Path, str]) -> None:
    record = read_record(call[0])
    assert len(record.entries) > 30
    assert record.ended == "caller hung up"
    assert replay(record, TurnMachine) is None


def test_T22_the_first_difference_is_found(call: tuple[Path, str]) -> None:
    path = call[0]
    lines = path.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if '"Commit"' in line)
    entry = json.loads(lines[at])
    entry["commands"] = entry["commands"][1:]
    lines[at] = json.dumps(entry)
    path.write_text("\n".join(lines))
    difference = replay(read_record(path), TurnMachine)
    assert difference is not None
    assert difference.line == at + 1
    assert isinstance(difference.event, ev.TurnEnded)


def test_T22_a_redacted_record_says_nothing_and_still_replays(
    call: tuple[Path, str], tmp_path: Path
) -> None:
    record = redact(read_record(call[0]))
    write_record(tmp_path / "redacted.jsonl", record)
    again = read_record(tmp_path / "redacted.jsonl")
    assert again == record
    assert replay(again, TurnMachine) is None
    text = (tmp_path / "redacted.jsonl").read_text()
    for word in ("table", "three", "Certainly", "morning", "Which"):
        assert word not in text
    assert "mm-hm" in text, "sounds of attention stay, since decisions hang on them"
    committed = [
        c.text for _, _, cs in record.entries for c in cs if isinstance(c, cmd.TurnCommitted)
    ]
    first, second = (text.split() for text in committed)
    assert len(first) == 5
    assert first[3] == second[2], "for"
    assert len({*first, *second}) == 8, "book, a, table, for, two, no, wait, three"


def test_the_live_view_in_plain_lines(call: tuple[Path, str]) -> None:
    shown = call[1]
    assert "\x1b" not in shown
    for part in (
        "agent       Good morning.",
        "draft ",
        "parked      the draft is kept",
        "discarded   (words)",
        "committed   the draft is 500 ms ahead",
        "caller      book a table for two",
        "mm-hm  (attention, no turn)",
        "(interrupted)",
        "caller      no wait for three",
        "reaction 0 ms after the end of the turn",
    ):
        assert part in shown, f"{part!r} is missing in\n{shown}"


def test_the_live_view_on_a_terminal_shows_words_as_they_come() -> None:
    shown = io.StringIO()
    view = LiveView(shown, tty=True)
    view(0.0, ev.TurnStarted(connection=0, index=0, text="hel"), [])
    view(0.1, ev.TurnUpdated(connection=0, index=0, text="hello " * 60), [])
    view(0.2, ev.TurnEnded(connection=0, index=0, text="hello"), [cmd.TurnCommitted(0, "hello")])
    assert shown.getvalue().count("\r\x1b[K") == 3
    assert "..." in shown.getvalue()


def test_the_timeline_is_well_formed_and_shows_the_drafts_fates(call: tuple[Path, str]) -> None:
    svg = timeline_svg(read_record(call[0]))
    root = ElementTree.fromstring(svg)
    texts = " ".join(text for text in root.itertext())
    for part in ("committed", "words", "book a table for two", "Good morning.", "0 ms"):
        assert part in texts
    assert root.find("{http://www.w3.org/2000/svg}desc") is not None


CHECKED: dict[Any, list[Any]] = {
    Pace: [Pace(), Pace(0.4, "turn", 0.2, 7)],
    Digits: [Digits(), Digits("", 4, 1.5)],
    Policy: [Policy(), Policy(silence=Silence(8.0, 1, ("¿Sigue ahí?",)), language="es")],
}
"""Types that take only values that are right."""


def strategy(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type; a field of a type that is not known here fails the test."""
    if hint in CHECKED:
        return st.sampled_from(CHECKED[hint])
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of([strategy(one) for one in inner])
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is tuple:
        return st.lists(strategy(inner[0]), max_size=2).map(tuple)
    if origin is frozenset:
        return st.frozensets(strategy(inner[0]), max_size=2)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        return st.builds(hint, **{one.name: strategy(hints[one.name]) for one in fields(hint)})
    plain: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
        str: st.text(max_size=8),
        type(None): st.none(),
    }
    return plain[hint]


@pytest.mark.parametrize("kind", [*get_args(ev.Event), *get_args(cmd.Command)])
def test_everything_survives_the_way_through_json(kind: type) -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(strategy(kind))
    def survives(value: Any) -> None:
        text = json.dumps(to_json(value), allow_nan=False)
        again = from_json(json.loads(text))
        assert again == value
        assert type(again) is type(value)

    survives()


def test_what_is_not_finite_is_still_json() -> None:
    event = ev.PlayoutReached(1, math.nan)
    again = from_json(json.loads(json.dumps(to_json(event), allow_nan=False)))
    assert math.isnan(again.seconds)


def test_the_policy_survives_too() -> None:
    policy = Policy(interruption=Interruption(backchannels={"de": frozenset({"ja", "genau"})}))
    assert from_json(json.loads(json.dumps(to_json(policy)))) == policy


def test_unknown_fields_are_passed_over() -> None:
    given = {"type": "Oddity", "kind": "late", "colour": "red"}
    assert from_json(given) == cmd.Oddity("late")


HEAD = '{"record":1,"started":"","policy":{}}\n'


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "is empty"),
        ('{"record": 99}', "line 1: this is no record of version 1"),
        ("[]", "version 1"),
        ('{"record":1}', "line 1: there is no 'started'"),
        ('{"record":1,"started":"","policy":{"limits":{"attempts":0}}}', "limits.attempts"),
        (HEAD + '{"t":0}', "line 2: there is no 'event'"),
        (HEAD + "{bad\n", "line 2 is no JSON"),
        (HEAD + '{"t":"x","event":{"type":"Touched"},"commands":[]}', "line 2: t: 'x' is no"),
        (
            HEAD + '{"t":0,"event":{"type":"Whistle"},"commands":[]}',
            "'Whistle'.*version that wrote",
        ),
        (HEAD + '{"t":0,"event":{"type":"Touched"},"commands":[7]}', r"commands\[0\]: int"),
        (
            HEAD + '{"t":0,"event":{"type":"ReplyDone","reply":"x"},"commands":[]}',
            "event ReplyDone.reply: 'x' is no int",
        ),
        (
            HEAD + '{"t":0,"event":{"type":"ReplyDone"},"commands":[]}',
            "event ReplyDone: .*missing.*'reply'",
        ),
        (
            HEAD + '{"t":0,"event":{"type":"Touched"},'
            '"commands":[{"type":"Discard","reply":1,"reason":"bored"}]}',
            "'bored' is none of 'resumed'",
        ),
    ],
)
def test_a_record_that_cannot_be_read_says_why(tmp_path: Path, lines: str, says: str) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text(lines)
    with pytest.raises(RecordError, match=says):
        read_record(path)


def test_a_last_line_that_was_cut_off_is_passed_over(call: tuple[Path, str]) -> None:
    path = call[0]
    whole = read_record(path)
    text = path.read_text()
    path.write_text(text[: text.rindex('{"ended"') - 20])
    broken = read_record(path)
    assert broken.entries == whole.entries[:-1]
    assert broken.ended is None


def test_words_with_odd_line_breaks_stay_on_their_line(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    said = ev.ReplyText(0, "one\u2028two\x85three\nfour")
    with RecordWriter(path, Policy()) as writer:
        writer(0.0, said, [])
    assert read_record(path).entries == ((0.0, said, ()),)


def test_the_last_line_adds_the_call_up(call: tuple[Path, str]) -> None:
    first, *_, last = (json.loads(line) for line in call[0].read_text().splitlines())
    assert first["agentkit"]
    assert last["ended"] == "caller hung up"
    assert last["totals"]["turns"] == 2
    assert last["totals"]["committed"] == 1
    assert last["totals"]["drafts"] == 2


def test_entries_are_written_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    writer = RecordWriter(path, Policy())
    writer(0.0, ev.Touched(), [])
    assert "Touched" not in path.read_text()
    for _ in range(100):
        writer(0.0, ev.Touched(), [])
    assert 0 < path.read_text().count("Touched") < 101
    writer.close()
    writer.close()
    assert path.read_text().count("Touched") == 101


def test_a_record_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No such file"):
        read_record(tmp_path / "none")
