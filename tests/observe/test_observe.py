"""The record, the live view and the timeline of a call that was really held, in virtual time."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints
from xml.etree import ElementTree

import pytest

from agentkit import Agent, Session
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall, UserMessage
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import Policy
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
from agentkit.testing.backends import ScriptedLLM, ScriptedSource, ScriptedTTS
from agentkit.testing.clock import run_virtual
from agentkit.testing.transport import FakeTransport


class Greeter(Agent):
    greeting = "Good morning."


async def hold(path: Path, view: LiveView) -> None:
    """A greeting; a turn with a pause in it; one that is interrupted; a backchannel."""
    source, line = ScriptedSource(), FakeTransport()
    agent = Greeter()
    llm = ScriptedLLM(lambda request: "Certainly, I can do that for you right away. Which day?")
    with RecordWriter(path, agent.policy()) as writer:
        session = Session(
            agent, line, source=source, llm=llm, tts=ScriptedTTS(), observers=[view, writer]
        )
        async with session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            await source.ready()
            source.connected()
            await asyncio.sleep(2)
            source.start("book a")
            source.maybe_end("book a table")
            await asyncio.sleep(0.3)
            source.resume("book a table for")
            source.maybe_end("book a table for two")
            await asyncio.sleep(0.5)
            source.end("book a table for two")
            await asyncio.sleep(1.2)
            source.start("mm-hm")
            source.end("mm-hm")
            await asyncio.sleep(0.8)
            source.start("no wait for three")
            source.end("no wait for three")
            await asyncio.sleep(6)
            line.hang_up_remote()
            await running


@pytest.fixture
def call(tmp_path: Path) -> tuple[Path, str]:
    shown = io.StringIO()
    path = tmp_path / "call" / "record.jsonl"
    run_virtual(hold(path, LiveView(shown, tty=False)))
    return path, shown.getvalue()


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


SAMPLES: dict[Any, Any] = {int: 3, float: 1.25, bool: True, str: "é <b>"}


@pytest.mark.parametrize("kind", [*get_args(ev.Event), *get_args(cmd.Command)])
def test_everything_survives_the_way_through_json(kind: type) -> None:
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for field in fields(kind):
        hint = hints[field.name]
        if field.name == "words":
            given[field.name] = (ev.Word("a", 0.5, None, 1.0),)
        elif field.name == "calls":
            given[field.name] = (ToolCall("c", "t", "{}"),)
        elif field.name in ("effects", "at_once"):
            given[field.name] = frozenset({"b", "a"})
        elif field.name == "times":
            given[field.name] = cmd.TurnTimes(ended=1.5)
        elif field.name == "message":
            given[field.name] = UserMessage("x", 1)
        elif field.name == "languages":
            given[field.name] = ("en",)
        else:
            given[field.name] = ToolCall("c", "t", "{}") if hint is ToolCall else SAMPLES.get(hint)
    made = kind(**given)
    assert from_json(json.loads(json.dumps(to_json(made)))) == made


def test_the_policy_survives_too() -> None:
    assert from_json(json.loads(json.dumps(to_json(Policy())))) == Policy()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "is empty"),
        ('{"record": 99}', "version 1"),
        ("[]", "version 1"),
        ('{"record":1,"started":"","policy":{}}\n{"t":0}', "line 2: KeyError"),
        ('{"record":1,"started":"","policy":{}}\n{bad', "line 2: JSONDecodeError"),
        (
            '{"record":1,"started":"","policy":{}}\n'
            '{"t":0,"event":{"type":"Whistle"},"commands":[]}',
            "Whistle",
        ),
    ],
)
def test_a_record_that_cannot_be_read_says_why(tmp_path: Path, lines: str, says: str) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text(lines)
    with pytest.raises(RecordError, match=says):
        read_record(path)


def test_a_record_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No such file"):
        read_record(tmp_path / "none")
