"""The socket of a conversation in a browser, on which more is said than on a phone carrier's.

The call itself is held by `agentkit.transports.phone.PhoneTransport` with a
`agentkit.carriers.browser.BrowserCodec`, so that there is one way in which audio is played, marked
and cleared. What goes beside it, the caller's commands and the story of the conversation for the
page to show, is taken out and put in here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import structlog

from agentkit.carriers.base import Message, Unreadable
from agentkit.carriers.browser import PageCommand, read_command
from agentkit.transports.phone import Wire

log = structlog.get_logger(__name__)

MOST_TOLD = 2000
"""Messages that wait for a page that does not read; past them the conversation is ended."""
LAST_WORDS_WITHIN = 1.0
"""Seconds in which a page has to take what it is told last."""


class PageWire(Wire):
    """A wire on which the page is also told things, and gives commands.

    Args:
        wire: the socket.

    Attributes:
        commanded: takes the caller's commands; until it is set they are passed over.
        oddities: commands that could not be read.
    """

    def __init__(self, wire: Wire) -> None:
        self.commanded: Callable[[PageCommand], None] | None = None
        self.oddities = 0
        self._wire = wire
        self._told: deque[str] = deque()
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._overrun = False

    async def receive(self) -> Message | None:
        """The next message that is no command; None once the socket is closed."""
        while not self._overrun:
            message = await self._wire.receive()
            if message is None:
                return None
            command = read_command(message)
            if command is None:
                return message
            if isinstance(command, Unreadable):
                self.oddities += 1
            elif self.commanded is not None:
                self.commanded(command)
        return None

    async def send(self, message: Message) -> None:
        """Send a message, after what was told before. Raises ConnectionError if closed."""
        async with self._sending:
            await self._send_told()
            await self._wire.send(message)

    def tell(self, message: str) -> None:
        """Say something to the page; returns at once."""
        if len(self._told) < MOST_TOLD:
            self._told.append(message)
        elif not self._overrun:
            self._overrun = True
            log.warning("the page does not read what it is told")
        self._wake.set()

    async def tell_on(self) -> None:
        """Send what is told, until the socket is closed or this is cancelled."""
        with contextlib.suppress(ConnectionError):
            while not self._overrun:
                await self._wake.wait()
                self._wake.clear()
                async with self._sending:
                    await self._send_told()
        await self._wire.close(1011)

    async def close(self, code: int = 1000) -> None:
        """Send what was told last, and close the socket. Safe to call twice; never raises."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_WITHIN), self._sending:
                await self._send_told()
        await self._wire.close(code)

    async def _send_told(self) -> None:
        while self._told:
            await self._wire.send(self._told.popleft())
