"""A reply: from its first draft to the last word that was heard of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from agentkit.core.commands import Kind
from agentkit.core.economy import Rung
from agentkit.core.events import FailedStage
from agentkit.core.history import SpokenWord, ToolCall
from agentkit.core.segment import Segmenter


class ReplyState(Enum):
    """Where a reply stands. `agentkit.core.machine.REPLY_MOVES` says what may follow what."""

    DRAFT = "draft"
    PARKED = "parked"
    COMMITTED = "committed"
    ENDED = "ended"


@dataclass(slots=True)
class Piece:
    """A stretch of text given to the voice, and what came of it."""

    text: str
    spoken_at: float
    seconds: float = 0.0
    words: tuple[SpokenWord, ...] = ()
    done: bool = False


@dataclass(slots=True)
class Reply:
    """One reply and its speech. Kept by the machine; nobody else writes to it."""

    id: int
    kind: Kind
    state: ReplyState
    segmenter: Segmenter
    started: float
    version: int = 0
    turn: int | None = None
    request: int | None = None
    words: str = ""
    interruptible: bool = True
    attempt: int = 1
    twin: int | None = None
    rung: Rung | None = None
    """What it was begun for, if it was a draft."""
    line: str = ""
    """The words of a filler or a line, which the machine knows beforehand."""

    text: str = ""
    written: bool = False
    waiting: list[str] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    speech_ended: bool = False

    calls: list[ToolCall] = field(default_factory=list)
    effects: frozenset[str] = frozenset()
    at_once: frozenset[str] = frozenset()
    begun: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    steps: list[tuple[int, ToolCall]] = field(default_factory=list)
    """Of a draft: the tools that it ran, each after so many characters of its text."""
    results: dict[str, str] = field(default_factory=dict)
    filler: str = ""
    """What may be said while it waits for these tools."""
    filled: bool = False
    """A filler was said in this wait."""

    due: float | None = None
    """It is not heard before this: the pace of the conversation."""
    kept_back: bool = False
    """That time has not come."""
    asked: int = 0
    """Requests to the model that are not answered."""
    progressed: float = 0.0
    """When something last came of its model or its voice."""
    playing: bool = False
    base: float = 0.0
    heard: float = 0.0
    heard_at: float | None = None
    guess: float = 0.0
    stopped: float | None = None
    """When it fell silent: it was held, cut off, or heard to its end."""
    idle: float = 0.0
    """Seconds that it lay parked."""
    idle_before_audio: float = 0.0
    """Seconds before its first audio in which nobody worked on it."""
    ready_since: float | None = None
    """When its first words were there that the voice may not have yet."""

    committed: float | None = None
    first_text: float | None = None
    last_text: float | None = None
    first_length: int = 0
    first_audio: float | None = None
    first_sent: float | None = None
    first_sound: float | None = None
    first_heard: float | None = None

    @property
    def effects_begun(self) -> bool:
        """A tool with effects has been started: this reply can no longer be taken back."""
        return not self.begun.isdisjoint(self.effects)

    @property
    def made(self) -> float:
        """How much speech there is so far, in seconds."""
        return sum(piece.seconds for piece in self.pieces)

    @property
    def spoken_characters(self) -> int:
        """How much text was given to the voice."""
        return sum(len(piece.text) for piece in self.pieces)

    @property
    def voiced(self) -> bool:
        """All text is speech now."""
        return self.speech_ended and all(piece.done for piece in self.pieces)

    @property
    def complete(self) -> bool:
        """All text is written and all tools it waits for have answered."""
        return self.written and not self.calls and not self.running

    @property
    def lacks(self) -> FailedStage | None:
        """What has to go on for more of it to be heard; None: nothing of the backends'."""
        if self.heard < self.made - 0.001 or self.calls or self.running:
            return None
        if not all(piece.done for piece in self.pieces):
            return "tts"
        return "llm" if self.asked and not self.written else None

    @property
    def over(self) -> bool:
        """Everything was said and heard."""
        return self.complete and self.voiced and self.heard >= self.made - 0.001

    @property
    def waits(self) -> bool:
        """All that there is of it was heard, and its model or its tools have not answered."""
        return (
            not self.written
            and self.heard >= self.made - 0.001
            and not self.waiting
            and all(piece.done for piece in self.pieces)
        )

    def text_around(self, begin: float, end: float) -> str:
        """The words that lie between two times of its speech, in seconds."""
        first = len(self.text_heard(max(begin, 0.0)))
        last = len(self.text_heard(max(end, 0.0)))
        return self.text[first:last]

    def keep_what_was_voiced(self) -> None:
        """The voice gives no more: the text ends where its speech does."""
        whole = next((n for n, piece in enumerate(self.pieces) if not piece.done), None)
        if whole is not None:
            last = self.pieces[whole]
            last.text, last.done = last.text[: _characters(last, last.seconds)], True
            del self.pieces[whole + 1 :]
        if not self.made:
            self.pieces.clear()
        self.speech_ended = True

    def heard_by(self, now: float, reach: float) -> float:
        """Seconds heard by ``now``: the last proof, and at most ``reach`` of playing since."""
        if not self.playing:
            return max(self.heard, self.guess)
        if self.heard_at is None:
            return self.heard
        return min(self.made, self.heard + min(max(now - self.heard_at, 0.0), reach))

    def text_heard(self, seconds: float) -> str:
        """The text of the words that ended by then; all of it once everything was heard."""
        if self.voiced and self.written and seconds >= self.made - 0.001:
            return self.text
        heard = []
        for piece in self.pieces:
            if seconds >= piece.seconds - 0.001 and piece.done:
                heard.append(piece.text)
                seconds -= piece.seconds
                continue
            heard.append(piece.text[: _characters(piece, seconds)])
            break
        return "".join(heard).rstrip()

    def word_start(self, seconds: float) -> float:
        """The beginning of the word that was being heard then, in seconds (rule T17)."""
        before = 0.0
        for piece in self.pieces:
            if seconds < before + piece.seconds - 0.001:
                return before + _word_start(piece, seconds - before)
            before += piece.seconds
        return min(seconds, before)

    def sentence_at(self, seconds: float) -> str:
        """The sentence that is being heard then, as far as it is written."""
        at = len(self.text_heard(seconds))
        begin = max(self.text.rfind(mark, 0, max(at - 1, 0)) for mark in ".!?\n") + 1
        ends = [end for mark in ".!?\n" if (end := self.text.find(mark, max(at - 1, 0))) >= 0]
        return self.text[begin : min(ends) + 1 if ends else len(self.text)].strip()


