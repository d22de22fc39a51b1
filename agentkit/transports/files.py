"""A call whose caller is a cue sheet of WAV files, and whose sound is written to one.

The caller speaks by cues: a file, or a text for another voice, and when it comes. A cue waits for
what the agent does rather than for a time, so that a conversation holds on a slow machine as on a
fast one. What the agent says is heard through a `Playout`, so that audio which was cleared before
it was heard is not in the recording. Both are written on one time axis, as a stereo WAV file with
the caller on the left and the agent on the right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from agentkit.audio.formats import AudioFormat
from agentkit.errors import TransportError
from agentkit.transports.base import AGENT_HUNG_UP, Transport, TransportSink
from agentkit.transports.cues import (
    FRAME,
    AfterAgent,
    AfterCaller,
    At,
    Caller,
    Cue,
    IntoReply,
    When,
    load_cues,
)
from agentkit.transports.playout import Heard, Playout
from agentkit.transports.wav import Track, converted, read_wav, write_call

__all__ = [
    "AfterAgent",
    "AfterCaller",
    "At",
    "Caller",
    "Cue",
    "FileTransport",
    "Heard",
    "IntoReply",
    "Playout",
    "Track",
    "load_cues",
    "read_wav",
    "write_call",
]

_SLACK = 1e-6
"""Seconds by which sums of floating-point times may differ."""


class FileTransport(Transport):
    """A caller made of cues; the call is written to a file.

    Args:
        cues: what the caller says, in order.
        recording: where the call is written when it is over, as stereo WAV; None: nowhere.
        input: what the caller's audio is turned into.
        output: what `play` takes; the voice's own format spares a conversion.
        speak: turns a cue's text into raw audio in the ``input`` format. Called before the call.
        quiet: the agent has finished when nothing was played for so long, in seconds.
        linger: with all cues said, the caller hangs up after so long without a word.
        patience: an agent that does not answer at all is waited for so long, in seconds.
        limit: the longest call, in seconds.
    """

    def __init__(
        self,
        cues: Iterable[Cue],
        *,
        recording: Path | None = None,
        input: AudioFormat | None = None,
        output: AudioFormat | None = None,
        speak: Callable[[str], Awaitable[bytes]] | None = None,
        quiet: float = 0.6,
        linger: float = 2.0,
        patience: float = 10.0,
        limit: float = 600.0,
    ) -> None:
        self.input = input or AudioFormat()
        self.output = output or AudioFormat()
        self.cues = tuple(cues)
        self.said: list[float] = []
        """When each cue began, in seconds of the event loop's clock."""
        self._recording = recording
        self._speak = speak
        self._quiet = quiet
        self._linger = linger
        self._patience = patience
        self._limit = limit
        self._lines: list[tuple[When, bytes]] = []
        self._playout = Playout(self.output, self._marked)
        self._heard: list[Heard] = []
        self._sink: TransportSink | None = None
        self._start: float | None = None
        self._end = 0.0
        self._reason: str | None = None

    async def connect(self) -> None:
        """Read the files and speak the texts. Raises TransportError."""
        self._lines = [(cue.when, await self._audio(cue)) for cue in self.cues]

    async def run(self, sink: TransportSink) -> str:
        """Say the cues in real time, frame by frame, until someone hangs up.

        The frames keep to a fixed schedule: after a stall those that are late come at once.

        Returns:
            ``caller hung up``, ``agent hung up``, ``longest call reached`` or ``closed``.
        """
        loop = asyncio.get_running_loop()
        self._sink = sink
        start = self._start = loop.time()
        caller = Caller(
            self._lines,
            self.input,
            self._playout,
            quiet=self._quiet,
            linger=self._linger,
            patience=self._patience,
        )
        self.said = caller.said
        step = self.input.seconds(self.input.size(FRAME))
        while self._reason is None:
            lasted = len(self._heard) * step
            begin = start + lasted
            if lasted >= self._limit - _SLACK:
                self._finish("longest call reached")
            elif (data := caller.frame(begin)) is None:
                self._finish("caller hung up")
            else:
                await asyncio.sleep(max(0.0, begin + step - loop.time()))
                if self._reason is None:
                    self._heard.append(Heard(begin, data))
                    sink.audio(data)
        return self._reason

    def play(self, data: bytes) -> None:
        """Queue audio for the caller's ear."""
        if self._reason is None and data:
            self._playout.play(data)

    def mark(self, name: str) -> None:
        """Ask for `TransportSink.marked`; a clear returns the marks that are pending."""
        if self._reason is None:
            self._playout.mark(name)

    def clear(self) -> None:
        """Drop what has not been heard; it will not be in the recording."""
        if self._reason is None:
            self._playout.clear()

    async def hang_up(self) -> None:
        """End the call from our side."""
        self._finish(AGENT_HUNG_UP)

    async def aclose(self) -> None:
        """End the call, and write the recording, if it ever began.

        Raises TransportError if it cannot be written.
        """
        self._finish("closed")
        path, self._recording = self._recording, None
        if path is not None and self._start is not None:
            caller = Track(self.input, self._heard)
            agent = Track(self.output, self._playout.heard(self._end))
            try:
                await asyncio.to_thread(write_call, path, caller, agent, self._start, self._end)
            except OSError as error:
                raise TransportError(f"the recording {path} cannot be written: {error}") from error

    async def _audio(self, cue: Cue) -> bytes:
        if isinstance(cue.audio, Path):
            return await asyncio.to_thread(_load, cue.audio, self.input)
        if cue.audio is not None:
            return cue.audio
        if self._speak is None:
            raise TransportError("a cue is a text, and no voice was given to speak it with")
        return await self._speak(cue.text or "")

    def _marked(self, name: str) -> None:
        if self._sink is not None:
            self._sink.marked(name)

    def _finish(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            self._end = asyncio.get_running_loop().time()
            self._playout.stop()


def _load(path: Path, wanted: AudioFormat) -> bytes:
    given, samples = read_wav(path)
    return converted(samples, given, wanted)
