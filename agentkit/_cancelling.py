"""Telling a cancellation that was asked for from one that happened inside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cancelled_if_asked() -> Iterator[None]:
    """Let a cancellation of this task through; make any other an error like all errors.

    Code that awaits a task which somebody else cancels gets a CancelledError, too. Passed on, it
    would end this task in silence, and whoever waits for what it makes would wait for ever.

    Raises:
        RuntimeError: something inside was cancelled, but not this task.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("what it was waiting for was cancelled") from error
