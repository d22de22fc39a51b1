"""Asterisk's channel over WebSocket, from Asterisk's side.

As ``channels/chan_websocket.c`` of asterisk/asterisk does it, in both forms of its control
messages, and docs.asterisk.org, "WebSocket Channel Driver".
"""

from __future__ import annotations

import json
import uuid
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode, urlsplit

from agentkit.testing.carriers.asking import Answer, Question, Reply
from agentkit.testing.carriers.base import FakeCarrier
from agentkit.testing.carriers.line import FrameQueue, Listening
from agentkit.testing.carriers.wire import Message

QUEUE = 1000
"""Frames that the queue holds; a message that comes while it is full is dropped."""

XOFF = 900
XON = 800
_LONGEST_TEXT = 128
_LONGEST_BINARY = 65_500

_FORMATS = {
    ("mulaw", 8000): "ulaw",
    ("alaw", 8000): "alaw",
    ("linear16", 8000): "slin",
}


class FakeAsterisk(FakeCarrier):
    """A call over Asterisk, which connects as ``Dial(WebSocket/...)`` says: there is no webhook.

    Media is binary in the channel's codec, and is cut into frames of 20 ms here: what is left over
    of a message is dropped, unless it stands between ``START_MEDIA_BUFFERING`` and
    ``STOP_MEDIA_BUFFERING``. The queue holds 1,000 frames; ``MEDIA_XOFF`` is sent from 900 on, and
    ``MEDIA_XON`` below 800. ``FLUSH_MEDIA`` forgets what is queued, marks included, confirms
    nothing and does not end a pause.

    ``parameters`` go into the URL's query string, as ``v(name=value)`` puts them there, and into
    ``channel_variables``.

    Attributes:
        control: the form of the control messages, ``json`` or ``plain``; to be set before the call
            is made.
    """

    name: ClassVar[str] = "asterisk"
    is_text = False
    subprotocols = ("media",)
    control: Literal["json", "plain"] = "json"
    _buffering = False
    _rest = b""
    _full = False
    _reports_drained = False
    _queue: FrameQueue | None = None

    async def dial(self) -> None:
        """Connect to the media socket.

        Raises:
            OSError: nothing listens there.
            ValueError: a webhook was given, which Asterisk does not ask.
        """
        if self.webhook:
            raise ValueError("Asterisk asks no webhook: give `media`")
        if self.parameters and not urlsplit(self.media).query:
            self.media += f"?{urlencode(self.parameters)}"
        await super().dial()

    def _new_id(self, of: str) -> str:
        return str(uuid.uuid4())

    def _question(self) -> Question:
        raise NotImplementedError("Asterisk asks no webhook")

    def _sign(self, secret: str, url: str, question: Question) -> dict[str, str]:
        raise NotImplementedError("Asterisk asks no webhook")

    def _read_answer(self, reply: Reply) -> Answer:
        raise NotImplementedError("Asterisk asks no webhook")

    def _new_line(self) -> Listening:
        self._queue = FrameQueue(
            self.audio,
            self.audio.size(0.02),
            0.02,
            self.network,
            self._marked,
            drained=self._drained,
            taken=self._taken,
        )
        return self._queue

    # ------------------------------------------------------------------------- to the bot

    def _event(self, event: str, **fields: object) -> Message:
        if self.control == "json":
            return json.dumps({"event": event, "channel_id": self.call, **fields})
        if event in {"MEDIA_MARK_PROCESSED", "MEDIA_BUFFERING_COMPLETED"}:
            return f"{event} {fields['correlation_id']}".strip()
        if event in {"MEDIA_XON", "MEDIA_XOFF", "QUEUE_DRAINED"}:
            return event
        about = {**fields, "channel_id": self.call}
        return " ".join([event, *(f"{name}:{_plain(about[name])}" for name in about)])

    def start_message(self) -> Message:
        """``MEDIA_START``, the first message."""
        codec = _FORMATS.get((self.audio.encoding, self.audio.rate))
        about: dict[str, object] = {
            "connection_id": self.stream,
            "channel": f"WebSocket/agentkit/{self.stream}",
            "format": codec or f"slin{self.audio.rate // 1000}",
            "optimal_frame_size": self.audio.size(0.02),
            "ptime": 20,
        }
        if self.control == "json":
            about["channel_variables"] = self.parameters
        return self._event("MEDIA_START", **about)

    def media_message(self, encoded: str | bytes) -> Message:
        """The next media."""
        return encoded

    def dtmf_message(self, digit: str) -> Message:
        """A key was let go."""
        return self._event("DTMF_END", digit=digit)

    def mark_message(self, name: str, *, cleared: bool) -> Message:
        """The queue has come to a mark."""
        if name.startswith("\0"):
            return self._event("MEDIA_BUFFERING_COMPLETED", correlation_id=name[1:])
        return self._event("MEDIA_MARK_PROCESSED", correlation_id=name)

    def _taken(self) -> None:
        if self._full and self._frames.frames < XON:
            self._full = False
            self._post(self._event("MEDIA_XON"))

    def _drained(self) -> None:
        if self._reports_drained:
            self._reports_drained = False
            self._post(self._event("QUEUE_DRAINED"))

    @property
    def _frames(self) -> FrameQueue:
        if self._queue is None:
            raise RuntimeError("the call was not made yet: use `async with`")
        return self._queue

    # ------------------------------------------------------------------------- from the bot

    def _read(self, message: Message) -> None:
        if isinstance(message, bytes):
            self._read_audio(message)
        elif len(message.encode()) > _LONGEST_TEXT:
            self._wrong(f"a control message of more than {_LONGEST_TEXT} bytes")
        elif self.control == "json":
            if (found := self._object(message)) is not None:
                self._command(found.get("command"), found.get("correlation_id"))
        else:
            command, _, rest = message.partition(" ")
            self._command(command, rest)

    def _command(self, command: object, correlation: object) -> None:
        """Carry out a command; they are case-sensitive."""
        name = correlation if isinstance(correlation, str) else ""
        if command == "MARK_MEDIA":
            self._mark(correlation)
            return
        if command == "FLUSH_MEDIA":
            self._buffering, self._rest = False, b""
            self._clear()
            return
        if command == "HANGUP":
            self._log("hang_up")
            self._own(self._close())
            return
        carried_out = True
        if command == "START_MEDIA_BUFFERING":
            self._buffering = True
        elif command == "STOP_MEDIA_BUFFERING":
            self._stop_buffering(name)
        elif command == "PAUSE_MEDIA":
            self._frames.paused = True
        elif command == "CONTINUE_MEDIA":
            self._frames.resume()
        elif command == "REPORT_QUEUE_DRAINED":
            self._reports_drained = True
            self._frames.watch()
        elif command == "GET_STATUS":
            self._post(self._status())
        else:
            carried_out = command == "ANSWER"
        if carried_out:
            self._log("command", str(command))
        else:
            self._wrong(f"a command that asterisk does not know: {command!s:.20}")

    def _read_audio(self, data: bytes) -> None:
        if len(data) > _LONGEST_BINARY:
            self._wrong(f"a message of more than {_LONGEST_BINARY} bytes, which ends the call")
            self._own(self._close())
            return
        if self._frames.frames >= QUEUE:
            self._wrong("a message while the queue was full: it was dropped")
            return
        size = self.audio.size(0.02)
        whole = self._rest + data
        used = len(whole) - len(whole) % size
        self._rest = whole[used:] if self._buffering else b""
        if used < len(whole) and not self._buffering:
            self._wrong(f"a message that is no whole frames of {size} bytes: its end was dropped")
        if used:
            self._hear(whole[:used])
            self._tell_full()

    def _stop_buffering(self, name: str) -> None:
        self._buffering = False
        if self._rest:
            self._hear(self._rest)
            self._rest = b""
            self._tell_full()
        self._frames.mark("\0" + name)

    def _tell_full(self) -> None:
        if not self._full and self._frames.frames >= XOFF:
            self._full = True
            self._post(self._event("MEDIA_XOFF"))

    def _status(self) -> Message:
        return self._event(
            "STATUS",
            queue_length=self._frames.frames,
            xon_level=XON,
            xoff_level=XOFF,
            queue_full=self._full,
            bulk_media=self._buffering,
            media_paused=self._frames.paused,
        )

    async def _close(self) -> None:
        self.is_over = True
        self._finish("bot closed")
        if self._socket is not None:
            await self._socket.close()


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
