"""Everything the turn machine can decide. Output of `agentkit.core.machine.TurnMachine`.

Frozen values. The session carries each out at once, in order, without awaiting. ``Command`` at
the end is the closed union. Do not subclass these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentkit.core.economy import Cost, Declined, Rung
from agentkit.core.history import ToolCall

# ------------------------------------------------------------------------- replies, and drafts

Depth = Literal["off", "llm", "speech"]


Kind = Literal["answer", "say", "asked", "apology", "filler", "line"]


@dataclass(frozen=True, slots=True)
class StartReply:
    """Begin to make a reply. Its prompt is `TurnMachine.prompt`, taken now.

    Args:
        reply: its id from now on; all that comes of it carries this.
        kind: ``answer``: to a turn; ``say``: the agent's own words; ``asked``: the model speaks
            unasked; ``apology``: the agent's words for when all else failed; ``filler``: while a
            reply waits (T20); ``line``: a question after silence, or a farewell (T23).
        turn: the turn it answers; None for what is said unasked.
        request: the `SayRequested` or `ReplyRequested` that it carries out, else None.
        draft: its turn is not over: no verb, no effect, nothing heard until `Commit`.
        attempt: 1 for the first; 2 and more ask again for the same words on another connection.
        text: the words of a ``filler`` or a ``line``.
        rung: of a draft, what it was begun for. One for an answer that is only ``expected`` has
            no turn yet: `Adopt` says which.
    """

    reply: int
    kind: Kind = "answer"
    turn: int | None = None
    request: int | None = None
    draft: bool = False
    attempt: int = 1
    text: str = ""
    rung: Rung | None = None


@dataclass(frozen=True, slots=True)
class Adopt:
    """The caller gave the answer that was expected: its draft is one of this turn now."""

    reply: int
    turn: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The draft is the reply now."""

    reply: int


