"""One connection to the ears: audio and control messages in, Flux's messages out."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed

from agentkit_local.ears.audio import Intake, UndecodableAudio
from agentkit_local.ears.configure import Unparsable, configured
from agentkit_local.ears.query import Asked, BadRequest
from agentkit_local.ears.recognizer import RATE, Recognizer, Samples, Transcript
from agentkit_local.ears.redact import redacted
from agentkit_local.ears.turns import Decode, Output, TurnEvent, TurnTracker
from agentkit_local.ears.vad import HOP, Listener, VoiceActivity

Send = Callable[[dict[str, Any]], Awaitable[None]]

QUEUED = 25
"""Messages of audio that wait; past them the socket is not read (back-pressure)."""


@dataclass(slots=True)
class Engine:
    """What all calls share: the models, and the threads they run on.

    Args:
        pool: recognises.
        listening: judges voice activity, a matter of a millisecond that must not stand in line
            behind recognition.
        threads: of the pool.
        busy: stretches that are being recognised, or wait for it.
    """

    recognizer: Recognizer
    activity: VoiceActivity
    pool: ThreadPoolExecutor
    listening: ThreadPoolExecutor
    threads: int
    busy: int = 0


class Call:
    """One connection.

    Args:
        engine: the models.
        asked: what the URL said.
        request_id: as in the handshake's answer.
        send: sends one message.
    """

    def __init__(self, engine: Engine, asked: Asked, request_id: str, send: Send) -> None:
        self.close_code: int | None = 1000
        self.close_reason = ""
        self._engine = engine
        self._asked = asked
        self._request_id = request_id
        self._send_message = send
        self._sequence = 0
        self._tracker = TurnTracker(asked.thresholds)
        self._listener = Listener(engine.activity)
        self._intake = Intake(asked.encoding, asked.rate)
        self._hops: deque[Samples] = deque()
        self._first_hop = 0
        self._decoding: asyncio.Task[None] | None = None
        self._wanted: Decode | None = None
        self._tasks: asyncio.TaskGroup

    async def run(self, messages: AsyncIterable[str | bytes]) -> None:
        """Serve the connection until the client closes the stream, or says something fatal."""
        queue: asyncio.Queue[str | bytes | None] = asyncio.Queue(QUEUED)
        async with asyncio.TaskGroup() as self._tasks:
            reading = self._tasks.create_task(_read(messages, queue))
            await self._send({"type": "Connected"})
            while (message := await queue.get()) is not None:
                if isinstance(message, bytes):
                    alive = await self._audio(message)
                else:
                    alive = await self._control(message)
                if not alive:
                    break
            reading.cancel()
            if self._decoding is not None:
                self._decoding.cancel()

    # ----------------------------------------------------------------------------------- audio

    async def _audio(self, data: bytes) -> bool:
        loop = asyncio.get_running_loop()
        try:
            judged = await loop.run_in_executor(self._engine.listening, self._listen, data)
        except UndecodableAudio as error:
            self.close_code, self.close_reason = 1008, f"DATA-0000: {error}"
            return False
        for hop, chance in judged:
            self._hops.append(hop)
            await self._carry_out(self._tracker.hop(chance))
            while self._tracker.starved and self._decoding is not None:
                await asyncio.wait([self._decoding])
            self._forget()
        return True

    def _listen(self, data: bytes) -> list[tuple[Samples, float]]:
        return [(hop, self._listener(hop)) for hop in self._intake.push(data)]

    def _forget(self) -> None:
        """Let audio go that nobody will ask for."""
        keep = int(self._tracker.keep_from * RATE / HOP) - 1
        while self._first_hop < keep and self._hops:
            self._hops.popleft()
            self._first_hop += 1

    def _stretch(self, decode: Decode) -> Samples:
        begin = max(0, round(decode.begin * RATE / HOP) - self._first_hop)
        end = round(decode.end * RATE / HOP) - self._first_hop
        hops = [self._hops[at] for at in range(begin, min(end, len(self._hops)))]
        return np.concatenate(hops) if hops else np.zeros(HOP, np.float32)

    async def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, TurnEvent):
                await self._send(_turn_info(output, self._asked))
            elif self._decoding is None and (
                output.final or self._engine.busy < self._engine.threads
            ):
                self._start_decoding(output)
            elif output.final:
                self._wanted = output

    def _start_decoding(self, decode: Decode) -> None:
        samples = self._stretch(decode)
        self._decoding = self._tasks.create_task(self._decode(decode, samples))

    async def _decode(self, decode: Decode, samples: Samples) -> None:
        loop, engine = asyncio.get_running_loop(), self._engine
        engine.busy += 1
        try:
            transcript = await loop.run_in_executor(engine.pool, engine.recognizer, samples)
        finally:
            engine.busy -= 1
        self._decoding = None
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self._start_decoding(wanted)
        await self._carry_out(self._tracker.transcribed(decode, _words(transcript)))

    # --------------------------------------------------------------------------------- control

    async def _control(self, text: str) -> bool:
        try:
            message = json.loads(text)
            kind = message["type"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return await self._fatal("not a JSON object with a type")
        if kind == "CloseStream":
            await self._drain()
            self.close_code = None
            return False
        if kind == "Configure":
            return await self._configure(message)
        if kind == "ForceEndTurn":
            await self._force_end_turn()
            return True
        return await self._fatal(f"unknown variant `{kind}`")

    async def _drain(self) -> None:
        """Recognise what there is; the open turn is not ended (flux/close-stream)."""
        while self._decoding is not None:
            await asyncio.wait([self._decoding])
        rest = self._tracker.rest_of_stretch()
        if rest is not None:
            self._start_decoding(rest)
        while self._decoding is not None:
            await asyncio.wait([self._decoding])
        if self._tracker.is_open:
            await self._carry_out([self._tracker.update()])

    async def _force_end_turn(self) -> None:
        ended = self._tracker.force_end()
        if ended:
            await self._carry_out(ended)
        else:
            await self._send(
                {
                    "type": "Warning",
                    "code": "FORCE_END_TURN_NO_ACTIVE_TURN",
                    "description": "no turn is open",
                }
            )

    async def _configure(self, message: dict[str, Any]) -> bool:
        """All of it is taken, or nothing (flux/configure)."""
        try:
            thresholds, self._asked = configured(message, self._tracker.thresholds, self._asked)
        except BadRequest as error:
            failure = {"type": "ConfigureFailure", "code": error.code, "description": str(error)}
            await self._send(failure)
            return True
        except Unparsable as error:
            return await self._fatal(str(error))
        self._tracker.thresholds = thresholds
        answer: dict[str, Any] = {
            "type": "ConfigureSuccess",
            "thresholds": {
                "eot_threshold": thresholds.eot,
                "eager_eot_threshold": thresholds.eager,
                "eot_timeout_ms": round(thresholds.timeout * 1000),
            },
            "keyterms": list(self._asked.keyterms),
            "numerals": self._asked.numerals,
        }
        if self._asked.multilingual:
            answer["language_hints"] = list(self._asked.language_hints)
        await self._send(answer)
        return True

    async def _fatal(self, description: str) -> bool:
        await self._send(
            {"type": "Error", "code": "UNPARSABLE_CLIENT_MESSAGE", "description": description}
        )
        self.close_code, self.close_reason = 1008, "UNPARSABLE_CLIENT_MESSAGE"
        return False

    async def _send(self, message: dict[str, Any]) -> None:
        number = self._sequence
        self._sequence += 1
        await self._send_message({**message, "request_id": self._request_id, "sequence_id": number})


async def _read(
    messages: AsyncIterable[str | bytes], queue: asyncio.Queue[str | bytes | None]
) -> None:
    """Hand messages on; None at the end, however the connection ended."""
    try:
        async for message in messages:
            await queue.put(message)
    except ConnectionClosed:
        pass  # the client is gone without a word: that ends the call like any other end
    await queue.put(None)


def _turn_info(event: TurnEvent, asked: Asked) -> dict[str, Any]:
    words = redacted(event.words, asked.redact) if asked.redact else event.words
    info: dict[str, Any] = {
        "type": "TurnInfo",
        "event": event.name,
        "turn_index": event.index,
        "audio_window_start": round(event.start, 3),
        "audio_window_end": round(event.end, 3),
        "transcript": " ".join(word[0] for word in words),
        "words": [
            {"word": word, "confidence": confidence, "start": start, "end": end}
            for word, confidence, start, end in words
        ],
        "end_of_turn_confidence": round(event.confidence, 4),
    }
    if event.trigger:
        info["trigger"] = event.trigger
    if asked.multilingual:
        info["languages"] = ["en"] if words else []
        info["languages_hinted"] = list(asked.language_hints)
    return info


def _words(transcript: Transcript) -> list[tuple[str, float]]:
    return list(zip(transcript.text.split(), transcript.confidences, strict=True))
