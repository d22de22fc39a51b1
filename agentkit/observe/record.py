"""The record of a call: a file of JSON lines that is enough to replay it (rule T22).

The first line says what the file is and how the call was set up; each further line is one event,
its time in seconds on the session's clock, and the commands that followed; the last one says why
the call ended. It holds what the caller said: it is personal data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, get_args

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core import history, policy
from agentkit.core.policy import Policy
from agentkit.errors import RecordError

VERSION = 1
_FLUSH = 200
"""Entries that are kept before they are written, so that a busy call does not touch the disk."""

Entry = tuple[float, ev.Event, Sequence[cmd.Command]]

_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *get_args(ev.Event),
        *get_args(cmd.Command),
        *get_args(history.Message),
        cmd.TurnTimes,
        ev.Word,
        history.SpokenWord,
        history.ToolCall,
        policy.Policy,
        policy.Speculation,
        policy.Interruption,
        policy.Limits,
    )
}


def to_json(value: Any) -> Any:
    """A value of the core as plain JSON: a dataclass is an object with its ``type``."""
    if is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__, **plain}
    if isinstance(value, frozenset | set):
        return {"set": sorted(value)}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def from_json(value: Any) -> Any:
    """The other way. Fields that are not known are passed over; KeyError for an unknown type."""
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    if value.keys() == {"set"}:
        return frozenset(value["set"])
    if "type" not in value:
        return {key: from_json(item) for key, item in value.items()}
    kind = _TYPES[value["type"]]
    known = {field.name for field in fields(kind)}
    return kind(**{key: from_json(item) for key, item in value.items() if key in known})


class RecordWriter:
    """Writes a call's record. An observer of a session, and a context manager around it.

    Args:
        path: where it goes; the folder is made.
        policy: the settings that the machine works with.
    """

    def __init__(self, path: Path, policy: Policy) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._waiting: list[Entry] = []
        self._reason = ""
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._line({"record": VERSION, "started": started, "policy": to_json(policy)})

    def __call__(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        """Take note of an event and what followed."""
        if isinstance(event, ev.CallEnded):
            self._reason = event.reason
        self._waiting.append((now, event, tuple(commands)))
        if len(self._waiting) >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        for at, event, commands in self._waiting:
            self._line({"t": at, "event": to_json(event), "commands": to_json(commands)})
        self._waiting.clear()
        self._file.flush()

    def close(self) -> None:
        """Write the last line. Safe to call twice."""
        if not self._file.closed:
            self.flush()
            self._line({"ended": self._reason})
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _line(self, value: dict[str, Any]) -> None:
        self._file.write(_line(value))


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was read.

    Args:
        started: wall time, ISO 8601.
        policy: the settings of the call.
        entries: (seconds on the session's clock, event, commands) in order.
        ended: why it ended; None: the file breaks off.
    """

    started: str
    policy: Policy
    entries: tuple[Entry, ...]
    ended: str | None


def write_record(path: Path, record: Record) -> None:
    """Write a record that was read, or made of one."""
    head = {"record": VERSION, "started": record.started, "policy": to_json(record.policy)}
    lines = [head]
    for at, event, commands in record.entries:
        lines.append({"t": at, "event": to_json(event), "commands": to_json(commands)})
    if record.ended is not None:
        lines.append({"ended": record.ended})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(_line(line) for line in lines), encoding="utf-8")


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        RecordError: it cannot be read; it names the line and what is wrong with it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: {error}") from error
    head: dict[str, Any] | None = None
    entries: list[Entry] = []
    ended: str | None = None
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            if head is None:
                head = _head(value, path)
            elif "ended" in value:
                ended = value["ended"]
            else:
                event, commands = from_json(value["event"]), from_json(value["commands"])
                entries.append((float(value["t"]), event, commands))
        except RecordError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(f"{path}, line {number}: {type(error).__name__}: {error}") from error
    if head is None:
        raise RecordError(f"{path} is empty")
    return Record(head["started"], from_json(head["policy"]), tuple(entries), ended)


def _head(value: Any, path: Path) -> dict[str, Any]:
    version = value.get("record") if isinstance(value, dict) else None
    if version != VERSION:
        raise RecordError(
            f"{path} is no record of version {VERSION}: its first line has {version!r}"
        )
    head: dict[str, Any] = value
    return head


class Machine(Protocol):
    """What a record is replayed through."""

    def handle(self, event: ev.Event, now: float) -> list[cmd.Command]:
        """Take one event."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replay first does something else: line ``line`` of the record."""

    line: int
    event: ev.Event
    recorded: tuple[cmd.Command, ...]
    replayed: tuple[cmd.Command, ...]


def replay(record: Record, machine: Callable[[Policy], Machine]) -> Difference | None:
    """Run a record's events through a machine; return the first difference, or None."""
    running = machine(record.policy)
    for number, (at, event, commands) in enumerate(record.entries, 2):
        again = tuple(running.handle(event, at))
        if again != tuple(commands):
            return Difference(number, event, tuple(commands), again)
    return None
