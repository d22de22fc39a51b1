"""From voice activity and transcripts to Flux's turn events. Pure: no audio, no clock, no model.

The state machine is Flux's (Deepgram docs, flux/state). `TurnTracker.hop` takes the chance of
speech in each 32 ms of audio, `TurnTracker.transcribed` takes what was recognised; both return
what follows: events to send, and stretches of audio to be recognised. All times are seconds of the
connection's audio.

Flux's confidence that a turn is over is a learned one. Here it grows with the silence since the
last voiced hop, the faster the more complete the words sound:

    confidence = 1 / (1 + exp((middle - silence) / width))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from agentkit_local.ears.vad import HOP_SECONDS
from agentkit_local.ears.wording import Wording, wording

EventName = Literal["Update", "StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"]

VOICED, UNVOICED = 0.5, 0.35
"""A hop above the first is speech; between the two it is if the one before was."""
ONSET = 0.128
"""Seconds of speech that begin an utterance: less is a click."""
RESUME = 0.064
"""Seconds of speech that make a silence a pause."""
PRE_ROLL = 0.35
"""Seconds before the onset that are recognised along with it."""
FINAL_DECODE = 0.096
"""Seconds of silence after which the whole utterance is recognised."""
INTERIM, INTERIM_SHARE = 0.4, 0.1
"""Seconds of audio between two recognitions while the caller speaks; in a long stretch, which takes
longer to recognise, this share of its length."""
UPDATE = 0.24
"""Seconds of audio between two Updates (Deepgram docs, flux/state: about 0.25)."""
LONG, TOO_LONG = 8.0, 14.0
"""Seconds after which a pause ends a stretch, and after which its quietest moment since `LONG`
does: the time that recognition takes grows faster than the stretch."""
APART = 1.0
"""Seconds of pause after which more speech begins a stretch of its own."""
STARVED, STARVED_SPEAKING = 0.25, 3.0
"""Seconds of audio that may pass without the words that the next decision needs."""

SHAPES: dict[Wording, tuple[float, float]] = {
    "question": (0.25, 0.17),
    "plain": (0.30, 0.22),
    "open": (1.50, 0.50),
}
"""Middle and width of the confidence, in seconds of silence."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Flux's three settings of a turn's end; ``eager`` None: no EagerEndOfTurn."""

    eot: float = 0.7
    eager: float | None = None
    timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class TurnEvent:
    """One TurnInfo to be sent. ``words`` are (text, confidence, start, end)."""

    name: EventName
    index: int
    start: float
    end: float
    text: str
    words: tuple[tuple[str, float, float, float], ...]
    confidence: float
    trigger: str = ""


@dataclass(frozen=True, slots=True)
class Decode:
    """A stretch of audio to be recognised. A ``final`` one must not be left out."""

    begin: float
    end: float
    final: bool


Output = TurnEvent | Decode


