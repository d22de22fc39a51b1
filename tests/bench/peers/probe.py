"""What every bot of the comparison does besides: says where it listens, and how late it is.

Only the standard library is imported here, for it is imported in each peer's own environment.
"""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from pathlib import Path

FLUX = os.environ.get("BENCH_FLUX", "")
"""The scripted Flux: a ``ws://`` URL."""
OPENAI = os.environ.get("BENCH_OPENAI", "")
"""The scripted model and voice: a base URL as OpenAI's clients take it."""
INSTRUCTIONS = "You answer the phone of a shop. Short sentences."

LINE_IN, LINE_OUT = 16000, 24000
"""Hz of linear16 on the plain line: from the caller, to the caller."""

_EVERY = 0.01


class LagProbe:
    """How late this process's event loop runs what is due, looked at every 10 ms.

    Written to the file that ``AGENTKIT_BENCH_LAG`` names, as `tests.bench.agents.LagProbe` does.
    """

    def __init__(self) -> None:
        self._seen = array("d")
        self._file = Path(os.environ["AGENTKIT_BENCH_LAG"])
        self._due = 0.0
        self._arm(time.monotonic())

    def _arm(self, now: float) -> None:
        self._due = now + _EVERY
        asyncio.get_running_loop().call_later(_EVERY, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        self._seen.extend((now, max(0.0, now - self._due)))
        if len(self._seen) >= 200:
            with self._file.open("ab") as file:
                self._seen.tofile(file)
            self._seen = array("d")
        self._arm(now)


def answering(port: int) -> LagProbe:
    """Say that calls may come, and begin to look at the loop."""
    print(f"answering on 127.0.0.1:{port}", flush=True)
    return LagProbe()
