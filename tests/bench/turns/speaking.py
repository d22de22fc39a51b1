"""A model, a voice and a line whose times were drawn beforehand, and that count what they do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from agentkit.audio.formats import AudioFormat
from agentkit.core.history import ToolCall, ToolMessage, UserMessage
from agentkit.llm.base import LLM, Finish, LLMEvent, LLMRequest, TextDelta, Usage
from agentkit.session.runs import current_run
from agentkit.testing.backends import ScriptedTTS
from agentkit.testing.transport import FakeTransport
from tests.bench.turns.parameters import Backends
from tests.bench.turns.plan import PlannedTurn

LINE = AudioFormat("mulaw", 8000)


@dataclass(slots=True)
class Asked:
    """One request to the model. Tokens are words; what was in a cache is counted apart."""

    reply: int
    turn: int
    began: float
    draft: bool
    prompt: int
    cached: int
    first_token: float
    output: int = 0
    closed: float | None = None


class CountingLLM(LLM):
    """Answers each turn with the words and the delay that were planned for it.

    A second request for the same words, while the first one has not answered, has a delay of its
    own: that is what it is made for.

    Args:
        backends: the parameters.
    """

    name = "simulated/model"

    def __init__(self, backends: Backends) -> None:
        self.backends = backends
        self.asked: list[Asked] = []
        self.turn: PlannedTurn | None = None
        self.index = -1
        self._prompts: list[str] = []
        self._waiting: list[str] = []

    def begin(self, index: int, turn: PlannedTurn) -> None:
        """From now on requests are about this turn."""
        self.index, self.turn = index, turn

    async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        """Answer as planned."""
        turn = self.turn
        assert turn is not None
        prompt = _prompt(request)
        delay = turn.hedge if prompt in self._waiting and not request.draft else turn.first_token
        asked = self._note(request, prompt, delay)
        self._waiting.append(prompt)
        due = asked.began + delay
        try:
            await _until(due)
            self._waiting.remove(prompt)
            if turn.tool and not isinstance(request.messages[-1], ToolMessage):
                words = json.dumps({"words": _last_words(request)})
                asked.output = 1
                yield ToolCall(f"call-{len(self.asked)}", turn.tool, words)
                yield Finish("tool_calls", Usage(asked.prompt, 1, asked.cached))
                return
            for n, word in enumerate(turn.reply.split()):
                await _until(due)
                due += self.backends.per_token
                asked.output += 1
                yield TextDelta(word if n == 0 else f" {word}")
            yield Finish("stop", Usage(asked.prompt, asked.output, asked.cached))
        finally:
            if prompt in self._waiting and asked.output == 0:
                self._waiting.remove(prompt)
            asked.closed = asyncio.get_running_loop().time()

    def _note(self, request: LLMRequest, prompt: str, delay: float) -> Asked:
        run = current_run.get()
        assert run is not None
        per_token = self.backends.characters_per_token
        shared = max((_shared(prompt, old) for old in self._prompts), default=0)
        asked = Asked(
            run.id,
            self.index,
            asyncio.get_running_loop().time(),
            request.draft,
            round(len(prompt) / per_token),
            round(shared / per_token),
            delay,
        )
        self.asked.append(asked)
        self._prompts = [*self._prompts[-3:], prompt]
        return asked


def _prompt(request: LLMRequest) -> str:
    return "\n".join((request.instructions, *(message.text for message in request.messages)))


def _shared(one: str, other: str) -> int:
    """How many characters both begin with: a prefix of prefixes, found by halving."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[:middle] == other[:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _last_words(request: LLMRequest) -> str:
    said = [message.text for message in request.messages if isinstance(message, UserMessage)]
    return said[-1] if said else ""


async def _until(due: float) -> None:
    await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


def voice(backends: Backends) -> ScriptedTTS:
    """The voice; its `first_byte` is set anew for each turn."""
    return ScriptedTTS(
        format=LINE,
        per_character=backends.per_character,
        pace=backends.voice_pace,
        words=True,
    )


class Line(FakeTransport):
    """A line that the caller listens to.

    Args:
        backends: the parameters.
    """

    def __init__(self, backends: Backends) -> None:
        super().__init__(input=LINE, output=LINE, latency=backends.downlink, buffer=backends.buffer)
        self.changed = asyncio.Event()
        self.stopped_at: float | None = None
        """The agent was stopped then, and has not gone on."""

    def play(self, data: bytes) -> None:
        """Send audio to the caller."""
        super().play(data)
        self.stopped_at = None
        self.changed.set()

    def clear(self) -> None:
        """What was not heard never is."""
        was_playing = self.is_playing
        super().clear()
        if was_playing:
            self.stopped_at = self.cleared_at[-1]
        self.changed.set()

    @property
    def ends_at(self) -> float:
        """When all that was sent so far is over."""
        return self._playout.end
