"""What the processes of a server share: admissions, the calls going on, and whether they drain.

All of it lies in one SQLite file, or in memory for a server of one process. It is touched when a
call begins and ends, never while one goes on.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

ALIVE = 20.0
"""Seconds after which a process that has not been heard of is taken for dead, with its calls."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS admissions (
    nonce TEXT PRIMARY KEY, carrier TEXT NOT NULL, call TEXT NOT NULL, about TEXT NOT NULL,
    expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    carrier TEXT NOT NULL, call TEXT NOT NULL, process TEXT NOT NULL,
    PRIMARY KEY (carrier, call)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS processes (
    id TEXT PRIMARY KEY, fleet TEXT NOT NULL, seen REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS draining (fleet TEXT PRIMARY KEY) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that a webhook has let in, until its stream comes. Personal data: never logged.

    Args:
        carrier: which one.
        call: the carrier's id of the call; "" if it was not told.
        caller: who calls.
        callee: who is called.
        parameters: what the webhook was asked with, for the agent.
    """

    carrier: str
    call: str
    caller: str = field(default="", repr=False)
    callee: str = field(default="", repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)


class SharedState:
    """One process's view of what is shared. Not for use by several threads.

    Args:
        path: the file, made if it is not there, readable by its owner alone; None: in memory.
        fleet: the processes that drain together.
        clock: seconds since 1970, the same in all processes.

    Raises:
        sqlite3.Error: the file cannot be used. So may every method.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        fleet: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if path is not None:
            path.touch(mode=0o600)
        self._clock = clock
        self._process = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._fleet = fleet or self._process
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=2.0)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)
        self.beat()

    def close(self) -> None:
        """Let go of this process's calls and of the file. Safe to call twice."""
        try:
            with self._writing():
                self._db.execute("DELETE FROM calls WHERE process = ?", (self._process,))
                self._db.execute("DELETE FROM processes WHERE id = ?", (self._process,))
        except sqlite3.ProgrammingError:
            return  # closed already
        self._db.close()

    def beat(self) -> None:
        """Say that this process is alive: to be called at least every `ALIVE` / 2 seconds."""
        self._db.execute(
            "INSERT OR REPLACE INTO processes VALUES (?, ?, ?)",
            (self._process, self._fleet, self._clock()),
        )

    # --------------------------------------------------------------------------- admissions

    def signing_key(self) -> bytes:
        """The key with which tokens are signed: 32 random bytes, made by the first to ask."""
        self._db.execute(
            "INSERT OR IGNORE INTO settings VALUES ('signing key', ?)", (secrets.token_bytes(32),)
        )
        found = self._db.execute("SELECT value FROM settings WHERE name = 'signing key'").fetchone()
        return bytes(found[0])

    def admit(self, nonce: str, admission: Admission, expires: float) -> None:
        """Let a stream in that will come with this nonce before ``expires``."""
        about = json.dumps([admission.caller, admission.callee, dict(admission.parameters)])
        row = (nonce, admission.carrier, admission.call, about, expires)
        with self._writing():
            self._db.execute("DELETE FROM admissions WHERE expires < ?", (self._clock(),))
            self._db.execute("INSERT INTO admissions VALUES (?, ?, ?, ?, ?)", row)

    def redeem(self, nonce: str) -> Admission | None:
        """What was admitted under this nonce, once; None if nothing was, or it is used or old."""
        found = self._db.execute(
            "DELETE FROM admissions WHERE nonce = ? AND expires >= ?"
            " RETURNING carrier, call, about",
            (nonce, self._clock()),
        ).fetchall()
        if not found:
            return None
        carrier, call, about = found[0]
        caller, callee, parameters = json.loads(about)
        return Admission(carrier, call, caller, callee, parameters)

    def expected(self) -> int:
        """How many streams were let in and have not come yet."""
        found = self._db.execute(
            "SELECT count(*) FROM admissions WHERE expires >= ?", (self._clock(),)
        ).fetchone()
        return int(found[0])

    # -------------------------------------------------------------------------------- calls

    def begin_call(
        self, carrier: str, call: str, most: int, *, admitted: bool = False
    ) -> Literal["begun", "full", "twice", "draining"]:
        """Count a call in, unless as many are going on as may, or this one is already.

        A call that a webhook ``admitted`` before the draining began is no new one.
        """
        with self._writing():
            if self.draining and not admitted:
                return "draining"
            self._bury()
            if self._db.execute(
                "SELECT 1 FROM calls WHERE carrier = ? AND call = ?", (carrier, call)
            ).fetchone():
                return "twice"
            if self.calls() >= most:
                return "full"
            self._db.execute("INSERT INTO calls VALUES (?, ?, ?)", (carrier, call, self._process))
            return "begun"

    def end_call(self, carrier: str, call: str) -> None:
        """Count a call out."""
        self._db.execute(
            "DELETE FROM calls WHERE carrier = ? AND call = ? AND process = ?",
            (carrier, call, self._process),
        )

    def calls(self) -> int:
        """How many calls are going on in all processes that are alive."""
        found = self._db.execute(
            "SELECT count(*) FROM calls"
            " WHERE process IN (SELECT id FROM processes WHERE seen >= ?)",
            (self._clock() - ALIVE,),
        ).fetchone()
        return int(found[0])

    def forget(self, pid: int) -> None:
        """A process that drains with this one has died: its calls are over."""
        with self._writing():
            self._db.execute(
                "DELETE FROM processes WHERE fleet = ? AND id LIKE ? || '-%'", (self._fleet, pid)
            )
            self._bury()

    # ----------------------------------------------------------------------------- draining

    @property
    def draining(self) -> bool:
        """This process, or one that it drains with, takes no new calls."""
        found = self._db.execute("SELECT 1 FROM draining WHERE fleet = ?", (self._fleet,))
        return found.fetchone() is not None

    def drain(self) -> None:
        """Take no new calls from now on, here and in the processes that drain together."""
        self._db.execute("INSERT OR IGNORE INTO draining VALUES (?)", (self._fleet,))

    # ------------------------------------------------------------------------------- inside

    def _bury(self) -> None:
        dead = self._clock() - ALIVE
        self._db.execute("DELETE FROM processes WHERE seen < ?", (dead,))
        self._db.execute("DELETE FROM calls WHERE process NOT IN (SELECT id FROM processes)")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
