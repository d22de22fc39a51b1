"""The caller's side: which turn an event belongs to, and what its words are.

Sources are not always orderly. This is the one place that knows of connections, turn indices and
sequence numbers; past it there are turns of our own (rules T10, T13 to T15).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from agentkit.core.commands import Outcome
from agentkit.core.events import (
    TurnEnded,
    TurnEvent,
    TurnMaybeEnded,
    TurnResumed,
    TurnStarted,
    TurnUpdated,
    Word,
)
from agentkit.core.words import beyond, join, join_overlapping


class CallerState(Enum):
    """Where a turn stands. `CALLER_MOVES` says what may follow what."""

    FORMING = "forming"
    """Words came before StartOfTurn: kept, but no turn yet."""
    SPEAKING = "speaking"
    MAYBE_ENDED = "maybe ended"
    ENDED = "ended"


CALLER_MOVES: dict[CallerState, dict[type[TurnEvent], CallerState]] = {
    CallerState.FORMING: {
        TurnUpdated: CallerState.FORMING,
        TurnStarted: CallerState.SPEAKING,
        TurnMaybeEnded: CallerState.MAYBE_ENDED,
        TurnResumed: CallerState.SPEAKING,
        TurnEnded: CallerState.ENDED,
    },
    CallerState.SPEAKING: {
        TurnUpdated: CallerState.SPEAKING,
        TurnStarted: CallerState.SPEAKING,
        TurnMaybeEnded: CallerState.MAYBE_ENDED,
        TurnResumed: CallerState.SPEAKING,
        TurnEnded: CallerState.ENDED,
    },
    CallerState.MAYBE_ENDED: {
        TurnUpdated: CallerState.MAYBE_ENDED,
        TurnStarted: CallerState.SPEAKING,
        TurnMaybeEnded: CallerState.MAYBE_ENDED,
        TurnResumed: CallerState.SPEAKING,
        TurnEnded: CallerState.ENDED,
    },
    CallerState.ENDED: {},
}
"""What each event makes of a turn; an ended one takes no more."""


@dataclass(slots=True)
class Turn:
    """One turn of the caller's. Kept by the machine; nobody else writes to it."""

    id: int
    key: tuple[int, int]
    state: CallerState = CallerState.FORMING
    owed: str = ""
    """Words of an earlier turn that became one with this and have no answer yet (T11)."""
    kept: str = ""
    """Words from before the source's connection was lost, or from an index overtaken."""
    overlaps: bool = False
    """New words may begin with the last of ``kept``: audio is sent again after a loss."""
    answered: str = ""
    """Words that a turn ended by the machine has answered: only what is beyond them counts."""
    text: str = ""
    """The last words that came and were not empty, since the last TurnResumed."""
    ended_by_machine: bool = False
    keyed: bool = False
    """It was pressed on a telephone's keys, not spoken (T25)."""
    keys: tuple[str, ...] = ()
    """What was pressed, in it and in the turns that became one with it."""
    confidence: float = 0.0
    """The source's latest word on how likely the turn is over."""
    rising: bool = False
    """That is more than the word before it."""
    words_since: float = 0.0
    """When its words last changed."""
    word_list: tuple[Word, ...] = ()
    languages: tuple[str, ...] = ()

    started: float | None = None
    first_word: float | None = None
    replies_before: int = 0
    """The first reply id that was free when it started."""
    drafts: int = 0
    speech_end: float | None = None
    maybe_ended: float | None = None
    ended: float | None = None
    settled: bool = False
    acted_upon: bool = False
    """The agent's own code has done what it does for settled turns: it cannot be taken back."""
    outcome: Outcome | None = None

    @property
    def open(self) -> bool:
        """It has started and not ended."""
        return self.state in (CallerState.SPEAKING, CallerState.MAYBE_ENDED)

    @property
    def own_words(self) -> str:
        """What was said in it, without what is owed from before."""
        text = beyond(self.answered, self.text) if self.answered else self.text
        return join_overlapping(self.kept, text) if self.overlaps else join(self.kept, text)

    @property
    def words(self) -> str:
        """All that the reply has to answer."""
        return join(self.owed, self.own_words)


