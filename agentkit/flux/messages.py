"""What goes over a Flux socket, and what it means in neutral words.

Reading is lenient: an unknown message, event, trigger or field, a number written as a string, an
optional field of a wrong shape, or a message without ``type`` (Cloudflare) is never an error.
Sources: Deepgram docs flux/state, flux/configure, flux/force-end-turn, flux/close-stream;
Cloudflare's model page for ``@cf/deepgram/flux``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from agentkit.core.events import (
    TurnEnded,
    TurnMaybeEnded,
    TurnResumed,
    TurnStarted,
    TurnUpdated,
    Word,
)

# --------------------------------------------------------------------------- from the server


class _FromServer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Connected(_FromServer):
    """The server is ready for audio."""

    type: Literal["Connected"] = "Connected"
    request_id: str = ""
    sequence_id: int | None = None


class HeardWord(_FromServer):
    """One word of a turn. Cloudflare and older servers send no times.

    Args:
        word: as Flux wrote it.
        confidence: 0 to 1.
        start: seconds of the connection's audio.
        end: likewise.
    """

    word: str = ""
    confidence: float | None = None
    start: float | None = None
    end: float | None = None


class TurnInfo(_FromServer):
    """The state of the turn.

    Args:
        event: ``Update``, ``StartOfTurn``, ``EagerEndOfTurn``, ``TurnResumed``, ``EndOfTurn``, or
            one that is not known yet.
        turn_index: counted from 0 on each connection.
        audio_window_start: where the turn's audio begins, in seconds of the connection's audio.
        audio_window_end: how far Flux has listened.
        transcript: all words of the turn so far; may rewrite what an earlier message said.
        end_of_turn_confidence: 0 to 1; informative, never an event in itself.
        trigger: on EndOfTurn: ``model``, ``manual``, ``timeout``, or one not known yet.
    """

    type: Literal["TurnInfo"] = "TurnInfo"
    event: str
    turn_index: int
    request_id: str = ""
    sequence_id: int | None = None
    audio_window_start: float | None = None
    audio_window_end: float | None = None
    transcript: str = ""
    words: tuple[HeardWord, ...] = ()
    end_of_turn_confidence: float = 0.0
    trigger: str = ""
    languages: tuple[str, ...] = ()
    languages_hinted: tuple[str, ...] = ()


class ConfigureSuccess(_FromServer):
    """A ``Configure`` took effect; the values now in force."""

    type: Literal["ConfigureSuccess"] = "ConfigureSuccess"
    request_id: str = ""
    sequence_id: int | None = None
    thresholds: dict[str, float | None] = {}
    keyterms: tuple[str, ...] = ()
    language_hints: tuple[str, ...] = ()
    numerals: bool | None = None


class ConfigureFailure(_FromServer):
    """A ``Configure`` was refused whole; the values before it stay in force."""

    type: Literal["ConfigureFailure"] = "ConfigureFailure"
    request_id: str = ""
    sequence_id: int | None = None
    code: str = ""
    description: str = ""


class WarningMessage(_FromServer):
    """Something had no effect; the connection stays open."""

    type: Literal["Warning"] = "Warning"
    request_id: str = ""
    sequence_id: int | None = None
    code: str = ""
    description: str = ""


class ErrorMessage(_FromServer):
    """A fatal error; the server closes the socket after it."""

    type: Literal["Error"] = "Error"
    sequence_id: int | None = None
    code: str = ""
    description: str = ""


class UnknownMessage(_FromServer):
    """A message that cannot be used; ``kind`` says why, in a form fit for a counter's name."""

    kind: str


ServerMessage = (
    TurnInfo
    | Connected
    | ConfigureSuccess
    | ConfigureFailure
    | WarningMessage
    | ErrorMessage
    | UnknownMessage
)

_MODELS: Final[Mapping[str, type[ServerMessage]]] = {
    "TurnInfo": TurnInfo,
    "Connected": Connected,
    "ConfigureSuccess": ConfigureSuccess,
    "ConfigureFailure": ConfigureFailure,
    "Warning": WarningMessage,
    "Error": ErrorMessage,
}
_MAX_KIND_CHARS: Final = 60


