"""A recogniser that reports turns as Flux does, of a caller who makes no sound but says words.

It goes through the caller's words frame by frame, on the event loop's clock, and emits the neutral
events of `agentkit.core.events`. Its promises are Flux's (developers.deepgram.com/docs/flux, state
machine): an Update about every 0.25 s if nothing else is said, no empty EagerEndOfTurn, TurnResumed
only after one, an EndOfTurn with the words of the EagerEndOfTurn before it, one turn at a time,
an index that grows by one after each EndOfTurn, and words that may be rewritten.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agentkit.audio.formats import AudioFormat
from agentkit.core import events as ev
from agentkit.turns import Emit, TurnSource
from tests.bench.turns.parameters import Listener
from tests.bench.turns.plan import Silence, Utterance


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word that leaves the caller's mouth, on the loop's clock.

    ``onset`` is given for the first word of an utterance: see `Utterance`.
    """

    first: str
    final: str
    start: float
    end: float
    silence: Silence | None
    onset: float | None = None


class Mouth:
    """What the caller says, as it is being said."""

    def __init__(self) -> None:
        self.words: list[Spoken] = []

    def begin(self, said: Utterance, now: float) -> float:
        """Begin to say something; return when it will be over."""
        for n, word in enumerate(said.words):
            onset = said.onset if n == 0 else None
            self.words.append(
                Spoken(
                    word.first, word.final, now + word.start, now + word.end, word.silence, onset
                )
            )
        return now + said.seconds

    def break_off(self, said: Utterance, now: float) -> float:
        """Say no more words than have begun; return when the last one ends."""
        while self.words[-1].start >= now:
            self.words.pop()
        last = self.words[-1]
        self.words[-1] = Spoken(
            last.first, last.final, last.start, last.end, said.broken, last.onset
        )
        return last.end


State = Literal["idle", "speaking", "maybe"]


