"""The record of a call: a file of JSON lines that is enough to replay it (rule T22).

The first line says what the file is and how the call was set up. Each further line is one event,
its time in seconds on the session's clock, and the commands that followed. The last one says why
the call ended, with totals. The record holds what the caller said: it is personal data.
`agentkit.observe.redact` makes one that does not, and still replays.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, Self, Union, cast, get_args, get_origin, get_type_hints

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.policy import Policy
from agentkit.core.spending import Books
from agentkit.errors import ConfigError, RecordError

VERSION = 1
_BATCH = 32
"""Entries that are kept before they are written: a busy call touches the disk seldom, and each
time for less than a frame of audio lasts."""

Entry = tuple[float, ev.Event, Sequence[cmd.Command]]


# --------------------------------------------------------------------------------------- codec


_AS_IT_IS = frozenset({type(None), str, bool, int})


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cast("Any", kind)))


def to_json(value: Any) -> Any:
    """A value of the core as plain JSON: a dataclass is an object with its ``type``."""
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is float:
        # JSON has no word for what is not finite.
        return value if math.isfinite(value) else {"float": str(value)}
    if kind is tuple or kind is list:
        return [to_json(item) for item in value]
    if is_dataclass(kind):
        return _dataclass_json(value, kind)
    if isinstance(value, frozenset | set):
        return {"set": sorted(value)}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    raise TypeError(f"a record cannot hold a {type(value).__name__}")


def _dataclass_json(value: Any, kind: type) -> dict[str, Any]:
    return {"type": kind.__name__, **{n: to_json(getattr(value, n)) for n in _names(kind)}}


class _WrongValue(Exception):
    """A value does not fit its field; the message names the field."""


def from_json(value: Any, hint: Any = ev.Event | cmd.Command | Policy) -> Any:
    """The other way: what ``hint``, a type of the core, says it is.

    Fields that are not known are passed over.

    Raises:
        RecordError: the value does not fit; it names the field.
    """
    try:
        return _decode(hint, value, "")
    except _WrongValue as error:
        raise RecordError(str(error)) from error


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(hint), value, where)
    if origin is tuple:
        inner = get_args(hint)[0]
        items = _expect(list, value, where)
        return tuple(_decode(inner, item, f"{where}[{n}]") for n, item in enumerate(items))
    if origin is frozenset:
        items = _expect(dict, value, where).get("set")
        return frozenset(_decode_all(get_args(hint)[0], items, where))
    if origin is dict:
        inner = get_args(hint)[1]
        pairs = _expect(dict, value, where).items()
        return {key: _decode(inner, item, f"{where}.{key}") for key, item in pairs}
    if origin is Literal:
        if value not in get_args(hint):
            raise _WrongValue(
                f"{where}: {value!r} is none of {', '.join(map(repr, get_args(hint)))}"
            )
        return value
    if is_dataclass(hint):
        return _decode_dataclass(hint, value, where)
    return _decode_plain(hint, value, where)


def _decode_all(hint: Any, value: Any, where: str) -> list[Any]:
    return [_decode(hint, item, where) for item in _expect(list, value, where)]


def _is_kind(hint: Any) -> bool:
    return is_dataclass(hint)


def _decode_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    kinds: dict[str, Any] = {c.__name__: c for c in choices if _is_kind(c)}
    if not kinds:
        (only,) = (choice for choice in choices if choice is not type(None))
        return _decode(only, value, where)
    name = _expect(dict, value, where).get("type")
    if name not in kinds:
        raise _WrongValue(
            f"{where or 'here'}: there is no {name!r} that this agentkit knows; "
            "read it with the version that wrote it (the first line names it)"
        )
    return _decode_dataclass(kinds[name], value, f"{where} {name}".strip())


@cache
def _hints(kind: Any) -> dict[str, Any]:
    found = get_type_hints(kind)
    return {field.name: found[field.name] for field in fields(kind)}


@cache
def _before(kind: Any) -> dict[str, Any]:
    """What records say that are older than a field whose default changes what is decided."""
    return {f.name: f.metadata["before"] for f in fields(kind) if "before" in f.metadata}


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    found = {**_before(kind), **_expect(dict, value, where)}
    hints = _hints(kind)
    try:
        return kind(
            **{
                name: _decode(hint, found[name], f"{where}.{name}")
                for name, hint in hints.items()
                if name in found
            }
        )
    except (TypeError, ConfigError) as error:
        raise _WrongValue(f"{where}: {error}") from error


def _decode_plain(hint: type, value: Any, where: str) -> Any:
    if hint is float:
        if isinstance(value, dict) and value.get("float") in ("nan", "inf", "-inf"):
            return float(value["float"])
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise _WrongValue(f"{where}: {value!r:.40} is no {hint.__name__}")


def _expect(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, kind):
        wanted = "list" if kind is list else "object"
        raise _WrongValue(f"{where or 'here'}: {type(value).__name__} instead of {wanted}")
    return value


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def _line(value: dict[str, Any]) -> str:
    return _encode(value) + "\n"


def _entry_line(entry: Entry) -> str:
    at, event, commands = entry
    return _line({"t": at, "event": to_json(event), "commands": [to_json(c) for c in commands]})


@cache
def _version() -> str:
    try:
        return importlib.metadata.version("agentkit")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # it runs from its source


def _head_line(started: str, policy: Policy) -> str:
    return _line(
        {
            "agentkit": _version(),
            "record": VERSION,
            "started": started,
            "policy": to_json(policy),
        }
    )


# ------------------------------------------------------------------------------------- writing


class _Totals:
    """What the last line adds up, from the commands as they pass."""

    def __init__(self, policy: Policy) -> None:
        self._books = Books()
        self._prices = policy.speculation.prices
        self.first: float | None = None
        self.last = 0.0
        self.counts = dict.fromkeys(("events", "turns", "drafts", "committed", "errors"), 0)
        self.oddities: dict[str, int] = {}

    def take(self, entry: Entry) -> None:
        at, event, commands = entry
        if isinstance(event, ev.PolicyChanged):
            self._prices = event.policy.speculation.prices
        if self.first is None:
            self.first = at
        self.last = at
        self.counts["events"] += 1
        for command in commands:
            match command:
                case cmd.TurnCommitted():
                    self.counts["turns"] += 1
                    self._books.take(command)
                case cmd.StartReply(draft=True):
                    self.counts["drafts"] += 1
                case cmd.Commit():
                    self.counts["committed"] += 1
                case cmd.ErrorRaised():
                    self.counts["errors"] += 1
                case cmd.Oddity(kind=kind):
                    self.oddities[kind] = self.oddities.get(kind, 0) + 1
                case _:
                    self._books.take(command)

    def line(self, reason: str | None) -> str:
        seconds = round(self.last - (self.first or 0.0), 3) if self.first is not None else 0.0
        ledger = to_json(self._books.ledger(self._prices))
        totals = {"seconds": seconds, **self.counts, "oddities": self.oddities, "ledger": ledger}
        return _line({"ended": reason, "totals": totals})


class RecordWriter:
    """Writes a call's record. An observer of a session, and a context manager around it.

    Being called only keeps the entry; entries are encoded and written in batches.

    Args:
        path: where it goes; the folder is made.
        policy: the settings that the machine works with.
    """

    def __init__(self, path: Path, policy: Policy) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._waiting: list[Entry] = []
        self._totals = _Totals(policy)
        self._reason = ""
        self._file.write(_head_line(datetime.now(UTC).isoformat(timespec="milliseconds"), policy))

    def __call__(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        """Take note of an event and what followed."""
        if isinstance(event, ev.CallEnded):
            self._reason = event.reason
        self._waiting.append((now, event, tuple(commands)))
        if len(self._waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            self._totals.take(entry)
            self._file.write(_entry_line(entry))
        self._file.flush()

    def close(self) -> None:
        """Write the last line. Safe to call twice."""
        if not self._file.closed:
            self.flush()
            self._file.write(self._totals.line(self._reason))
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.close()


# ------------------------------------------------------------------------------------- reading


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


def read_record(path: Path) -> Record:
    """Read a record. A last line that was cut off in the middle is passed over.

    Raises:
        RecordError: it cannot be read; it names the line and what is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: {error}") from error
    lines = text.removesuffix("\n").split("\n") if text else []
    whole = text.endswith("\n")
    head: tuple[str, Policy] | None = None
    entries: list[Entry] = []
    ended: str | None = None
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
        except ValueError as error:
            if head is not None and number == len(lines) and not whole:
                break
            raise RecordError(f"{where} is no JSON: {error}") from error
        try:
            if head is None:
                head = _head(value)
            elif isinstance(value, dict) and "ended" in value:
                ended = _decode(str | None, value["ended"], "ended")
            else:
                entries.append(_entry(value))
        except _WrongValue as error:
            raise RecordError(f"{where}: {error}") from error
    if head is None:
        raise RecordError(f"{path} is empty")
    return Record(*head, tuple(entries), ended)


