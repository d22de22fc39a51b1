"""`agentkit serve` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agentkit.testing.carriers.asking import Reply
from tests.server.reception import request

AGENT = """
from agentkit import Agent
from agentkit.audio.formats import AudioFormat
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS


class Receptionist(Agent):
    greeting = "Hello."
    apology = None
    farewell = "Bye."
    llm = ScriptedLLM({"*": "Good."})
    tts = ScriptedTTS(format=AudioFormat("mulaw", 8000))
"""

_ANSWERS = re.compile(r"answering on http://127\.0\.0\.1:(\d+)(, process (\d+))?")

PATIENCE = 40.0
"""Seconds that a process on a busy machine has to start, and to end."""


class Served:
    """A running `agentkit serve`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.port = 0
        self.workers: list[int] = []
        self.errors = ""
        self._changed = asyncio.Event()
        self._reading = [
            asyncio.create_task(self._read_lines()),
            asyncio.create_task(self._read_errors()),
        ]

    async def _read_lines(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            text = line.decode().rstrip()
            self.lines.append(text)
            if found := re.fullmatch(
                r"answering on http://127\.0\.0\.1:(\d+)(, process (\d+))?", text
            ):
                self.port = int(found[1])
                self.workers.append(int(found[3] or self.process.pid))
            self._changed.set()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.errors += line.decode()
            self._changed.set()

    async def until(self, what: str, count: int = 1) -> None:
        """Wait until something was printed or logged so often."""
        async with asyncio.timeout(PATIENCE):
            while (self.errors + "\n".join(self.lines)).count(what) < count:
                self._changed.clear()
                await self._changed.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tell(self, number: int, pid: int | None = None) -> None:
        os.kill(pid or self.process.pid, number)

    async def over(self) -> int:
        """Wait for its end; return its exit status."""
        async with asyncio.timeout(PATIENCE):
            status = await self.process.wait()
            await asyncio.gather(*self._reading)
            return status

    async def get(self, path: str, method: str = "GET") -> Reply:
        return await request(self.port, method, path)

    async def figures(self) -> dict[str, float]:
        lines = (await self.get("/metrics")).body.decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    async def close(self) -> None:
        """End it, and its workers, whatever it does."""
        for pid in {self.process.pid, *self.workers}:
            if self.process.returncode is None or pid != self.process.pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        await self.process.wait()
        await asyncio.gather(*self._reading)


@asynccontextmanager
async def served(
    folder: Path, *arguments: str, flux: str, agent: str = "bot.py", **env: str
) -> AsyncIterator[Served]:
    """Start a server in a folder, and wait until it answers; its agent is scripted by default."""
    (folder / "bot.py").write_text(AGENT)
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agentkit.cli",
        "serve",
        agent,
        "--port",
        "0",
        "--flux",
        flux,
        *arguments,
        cwd=folder,
        env={**known, "PYTHONPATH": str(Path.cwd()), **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    server = Served(process)
    workers = int(arguments[arguments.index("--workers") + 1]) if "--workers" in arguments else 1
    try:
        await server.until("answering on", workers)
        yield server
    finally:
        await server.close()


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
