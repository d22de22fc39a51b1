"""A call whose caller is a cue sheet of WAV files, and whose sound is written to one.

The caller speaks by cues: a file, or a text for another voice, and when it comes. A cue waits for
what the agent does rather than for a time, so that a conversation holds on a slow machine as on a
fast one. What the agent says is heard through a `Playout`, so that audio which was cleared before
it was heard is not in the recording. Both are written on one time axis, as a stereo WAV file with
the caller on the left and the agent on the right.

A cue sheet is a TOML file (`load_cues`):

    [[cue]]
    text = "Hello, I would like to book an appointment"
    after_agent = 0.6           # so many seconds after the agent has finished; the default

    [[cue]]
    text = "on Tuesday morning."
    pause = 0.8                 # so many seconds after the cue before, whatever the agent does

    [[cue]]
    audio = "no_wait.wav"       # a file beside the cue sheet
    into_reply = 1.2            # so many seconds after the agent's first sound

    [[cue]]
    text = "Thank you, goodbye."
    at = 30.0                   # so many seconds into the call
"""

from __future__ import annotations

import asyncio
import bisect
import math
import struct
import tomllib
import wave
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, assert_never

from agentkit.audio.formats import AudioFormat, Encoding
from agentkit.audio.frames import first_sound
from agentkit.errors import ConfigError, TransportError
from agentkit.transports.base import Transport, TransportSink

_FRAME = 0.02
"""Seconds of the caller's audio in one frame, as phone carriers send it."""

_SLACK = 1e-6
"""Seconds by which sums of floating-point times may differ."""


# ------------------------------------------------------------------------------------ playout


class Heard(NamedTuple):
    """Audio that was heard from ``time`` on, in seconds of the event loop's clock."""

    time: float
    data: bytes


class Playout:
    """A loudspeaker with a queue, on the running event loop's clock.

    What is queued is heard in order, without a gap where it comes in time. All times are worked
    out when it is queued: there is no task, and one timer, for the next mark.

    Args:
        audio: what is queued.
        marked: takes the name of each mark, in order, once what was queued before it was heard.
            It is called by the loop, never from inside `mark` or `clear`.
        delay: gives the seconds that the next thing needs to get there. Order is kept.
        back: seconds that a mark needs to get back.
        buffer: seconds of audio that are gathered before it begins, each time it had run empty.
        echo: whether a clear returns the marks that were pending; otherwise they are dropped.
    """

    def __init__(
        self,
        audio: AudioFormat,
        marked: Callable[[str], None],
        *,
        delay: Callable[[], float] = lambda: 0.0,
        back: float = 0.0,
        buffer: float = 0.0,
        echo: bool = True,
    ) -> None:
        self.end = -math.inf
        """When all that was queued is over; in the past if nothing is being played."""
        self._audio = audio
        self._marked = marked
        self._delay = delay
        self._back = back
        self._buffer = buffer
        self._echo = echo
        self._heard: list[Heard] = []
        self._marks: deque[tuple[float, str]] = deque()
        self._arrived = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    def play(self, data: bytes) -> None:
        """Queue audio."""
        arrived = self._arrive()
        start = self.end if self.end >= arrived else arrived + self._buffer
        self._heard.append(Heard(start, data))
        self.end = start + self._audio.seconds(len(data))

    def mark(self, name: str) -> None:
        """Call ``marked`` once all that is queued so far was heard."""
        self._marks.append((max(self._arrive(), self.end), name))
        self._arm()

    def clear(self) -> float:
        """Drop what has not been heard when this gets there; return that time."""
        cut = self._arrive()
        self._drop(cut)
        if self._echo:
            self._marks = deque((min(at, cut), name) for at, name in self._marks)
        else:
            self._marks = deque((at, name) for at, name in self._marks if at <= cut)
        self._disarm()
        self._arm()
        return cut

    def stop(self) -> None:
        """The line is dead: what was not heard by now never is, and no mark comes back."""
        self._drop(asyncio.get_running_loop().time())
        self._marks.clear()
        self._disarm()

    def heard(self, until: float) -> list[Heard]:
        """All that was heard by then, oldest first."""
        found = self._heard[: bisect.bisect_left(self._heard, until, key=_time)]
        if found:
            found[-1] = self._until(found[-1], until)
        return found

    def first_sound(self, after: float, until: float) -> float | None:
        """When the first sound between two times was heard, or None."""
        begin = max(0, bisect.bisect_right(self._heard, after, key=_time) - 1)
        for time, data in self._heard[begin:]:
            if time > until:
                break
            skipped = self._audio.size(max(0.0, after - time))
            if (sound := first_sound(data[skipped:], self._audio)) is not None:
                at = time + self._audio.seconds(skipped + sound)
                return at if at <= until else None
        return None

    def _arrive(self) -> float:
        now = asyncio.get_running_loop().time()
        self._arrived = max(self._arrived, now + self._delay())
        return self._arrived

    def _until(self, heard: Heard, cut: float) -> Heard:
        return Heard(heard.time, heard.data[: self._audio.size(cut - heard.time)])

    def _drop(self, cut: float) -> None:
        while self._heard and self._heard[-1].time >= cut:
            self._heard.pop()
        if self._heard:
            self._heard[-1] = self._until(self._heard[-1], cut)
        self.end = min(self.end, cut)

    def _arm(self) -> None:
        if self._timer is None and self._marks:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._marks[0][0] + self._back, self._due)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time() + _SLACK
        while self._marks and self._marks[0][0] + self._back <= now:
            self._marked(self._marks.popleft()[1])
        self._arm()


