"""Callers on Twilio's side of a media stream, and the turns that Flux hears of them.

One `Caller` is a call: 50 frames a second go out, what comes back is played out in real time on
paper, and its conversation goes round in a cycle of two turns. Messages:
twilio.com/docs/voice/media-streams/websocket-messages.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial

from agentkit.audio.g711 import linear16_to_mulaw
from tests.bench.scripted import FluxSocket
from tests.bench.sockets import TEXT, Socket, frame
from tests.bench.wheel import TICK, Wheel

FRAME = 0.02
"""Seconds of audio in a message of the caller's."""

READY, SHORT = 0.7, 0.2
"""Seconds between EagerEndOfTurn and EndOfTurn: the draft is ready by then, or it is not."""

SPEAKS = 0.5
"""Seconds between StartOfTurn and EagerEndOfTurn."""

SECOND_TURN = 5.6
"""Seconds from the first turn of the cycle to the second: the reply, 3 s long, was heard out."""

CYCLE = 9.0
"""Seconds from one first turn to the next, which breaks into the reply to the second."""


@dataclass
class Tally:
    """What callers found in a stretch of time, in seconds.

    Args:
        since: the time from which turns count.
        reaction: by lead, from EndOfTurn to the first audio.
        barge_in: from StartOfTurn to the clear.
        late: how late frames were that were late.
        frames: all that were played, but the first of each reply.
        unanswered: turns that had no audio by the next one, and replies that were not cleared.
    """

    since: float = 0.0
    reaction: dict[float, list[float]] = field(default_factory=lambda: {READY: [], SHORT: []})
    barge_in: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    frames: int = 0
    unanswered: int = 0


