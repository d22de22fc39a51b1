"""Conversations at the desk, over a sound card in virtual time or a real one: shared by tests."""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from collections.abc import AsyncIterator
from typing import Any

from agentkit.audio.formats import AudioFormat
from agentkit.transports.desktop import DesktopTransport
from tests.transports import fake_pyaudio

AT_48 = AudioFormat("linear16", 48000)
BUFFER = 0.01
"""Seconds of what changes hands at a time: half of what a transport is asked for by default."""


class Sink:
    """What a session was told."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.got: list[tuple[float, bytes]] = []
        self.marks: list[tuple[float, str]] = []
        self.listening = asyncio.Event()

    def audio(self, data: bytes) -> None:
        self.listening.set()
        self.got.append((self.loop.time(), data))

    def marked(self, name: str) -> None:
        self.marks.append((self.loop.time(), name))

    def dtmf(self, digit: str) -> None:
        raise AssertionError("a desk has no keys")

    def between(self, begin: float, end: float) -> array[int]:
        return array("h", b"".join(data for at, data in self.got if begin <= at < end))


@contextlib.asynccontextmanager
async def talking(**how: Any) -> AsyncIterator[tuple[DesktopTransport, Sink]]:
    """A conversation over the fake sound card."""
    defaults: dict[str, Any] = {"duplex": "half", "caller": AT_48, "voice": AT_48}
    fake_pyaudio.drive(asyncio.get_running_loop())
    transport, sink = DesktopTransport(**defaults | how), Sink()
    async with held(transport, sink):
        yield transport, sink


@contextlib.asynccontextmanager
async def held(transport: DesktopTransport, sink: Sink) -> AsyncIterator[None]:
    """A conversation, from the first sound of the microphone on; hung up at the end."""
    try:
        await transport.connect()
        run = asyncio.create_task(transport.run(sink))
        await sink.listening.wait()
        yield
        await transport.hang_up()
        assert await run == "agent hung up"
    finally:
        await transport.aclose()


def steady(seconds: float, value: int = 8000) -> bytes:
    return array("h", [value] * round(48000 * seconds)).tobytes()


def now() -> float:
    return asyncio.get_running_loop().time()


class Half:
    """A canceller that halves what it is given, and remembers."""

    def __init__(self, **how: Any) -> None:
        self.near = self.far = b""
        self.resets = 0
        assert how == {
            "sample_rate": 16000,
            "echo_cancellation": True,
            "noise_suppression": True,
        }

    def reset(self) -> None:
        self.resets += 1

    def process(self, near: Any, far: Any) -> Any:
        assert len(near) == len(far)
        self.near += near.tobytes()
        self.far += far.tobytes()
        return near // 2
