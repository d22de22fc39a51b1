"""A bug report is a record: each file in `records` has to replay, as it is and redacted (T22).

``python tests/test_records.py`` writes the commands of each anew, as the machine decides now. Do
that when the rules were changed on purpose, and read the difference before you commit it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentkit.core import commands as cmd
from agentkit.core.machine import TurnMachine
from agentkit.observe import Record, read_record, redact, replay, write_record

RECORDS = sorted((Path(__file__).parent / "records").glob("*.jsonl"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_T22_the_same_events_make_the_same_commands(path: Path) -> None:
    difference = replay(read_record(path), TurnMachine)
    assert difference is None, f"line {difference.line}: {difference.event}"


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_T22_the_redacted_copy_replays_too(path: Path) -> None:
    difference = replay(redact(read_record(path)), TurnMachine)
    assert difference is None, f"line {difference.line}: {difference.event}"


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_committed_turn_has_one_outcome(path: Path) -> None:
    commands = [c for _, _, some in read_record(path).entries for c in some]
    committed = [c.turn for c in commands if isinstance(c, cmd.TurnCommitted)]
    closed = [c.turn for c in commands if isinstance(c, cmd.TurnClosed)]
    assert sorted(committed) == sorted(closed)
    assert len(set(closed)) == len(closed)


def test_there_are_records() -> None:
    assert len(RECORDS) >= 6


def again(record: Record) -> Record:
    """The record with what the machine decides now."""
    machine = TurnMachine(record.policy)
    entries = tuple(
        (at, event, tuple(machine.handle(event, at))) for at, event, _ in record.entries
    )
    return replace(record, entries=entries)


if __name__ == "__main__":
    for path in RECORDS:
        write_record(path, again(read_record(path)))
