"""The callers of the comparison: the same conversation over either line.

A `Caller` says what its script has it say through Flux, and measures on the line what it hears.
`TwilioLine` is Twilio's side of a media stream (twilio.com/docs/voice/media-streams); `PlainLine`
is linear16 in binary messages, for what cannot speak to Twilio.
"""

from __future__ import annotations

import base64
import json
import random
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from agentkit.audio.g711 import linear16_to_mulaw, mulaw_to_linear16
from tests.bench.peers.probe import LINE_IN, LINE_OUT
from tests.bench.scripted import FluxSocket
from tests.bench.sockets import BINARY, TEXT, Socket, frame
from tests.bench.wheel import TICK, Wheel

FRAME = 0.02
"""Seconds of audio in a message of the caller's."""

SOUND = 200
"""The least sample, of 32767, that is not silence; the scripted voice hums at 8000."""

BREAK = 0.04
"""Seconds that a reply may be late in going on before the caller hears a gap."""


@dataclass(frozen=True)
class Turn:
    """What a caller does in one turn; times are in seconds.

    Args:
        kind: under which its reaction is counted.
        lead: from the last EagerEndOfTurn to EndOfTurn; 0: both at the same moment.
        lasts: from its StartOfTurn to the next turn's.
        speaks: from StartOfTurn to the first EagerEndOfTurn.
        resumes: how the caller goes on after a false end: ``""``: there is none; ``more``: with
            more words; ``same``: with the same.
        breaks_in: it begins while a reply is heard, which has to stop.
    """

    kind: str
    lead: float
    lasts: float
    speaks: float = 0.5
    resumes: str = ""
    breaks_in: bool = False


ONE_REPLY, ONE_CHARACTER = "Sure, let me check that. One moment.", 0.04
"""What is said in `ONE_BY_ONE`, and the seconds that a character of it takes."""
BUSY_REPLY, BUSY_CHARACTER = "Sure, let me check that. Your order is on the way.", 0.06
"""Likewise in `BUSY`."""

HESITATES = 0.25
"""Seconds from a false EagerEndOfTurn to TurnResumed, and from that to the next EagerEndOfTurn."""

ONE_BY_ONE = (
    Turn("lead 0", 0.0, 3.0),
    Turn("lead 200", 0.2, 3.0),
    Turn("lead 500", 0.5, 2.0),
    Turn("after a barge-in", 0.2, 3.0, breaks_in=True),
    Turn("false end, more words", 0.2, 3.5, resumes="more"),
    Turn("false end, same words", 0.2, 3.5, resumes="same"),
)
"""For one call: all that may happen, with replies of 1.4 s."""

BUSY = (
    Turn("lead 500", 0.5, 5.0, speaks=0.8),
    Turn("lead 200", 0.2, 3.0, speaks=0.8),
    Turn("lead 0", 0.0, 7.0, speaks=0.8, breaks_in=True),
)
"""For many calls: 12 turns a minute, one in three breaks in, with replies of 3 s."""


def cycle(script: Sequence[Turn]) -> float:
    """Seconds that a script takes once."""
    return sum(turn.lasts for turn in script)


@dataclass
class Tally:
    """What callers found in a stretch of time, in seconds.

    Args:
        since: the time from which turns count.
        reaction: by kind of turn, from EndOfTurn to the first sound.
        barge_in: from StartOfTurn to the clear.
        gaps: how late replies went on that were later than `BREAK`.
        turns: how many ended.
        unanswered: turns that had no sound by the next one, and replies that were not cleared.
        early: sounds that came before the turn had ended.
    """

    since: float = 0.0
    reaction: dict[str, list[float]] = field(default_factory=dict)
    barge_in: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    turns: int = 0
    unanswered: int = 0
    early: int = 0


class Ears(FluxSocket):
    """A connection to Flux that takes whatever audio it is told of."""

    _rate = 8000.0
    """Bytes a second."""
    _whole = 0
    """Bytes heard."""

    def _shake_hands(self, head: bytes) -> None:
        query = head.split(b" ", 2)[1].partition(b"?")[2].decode()
        given = dict(pair.partition("=")[::2] for pair in query.split("&"))
        width = 2 if given.get("encoding", "linear16") == "linear16" else 1
        self._rate = float(given.get("sample_rate", "16000")) * width
        super()._shake_hands(head)

    def took(self, opcode: int, payload: bytes, key: bytes) -> None:
        super().took(opcode, payload, key)
        if opcode == BINARY:  # what is above counts bytes of 8 kHz mu-law
            self._whole += len(payload)
            self._heard = round(self._whole * 8000 / self._rate)


