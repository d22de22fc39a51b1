"""The settings of turn-taking, with the defaults of the rules. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agentkit.core.economy import Budget, Early, Mode, Pace, Prices, Tuning, at_least
from agentkit.core.wordlists import BACKCHANNELS, CLAIMS, COURTESY
from agentkit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Speculation:
    """How far replies are drafted before their turn is over, and what that may cost (T2, T8, T9).

    Args:
        depth: ``off``; ``llm``: the text only; ``speech``: the text, and the first audio.
        mode: ``off``: no draft is begun; ``fixed``: one is begun at each chance; ``adaptive``: at
            those that are worth it, by what this caller's pauses have shown (`Tuning`).
        max_drafts: new drafts in one turn.
        max_turn: no draft once the caller has spoken this long in one turn.
        max_characters: text given to the voice ahead of the commit.
        fit: when a draft still fits the final words (T4). ``same_words``: only if they are the
            same. ``courtesy``: also if they differ in nothing but listed words at their edges
            ("please", "thank you", "um").
        courtesy: these words by language, case-folded.
        early: drafts from words that have come to rest, before the turn may have ended.
        expected: of the answers that the agent expects to a question of its own, at most so many
            are drafted while it is asked and answered (`Session.listening`); 0: none.
        budget: what drafts may cost in a call.
        prices: what tokens and characters cost.
        tuning: how ``adaptive`` judges.
    """

    depth: Literal["off", "llm", "speech"] = "speech"
    mode: Mode = "fixed"
    max_drafts: int = 3
    max_turn: float = 10.0
    max_characters: int = 120
    fit: Literal["same_words", "courtesy"] = "same_words"
    courtesy: dict[str, frozenset[str]] = field(default_factory=lambda: dict(COURTESY), repr=False)
    early: Early = field(default_factory=Early)
    expected: int = 0
    budget: Budget = field(default_factory=Budget)
    prices: Prices = field(default_factory=Prices)
    tuning: Tuning = field(default_factory=Tuning)

    def __post_init__(self) -> None:
        if self.mode not in ("off", "fixed", "adaptive"):
            raise ConfigError(
                "speculation.mode", f"{self.mode!r} is not one of 'off', 'fixed', 'adaptive'"
            )
        if self.fit not in ("same_words", "courtesy"):
            raise ConfigError(
                "speculation.fit", f"{self.fit!r} is not one of 'same_words', 'courtesy'"
            )
        if self.depth not in ("off", "llm", "speech"):
            raise ConfigError(
                "speculation.depth", f"{self.depth!r} is not one of 'off', 'llm', 'speech'"
            )
        at_least(
            "speculation",
            max_drafts=self.max_drafts,
            max_turn=self.max_turn,
            max_characters=self.max_characters,
            expected=self.expected,
        )

    @property
    def drafts(self) -> bool:
        """Drafts are begun at all."""
        return self.depth != "off" and self.mode != "off"


@dataclass(frozen=True, slots=True)
class Interruption:
    """When the caller takes the floor (T17).

    ``Interruption(hold="words", unlisted=3)`` lets the agent talk on through short sounds that no
    list knows ("nice", "no way"); whoever says no word of ``claims`` has to say three words, and
    is yielded to about half a second later.

    Args:
        resume_after: held playout goes on when no new words came for this long.
        answer_within: with less of the reply unheard than this, a listed word is an answer.
        backchannels: sounds of attention by language, case-folded. A phrase counts as one.
        echo_words: so many words that the agent itself is saying at that moment are its echo,
            and interrupt nothing. 0: the line has no echo.
        judged: a function of the agent's own decides (`Agent.takes_floor`), before the lists do.
        hold: when playout stops. ``speech``: at once when the caller begins to speak, and it goes
            on if that takes no floor. ``words``: at the first words that ask for the floor, and for
            nothing else. A short answer ("Friday", "yes") lets the question be heard to its end,
            and is answered then. Before anything of a reply was heard it is held all the same.
        unlisted: so many words that are on no list take the floor. Fewer are undecided: an answer
            where a listed word would be one, else a sound of attention.
        claims: words and phrases that take the floor at once, however few there are, by language,
            case-folded. A question does so, too. With ``unlisted`` at 1 all words do.
    """

    resume_after: float = 1.0
    answer_within: float = 1.0
    backchannels: dict[str, frozenset[str]] = field(
        default_factory=lambda: dict(BACKCHANNELS), repr=False
    )
    echo_words: int = 2
    judged: bool = False
    hold: Literal["speech", "words"] = "speech"
    unlisted: int = 1
    claims: dict[str, frozenset[str]] = field(default_factory=lambda: dict(CLAIMS), repr=False)

    def __post_init__(self) -> None:
        if self.hold not in ("speech", "words"):
            raise ConfigError("interruption.hold", f"{self.hold!r} is not one of 'speech', 'words'")
        at_least("interruption", 1, unlisted=self.unlisted)
        at_least(
            "interruption",
            resume_after=self.resume_after,
            answer_within=self.answer_within,
            echo_words=self.echo_words,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take.

    Args:
        settle: a turn can be taken back until so long after its end (T11).
        takeback: an utterance that began so soon after the first sound continues its turn (T11).
        first_text: a committed reply without text is asked for again after this (T7).
        attempts: how often a committed reply is begun at most.
        end_of_turn: with the source gone, words without a sequel end their turn (T14). None: after
            the silence that ends a turn for the source itself.
        stalled_turn: an open turn without progress for so long means a lost connection (T14).
            None: four times the silence that ends a turn for the source, at least 3 s.
        stalled_reply: a reply of which nothing is left to be heard, and whose model or voice gives
            nothing more for so long, has failed (T7). 0: never. Tools have timeouts of their own;
            the agent's own code (`Agent.reply`, `Agent.prepare`, an iterator that is given to
            `Session.say`) takes what it takes.
        goodbye: how long a hang-up waits for what is being said to be heard.
        filler_after: silence after which a filler is said while a reply waits (T20).
        longest_turn: an open turn is ended by the machine after this (T23). 0: never.
        longest_call: the agent takes its leave after this (T23). 0: never.
    """

    settle: float = 0.6
    takeback: float = 0.3
    first_text: float = 2.0
    attempts: int = 2
    end_of_turn: float | None = None
    stalled_turn: float | None = None
    stalled_reply: float = field(default=10.0, metadata={"before": 0.0})
    goodbye: float = 10.0
    filler_after: float = 1.2
    longest_turn: float = 90.0
    longest_call: float = 3600.0

    def __post_init__(self) -> None:
        at_least(
            "limits",
            settle=self.settle,
            takeback=self.takeback,
            first_text=self.first_text,
            end_of_turn=self.end_of_turn,
            stalled_turn=self.stalled_turn,
            stalled_reply=self.stalled_reply,
            goodbye=self.goodbye,
            filler_after=self.filler_after,
            longest_turn=self.longest_turn,
            longest_call=self.longest_call,
        )
        if self.attempts < 1:
            raise ConfigError("limits.attempts", f"{self.attempts} is less than 1")