class Caller:
    """Turns made of a source's events. Knows one turn at a time: the newest."""

    def __init__(self) -> None:
        self.connection = 0
        self.connected = False
        self.turn: Turn | None = None
        self.oddity: str | None = None
        """Why the last event belonged to no turn, if that was odd."""
        self.progress = False
        """The last event brought something new: other words, or an edge of a turn."""
        self.overtaken = False
        """The last event belongs to a newer index than the open turn, which had no end."""
        self._index = -1
        self._sequence = -1
        self._lost: int | None = None
        self._next_turn = 0
        self._ended_by_machine = ""

    @property
    def next_turn(self) -> int:
        """The id of the turn that begins next."""
        if self.turn is not None and self.turn.state is CallerState.FORMING:
            return self.turn.id
        return self._next_turn

    def connect(self, connection: int) -> None:
        """Events of another connection follow; indices and sequence numbers start again."""
        if connection > self.connection or not self.connected:
            if self.connected:
                self.lose(self.connection)
            self.connection = max(connection, self.connection)
            self._index = self._sequence = -1
            self._lost = None
        self.connected = True

    def lose(self, connection: int) -> bool:
        """The connection is gone; an open turn waits for the next one. False if it is old."""
        if connection < self.connection:
            return False
        self.connected = False
        self._lost = connection
        if self.turn and self.turn.state is not CallerState.ENDED:
            self._keep(self.turn, overlaps=True)
        return True

    def end_by_machine(self, turn: Turn) -> None:
        """No end will come for it any more: its words, as they are, are its last (T14)."""
        self._ended_by_machine = turn.own_words
        turn.ended_by_machine = True
        turn.state = CallerState.ENDED

    def take(self, event: TurnEvent) -> Turn | None:
        """The turn that the event belongs to, with the event's words in it and its state moved.

        None if it belongs to none: an empty Update, or a message that is old, repeated or out
        of order, in which case ``oddity`` says which.
        """
        self.progress = self.overtaken = False
        self.oddity = self._stale(event)
        if self.oddity:
            return None
        turn = self._turn_for(event)
        if turn is None:
            return None
        self.progress = not isinstance(event, TurnUpdated) or event.text not in ("", turn.text)
        turn.rising = event.confidence > turn.confidence
        turn.confidence = event.confidence
        if event.text.strip():
            turn.text = event.text
            turn.word_list = event.words or turn.word_list
            turn.languages = event.languages or turn.languages
            if turn.first_word is None:
                turn.first_word = event.speech_start
        elif isinstance(event, TurnResumed):
            turn.text = ""
        if event.speech_end is not None:
            turn.speech_end = event.speech_end
        turn.state = CALLER_MOVES[turn.state][type(event)]
        return turn

    def press(self, now: float) -> Turn:
        """Keys are being pressed: a turn of its own, beside one that is being spoken (T25)."""
        turn = Turn(self._next_turn, (-1, -1), keyed=True)
        self._next_turn += 1
        turn.started = turn.first_word = now
        return turn

    def _stale(self, event: TurnEvent) -> str | None:
        if event.connection > self.connection:
            self.connect(event.connection)
        if event.connection < self.connection or event.connection == self._lost:
            return "message of an older connection"
        if event.sequence is not None:
            if event.sequence <= self._sequence:
                return "sequence_id repeated or out of order"
            self._sequence = event.sequence
        if event.index < self._index:
            return "event of an earlier turn"
        return None

    def _turn_for(self, event: TurnEvent) -> Turn | None:
        key = (event.connection, event.index)
        newer = event.index > self._index
        self._index = event.index
        turn = self.turn
        if turn is not None and turn.state is not CallerState.ENDED:
            if turn.key != key:
                self._move(turn, key, newer)
            return turn
        if turn is not None and turn.key == key:
            return self._after_end(turn, event)
        if isinstance(event, TurnUpdated | TurnEnded) and not event.text.strip():
            return None
        return self._new(key)

    def _move(self, turn: Turn, key: tuple[int, int], newer: bool) -> None:
        """An open turn goes on under another key: a new connection's, or a newer index (T15)."""
        if key[0] == turn.key[0] and newer:
            self._keep(turn, overlaps=False)
            self.overtaken = True
        turn.key = key

    def _after_end(self, turn: Turn, event: TurnEvent) -> Turn | None:
        """An event for a turn that has ended: odd, unless the machine had ended it."""
        if not turn.ended_by_machine:
            if not isinstance(event, TurnUpdated):
                self.oddity = "event of a turn that has ended"
            return None
        if not beyond(self._ended_by_machine, event.text).strip():
            return None
        return self._new(turn.key)

    def _new(self, key: tuple[int, int]) -> Turn:
        last = self.turn
        told_again = last is not None and (key == last.key or key[0] != last.key[0])
        answered = self._ended_by_machine if told_again else ""
        self.turn = Turn(self._next_turn, key, answered=answered)
        self._ended_by_machine = ""
        self._next_turn += 1
        return self.turn

    @staticmethod
    def _keep(turn: Turn, *, overlaps: bool) -> None:
        turn.kept, turn.text, turn.overlaps = turn.own_words, "", overlaps
        turn.answered = ""
