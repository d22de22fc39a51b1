"""A conversation at the desk: this machine's microphone and loudspeaker."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from pathlib import Path
from typing import Literal

import structlog

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import loudness
from agentkit.audio.resample import Converter
from agentkit.errors import ConfigError, TransportError
from agentkit.transports.base import AGENT_HUNG_UP, Transport, TransportSink
from agentkit.transports.echo import (
    FORMAT,
    TAIL,
    TAIL_AFTER_CLEAR,
    EchoControl,
    FullDuplex,
    HalfDuplex,
    has_canceller,
)
from agentkit.transports.recording import CallRecording
from agentkit.transports.rings import Doorbell, Handed
from agentkit.transports.soundcard import (
    WAYS,
    Device,
    Direction,
    SoundCard,
    device_table,
    list_devices,
)

__all__ = ["DesktopTransport", "Device", "device_table", "list_devices"]

log = structlog.get_logger(__name__)

Duplex = Literal["full", "half"]

GONE_AFTER = 2.0
"""Seconds without a buffer after which a device is taken for unplugged."""
ALL_ZERO_FOR = 2.0
"""Seconds of a microphone that gives nothing but zeros, after which that is said."""
LATE_OFTEN = 10
"""Late buffers after which it is said that they should be longer."""
SHORTEST, LONGEST = 0.01, 0.2
"""Seconds of a buffer."""
LEVEL_OVER = 0.1
"""Seconds of sound that its level is taken over."""


class DesktopTransport(Transport):
    """The microphone and the loudspeaker of this machine, by PyAudio (``agentkit[desktop]``).

    Both run at a rate of their own. What was heard comes from the card's own clock.

    Args:
        input: the microphone: an index, or a name or a part of one; None: the system's default.
        output: the loudspeaker, likewise.
        duplex: ``full``: the agent's voice is taken out of what the microphone hears, so that the
            caller may talk over it on loudspeakers. ``half``: the agent does not listen while it
            speaks. None: full where the echo canceller is installed.
        caller: what the session gets.
        voice: what `play` takes; the voice's own format spares a conversion.
        buffer: 0.01 to 0.2 s. Within two buffers of a clear and a fade the room is silent; what
            the microphone hears is with the session within one. Half of it changes hands at a
            time, see `SoundCard`: where Python is later than that, it stutters.
        recording: where the call is written while it goes on, as stereo WAV; None: nowhere.

    Raises:
        ConfigError: a value is out of its range, or the echo canceller is not installed.
    """

    def __init__(
        self,
        *,
        input: int | str | None = None,
        output: int | str | None = None,
        duplex: Duplex | None = None,
        caller: AudioFormat | None = None,
        voice: AudioFormat | None = None,
        buffer: float = 0.02,
        recording: Path | None = None,
    ) -> None:
        if not SHORTEST <= buffer <= LONGEST:
            raise ConfigError("buffer", f"{buffer:g} s is not within {SHORTEST:g} and {LONGEST:g}")
        if duplex not in ("full", "half", None):
            raise ConfigError("duplex", f"{duplex!r} is not one of 'full', 'half'")
        self.input = caller or AudioFormat()
        self.output = voice or AudioFormat()
        self._wanted = duplex
        self.duplex: Duplex = duplex or ("full" if has_canceller() else "half")
        self._echo: EchoControl = FullDuplex() if self.duplex == "full" else HalfDuplex()
        self._card = SoundCard(input, output, buffer=buffer)
        self._path = recording
        self._recording: CallRecording | None = None
        self._sink: TransportSink | None = None
        self._over: asyncio.Future[str] | None = None
        self._marks: deque[tuple[int, str]] = deque()
        self._heard_marks: deque[tuple[float, str]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._cleared_to = self._handed_to = 0
        self._playing_until = -TAIL
        self._tail = TAIL
        self._zeros: float | None = 0.0
        self._warned = False
        self._slips = 0
        self._counted: dict[Direction, tuple[int, float]] = dict.fromkeys(WAYS, (-1, 0.0))
        self._watched = 0.0
        self._latest = {way: bytearray() for way in WAYS}
        self._end = 0.0

    @property
    def devices(self) -> tuple[Device, Device]:
        """The microphone and the loudspeaker. Known once `connect` has returned."""
        return self._card.microphone.device, self._card.loudspeaker.device

    @property
    def statuses(self) -> Counter[str]:
        """Buffers that came late, by what PortAudio calls it; those that nobody took in time."""
        found = Counter(self._card.statuses)
        if self._card.dropped:
            found["microphone dropped"] = self._card.dropped
        return found

    def describe(self) -> str:
        """What is used, and what that means for who speaks. Known once `connect` has returned."""
        microphone, loudspeaker = (device.name for device in self.devices)
        duplex = {
            "full": "full duplex: talk over it whenever you like",
            "half": "half duplex: it does not listen while it speaks",
        }[self.duplex]
        if self._wanted is None and self.duplex == "half":
            duplex += " (pip install 'agentkit[desktop]' brings the echo canceller)"
        return f"microphone: {microphone}, loudspeaker: {loudspeaker}; {duplex}"

    def level(self, way: Direction) -> float:
        """How loud it was just now, in dB of full scale: -96 is silence, -3 a full tone.

        Args:
            way: ``input``: what the microphone hears; ``output``: what the loudspeaker is given.
        """
        return loudness(bytes(self._latest[way]))

    async def connect(self) -> None:
        """Open both devices. The second time it does nothing.

        Raises:
            ConfigError: PyAudio is not installed.
            TransportError: there is no such device, or it cannot be used; the message says why.
                Or the recording cannot be written.
        """
        if self._over is not None:
            return
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._card.open)
        if self._path is not None:
            try:
                self._recording = await asyncio.to_thread(
                    CallRecording, self._path, self.input, self.output
                )
            except OSError as error:
                raise self._unwritten(error) from error
        self._over = self._loop.create_future()
        heard, sounds = self._card.microphone.format, self._card.loudspeaker.format
        self._to_echo = Converter(heard, FORMAT)
        self._to_session = Converter(FORMAT, self.input)
        self._to_card = Converter(self.output, sounds)
        self._to_far = Converter(sounds, FORMAT)
        self._to_recording = Converter(sounds, self.output)

    async def run(self, sink: TransportSink) -> str:
        """Listen and speak until the call is over.

        Returns:
            ``agent hung up``, ``caller hung up`` or ``closed``.

        Raises:
            TransportError: a device was unplugged.
        """
        assert self._over is not None  # noqa: S101
        self._sink = sink
        if self._recording is not None:
            self._recording.begin(self._loop.time())
        bell = Doorbell(self._loop, self._answer)
        await asyncio.to_thread(self._card.start, self._loop.time, bell.ring)
        self._watch()
        try:
            return await self._over
        finally:
            self._watching.cancel()

    def play(self, data: bytes) -> None:
        """Queue audio, whole samples."""
        if self._handed_to >= self._card.queued:
            self._to_card.reset()  # what it holds back of before would come too late
        self._tail = TAIL
        self._card.play(self._to_card.convert(data))

    def mark(self, name: str) -> None:
        """Ask for `TransportSink.marked`; a clear drops those that are pending."""
        self._marks.append((self._card.queued, name))
        if self._card.queued <= max(self._handed_to, self._cleared_to):
            self._loop.call_soon(self._pass_marks, None)

    def clear(self) -> None:
        """Fade out where the card takes on; what it has by now it plays, about a buffer."""
        self._card.clear()
        self._to_card.reset()
        self._cleared_to = self._card.queued
        self._tail = TAIL_AFTER_CLEAR
        self._marks.clear()
        self._heard_marks.clear()

    def call_is_over(self) -> None:
        """The caller has said elsewhere, e.g. by Ctrl-C, that they are done: `run` returns."""
        self._finish("caller hung up")

    async def hang_up(self) -> None:
        """End the call from our side."""
        self._finish(AGENT_HUNG_UP)

    async def aclose(self) -> None:
        """End the call, let go of the card, and write the rest of the recording.

        Raises:
            TransportError: the recording could not be written.
        """
        self._finish("closed")
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.to_thread(self._card.close)
        recording, self._recording = self._recording, None
        if recording is None:
            return
        try:
            await asyncio.to_thread(recording.close, self._end)
        except OSError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> TransportError:
        return TransportError(f"the recording {self._path} cannot be written: {error}")

    # ---------------------------------------------------------------- what the card's threads left

    def _answer(self) -> None:
        handed, buffers = self._card.take()
        if (slips := self.statuses.total()) != self._slips:
            self._slips = slips
            self._echo.slipped()
        for buffer in handed:
            self._handed(buffer)
            self._keep("output", buffer.data, self._card.loudspeaker.format)
        for data in buffers:
            self._hear(data)
            self._keep("input", data, self._card.microphone.format)

    def _keep(self, way: Direction, data: bytes, form: AudioFormat) -> None:
        latest = self._latest[way]
        latest += data
        del latest[: -form.size(LEVEL_OVER)]

    def _handed(self, buffer: Handed) -> None:
        """The loudspeaker was given a buffer."""
        self._echo.played(self._to_far.convert(buffer.data))
        if not buffer.audio:
            return
        sounds = self._card.loudspeaker.format
        self._handed_to = buffer.position
        self._playing_until = buffer.heard_at + sounds.seconds(buffer.audio)
        if self._recording is not None:
            spoken = self._to_recording.convert(buffer.data[: buffer.audio])
            self._recording.agent(buffer.heard_at, spoken)
        self._pass_marks(buffer)

    def _pass_marks(self, buffer: Handed | None) -> None:
        """Marks whose audio the card has by now are due when that is heard."""
        reached = max(self._handed_to, self._cleared_to)
        while self._marks and self._marks[0][0] <= reached:
            position, name = self._marks.popleft()
            due = self._playing_until
            if buffer is not None:
                due -= self._card.loudspeaker.format.seconds(max(0, buffer.position - position))
            self._heard_marks.append((due, name))
        self._arm()

    def _arm(self) -> None:
        if self._timer is None and self._heard_marks:
            self._timer = self._loop.call_at(self._heard_marks[0][0], self._due)

    def _due(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._heard_marks and self._heard_marks[0][0] <= now:
            name = self._heard_marks.popleft()[1]
            if self._sink is not None and not self._is_over:
                self._sink.marked(name)
        self._arm()

    def _hear(self, data: bytes) -> None:
        """The microphone heard a buffer."""
        if self._is_over or self._sink is None:
            return
        now = self._loop.time()
        self._watch_for_zeros(data)
        playing = now < self._playing_until + self._tail
        clean = self._echo.heard(self._to_echo.convert(data), playing)
        if clean := self._to_session.convert(clean):
            if self._recording is not None:
                self._recording.caller(now - self.input.seconds(len(clean)), clean)
            self._sink.audio(clean)

    # ------------------------------------------------------------------------------- what may fail

    @property
    def _is_over(self) -> bool:
        return self._over is None or self._over.done()

    def _finish(self, reason: str) -> None:
        if self._over is not None and not self._over.done():
            self._end = self._loop.time()
            self._over.set_result(reason)

    def _watch(self) -> None:
        """A device that is unplugged says nothing: its thread only stops calling.

        Nor does it while this whole process is stopped (Ctrl-Z), which is forgiven.
        """
        now = self._loop.time()
        stopped = now - self._watched > GONE_AFTER
        self._watched = now
        for way, device in zip(self._counted, self.devices, strict=True):
            count, since = self._counted[way]
            if self._card.buffers[way] != count or stopped:
                self._counted[way] = self._card.buffers[way], now
            elif now - since >= GONE_AFTER:
                self._fail(f"{device.name!r} does not answer any more: was it unplugged?")
                return
        late = self._card.statuses.total()
        if late >= LATE_OFTEN and not self._warned:
            self._warned = True
            log.warning("sound comes late on this machine: try longer buffers", buffers=late)
        self._watching = self._loop.call_later(GONE_AFTER / 4, self._watch)

    def _watch_for_zeros(self, data: bytes) -> None:
        """A microphone that may not be used gives zeros; a real one at least hisses."""
        if self._zeros is None:
            return
        if data.count(0) < len(data):
            self._zeros = None
            return
        self._zeros += self._card.microphone.format.seconds(len(data))
        if self._zeros >= ALL_ZERO_FOR:
            self._zeros = None
            log.warning(
                "the microphone gives nothing but silence: it may be muted, or this program may"
                " not use it (on macOS: System Settings, Privacy & Security, Microphone)",
                microphone=self.devices[0].name,
            )

    def _fail(self, message: str) -> None:
        if self._over is not None and not self._over.done():
            self._end = self._loop.time()
            self._over.set_exception(TransportError(message))
