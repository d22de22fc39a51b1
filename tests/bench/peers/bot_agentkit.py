"""agentkit as a bot of the comparison on the plain line, in one process for all calls.

All settings are agentkit's own defaults: it drafts model and voice at EagerEndOfTurn without being
told to. Twilio's media streams are answered by ``agentkit serve``, not by this.
"""

from __future__ import annotations

import asyncio
import json

import structlog
import uvloop

from agentkit import Agent, Session
from agentkit.audio import AudioFormat
from agentkit.flux import FluxSource
from agentkit.llm.openai import OpenAILLM
from agentkit.transports.base import AGENT_HUNG_UP, Transport, TransportSink
from agentkit.tts.openai import OpenAITTS
from tests.bench.peers.probe import FLUX, INSTRUCTIONS, LINE_IN, LINE_OUT, OPENAI, answering
from tests.bench.sockets import BINARY, Socket, frame, unmasked

CLEAR = frame(b'{"event":"clear"}')


class Clerk(Agent):
    """Says what the scripted model says."""

    instructions = INSTRUCTIONS


class PlainTransport(Transport):
    """A caller on a plain line.

    Args:
        line: its socket.
    """

    input = AudioFormat("linear16", LINE_IN)
    output = AudioFormat("linear16", LINE_OUT)

    def __init__(self, line: Line) -> None:
        self.sink: TransportSink | None = None
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._line = line

    async def connect(self) -> None:
        """The socket is there."""

    async def run(self, sink: TransportSink) -> str:
        self.sink = sink
        return await self.over

    def play(self, data: bytes) -> None:
        self._line.send(frame(data, BINARY))

    def mark(self, name: str) -> None:
        self._line.send(frame(json.dumps({"event": "mark", "mark": {"name": name}}).encode()))

    def clear(self) -> None:
        self._line.send(CLEAR)

    async def hang_up(self) -> None:
        self.end(AGENT_HUNG_UP)

    async def aclose(self) -> None:
        self._line.hang_up()

    def end(self, reason: str) -> None:
        if not self.over.done():
            self.over.set_result(reason)


class Line(Socket):
    """One call: binary messages are samples, others are marks that come back."""

    def __init__(self, backends: Backends) -> None:
        super().__init__()
        self._backends = backends
        self._transport_of_call: PlainTransport | None = None
        self._talk: asyncio.Task[None] | None = None

    def opened(self) -> None:
        self._transport_of_call = transport = PlainTransport(self)
        self._talk = asyncio.get_running_loop().create_task(self._backends.converse(transport))

    def took(self, opcode: int, payload: bytes, key: bytes) -> None:
        if self._transport_of_call is None or self._transport_of_call.sink is None:
            return
        if opcode == BINARY:
            # The load generator masks with zeros, which changes nothing.
            self._transport_of_call.sink.audio(payload)
        else:
            name = json.loads(unmasked(payload, key))["mark"]["name"]
            self._transport_of_call.sink.marked(name)

    def ended(self) -> None:
        if self._transport_of_call is not None:
            self._transport_of_call.end("caller hung up")


class Backends:
    """What all calls share."""

    def __init__(self) -> None:
        self._llm = OpenAILLM("scripted", api_key="none", base_url=OPENAI)
        self._tts = OpenAITTS("scripted", "tone", api_key="none", base_url=OPENAI)

    async def converse(self, transport: PlainTransport) -> None:
        """Hold one call until the caller has gone."""
        source = FluxSource(url=FLUX)
        async with Session(
            Clerk(), transport, flux=source, llm=self._llm, tts=self._tts
        ) as session:
            await session.run()


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    backends = Backends()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Line(backends), "127.0.0.1", 0)
    probe = answering(server.sockets[0].getsockname()[1])
    await server.serve_forever()
    del probe


if __name__ == "__main__":
    uvloop.run(main())
