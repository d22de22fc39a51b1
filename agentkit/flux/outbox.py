"""The caller's audio on its way to Flux: re-framed, dated, kept until Flux has accounted for it.

Pure bookkeeping: no sockets, no tasks, no clock of its own. Times are seconds on the session's
clock, positions are seconds of one connection's audio.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections import deque
from collections.abc import Iterable

from agentkit.audio.formats import AudioFormat
from agentkit.flux.audio_clock import AudioMap, CaptureClock

_QUIET = 164
"""Mean absolute 16-bit level (0.5 % of full scale, -46 dBFS) below which a chunk is silence."""

_LONGEST_GAP = 2.0
"""Seconds: after so long any audio is missing, also from a sender of very long pieces."""


class Chunk:
    """A stretch of audio as it is sent."""

    __slots__ = ("data", "end", "number", "quiet", "start")

    def __init__(self, data: bytes, start: float, number: int, quiet: bool | None) -> None:
        self.data = data
        self.start = start
        """When its first sample was captured."""
        self.number = number
        """Counts all chunks ever made; later audio has a higher number."""
        self.quiet = quiet
        """It is silence; None until that has been asked."""
        self.end = 0.0
        """Where it ends on the connection it was sent on."""


class Outbox:
    """Takes audio of any length, gives it out in chunks, and keeps what may have to be sent again.

    Args:
        audio: the format of everything that goes in.
        chunk: length of a chunk, in seconds.
        gap: the shortest absence of audio that counts as missing, in seconds. It is longer, twice
            the usual piece, for a sender that gives its audio in long pieces.
    """

    def __init__(self, audio: AudioFormat, *, chunk: float, gap: float) -> None:
        self.audio = audio
        self.dropped = 0.0
        """Seconds of audio dropped so far."""
        self._chunk_bytes = audio.size(chunk)
        self._second = audio.byte_rate
        self._shortest_gap = gap
        self._usual = 0.0
        self._capture = CaptureClock()
        self._partial = bytearray()
        self._taken = 0  # bytes that ever came in, filler included
        self._last_feed = -math.inf
        self._number = 0
        self._queue: deque[Chunk] = deque()
        self._queued = 0  # bytes in the queue
        self._sent: deque[Chunk] = deque()
        self._position = 0  # bytes sent on this connection
        self._accounted = 0.0
        self.times = AudioMap()

    # ---------------------------------------------------------------------------- audio in

    def feed(self, data: bytes, now: float) -> bool:
        """Take audio that has just arrived; True if a whole chunk can be sent."""
        if not data:
            return False
        seconds = len(data) / self._second
        gap = now - self._last_feed > self.gap
        self._last_feed = now
        self._usual = max(seconds, 0.9 * self._usual)
        self._taken += len(data)
        self._partial += data
        if gap:
            self._capture.restart(self._taken / self._second, now)
        if len(self._partial) < self._chunk_bytes:
            return False
        self._capture.arrived(self._taken / self._second, now)
        while len(self._partial) >= self._chunk_bytes:
            self._cut(self._chunk_bytes)
        return True

    @property
    def gap(self) -> float:
        """How long audio has to be absent before it counts as missing, in seconds."""
        return max(self._shortest_gap, min(2 * self._usual, _LONGEST_GAP))

    def flush(self) -> None:
        """Make a chunk of what is too short for one."""
        if self._partial:
            self._cut(len(self._partial))

    def _cut(self, size: int, *, filler: bool = False) -> None:
        start = (self._taken - len(self._partial)) / self._second + self._capture.offset
        quiet = True if filler else None
        chunk = Chunk(bytes(self._partial[:size]), start, self._number, quiet)
        del self._partial[:size]
        self._number += 1
        self._queue.append(chunk)
        self._queued += size

    # ------------------------------------------------------------------------ missing audio

    @property
    def filler_due(self) -> float:
        """When the next chunk has to be made of silence, if no audio comes before."""
        covered = self._taken / self._second + self._capture.offset
        return max(self._last_feed + self.gap, covered + self._chunk_bytes / self._second)

    def fill(self) -> float:
        """Complete a chunk with silence, and return the seconds of it."""
        size = self._chunk_bytes - len(self._partial)
        self._partial += self.audio.silence(size / self._second)
        self._taken += size
        self._cut(self._chunk_bytes, filler=size == self._chunk_bytes)
        return size / self._second

    # ---------------------------------------------------------------------------- audio out

    @property
    def queued(self) -> float:
        """Seconds of audio that wait to be sent."""
        return self._queued / self._second

    @property
    def last_number(self) -> int:
        """The number of the newest chunk; -1 before the first."""
        return self._number - 1

    @property
    def next_number(self) -> int | None:
        """The number of the chunk that `take` would give; None if nothing waits."""
        return self._queue[0].number if self._queue else None

    def take(self) -> Chunk | None:
        """The next chunk to send, now counted as sent; None if nothing waits."""
        if not self._queue:
            return None
        chunk = self._queue.popleft()
        self._queued -= len(chunk.data)
        self.times.add(self._position / self._second, chunk.start)
        self._position += len(chunk.data)
        chunk.end = self._position / self._second
        self._sent.append(chunk)
        return chunk

    @property
    def sent(self) -> float:
        """Seconds of audio sent on this connection."""
        return self._position / self._second

    def account(self, position: float) -> None:
        """Flux has listened up to ``position``; audio before it is never sent again."""
        if position <= self._accounted:
            return
        self._accounted = position
        while self._sent and self._sent[0].end <= position + 0.001:
            self._sent.popleft()

    def forget(self, seconds: float) -> None:
        """Let go of sent audio older than that, accounted for or not."""
        oldest = self._position / self._second - seconds
        while self._sent and self._sent[0].end <= oldest:
            self._sent.popleft()

    # -------------------------------------------------------------------- a new connection

    def restart(self, keep: float) -> float:
        """Begin a new connection's audio; return the seconds that are sent again.

        What the old connection was sent but has not accounted for goes first, then what waits,
        then what comes; at most ``keep`` seconds of it (rule T14).
        """
        again = list(self._sent)
        if again:
            first = again[0]
            start = first.end - len(first.data) / self._second
            known = self.audio.size(max(0.0, self._accounted - start))
            if known:
                first.data = first.data[known:]
                first.start += known / self._second
        self._sent.clear()
        self._queue.extendleft(reversed([chunk for chunk in again if chunk.data]))
        self._queued = sum(len(chunk.data) for chunk in self._queue)
        self._position = 0
        self._accounted = 0.0
        self.times = AudioMap()
        self.trim(keep)
        newest = again[-1].number if again else -1
        left = sum(len(chunk.data) for chunk in self._queue if chunk.number <= newest)
        return left / self._second

    def resume(self, now: float) -> None:
        """The connection is ready at ``now``: no silence is owed for the time before it."""
        if now - self._last_feed > self.gap:
            self._last_feed = now
            self._capture.restart(self._taken / self._second, now)

    def trim(self, keep: float) -> None:
        """Drop waiting audio beyond ``keep`` seconds: silence first, then the oldest."""
        excess = self._queued - self.audio.size(keep)
        if excess <= 0:
            return
        gone: set[int] = set()
        for quiet_only in (True, False):
            for chunk in self._queue:
                if excess <= 0:
                    break
                if chunk.number not in gone and not (quiet_only and not self._is_quiet(chunk)):
                    gone.add(chunk.number)
                    excess -= len(chunk.data)
        kept = [chunk for chunk in self._queue if chunk.number not in gone]
        left = sum(len(chunk.data) for chunk in kept)
        self.dropped += (self._queued - left) / self._second
        self._queue = deque(kept)
        self._queued = left

    def _is_quiet(self, chunk: Chunk) -> bool:
        if chunk.quiet is None:
            chunk.quiet = mean_level(chunk.data, self.audio) < _QUIET
        return chunk.quiet


def mean_level(data: bytes, audio: AudioFormat) -> float:
    """The mean absolute level of raw audio, 0 to 32768."""
    if audio.encoding == "linear16":
        samples = array("h", data[: len(data) & ~1])
        if sys.byteorder == "big":
            samples.byteswap()
        levels: Iterable[int] = map(abs, samples)
        count = len(samples)
    else:
        table = _MULAW_LEVELS if audio.encoding == "mulaw" else _ALAW_LEVELS
        levels = map(table.__getitem__, data)
        count = len(data)
    return sum(levels) / count if count else 0.0


def _mulaw_level(code: int) -> int:
    # ITU-T G.711: the code is sent inverted; 3 bits of exponent, 4 of mantissa, bias 33 (x4 here).
    code = ~code & 0x7F
    return (((code & 0x0F) << 3) + 0x84 << (code >> 4)) - 0x84


def _alaw_level(code: int) -> int:
    # ITU-T G.711: every second bit is sent inverted; segment 0 and 1 share a step size.
    code = (code ^ 0x55) & 0x7F
    mantissa, segment = code & 0x0F, code >> 4
    if segment == 0:
        return (mantissa << 4) + 8
    return ((mantissa << 4) + 0x108) << (segment - 1)


_MULAW_LEVELS = tuple(_mulaw_level(code) for code in range(256))
_ALAW_LEVELS = tuple(_alaw_level(code) for code in range(256))
