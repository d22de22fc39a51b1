# LiveKit Agents is not installed where the code is checked: it has an environment of its own.
# mypy: ignore-errors
"""LiveKit Agents as a bot of the comparison, in one process for all calls.

It runs in LiveKit's own environment, without a room: audio comes and goes through an `AudioInput`
and an `AudioOutput` of this file's, which is how LiveKit lets one bring a transport. So WebRTC and
Opus are not in the figures, nor is the process for each call that LiveKit's worker starts by
default. What is set, and why; names are LiveKit's:

- ``turn_detection="stt"``, ``vad=None``: Flux decides. By default LiveKit's own detector does.
- ``endpointing`` ``min_delay`` 0: by default it waits 0.5 s after Flux has decided.
- ``preemptive_generation`` with ``preemptive_tts``: model and voice are drafted at EagerEndOfTurn;
  of the voice that is off by default.
- ``interruption`` ``min_duration`` 0 and ``resume_false_interruption`` off, and an output that
  cannot pause: with one that can, no draft is made while a reply is merely paused.
- ``aec_warmup_duration`` None: by default the caller cannot interrupt in the first 3 s.
- Flux gets 80 ms of audio at a time, as Deepgram recommends; 50 ms by default.
- ``response_format="pcm"`` of the voice: MP3 by default. Text filters are off.
- The model's and the voice's clients are shared by all calls. ``user_away_timeout`` is off.
- uvloop, though LiveKit's own worker does without.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time

import aiohttp
import uvloop
from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.voice.io import AudioInput, AudioOutput, AudioOutputCapabilities
from livekit.plugins import deepgram, openai

from tests.bench.peers.probe import FLUX, INSTRUCTIONS, LINE_IN, LINE_OUT, OPENAI, answering
from tests.bench.sockets import BINARY, Socket, frame

CLEAR = frame(json.dumps({"event": "clear"}).encode())


class Ear(AudioInput):
    """What the caller says."""

    def __init__(self) -> None:
        super().__init__(label="plain")
        self.frames: asyncio.Queue[rtc.AudioFrame | None] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        taken = await self.frames.get()
        if taken is None:
            raise StopAsyncIteration
        return taken


class Mouth(AudioOutput):
    """What the caller hears, played out in real time on paper."""

    def __init__(self, line: Line) -> None:
        super().__init__(
            label="plain",
            capabilities=AudioOutputCapabilities(pause=False),
            sample_rate=LINE_OUT,
        )
        self._line = line
        self._begun = 0.0
        self._pushed = 0.0
        self._over: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame_: rtc.AudioFrame) -> None:
        await super().capture_frame(frame_)
        if self._pushed == 0.0:
            self._begun = time.time()
            self.on_playback_started(created_at=self._begun)
        self._pushed += frame_.duration
        self._line.send(frame(bytes(frame_.data), BINARY))

    def flush(self) -> None:
        super().flush()
        if self._pushed > 0.0:
            left = max(0.0, self._begun + self._pushed - time.time())
            self._over = asyncio.get_running_loop().call_later(left, self._finish, False)

    def clear_buffer(self) -> None:
        if self._over is not None:
            self._over.cancel()
        if self._pushed > 0.0:
            self._line.send(CLEAR)
            self._finish(True)

    def _finish(self, interrupted: bool) -> None:
        played = min(self._pushed, time.time() - self._begun) if interrupted else self._pushed
        self._pushed, self._over = 0.0, None
        self.on_playback_finished(playback_position=played, interrupted=interrupted)


class Line(Socket):
    """One call: binary messages are samples."""

    def __init__(self, backends: Backends) -> None:
        super().__init__()
        self._backends = backends
        self._ear = Ear()
        self._talk: asyncio.Task[None] | None = None
        self._session: AgentSession | None = None

    def opened(self) -> None:
        self._talk = asyncio.get_running_loop().create_task(self._begin())

    def took(self, opcode: int, payload: bytes, key: bytes) -> None:
        # The load generator masks with zeros, which changes nothing.
        if opcode == BINARY:
            self._ear.frames.put_nowait(rtc.AudioFrame(payload, LINE_IN, 1, len(payload) // 2))

    def ended(self) -> None:
        self._ear.frames.put_nowait(None)
        self._talk = asyncio.get_running_loop().create_task(self._end())

    async def _begin(self) -> None:
        self._session = session = self._backends.session()
        session.input.audio = self._ear
        session.output.audio = Mouth(self)
        await session.start(Agent(instructions=INSTRUCTIONS), record=False)

    async def _end(self) -> None:
        if self._session is not None:
            await self._session.aclose()


class Backends:
    """What all calls share."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._llm = openai.LLM(model="scripted", api_key="none", base_url=OPENAI)
        self._tts = openai.TTS(
            model="scripted", voice="alloy", api_key="none", base_url=OPENAI, response_format="pcm"
        )

    def session(self) -> AgentSession:
        stt = deepgram.STTv2(
            api_key="none",
            base_url=FLUX,
            sample_rate=LINE_IN,
            audio_chunk_duration_ms=80,
            eager_eot_threshold=0.4,
            eot_threshold=0.7,
            http_session=self._http,
        )
        return AgentSession(
            stt=stt,
            llm=self._llm,
            tts=self._tts,
            vad=None,
            turn_handling={
                "turn_detection": "stt",
                "endpointing": {"mode": "fixed", "min_delay": 0.0, "max_delay": 0.0},
                "interruption": {"min_duration": 0.0, "resume_false_interruption": False},
                "preemptive_generation": {"enabled": True, "preemptive_tts": True},
            },
            tts_text_transforms=None,
            aec_warmup_duration=None,
            user_away_timeout=None,
        )


async def main() -> None:
    async with aiohttp.ClientSession() as http:
        backends = Backends(http)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Line(backends), "127.0.0.1", 0)
        probe = answering(server.sockets[0].getsockname()[1])
        await server.serve_forever()
        del probe


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(main())
