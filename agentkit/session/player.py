"""Sending a reply's audio to the far end, and hearing back how much of it was heard."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import first_sound
from agentkit.core.events import Event, PlayoutReached, SoundSent
from agentkit.session.audio import ReplyAudio
from agentkit.transports.base import Transport

FRAME = 0.02
"""Seconds: what is sent is whole frames, since telephones play nothing shorter."""
LEAST = 0.04
"""Seconds of audio in a message while there is no hurry."""
CHUNK = 0.2
"""Seconds of audio in a message at most; what there is to start with goes at once."""
MARK_EVERY = 0.2
"""Seconds of audio between two marks."""
LEAD = 1.5
"""Seconds: how far ahead of what is being heard audio is sent, so that a clear loses little."""
MOST = 2.0
"""Seconds: how far ahead of what was proven heard it is sent, if the far end lags behind."""
HURRY = 0.2
"""Seconds of lead below which short messages are sent, too."""
PATIENCE = 0.1
"""Seconds: a rest shorter than a frame, or without a mark, waits so long for what may follow."""
MARK_GRACE = 1.5
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
        self._frame = self._format.size(FRAME)
        self._least = self._format.size(LEAST)
        self._chunk = self._format.size(CHUNK)
        self._mark_every = self._format.size(MARK_EVERY)
        self._most = self._format.size(MOST)
        self._audio: ReplyAudio | None = None
        self._epoch = 0
        self._base = 0
        self._skipped = 0.0
        self._sent = 0
        self._heard = 0
        self._marked_to = 0
        self._marks: deque[tuple[float, int]] = deque()
        self._ends_at = 0.0
        self._seen = -1
        self._grew_at = 0.0
        self._wake: asyncio.TimerHandle | None = None

    def play(self, audio: ReplyAudio, epoch: int, offset: float) -> None:
        """Send a reply's audio from ``offset`` seconds on, as it is there and as it comes."""
        self._audio = audio
        self._begin(epoch)
        at = self._format.size(offset)
        self._base = at - at % self._frame
        self._skipped = self._format.seconds(at - self._base)
        self.pump()

    def clear(self, epoch: int) -> None:
        """Stop sending, and drop at the far end what was not heard."""
        self._audio = None
        self._begin(epoch)
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
        if audio.size != self._seen:
            self._seen, self._grew_at = audio.size, now
        while size := self._sendable(audio, now):
            self._send(audio, size)
        self._arm(audio, now)

    def marked(self, name: str) -> None:
        """The far end has come to a mark; one of an older epoch proves nothing."""
        epoch, _, sent = name.partition(":")
        if epoch != str(self._epoch) or not sent.isdecimal():
            return
        if self._heard < int(sent) <= self._sent:
            self._reach(int(sent))
            self.pump()

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._base = self._sent = self._heard = self._marked_to = 0
        self._skipped = 0.0
        self._seen = -1
        self._marks.clear()

    def _sendable(self, audio: ReplyAudio, now: float) -> int:
        """How many bytes to send now; 0: none yet."""
        lead = self._ends_at - now
        if lead >= LEAD or self._sent - self._heard >= self._most:
            return 0
        left = audio.size - self._base - self._sent
        if left >= self._chunk:
            return self._chunk
        whole = left - left % self._frame
        if whole >= self._least or (whole and lead < HURRY):
            return whole
        # Nothing has followed: the rest is played, filled up with silence.
        return left if left and now >= self._rest_due() else 0

    def _rest_due(self) -> float:
        return max(self._grew_at + PATIENCE, self._ends_at - PATIENCE)

    def _send(self, audio: ReplyAudio, size: int) -> None:
        data = sound = audio.read(self._base + self._sent, size)
        if rest := size % self._frame:
            missing = self._format.seconds(self._frame - rest)
            data += self._format.silence(missing)
            self._ends_at += missing
        first = self._sent == 0
        self._sent += size
        self._ends_at += self._format.seconds(size)
        if first or self._sent - self._marked_to >= self._mark_every:
            self._transport.play_marked(data, self._next_mark())
        else:
            self._transport.play(data)
        if not audio.sounded:
            self._note_sound(audio, sound)

    def _note_sound(self, audio: ReplyAudio, data: bytes) -> None:
        silent = first_sound(data, self._format) is None
        if not silent or not audio.sent:
            self._post(SoundSent(audio.reply, silent))
        audio.sent = True
        audio.sounded = not silent

    def _next_mark(self) -> str:
        """The name of the mark behind all that was sent, which is waited for from now on."""
        self._marked_to = self._sent
        self._marks.append((self._ends_at + MARK_GRACE, self._sent))
        return f"{self._epoch}:{self._sent}"

    def _reach(self, sent: int) -> None:
        """So much was heard."""
        self._heard = sent
        while self._marks and self._marks[0][1] <= sent:
            self._marks.popleft()
        if self._audio is not None:
            self._audio.heard(self._base + sent)
        seconds = max(0.0, self._format.seconds(sent) - self._skipped)
        self._post(PlayoutReached(self._epoch, seconds))

    def _arm(self, audio: ReplyAudio, now: float) -> None:
        """Wake up for what is due first: room for more, a rest, a mark, a mark that is lost."""
        self._disarm()
        due = []
        left = audio.size - self._base - self._sent
        if left >= self._least and self._sent - self._heard < self._most:
            due.append(self._ends_at - LEAD / 2)
        elif 0 < left < self._least:
            hurry = left >= self._frame
            due.append(self._ends_at - HURRY if hurry else self._rest_due())
        if self._marked_to < self._sent and left < self._frame:
            due.append(self._grew_at + PATIENCE)
        if self._marks:
            due.append(self._marks[0][0])
        if due:
            self._wake = self._loop.call_at(max(min(due), now + 0.005), self._woken)

    def _woken(self) -> None:
        self._wake = None
        now = self._loop.time()
        if self._marks and now >= self._marks[0][0]:
            self.lost_marks += 1
            self._reach(self._marks[0][1])
        self.pump()
        self._mark_end(now)

    def _mark_end(self, now: float) -> None:
        """Nothing has followed what was sent last: let it be told when that was heard."""
        if self._audio is None or self._marked_to == self._sent:
            return
        left = self._audio.size - self._base - self._sent
        if left < self._frame and now >= self._grew_at + PATIENCE:
            self._transport.mark(self._next_mark())
            self._arm(self._audio, now)

    def _disarm(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
