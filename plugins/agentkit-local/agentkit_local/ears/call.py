"""One connection to the ears: audio and control messages in, Flux's messages out."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed

from agentkit_local.ears.audio import Intake, UndecodableAudio
from agentkit_local.ears.query import Asked, BadRequest, check_keyterms, check_thresholds
from agentkit_local.ears.recognizer import RATE, Recognizer, Samples, Transcript
from agentkit_local.ears.turns import Decode, Output, Thresholds, TurnEvent, TurnTracker
from agentkit_local.ears.vad import HOP, Listener, VoiceActivity

Send = Callable[[dict[str, Any]], Awaitable[None]]

QUEUED = 25
"""Messages of audio that wait; past them the socket is not read (back-pressure)."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What all calls share: the models, and the threads they run on."""

    recognizer: Recognizer
    activity: VoiceActivity
    pool: ThreadPoolExecutor


class Call:
    """One connection.

    Args:
        engine: the models.
        asked: what the URL said.
        request_id: as in the handshake's answer.
        send: sends one message.
    """

    def __init__(self, engine: Engine, asked: Asked, request_id: str, send: Send) -> None:
        self.close_code, self.close_reason = 1000, ""
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
            judged = await loop.run_in_executor(self._engine.pool, self._listen, data)
        except UndecodableAudio as error:
            self.close_code, self.close_reason = 1008, f"DATA-0000: {error}"
            return False
        for hop, chance in judged:
            self._hops.append(hop)
            await self._carry_out(self._tracker.hop(chance))
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
                await self._send(_turn_info(output))
            elif self._decoding is None:
                self._start_decoding(output)
            elif output.final:
                self._wanted = output

    def _start_decoding(self, decode: Decode) -> None:
        samples = self._stretch(decode)
        self._decoding = self._tasks.create_task(self._decode(decode, samples))

    async def _decode(self, decode: Decode, samples: Samples) -> None:
        loop = asyncio.get_running_loop()
        transcript = await loop.run_in_executor(self._engine.pool, self._engine.recognizer, samples)
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
        except (ValueError, TypeError, KeyError):
            return await self._fatal("not a JSON object with a type")
        if kind == "CloseStream":
            await self._drain()
            return False
        if kind == "Configure":
            return await self._configure(message)
        if kind == "ForceEndTurn":
            await self._force_end_turn()
            return True
        return await self._fatal(f"unknown variant `{kind}`")

    async def _drain(self) -> None:
        """Decode what is being decoded; the open turn is not ended (flux/close-stream)."""
        if self._decoding is not None:
            await asyncio.wait([self._decoding])

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
        unknown = message.keys() - {
            "type", "thresholds", "keyterms", "language_hints", "numerals",
        }  # fmt: skip
        if unknown:
            return await self._fatal(f"unknown field `{min(unknown)}`")
        try:
            thresholds = _changed(self._tracker.thresholds, message.get("thresholds") or {})
            keyterms = message.get("keyterms")
            if keyterms is not None:
                check_keyterms(tuple(keyterms))
            if not isinstance(message.get("numerals", False), bool):
                return await self._fatal("numerals: expected a boolean")
        except BadRequest as error:
            await self._send(
                {
                    "type": "ConfigureFailure",
                    "code": "INVALID_CONFIGURATION",
                    "description": str(error),
                }
            )
            return True
        except (TypeError, ValueError, AttributeError):
            return await self._fatal("a field of Configure has the wrong type")
        self._tracker.thresholds = thresholds
        if keyterms is not None:
            self._asked = replace(self._asked, keyterms=tuple(keyterms))
        await self._send(
            {
                "type": "ConfigureSuccess",
                "thresholds": {
                    "eot_threshold": thresholds.eot,
                    "eager_eot_threshold": thresholds.eager,
                    "eot_timeout_ms": round(thresholds.timeout * 1000),
                },
                "keyterms": list(self._asked.keyterms),
            }
        )
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


def _turn_info(event: TurnEvent) -> dict[str, Any]:
    info: dict[str, Any] = {
        "type": "TurnInfo",
        "event": event.name,
        "turn_index": event.index,
        "audio_window_start": round(event.start, 3),
        "audio_window_end": round(event.end, 3),
        "transcript": event.text,
        "words": [
            {"word": word, "confidence": confidence, "start": start, "end": end}
            for word, confidence, start, end in event.words
        ],
        "end_of_turn_confidence": round(event.confidence, 4),
    }
    if event.trigger:
        info["trigger"] = event.trigger
    return info


def _words(transcript: Transcript) -> list[tuple[str, float]]:
    return list(zip(transcript.text.split(), transcript.confidences, strict=True))


def _changed(thresholds: Thresholds, given: dict[str, Any]) -> Thresholds:
    eager = thresholds.eager
    if "eager_eot_threshold" in given:
        value = given["eager_eot_threshold"]
        eager = None if value is None else float(value)
    return check_thresholds(
        Thresholds(
            float(given.get("eot_threshold", thresholds.eot)),
            eager,
            float(given.get("eot_timeout_ms", thresholds.timeout * 1000)) / 1000,
        )
    )