class TurnTracker:
    """One connection's turns."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self.index = 0
        self.now = 0.0
        self._window = 0.0
        self._open = False
        self._eager = False
        self._voiced = False
        self._run = 0.0
        self._utterance: float | None = None
        self._begin = 0.0
        self._last_voice = 0.0
        self._kept: tuple[tuple[str, float, float, float], ...] = ()
        self._words: tuple[tuple[str, float, float, float], ...] = ()
        self._onset = 0.0
        self._covered = self._heard_until = 0.0
        self._asked = 0.0
        self._asked_final = False
        self._sealing: Decode | None = None
        self._quietest = (1.0, 0.0)
        self._updated = 0.0

    @property
    def is_open(self) -> bool:
        """A turn has started and not ended."""
        return self._open

    @property
    def text(self) -> str:
        """All that was recognised of the turn."""
        return " ".join(word[0] for word in self._kept + self._words)

    @property
    def keep_from(self) -> float:
        """Audio before this is not needed any more."""
        if self._utterance is None or (self._heard_out and self._silence >= APART):
            return self.now - PRE_ROLL - ONSET - HOP_SECONDS
        return self._begin

    @property
    def starved(self) -> bool:
        """Recognition is late: more audio should wait for it, or a turn would end too late."""
        if self._utterance is None:
            return False
        if self._sealing is not None and self.now - self._sealing.end >= STARVED_SPEAKING:
            return True
        return self._asked_final and not self._heard_out and self._silence >= STARVED

    def hop(self, chance: float) -> list[Output]:
        """Another 32 ms of audio, and the chance that it is speech."""
        self.now += HOP_SECONDS
        out: list[Output] = []
        self._hear(chance)
        if chance <= self._quietest[0]:
            self._quietest = (chance, self.now)
        if self._utterance is not None:
            self._ask(out)
            self._judge(out)
        if self.now - self._updated >= UPDATE - 1e-6 and not out_has_event(out):
            out.append(self._event("Update"))
        if out_has_event(out):
            self._updated = self.now
        return out

    def transcribed(self, decode: Decode, words: list[tuple[str, float]]) -> list[Output]:
        """What was recognised in a stretch: words, each with its confidence."""
        if self._utterance is None or decode.begin != self._begin or self._eager:
            return []
        if decode.end <= self._covered and decode is not self._sealing:
            return []
        self._covered = decode.end
        if decode.final:
            self._heard_until = decode.end
        spoken_until = min(decode.end, self._last_voice + HOP_SECONDS)
        if words:  # words that were there do not vanish: no event of an open turn is empty
            self._words = _spread(words, max(decode.begin, self._onset), spoken_until)
        out: list[Output] = []
        if not self._open and self.text:
            self._open = True
            out.append(self._event("StartOfTurn"))
        if decode is self._sealing:
            self._begin_anew(decode.end)
            self._asked = self.now - INTERIM  # what was said since is wanted at once
        self._judge(out)
        if out:
            self._updated = self.now
        return out

    def rest_of_stretch(self) -> Decode | None:
        """What was said and not recognised, at the end of the stream (flux/close-stream)."""
        if self._utterance is None or self._heard_out:
            return None
        return Decode(self._begin, self.now, final=True)

    def update(self) -> TurnEvent:
        """An Update with the words so far."""
        return self._event("Update")

    def force_end(self) -> list[Output]:
        """ForceEndTurn: the turn ends with the words it has; nothing if none is open."""
        return [self._end("manual")] if self._open else []

    # ---------------------------------------------------------------------------------- inside

    @property
    def _silence(self) -> float:
        return max(0.0, self.now - self._last_voice - HOP_SECONDS)

    @property
    def _speaking(self) -> bool:
        return self._silence < HOP_SECONDS / 2

    @property
    def _heard_out(self) -> bool:
        """Everything up to the present pause is recognised."""
        return self._heard_until > self._last_voice

    def _begin_anew(self, at: float) -> None:
        """Keep the stretch's words, and recognise only what comes after."""
        self._kept += self._words
        self._words = ()
        self._begin = self._onset = self._covered = at
        self._sealing = None
        self._quietest = (1.0, at)

    def _hear(self, chance: float) -> None:
        self._voiced = chance > (UNVOICED if self._voiced else VOICED)
        self._run = self._run + HOP_SECONDS if self._voiced else 0.0
        if not self._voiced:
            return
        if self._utterance is None:
            if self._run < ONSET - 1e-6:
                return
            self._utterance = self._onset = self.now - self._run
            self._begin = max(self._window, self._utterance - PRE_ROLL)
            self._asked, self._asked_final = self.now, False
            self._covered = self._heard_until = 0.0
            self._quietest = (1.0, self.now)
        if self._run >= RESUME - 1e-6 and self._silence >= APART and self._heard_out:
            self._begin_anew(max(self._begin, self.now - self._run - PRE_ROLL))
            self._onset = self.now - self._run
            self._asked = self.now
        if self._run >= RESUME - 1e-6 or self._silence < FINAL_DECODE:
            self._last_voice = self.now - HOP_SECONDS
            self._asked_final = False

    def _ask(self, out: list[Output]) -> None:
        """Have the utterance recognised: now and then while it lasts, and once when it pauses."""
        if self._sealing is not None:
            return
        silence, length = self._silence, self.now - self._begin
        if length < LONG:
            self._quietest = (1.0, self.now)
        if silence >= FINAL_DECODE - 1e-6:
            if not self._asked_final:
                self._asked_final = True
                out.append(Decode(self._begin, self.now, final=True))
        elif length > TOO_LONG:
            out.append(Decode(self._begin, self._quietest[1], final=True))
        elif self.now - self._asked >= max(INTERIM, INTERIM_SHARE * length):
            out.append(Decode(self._begin, self.now, final=False))
        if out:
            self._asked = self.now
            if length > LONG and isinstance(out[-1], Decode) and out[-1].final:
                self._sealing = out[-1]

    def _judge(self, out: list[Output]) -> None:
        """Whether the turn may be over, goes on, or is over."""
        if self._utterance is None:
            return
        if not self._open:
            if self._silence > 1.0 and self._heard_out:
                self._rest()  # there was sound, and no words in it
            return
        if self._eager and self._speaking and self._run >= RESUME - 1e-6:
            self._eager = False
            out.append(self._event("TurnResumed"))
            return
        if self._silence >= self.thresholds.timeout:
            out.append(self._end("timeout"))
            return
        if not self._heard_out or self._run > 0.0:
            return  # the last words are not recognised yet, or the caller seems to go on
        confidence = self.confidence
        if self.thresholds.eot < 1.0 and confidence >= self.thresholds.eot:
            if self.thresholds.eager is not None and not self._eager:
                self._eager = True
                out.append(self._event("EagerEndOfTurn"))
            out.append(self._end("model"))
        elif (
            self.thresholds.eager is not None
            and not self._eager
            and confidence >= self.thresholds.eager
        ):
            self._eager = True
            out.append(self._event("EagerEndOfTurn"))

    @property
    def confidence(self) -> float:
        """From 0 to 1: that the turn is over."""
        if self._utterance is None or not self.text:
            return 0.0
        if self._speaking or not self._heard_out:
            return 0.02
        middle, width = SHAPES[wording(self.text)]
        return 1.0 / (1.0 + math.exp(min(60.0, (middle - self._silence) / width)))

    def _end(self, trigger: str) -> TurnEvent:
        event = self._event("EndOfTurn", trigger)
        self.index += 1
        self._window = self.now
        self._open = self._eager = False
        self._rest()
        return event

    def _rest(self) -> None:
        """No utterance any more."""
        self._utterance = None
        self._kept = self._words = ()
        self._sealing = None
        self._run = 0.0
        self._voiced = False

    def _event(self, name: EventName, trigger: str = "") -> TurnEvent:
        return TurnEvent(
            name,
            self.index,
            self._window,
            self.now,
            self.text if self._open else "",
            (self._kept + self._words) if self._open else (),
            self.confidence,
            trigger,
        )


def out_has_event(out: list[Output]) -> bool:
    """Whether anything is sent."""
    return any(isinstance(item, TurnEvent) for item in out)


def _spread(
    words: list[tuple[str, float]], begin: float, end: float
) -> tuple[tuple[str, float, float, float], ...]:
    """Give each word a time, by its length: the model gives none of its own."""
    begin = min(begin, end)
    total = sum(len(word) + 1 for word, _ in words) or 1
    at, placed = begin, []
    for word, confidence in words:
        until = at + (end - begin) * (len(word) + 1) / total
        placed.append((word, confidence, round(at, 3), round(until, 3)))
        at = until
    return tuple(placed)
