"""Work beside a conversation: what fails in it ends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any

import structlog

from agentkit.core.commands import CancelTimer, SetTimer
from agentkit.core.events import TimerFired
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


class Timers:
    """The machine's timers: each comes back as a `TimerFired`.

    Args:
        post: takes that.
    """

    def __init__(self, post: Callable[[TimerFired], None]) -> None:
        self._post = post
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def set(self, command: SetTimer) -> None:
        """Set a timer, in place of the one of that name."""
        self.cancel(command)
        loop = asyncio.get_running_loop()
        due = loop.call_at(command.at, self._post, TimerFired(command.timer))
        self._handles[command.timer] = due

    def cancel(self, command: SetTimer | CancelTimer) -> None:
        """Take the timer of that name back, if there is one."""
        if handle := self._handles.pop(command.timer, None):
            handle.cancel()

    def stop(self) -> None:
        """No timer fires any more."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()


class Hooks:
    """The agent's hooks, each in a task of its own; they may outlive the call for a while.

    Args:
        context: in copies of it they run.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: set[asyncio.Task[None]] = set()

    def start(self, hook: Coroutine[Any, Any, None], name: str) -> None:
        """Run a hook. If it raises, the log says so."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(
            _run_hook(hook, name), name=f"hook {name}", context=self._context.copy()
        )
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def finish(self, grace: float) -> None:
        """Wait so many seconds for those that are running, then cancel them."""
        if not self._open:
            return
        _, late = await asyncio.wait(self._open, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _run_hook(hook: Coroutine[Any, Any, None], name: str) -> None:
    try:
        await hook
    except Exception:
        log.exception("a hook raised", hook=name)


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
