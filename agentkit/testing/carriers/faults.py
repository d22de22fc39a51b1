"""What can go wrong on a call's socket, at a test's word."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentkit.testing.carriers.base import FakeCarrier


class Faults:
    """The faults of one call: ``await caller.faults.malformed()``.

    Those of media (`reorder`, `duplicate`, `lose`) take effect on the frames that are due next;
    the others are sent at once.
    """

    def __init__(self, carrier: FakeCarrier) -> None:
        self.reordering = 0
        self.duplicating = 0
        self.losing = 0
        self._carrier = carrier

    def reorder(self, pairs: int = 1) -> None:
        """Each of the next pairs of media arrives in the wrong order, as Telnyx says it may."""
        self.reordering += pairs

    def duplicate(self, count: int = 1) -> None:
        """Send the next media twice, to the byte."""
        self.duplicating += count

    def lose(self, count: int = 1) -> None:
        """Do not send the next media: their numbers are missing, and so is their audio."""
        self.losing += count

    async def malformed(self) -> None:
        """Send a message that is no JSON."""
        await self._carrier.send_raw('{"event":"media","media":{')

    async def not_an_object(self) -> None:
        """Send JSON that is no object."""
        await self._carrier.send_raw('["media"]')

    async def binary(self, data: bytes = b"\x00\xff" * 80) -> None:
        """Send a binary message; on carriers whose audio is binary, half a sample too much."""
        await self._carrier.send_raw(data if self._carrier.is_text else data + b"\x00")

    async def oversize(self, size: int = 2 << 20) -> None:
        """Send a message of so many bytes."""
        message = json.dumps({"event": "oversize", "payload": "A" * size})
        await self._carrier.send_raw(message)

    async def unknown_event(self) -> None:
        """Send an event that the bot cannot know."""
        await self._carrier.send_raw('{"event":"tomorrow","streamSid":"MZ0","sequenceNumber":"0"}')

    async def bad_base64(self) -> None:
        """Send media whose payload is not base64, on carriers whose media are text."""
        await self._carrier.send_raw(self._carrier.media_message("!not base64!"))

    async def wrong_stream(self) -> None:
        """Send a frame of media of another stream, on carriers whose media name the stream."""
        await self._carrier.send_raw(self._carrier.foreign_media())

    async def second_start(self) -> None:
        """Send the start of the stream once more."""
        await self._carrier.send_raw(self._carrier.start_message())

    async def flood_marks(self, name: str, count: int = 1000) -> None:
        """Send a mark back so often, whether the bot asked for it or not."""
        for _ in range(count):
            await self._carrier.send_raw(self._carrier.mark_message(name, cleared=False))
