"""Programs that tests start: none of them outlives the tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

STOPPING = 5.0
"""Seconds a program has to stop in before it is killed."""


def start(
    command: list[str], output: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program that does not outlive this process, even if it is killed.

    It has a process group of its own: a Ctrl-C is for the tests, which stop it in order.

    Args:
        command: what to run.
        output: the file for what it prints.
        environment: None: this process's own.
    """
    guarded = ["setpriv", "--pdeathsig", "KILL", "--", *command]
    with output.open("wb") as file:
        return subprocess.Popen(
            guarded,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a program to end, then end it with all that it started. Safe if it has ended."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOPPING)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
