"""A real Asterisk on the loopback, which the tests call and make call."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import processes
from tests.pbx import config, dialplan, programs, sound
from tests.pbx.sound import Part

ASTERISK = "usr/sbin/asterisk"
STARTING = 20.0
"""Seconds Asterisk has to start in: half a second on a quiet machine."""
POLL = 0.02
"""Seconds between two looks at what Asterisk does not tell."""


@dataclass(frozen=True)
class Keys:
    """Keys that a caller presses: any of ``0-9 * # A-D``."""

    keys: str


@dataclass
class Caller:
    """An extension that calls, and its recordings: WAV files that begin together.

    Args:
        folder: where they are.
        name: of the files.
        extension: to be called by.
    """

    folder: Path
    name: str
    extension: str = ""

    def file(self, kind: str) -> Path:
        return self.folder / f"{self.name}.{kind}.wav"

    @property
    def heard(self) -> Path:
        """What the caller heard."""
        return self.file("heard")

    @property
    def said(self) -> Path:
        """What the caller said."""
        return self.file("said")

    async def recorded(self) -> None:
        """Wait until the call is over and the recordings are complete."""
        while not self.file("done").exists():  # noqa: ASYNC110
            await asyncio.sleep(POLL)


class Asterisk:
    """One exchange. Its extensions are laid by the tests, and called from within or over SIP.

    Args:
        folder: for all that it writes; its path has to be short enough for a socket in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sip = programs.free_port()
        self.main = config.write(folder, sip=self.sip)
        self.log_file = folder / "log/full"
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count()

    def start(self) -> None:
        """Run it until `stop`; return when it takes calls.

        Raises:
            RuntimeError: it did not start; holds what it said.
        """
        output = self.folder / "log/output"
        command = programs.command(ASTERISK, "-f", "-C", self.main)
        self._process = processes.start(command, output)
        deadline = time.monotonic() + STARTING
        while "fully booted" not in self._ask("core waitfullybooted"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"Asterisk did not start:\n{output.read_text()}\n{self.log()}")
            time.sleep(POLL)

    def stop(self) -> None:
        """End it, and with it all calls. Safe to call twice."""
        if self._process is not None:
            processes.stop(self._process)
            self._process = None

    def log(self, since: int = 0) -> str:
        """What it has logged, from a position in bytes on."""
        if not self.log_file.exists():
            return ""
        return self.log_file.read_bytes()[since:].decode(errors="replace")

    def _remote(self, line: str) -> list[str]:
        return programs.command(ASTERISK, "-C", self.main, "-rx", line)

    def _ask(self, line: str) -> str:
        done = subprocess.run(self._remote(line), capture_output=True, check=False)
        return done.stdout.decode()

    async def cli(self, line: str) -> str:
        """Carry out a line of its command language; return what it says.

        Raises:
            RuntimeError: it could not be asked.
        """
        process = await asyncio.create_subprocess_exec(
            *self._remote(line), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"Asterisk does not answer `{line}`: {said.decode()}")
        return said.decode()

    async def extend(self, *steps: str) -> str:
        """Lay an extension of such steps (`tests.pbx.dialplan`); return its name."""
        name = f"e{next(self._names)}"
        first, *rest = steps
        lines = [f"exten => {name},1,{first}", *(f" same => n,{step}" for step in rest)]
        self._add("extensions.d", name, lines)
        await self.cli("dialplan reload")
        return name

    async def connects(self, url: str, *, subprotocol: str = "media") -> str:
        """Make a server of WebSockets known; return the name for `dialplan.dial_websocket`."""
        name = f"w{next(self._names)}"
        lines = [
            f"[{name}]",
            "type = websocket_client",
            f"uri = {url}",
            f"protocols = {subprotocol}",
            "connection_type = per_call_config",
        ]
        self._add("clients.d", name, lines)
        await self.cli("module reload res_websocket_client.so")
        return name

    def _add(self, folder: str, name: str, lines: list[str]) -> None:
        path = self.folder / "etc" / folder / f"{name}.conf"
        path.write_text("\n".join([*lines, ""]))

    async def caller(self, *does: Part | Keys, leaves_after: float | None = None) -> Caller:
        """Lay a caller, who speaks, is silent and presses keys, one after the other.

        Args:
            does: what is said (`tests.pbx.sound.Part`), or keys. At the end of it the caller
                hangs up.
            leaves_after: seconds after the answer at which the caller hangs up in any case.
        """
        caller = Caller(self.folder / "spool/monitor", f"c{next(self._names)}")
        steps = [dialplan.answer()]
        if leaves_after is not None:
            steps.append(dialplan.leave_after(leaves_after))
        steps.append(
            dialplan.record(caller.file("both"), caller.heard, caller.said, caller.file("done"))
        )
        for keys, parts in itertools.groupby(does, lambda part: isinstance(part, Keys)):
            if keys:
                steps += [dialplan.press(part.keys) for part in parts if isinstance(part, Keys)]
            else:
                speech = caller.file(f"speech{len(steps)}")
                sound.write(speech, *(part for part in parts if not isinstance(part, Keys)))
                steps.append(dialplan.say(speech))
        caller.extension = await self.extend(*steps, dialplan.hang_up())
        return caller

    async def originate(self, caller: Caller | str, callee: str) -> None:
        """Let one extension call another, and return at once.

        Raises:
            RuntimeError: it could not be asked.
        """
        name = caller.extension if isinstance(caller, Caller) else caller
        await self.cli(f"channel originate Local/{name}@calls extension {callee}@calls")

    async def channels(self) -> list[str]:
        """The names of the ends of all calls: there are two to each call at the least."""
        lines = (await self.cli("core show channels concise")).splitlines()
        return [line.split("!")[0] for line in lines]

    async def until_idle(self) -> None:
        """Wait until no call is left."""
        while await self.channels():  # noqa: ASYNC110
            await asyncio.sleep(POLL)

    async def hang_up_all(self) -> None:
        """End every call, and wait until it is over."""
        await self.cli("channel request hangup all")
        await self.until_idle()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Asterisk]:
    """An Asterisk that runs while the context lasts."""
    asterisk = Asterisk(folder)
    try:
        asterisk.start()
        yield asterisk
    finally:
        asterisk.stop()
