"""Work beside a conversation that nobody waits for: what fails in it ends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from agentkit.transports.base import Transport

log = structlog.get_logger(__name__)

HANG_UP_GRACE = 5.0
"""Seconds that a line has to end once it was hung up."""


class Chores:
    """Tasks that end with the call at the latest.

    Args:
        tasks: those of the call.
    """

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._open: set[asyncio.Task[None]] = set()

    def start(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Begin something. If it fails, the log says so."""
        task = self._tasks.create_task(_do(work, name), name=name)
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    def stop(self) -> None:
        """Cancel what is still going on: a backend that is slow must not hold up the end."""
        for task in tuple(self._open):
            task.cancel()


async def _do(work: Callable[[], Awaitable[None]], name: str) -> None:
    try:
        await work()
    except Exception as error:
        log.warning("failed, the call goes on", what=name, error=str(error))


async def end_line(transport: Transport) -> None:
    """Hang up. Where that fails, or the line does not end, close it.

    A caller may have hung up at the same moment, and a carrier then refuses.
    """
    try:
        await transport.hang_up()
        await asyncio.sleep(HANG_UP_GRACE)
    except Exception as error:
        log.warning("the line could not be hung up", error=str(error))
    await transport.aclose()
