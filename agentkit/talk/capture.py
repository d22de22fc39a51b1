"""What else is printed while the screen is ours: by C libraries, by the log, by agents' code."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable

KEPT = 500
"""Lines that are kept to be printed afterwards."""
# ECMA-48 control sequences, and the strings that set a terminal's title and the like.
_SEQUENCES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[\]P^_][^\x07\x1b]*(\x07|\x1b\\)|.)")


class Capture:
    """Takes what is written to standard output and error, if they are the terminal.

    A thread reads it, so that nobody who writes ever waits.

    Args:
        printed: is called with each line as it comes, without colours, on that thread.
    """

    def __init__(self, printed: Callable[[str], None]) -> None:
        self._printed = printed
        self._lines: deque[bytes] = deque(maxlen=KEPT)
        self._kept: list[tuple[int, int]] = []
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Take it from now on."""
        _flush()
        read, write = os.pipe()
        for number in (1, 2):
            if os.isatty(number):
                self._kept.append((number, os.dup(number)))
                os.dup2(write, number)
        os.close(write)
        self._thread = threading.Thread(target=self._read, args=(read,), name="output", daemon=True)
        self._thread.start()

    def end(self) -> list[str]:
        """Let it go where it belongs from now on. Safe to call twice.

        Returns:
            The last lines of what came meanwhile, with their colours.
        """
        _flush()
        kept, self._kept = self._kept, []
        for number, own in kept:
            os.dup2(own, number)
            os.close(own)
        if self._thread is not None:
            # A child process may still hold the other end.
            self._thread.join(0.2)
            self._thread = None
        lines = [line.decode("utf-8", "replace") for line in self._lines]
        self._lines.clear()
        return lines

    def _read(self, read: int) -> None:
        rest = b""
        with os.fdopen(read, "rb", buffering=0) as pipe:
            while data := pipe.read(65536):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
        if rest:
            self._take(rest)

    def _take(self, line: bytes) -> None:
        self._lines.append(line)
        if text := _SEQUENCES.sub("", line.decode("utf-8", "replace")).strip():
            self._printed(text)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