class SimulatedFlux(TurnSource):
    """Listens to a `Mouth`.

    Args:
        mouth: the caller's.
        listener: how it listens.
        eager: `eager_eot_threshold`; None: there is no EagerEndOfTurn.
        seed: of the noise in what it reports.
    """

    can_configure = True

    def __init__(
        self, mouth: Mouth, listener: Listener, eager: float | None, seed: int = 0
    ) -> None:
        self.mouth = mouth
        self.listener = listener
        self.eager = eager
        self.moves: list[tuple[float, float]] = []
        """When the eager threshold was moved, and to what."""
        self._chance = random.Random(f"listener {seed}")
        self._state: State = "idle"
        self._index = 0
        self._sequence = 0
        self._known = 0
        """Words that are known; those before `_first` belong to earlier turns."""
        self._first = 0
        self._told = 0.0
        """When something was emitted last."""
        self._emit: Emit | None = None
        self._clock: Callable[[], float] | None = None
        self._over = asyncio.Event()

    # ---------------------------------------------------------------- what the session calls

    async def run(self, audio: AudioFormat, emit: Emit, clock: Callable[[], float]) -> None:
        """Listen until it is closed."""
        self._emit, self._clock = emit, clock
        emit(ev.SourceConnected(0))
        self._tuned()
        begin, count = clock() - self.listener.uplink, 0
        while not self._over.is_set():
            count += 1
            heard = begin + count * self.listener.frame
            await asyncio.sleep(max(0.0, heard + self.listener.uplink - clock()))
            if not self._over.is_set():
                self._frame(heard)

    def feed(self, data: bytes) -> None:
        """The caller is not heard but read."""

    def options_now(self, names: Iterable[str]) -> dict[str, Any]:
        """What is in force."""
        now = {
            "eager_eot_threshold": self.eager,
            "eot_threshold": self.listener.final,
            "eot_timeout_ms": self.listener.timeout * 1000,
        }
        return {name: now[name] for name in names}

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Move the eager threshold; nothing else is asked for here."""
        (eager,) = changes.values()
        assert set(changes) == {"eager_eot_threshold"}
        assert eager is None or 0.3 <= eager <= self.listener.final
        assert self._clock is not None
        self.eager = eager
        self.moves.append((self._clock(), eager))
        asyncio.get_running_loop().call_later(2 * self.listener.uplink, self._tuned)

    async def aclose(self) -> None:
        """End ``run``."""
        self._over.set()

    # ------------------------------------------------------------------------- frame by frame

    def _frame(self, heard: float) -> None:
        """Audio up to this time was heard."""
        grew = self._learn(heard)
        sounds = self._sounds(heard, self.listener.resume)
        silent = not self._sounds(heard, self.listener.frame / 2)
        confidence = self._confidence(heard) if silent else 0.05
        if self._state == "idle":
            self._wait_for_start(heard, confidence)
        elif self._state == "maybe" and (grew or sounds):
            self._say(ev.TurnResumed, heard, confidence)
            self._state = "speaking"
        elif silent and confidence >= self.listener.final:
            self._end(heard, confidence, "model")
        elif silent and heard - self._last_end() >= self.listener.timeout:
            self._end(heard, confidence, "timeout")
        elif silent and self._is_eager(confidence):
            self._say(ev.TurnMaybeEnded, heard, confidence)
            self._state = "maybe"
        else:
            self._update(heard, confidence)

    def _is_eager(self, confidence: float) -> bool:
        if self._state != "speaking" or self.eager is None:
            return False
        return confidence >= self.eager

    def _wait_for_start(self, heard: float, confidence: float) -> None:
        if self._known > self._first:
            first = self.mouth.words[self._first]
            onset = first.onset if first.onset is not None else self.listener.onset[0]
            if heard >= first.start + onset:
                self._say(ev.TurnStarted, heard, confidence)
                self._state = "speaking"
                return
        self._update(heard, confidence)

    def _end(self, heard: float, confidence: float, trigger: str) -> None:
        self._say(ev.TurnEnded, heard, confidence, trigger)
        self._state = "idle"
        self._first = self._known
        self._index += 1

    def _update(self, heard: float, confidence: float) -> None:
        fast = confidence > self.listener.fast_above
        every = self.listener.update_fast if fast else self.listener.update
        if heard - self._told >= every - 1e-6:
            self._say(ev.TurnUpdated, heard, confidence)

    # ------------------------------------------------------------------------ what it knows

    def _learn(self, heard: float) -> bool:
        """Take note of the words that are known by now; tell whether there are more."""
        before = self._known
        words = self.mouth.words
        while (
            self._known < len(words)
            and words[self._known].end + self.listener.word_delay <= heard + 1e-6
        ):
            self._known += 1
        return self._known > before

    def _sounds(self, heard: float, notice: float) -> bool:
        """Whether the caller is talking; who goes on after a silence is noticed a little later."""
        words = self.mouth.words
        if self._known >= len(words):
            return False
        word = words[self._known]
        if self._known > self._first and words[self._known - 1].silence is not None:
            return heard >= word.start + notice - 1e-6
        return heard >= word.start

    def _confidence(self, heard: float) -> float:
        """The line that it rises along; 0.05 before the first word, and where no silence is."""
        if self._known == self._first:
            return 0.05
        last = self.mouth.words[self._known - 1]
        if last.silence is None:
            return 0.05
        return last.silence.confidence(heard - last.end, self.listener)

    def _last_end(self) -> float:
        return self.mouth.words[self._known - 1].end

    # ------------------------------------------------------------------------------ what it says

    def _say(
        self, kind: type[ev.TurnEvent], heard: float, confidence: float, trigger: str = ""
    ) -> None:
        assert self._emit is not None
        self._sequence += 1
        self._told = heard
        known = self.mouth.words[self._first : self._known]
        texts = [word.final for word in known]
        if known and known[-1].silence is None and kind is not ev.TurnEnded:
            texts[-1] = known[-1].first
        event = kind(
            connection=0,
            index=self._index,
            text=" ".join(texts),
            words=tuple(ev.Word(text) for text in texts),
            sequence=self._sequence,
            confidence=self._reported(confidence),
            speech_start=known[0].start + self.listener.uplink if known else None,
            speech_end=known[-1].end + self.listener.uplink if known else None,
            trigger=trigger,
        )
        self._emit(event)  # type: ignore[arg-type]  # each kind is one of the source's

    def _reported(self, confidence: float) -> float:
        """What an event tells of it: with some noise, or nothing at all."""
        last = self.mouth.words[self._known - 1].silence if self._known else None
        if last is not None and last.told is not None and confidence > 0.05:
            return last.told
        return min(0.99, max(0.01, confidence + self._chance.gauss(0.0, 0.03)))

    def _tuned(self) -> None:
        if self._emit is None or self._over.is_set():
            return
        timeout, final = self.listener.timeout, self.listener.final
        self._emit(ev.SourceTuned(timeout, self.eager, final, tunable=True))
