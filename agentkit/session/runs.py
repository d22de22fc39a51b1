"""One reply being made: the task that writes it, the one that voices it, the tools it wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Protocol

from agentkit._cancelling import cancelled_if_asked
from agentkit.core.commands import StartReply
from agentkit.core.events import (
    Event,
    ModelAnswered,
    ModelAsked,
    ModelCounted,
    ReplyDone,
    ReplyFailed,
    ReplyText,
    SpeechMade,
    ToolRequested,
)
from agentkit.core.history import ToolCall, ToolMessage
from agentkit.errors import AgentkitError, BackendError, DraftFenceError
from agentkit.llm.base import LLMRequest, Usage, estimated_tokens
from agentkit.session.audio import ReplyAudio
from agentkit.session.handles import Turn
from agentkit.tts.base import TTS, SpeechAudio, SpeechStream

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.audio.formats import AudioFormat
    from agentkit.audio.resample import Converter

_KEPT_BACK = 1.0
"""Seconds without text, while the model writes, after which the machine is told that it does."""

current_run: ContextVar[ReplyRun | None] = ContextVar("agentkit_reply", default=None)
"""The reply whose code is running, in the reply's own task and in the tools it asked for."""


class Surroundings(Protocol):
    """What a reply needs of its session."""

    agent: Agent
    tts: TTS
    output: AudioFormat
    prepared: dict[str, bytes]

    def post(self, event: Event) -> None:
        """Take what happened."""

    def made_audio(self, run: ReplyRun) -> None:
        """More of the reply can be played."""

    def spoken(self, text: str, agent: Agent) -> str:
        """The text as the voice shall read it."""

    def failed_in_user_code(self, error: Exception) -> None:
        """The user's own code raised."""