class Line(Socket):
    """The caller's end of a call. Subclasses know the messages.

    Args:
        number: the call's, from 0.
        wheel: the clock of all that is said.
        path: what is asked of the server.

    Attributes:
        hear: told of audio: when it came, its seconds, and its samples' bytes in `samples` form.
        cleared: told when what was not heard yet was dropped.
    """

    def __init__(self, number: int, wheel: Wheel, path: str) -> None:
        super().__init__(path)
        self.hear: Callable[[float, float, bytes], None] = lambda now, seconds, audio: None
        self.cleared: Callable[[float], None] = lambda now: None
        self.plays_until = 0.0
        self._number = number
        self._wheel = wheel
        self._frame = b""
        self._marks: deque[tuple[float, str]] = deque()

    def opened(self) -> None:
        # Steps of the golden ratio spread any number of calls evenly.
        offset = round((self._number * 0.618034) % 1 * FRAME / TICK) * TICK
        begin = (time.monotonic() // FRAME + 2) * FRAME + offset
        self._wheel.at(begin, partial(self._speak, begin))

    def is_sound(self, audio: bytes) -> bool:
        """Whether audio that came is more than silence."""
        raise NotImplementedError

    def _speak(self, due: float) -> None:
        if not self.closed:
            self.send(self._frame)
            due += FRAME
            self._wheel.at(due, partial(self._speak, due))

    def _tell(self, message: dict[str, object]) -> None:
        self.send(frame(json.dumps(message).encode(), masked=True))

    def _took_text(self, message: dict[str, dict[str, str]]) -> None:
        now = time.monotonic()
        if message.get("event") == "mark":  # type: ignore[comparison-overlap]
            due = max(now, self.plays_until)
            self._marks.append((due, message["mark"]["name"]))
            self._wheel.at(due, self._reach_marks)
        else:
            self.cleared(now)
            self._marks = deque((now, name) for _, name in self._marks)
            self._reach_marks()

    def _reach_marks(self) -> None:
        now = time.monotonic()
        while self._marks and self._marks[0][0] <= now:
            self._tell({"event": "mark", "mark": {"name": self._marks.popleft()[1]}})


def noise(number: int) -> bytes:
    """A frame of 8 kHz linear16 that no two callers share."""
    chance = random.Random(number)
    return b"".join(chance.randrange(65536).to_bytes(2, "little") for _ in range(160))


class TwilioLine(Line):
    """Twilio's side of a media stream."""

    def __init__(self, number: int, wheel: Wheel) -> None:
        super().__init__(number, wheel, "/twilio/media")
        self._stream = f"MZ{number:032x}"
        payload = base64.b64encode(linear16_to_mulaw(noise(number))).decode()
        # A message of full size; nobody looks at its numbers.
        media = {"track": "inbound", "chunk": "1234", "timestamp": "24680", "payload": payload}
        message = {"event": "media", "sequenceNumber": "1235", "media": media}
        whole = json.dumps(message | {"streamSid": self._stream}, separators=(",", ":"))
        self._frame = frame(whole.encode(), masked=True)

    def opened(self) -> None:
        self._tell({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        start = {
            "accountSid": f"AC{1:032x}",
            "streamSid": self._stream,
            "callSid": f"CA{self._number:032x}",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {},
        }
        self._tell({"event": "start", "sequenceNumber": "1", "start": start})
        super().opened()

    def hang_up(self) -> None:
        self._tell({"event": "stop", "sequenceNumber": "2", "stop": {}})
        super().hang_up()

    def took(self, opcode: int, payload: bytes, key: bytes) -> None:
        message = json.loads(payload) if opcode == TEXT else {}
        if message.get("event") == "media":
            audio = base64.b64decode(message["media"]["payload"])
            self.hear(time.monotonic(), len(audio) / 8000, audio)
        elif message.get("event") in ("mark", "clear"):
            self._took_text(message)

    def is_sound(self, audio: bytes) -> bool:
        return _is_sound(mulaw_to_linear16(audio))

    def _tell(self, message: dict[str, object]) -> None:
        super()._tell({**message, "streamSid": self._stream})


class PlainLine(Line):
    """Samples in binary messages: 16 kHz from the caller, 24 kHz to the caller."""

    def __init__(self, number: int, wheel: Wheel) -> None:
        super().__init__(number, wheel, "/plain")
        self._frame = frame(noise(number) * (LINE_IN // 8000), BINARY, masked=True)

    def took(self, opcode: int, payload: bytes, key: bytes) -> None:
        if opcode == BINARY:
            self.hear(time.monotonic(), len(payload) / 2 / LINE_OUT, payload)
        else:
            self._took_text(json.loads(payload))

    def is_sound(self, audio: bytes) -> bool:
        return _is_sound(audio)


def _is_sound(linear16: bytes) -> bool:
    samples = array("h", linear16)
    return bool(samples) and max(max(samples), -min(samples)) >= SOUND


LINES: dict[str, Callable[[int, Wheel], Line]] = {"twilio": TwilioLine, "plain": PlainLine}


class Caller:
    """One call: what it says and what it hears.

    Args:
        number: from 0; calls of different numbers do nothing at the same moment.
        wheel: the clock of all it does.
        line: its end of the call.
        script: its turns, over and over.
        first: seconds until the first turn at least.
    """

    def __init__(
        self,
        number: int,
        wheel: Wheel,
        line: Line,
        script: Sequence[Turn],
        first: float = 1.0,
    ) -> None:
        self.tally = Tally()
        self.line = line
        self.flux: Ears | None = None
        self.hung_up = False
        self._number = number
        self._wheel = wheel
        self._script = script
        self._first = first
        self._said = 0
        self._ended: tuple[float, str] | None = None
        self._broke_in: float | None = None
        self._speaking = False
        line.hear, line.cleared = self._hear, self._cleared

    def converse(self, flux: Ears) -> None:
        """Begin somewhere in the script."""
        self.flux = flux
        phase = (self._number * 0.618034) % 1 * cycle(self._script)
        place, until = 0, 0.0
        while until < phase:
            until += self._script[place].lasts
            place += 1
        begin = time.monotonic() + self._first + until - phase
        self._wheel.at(begin, partial(self._begin, begin, place % len(self._script)))

    def hang_up(self) -> None:
        """End the call."""
        self.hung_up = True
        self.line.hang_up()

    # ----------------------------------------------------------------------------- what it says

    def _begin(self, due: float, place: int) -> None:
        if self.flux is None or self.hung_up:
            return
        now, turn = time.monotonic(), self._script[place]
        if self._counts(self._ended) or self._counts(self._broke_in):
            self.tally.unanswered += 1
        self._ended = None
        self._broke_in = now if turn.breaks_in and now < self.line.plays_until else None
        self._speaking = True
        self._said += 1
        words = f"no wait what about order number {self._said}"
        self.flux.turn("StartOfTurn", "no wait")
        at = due + turn.speaks
        self._wheel.at(at, partial(self._say, "EagerEndOfTurn", words, 0.5))
        if turn.resumes:
            more = f"{words} please" if turn.resumes == "more" else words
            self._wheel.at(at + HESITATES, partial(self._say, "TurnResumed", more, 0.3))
            at, words = at + 2 * HESITATES, more
            self._wheel.at(at, partial(self._say, "EagerEndOfTurn", words, 0.5))
        self._wheel.at(at + turn.lead, partial(self._end, words, turn.kind))
        due += turn.lasts
        following = (place + 1) % len(self._script)
        self._wheel.at(due, partial(self._begin, due, following))

    def _say(self, event: str, words: str, confidence: float) -> None:
        if self.flux is not None and not self.hung_up:
            self.flux.turn(event, words, confidence)

    def _end(self, words: str, kind: str) -> None:
        self._speaking = False
        self.line.plays_until = 0.0
        self._ended = time.monotonic(), kind
        if self._ended[0] >= self.tally.since:
            self.tally.turns += 1
        self._say("EndOfTurn", words, 0.8)

    def _counts(self, at: tuple[float, str] | float | None) -> bool:
        began = at[0] if isinstance(at, tuple) else at
        return began is not None and began >= self.tally.since

    # ----------------------------------------------------------------------------- what it hears

    def _hear(self, now: float, seconds: float, audio: bytes) -> None:
        if self._ended is not None:
            if not self.line.is_sound(audio):
                return
            ended, kind = self._ended
            self._ended = None
            if ended >= self.tally.since:
                self.tally.reaction.setdefault(kind, []).append(now - ended)
            self.line.plays_until = now
        elif self._speaking and self._broke_in is None and now > self.line.plays_until:
            self.tally.early += self.line.is_sound(audio)
        late = now - self.line.plays_until
        if late > 0:
            if late > BREAK and not self._speaking:
                self.tally.gaps.append(late)
            self.line.plays_until = now
        self.line.plays_until += seconds

    def _cleared(self, now: float) -> None:
        if self._counts(self._broke_in):
            self.tally.barge_in.append(now - (self._broke_in or now))
        self._broke_in = None
        self.line.plays_until = 0.0
