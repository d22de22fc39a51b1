"""A page without a browser: it speaks on the socket as `agentkit/server/page` does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agentkit.audio.formats import AudioFormat
from agentkit.testing.carriers.asking import Reply
from agentkit.transports.playout import Playout
from tests.server.reception import Reception, request


async def ask_token(server: Reception, path: str = "/web/token", **headers: str) -> Reply:
    """What the server answers a page that asks for a token."""
    named = {"Origin": server.url, **headers}
    return await request(server.port, "POST", path, headers=named)


async def token(server: Reception, path: str = "/web/token") -> str:
    """A token for one conversation."""
    given: str = json.loads((await ask_token(server, path)).body)["token"]
    return given


class FakePage:
    """A page that plays what it is sent, in real time, and says how far it has come.

    Attributes:
        told: the JSON messages, but for marks and clears.
        closed: how the socket was closed.
        frozen: it takes no notice of what comes.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.told: list[dict[str, Any]] = []
        self.received: list[bytes] = []
        self.closed: int | None = None
        self.epoch = 0
        self.frozen = False
        self._socket = socket
        self._playout: Playout | None = None
        self._audio = AudioFormat()
        self._changed = asyncio.Event()
        self._answers: set[asyncio.Task[None]] = set()

    async def read(self) -> None:
        """Take what comes, until the socket is closed."""
        try:
            async for message in self._socket:
                if not self.frozen:
                    self._take(message)
                self._changed.set()
        except ConnectionClosed:
            pass  # how it was closed is told by its code
        self.closed = self._socket.close_code
        self._changed.set()

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            assert self._playout is not None, "audio before the ready"
            self.received.append(message)
            self._playout.play(message)
            return
        found = json.loads(message)
        if found["type"] == "mark":
            assert self._playout is not None
            self._playout.mark(f"{found['epoch']}:{found['at']}")
        elif found["type"] == "clear":
            assert self._playout is not None
            self.epoch = found["epoch"]
            self._playout.clear()
        else:
            self.told.append(found)
            if found["type"] == "ready":
                self._audio = AudioFormat("linear16", found["rate"])
                self._playout = Playout(self._audio, self._heard, echo=False)

    def _heard(self, name: str) -> None:
        epoch, _, at = name.partition(":")
        task = asyncio.create_task(self.say(type="heard", epoch=int(epoch), at=int(at)))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def say(self, **message: Any) -> None:
        await self._socket.send(json.dumps(message))

    async def speak(self, data: bytes) -> None:
        await self._socket.send(data)

    async def until(self, *types: str, count: int = 1) -> dict[str, Any]:
        """The last of so many messages of one of these types."""
        async with asyncio.timeout(30):
            while len(found := [one for one in self.told if one["type"] in types]) < count:
                assert self.closed is None, f"closed with {self.closed}; told: {self.told}"
                self._changed.clear()
                await self._changed.wait()
        return found[count - 1]

    async def until_closed(self) -> int:
        async with asyncio.timeout(30):
            while self.closed is None:
                self._changed.clear()
                await self._changed.wait()
        return self.closed

    def heard(self) -> bytes:
        """All that has left the loudspeaker by now."""
        assert self._playout is not None
        return b"".join(one.data for one in self._playout.heard(asyncio.get_running_loop().time()))

    def types(self) -> list[str]:
        return [one["type"] for one in self.told]


@asynccontextmanager
async def opened(server: Reception, **headers: str) -> AsyncIterator[FakePage]:
    """A page whose socket is open, before its start."""
    url = f"ws://{server.host}/web/media"
    named = {"Origin": server.url, **headers}
    async with connect(url, additional_headers=named, ping_interval=None, proxy=None) as socket:
        page = FakePage(socket)
        reading = asyncio.create_task(page.read())
        try:
            yield page
        finally:
            await socket.close()
            await reading


@asynccontextmanager
async def talking(server: Reception, path: str = "/web/token") -> AsyncIterator[FakePage]:
    """A page in a conversation."""
    given = await token(server, path)
    async with opened(server) as page:
        await page.say(type="start", version=1, token=given)
        yield page