class ReplyRun:
    """A reply from `StartReply` to its end. All methods but `run_tools` return at once.

    Args:
        command: what was decided.
        around: the session.
        turn: the turn it answers, as the user's code sees it.
        texts: gives the text, as it comes; iterated once, from first to last.
    """

    def __init__(
        self,
        command: StartReply,
        around: Surroundings,
        turn: Turn | None,
        texts: Callable[[ReplyRun], AsyncIterator[str]],
    ) -> None:
        self.id = command.reply
        self.kind = command.kind
        self.request = command.request
        self.line = command.text
        self.draft = command.draft
        self.agent = around.agent
        self.turn = turn
        self.audio = ReplyAudio(command.reply, around.output)
        self.closed = False
        self.usage = Usage()
        self._around = around
        self._tts = around.tts
        self._texts = texts
        self._writer: asyncio.Task[None] | None = None
        self._voice: asyncio.Task[None] | None = None
        self._stream: SpeechStream | None = None
        self._whole = 0
        self._gave_text = 0.0
        self._results: dict[str, asyncio.Future[str]] = {}
        self._called: set[str] = set()
        self._lookups: list[asyncio.Task[None]] = []
        if not command.draft:
            self.commit()

    # -------------------------------------------------------------------------------- its life

    def start(self, tasks: asyncio.TaskGroup, context: Context) -> None:
        """Begin to write, in a context of its own, in which it is the current reply."""
        context.run(current_run.set, self)
        self._tasks = tasks
        self._writer = tasks.create_task(
            self._write(), name=f"reply {self.id}: text", context=context
        )

    def commit(self) -> None:
        """It is the reply now."""
        self.draft = False
        if self.turn is not None:
            self.turn._committed.set()

    def park(self) -> None:
        """Its text is complete; keep what was voiced as whole pieces, close the rest."""
        if self._voice is not None and not self._voice.done():
            self._voice.cancel()
        self._stream = None
        self.audio.truncate(self._whole)

    def close(self) -> None:
        """Cancel what is still open; streams are closed on the wire by their tasks."""
        self.closed = True
        self._stream = None
        for task in (self._writer, self._voice):
            if task is not None and not task.done():
                task.cancel()

    def look_up(self, task: asyncio.Task[None]) -> None:
        """A tool that only reads is running for this reply."""
        self._lookups.append(task)

    def drop_lookups(self) -> None:
        """Nobody will want what such tools find."""
        for task in self._lookups:
            task.cancel()

    @contextmanager
    def asking(self, request: LLMRequest) -> Iterator[None]:
        """The model is asked, and answers, inside the block."""
        self._around.post(ModelAsked(self.id, estimated_tokens(request)))
        try:
            yield
        finally:
            if not self.closed:
                self._around.post(ModelAnswered(self.id))

    def answering(self) -> None:
        """The model goes on: told where code of the user's own keeps back what it writes."""
        now = asyncio.get_running_loop().time()
        if now - self._gave_text >= _KEPT_BACK:
            self._gave_text = now
            self._around.post(ModelAnswered(self.id, end=False))

    def spend(self, usage: Usage) -> None:
        """A request to the model has cost this much, by the provider's own count, if it counts."""
        if usage.input or usage.output:
            counted = ModelCounted(self.id, usage.input, usage.output, usage.cached)
            self._around.post(counted)
        self.usage = Usage(
            self.usage.input + usage.input,
            self.usage.output + usage.output,
            self.usage.cached + usage.cached,
        )

    @property
    def writing(self) -> bool:
        """Its text is not complete."""
        return self._writer is not None and not self._writer.done()

    # --------------------------------------------------------------------------------- writing

    async def _write(self) -> None:
        post, loop = self._around.post, asyncio.get_running_loop()
        self._gave_text = loop.time()
        try:
            texts = self._texts(self)
            with cancelled_if_asked():
                async with aclosing(texts):  # type: ignore[type-var]
                    async for text in texts:
                        if self.closed:
                            return  # a brain that took no notice of being cancelled
                        self._gave_text = loop.time()
                        post(ReplyText(self.id, text))
        except BackendError as error:
            post(ReplyFailed(self.id, "llm", f"{error.code}.{error.failure}", error.retryable))
        except AgentkitError as error:
            self._around.failed_in_user_code(error)
            post(ReplyFailed(self.id, "llm", error.code, False))
        except Exception as error:
            # A draft fails in silence: its turn's reply is begun afresh (T7), where what the fence
            # stopped would go unseen.
            if not self.draft or _stopped_by_fence(error):
                self._around.failed_in_user_code(error)
            post(ReplyFailed(self.id, "llm", type(error).__name__, False))
        else:
            post(ReplyDone(self.id))

    async def run_tools(self, calls: Sequence[ToolCall]) -> list[ToolMessage]:
        """Ask for tools and wait for their results, in the order of the calls.

        Tools that only read run at once, also in a draft; those with effects wait until the turn
        has settled (rule T6). Cancelling stops the waiting; tools with effects that have begun run
        on.
        """
        loop = asyncio.get_running_loop()
        waiting = {call.id: loop.create_future() for call in calls}
        self._results.update(waiting)
        tools = {call.id: self.agent.tools.get(call.name) for call in calls}
        effects = frozenset(key for key, tool in tools.items() if tool and not tool.read_only)
        at_once = frozenset(key for key, tool in tools.items() if tool and tool.settle == 0)
        filler = next((tool.filler for tool in tools.values() if tool and tool.filler), "")
        self._around.post(ToolRequested(self.id, tuple(calls), effects, effects & at_once, filler))
        return [ToolMessage(call.id, call.name, await waiting[call.id]) for call in calls]

    def name_once(self, call: ToolCall) -> ToolCall:
        """The call, under an id that no other of this reply has.

        Some servers count from 0 again in each request.
        """
        name, count = call.id, 1
        while name in self._called:
            count += 1
            name = f"{call.id}-{count}"
        self._called.add(name)
        return call if name == call.id else ToolCall(name, call.name, call.arguments)

    def tool_returned(self, call_id: str, text: str) -> None:
        """A tool that this reply waits for has come back."""
        future = self._results.pop(call_id, None)
        if future is not None and not future.done():
            future.set_result(text)

    # -------------------------------------------------------------------------------- speaking

    def speak(self, piece: int, text: str) -> None:
        """Give the voice a piece of text."""
        spoken = self._around.spoken(text, self.agent).strip()
        ready = self._around.prepared.get(spoken) if self.kind == "apology" else None
        if ready is not None and self._stream is None:
            self._made(piece, ready, end=True)
            return
        try:
            if self._stream is None:
                self._stream = self._tts.open()
                self._voice = self._tasks.create_task(
                    self._listen(self._stream, piece), name=f"reply {self.id}: voice"
                )
            if spoken:
                self._stream.push(spoken)
            self._stream.flush()
        except Exception as error:
            self._voice_failed(error)

    def end_speech(self) -> None:
        """The voice has had everything."""
        if self._stream is not None:
            self._stream.end()

    async def _listen(self, stream: SpeechStream, piece: int) -> None:
        convert = self._converter()
        try:
            with cancelled_if_asked():
                async for event in stream:
                    if stream is not self._stream:
                        return  # a voice that took no notice of being cancelled
                    if isinstance(event, SpeechAudio):
                        data = convert.convert(event.data) if convert else event.data
                        self._made(piece, data, event)
                        await self.audio.room()
                    else:
                        self._made(piece, convert.flush() if convert else b"", end=True)
                        piece += 1
        except Exception as error:
            self._voice_failed(error)
        finally:
            await stream.cancel()

    def _voice_failed(self, error: Exception) -> None:
        if isinstance(error, BackendError):
            code = f"{error.code}.{error.failure}"
            self._around.post(ReplyFailed(self.id, "tts", code, error.retryable))
            return
        self._around.failed_in_user_code(error)
        self._around.post(ReplyFailed(self.id, "tts", type(error).__name__, False))

    def _made(
        self, piece: int, data: bytes, event: SpeechAudio | None = None, *, end: bool = False
    ) -> None:
        if not data and not end:
            return
        self.audio.append(data)
        if end:
            self._whole = self.audio.size
        seconds = self.audio.format.seconds(len(data))
        words = event.words if event else ()
        self._around.post(SpeechMade(self.id, piece, seconds, words, end))
        if data:
            self._around.made_audio(self)

    def _converter(self) -> Converter | None:
        voice, far = self._tts.format, self._around.output
        if voice == far:
            return None
        from agentkit.audio.resample import Converter

        return Converter(voice, far)


def _stopped_by_fence(error: BaseException | None) -> bool:
    """Whether the error is, or was made from, a verb that was used inside a draft (T24)."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, DraftFenceError):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