DiscardReason = Literal[
    "resumed",       # TurnResumed (T3)
    "words",         # the turn ended with other words (T4)
    "version",       # what it was made from has changed (T4)
    "superseded",    # another draft or attempt took its place
    "failed",        # the model or the voice failed
    "taken_back",    # the caller went on before it was heard (T11)
    "interrupted",   # the caller took the floor (T16)
    "backchannel",   # the turn needed no reply
    "keys",          # the caller pressed keys (T25)
    "late",          # a filler that was not needed any more (T20)
    "budget",        # a draft cost more than there was left (T9)
    "over",          # the question was over, and its answer was another or none (T9)
    "cancelled",     # the user's code said so
    "call_ended",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Discard:
    """Give the reply up: close its streams on the wire, drop its audio, cancel its task."""

    reply: int
    reason: DiscardReason


@dataclass(frozen=True, slots=True)
class Park:
    """The draft was complete when its turn went on: keep what it has, close the rest (T3)."""

    reply: int


@dataclass(frozen=True, slots=True)
class DraftBooked:
    """What became of a draft, and what it took; comes exactly once for each (T9).

    Args:
        reply: its id.
        turn: the turn that it was for; None: an answer that was only expected.
        rung: what it was begun for.
        adopted: the caller heard it as the reply, or it had nothing to say.
        reason: why not, else None.
        cost: tokens and characters; what of them the provider did not count is estimated.
        saved: seconds that the caller waited less.
        estimated: some of the tokens are.
    """

    reply: int
    turn: int | None
    rung: Rung
    adopted: bool
    reason: DiscardReason | None
    cost: Cost
    saved: float = 0.0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class DraftDeclined:
    """No draft is begun although one might have been (T9).

    Args:
        turn: for which turn; None: for an expected answer.
        rung: what it would have been begun for.
        reason: the part of the budget that is used up, or that it is not worth it.
        worth: what it would save on average, less what it would cost, in seconds.
    """

    turn: int | None
    rung: Rung
    reason: Declined
    worth: float = 0.0


@dataclass(frozen=True, slots=True)
class Speak:
    """Give a piece of the reply's text to the voice; pieces of a reply are counted from 0."""

    reply: int
    piece: int
    text: str


@dataclass(frozen=True, slots=True)
class EndSpeech:
    """The voice has had the last piece of this reply."""

    reply: int


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run the tool now, exactly once, whatever becomes of the reply (T19)."""

    reply: int
    call: ToolCall


# ------------------------------------------------------------------------------------- playout


@dataclass(frozen=True, slots=True)
class Play:
    """Send the reply's audio from ``offset`` seconds on, as it is and as it comes.

    The epoch's playout counts from 0 at this offset.
    """

    reply: int
    epoch: int
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class ClearPlayout:
    """Stop sending, and drop at the far end what has not been heard. A new epoch begins."""

    epoch: int


# -------------------------------------------------------------------------- source, call, time


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The source's connection is as good as lost (T14): make another."""

    reason: str


MoveReason = Literal[
    "worth_more",   # drafts from a lower threshold on would be worth their cost
    "worth_less",   # those from the present one on are not
    "above_final",  # the final threshold is below it now
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class TuneSource:
    """Move the source's eager threshold on the live connection (T9).

    Args:
        eager: where to.
        before: where it was.
        reason: why.
        held: the share of maybe-ends from ``eager`` on that are believed to hold.
        seen: how many of those were seen in this call.
    """

    eager: float
    before: float
    reason: MoveReason
    held: float
    seen: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Send `TimerFired` at this time on the session's clock; replaces the timer of that name."""

    timer: str
    at: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """The timer is not needed any more."""

    timer: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call now."""

    reason: str


# ------------------------------------------------------------- told to the user and the record

Outcome = Literal["heard", "merged", "cut_off", "silent"]


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """The turn is over, with these words.

    Args:
        turn: which one.
        text: its words, with those of earlier turns that became one with it.
        keys: what of it was pressed on a telephone's keys (T25): no log may show that.
    """

    turn: int
    text: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnSettled:
    """The turn can no longer be taken back: effects may run."""

    turn: int


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """When things happened to a turn, in seconds on the session's clock (T21). None: never."""

    speech_end: float | None = None
    maybe_ended: float | None = None
    ended: float | None = None
    draft_started: float | None = None
    first_text: float | None = None
    first_audio_made: float | None = None
    first_audio_sent: float | None = None
    first_sound_sent: float | None = None
    first_heard: float | None = None
    saved: float = 0.0


@dataclass(frozen=True, slots=True)
class TurnClosed:
    """What became of a committed turn; comes exactly once for each."""

    turn: int
    outcome: Outcome
    times: TurnTimes


@dataclass(frozen=True, slots=True)
class BackchannelHeard:
    """The caller made a sound of attention. In the record, not in the history (T17)."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class EchoHeard:
    """The agent's own words came back through the caller's line. In the record only (T17)."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class DigitsCollected:
    """The caller has pressed these keys; ``turn`` is committed with them. Never logged (T25)."""

    turn: int
    digits: str


@dataclass(frozen=True, slots=True)
class SilenceNoticed:
    """Nobody has said anything for long, for the ``count``-th time in a row (T23)."""

    count: int


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The agent has finished, or was stopped. ``heard`` is what left the loudspeaker."""

    reply: int
    request: int | None
    turn: int | None
    heard: str
    interrupted: bool


@dataclass(frozen=True, slots=True)
class ErrorRaised:
    """A failure that is the caller's concern: not that of a draft."""

    reply: int | None
    code: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something out of order was passed over (T13): counted, logged once per kind."""

    kind: str


Command = (
    StartReply
    | Adopt
    | Commit
    | Discard
    | Park
    | DraftBooked
    | DraftDeclined
    | Speak
    | EndSpeech
    | RunTool
    | Play
    | ClearPlayout
    | Reconnect
    | TuneSource
    | SetTimer
    | CancelTimer
    | HangUp
    | TurnCommitted
    | TurnSettled
    | TurnClosed
    | BackchannelHeard
    | EchoHeard
    | DigitsCollected
    | SilenceNoticed
    | ReplyEnded
    | ErrorRaised
    | Oddity
)

ONLY_TOLD: tuple[type, ...] = (BackchannelHeard, EchoHeard, DraftBooked, DraftDeclined, Oddity)
"""What observers are told of, and nothing else follows from."""