def parse_message(data: str | bytes) -> ServerMessage:
    """Read one message. Never raises: what cannot be read is an `UnknownMessage`."""
    try:
        fields = from_json(data)
    except ValueError:
        return UnknownMessage(kind="unreadable")
    if not isinstance(fields, dict):
        return UnknownMessage(kind="unreadable")
    kind = fields.get("type")
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        # Without a known type the event names the message: Cloudflare's form has only that.
        kind = fields.get("event") or kind
        if not isinstance(kind, str):
            return UnknownMessage(kind="message without a type")
        model = _MODELS.get(kind) or (TurnInfo if kind in _EVENTS else None)
        if model is None:
            return UnknownMessage(kind=f"message {kind[:_MAX_KIND_CHARS]}")
        fields.pop("type", None)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        return _salvage(model, fields, error)


def _salvage(
    model: type[ServerMessage], fields: dict[str, Any], error: ValidationError
) -> ServerMessage:
    """Read the message without the fields of it that make no sense."""
    wrong = {problem["loc"][0] for problem in error.errors(include_url=False) if problem["loc"]}
    kept = {name: value for name, value in fields.items() if name not in wrong}
    try:
        return model.model_validate(kept)
    except ValidationError:
        return UnknownMessage(kind=f"unreadable {model.__name__}")


# --------------------------------------------------------------------------- to the server


class _ToServer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> str:
        """The text frame's payload; fields that were not given are left out."""
        return self.model_dump_json(exclude_unset=True)


class CloseStream(_ToServer):
    """No more audio. The server ends what it has, without ending the open turn, and closes."""

    type: Literal["CloseStream"]


class ForceEndTurn(_ToServer):
    """End the open turn now."""

    type: Literal["ForceEndTurn"]


class Thresholds(_ToServer):
    """The part of `Configure` that says when a turn ends. A field given as None is sent as null."""

    eot_threshold: float | None = None
    eager_eot_threshold: float | None = None
    eot_timeout_ms: int | None = None


class Configure(_ToServer):
    """Change options of the live connection; a field that is not given keeps its value.

    ``keyterms`` and ``language_hints`` replace the whole list.
    """

    _THRESHOLDS: ClassVar = frozenset(Thresholds.model_fields)

    type: Literal["Configure"]
    thresholds: Thresholds | None = None
    keyterms: tuple[str, ...] | None = None
    language_hints: tuple[str, ...] | None = None
    numerals: bool | None = None

    @classmethod
    def of(cls, changes: Mapping[str, Any]) -> Configure:
        """The message for these options, by their names in `FluxOptions`."""
        fields: dict[str, Any] = {"type": "Configure"}
        thresholds = {name: changes[name] for name in changes if name in cls._THRESHOLDS}
        if thresholds:
            fields["thresholds"] = Thresholds(**thresholds)
        fields |= {name: changes[name] for name in changes if name not in cls._THRESHOLDS}
        return cls(**fields)


CLOSE_STREAM: Final = CloseStream(type="CloseStream").to_json()
FORCE_END_TURN: Final = ForceEndTurn(type="ForceEndTurn").to_json()

# ------------------------------------------------------------------------ in neutral words

NeutralEvent = TurnStarted | TurnUpdated | TurnMaybeEnded | TurnResumed | TurnEnded

_EVENTS: Final[Mapping[str, type[NeutralEvent]]] = {
    "Update": TurnUpdated,
    "StartOfTurn": TurnStarted,
    "EagerEndOfTurn": TurnMaybeEnded,
    "TurnResumed": TurnResumed,
    "EndOfTurn": TurnEnded,
}


class AudioTimes(Protocol):
    """Where a connection's audio lies on the session's clock."""

    def start_time(self, position: float) -> float | None:
        """When audio that begins at ``position`` was captured."""

    def end_time(self, position: float) -> float | None:
        """When audio that ends at ``position`` was captured."""


def turn_event(info: TurnInfo, connection: int, times: AudioTimes) -> NeutralEvent | None:
    """The neutral event of a `TurnInfo`; None if its event is not known."""
    kind = _EVENTS.get(info.event)
    if kind is None:
        return None
    words = tuple(
        [
            Word(
                word.word, 1.0 if word.confidence is None else word.confidence, word.start, word.end
            )
            for word in info.words
        ]
    )
    start = end = None
    if words:
        first, last = words[0].start, words[-1].end
        start = None if first is None else times.start_time(first)
        end = None if last is None else times.end_time(last)
    return kind(
        connection=connection,
        index=info.turn_index,
        text=info.transcript,
        words=words,
        sequence=info.sequence_id,
        confidence=info.end_of_turn_confidence,
        speech_start=start,
        speech_end=end,
        languages=info.languages,
        trigger=info.trigger,
    )
