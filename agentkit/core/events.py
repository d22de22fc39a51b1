"""Everything that can happen to a conversation. Input of `agentkit.core.machine.TurnMachine`.

Frozen values, no behaviour. Times are seconds on the session's clock; ids are small integers made
by the machine (``turn``, ``reply``), by the source (``connection``, ``index``) or by the session
(``request``). ``Event`` at the end is the closed union. Do not subclass these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentkit.core.economy import Pace
from agentkit.core.history import Message, SpokenWord, ToolCall
from agentkit.core.policy import Digits, Policy

# --------------------------------------------------------------------------- the caller's turns


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word.

    Args:
        text: as the source wrote it.
        confidence: 0 to 1.
        start: seconds of the connection's audio; None where the source gives no times.
        end: likewise.
    """

    text: str
    confidence: float = 1.0
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEvent:
    """What all five turn events carry. Only its subclasses below are events.

    Args:
        connection: which socket of the source, counted from 0.
        index: the source's number for the turn, starting again with each connection.
        text: all words of the turn so far; may rewrite what an earlier event said.
        words: the same, word by word; may be empty although ``text`` is not.
        sequence: the source's message number on this connection, where it has one.
        confidence: 0 to 1 that the turn is over. Informative only: never an event in itself.
        speech_start: when the first word began, on the session's clock.
        speech_end: when the last word ended, on the session's clock.
        languages: what was heard, most likely first.
        trigger: for the end of a turn, what ended it: ``model``, ``manual``, ``timeout``, other.
    """

    connection: int
    index: int
    text: str = ""
    words: tuple[Word, ...] = ()
    sequence: int | None = None
    confidence: float = 0.0
    speech_start: float | None = None
    speech_end: float | None = None
    languages: tuple[str, ...] = ()
    trigger: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted(TurnEvent):
    """The caller began to speak (Flux StartOfTurn)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnUpdated(TurnEvent):
    """More words, or the same ones again (Flux Update)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMaybeEnded(TurnEvent):
    """The caller may have finished (Flux EagerEndOfTurn)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResumed(TurnEvent):
    """The caller had not finished (Flux TurnResumed)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded(TurnEvent):
    """The caller has finished (Flux EndOfTurn)."""


@dataclass(frozen=True, slots=True)
class SourceConnected:
    """The source listens, on a new connection."""

    connection: int


@dataclass(frozen=True, slots=True)
class SourceLost:
    """The connection is gone; the source is making another (rule T14)."""

    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """The source has given up: nothing more will be heard."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class SourceTuned:
    """How the source listens from now on.

    Args:
        turn_timeout: the silence after which it ends a turn whatever its words, in seconds.
        eager: the confidence from which on it says that a turn may have ended; None: it never
            does, or does not say from when.
        final: the confidence that ends a turn; None: it does not say.
        tunable: these can be changed on the live connection.
    """

    turn_timeout: float
    eager: float | None = None
    final: float | None = None
    tunable: bool = False


@dataclass(frozen=True, slots=True)
class SourceOddity:
    """The source said something unknown or unreadable. Counted, never fatal (rule T13)."""

    kind: str


# ------------------------------------------------------------------- replies and their speech

FailedStage = Literal["llm", "tts"]


@dataclass(frozen=True, slots=True)
class ReplyText:
    """The reply's next text, several tokens in one where they came together."""

    reply: int
    text: str


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """The reply has no more text."""

    reply: int


@dataclass(frozen=True, slots=True)
class ReplyFailed:
    """The model or the voice failed. ``code`` is the error's; ``retryable`` as it says."""

    reply: int
    stage: FailedStage
    code: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class ModelAsked:
    """A request to the model is about to be made for the reply.

    Args:
        reply: which one.
        input: tokens of its prompt, estimated.
    """

    reply: int
    input: int


@dataclass(frozen=True, slots=True)
class ModelCounted:
    """What the last `ModelAsked` of the reply took, by the provider's own count.

    Args:
        reply: which one.
        input: tokens of the prompt.
        output: tokens written.
        cached: how many of the prompt's the provider had in its cache.
    """

    reply: int
    input: int
    output: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class ModelAnswered:
    """More of the answer to a `ModelAsked` of the reply has come. Its text is `ReplyText`.

    Args:
        reply: which one.
        end: the answer is over. False comes only where code of the user's own keeps the text back.
    """

    reply: int
    end: bool = True


@dataclass(frozen=True, slots=True)
class SpeechMade:
    """The voice made audio for a piece.

    Args:
        reply: whose.
        piece: which `Speak`, counted from 0.
        seconds: length of this audio; 0.0 is allowed.
        words: word times from the start of the piece, where the voice has them.
        end: the piece is complete.
    """

    reply: int
    piece: int
    seconds: float
    words: tuple[SpokenWord, ...] = ()
    end: bool = False


