# Pipecat is not installed where the code is checked: it has an environment of its own.
# mypy: ignore-errors
"""Pipecat as a bot of the comparison, in one process for all calls.

It runs in Pipecat's own environment. What is set, and why; names are Pipecat's:

- ``enable_eager_end_of_turn``: an EagerEndOfTurn starts a draft of the model; it is off by default.
- ``EagerUserTurnStrategies`` are given by hand, as the service would recommend them: else each call
  loads the default turn detector's network and throws it away (11 MB, 50 ms).
- No VAD: Flux says when the caller speaks.
- RTVI and turn tracking are off: they watch every frame for a client that is not there. Idle
  timeouts are off, metrics are off as by default, the log is at WARNING.
- On Twilio's stream both sample rates are 8000 Hz, as Pipecat's guide to Twilio has it; the voice
  says its own, 24000 Hz, which the output transport turns into the line's.
- uvicorn with uvloop and httptools: what ``uvicorn[standard]`` picks by itself.

The plain line is Pipecat's FastAPI WebSocket transport with a serializer of raw samples.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import InputAudioRawFrame, InterruptionFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.deepgram.flux.stt import DeepgramFluxSTTService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_turn_strategies import EagerUserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from tests.bench.peers.probe import FLUX, INSTRUCTIONS, LINE_IN, LINE_OUT, OPENAI, answering

TWILIO = 8000
"""Hz."""


class RawSerializer(FrameSerializer):
    """Samples in binary messages, and a word for "clear"."""

    async def serialize(self, frame):
        if isinstance(frame, OutputAudioRawFrame):
            return frame.audio
        return '{"event":"clear"}' if isinstance(frame, InterruptionFrame) else None

    async def deserialize(self, data):
        if isinstance(data, str):
            return None
        return InputAudioRawFrame(audio=data, sample_rate=LINE_IN, num_channels=1)


def pipeline(transport: FastAPIWebsocketTransport) -> Pipeline:
    """What a call runs through."""
    stt = DeepgramFluxSTTService(
        api_key="none",
        url=FLUX,
        enable_eager_end_of_turn=True,
        settings=DeepgramFluxSTTService.Settings(eager_eot_threshold=0.4, eot_threshold=0.7),
    )
    llm = OpenAILLMService(
        api_key="none",
        base_url=OPENAI,
        settings=OpenAILLMService.Settings(model="scripted", system_instruction=INSTRUCTIONS),
    )
    tts = OpenAITTSService(
        api_key="none",
        base_url=OPENAI,
        sample_rate=LINE_OUT,
        settings=OpenAITTSService.Settings(model="scripted", voice="alloy"),
    )
    context = LLMContextAggregatorPair(
        LLMContext(),
        user_params=LLMUserAggregatorParams(user_turn_strategies=EagerUserTurnStrategies()),
    )
    return Pipeline(
        [
            transport.input(),
            stt,
            context.user(),
            llm,
            tts,
            transport.output(),
            context.assistant(),
        ]
    )


async def converse(
    websocket: WebSocket, serializer: FrameSerializer, rate_in: int, rate_out: int
) -> None:
    """Hold one call until the caller has gone."""
    transport = FastAPIWebsocketTransport(
        websocket=websocket,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            add_wav_header=False,
            serializer=serializer,
        ),
    )
    worker = PipelineWorker(
        pipeline(transport),
        params=PipelineParams(audio_in_sample_rate=rate_in, audio_out_sample_rate=rate_out),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )

    @transport.event_handler("on_client_disconnected")
    async def gone(transport, client):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


@asynccontextmanager
async def lifespan(app: FastAPI):
    async def say():
        while not server.started:
            await asyncio.sleep(0.001)
        answering(server.servers[0].sockets[0].getsockname()[1])

    saying = asyncio.create_task(say())
    yield
    saying.cancel()


app = FastAPI(lifespan=lifespan)


@app.websocket("/twilio/media")
async def twilio(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()  # connected
    start = json.loads(await websocket.receive_text())["start"]
    serializer = TwilioFrameSerializer(
        stream_sid=start["streamSid"],
        call_sid=start["callSid"],
        params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
    )
    await converse(websocket, serializer, TWILIO, TWILIO)


@app.websocket("/plain")
async def plain(websocket: WebSocket) -> None:
    await websocket.accept()
    await converse(websocket, RawSerializer(), LINE_IN, LINE_OUT)


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    server.run()