def _length(piece: Piece) -> float:
    """How long a piece lasts; while it is still being made, guessed from a usual rate."""
    return piece.seconds if piece.done else max(piece.seconds, 0.065 * len(piece.text))


def _characters(piece: Piece, seconds: float) -> int:
    """How many characters of a piece were heard, cut at the end of a word."""
    if piece.words:
        count = sum(1 for word in piece.words if word.end <= seconds + 0.001)
        return _after_words(piece.text, count)
    length = _length(piece)
    if length <= 0:
        return 0
    share = int(len(piece.text) * max(seconds, 0.0) / length)
    if share >= len(piece.text):
        return len(piece.text)
    return max(piece.text.rfind(" ", 0, share + 1), 0)


def _after_words(text: str, count: int) -> int:
    """The position in a text after so many words."""
    at = 0
    for _ in range(count):
        while at < len(text) and text[at].isspace():
            at += 1
        while at < len(text) and not text[at].isspace():
            at += 1
    return at


def _word_start(piece: Piece, seconds: float) -> float:
    if piece.words:
        starts = [word.start for word in piece.words if word.start <= seconds]
        return max(starts, default=0.0)
    length = _length(piece)
    at = _characters(piece, seconds)
    return min(seconds, length * at / len(piece.text)) if piece.text else 0.0
