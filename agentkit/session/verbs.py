"""What an agent can tell its session to do, and the fence around drafts (rule T24)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TYPE_CHECKING

from agentkit.core import events as ev
from agentkit.core.history import Message
from agentkit.errors import DraftFenceError, SelfWaitError, UsageError
from agentkit.session.handles import SpeechHandle
from agentkit.session.runs import current_run

if TYPE_CHECKING:
    from agentkit.core.machine import TurnMachine
    from agentkit.transports.base import Transport
    from agentkit.turns import TurnSource


class Told:
    """What the agent was told to say: told again from its beginning if the first attempt fails.

    Args:
        text: the words, or an iterator that gives them as they come.
    """

    def __init__(self, text: str | AsyncIterator[str]) -> None:
        self._so_far = [text] if isinstance(text, str) else []
        self._rest = None if isinstance(text, str) else aiter(text)

    async def tell(self) -> AsyncGenerator[str, None]:
        """Yield the words."""
        for text in tuple(self._so_far):
            yield text
        if self._rest is not None:
            async for text in self._rest:
                self._so_far.append(text)
                yield text


class Verbs(ABC):
    """The verbs of a `agentkit.session.Session`."""

    machine: TurnMachine
    transport: Transport
    _source: TurnSource

    def __init__(self) -> None:
        self._running = False
        self._says: dict[int, Told] = {}
        self._asked: dict[int, str] = {}
        self._handles: dict[int, SpeechHandle] = {}
        self._next_request = 0
        self._muted = False

    @abstractmethod
    def post(self, event: ev.Event) -> None:
        """Take what happened."""

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
        """Hear silence in place of the caller, until unmuted. Raises DraftFenceError in a draft."""
        self._fence("mute")
        self._muted = muted

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
        self._says.pop(request, None)
        self._asked.pop(request, None)
        if handle := self._handles.pop(request, None):
            handle._end(heard, interrupted)

    def _fence(self, verb: str) -> None:
        if not self._running:
            raise UsageError(f"session.{verb}() works while the call is going on only")
        run = current_run.get()
        if run is not None and self.machine.is_draft(run.id):
            raise DraftFenceError(verb)
