"""What a caller says, and when: cue sheets, and the caller who says them.

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

import math
import tomllib
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import first_sound
from agentkit.errors import ConfigError
from agentkit.transports.playout import Playout

FRAME = 0.02
"""Seconds of the caller's audio in one frame, as phone carriers send it."""

_SLACK = 1e-6
"""Seconds by which sums of floating-point times may differ."""


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
        self._silence = audio.silence(FRAME)
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
