"""What an agent can tell its session to do, and the fence around drafts (rule T24)."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
)
from typing import TYPE_CHECKING, Any, cast

import structlog

from agentkit.core import events as ev
from agentkit.core.history import Message
from agentkit.errors import DraftFenceError, SelfWaitError, UsageError
from agentkit.session.handles import SpeechHandle
from agentkit.session.runs import current_run

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.core.machine import TurnMachine
    from agentkit.core.policy import Policy
    from agentkit.llm.base import LLM
    from agentkit.session.session import Session
    from agentkit.transports.base import Transport
    from agentkit.tts.base import TTS
    from agentkit.turns import TurnSource

log = structlog.get_logger(__name__)

BUSY_AGENT = "this agent instance is in a call already: make one for each call"


class Told:
    """What the agent was told to say: told again from its beginning if the first attempt fails.

    Args:
        text: the words, or an iterator that gives them as they come.
    """

    def __init__(self, text: str | AsyncIterator[str]) -> None:
        self._so_far = [text] if isinstance(text, str) else []
        self._rest = None if isinstance(text, str) else aiter(text)
        self._coming: asyncio.Future[str] | None = None

    async def tell(self) -> AsyncGenerator[str, None]:
        """Yield the words."""
        at = 0
        while at < len(self._so_far) or await self._more():
            yield self._so_far[at]
            at += 1

    def close(self) -> None:
        """Nobody wants more of them."""
        self._rest = None
        if self._coming is not None:
            self._coming.cancel()

    async def _more(self) -> bool:
        """Wait for more words. An attempt that is cancelled here leaves them to the next one."""
        if self._rest is None:
            return False
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(self._rest))
            self._coming.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            self._so_far.append(await asyncio.shield(self._coming))
        except StopAsyncIteration:
            self._rest = None
            return False
        self._coming = None
        return True


class Verbs(ABC):
    """The verbs of a `agentkit.session.Session`."""

    agent: Agent
    machine: TurnMachine
    policy: Policy
    llm: LLM
    tts: TTS
    transport: Transport
    _source: TurnSource

    def __init__(self) -> None:
        self._running = False
        self._says: dict[int, Told] = {}
        self._asked: dict[int, str] = {}
        self._handles: dict[int, SpeechHandle] = {}
        self._next_request = 0
        self._muted = False
        self._agents: list[Agent] = []

    @abstractmethod
    def post(self, event: ev.Event) -> None:
        """Take what happened."""

    @abstractmethod
    def _hook(self, hook: Coroutine[Any, Any, None], name: str) -> None: ...

    @abstractmethod
    def _voice_apology(self) -> None: ...

    @abstractmethod
    def _applied(self, policy: Policy) -> Policy:
        """The policy as the settings have it."""

    def say(self, text: str | AsyncIterator[str], *, interruptible: bool = True) -> SpeechHandle:
        """Say something after what is being said now.

        Args:
            text: the words, or an iterator that gives them as they come.
            interruptible: False: it is played to its end whatever the caller says (rule T18).

        Returns:
            A handle: await it to wait until it was heard.

        Raises:
            DraftFenceError: inside a draft.
            UsageError: before the call has begun, or when it is over.
        """
        self._fence("say")
        handle = self._handle_for_speech()
        self._says[handle.request] = Told(text)
        self.post(ev.SayRequested(handle.request, interruptible))
        return handle

    def reply(self, instructions: str = "") -> SpeechHandle:
        """Let the model speak unasked, from the history and these instructions.

        Raises DraftFenceError inside a draft.
        """
        self._fence("reply")
        handle = self._handle_for_speech()
        self._asked[handle.request] = instructions
        self.post(ev.ReplyRequested(handle.request, instructions))
        return handle

    def interrupt(self) -> None:
        """Stop talking now. Raises DraftFenceError inside a draft."""
        self._fence("interrupt")
        self.post(ev.InterruptRequested())

    def end_turn(self) -> None:
        """End the caller's open turn now. Raises UsageError where the source cannot."""
        self._fence("end_turn")
        if not self._source.can_end_turn:
            raise UsageError("this source of turns cannot end a turn on request")
        self._source.end_turn()

    def mute(self, muted: bool = True) -> None:
        """Hear silence in place of the caller, until unmuted. Raises DraftFenceError in a draft.

        A turn that is open then ends as if the caller had stopped speaking.
        """
        self._fence("mute")
        if muted != self._muted:
            self._muted = muted
            self.post(ev.Muted(muted))

    def hand_over(
        self, agent: Agent, *, llm: LLM | None = None, tts: TTS | None = None
    ) -> SpeechHandle | None:
        """Let another agent go on with the conversation, which it knows from the history.

        From the next turn on its instructions, tools and settings hold; what is being said, and
        tools that are running, stay the old agent's. The old agent's ``on_end`` and the new one's
        ``on_start`` are called, and the new one's greeting is said after what is being said now.

        Args:
            agent: an instance that is in no call.
            llm: its model, opened; None: as before.
            tts: its voice, opened, with the same format; None: as before.

        Returns:
            A handle for its greeting; None if it has none.

        Raises:
            DraftFenceError: inside a draft.
            UsageError: the agent is in a call already.
        """
        self._fence("hand_over")
        self._take(agent)
        before, self.agent = self.agent, agent
        self.llm, self.tts = llm or self.llm, tts or self.tts
        self.policy = self._applied(agent.policy())
        self.post(ev.PolicyChanged(self.policy))
        self._voice_apology()
        self._hook(before.on_end("handed over"), "on_end")
        self._hook(agent.on_start(), "on_start")
        return self.say(agent.greeting) if agent.greeting else None

    def _let_agents_go(self) -> None:
        for agent in self._agents:
            agent._session = None
        self._agents.clear()

    def _take(self, agent: Agent) -> None:
        if agent._session is not None:
            raise UsageError(BUSY_AGENT)
        agent._session = cast("Session", self)
        self._agents.append(agent)

    def touch(self) -> None:
        """What replies are made from has changed: drafts made before do not fit any more."""
        self.post(ev.Touched())

    def hang_up(self, reason: str = "agent hung up") -> None:
        """End the call once all that is being said was heard. DraftFenceError inside a draft."""
        self._fence("hang_up")
        self.post(ev.HangUpRequested(reason))

    async def transfer(self, to: str) -> None:
        """Hand the caller to another number.

        Raises DraftFenceError inside a draft, TransportError where the transport cannot.
        """
        self._fence("transfer")
        await self.transport.transfer(to)

    async def send_dtmf(self, digits: str) -> None:
        """Press keys towards the far end.

        Raises DraftFenceError inside a draft, TransportError where the transport cannot.
        """
        self._fence("send_dtmf")
        await self.transport.send_dtmf(digits)

    @property
    def history(self) -> tuple[Message, ...]:
        """The conversation so far, oldest first; of the agent's words only what was heard."""
        return self.machine.messages()

    def remember(self, message: Message) -> None:
        """Add a message to the history. Raises DraftFenceError inside a draft."""
        self._fence("remember")
        self.post(ev.HistoryWritten(message))

    def _handle_for_speech(self) -> SpeechHandle:
        request = self._next_request
        self._next_request += 1
        handle = SpeechHandle(request, self._cancel_speech, self._guard_for(request))
        self._handles[request] = handle
        return handle

    def _cancel_speech(self, request: int) -> None:
        self._fence("cancel")
        self.post(ev.SayCancelled(request))

    def _guard_for(self, request: int) -> Callable[[], None]:
        def guard() -> None:
            run = current_run.get()
            if run is not None and self.machine.is_behind(request, run.id):
                raise SelfWaitError(
                    "this speech is heard only after the reply that waits for it here; "
                    "do not await it inside that reply or its tools"
                )

        return guard

    def _end_speech(self, request: int, heard: str, interrupted: bool) -> None:
        if told := self._says.pop(request, None):
            told.close()
        self._asked.pop(request, None)
        if handle := self._handles.pop(request, None):
            handle._end(heard, interrupted)

    def _fence(self, verb: str) -> None:
        if not self._running:
            raise UsageError(f"session.{verb}() works while the call is going on only")
        run = current_run.get()
        if run is not None and self.machine.is_draft(run.id):
            raise DraftFenceError(verb)