@dataclass(frozen=True, slots=True)
class Silence:
    """What becomes of a caller who says nothing after the agent has spoken (T23).

    Args:
        after: seconds of silence on both sides; None: the agent waits for ever.
        times: how often the caller is asked; after one more silence the agent takes its leave.
        lines: what is asked, the first time, the second, ...; the last one stands for those that
            follow. Empty: `Agent.on_silence` is called and nothing is said.
        farewell: said before the agent hangs up.
    """

    after: float | None = None
    times: int = 2
    lines: tuple[str, ...] = ("Are you still there?",)
    farewell: str = "I cannot hear you, so I will hang up now. Goodbye."

    def __post_init__(self) -> None:
        if self.after is not None and self.after <= 0:
            raise ConfigError("silence.after", f"{self.after} is not above 0; None waits for ever")
        at_least("silence", times=self.times)
        if isinstance(self.lines, str):
            raise ConfigError("silence.lines", "give a tuple of lines, not one text")


@dataclass(frozen=True, slots=True)
class Digits:
    """When the keys that a caller presses make a message (T25).

    Args:
        terminator: the key that ends them, and is no part of them; "" for none.
        length: so many are enough; None: any number.
        quiet: seconds without another key after which they are complete.
    """

    terminator: str = "#"
    length: int | None = None
    quiet: float = 3.0

    def __post_init__(self) -> None:
        if self.terminator and (len(self.terminator) != 1 or self.terminator not in KEYS):
            raise ConfigError("digits.terminator", f"{self.terminator!r} is no key: one of {KEYS}")
        if self.length is not None and self.length < 1:
            raise ConfigError("digits.length", f"{self.length} is less than 1; None: any number")
        if self.quiet <= 0:
            raise ConfigError("digits.quiet", f"{self.quiet} is not above 0 seconds")


KEYS = "0123456789*#ABCD"
"""What a telephone can send."""


@dataclass(frozen=True, slots=True)
class Policy:
    """All settings of the turn machine.

    Args:
        hedge: a late first token is asked for on a second connection (T7). Off for brains of
            the user's own, whose steps after the commit must run once.
        pace: the least time before an answer is heard.
        language: picks the word lists, e.g. ``en``.
        filler: said while the model is slow (T20); "": nothing. Tools have their own.
        farewell: said when the call has reached its longest length (T23).
    """

    speculation: Speculation = field(default_factory=Speculation)
    interruption: Interruption = field(default_factory=Interruption)
    limits: Limits = field(default_factory=Limits)
    silence: Silence = field(default_factory=Silence)
    digits: Digits = field(default_factory=Digits)
    pace: Pace = field(default_factory=Pace)
    hedge: bool = True
    language: str = "en"
    filler: str = ""
    farewell: str = ""