def _time(heard: Heard) -> float:
    return heard.time


# ---------------------------------------------------------------------------------- WAV files

_TAGS: dict[tuple[int, int], Encoding] = {(1, 16): "linear16", (6, 8): "alaw", (7, 8): "mulaw"}
"""Format tag and bits a sample, as in the RIFF registry (WAVE_FORMAT_PCM, _ALAW, _MULAW)."""
_EXTENSIBLE = 0xFFFE


def read_wav(path: Path) -> tuple[AudioFormat, bytes]:
    """Read a WAV file: 16-bit, mu-law or A-law, any rate; of several channels the first.

    (The standard library's `wave` reads 16-bit files only.)

    Raises:
        TransportError: the file cannot be read, or is of another kind.
    """
    try:
        file = path.read_bytes()
        head, samples = _chunks(file)
        tag, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", head)
        if tag == _EXTENSIBLE:
            (tag,) = struct.unpack_from("<H", head, 24)
    except (OSError, KeyError, struct.error) as error:
        raise TransportError(f"{path} cannot be read as a WAV file: {error}") from error
    encoding = _TAGS.get((tag, bits))
    if encoding is None:
        raise TransportError(
            f"{path} has samples of {bits} bits, format {tag}: "
            f"make it 16-bit, e.g. with `sox {path.name} -b 16 -e signed out.wav`"
        )
    audio = AudioFormat(encoding, rate)
    samples = samples[: len(samples) // frame * frame]
    if channels > 1:
        parts = array("H" if audio.sample_bytes == 2 else "B", samples)
        samples = parts[::channels].tobytes()
    return audio, samples


def _chunks(file: bytes) -> tuple[bytes, bytes]:
    """The format and the samples. Raises KeyError with the name of what is missing."""
    if file[:4] != b"RIFF" or file[8:12] != b"WAVE":
        raise KeyError("RIFF header")
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(file):
        name, size = struct.unpack_from("<4sI", file, at)
        found.setdefault(name, file[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return found[b"fmt "], found[b"data"]


@dataclass(frozen=True, slots=True)
class Track:
    """One side of a call: stretches of audio and when each began."""

    audio: AudioFormat
    heard: Sequence[Heard]

    def laid(self, start: float, end: float) -> bytes:
        """The whole of it from ``start`` to ``end`` seconds, with silence between stretches."""
        size = self.audio.sample_bytes
        line = bytearray(self.audio.silence(end - start))
        whole = len(line)
        at = 0
        for time, data in self.heard:
            begin = round((time - start) * self.audio.rate) * size
            if abs(begin - at) > size:  # else it goes on where the last one ended
                at = max(begin, at)
            line[at : at + len(data)] = data
            at += len(data)
        return bytes(line[:whole])


def write_call(path: Path, caller: Track, agent: Track, start: float, end: float) -> None:
    """Write a call as a 16-bit stereo WAV file, caller left and agent right.

    Both sides are at the higher of their rates. Blocks: call it in a thread.
    """
    rate = max(caller.audio.rate, agent.audio.rate)
    common = AudioFormat("linear16", rate)
    left, right = (
        array("h", _convert(track.laid(start, end), track.audio, common))
        for track in (caller, agent)
    )
    both = array("h", bytes(4 * max(len(left), len(right))))
    both[: 2 * len(left) : 2] = left
    both[1 : 1 + 2 * len(right) : 2] = right
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(both.tobytes())


def _convert(data: bytes, given: AudioFormat, wanted: AudioFormat) -> bytes:
    if given == wanted:
        return data
    from agentkit.audio.resample import convert

    return convert(data, given, wanted)


# --------------------------------------------------------------------------------------- cues


@dataclass(frozen=True, slots=True)
class AfterAgent:
    """So many seconds after the agent has finished.

    It has finished when it was heard after the cue before, and nothing is being played any more.
    """

    seconds: float = 0.6


@dataclass(frozen=True, slots=True)
class IntoReply:
    """So many seconds after the agent's first sound after the cue before.

    If the agent finishes sooner, the cue comes then.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class AfterCaller:
    """So many seconds after the cue before has ended, whatever the agent does."""

    seconds: float


@dataclass(frozen=True, slots=True)
class At:
    """So many seconds into the call."""

    seconds: float


When = AfterAgent | IntoReply | AfterCaller | At


@dataclass(frozen=True, slots=True)
class Cue:
    """Something that the caller says.

    Args:
        audio: a WAV file, or raw audio in the transport's ``input`` format.
        when: it is said then, but never before the cue before it is over.
        text: what to say in another voice; instead of ``audio``.
    """

    audio: Path | bytes | None = None
    when: When = AfterAgent()
    text: str | None = None

    def __post_init__(self) -> None:
        if (self.audio is None) == (self.text is None):
            raise ConfigError("cue", "give it either `audio`, a WAV file, or `text`")
        if not 0 <= self.when.seconds < math.inf:
            raise ConfigError("cue", f"{self.when.seconds} is no time to wait: 0 or more seconds")


_WHEN: dict[str, Callable[[float], When]] = {
    "after_agent": AfterAgent,
    "into_reply": IntoReply,
    "pause": AfterCaller,
    "at": At,
}


def load_cues(path: Path) -> list[Cue]:
    """Read a cue sheet; the form is at the head of this module.

    Raises:
        ConfigError: the file cannot be read or says something else; names the cue and the key.
    """
    try:
        sheet = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), f"cannot be read as TOML: {error}") from error
    cues = sheet.pop("cue", None)
    if sheet or not isinstance(cues, list) or not cues:
        raise ConfigError(str(path), "a cue sheet is one [[cue]] after another, nothing else")
    return [_cue(cue, f"{path}, cue {n}", path.parent) for n, cue in enumerate(cues, 1)]


def _cue(given: Any, where: str, folder: Path) -> Cue:
    known = ("audio", "text", *_WHEN)
    if not isinstance(given, dict) or given.keys() - set(known):
        raise ConfigError(where, f"the keys of a cue are {', '.join(known)}")
    times = [key for key in _WHEN if key in given]
    if len(times) > 1:
        raise ConfigError(where, f"give only one of {', '.join(times)}")
    audio, text = _read(given, "audio", where, str), _read(given, "text", where, str)
    when: When = AfterAgent()
    if times:
        when = _WHEN[times[0]](_read(given, times[0], where, int, float))
    try:
        return Cue(None if audio is None else folder / audio, when, text)
    except ConfigError as error:
        raise ConfigError(where, error.problem) from None


def _read(given: dict[str, Any], key: str, where: str, *kinds: type) -> Any:
    value = given.get(key)
    if value is not None and type(value) not in kinds:
        wanted = "a text in quotation marks" if str in kinds else "a number of seconds"
        raise ConfigError(f"{where}, {key}", f"{value!r} is not {wanted}")
    return value


class Caller:
    """Says the cues, a frame at a time. Reads no clock.

    Args:
        lines: when each is said, and its audio.
        audio: what the lines are in.
        agent: what the caller hears.
        quiet: the agent has finished when nothing was played for so long, in seconds.
        linger: with all cues said, the caller hangs up after so long without a word.
        patience: an agent that does not answer at all is waited for so long.
    """

    def __init__(
        self,
        lines: Sequence[tuple[When, bytes]],
        audio: AudioFormat,
        agent: Playout,
        *,
        quiet: float,
        linger: float,
        patience: float,
    ) -> None:
        self.said: list[float] = []
        """When each cue began, in seconds."""
        self._lines = deque(lines)
        self._audio = audio
        self._agent = agent
        self._quiet = quiet
        self._linger = linger
        self._patience = patience
        self._silence = audio.silence(_FRAME)
        self._line = b""
        self._at = 0
        self._start: float | None = None
        self._spoke = 0.0
        self._answer: float | None = None

    def frame(self, now: float) -> bytes | None:
        """The caller's next frame, which begins now; None: the caller hangs up."""
        if self._start is None:
            self._start = self._spoke = now
        if self._at >= len(self._line):
            if not self._lines and self._is_finished(now, self._linger):
                return None
            if not self._lines or not self._is_due(self._lines[0][0], now):
                return self._silence
            self._begin(self._lines.popleft()[1], now)
        data = self._line[self._at : self._at + len(self._silence)]
        self._at += len(self._silence)
        return data + self._silence[len(data) :]

    def _begin(self, line: bytes, now: float) -> None:
        self.said.append(now)
        self._line = line
        self._at = 0
        self._spoke = now + self._audio.seconds(_sound_end(line, self._audio))
        self._answer = None

    def _is_due(self, when: When, now: float) -> bool:
        now += _SLACK
        match when:
            case At(seconds):
                return now >= (self._start or 0.0) + seconds
            case AfterCaller(seconds):
                return now >= self._spoke + seconds
            case AfterAgent(seconds):
                return self._is_finished(now, seconds)
            case IntoReply(seconds):
                answer = self._answered(now)
                into = answer is not None and now >= answer + seconds
                return into or self._is_finished(now, self._quiet)
            case _:
                assert_never(when)

    def _is_finished(self, now: float, seconds: float) -> bool:
        """The agent has answered the last cue, and is quiet since so long."""
        seconds = max(seconds, self._quiet)
        if self._answered(now) is None:
            seconds = max(seconds, self._patience)
        return now >= max(self._agent.end, self._spoke) + seconds

    def _answered(self, now: float) -> float | None:
        if self._answer is None:
            self._answer = self._agent.first_sound(self._spoke, now)
        return self._answer


def _sound_end(line: bytes, audio: AudioFormat) -> int:
    """Where the last sound ends, in bytes; a line without any is sound to its end."""
    samples = array("H" if audio.sample_bytes == 2 else "B", line)
    samples.reverse()
    return len(line) - (first_sound(samples.tobytes(), audio) or 0)


# ---------------------------------------------------------------------------------- transport


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
        step = self.input.seconds(self.input.size(_FRAME))
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
        self._finish("agent hung up")

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
    return _convert(samples, given, wanted)
