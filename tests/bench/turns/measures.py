"""What is measured in a call: the formulas, and nothing else.

Times are in seconds. What counts as what is taken from public benchmarks:

* `eva_score`: EVA's turn-taking score by code (ServiceNow/eva, MIT; docs/metrics/turn_taking.md).
* the panel of tau-voice (sierra-research/tau2-bench, MIT; voice analysis): a tick is 0.2 s; an
  agent yields if it is silent for a tick within 2.0 s of an interruption's start, and is wrong to
  yield to a sound of attention within 1.0 s of its start.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Budget
from agentkit.core.history import UserMessage
from agentkit.core.words import normal_words
from tests.bench.turns.call import Call, SaidTurn, Span
from tests.bench.turns.parameters import Backends

TICK = 0.2
YIELD_WITHIN = 2.0
WRONG_WITHIN = 1.0
SETTLES = 2.0
"""A sound of attention has cost the reply if that was cut off so long after it at most."""


@dataclass(slots=True)
class Figures:
    """One call, in figures. Shares are kept as (how many of how many)."""

    seed: int
    turns: int = 0
    reactions: list[float] = field(default_factory=list)
    """From the recogniser's end of the turn to the first sound that was sent."""
    heard: list[float] = field(default_factory=list)
    """From the caller's last word to the first sound that was heard."""
    overhead: list[float] = field(default_factory=list)
    """What a reaction took beyond what the model and the voice need."""
    requests: int = 0
    lost_tokens: int = 0
    lost_prompt: int = 0
    lost_characters: int = 0
    lost_drafts: int = 0
    eva: float = 0.0
    yielded: list[bool] = field(default_factory=list)
    yield_times: list[float] = field(default_factory=list)
    attended: list[bool] = field(default_factory=list)
    """Of the sounds of attention: the agent talked through them."""
    kept: list[bool] = field(default_factory=list)
    """Of these: it may have stopped for a moment, but the reply was not given up."""
    responded: list[bool] = field(default_factory=list)
    interrupts: int = 0
    starved: int = 0
    duplicates: int = 0
    unsafe: int = 0
    orphans: int = 0
    over_budget: int = 0
    moves: int = 0
    cpu: array[float] = field(default_factory=lambda: array("d"))

    @property
    def broken(self) -> bool:
        """A rule was broken that no policy may break."""
        return bool(self.duplicates or self.unsafe or self.orphans or self.over_budget)


def measure(
    call: Call, backends: Backends, floor: float = 0.0, budget: Budget | None = None
) -> Figures:
    """Put a call into figures.

    Args:
        call: what happened.
        backends: what the model and the voice take.
        floor: no answer is heard sooner after the caller's last word than that.
        budget: what the drafts of the call may lose.
    """
    figures = Figures(call.seed, len(call.turns))
    talks = segments(call.heard)
    figures.reactions = list(reactions(call))
    figures.heard = list(latencies(call.turns, talks))
    figures.overhead = list(overheads(call, backends, floor))
    figures.requests = len(call.asked)
    _count_lost(call, figures)
    figures.eva = eva_score(call.turns, talks)
    for turn in call.turns:
        if turn.breaks_in:
            figures.yield_times.append(silent_after(talks, turn.began) - turn.began)
    figures.yielded = [took <= YIELD_WITHIN for took in figures.yield_times]
    _count_attention(call, talks, figures)
    figures.responded = list(responses(call.turns, talks))
    figures.interrupts = sum(len(starts_in(talks, (t.began, t.ended))) for t in call.turns)
    figures.starved = sum(not turn.answered for turn in call.turns if not turn.broken_off)
    figures.duplicates = duplicates(call)
    figures.unsafe = unsafe(call)
    figures.orphans = call.orphans + call.open_at_end
    figures.over_budget = int(budget is not None and is_over(figures, call, budget))
    figures.moves = call.moves
    figures.cpu = array("d", call.cpu)
    return figures


# ------------------------------------------------------------------------------------ silence


def segments(heard: Sequence[Span], gap: float = TICK) -> list[Span]:
    """Stretches of the agent's speech; gaps shorter than a tick do not divide them."""
    found: list[Span] = []
    for begin, end in heard:
        if found and begin - found[-1][1] < gap:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def silent_after(talks: Sequence[Span], at: float) -> float:
    """When the agent, who is talking then, falls silent."""
    return next((end for begin, end in talks if begin <= at < end), at)


def starts_in(talks: Sequence[Span], span: Span) -> list[float]:
    """When the agent begins to talk inside a stretch of the caller's speech."""
    return [begin for begin, _ in talks if span[0] < begin < span[1]]


def is_talking(talks: Sequence[Span], at: float) -> bool:
    """Whether the agent is heard then."""
    return any(begin <= at < end for begin, end in talks)