@dataclass(frozen=True, slots=True)
class ToolRequested:
    """The reply wants tools run, in this order, and waits for their results.

    Args:
        reply: which one.
        calls: what the model asked for.
        effects: ids of the calls whose tools have effects; the others only read.
        at_once: ids of those with effects that do not wait until the turn has settled.
        filler: what may be said while they take long; "": nothing.
    """

    reply: int
    calls: tuple[ToolCall, ...]
    effects: frozenset[str]
    at_once: frozenset[str] = frozenset()
    filler: str = ""


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A tool came back: with its result, or with what went wrong, as the model shall read it."""

    reply: int
    call_id: str
    text: str


# ------------------------------------------------------------------------------------ playout


@dataclass(frozen=True, slots=True)
class SoundSent:
    """The first audio of a reply was given to the transport.

    Args:
        reply: whose.
        silent: it was silence; a second event follows with the first that is not.
    """

    reply: int
    silent: bool


@dataclass(frozen=True, slots=True)
class PlayoutReached:
    """The far end has played this much of what was sent since the epoch began, in seconds."""

    epoch: int
    seconds: float


# ---------------------------------------------------------------- the session, its user, time


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The transport is there; the caller can be heard and spoken to."""


@dataclass(frozen=True, slots=True)
class SayRequested:
    """The agent's own words, outside a turn.

    Args:
        request: the session's number for it.
        interruptible: False plays to the end whatever the caller says (rule T18).
    """

    request: int
    interruptible: bool = True


@dataclass(frozen=True, slots=True)
class SayCancelled:
    """`SayRequested` is taken back; what was heard of it stands."""

    request: int


@dataclass(frozen=True, slots=True)
class ReplyRequested:
    """The agent shall speak unasked, from the history and these instructions."""

    request: int
    instructions: str


@dataclass(frozen=True, slots=True)
class InterruptRequested:
    """The agent shall stop talking now."""


@dataclass(frozen=True, slots=True)
class Touched:
    """Something a reply is made from has changed: drafts made before do not fit any more."""


@dataclass(frozen=True, slots=True)
class HistoryWritten:
    """The user's code added a message."""

    message: Message


@dataclass(frozen=True, slots=True)
class FloorJudged:
    """A function of the user's own has said what these words of the caller's mean (T17).

    Comes before the turn event that carries the words.

    Args:
        text: the turn's words so far.
        takes_floor: they are an interruption, and no sound of attention.
    """

    text: str
    takes_floor: bool


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The caller pressed a key: one of ``0-9 * # A-D``."""

    key: str


@dataclass(frozen=True, slots=True)
class DigitsExpected:
    """From now on keys are collected by these rules; None: by the policy's again."""

    rules: Digits | None


@dataclass(frozen=True, slots=True)
class Listening:
    """How the agent listens from now on, for one question or as usual again.

    Args:
        pace: that of the question; None: the policy's.
        thresholds: the question has thresholds of its own: they are not moved meanwhile.
    """

    pace: Pace | None = None
    thresholds: bool = False


@dataclass(frozen=True, slots=True)
class AnswersExpected:
    """What the caller may answer to a question of the agent's.

    Args:
        answers: the likeliest first; empty: anything again.
        reply: the question; None: what the agent says next.
    """

    answers: tuple[str, ...]
    reply: int | None = None


@dataclass(frozen=True, slots=True)
class SharedBudget:
    """How many drafts the budget of all calls together still allows; None: it does not bind."""

    left: int | None


@dataclass(frozen=True, slots=True)
class ActedUpon:
    """The agent's own code has begun what it does for a settled turn (T11, T24)."""

    turn: int


@dataclass(frozen=True, slots=True)
class Muted:
    """The caller is not listened to, or is again."""

    muted: bool


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """Another agent has taken over, with its own settings."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class HangUpRequested:
    """End the call once all that is being said has been heard."""

    reason: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The far end is gone, or the session is being closed."""

    reason: str


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer set by `SetTimer` is due."""

    timer: str


Event = (
    TurnStarted
    | TurnUpdated
    | TurnMaybeEnded
    | TurnResumed
    | TurnEnded
    | SourceConnected
    | SourceLost
    | SourceFailed
    | SourceTuned
    | SourceOddity
    | ReplyText
    | ReplyDone
    | ReplyFailed
    | ModelAsked
    | ModelCounted
    | ModelAnswered
    | SpeechMade
    | ToolRequested
    | ToolReturned
    | SoundSent
    | PlayoutReached
    | CallStarted
    | SayRequested
    | SayCancelled
    | ReplyRequested
    | InterruptRequested
    | Touched
    | HistoryWritten
    | FloorJudged
    | KeyPressed
    | DigitsExpected
    | Listening
    | AnswersExpected
    | SharedBudget
    | ActedUpon
    | Muted
    | PolicyChanged
    | HangUpRequested
    | CallEnded
    | TimerFired
)
SourceEvent = (
    TurnStarted
    | TurnUpdated
    | TurnMaybeEnded
    | TurnResumed
    | TurnEnded
    | SourceConnected
    | SourceLost
    | SourceFailed
    | SourceTuned
    | SourceOddity
)
