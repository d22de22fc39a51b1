"""What becomes of the calls of a process that has died, seen from those that share its state."""

from __future__ import annotations

import os
from pathlib import Path

from agentkit.server.state import ALIVE, SharedState


def test_when_all_lines_were_a_dead_processs_they_are_free_again(tmp_path: Path) -> None:
    """Also for a webhook, which only counts: no stream begins while it says that all are taken."""
    time = [1000.0]
    dead = SharedState(tmp_path / "state", clock=lambda: time[0])
    alive = SharedState(tmp_path / "state", clock=lambda: time[0])
    assert dead.begin_call("twilio", "CA1", 1) == "begun"
    assert alive.calls() == 1
    time[0] += ALIVE + 1
    alive.beat()
    assert alive.calls() == 0
    assert alive.begin_call("twilio", "CA2", 1) == "begun"
    for state in (dead, alive):
        state.close()


def test_a_supervisor_that_sees_a_worker_die_need_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "state"
    worker = SharedState(path, fleet="one")
    stranger = SharedState(path, fleet="another")
    assert worker.begin_call("twilio", "CA1", 5) == "begun"
    assert stranger.begin_call("twilio", "CA2", 5) == "begun"
    supervisor = SharedState(path, fleet="one")
    supervisor.forget(os.getpid() + 1)
    assert supervisor.calls() == 2
    supervisor.forget(os.getpid())
    assert stranger.calls() == 1  # the other fleet's process has the same id here, and is another
    for state in (worker, stranger, supervisor):
        state.close()
