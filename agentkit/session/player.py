"""Sending a reply's audio to the far end, and hearing back how much of it was heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import first_sound
from agentkit.core.events import Event, PlayoutReached, SoundSent
from agentkit.session.audio import ReplyAudio
from agentkit.transports.base import Transport

CHUNK = 0.1
"""Seconds of audio in one message: small enough for a prompt start, large enough to be cheap."""
MARK_EVERY = 2
"""Chunks between two marks; one more stands where the audio made so far ends."""
LEAD = 1.5
"""Seconds: how far ahead of what is being heard audio is sent, so that a clear loses little."""
MARK_GRACE = 2.0
"""Seconds after its time at which a mark that never came is taken for lost."""


class Player:
    """One far end.

    Args:
        transport: takes the audio; its `output` is known.
        post: takes what happened.
    """

    def __init__(self, transport: Transport, post: Callable[[Event], None]) -> None:
        self.lost_marks = 0
        self._transport = transport
        self._post = post
        self._format: AudioFormat = transport.output
        self._loop = asyncio.get_running_loop()
        self._chunk = self._format.size(CHUNK)
        self._audio: ReplyAudio | None = None
        self._epoch = 0
        self._sent = 0
        self._heard = 0
        self._cursor = 0
        self._unmarked = 0
        self._ends_at = 0.0
        self._wake: asyncio.TimerHandle | None = None

    def play(self, audio: ReplyAudio, epoch: int, offset: float) -> None:
        """Send a reply's audio from ``offset`` seconds on, as it is there and as it comes."""
        self._audio = audio
        self._epoch = epoch
        self._sent = self._heard = self._unmarked = 0
        self._cursor = self._format.size(offset)
        self.pump()

    def clear(self, epoch: int) -> None:
        """Stop sending, and drop at the far end what was not heard."""
        self._audio = None
        self._epoch = epoch
        self._ends_at = 0.0
        self._disarm()
        self._transport.clear()

    def stop(self) -> None:
        """Send nothing more; the call is over."""
        self._audio = None
        self._disarm()

    def pump(self) -> None:
        """Send what may be sent now. Called when audio was made, and when time has passed."""
        audio = self._audio
        if audio is None:
            return
        now = self._loop.time()
        self._ends_at = max(self._ends_at, now)
        while self._ends_at - now < LEAD:
            data = audio.read(self._cursor, self._chunk)
            if not data:
                break
            self._send(audio, data)
        self._mark_end(audio)
        self._arm(now)

    def marked(self, name: str) -> None:
        """The far end has come to a mark; one of an older epoch proves nothing."""
        epoch, _, sent = name.partition(":")
        if epoch != str(self._epoch) or not sent.isdecimal() or int(sent) <= self._heard:
            return
        self._heard = int(sent)
        if self._audio is not None:
            self._audio.heard(self._cursor - self._sent + self._heard)
        self._post(PlayoutReached(self._epoch, self._format.seconds(self._heard)))

    def _send(self, audio: ReplyAudio, data: bytes) -> None:
        self._transport.play(data)
        if not audio.sounded:
            self._note_sound(audio, data)
        self._cursor += len(data)
        self._sent += len(data)
        self._ends_at += self._format.seconds(len(data))
        self._unmarked += 1
        if self._unmarked >= MARK_EVERY:
            self._mark()

    def _note_sound(self, audio: ReplyAudio, data: bytes) -> None:
        silent = first_sound(data, self._format) is None
        if not silent or not audio.sent:
            self._post(SoundSent(audio.reply, silent))
        audio.sent = True
        audio.sounded = not silent

    def _mark(self) -> None:
        self._unmarked = 0
        self._transport.mark(f"{self._epoch}:{self._sent}")

    def _mark_end(self, audio: ReplyAudio) -> None:
        if self._unmarked and self._cursor >= audio.size:
            self._mark()

    def _arm(self, now: float) -> None:
        """Wake up when there is room for more, or when the last mark is overdue."""
        self._disarm()
        if self._audio is None:
            return
        if self._cursor < self._audio.size:
            at = self._ends_at - LEAD / 2
        elif self._heard < self._sent:
            at = self._ends_at + MARK_GRACE
        else:
            return
        self._wake = self._loop.call_at(max(at, now + 0.005), self._woken)

    def _woken(self) -> None:
        self._wake = None
        audio = self._audio
        if audio is None:
            return
        overdue = self._loop.time() >= self._ends_at + MARK_GRACE
        if self._cursor >= audio.size and self._heard < self._sent and overdue:
            self.lost_marks += 1
            self.marked(f"{self._epoch}:{self._sent}")
        else:
            self.pump()

    def _disarm(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
