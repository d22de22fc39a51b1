"""What the simulated callers, recogniser, models and voices are like, by whose figures.

Frozen: nothing here is changed to make a policy look better. Policies are tuned with `TUNING_SEEDS`
only; the tables are made with `HELD_OUT_SEEDS`, which no tuning has seen, from the other half
of the corpus. Times are in seconds.

Sources, by the short names that stand at the figures:

* eot-bench: LiveKit's open benchmark of end-of-turn detection, English report, 2026 (Apache-2.0).
* Flux docs: Deepgram's documentation of Flux (developers.deepgram.com/docs/flux): state machine,
  configuration, eager end of turn.
* Telnyx: release note "automatic eager end of turn", 14 January 2026; parameters of its speech API.
* CANDOR: Reece et al. 2023, Science Advances 9, eadf3197: 850 hours of conversations.
* Stivers: Stivers et al. 2009, PNAS 106, 10587: gaps between turns in ten languages.
* Cavalcanti: Cavalcanti and Skantze 2025, arXiv 2505.24736: timing differs by speaker and pair.
* Yuan: Yuan, Liberman and Cieri 2006, Interspeech: speaking rate in telephone conversations.
* aiewf-eval: Daily's and others' 30-turn benchmark of voice models (README, 2026): time to the
  first token that is part of the answer, median and 95th percentile.
* Twilio: "Core latency in AI voice agents", November 2025: targets and upper limits of each stage.
* "assumed": no published figure was found; a plain value, the same for all policies.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import log
from typing import Literal

TUNING_SEEDS = range(1000, 1100)
"""Dialogues that policies are tuned with."""
HELD_OUT_SEEDS = range(5000, 5160)
"""Dialogues that the tables are made of."""

Z95 = 1.6449
"""Of the normal distribution: so many deviations above the mean lies the 95th percentile."""


@dataclass(frozen=True, slots=True)
class LogNormal:
    """A distribution by its median and its 95th percentile."""

    median: float
    p95: float

    @property
    def sigma(self) -> float:
        """The deviation of its logarithm."""
        return log(self.p95 / self.median) / Z95


@dataclass(frozen=True, slots=True)
class Callers:
    """People on the telephone.

    Args:
        rate: words a second while speaking (Yuan: about 3 in telephone speech).
        rate_spread: deviation of a caller's own rate, as a share (assumed).
        pause_exponent: P(pause > d) = (d / 0.2) ** -exponent (eot-bench: of pauses of at least
            0.2 s 55.6 % outlast 0.3 s, 21.7 % 0.6 s, 10 % 1.0 s, 5 % 1.6 s).
        pause_least: no shorter silence counts as a pause (eot-bench).
        pause_longest: pauses are cut there (eot-bench).
        pause_at_clause: chance of a pause where the writer put a comma or a full stop (assumed,
            so that with `pause_elsewhere` a turn has 1.6 pauses: see `Listener.hold_eager`).
        pause_elsewhere: chance of a pause at any other word boundary (likewise).
        pause_spread: deviation of the logarithm of a caller's own factor to both (that callers
            differ: Cavalcanti; how much is assumed).
        gap: mean time from the agent's end to the caller's start (Stivers: 0.2).
        gap_spread: its deviation (CANDOR: about normal, a third to a half are overlaps; assumed).
        gap_earliest: nobody begins sooner before the agent's end (assumed).
        backchannels: a second of the agent's speech (CANDOR: about 1000 an hour of speech, 0.28 a
            second, between people; less than half of that to an agent is assumed).
        barge_in: chance that a caller breaks into a reply (assumed).
        barge_in_words: share of these that begin with a word that asks for the floor (assumed).
        answers: share of turns that are nothing but a word of the inventory of backchannels, said
            as an answer (assumed).
        stops: share of callers who stop talking when the agent talks into their turn (assumed).
        stops_after: how long they talk on (assumed).
        patience: a caller who hears nothing for so long goes on with the next turn (assumed).
        takes_up: agent's silence inside a sentence after which a caller takes it for over
            (assumed).
    """

    rate: float = 3.0
    rate_spread: float = 0.12
    pause_exponent: float = 1.4
    pause_least: float = 0.2
    pause_longest: float = 5.0
    pause_at_clause: float = 0.6
    pause_elsewhere: float = 0.08
    pause_spread: float = 0.4
    gap: float = 0.2
    gap_spread: float = 0.3
    gap_earliest: float = -0.4
    backchannels: float = 0.12
    barge_in: float = 0.15
    barge_in_words: float = 0.5
    answers: float = 0.08
    stops: float = 0.3
    stops_after: float = 0.4
    patience: float = 7.0
    takes_up: float = 2.0


@dataclass(frozen=True, slots=True)
class Listener:
    """Flux, as it was measured.

    The confidence that a turn is over rises in a silence along a line: it crosses the final
    threshold `delay` after the last word, and the eager one at `reference` a lead earlier, other
    eager thresholds in proportion. In a pause inside a turn the same line stops at a peak.

    Args:
        frame: audio in a step (Flux docs: 80 ms).
        update: audio between two Updates (Flux docs: about 0.25; a recorded session: 0.24).
        update_fast: the same while the confidence is above `fast_above` (a recorded session).
        fast_above: see there.
        onset: StartOfTurn comes so long after the first word began, lowest and highest (a recorded
            session has 0.64 for slow speech, the least is assumed).
        word_delay: a word is known so long after its end (assumed: a frame).
        resume: the next word has been going on for so long when the turn is resumed (assumed: two
            frames).
        uplink: from the caller's mouth to Flux, and its answer (assumed).
        delay: from the last word to EndOfTurn: median (Flux docs: about 0.26), and a 95th
            percentile that makes the mean 0.271 (eot-bench, where it fires).
        lead: from EagerEndOfTurn to EndOfTurn at `reference` (Telnyx: median about 0.15, best 5 %
            0.35; Flux docs and Telnyx's manual: 0.15 to 0.25). `longest_lead` cuts it: what is
            drawn has its 95th percentile at 0.29.
        longest_lead: as a share of the delay: before the last word is known nothing fires.
        final: `eot_threshold` (Flux docs: default).
        reference: the eager threshold that the lead belongs to (Flux docs: 0.3 to 0.5 is early).
        undetected: share of ends that never reach `final` (eot-bench: 98.8 % are detected).
        timeout: ends such a turn (Flux docs: default).
        hold_final: share of pauses of at least 0.2 s that end the turn (eot-bench: 12.9 %).
        hold_eager: share of pauses that reach the reference threshold. With the pauses of `Callers`
            a draft at every EagerEndOfTurn costs 50 to 70 % more requests (Flux docs).
        clause_share: how much likelier both are behind a clause than elsewhere, as a factor
            (that Flux looks at the words: Flux docs; how much is assumed).
        errors: share of words that are recognised as another (assumed: 7 %).
        rewritten: share of words that first appear as another (a recorded session: four in about
            forty).
        says_something: the eager threshold tells pauses from ends, and the confidence that is
            reported is that of the line. False: it is drawn from a hat, and a pause that reaches
            one eager threshold reaches all.
    """

    frame: float = 0.08
    update: float = 0.24
    update_fast: float = 0.08
    fast_above: float = 0.55
    onset: tuple[float, float] = (0.35, 0.64)
    word_delay: float = 0.08
    resume: float = 0.16
    uplink: float = 0.05
    delay: LogNormal = field(default_factory=lambda: LogNormal(0.26, 0.418))
    lead: LogNormal = field(default_factory=lambda: LogNormal(0.15, 0.35))
    longest_lead: float = 0.85
    final: float = 0.7
    reference: float = 0.4
    undetected: float = 0.012
    timeout: float = 5.0
    hold_final: float = 0.129
    hold_eager: float = 0.75
    clause_share: float = 2.0
    errors: float = 0.07
    rewritten: float = 0.1
    says_something: bool = True


@dataclass(frozen=True, slots=True)
class Model:
    """A language model: time to the first token (aiewf-eval)."""

    name: str
    first_token: LogNormal


MODELS = (
    Model("gpt-oss-120b at Groq", LogNormal(0.098, 0.217)),
    Model("Gemma-4-31B", LogNormal(0.489, 0.609)),
    Model("gpt-4.1", LogNormal(0.536, 1.771)),
)
"""One of them answers in each dialogue."""


@dataclass(frozen=True, slots=True)
class Backends:
    """Models, voices, tools, and the line.

    Args:
        per_token: from token to token; a word is taken for one (assumed: 50 a second).
        characters_per_token: for what tokens cost (OpenAI's rule of thumb).
        first_audio: from a text to its first audio (Twilio: 0.1, at most 0.25).
        voice_pace: seconds of audio made in a second (assumed).
        per_character: seconds of speech (assumed: 15 characters a second).
        reads: share of turns that ask for a tool that only reads (assumed).
        acts: share of turns that ask for a tool with effects (assumed).
        tool: how long a tool takes, lowest and highest (assumed).
        downlink: to the caller's ear (Twilio: edge and buffer, about 0.07 together).
        buffer: audio that the far end gathers before it plays (likewise).
    """

    per_token: float = 0.02
    characters_per_token: float = 4.0
    first_audio: LogNormal = field(default_factory=lambda: LogNormal(0.1, 0.25))
    voice_pace: float = 5.0
    per_character: float = 0.065
    reads: float = 0.08
    acts: float = 0.04
    tool: tuple[float, float] = (0.15, 0.6)
    downlink: float = 0.04
    buffer: float = 0.03


@dataclass(frozen=True, slots=True)
class World:
    """One world that policies are compared in.

    Args:
        name: for the table.
        turns: of a dialogue at most.
        words: of a turn at most.
        reply_words: of a reply at most.
    """

    name: str = "as measured"
    callers: Callers = field(default_factory=Callers)
    listener: Listener = field(default_factory=Listener)
    backends: Backends = field(default_factory=Backends)
    turns: int = 12
    words: int = 40
    reply_words: int = 30


def _with_lead(median: float) -> World:
    """The EagerEndOfTurn comes as it did; it is the EndOfTurn that comes sooner or later."""
    plain = Listener()
    scale = median / plain.lead.median
    lead = LogNormal(median, plain.lead.p95 * scale)
    return World(f"lead {median * 1000:.0f} ms", listener=replace(plain, lead=lead))


WorldName = Literal["measured", "silent", "lead100", "lead250"]

WORLDS: dict[WorldName, World] = {
    "measured": World(),
    "silent": World("confidence says nothing", listener=Listener(says_something=False)),
    "lead100": _with_lead(0.1),
    "lead250": _with_lead(0.25),
}
"""The published figures, and three in which some of them are otherwise."""
