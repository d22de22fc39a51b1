"""What the tests start does not outlive them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests import processes

STARTS = """
import pathlib, sys, time
from tests import processes
child = processes.start(["sleep", "600"], pathlib.Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_ends_when_the_tests_are_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS, str(tmp_path / "output")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        while "sleep" not in Path(f"/proc/{child}/cmdline").read_text().split("\0")[0]:
            time.sleep(0.02)
        parent.kill()
    while is_running(child):
        time.sleep(0.02)


def test_a_program_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    shell = processes.start(["sh", "-c", "sleep 600 & echo $!; wait"], tmp_path / "output")
    while not (text := (tmp_path / "output").read_text()).endswith("\n"):
        time.sleep(0.02)
    assert is_running(int(text))
    processes.stop(shell)
    processes.stop(shell)
    assert shell.returncode == -signal.SIGTERM
    while is_running(int(text)):
        time.sleep(0.02)
    assert os.getpgid(0) != shell.pid
