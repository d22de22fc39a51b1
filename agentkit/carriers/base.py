"""What a phone carrier says and is told on a call's socket, in neutral words.

A `Codec` translates between a carrier's messages and these events. It is pure: messages go in and
events come out, audio goes in and messages come out; it opens nothing, awaits nothing and reads no
clock. One instance serves one socket, which is one leg of one call.
"""

from __future__ import annotations

import binascii
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic_core import from_json, to_json

from agentkit.audio.formats import AudioFormat

Message = str | bytes
"""A WebSocket message: text or binary. On a plain TCP socket, a packet."""

FRAME = 0.02
"""Seconds of a telephone's audio frame."""

TOKEN = "token"  # noqa: S105
"""The name under which the token that admits a stream travels among its parameters."""

KEYS = frozenset("0123456789*#ABCD")

MULAW_8K = AudioFormat("mulaw", 8000)
ALAW_8K = AudioFormat("alaw", 8000)
LINEAR_8K = AudioFormat("linear16", 8000)
LINEAR_16K = AudioFormat("linear16", 16000)
LINEAR_24K = AudioFormat("linear16", 24000)


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """The carrier says what this socket carries. Nothing is sent to it before.

    What a caller may be known by does not show in its ``repr``.

    Args:
        stream: the carrier's id of the stream; "" where the socket needs none.
        call: the carrier's id of the call, as its REST interface takes it; "" if it is not told.
        input: what the caller's audio is in.
        output: what the carrier plays.
        account: whose call it is; "" if it is not told.
        caller: who calls; "" if it is not told.
        callee: who is called; "" if it is not told.
        parameters: what was sent along when the stream was asked for.
    """

    stream: str
    call: str
    input: AudioFormat
    output: AudioFormat
    account: str = ""
    caller: str = field(default="", repr=False)
    callee: str = field(default="", repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class CallerAudio:
    """The caller was heard: whole samples in the stream's ``input`` format, of any length."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CallerKey:
    """The caller pressed a key: one of ``0-9 * # A-D``."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MarkReached:
    """The far end has come to a mark, by playing what stood before it or by clearing it."""

    name: str


@dataclass(frozen=True, slots=True)
class SendingPaused:
    """The far end's buffer is nearly full: send no audio until `SendingResumed`."""


@dataclass(frozen=True, slots=True)
class SendingResumed:
    """There is room again."""


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The carrier has ended the stream; ``reason`` is for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that says nothing here: unknown, malformed, out of order. Counted, never fatal.

    Args:
        kind: what was wrong with it, without any of its content: the same for all of a kind.
    """

    kind: str


MediaEvent = (
    StreamStarted
    | CallerAudio
    | CallerKey
    | MarkReached
    | SendingPaused
    | SendingResumed
    | StreamStopped
    | Unreadable
)


class Codec(ABC):
    """One carrier's dialect, on one socket.

    What it is given to play is whole frames of 20 ms in the stream's ``output`` format. The verbs
    return the messages to send, in order; they are called after `StreamStarted` only.

    Attributes:
        name: the carrier, as it stands in the routes.
        subprotocols: of the WebSocket, that the carrier asks for; the first it names is accepted.
        hangs_up_on_close: closing the socket ends the call.
    """

    name: ClassVar[str]
    subprotocols: ClassVar[tuple[str, ...]] = ()
    hangs_up_on_close: ClassVar[bool] = True

    @abstractmethod
    def receive(self, message: Message) -> Sequence[MediaEvent]:
        """What a message says. Never raises: what cannot be read is `Unreadable`."""

    @abstractmethod
    def play(self, audio: bytes) -> Sequence[Message]:
        """Queue audio at the far end, behind what is queued there."""

    @abstractmethod
    def mark(self, name: str) -> Sequence[Message]:
        """Ask for `MarkReached` once all that was queued so far has been heard."""

    @abstractmethod
    def clear(self) -> Sequence[Message]:
        """Drop at the far end what has not been heard."""

    def send_dtmf(self, digits: str) -> Sequence[Message] | None:
        """Press keys towards the far end; None where the socket has no message for it."""
        return None

    def hang_up(self) -> Sequence[Message]:
        """End the call over the socket; nothing where the socket has no message for it."""
        return ()


def read_json(message: Message) -> dict[str, Any] | Unreadable:
    """The object that a text message holds."""
    if isinstance(message, bytes):
        return Unreadable("a binary message")
    try:
        found = from_json(message)
    except ValueError:
        return Unreadable("a message that is no JSON")
    return found if isinstance(found, dict) else Unreadable("a message that is no JSON object")


def read_base64(text: object) -> bytes | None:
    """The bytes of a base64 text that is right to the letter, else None."""
    if not isinstance(text, str):
        return None
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        return None


def write_base64(data: bytes) -> str:
    """Bytes as base64, without line breaks."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def write_json(message: Mapping[str, Any]) -> str:
    """An object as a text message, without needless spaces."""
    return to_json(message).decode()