# ------------------------------------------------------------------------------------ latency


def reactions(call: Call) -> Iterator[float]:
    """Of each turn that was answered and heard: from its end to the first sound sent."""
    assert call.record is not None
    for turn in call.record.turns:
        times = turn.times
        if turn.outcome == "heard" and times and times.ended and times.first_sound_sent:
            yield max(0.0, times.first_sound_sent - times.ended)


def latencies(turns: Sequence[SaidTurn], talks: Sequence[Span]) -> Iterator[float]:
    """Of each turn at whose end the agent is silent: until it is heard."""
    for turn, until in _with_next(turns):
        if is_talking(talks, turn.ended):
            continue
        if (begin := _first_start(talks, turn.ended, until)) is not None:
            yield begin - turn.ended


def responses(turns: Sequence[SaidTurn], talks: Sequence[Span]) -> Iterator[bool]:
    """tau-voice: of each turn at whose end the agent is silent, whether it was answered."""
    for turn, until in _with_next(turns):
        if not is_talking(talks, turn.ended):
            yield _first_start(talks, turn.ended, until) is not None


def _with_next(turns: Sequence[SaidTurn]) -> Iterator[tuple[SaidTurn, float]]:
    for n, turn in enumerate(turns):
        yield turn, turns[n + 1].began if n + 1 < len(turns) else float("inf")


def _first_start(talks: Sequence[Span], after: float, before: float) -> float | None:
    return next((begin for begin, _ in talks if after <= begin < before), None)


def overheads(call: Call, backends: Backends, floor: float) -> Iterator[float]:
    """What an answer's first sound took beyond its bound.

    The bound is the later of the turn's end and the moment at which the model and the voice are
    done with the first piece, begun when the request was made. Replies with more than one request
    are left out (tools, second attempts), and those that were parked or had to wait for the floor.
    """
    replies = _Replies(call)
    for reply, committed in replies.committed.items():
        asked = [a for a in call.asked if a.reply == reply]
        spoken, sent = replies.spoken.get(reply), replies.sounded.get(reply)
        if len(asked) != 1 or spoken is None or sent is None or reply in replies.parked:
            continue
        if replies.played.get(reply) != committed:
            continue
        count = len(spoken[1].split())
        clause = asked[0].began + asked[0].first_token + (count - 1) * backends.per_token
        if not _ends_clause(spoken[1]):
            clause = spoken[0]
        begun = clause if spoken[0] < committed else max(committed, clause)
        bound = max(committed, begun + call.first_audio[reply])
        if floor and (ended := replies.speech_ends.get(reply)) is not None:
            bound = max(bound, ended + floor)
        yield sent - bound


def _ends_clause(piece: str) -> bool:
    """Whether the piece is known to be one with its last word.

    After a number, or where a long clause was cut, only the next token tells.
    """
    return piece[-1] in ".!?;:," and not piece[-2:-1].isdigit()


class _Replies:
    """When what happened to each reply, from a call's log."""

    def __init__(self, call: Call) -> None:
        self.committed: dict[int, float] = {}
        self.spoken: dict[int, tuple[float, str]] = {}
        self.sounded: dict[int, float] = {}
        self.played: dict[int, float] = {}
        self.parked: set[int] = set()
        self.speech_ends: dict[int, float] = {}
        for now, event, commands in call.log:
            if isinstance(event, ev.SoundSent) and not event.silent:
                self.sounded.setdefault(event.reply, now)
            for command in commands:
                self._take(now, event, command)

    def _take(self, now: float, event: ev.Event, command: cmd.Command) -> None:
        match command:
            case cmd.Commit(reply=reply):
                self._commit(reply, now, event)
            case cmd.StartReply(reply=reply, kind="answer", draft=False):
                self._commit(reply, now, event)
            case cmd.Speak(reply=reply, piece=0, text=text):
                self.spoken.setdefault(reply, (now, text))
            case cmd.Play(reply=reply):
                self.played.setdefault(reply, now)
            case cmd.Park(reply=reply):
                self.parked.add(reply)
            case _:
                pass

    def _commit(self, reply: int, now: float, event: ev.Event) -> None:
        self.committed[reply] = now
        if isinstance(event, ev.TurnEvent) and event.speech_end is not None:
            self.speech_ends[reply] = event.speech_end


# --------------------------------------------------------------------------------------- cost


