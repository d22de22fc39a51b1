"""The terminal, taken over for a conversation and always given back.

A thread of its own writes to it: a terminal that takes nothing more (over a slow connection) holds
up that thread, and neither the event loop nor the sound. Of the pictures that come meanwhile
it draws the newest. Only lines that changed are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable, Sequence
from typing import Any

from agentkit.talk.keys import Keys
from agentkit.talk.picture import Line, Style

# ECMA-48 and xterm's control sequences: the alternate screen, no wrapping at the end of a line, no
# cursor, pasted text in brackets; and all of it undone.
ENTER = "\x1b[?1049h\x1b[?7l\x1b[?25l\x1b[?2004h\x1b[2J"
LEAVE = "\x1b[0m\x1b[?2004l\x1b[?25h\x1b[?7h\x1b[?1049l"
# Synchronized output: a terminal that knows it shows all of a picture at once.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_COLOURS: dict[Style, str] = {
    "": "", "dim": "2", "bold": "1", "caller": "36", "agent": "32", "bad": "31", "busy": "33",
    "title": "1;7",
}  # fmt: skip
_PLAIN: dict[Style, str] = _COLOURS | {"caller": "1", "agent": "", "bad": "1", "busy": "1"}
"""With NO_COLOR (no-color.org): weight, but no colours."""
_ASCII = str.maketrans({"●": "*", "█": "#", "─": "-", "·": ".", "▏": "|", "…": "~"})
"""What is drawn where the terminal knows no Unicode."""
GIVES_UP = 0.5
"""Seconds that a terminal has to take what is left when it is given back."""


class Painter:
    """Writes pictures to a terminal, on a thread of its own.

    Args:
        terminal: the file descriptor.
        colours: whether it may be coloured.
        encoding: the terminal's.
    """

    def __init__(self, terminal: int, *, colours: bool, encoding: str) -> None:
        self.written = 0
        """Bytes so far."""
        self._terminal = terminal
        self._styles = _COLOURS if colours else _PLAIN
        self._encoding = encoding
        self._news = threading.Condition()
        self._next: tuple[tuple[int, int], Sequence[Line]] | None = None
        self._over = False
        self._size = (0, 0)
        self._shown: list[str] = []
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
        self._thread.start()

    def show(self, picture: Sequence[Line], size: tuple[int, int]) -> None:
        """Let this be seen, unless a newer one comes before its turn. Never blocks.

        Args:
            picture: the lines from the top.
            size: columns and rows of the terminal; where they have changed, all is drawn anew.
        """
        with self._news:
            self._next = size, picture
            self._news.notify()

    def stop(self) -> bool:
        """Write nothing more. False if the terminal takes nothing, so that the thread still waits.

        Blocks for `GIVES_UP` at most.
        """
        with self._news:
            self._over = True
            self._news.notify()
        self._thread.join(GIVES_UP)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._next is not None or self._over)
                if self._over or self._next is None:
                    return
                (size, picture), self._next = self._next, None
            text = self._changes(picture, size)
            if not self._encoding.lower().startswith("utf"):
                text = text.translate(_ASCII)
            data = text.encode(self._encoding, "replace")
            with contextlib.suppress(OSError):  # it is gone: the call goes on without
                while data and not self._over:
                    done = os.write(self._terminal, data[:1024])
                    self.written += done
                    data = data[done:]

    def _changes(self, picture: Sequence[Line], size: tuple[int, int]) -> str:
        lines = ["".join(map(self._span, line)) for line in picture]
        if size != self._size:
            self._size, self._shown = size, []
        changed = [
            f"\x1b[{row};1H{line}\x1b[0m\x1b[K"
            for row, line in enumerate(lines, 1)
            if row > len(self._shown) or line != self._shown[row - 1]
        ]
        if not self._shown:
            changed.insert(0, "\x1b[2J")
        elif len(self._shown) > len(lines):
            changed.append(f"\x1b[{len(lines) + 1};1H\x1b[J")
        self._shown = lines
        return f"{_BEGIN}{''.join(changed)}{_END}" if changed else ""

    def _span(self, span: tuple[Style, str]) -> str:
        style = self._styles[span[0]]
        return f"\x1b[0;{style}m{span[1]}" if style else f"\x1b[0m{span[1]}"


class Terminal:
    """The terminal of this process, ours from `take` to `give_back`.

    Keys come one by one, and are not shown; Ctrl-C and the like stay signals. Ctrl-Z gives the
    terminal back, stops the process, and takes the terminal again when it goes on, in the
    foreground. It is all given back as it was found.

    Args:
        pressed: is called with each key, as in `agentkit.talk.keys.Keys`.
        colours: None: unless the environment has NO_COLOR.
    """

    def __init__(self, pressed: Callable[[str], None], *, colours: bool | None = None) -> None:
        self._pressed = pressed
        self._colours = not os.environ.get("NO_COLOR") if colours is None else colours
        self._encoding = sys.stdout.encoding or "utf-8"
        self._in = sys.stdin.fileno()
        self._out = os.dup(sys.stdout.fileno())
        self._before: list[Any] | None = None
        self._painter: Painter | None = None
        self._keys = Keys()
        self._loop = asyncio.get_running_loop()

    @staticmethod
    def usable() -> bool:
        """Whether there is one, for input and output, that can move its cursor."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            term = os.environ.get("TERM", "")
            return sys.stdin.isatty() and sys.stdout.isatty() and term not in ("", "dumb")
        return False

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows by now."""
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(self._out)
            if columns and rows:
                return columns, rows
        return 80, 24

    def take(self) -> None:
        """Make it ours. Where this process is in the background, that comes later, with `show`."""
        self._loop.add_signal_handler(signal.SIGTSTP, self._stop_process)
        signal.signal(signal.SIGQUIT, self._quit)
        self._enter()

    def show(self, picture: Callable[[int, int], Sequence[Line]]) -> None:
        """Let a picture be seen, made for the columns and rows that there are. Never blocks."""
        if self._painter is None:
            self._enter()
        if self._painter is not None:
            self._painter.show(picture(*self.size), self.size)

    def give_back(self) -> None:
        """Leave it as it was found. Safe to call twice."""
        self._leave()
        self._loop.remove_signal_handler(signal.SIGTSTP)
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        if self._out >= 0:
            os.close(self._out)
            self._out = -1

    def _enter(self) -> None:
        """Take it, unless another job of the shell has it: to touch it then would stop us."""
        with contextlib.suppress(OSError):  # there are no jobs
            if os.tcgetpgrp(self._in) != os.getpgrp():
                return
        try:
            self._before = termios.tcgetattr(self._in)
            mode = [*self._before[:6], list(self._before[6])]
            mode[0] &= ~termios.IXON  # what Ctrl-S stops, nothing but Ctrl-Q lets go on
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._in, termios.TCSANOW, mode)
        except (OSError, termios.error):  # it is gone
            return
        self._write(ENTER)
        self._painter = Painter(self._out, colours=self._colours, encoding=self._encoding)
        self._loop.add_reader(self._in, self._read)

    def _leave(self) -> None:
        painter, self._painter = self._painter, None
        if painter is None:
            return
        self._loop.remove_reader(self._in)
        if not painter.stop():
            with contextlib.suppress(termios.error):
                termios.tcflush(self._out, termios.TCOFLUSH)
            painter.stop()
        self._write(LEAVE)
        if self._before is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._in, termios.TCSANOW, self._before)

    def _write(self, text: str) -> None:
        """Write a little that matters, but do not wait for ever."""
        with contextlib.suppress(OSError):
            _, ready, _ = select.select([], [self._out], [], GIVES_UP)
            if ready:
                os.write(self._out, text.encode("ascii"))

    def _read(self) -> None:
        try:
            data = os.read(self._in, 4096)
        except OSError:
            data = b""
        if not data:  # it is gone
            self._loop.remove_reader(self._in)
            return
        for key in self._keys.feed(data):
            self._pressed(key)

    def _quit(self, number: int, _frame: object) -> None:
        """SIGQUIT ends all at once, whatever the event loop does; but not the terminal."""
        self._leave()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _stop_process(self) -> None:
        """Ctrl-Z: stop as any program does. This returns when the shell lets us go on."""
        self._leave()
        self._loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)
        self._loop.add_signal_handler(signal.SIGTSTP, self._stop_process)
        self._enter()
