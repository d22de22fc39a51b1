"""What a frame, a token and a turn cost, counted in calls instead of seconds.

A clock says little on a machine that has other work. The calls that agentkit's own code makes, of
its functions and of others', are the same each time: a change that makes a hot path do more shows
here. The bounds are what it takes now and a tenth; who finds a way with less lowers them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

from starlette.applications import Starlette
from uvicorn.server import ServerState

import agentkit
from agentkit import Agent
from agentkit._http import Connection
from agentkit.audio import AudioFormat
from agentkit.carriers.base import Message
from agentkit.carriers.twilio import TwilioCodec
from agentkit.flux.outbox import Outbox
from agentkit.llm.openai import _Answer
from agentkit.server.run import uvicorn_config
from agentkit.server.sockets import DirectProtocol
from agentkit.testing.backends import ScriptedLLM
from agentkit.testing.clock import in_virtual_time
from agentkit.transports.phone import PhoneTransport, Wire, admit
from tests.session.conftest import conversing

_OURS = str(Path(agentkit.__file__).parent)
_FAKES = str(Path("agentkit", "testing"))
FRAMES = 500
REPLY = "Sure, let me look that up. It is on its way, and will be there tomorrow."


class Work:
    """Counts the calls that agentkit's code makes, while it is entered.

    Args:
        anybodys: those that libraries make, too.
    """

    def __init__(self, *, anybodys: bool = False) -> None:
        self.calls = 0
        self._anybodys = anybodys

    def __enter__(self) -> Self:
        sys.setprofile(self._happened)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _happened(self, frame: FrameType, event: str, _: Any) -> None:
        where = frame.f_code.co_filename
        ours = where.startswith(_OURS) and _FAKES not in where
        if event in ("call", "c_call") and (ours or self._anybodys):
            self.calls += 1


class Socket(Wire):
    """A socket whose messages are handed over; the test is its far end."""

    def __init__(self, first: Message) -> None:
        self.take: Callable[[Message], None] = lambda _: None
        self.sent = 0
        self._first: Message | None = first
        self._closed = asyncio.Event()

    def hand_over(self, take: Callable[[Message], None]) -> None:
        self.take = take

    def send_now(self, *messages: Message) -> bool:
        self.sent += 1
        return True

    async def receive(self) -> Message | None:
        if (first := self._first) is not None:
            self._first = None
            return first
        await self._closed.wait()
        return None

    async def send(self, message: Message) -> None:
        raise AssertionError("it was not full")

    async def close(self, code: int = 1000) -> None:
        self._closed.set()


class Open(asyncio.Transport):
    """A transport to nowhere."""

    def write(self, data: Any) -> None:
        """Nobody reads it."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """There is nothing to close."""

    def abort(self) -> None:
        """There is nothing to close."""


class Ears:
    """The caller's audio goes where it is made ready for Flux."""

    def __init__(self) -> None:
        self.outbox = Outbox(AudioFormat("mulaw", 8000), chunk=0.08, gap=0.5)
        self.now = 0.0

    def audio(self, data: bytes) -> None:
        self.now += 0.02
        if self.outbox.feed(data, self.now):
            while chunk := self.outbox.take():
                self.outbox.account(chunk.end)

    def marked(self, name: str) -> None:
        """Nothing is played."""

    def dtmf(self, digit: str) -> None:
        """No key is pressed."""


START = json.dumps({"event": "start", "streamSid": "MZ1", "start": {"callSid": "CA1"}})
MEDIA = json.dumps(
    {"event": "media", "streamSid": "MZ1", "media": {"payload": b64encode(bytes(160)).decode()}}
)


async def test_work_of_a_sockets_message() -> None:
    """From the bytes of a carrier's socket to the message; the general parser makes 37 calls."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    config = uvicorn_config(Starlette())
    config.load()
    config.loaded_app = application
    protocol = DirectProtocol(config, ServerState(), {})
    protocol.connection_made(Open())
    request = (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    protocol.data_received(request)
    while not protocol.handshake_complete:
        await asyncio.sleep(0)
    taken: list[Message] = []
    protocol.take = taken.append
    payload = MEDIA.encode()
    frame = b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload
    with Work(anybodys=True) as work:
        for _ in range(FRAMES):
            protocol.data_received(frame)
    protocol.connection_lost(None)
    assert taken == [MEDIA] * FRAMES
    assert work.calls / FRAMES < 13


async def test_work_of_a_callers_frame() -> None:
    """From the socket's message to the audio that is sent on, every fourth frame."""
    socket, codec, ears = Socket(START), TwilioCodec(), Ears()
    transport = PhoneTransport(codec, socket, await admit(codec, socket))
    running = asyncio.create_task(transport.run(ears))
    for _ in range(3):
        await asyncio.sleep(0)
    for _ in range(100):
        socket.take(MEDIA)
    gc.collect()
    before = len(gc.get_objects())
    with Work() as work:
        for _ in range(FRAMES):
            socket.take(MEDIA)
    gc.collect()
    assert len(gc.get_objects()) - before < 20, "a frame leaves something behind"
    await transport.aclose()
    await running
    assert ears.outbox.sent > 0.02 * FRAMES
    assert work.calls / FRAMES < 39


async def test_work_of_the_agents_audio() -> None:
    """200 ms of it on a carrier's socket, and the mark behind it."""
    socket, codec = Socket(START), TwilioCodec()
    transport = PhoneTransport(codec, socket, await admit(codec, socket))
    audio = bytes(1600)
    with Work() as work:
        for count in range(FRAMES):
            transport.play_marked(audio, f"1:{count}")
    assert socket.sent == FRAMES, "each is a packet"
    assert work.calls / FRAMES < 14


async def test_work_of_a_token() -> None:
    """From the socket's bytes to the text, in an answer that comes in chunks."""
    chunk = {"choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]}
    event = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    data = b"%x\r\n%b\r\n" % (len(event), event)
    connection = Connection()
    connection.connection_made(Open())
    asking = asyncio.create_task(connection.ask(b"POST /", (5.0, 5.0), lambda _: None))
    await asyncio.sleep(0)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    body, answer = await asking, _Answer("test/model")
    with Work() as work:
        for _ in range(FRAMES):
            connection.data_received(data)
            assert answer.feed(await anext(body)) == " word"
    await body.aclose()
    assert work.calls / FRAMES < 29


@in_virtual_time(until=600)
async def test_work_of_a_turn() -> None:
    """A draft, its commit, a reply of two pieces heard out: what each turn more takes."""
    counted = []
    for turns in (2, 12):
        with Work() as work:
            async with conversing(Agent(), llm=ScriptedLLM({"*": REPLY})) as talk:
                for turn in range(turns):
                    words = f"what about order number {turn}"
                    talk.source.start()
                    await asyncio.sleep(0.3)
                    talk.source.update(words)
                    await asyncio.sleep(0.3)
                    talk.source.maybe_end(words)
                    await asyncio.sleep(0.3)
                    talk.source.end(words)
                    await asyncio.sleep(8.0)
        assert [line.partition(":")[0] for line in talk.history] == ["user", "assistant"] * turns
        assert f"assistant: {REPLY}" in talk.history
        counted.append(work.calls)
    assert (counted[1] - counted[0]) / 10 < 6150