def _count_lost(call: Call, figures: Figures) -> None:
    """What was spent on drafts that did not become a reply."""
    drafts, committed = set(), set()
    for _, _, commands in call.log:
        for command in commands:
            if isinstance(command, cmd.StartReply) and command.draft:
                drafts.add(command.reply)
            elif isinstance(command, cmd.Commit):
                committed.add(command.reply)
    lost = drafts - committed
    figures.lost_drafts = len(lost)
    for asked in call.asked:
        if asked.reply in lost:
            figures.lost_tokens += asked.output
            figures.lost_prompt += asked.prompt - asked.cached
    for _, _, commands in call.log:
        for command in commands:
            if isinstance(command, cmd.Speak) and command.reply in lost:
                figures.lost_characters += len(command.text)


def is_over(figures: Figures, call: Call, budget: Budget) -> bool:
    """Whether more was lost than the budget allows: drafts, written tokens, characters."""
    assert call.record is not None
    allowed = [] if budget.share is None else [1 + budget.share * (len(call.record.turns) + 1)]
    allowed += [] if budget.drafts is None else [budget.drafts]
    return (
        any(figures.lost_drafts > most for most in allowed)
        or (budget.output is not None and figures.lost_tokens > budget.output)
        or (budget.characters is not None and figures.lost_characters > budget.characters)
    )


# ----------------------------------------------------------------------------------- the floor


def _count_attention(call: Call, talks: Sequence[Span], figures: Figures) -> None:
    cuts = [
        now
        for now, _, commands in call.log
        for command in commands
        if isinstance(command, cmd.ReplyEnded) and command.interrupted
    ]
    over = [
        now
        for now, _, commands in call.log
        for command in commands
        if isinstance(command, cmd.ReplyEnded) and not command.interrupted
    ]
    for begin, end in call.attention:
        if not is_talking(talks, begin):
            continue
        silent = silent_after(talks, begin)
        natural = any(abs(at - silent) < TICK for at in over)
        figures.attended.append(natural or silent - begin > WRONG_WITHIN)
        figures.kept.append(not any(begin <= at <= end + SETTLES for at in cuts))


def eva_curve(latency: float, tool: bool) -> float:
    """How good it is to answer so long after the caller's end; negative: before it."""
    good, bad = (3.0, 5.0) if tool else (2.0, 3.5)
    if latency <= 0.5:
        return max(0.0, latency + 0.5)
    return 1.0 if latency <= good else max(0.0, (bad - latency) / (bad - good))


def eva_score(turns: Sequence[SaidTurn], talks: Sequence[Span]) -> float:
    """The mean over the turns; 0 if the last one was never answered.

    Who begins in the last moment of a reply, and does not mean to interrupt, is not counted as
    interrupting.
    """
    scores = [eva_turn(turn, talks, until) for turn, until in _with_next(turns)]
    if not scores or not _answered(turns[-1], talks):
        return 0.0
    return sum(scores) / len(scores)


def eva_turn(turn: SaidTurn, talks: Sequence[Span], until: float) -> float:
    """How good one turn was. ``until``: when the next one begins."""
    starts = starts_in(talks, (turn.began, turn.ended))
    settled = _first_start(talks, turn.ended, until)
    parts: list[float] = []
    if turn.breaks_in:
        took = silent_after(talks, turn.began) - turn.began
        parts.append(max(0.0, 1.0 - took / 2.0))
    if starts:
        overlap = sum(min(end, turn.ended) - begin for begin, end in talks if begin in starts)
        count = len(starts) + (settled is not None)
        latency = (starts[-1] if settled is None else settled) - turn.ended
        parts += [
            0.5 * max(0.0, 1.0 - overlap / 2.0),
            0.5 * max(0.0, 1.0 - (count - 1) / 2.0),
            eva_curve(latency, turn.tool),
        ]
    if not parts:
        return 0.0 if settled is None else eva_curve(settled - turn.ended, turn.tool)
    return min(parts)


def _answered(turn: SaidTurn, talks: Sequence[Span]) -> bool:
    return any(end > turn.ended or begin > turn.began for begin, end in talks if end > turn.began)


# ------------------------------------------------------------------------------------- safety


def duplicates(call: Call) -> int:
    """Words that stand in the conversation more often than they were recognised.

    Every committed turn's words stand in one message of the caller's: in its own, or in that of the
    turn which it became one with.
    """
    assert call.record is not None
    written = [
        word
        for message in call.record.messages
        if isinstance(message, UserMessage)
        for word in normal_words(message.text)
    ]
    ended: dict[int, str] = {}
    for _, event, _ in call.log:
        if isinstance(event, ev.TurnEnded):
            ended[event.index] = event.text
    said = [word for text in ended.values() for word in normal_words(text)]
    return max(0, len(written) - len(said))


def unsafe(call: Call) -> int:
    """Effects for words that were not what the caller had said in the end, or more than one."""
    assert call.record is not None
    final = [m.text for m in call.record.messages if isinstance(m, UserMessage)]
    ran = call.ran
    return sum(max(0, ran.count(words) - final.count(words)) for words in set(ran))
