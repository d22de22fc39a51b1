"""A program on a pseudo-terminal, and what is to be seen on it (by pyte, a terminal in Python)."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyte

SCENE = Path(__file__).with_name("scene.py")
ROOT = Path(__file__).parents[2]
PATIENCE = 10.0
"""Seconds for what is expected to come, on a busy machine."""


class Shown(pyte.Screen):
    """A screen that knows whether it is the alternate one, as xterm does, and counts its clears."""

    def __init__(self, columns: int, rows: int) -> None:
        self.alternate = False
        self.clears = 0
        super().__init__(columns, rows)

    def set_mode(self, *modes: int, **how: Any) -> None:
        self.alternate = self.alternate or 1049 in modes
        super().set_mode(*modes, **how)

    def reset_mode(self, *modes: int, **how: Any) -> None:
        if 1049 in modes:
            self.alternate = False
            self.reset()
        super().reset_mode(*modes, **how)

    def erase_in_display(self, how: int = 0, *rest: Any, **more: Any) -> None:
        self.clears += how == 2
        super().erase_in_display(how, *rest, **more)


class Terminal:
    """A program, and the terminal that it runs on.

    Args:
        command: the program and its arguments.
        columns: of the terminal.
        rows: likewise.
        environment: what the program has besides the usual.
        keep: file descriptors that the program inherits.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        environment: dict[str, str] | None = None,
        keep: Sequence[int] = (),
    ) -> None:
        self.screen = Shown(columns, rows)
        self.raw = bytearray()
        self._stream: Any = pyte.ByteStream(self.screen)
        own = {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
        usual = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.master, terminal = pty.openpty()
        self.resize(columns, rows)
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],  # in a session that has this terminal
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=usual | own | (environment or {}),
            pass_fds=keep,
        )
        os.close(terminal)

    @property
    def pid(self) -> int:
        return self._process.pid

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
        self.screen.resize(rows, columns)

    @property
    def lines(self) -> list[str]:
        return [str(line).rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self, seconds: float) -> bool:
        """Let the terminal show what comes within a time; False: there will be no more."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the program is gone
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def until(self, holds: Callable[[], bool] | str) -> None:
        """Wait until something is so, or a text is to be seen."""

        def met() -> bool:
            return holds in self.text if isinstance(holds, str) else holds()

        deadline = time.monotonic() + PATIENCE
        while not met():
            assert self.read(0.05) or met(), f"the program has ended, and shows\n{self.text}"
            assert time.monotonic() < deadline, f"{holds} did not come; there is\n{self.text}"

    def end(self) -> int:
        """Wait until the program has ended; return its exit status, negative for a signal."""
        deadline = time.monotonic() + PATIENCE
        while (status := self._process.poll()) is None:
            self.read(0.02)
            assert time.monotonic() < deadline, f"it does not end; there is\n{self.text}"
        while self.read(0.0) and select.select([self.master], [], [], 0.0)[0]:
            pass
        return status

    @property
    def mode(self) -> list[Any]:
        """How the terminal is set, as a shell would find it."""
        return termios.tcgetattr(self.master)

    def hang_up(self) -> None:
        """The window is closed."""
        os.close(self.master)
        self.master, _ = os.pipe()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self.master)


class Scene(Terminal):
    """The conversation of `scene.py`, which is told what happens next."""

    def __init__(self, **how: Any) -> None:
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        command = (sys.executable, str(SCENE), str(orders), str(answers))
        super().__init__(command, keep=(orders, answers), **how)
        os.close(orders)
        os.close(answers)
        self._told()

    def do(self, *orders: str, look: bool = True) -> None:
        """Let things happen, in Python's words; whether the terminal shows something meanwhile."""
        for order in orders:
            self.tell(order)
            self._told(look=look)

    def tell(self, order: str) -> None:
        """Let something happen, and do not wait for it."""
        os.write(self._orders, f"{order}\n".encode())

    def _told(self, *, look: bool = True) -> None:
        deadline = time.monotonic() + PATIENCE
        while not select.select([self._answers], [], [], 0.02)[0]:
            assert not look or self.read(0.0), self.text
            assert time.monotonic() < deadline, self.text
        answer = os.read(self._answers, 4096).decode().strip()
        assert answer in ("ready", "done"), answer

    def close(self) -> None:
        super().close()
        os.close(self._orders)
        os.close(self._answers)


@contextmanager
def on_terminal(command: Sequence[str], **how: Any) -> Iterator[Terminal]:
    """Any program."""
    terminal = Terminal(command, **how)
    try:
        yield terminal
    finally:
        terminal.close()


@contextmanager
def scene(**how: Any) -> Iterator[Scene]:
    """A conversation at its beginning."""
    terminal = Scene(**how)
    try:
        yield terminal
    finally:
        terminal.close()
