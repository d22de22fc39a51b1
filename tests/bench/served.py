"""A server in a process of its own, `agentkit serve` or another, and what the kernel says of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_AGENTS = Path(__file__).with_name("agents.py")
_AGENTKIT = (sys.executable, "-m", "agentkit.cli")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpu:
    """Seconds of a processor, in the program and in the kernel for it."""

    user: float
    system: float

    @classmethod
    def of(cls, process: int) -> Cpu:
        """What a process has used so far, its threads included (proc(5), ``stat``)."""
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return cls(int(fields[11]) / _TICKS, int(fields[12]) / _TICKS)

    @classmethod
    def of_all(cls) -> Cpu:
        """What all processes and the kernel have used so far (proc(5), ``/proc/stat``)."""
        fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
        user, nice, system, _idle, _waiting, *interrupts, _stolen = map(int, fields)
        return cls((user + nice) / _TICKS, (system + sum(interrupts)) / _TICKS)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user - other.user, self.system - other.system)

    @property
    def whole(self) -> float:
        return self.user + self.system


def agentkit_serve(agent: str, file: Path = _AGENTS, workers: int = 1) -> list[str]:
    """The command that serves a class in a file, in so many processes."""
    several = ["--workers", str(workers)] if workers > 1 else []
    return [*_AGENTKIT, "serve", f"{file}:{agent}", "--port", "0", *several]


class Served:
    """A server that answers calls. A context manager; leaving it stops the server.

    Args:
        command: what starts it; it says ``answering on`` and its address once it does.
        settings: the environment's settings, by name; any others of agentkit's are taken out.
        log: a file for what the server says.
        core: the one processor it may use, where no other goes first; None: any.

    Attributes:
        process: its id.
        port: where it listens.
        folder: it runs in.
        took: seconds from its start until it answered.
    """

    def __init__(
        self,
        command: Sequence[str],
        settings: Mapping[str, str],
        log: Path,
        core: int | None = None,
    ) -> None:
        self.process = self.port = 0
        self.took = 0.0
        self._command = command
        self._core = core
        self._folder = tempfile.TemporaryDirectory(prefix="agentkit-bench-")
        self.folder = Path(self._folder.name)
        self._lag = self.folder / "lag"
        own = ("AGENTKIT_", "OPENAI_", "DEEPGRAM_", "TWILIO_", "CLOUDFLARE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        self._environment = {**kept, **settings, "AGENTKIT_BENCH_LAG": str(self._lag)}
        self._log = log
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        began = time.monotonic()
        with self._log.open("a") as log:
            self._server = subprocess.Popen(
                self._command,
                cwd=self._folder.name,  # where no settings lie
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.process = self._server.pid
        if self._core is not None:
            os.sched_setaffinity(self.process, {self._core})
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(self.process, os.SCHED_RR, os.sched_param(1))
        assert self._server.stdout is not None
        for line in self._server.stdout:
            if found := re.match(r"answering on \S+:(\d+)", line):
                self.port = int(found[1])
                self.took = time.monotonic() - began
                return self
        self.__exit__()
        raise RuntimeError(f"the server did not start: see {self._log}")

    def __exit__(self, *_: object) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)
            try:
                self._server.wait(10)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        if self._server is not None and self._server.stdout is not None:
            self._server.stdout.close()
        self._folder.cleanup()

    def processes(self) -> list[int]:
        """Its own and those that it started (proc(5))."""
        tasks = Path(f"/proc/{self.process}/task")
        children = " ".join(task.joinpath("children").read_text() for task in tasks.iterdir())
        return [self.process, *map(int, children.split())]

    def cpu(self) -> Cpu:
        """What all of them have used so far."""
        used = [Cpu.of(process) for process in self.processes()]
        return Cpu(sum(cpu.user for cpu in used), sum(cpu.system for cpu in used))

    def waited(self) -> float:
        """Seconds that its main thread was ready to run and had no processor so far (proc(5))."""
        return int(Path(f"/proc/{self.process}/schedstat").read_text().split()[1]) / 1e9

    def memory(self) -> tuple[int, int]:
        """Bytes of memory of all of them: resident, and their proportional share (proc(5))."""
        found: Counter[str] = Counter()
        for process in self.processes():
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
                name, _, size = line.partition(":")
                found[name] += int(size.split()[0]) * 1024
        return found["Rss"], found["Pss"]

    def lag(self, since: float, until: float) -> list[float]:
        """How late its event loop was between two times of `time.monotonic`, in seconds."""
        seen = array("d", self._lag.read_bytes()) if self._lag.exists() else array("d")
        pairs = zip(seen[0::2], seen[1::2], strict=True)
        return [late for at, late in pairs if since <= at < until]
