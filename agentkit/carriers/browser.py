"""What the page in a browser and the server say to each other on the socket of a conversation.

Binary messages are audio, 16-bit little-endian samples of one channel: the microphone's at 16 kHz,
the agent's at the rate that ``ready`` names. All else is JSON with a ``type``. The page says

* ``{"type":"start","version":1,"token":"..."}`` first, and once;
* ``{"type":"heard","epoch":0,"at":4800}``: the loudspeaker has come to a mark, by its own clock;
* ``{"type":"typed","text":"..."}``: words of the caller's, written instead of spoken;
* ``{"type":"muted","muted":true}``: what it sends is silence until it says otherwise;
* ``{"type":"end"}``: the caller has hung up.

The server says ``ready``, ``refused`` and ``over``, both with ``why`` (the session's reason, or
``closed``), what happens in the conversation (`agentkit.server.narrator`), and

* ``{"type":"mark","epoch":0,"at":4800}``: say ``heard`` once so many of this epoch's samples were;
* ``{"type":"clear","epoch":1}``: drop what was not heard; samples are counted from 0 again.

Samples are counted from the beginning of an epoch, and an epoch begins with each clear: what the
page says of an older one proves nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agentkit.audio.formats import AudioFormat
from agentkit.carriers.base import (
    LINEAR_16K,
    TOKEN,
    CallerAudio,
    Codec,
    MarkReached,
    MediaEvent,
    Message,
    StreamStarted,
    StreamStopped,
    Unreadable,
    read_json,
    write_json,
)

VERSION = 1
"""Of these messages. A page of another version was loaded before the server was updated."""

LONGEST_TYPED = 2000
"""Characters that a caller may write at once; what is longer is cut off."""

_SAMPLE = 2
_RATES = range(8000, 48001)


@dataclass(frozen=True, slots=True)
class CallerTyped:
    """The caller has written words instead of speaking them."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CallerMuted:
    """The caller has muted the microphone, or has unmuted it."""

    muted: bool


PageCommand = CallerTyped | CallerMuted


def voice_format(voice: AudioFormat) -> AudioFormat:
    """What the page plays a voice in: at its own rate, if browsers can, so that nobody converts."""
    return AudioFormat("linear16", voice.rate if voice.rate in _RATES else 24000)


class BrowserCodec(Codec):
    """The messages of one conversation in a browser.

    Args:
        output: what the page plays, ``linear16``.

    Attributes:
        leaving: why the session hangs up, once it does.
    """

    name: ClassVar[str] = "web"

    def __init__(self, output: AudioFormat) -> None:
        self.leaving = "closed"
        self._output = output
        self._started = False
        self._epoch = 0
        self._played = 0
        self._marks: deque[tuple[int, str]] = deque()

    def receive(self, message: Message) -> Sequence[MediaEvent]:
        """What a message says. `read_command` reads the others."""
        if isinstance(message, bytes):
            return (self._audio(message),)
        found = read_json(message)
        if isinstance(found, Unreadable):
            return (found,)
        match found.get("type"):
            case "heard":
                return self._heard(found.get("epoch"), found.get("at"))
            case "start":
                return (self._start(found),)
            case "end":
                return (StreamStopped("caller hung up"),)
        return (Unreadable("a message of an unknown type"),)

    def play(self, audio: bytes) -> Sequence[Message]:
        """One binary message."""
        self._played += len(audio) // _SAMPLE
        return (audio,)

    def mark(self, name: str) -> Sequence[Message]:
        """Ask the page to say when its loudspeaker gets to where we are now."""
        self._marks.append((self._played, name))
        return (write_json({"type": "mark", "epoch": self._epoch, "at": self._played}),)

    def clear(self) -> Sequence[Message]:
        """Begin an epoch; the marks of the one before will not come."""
        self._epoch += 1
        self._played = 0
        self._marks.clear()
        return (write_json({"type": "clear", "epoch": self._epoch}),)

    def hang_up(self) -> Sequence[Message]:
        """We end the conversation."""
        return (over(self.leaving),)

    def _audio(self, data: bytes) -> MediaEvent:
        if not self._started:
            return Unreadable("audio before the start")
        if not data or len(data) % _SAMPLE:
            return Unreadable("audio of no whole samples")
        return CallerAudio(data)

    def _start(self, found: dict[str, Any]) -> MediaEvent:
        if self._started:
            return Unreadable("a second start")
        if found.get("version") != VERSION:
            return StreamStopped("the page is of another version: load it again")
        self._started = True
        token = found.get("token")
        parameters = {TOKEN: token} if isinstance(token, str) else {}
        return StreamStarted("", "", LINEAR_16K, self._output, parameters=parameters)

    def _heard(self, epoch: object, at: object) -> Sequence[MediaEvent]:
        """All marks up to a position. Of an older epoch it proves nothing, nor is it odd."""
        if type(epoch) is not int or type(at) is not int:
            return (Unreadable("a position that is none"),)
        if epoch < self._epoch:
            return ()
        if epoch > self._epoch or not 0 <= at <= self._played:
            return (Unreadable("a position that was never sent"),)
        reached = []
        while self._marks and self._marks[0][0] <= at:
            reached.append(MarkReached(self._marks.popleft()[1]))
        return reached


def read_command(message: Message) -> PageCommand | Unreadable | None:
    """What the caller did on the page besides speaking; None if the message says nothing of it."""
    # Most text messages are marks: they are not worth reading twice.
    if isinstance(message, bytes) or not ('"typed"' in message or '"muted"' in message):
        return None
    found = read_json(message)
    if isinstance(found, Unreadable):
        return None
    match found:
        case {"type": "typed", "text": str(text)}:
            words = " ".join(text[:LONGEST_TYPED].split())
            return CallerTyped(words) if words else Unreadable("no words")
        case {"type": "muted", "muted": bool(muted)}:
            return CallerMuted(muted)
        case {"type": "typed" | "muted"}:
            return Unreadable("a command without its value")
    return None


def ready(output: AudioFormat) -> str:
    """The conversation begins; audio follows in this format."""
    return write_json({"type": "ready", "version": VERSION, "rate": output.rate})


def refused(why: str) -> str:
    """The conversation may not begin: ``token``, ``version``, ``full``, ``draining`` or other."""
    return write_json({"type": "refused", "why": why})


def over(why: str) -> str:
    """The server ends the conversation."""
    return write_json({"type": "over", "why": why})
