"""The settings of turn-taking, with the defaults of the rules. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agentkit.errors import ConfigError


def _positive(owner: str, **values: float) -> None:
    for name, value in values.items():
        if value < 0:
            raise ConfigError(f"{owner}.{name}", f"{value} is negative; give 0 or more")


@dataclass(frozen=True, slots=True)
class Speculation:
    """How far replies are drafted before their turn is over (T2, T8).

    Args:
        depth: ``off``; ``llm``: the text only; ``speech``: the text, and the first audio.
        max_drafts: new drafts in one turn.
        max_turn: no draft once the caller has spoken this long in one turn.
        max_characters: text given to the voice ahead of the commit.
    """

    depth: Literal["off", "llm", "speech"] = "speech"
    max_drafts: int = 3
    max_turn: float = 10.0
    max_characters: int = 120

    def __post_init__(self) -> None:
        if self.depth not in ("off", "llm", "speech"):
            raise ConfigError(
                "speculation.depth", f"{self.depth!r} is not one of 'off', 'llm', 'speech'"
            )
        _positive(
            "speculation",
            max_drafts=self.max_drafts,
            max_turn=self.max_turn,
            max_characters=self.max_characters,
        )


@dataclass(frozen=True, slots=True)
class Interruption:
    """When the caller takes the floor (T17).

    Args:
        resume_after: held playout goes on when no new words came for this long.
        backchannels: sounds of attention by language, case-folded. A phrase counts as one.
        answer_within: with less of the reply unheard than this, a listed word is an answer.
    """

    resume_after: float = 1.0
    answer_within: float = 1.0
    backchannels: dict[str, frozenset[str]] = field(
        default_factory=lambda: {
            "en": frozenset(
                {
                    "mm-hm", "mm hm", "mmhm", "mhm", "mm-hmm", "mm hmm", "mmhmm", "mm", "hmm",
                    "hm", "uh-huh", "uh huh", "uhuh", "uhhuh", "ah", "aha", "oh", "yeah", "yep",
                    "yup", "yes", "okay", "ok", "right", "sure", "i see", "got it", "all right",
                    "alright", "oh okay", "oh ok", "oh i see", "go on",
                }
            )
        }
    )  # fmt: skip

    def __post_init__(self) -> None:
        _positive("interruption", resume_after=self.resume_after, answer_within=self.answer_within)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take.

    Args:
        settle: a turn can be taken back until so long after its end (T11).
        takeback: an utterance that began so soon after the first sound continues its turn (T11).
        first_text: a committed reply without text is asked for again after this (T7).
        attempts: how often a committed reply is begun at most.
        end_of_turn: with the source gone, words without a sequel end their turn (T14).
        stalled_turn: an open turn without progress for so long means a lost connection (T14).
        goodbye: how long a hang-up waits for what is being said to be heard.
    """

    settle: float = 0.6
    takeback: float = 0.3
    first_text: float = 2.0
    attempts: int = 2
    end_of_turn: float = 5.0
    stalled_turn: float = 20.0
    goodbye: float = 10.0

    def __post_init__(self) -> None:
        _positive(
            "limits",
            settle=self.settle,
            takeback=self.takeback,
            first_text=self.first_text,
            end_of_turn=self.end_of_turn,
            stalled_turn=self.stalled_turn,
            goodbye=self.goodbye,
        )
        if self.attempts < 1:
            raise ConfigError("limits.attempts", f"{self.attempts} is less than 1")


@dataclass(frozen=True, slots=True)
class Policy:
    """All settings of the turn machine.

    Args:
        hedge: a late first token is asked for on a second connection (T7). Off for brains of
            the user's own, whose steps after the commit must run once.
        language: picks the word lists, e.g. ``en``.
    """

    speculation: Speculation = field(default_factory=Speculation)
    interruption: Interruption = field(default_factory=Interruption)
    limits: Limits = field(default_factory=Limits)
    hedge: bool = True
    language: str = "en"