class Caller(Socket):
    """One call.

    Args:
        number: counted from 0; calls of different numbers do nothing at the same moment.
        wheel: the clock of all it does.
    """

    def __init__(self, number: int, wheel: Wheel) -> None:
        super().__init__("/twilio/media")
        self.tally = Tally()
        self.flux: FluxSocket | None = None
        self.hung_up = False
        self._number = number
        self._wheel = wheel
        self._stream = f"MZ{number:032x}"
        self._frame = frame(self._media().encode(), masked=True)
        self._turns = 0
        self._ended: tuple[float, float] | None = None
        self._broke_in: float | None = None
        self._plays_until = 0.0
        self._marks: deque[tuple[float, str]] = deque()

    def opened(self) -> None:
        self._tell({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        audio = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {
            "accountSid": f"AC{1:032x}",
            "streamSid": self._stream,
            "callSid": f"CA{self._number:032x}",
            "tracks": ["inbound"],
            "mediaFormat": audio,
            "customParameters": {},
        }
        self._tell({"event": "start", "sequenceNumber": "1", "start": start})
        # Steps of the golden ratio spread any number of calls evenly.
        offset = round((self._number * 0.618034) % 1 * FRAME / TICK) * TICK
        begin = (time.monotonic() // FRAME + 2) * FRAME + offset
        self._wheel.at(begin, partial(self._speak, begin))

    def converse(self, flux: FluxSocket) -> None:
        """Begin somewhere in the cycle."""
        self.flux = flux
        now, phase = time.monotonic(), (self._number * 0.618034) % 1 * CYCLE
        if phase < SECOND_TURN:
            begin = now + SECOND_TURN - phase
            self._wheel.at(begin, partial(self._second_turn, begin))
        else:
            begin = now + CYCLE - phase
            self._wheel.at(begin, partial(self._first_turn, begin))

    def hang_up(self) -> None:
        """End the call."""
        self.hung_up = True
        self._tell({"event": "stop", "sequenceNumber": "2", "stop": {}})
        super().hang_up()

    # ------------------------------------------------------------------------- what it says

    def _media(self) -> str:
        """A media message of full size; nobody looks at its numbers."""
        noise = random.Random(self._number)
        samples = b"".join(noise.randrange(65536).to_bytes(2, "little") for _ in range(160))
        payload = base64.b64encode(linear16_to_mulaw(samples)).decode()
        media = {"track": "inbound", "chunk": "1234", "timestamp": "24680", "payload": payload}
        message = {"event": "media", "sequenceNumber": "1235", "media": media}
        return json.dumps(message | {"streamSid": self._stream}, separators=(",", ":"))

    def _speak(self, due: float) -> None:
        if not self.closed:
            self.send(self._frame)
            due += FRAME
            self._wheel.at(due, partial(self._speak, due))

    def _tell(self, message: dict[str, object]) -> None:
        whole = {**message, "streamSid": self._stream}
        self.send(frame(json.dumps(whole).encode(), masked=True))

    # ------------------------------------------------------------------------ its two turns

    def _first_turn(self, due: float) -> None:
        """Break into the reply, and wait for an answer whose draft was ready."""
        self._broke_in = time.monotonic() if time.monotonic() < self._plays_until else None
        self._turn(due, READY)
        self._wheel.at(due + SECOND_TURN, partial(self._second_turn, due + SECOND_TURN))

    def _second_turn(self, due: float) -> None:
        """An answer that takes longer than there is time before the turn's end."""
        if self._broke_in is not None and self._broke_in >= self.tally.since:
            self.tally.unanswered += 1
        self._broke_in = None
        self._turn(due, SHORT)
        next_turn = due + CYCLE - SECOND_TURN
        self._wheel.at(next_turn, partial(self._first_turn, next_turn))

    def _turn(self, due: float, lead: float) -> None:
        if self.flux is None or self.hung_up:
            return
        if self._ended is not None and self._ended[0] >= self.tally.since:
            self.tally.unanswered += 1
        self._ended = None
        self._turns += 1
        words = f"no wait what about order number {self._turns}"
        self.flux.turn("StartOfTurn", "no wait")
        self._wheel.at(due + SPEAKS, partial(self.flux.turn, "EagerEndOfTurn", words, 0.5))
        self._wheel.at(due + SPEAKS + lead, partial(self._end_turn, words, lead))

    def _end_turn(self, words: str, lead: float) -> None:
        if self.flux is not None:
            self._plays_until = 0.0
            self._ended = time.monotonic(), lead
            self.flux.turn("EndOfTurn", words, 0.8)

    # ------------------------------------------------------------------------ what it hears

    def took(self, opcode: int, payload: bytes, key: bytes) -> None:
        now = time.monotonic()
        message = json.loads(payload) if opcode == TEXT else {}
        match message.get("event"):
            case "media":
                self._hear(now, len(base64.b64decode(message["media"]["payload"])) / 8000)
            case "mark":
                due = max(now, self._plays_until)
                self._marks.append((due, message["mark"]["name"]))
                self._wheel.at(due, self._reach_marks)
            case "clear":
                self._clear(now)

    def _hear(self, now: float, seconds: float) -> None:
        frames = round(seconds / FRAME)
        if self._plays_until == 0.0:
            self._first_audio(now)
            self._plays_until = now
            frames -= 1
        elif now > self._plays_until:
            self.tally.late.append(now - self._plays_until)
            self._plays_until = now
        self.tally.frames += frames
        self._plays_until += seconds

    def _first_audio(self, now: float) -> None:
        if self._ended is not None:
            ended, lead = self._ended
            self._ended = None
            if ended >= self.tally.since:
                self.tally.reaction[lead].append(now - ended)

    def _clear(self, now: float) -> None:
        if self._broke_in is not None and self._broke_in >= self.tally.since:
            self.tally.barge_in.append(now - self._broke_in)
        self._broke_in = None
        self._plays_until = 0.0
        self._marks = deque((now, name) for _, name in self._marks)
        self._reach_marks()

    def _reach_marks(self) -> None:
        now = time.monotonic()
        while self._marks and self._marks[0][0] <= now:
            self._tell({"event": "mark", "mark": {"name": self._marks.popleft()[1]}})
