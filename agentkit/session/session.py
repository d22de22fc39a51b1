"""`Session`: carries out what the turn machine decides.

All that happens comes in through `Session.post`, one event at a time. Each is handed to the machine
and its commands are carried out before the next is looked at, with no ``await`` between: nothing
can change between an event and what follows from it. What takes time runs in tasks of one group,
each with an owner, and comes back as an event that carries the id of what it belongs to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import structlog

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.caller import CallerState
from agentkit.core.history import ToolCall
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import KEYS
from agentkit.errors import TransportError, UsageError
from agentkit.session.chores import Chores, Hooks, Timers, end_line
from agentkit.session.handles import CallInfo, Turn
from agentkit.session.ladder import Ladder
from agentkit.session.player import Player
from agentkit.session.prepare import open_named, voice_ahead
from agentkit.session.runs import ReplyRun, current_run
from agentkit.session.summary import CallRecord, Summary
from agentkit.tools import ToolResult
from agentkit.transports.base import AGENT_HUNG_UP

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.economy import Economy
    from agentkit.llm.base import LLM
    from agentkit.transports.base import Transport
    from agentkit.tts.base import TTS
    from agentkit.turns import TurnSource

log = structlog.get_logger(__name__)

Observer = Callable[[float, ev.Event, Sequence[cmd.Command]], None]
"""Told of each event and the commands that followed, after they were carried out."""

HOOK_GRACE = 5.0
"""Seconds that hooks have left when the call is over."""


class Session(Ladder):
    """One conversation.

    ``async with Session(agent, transport, flux=..., llm=..., tts=...) as session`` opens what it
    needs, ``await session.run()`` holds the conversation until the call is over.

    What is given as an object is shared with whoever gave it, and stays open. What is given by its
    name, or left to the settings (arguments, environment, ``.env``, ``agentkit.toml``, the agent's
    attributes), is opened for this call and closed with it; a server that answers many calls opens
    it once with `agentkit.backends.open_backends`.

    Args:
        agent: one instance for this call.
        transport: the caller.
        flux: listens to the caller: a `TurnSource` of this call's own, or ``deepgram``, ``local``
            or a ``ws://`` URL.
        llm: the language model: an `LLM` or a name, ``backend/model``.
        tts: the voice: a `TTS` or a name, ``backend/model:voice``.
        observers: told of everything that happens; must not block. One that raises is dropped.
        call: who calls whom.
        log_words: what is said goes to the log, too: it is personal data.
        economy: what the drafts of all calls may cost together; None: that of the settings, where
            a backend is given by its name, else each call is for itself.

    Attributes:
        marks_lost: marks that the far end never returned. Known once the call is over.
    """

    def __init__(
        self,
        agent: Agent,
        transport: Transport,
        *,
        flux: TurnSource | str | None = None,
        llm: LLM | str | None = None,
        tts: TTS | str | None = None,
        observers: Sequence[Observer] = (),
        call: CallInfo | None = None,
        log_words: bool = False,
        economy: Economy | None = None,
    ) -> None:
        super().__init__()
        self.agent = agent
        self.transport = transport
        self.call = call or CallInfo(id="local")
        self.policy = agent.policy()
        self.machine = TurnMachine(self.policy)
        self.prepared: dict[str, bytes] = {}
        self.marks_lost = 0
        self._given = {"flux": flux, "llm": llm, "tts": tts}
        self._opened = AsyncExitStack()
        # Imported here, for it is a third of what importing agentkit would take.
        from agentkit.observe.log import CallLogger

        self._observers: list[Observer] = [
            CallLogger(words=log_words, call=self.call.id),
            *observers,
        ]
        self._summary = Summary()
        self._economy = economy
        self._inbox: deque[ev.Event] = deque()
        self._handling = False
        self._crash: BaseException | None = None
        self._runs: dict[int, ReplyRun] = {}
        self._turns: dict[int, Turn] = {}
        self._digits: dict[int, str] = {}
        self._timers = Timers(self.post)
        self._context = copy_context()
        self._hooks = Hooks(self._context)
        self._reason = ""
        self._leaving = ""
        self._execute: dict[type, Callable[[Any], None]] = {
            cmd.StartReply: self._start_reply,
            cmd.Adopt: self._adopt,
            cmd.Commit: self._commit,
            cmd.Discard: self._discard,
            cmd.Park: lambda c: self._runs[c.reply].park(),
            cmd.Speak: lambda c: self._runs[c.reply].speak(c.piece, c.text),
            cmd.EndSpeech: lambda c: self._runs[c.reply].end_speech(),
            cmd.RunTool: self._run_tool,
            cmd.Play: lambda c: self._player.play(self._runs[c.reply].audio, c.epoch, c.offset),
            cmd.ClearPlayout: lambda c: self._player.clear(c.epoch),
            cmd.Reconnect: lambda c: self._source.reconnect(c.reason),
            cmd.SetTimer: self._timers.set,
            cmd.CancelTimer: self._timers.cancel,
            cmd.HangUp: self._hang_up,
            cmd.TurnCommitted: self._turn_committed,
            cmd.TurnSettled: self._turn_settled,
            cmd.TurnClosed: self._turn_closed,
            cmd.ReplyEnded: self._reply_ended,
            cmd.ErrorRaised: lambda c: self._hook(self.agent.on_error(c), "on_error"),
            **dict.fromkeys(cmd.ONLY_TOLD, lambda _: None),
            cmd.DigitsCollected: self._digits_collected,
            cmd.SilenceNoticed: lambda c: self._hook(self.agent.on_silence(c.count), "on_silence"),
            cmd.DraftBooked: self._book,
            cmd.TuneSource: self._tune,
        }

    # ------------------------------------------------------------------------------- its life

    async def __aenter__(self) -> Self:
        """Take the agent, and open what was given by its name."""
        self._take(self.agent)
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as opened:
            opened.callback(self._let_agents_go)
            self._source, self.llm, self.tts, economy = await open_named(
                opened, type(self.agent), **self._given
            )
            self._economy = self._economy or economy
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of the agents, the source and the transport; close what was opened here."""
        async with self._opened:
            await self._source.aclose()
            await self.transport.aclose()

    async def run(self) -> CallRecord:
        """Hold the conversation; return what became of it.

        Tools with effects that have begun run on to their timeout also when the call is over or
        this is cancelled (rule T19); a second cancellation stops them.

        Raises:
            TransportError: the caller could not be reached at all.
            UsageError: it has held its call.
        """
        if self.machine.ended:
            raise UsageError("a session holds one call: make another for the next")
        await self.transport.connect()
        self.output = self.transport.output
        self._player = Player(self.transport, self.post)
        cancelled: asyncio.CancelledError | None = None
        async with AsyncExitStack() as shared, asyncio.TaskGroup() as effects:
            self._join(shared)
            self._effects = effects
            try:
                await self._talk()
            except asyncio.CancelledError as error:
                cancelled = error
                self.post(ev.CallEnded("cancelled"))
            finally:
                self._running = False
                self.marks_lost = self._player.lost_marks
                self._timers.stop()
        if cancelled is not None:
            await self._hooks.finish(0.0)
            raise cancelled
        self._hook(self.agent.on_end(self._reason), "on_end")
        await self._hooks.finish(HOOK_GRACE)
        return self._summary.record(self._reason, self.machine.messages(), self.machine.ledger)

    async def _talk(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks, self._chores = tasks, Chores(tasks)
                self._crashed: asyncio.Future[None] = self._loop.create_future()
                listening = tasks.create_task(self._listen(), name="source of turns")
                guard = tasks.create_task(self._guard_against_crashes(), name="crash guard")
                self._begin()
                try:
                    self._reason = await self.transport.run(self)
                except (TransportError, OSError) as error:
                    log.warning("transport failed", error=str(error))
                    self._reason = "transport failed"
                self._player.stop()
                turn = self.machine.caller.turn
                if turn is not None and turn.state is not CallerState.ENDED:
                    await self._source.aclose()  # its last words are still on their way
                if self._reason == AGENT_HUNG_UP:
                    self._reason = self._leaving or AGENT_HUNG_UP
                self.post(ev.CallEnded(self._reason))
                self._player.stop()
                self._chores.stop()
                await self._source.aclose()
                listening.cancel()
                guard.cancel()
        except BaseExceptionGroup:
            if self._crash is not None:
                raise self._crash from None
            raise

    def _begin(self) -> None:
        self._running = True
        policy = self._applied(self.policy)
        if policy != self.policy:
            self.policy = policy
            self.post(ev.PolicyChanged(policy))
        self._chores.start(self.llm.warm, "warm the model")
        self._chores.start(self.tts.warm, "warm the voice")
        self.post(ev.CallStarted())
        if self.agent.greeting:
            self.say(self.agent.greeting)
        self._voice_apology()
        self._hook(self.agent.on_start(), "on_start")

    def _voice_apology(self) -> None:
        """The voice may be down when it is needed (rule T14)."""
        apology = self.spoken(self.agent.apology or "", self.agent).strip()
        voicing = partial(voice_ahead, self.tts, apology, self.output, self.prepared)
        self._chores.start(voicing, "voice the apology")

    async def _listen(self) -> None:
        """A source that raises has given up: what was said is answered, the call ends in order."""
        try:
            await self._source.run(self.transport.input, self.post, self._loop.time)
        except Exception as error:
            log.exception("the source of turns raised")
            self.post(ev.SourceFailed("source", type(error).__name__))

    async def _guard_against_crashes(self) -> None:
        await self._crashed

    # ------------------------------------------------------------------- events in, commands out

    def post(self, event: ev.Event) -> None:
        """Take what happened, at once or, from inside a command, right after it."""
        self._inbox.append(event)
        if self._handling or self._crash is not None:
            return
        self._handling = True
        try:
            while self._inbox:
                event = self._inbox.popleft()
                if self.policy.interruption.judged and isinstance(event, ev.TurnEvent):
                    self._judge(event)
                self._handle(event)
        except Exception as error:
            self._crash = error
            if not self._crashed.done():
                self._crashed.set_exception(error)
        finally:
            self._handling = False

    def _handle(self, event: ev.Event) -> None:
        now = self._loop.time()
        commands = self.machine.handle(event, now)
        if type(event) is ev.TurnStarted:
            self._warm_up()
        elif type(event) is ev.ReplyDone:
            self._ask_for_answers(event.reply)
        for command in commands:
            self._execute[type(command)](command)
        self._summary.take(commands)
        for observer in tuple(self._observers):
            try:
                observer(now, event, commands)
            except Exception:
                log.exception("an observer raised and is dropped", observer=repr(observer))
                self._observers.remove(observer)

    def _judge(self, event: ev.TurnEvent) -> None:
        """Ask the agent what the caller's words mean; the answer is an event before theirs."""
        sentence = self.machine.sentence()
        if sentence is None or not event.text.strip():
            return
        try:
            verdict = self.agent.takes_floor(event.text, sentence)
        except Exception as error:
            self.failed_in_user_code(error)
            return
        if verdict is not None:
            self._handle(ev.FloorJudged(event.text, verdict))

    def _start_reply(self, command: cmd.StartReply) -> None:
        turn = None
        if command.kind == "answer" and (command.turn is not None or command.draft):
            turn = self._turn_for(command)
        if command.draft and self._account is not None:
            self._account.begin()
        run = ReplyRun(command, self, turn, self._texts)
        self._runs[command.reply] = run
        if turn is not None and not command.draft:
            self._turns[turn.id] = turn
        run.start(self._tasks, self._context.copy())

    def _turn_for(self, command: cmd.StartReply) -> Turn:
        """The turn as the agent sees it: each draft has its own, later attempts share one."""
        text = self.machine.words_of(command.reply)
        if command.turn is None:
            return Turn(-1, text, acted=self._acted)
        if not command.draft and command.turn in self._turns:
            return self._turns[command.turn]
        heard = self.machine.caller.turn
        if command.turn in self._digits or heard is None or heard.id != command.turn:
            digits = self._digits.pop(command.turn, "")
            return Turn(command.turn, text, digits=digits, acted=self._acted)
        return Turn(command.turn, text, heard.word_list, heard.languages, acted=self._acted)

    def _acted(self, turn: int) -> None:
        self.post(ev.ActedUpon(turn))

    def _texts(self, run: ReplyRun) -> AsyncIterator[str]:
        if run.kind == "answer" and run.turn is not None:
            return run.agent.reply(run.turn)
        if run.kind == "apology":
            return _one(run.agent.apology or "")
        if run.kind in ("filler", "line"):
            return _one(run.line)
        if run.request in self._asked:
            return self.generate(None, instructions=self._asked[run.request])
        return self._says[run.request].tell() if run.request in self._says else _one("")

    def _commit(self, command: cmd.Commit) -> None:
        run = self._runs[command.reply]
        if run.turn is not None:
            self._turns[run.turn.id] = run.turn
        run.commit()
        self._ask_for_answers(command.reply)

    def _discard(self, command: cmd.Discard) -> None:
        run = self._runs.pop(command.reply)
        if run.draft or self.machine.ended:
            run.drop_lookups()
        if run.writing and not self.machine.ended:
            self._chores.start(self.llm.warm, "warm the model")
        run.close()

    def _hang_up(self, command: cmd.HangUp) -> None:
        self._leaving = command.reason
        self._chores.start(partial(end_line, self.transport), "hang up")

    def _turn_committed(self, command: cmd.TurnCommitted) -> None:
        if turn := self._turns.get(command.turn):
            turn.text = command.text

    def _turn_settled(self, command: cmd.TurnSettled) -> None:
        self._turn_has_settled(command.turn)
        if turn := self._turns.get(command.turn):
            turn._settled.set()
            if self.agent._acts_on_turns:
                self._acted(turn.id)
            self._hook(self.agent.on_turn(turn), "on_turn")
            self._let_go(turn)

    def _let_go(self, turn: Turn) -> None:
        """A turn is kept for further attempts at its reply, and until it has settled."""
        if turn._closed and turn._settled.is_set():
            self._turns.pop(turn.id, None)

    def _turn_closed(self, command: cmd.TurnClosed) -> None:
        if turn := self._turns.get(command.turn):
            turn._closed = True
            if command.outcome == "merged" and not turn._settled.is_set():
                del self._turns[command.turn]  # its words are answered with the next turn's
            self._let_go(turn)

    def _reply_ended(self, command: cmd.ReplyEnded) -> None:
        if run := self._runs.pop(command.reply, None):
            run.close()
        if command.request is not None:
            self._end_speech(command.request, command.heard, command.interrupted)
        if command.interrupted:
            self._hook(self.agent.on_interrupted(command), "on_interrupted")
        else:
            self._hook(self.agent.on_reply(command), "on_reply")

    # ----------------------------------------------------------------------------------- tools

    def _run_tool(self, command: cmd.RunTool) -> None:
        run = self._runs[command.reply]
        task = self._effects.create_task(
            self._tool(run, command.call), name=f"tool {command.call.name}"
        )
        tool = run.agent.tools.get(command.call.name)
        if tool is None or tool.read_only:
            run.look_up(task)

    async def _tool(self, run: ReplyRun, call: ToolCall) -> None:
        """Run a tool to its end or its timeout.

        One with effects runs on whatever becomes of the reply (rule T19); one that only reads is
        cancelled with a draft, or with the call.
        """
        current_run.set(run)
        result = await self._call_tool(run.agent, call)
        if result.error is not None:
            self._hook_error(result.error)
        self.post(ev.ToolReturned(run.id, call.id, result.text))
        run.tool_returned(call.id, result.text)

    async def _call_tool(self, agent: Agent, call: ToolCall) -> ToolResult:
        tool = agent.tools.get(call.name)
        if tool is None:
            known = ", ".join(agent.tools) or "none"
            return ToolResult(f"There is no tool called {call.name}. Known tools: {known}.")
        return await tool.run(agent, call)

    # ----------------------------------------------------------------- what replies ask of it

    def made_audio(self, run: ReplyRun) -> None:
        """More of a reply can be played."""
        if run.id in self._runs:
            self._player.pump()

    def spoken(self, text: str, agent: Agent) -> str:
        """The text as the voice shall read it; as it is, if the agent's rewriting fails."""
        try:
            return agent.spoken(text)
        except Exception as error:
            self.failed_in_user_code(error)
            return text

    def failed_in_user_code(self, error: Exception) -> None:
        """The agent's own code raised: tell it, and say so in the log."""
        log.error("the agent's code raised", exc_info=error)
        self._hook_error(error)

    def _hook_error(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._hook(self.agent.on_error(error), "on_error")

    def _hook(self, hook: Coroutine[Any, Any, None], name: str) -> None:
        """Run one of the agent's hooks beside the conversation."""
        self._hooks.start(hook, name)

    # ----------------------------------------------------------- the transport's side (its sink)

    def audio(self, data: bytes) -> None:
        """The caller's audio; silence while muted, since the source's clock is its audio."""
        if self._muted:
            form = self.transport.input
            data = form.silence(form.seconds(len(data)))
        self._source.feed(data)

    def marked(self, name: str) -> None:
        """The far end has come to a mark."""
        self._player.marked(name)

    def dtmf(self, digit: str) -> None:
        """The caller pressed a key; what is none is passed over, with a word in the log."""
        if len(digit) == 1 and digit in KEYS:
            self.post(ev.KeyPressed(digit))
        else:
            log.warning("the transport reported a key that is none", call=self.call.id)

    def _digits_collected(self, command: cmd.DigitsCollected) -> None:
        self._digits[command.turn] = command.digits
        self._hook(self.agent.on_dtmf(command.digits), "on_dtmf")


async def _one(text: str) -> AsyncGenerator[str, None]:
    yield text