def _head(value: Any) -> tuple[str, Policy]:
    version = value.get("record") if isinstance(value, dict) else None
    if version != VERSION:
        raise _WrongValue(f"this is no record of version {VERSION}: the first line has {version!r}")
    _need(value, "started", "policy")
    return _decode(str, value["started"], "started"), _decode(Policy, value["policy"], "policy")


def _entry(value: Any) -> Entry:
    _need(_expect(dict, value, ""), "t", "event", "commands")
    commands = _expect(list, value["commands"], "commands")
    return (
        float(_decode(float, value["t"], "t")),
        _decode(ev.Event, value["event"], "event"),
        tuple(_decode(cmd.Command, c, f"commands[{n}]") for n, c in enumerate(commands)),
    )


def _need(value: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if key not in value:
            raise _WrongValue(f"there is no {key!r}")


def write_record(path: Path, record: Record) -> None:
    """Write a record that was read, or redacted, as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    totals = _Totals(record.policy)
    with path.open("w", encoding="utf-8") as file:
        file.write(_head_line(record.started, record.policy))
        for entry in record.entries:
            totals.take(entry)
            file.write(_entry_line(entry))
        if record.ended is not None:
            file.write(totals.line(record.ended))


# ---------------------------------------------------------------------------------- replaying


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
