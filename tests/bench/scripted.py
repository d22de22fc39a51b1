"""Flux, the model and the voice as scripted servers that cost next to nothing.

They say what `agentkit.testing.flux.ScriptedFlux` and `agentkit.testing.openai.ScriptedOpenAI` say,
on the clock of one `Wheel` and without a task or a record for each thing that happens.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from functools import partial

from agentkit.testing._http import LAST_CHUNK, Connection, RawRequest, chunk, head
from agentkit.testing._openai_script import ChatReply, encoded, tone
from tests.bench.agents import FIRST_AUDIO, FIRST_TOKEN, PACE, PER_TOKEN, REPLY, SECONDS_A_CHARACTER
from tests.bench.sockets import BINARY, Socket, frame, unmasked
from tests.bench.wheel import Wheel

CADENCE = 0.24
"""Seconds between two Updates (Deepgram docs flux/state: about 0.25)."""

_CHUNK = 4800
"""Bytes of 24 kHz linear16 that the voice sends at once: 0.1 s."""


class FluxSocket(Socket):
    """One call's connection to Flux: it counts what it hears, and says what it is told to.

    Args:
        wheel: the clock of its Updates.
        opened: told once audio may come.
        lost: told of its end.
    """

    def __init__(
        self, wheel: Wheel, opened: Callable[[FluxSocket], None], lost: Callable[[], None]
    ) -> None:
        super().__init__()
        self._wheel = wheel
        self._told_open = opened
        self._told_lost = lost
        self._heard = 0
        self._sequence = 0
        self._turn = 0
        self._text = ""
        self._window_start = 0.0

    def opened(self) -> None:
        self._say({"type": "Connected"})
        self._told_open(self)
        self._update(time.monotonic())

    def ended(self) -> None:
        self._told_lost()

    def took(self, opcode: int, payload: bytes, key: bytes) -> None:
        if opcode == BINARY:
            self._heard += len(payload)
        elif b"CloseStream" in unmasked(payload, key):
            self.hang_up()

    def turn(self, event: str, text: str, confidence: float = 0.1) -> None:
        """A TurnInfo with any event."""
        self._text = text
        heard = self._heard / 8000  # mu-law
        words = text.split()
        step = (heard - self._window_start) / max(1, len(words))
        trigger = {"trigger": "model"} if event == "EndOfTurn" else {}
        self._say(
            {
                "type": "TurnInfo",
                "event": event,
                "turn_index": self._turn,
                "audio_window_start": round(self._window_start, 3),
                "audio_window_end": round(heard, 3),
                "transcript": text,
                "words": [
                    {
                        "word": word,
                        "confidence": 0.98,
                        "start": round(self._window_start + place * step, 3),
                        "end": round(self._window_start + (place + 1) * step, 3),
                    }
                    for place, word in enumerate(words)
                ],
                "end_of_turn_confidence": confidence,
                **trigger,
            }
        )
        if event == "EndOfTurn":
            self._turn, self._text, self._window_start = self._turn + 1, "", heard

    def _update(self, due: float) -> None:
        if not self.closed:
            self.turn("Update", self._text)
            self._wheel.at(due + CADENCE, partial(self._update, due + CADENCE))

    def _say(self, message: dict[str, object]) -> None:
        known = {
            "request_id": "00000000-0000-4000-8000-000000000000",
            "sequence_id": self._sequence,
        }
        self._sequence += 1
        self.send(frame(json.dumps(message | known).encode()))


class Backends:
    """The model and the voice, behind OpenAI's protocol.

    Args:
        wheel: the clock of what they send.
        reply: what the model says.
        pace: seconds of audio that the voice makes in one.

    Attributes:
        spoken: every text that the voice was asked for.
    """

    def __init__(self, wheel: Wheel, reply: str = REPLY, *, pace: float = PACE) -> None:
        self.spoken: set[str] = set()
        self._wheel = wheel
        self._reply = ChatReply(reply)
        self._pace = pace
        self._audio = chunk(tone(_CHUNK))

    def connect(self) -> Connection:
        """The protocol of one connection."""
        return Connection(0.0, lambda _: None, lambda: None, self._answer, lambda _: None)

    def _answer(self, connection: Connection, request: RawRequest) -> None:
        now, body = time.monotonic(), json.loads(request.body)
        if request.path.endswith("/chat/completions"):
            self._chat(connection, now, str(body["model"]))
        else:
            self.spoken.add(body["input"])
            self._speak(connection, now, len(body["input"]) * SECONDS_A_CHARACTER)

    def _chat(self, connection: Connection, now: float, model: str) -> None:
        opening, tokens, closing = encoded(self._reply, model, True)
        due = now + FIRST_TOKEN
        whole = head(200, "text/event-stream; charset=utf-8") + opening
        for number, token in enumerate(tokens):
            whole += token + (closing if number == len(tokens) - 1 else b"")
            self._wheel.at(due, partial(connection.write, whole))
            due, whole = due + PER_TOKEN, b""

    def _speak(self, connection: Connection, now: float, seconds: float) -> None:
        due = now + FIRST_AUDIO
        count, rest = divmod(2 * round(24000 * seconds), _CHUNK)
        parts = [self._audio] * count + ([chunk(tone(rest))] if rest else [])
        parts[0] = head(200, "audio/pcm") + parts[0]
        parts[-1] += LAST_CHUNK
        for part in parts:
            self._wheel.at(due, partial(connection.write, part))
            due += _CHUNK / 48000 / self._pace


async def listen(protocol: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Server, int]:
    """Serve on a free port of the loopback interface."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]
