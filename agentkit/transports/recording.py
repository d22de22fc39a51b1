"""The recording of a call, written to disk while the call goes on."""

from __future__ import annotations

import queue
import struct
import threading
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

from agentkit.audio.formats import AudioFormat
from agentkit.audio.resample import Converter
from agentkit.transports.playout import Heard

log = structlog.get_logger(__name__)

BATCH = 0.5
"""Seconds of sound that are written at a time: what a process that is killed loses at most."""
MOST_WAITING = 60.0
"""Seconds of sound that wait for a slow disk; what comes while more wait is not recorded."""
SEAM = 0.1
"""Seconds by which a stretch may miss the end of the one before and still follow on it."""
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_FRAME = 4
"""Bytes of a sample of both sides."""
_LARGEST = (2**32 - 1 - _HEADER.size) // _FRAME
"""Frames that a WAV file can hold: its header has 32 bits for their bytes. 12 hours at 24 kHz."""


@dataclass(slots=True)
class _Side:
    """One of the two voices. The event loop's part, then the writing thread's."""

    form: AudioFormat
    convert: Converter
    channel: int
    waiting: list[Heard] = field(default_factory=list)
    end: float | None = None
    """When the last stretch that came is over."""
    next: int = 0
    """Where the next sample belongs, in frames."""


class CallRecording:
    """A WAV file of 16 bit, caller left and agent right, at the higher of their two rates.

    It is a whole WAV file at all times. What comes is handed over to a thread, which writes it to
    where it belongs in time; memory holds a second or two of it, however long the call.

    Args:
        path: is made anew, with its folder.
        caller: what `caller` is given.
        agent: what `agent` is given.

    Raises:
        OSError: the file cannot be made. Blocks: call it in a thread.
        ConfigError: the two rates differ, and ``samplerate`` is not installed.
    """

    def __init__(self, path: Path, caller: AudioFormat, agent: AudioFormat) -> None:
        self.path = path
        self._rate = max(caller.rate, agent.rate)
        common = AudioFormat("linear16", self._rate)
        self._caller = _Side(caller, Converter(caller, common), 0)
        self._agent = _Side(agent, Converter(agent, common), 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("w+b")
        self._frames = 0
        self._start: float | None = None
        self._error: OSError | None = None
        self._handed: queue.SimpleQueue[list[tuple[_Side, list[Heard]]] | None] = (
            queue.SimpleQueue()
        )
        self._told = False
        self._write_header()
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)

    def begin(self, start: float) -> None:
        """The call begins, at ``start`` seconds of the clock that all times here are on."""
        self._start = start
        self._thread.start()

    def caller(self, at: float, data: bytes) -> None:
        """The caller was heard from ``at`` on. Never blocks."""
        self._take(self._caller, at, data)

    def agent(self, at: float, data: bytes) -> None:
        """The agent was heard from ``at`` on. Never blocks."""
        self._take(self._agent, at, data)

    def close(self, end: float) -> None:
        """Write the rest, up to ``end`` seconds. A call that never began leaves no file.

        Blocks: call it in a thread.

        Raises:
            OSError: something could not be written; what was written before is there.
        """
        if self._start is None:
            self._file.close()
            self.path.unlink(missing_ok=True)
            return
        self._hand_over()
        self._handed.put(None)
        self._thread.join()
        with self._file:
            if self._error is not None:
                raise self._error
            self._frames = min(_LARGEST, max(0, round((end - self._start) * self._rate)))
            self._file.truncate(_HEADER.size + _FRAME * self._frames)
            self._write_header()

    # ------------------------------------------------------------------------ on the event loop

    def _take(self, side: _Side, at: float, data: bytes) -> None:
        if side.end is not None:
            at = side.end if abs(at - side.end) < SEAM else max(at, side.end)
        side.end = at + side.form.seconds(len(data))
        side.waiting.append(Heard(at, data))
        if side.end - side.waiting[0].time >= BATCH:
            self._hand_over()

    def _hand_over(self) -> None:
        batch = [(side, side.waiting) for side in (self._caller, self._agent)]
        self._caller.waiting, self._agent.waiting = [], []
        if self._handed.qsize() * BATCH < MOST_WAITING:
            self._handed.put(batch)
        elif not self._told:
            self._told = True
            log.warning("the disk is too slow for the recording: it has a gap", path=str(self.path))

    # --------------------------------------------------------------------------- on its thread

    def _run(self) -> None:
        while (batch := self._handed.get()) is not None:
            if self._error is not None:
                continue
            try:
                for side, stretches in batch:
                    self._lay(side, stretches)
                self._write_header()
                self._file.flush()
            except OSError as error:
                self._error = error

    def _lay(self, side: _Side, stretches: list[Heard]) -> None:
        """Write stretches to where they belong, those that follow one another as one."""
        assert self._start is not None  # noqa: S101
        joined = bytearray()
        for at, data in stretches:
            begin = round((at - self._start) * self._rate)
            gap = begin - side.next - len(joined) // 2
            if gap > SEAM * self._rate:
                self._put(side, bytes(joined) + side.convert.flush())
                side.next, joined = begin, bytearray()
            joined += side.convert.convert(data)
        self._put(side, bytes(joined))

    def _put(self, side: _Side, data: bytes) -> None:
        """Write samples of one side, and leave the other side's beside them as they are."""
        skipped, at = max(0, -side.next), max(0, side.next)
        samples = array("h", data)[skipped : skipped + max(0, _LARGEST - at)]
        side.next += len(data) // 2
        if not samples:
            return
        place = _HEADER.size + _FRAME * at
        self._file.seek(place)
        there = self._file.read(_FRAME * len(samples))
        both = array("h", there + bytes(_FRAME * len(samples) - len(there)))
        both[side.channel :: 2] = samples
        self._file.seek(place)
        self._file.write(both.tobytes())
        self._frames = max(self._frames, at + len(samples))

    def _write_header(self) -> None:
        size = _FRAME * self._frames
        form = (16, 1, 2, self._rate, _FRAME * self._rate, _FRAME, 16)
        self._file.seek(0)
        self._file.write(
            _HEADER.pack(b"RIFF", _HEADER.size - 8 + size, b"WAVE", b"fmt ", *form, b"data", size)
        )
