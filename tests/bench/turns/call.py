"""One simulated call: the real session, in virtual time, and a caller who listens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agentkit import Agent, Session, tool
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import Policy
from agentkit.session import CallRecord
from agentkit.testing.clock import run_virtual
from tests.bench.turns.listening import Mouth, SimulatedFlux
from tests.bench.turns.parameters import World
from tests.bench.turns.plan import Plan, PlannedTurn, Utterance
from tests.bench.turns.speaking import Asked, CountingLLM, Line, voice

LIMIT = 1800.0
"""Seconds: no simulated call is longer."""

Span = tuple[float, float]


@dataclass(slots=True)
class SaidTurn:
    """A turn as the caller knows it.

    Args:
        index: in the plan.
        began: when the first word began.
        ended: when the last one was over.
        breaks_in: the agent was talking when it began, and the caller meant to interrupt.
        overlaps: likewise, but it was thought to be as good as over.
        broken_off: the caller stopped because the agent talked.
        answered: the agent was heard after it, before the caller's patience was at its end.
        tool: the model asks for a tool before it answers.
    """

    index: int
    began: float
    ended: float = 0.0
    breaks_in: bool = False
    overlaps: bool = False
    broken_off: bool = False
    answered: bool = False
    tool: bool = False


@dataclass(slots=True)
class Call:
    """What happened in one call, on its own clock, in seconds."""

    seed: int
    turns: list[SaidTurn] = field(default_factory=list)
    attention: list[Span] = field(default_factory=list)
    """Sounds of attention: from when to when."""
    log: list[tuple[float, ev.Event, tuple[cmd.Command, ...]]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    first_audio: dict[int, float] = field(default_factory=dict)
    """By reply: what the voice takes for its first piece."""
    heard: list[Span] = field(default_factory=list)
    """When the agent was heard: stretches without a gap."""
    given: list[list[str]] = field(default_factory=list)
    """The pieces of text that the voice was given, by reply, in the order of their beginning."""
    ran: list[str] = field(default_factory=list)
    """Of the tools with effects that ran: the words that they were asked for in."""
    orphans: int = 0
    open_at_end: int = 0
    cpu: list[float] = field(default_factory=list)
    """Of each event, in seconds."""
    moves: int = 0
    record: CallRecord | None = None


class Timed(TurnMachine):
    """A machine that notes what each event took of the processor."""

    def __init__(self, policy: Policy, took: list[float]) -> None:
        super().__init__(policy)
        self._took = took

    def handle(self, event: ev.Event, now: float) -> list[cmd.Command]:
        """Take one event; what it takes is real, and that of this thread alone."""
        begin = time.thread_time()
        commands = super().handle(event, now)
        self._took.append(time.thread_time() - begin)
        return commands


class BenchAgent(Agent):
    """An agent with a tool of each kind."""

    instructions = (
        "You talk with people on the telephone about whatever they like. You answer in one or two "
        "short sentences, in plain words, and ask back where it keeps the conversation going."
    )
    apology = None
    call: Call
    tool_seconds: float = 0.0

    @tool(read_only=True)
    async def read(self, words: str) -> str:
        """Look something up."""
        await asyncio.sleep(self.tool_seconds)
        return "found"

    @tool
    async def act(self, words: str) -> str:
        """Do something that cannot be undone."""
        self.call.ran.append(words)
        await asyncio.sleep(self.tool_seconds)
        return "done"


class Caller:
    """Says what was planned, when it is their turn, and sometimes when it is not.

    Args:
        plan: what to say.
        world: how people are.
        line: what they hear.
        mouth: what they speak into.
        call: takes down what they did.
        next_turn: is told which turn begins.
    """

    def __init__(
        self,
        plan: Plan,
        world: World,
        line: Line,
        mouth: Mouth,
        call: Call,
        next_turn: Callable[[int, PlannedTurn], None],
    ) -> None:
        self.plan = plan
        self.callers = world.callers
        self.per_character = world.backends.per_character
        self.line = line
        self.mouth = mouth
        self.call = call
        self.next_turn = next_turn
        self.loop = asyncio.get_running_loop()

    async def converse(self) -> None:
        """Hold the whole conversation."""
        await asyncio.sleep(1.0)
        breaks_in = False
        for index, turn in enumerate(self.plan.turns):
            self.next_turn(index, turn)
            await self._say(index, turn, breaks_in=breaks_in)
            breaks_in = await self._listen(turn)
        await asyncio.sleep(2.0)

    async def _say(self, index: int, turn: PlannedTurn, *, breaks_in: bool) -> None:
        said = SaidTurn(index, self.loop.time(), tool=bool(turn.tool))
        said.breaks_in = breaks_in and self.line.is_playing
        said.overlaps = not breaks_in and self.line.is_playing
        self.call.turns.append(said)
        said.ended = self.mouth.begin(turn.said, said.began)
        if self.plan.stops and not said.breaks_in and not said.overlaps:
            await self._watch_for_interruption(said, turn.said)
        await self._until(said.ended)

    async def _watch_for_interruption(self, said: SaidTurn, what: Utterance) -> None:
        """Stop talking if the agent talks into the turn."""
        while self.loop.time() < said.ended - self.callers.stops_after:
            if self.line.is_playing:
                await asyncio.sleep(self.callers.stops_after)
                if self.loop.time() < said.ended and self.line.ends_at > self.loop.time():
                    said.ended = self.mouth.break_off(what, self.loop.time())
                    said.broken_off = True
                    return
            await self._change(said.ended - self.callers.stops_after)

    async def _listen(self, turn: PlannedTurn) -> bool:
        """Listen to the reply, until it is over or there is something to say to it.

        Returns True if the caller breaks into it.
        """
        said = self.call.turns[-1]
        give_up = said.ended + self.callers.patience
        while not self._hears(said.ended):
            if self.loop.time() >= give_up:
                return False
            await self._change(give_up)
        said.answered = True
        began = self.loop.time()
        sounds = [(began + at, what) for at, what in turn.attention]
        breaks_in = None if turn.barge_in is None else began + turn.barge_in
        while True:
            now = self.loop.time()
            if breaks_in is not None and now >= breaks_in:
                if self.line.is_playing:
                    return True
                breaks_in = None
            if sounds and now >= sounds[0][0]:
                _, what = sounds.pop(0)
                if self.line.is_playing and self.line.ends_at - now > what.seconds:
                    over = self.mouth.begin(what, now)
                    self.call.attention.append((now, over))
                    await self._until(over)
                    continue
            quiet = self._quiet_at(turn, began)
            if now >= quiet - 1e-9:
                return False
            await self._change(min([quiet, *(at for at, _ in sounds[:1]), *_some(breaks_in)]))

    def _hears(self, since: float) -> bool:
        """Whether the agent is heard, or was since then."""
        return self.line.is_playing and self.line.ends_at > since

    def _quiet_at(self, turn: PlannedTurn, began: float) -> float:
        """When it will be the caller's turn, as far as can be heard now.

        Who begins before the agent's end has seen it coming: the whole reply is as long as it is.
        """
        if self.line.stopped_at is not None:
            return self.line.stopped_at + self.callers.takes_up
        if turn.gap >= 0.0:
            return self.line.ends_at + turn.gap
        foreseen = max(self.line.ends_at, began + self.per_character * len(turn.reply))
        return min(foreseen + turn.gap, self.line.ends_at + self.callers.gap)

    async def _change(self, until: float) -> None:
        """Wait until the line changes, or until then."""
        self.line.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self.line.changed.wait()

    async def _until(self, due: float) -> None:
        await asyncio.sleep(max(0.0, due - self.loop.time()))


def _some(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)


async def _call(plan: Plan, world: World, agent: BenchAgent, eager: float | None) -> Call:
    call = Call(plan.seed)
    agent.call = call
    line, mouth = Line(world.backends), Mouth()
    llm, tts = CountingLLM(world.backends), voice(world.backends)
    source = SimulatedFlux(mouth, world.listener, eager, plan.seed)
    loop = asyncio.get_running_loop()

    def next_turn(index: int, turn: PlannedTurn) -> None:
        llm.begin(index, turn)
        tts.first_byte = turn.first_audio
        agent.tool_seconds = turn.tool_seconds

    def watch(now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        call.log.append((now, event, tuple(commands)))
        for command in commands:
            if isinstance(command, cmd.Discard):
                loop.call_later(1.0, look_for_orphans, command.reply)
            elif isinstance(command, cmd.Speak) and command.piece == 0:
                call.first_audio.setdefault(command.reply, tts.first_byte)

    def look_for_orphans(reply: int) -> None:
        call.orphans += sum(a.reply == reply and a.closed is None for a in llm.asked)

    session = Session(agent, line, flux=source, llm=llm, tts=tts, observers=[watch])
    session.machine = Timed(session.policy, call.cpu)
    async with session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(session.run())
        await line.ready()
        await Caller(plan, world, line, mouth, call, next_turn).converse()
        call.heard = spans(line)
        line.hang_up_remote()
        call.record = await running
    call.asked = llm.asked
    call.given = [[piece.text for piece in stream.pieces] for stream in tts.streams]
    call.open_at_end = sum(asked.closed is None for asked in llm.asked)
    call.open_at_end += sum(stream.closed_at is None for stream in tts.streams)
    call.moves = len(source.moves)
    return call


def spans(line: Line) -> list[Span]:
    """When the caller heard the agent; stretches that follow each other are one."""
    found: list[Span] = []
    for begin, data in line.heard:
        if not data:
            continue
        end = begin + line.output.seconds(len(data))
        if found and begin - found[-1][1] < 0.02:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def run_call(
    plan: Plan, world: World, agent: Callable[[], BenchAgent], eager: float | None
) -> Call:
    """Hold one call in virtual time.

    Args:
        plan: what the caller will say.
        world: how everybody is.
        agent: makes the agent with the policy that is looked at.
        eager: the eager threshold that the call begins with; None: no EagerEndOfTurn.
    """
    return run_virtual(_call(plan, world, agent(), eager), until=LIMIT)
