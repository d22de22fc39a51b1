"""The audio of one reply, between the voice that makes it and the far end that plays it."""

from __future__ import annotations

import asyncio

from agentkit.audio.formats import AudioFormat

AHEAD = 20.0
"""Seconds of audio not yet heard at which the voice has to wait."""


class ReplyAudio:
    """Audio made so far, by position in bytes from the reply's beginning.

    What was heard is let go, except the last seconds, from which playout may go on after a hold.

    Args:
        reply: whose.
        format: what the bytes are in.
    """

    def __init__(self, reply: int, format: AudioFormat) -> None:
        self.reply = reply
        self.format = format
        self.size = 0
        self.sent = False
        self.sounded = False
        self._data = bytearray()
        self._dropped = 0
        self._keep = format.size(3.0)
        self._ahead = format.size(AHEAD)
        self._heard = 0
        self._room = asyncio.Event()
        self._room.set()

    def append(self, data: bytes) -> None:
        """The voice made more."""
        self._data += data
        self.size += len(data)
        if self.size - self._heard > self._ahead:
            self._room.clear()

    def read(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from a position on; empty when nothing is there yet."""
        begin = at - self._dropped
        return bytes(self._data[begin : begin + size])

    def truncate(self, size: int) -> None:
        """Forget what was made past a position."""
        if size < self.size:
            del self._data[size - self._dropped :]
            self.size = size
            self._room.set()

    def heard(self, position: int) -> None:
        """So much was heard."""
        self._heard = max(self._heard, position)
        if self.size - self._heard <= self._ahead:
            self._room.set()
        if self._heard - self._dropped > 2 * self._keep:
            drop = self._heard - self._keep - self._dropped
            del self._data[:drop]
            self._dropped += drop

    async def room(self) -> None:
        """Wait until so little is unheard that more may be made."""
        await self._room.wait()
