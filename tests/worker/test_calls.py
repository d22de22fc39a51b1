"""Calls with real speech: agentkit's client, the Worker, the offline engine, and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from agentkit import Agent
from agentkit.audio import AudioFormat
from agentkit.backends import open_backends
from agentkit.config import Settings
from agentkit.core import events as ev
from agentkit.flux import CLOUDFLARE, FluxOptions, FluxSource
from agentkit.testing import ScriptedLLM, ScriptedTTS
from tests.worker.speech import Speech, likeness
from tests.worker.worker import SECRET, Worker
from tests.worker.workers_ai import WorkersAI

pytestmark = pytest.mark.asyncio(loop_scope="session")

LINE = AudioFormat("linear16", 16000)
FRAME = 0.02


class Caller:
    """A running source, and what it heard."""

    def __init__(self, source: FluxSource) -> None:
        self.source = source
        self.events: list[ev.SourceEvent] = []
        self._changed = asyncio.Event()

    def emit(self, event: ev.SourceEvent) -> None:
        self.events.append(event)
        self._changed.set()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[Any]) -> Any:
        async with asyncio.timeout(5):
            while not self.of(kind):
                self._changed.clear()
                await self._changed.wait()
        return self.of(kind)[0]

    async def say(self, speech: Speech) -> Any:
        """Speak in real time, then be silent until the turn is over; returns its end."""
        ends = len(self.of(ev.TurnEnded))
        size = LINE.size(FRAME)
        loop = asyncio.get_running_loop()
        due = loop.time()
        place = 0
        async with asyncio.timeout(20):
            while len(self.of(ev.TurnEnded)) == ends:
                frame = speech.samples[place : place + size]
                self.source.feed(frame.ljust(size, b"\x00"))
                place += size
                due += FRAME
                await asyncio.sleep(due - loop.time())
        return self.of(ev.TurnEnded)[-1]


@asynccontextmanager
async def calling(source: FluxSource) -> AsyncIterator[Caller]:
    caller = Caller(source)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(source.run(LINE, caller.emit, loop.time))
        yield caller
        await source.aclose()
        async with asyncio.timeout(10):
            await running


def source_of(worker: Worker, token: str = SECRET) -> FluxSource:
    return FluxSource(url=f"ws://{worker.host}/flux", token=token, dialect=CLOUDFLARE)


class Receptionist(Agent):
    flux = FluxOptions(
        eager_eot_threshold=0.4,
        eot_threshold=0.7,
        eot_timeout_ms=4000,
        keyterms=("John Dashwood", "Middleton"),
        mip_opt_out=True,
        tags=("tests",),
    )


@asynccontextmanager
async def calling_as_set(worker: Worker) -> AsyncIterator[Caller]:
    """With the settings that the Worker's README names."""
    environment = {
        "AGENTKIT_FLUX": f"cloudflare+ws://{worker.host}/flux",
        "CLOUDFLARE_WORKER_TOKEN": SECRET,
    }
    silent = {"llm": ScriptedLLM(), "tts": ScriptedTTS()}
    settings = Settings.load(env=environment, flags=silent)
    async with open_backends(settings, Receptionist) as backends:
        source = backends.source()
        assert isinstance(source, FluxSource)
        async with calling(source) as caller:
            yield caller


async def test_turns_come_back_with_their_words(
    worker: Worker, workers_ai: WorkersAI, sentences: list[Speech]
) -> None:
    first, second = sentences[1], sentences[4]
    async with calling_as_set(worker) as caller:
        ends = [await caller.say(first), await caller.say(second)]
    assert workers_ai.asked[0].inputs == {
        "encoding": "linear16",
        "sample_rate": "16000",
        "eager_eot_threshold": "0.4",
        "eot_threshold": "0.7",
        "eot_timeout_ms": "4000",
        "keyterm": ["John Dashwood", "Middleton"],
        "mip_opt_out": "true",
        "tag": "tests",
    }
    for end, speech in zip(ends, (first, second), strict=True):
        assert likeness(speech.text, end.text) > 0.85, end.text
        assert all(word.start < word.end for word in end.words)
        assert all(one.start <= other.start for one, other in pairwise(end.words))
    assert [end.index for end in ends] == [0, 1]
    assert len(caller.of(ev.TurnStarted)) == 2
    assert len(caller.of(ev.TurnMaybeEnded)) >= 2
    assert caller.of(ev.SourceLost) == caller.of(ev.SourceFailed) == []
    assert len(workers_ai.asked) == 1
    assert '"by":"model","code":1005' in worker.output.read_text()


async def test_messages_with_no_more_than_the_published_fields_are_understood(
    worker: Worker, workers_ai: WorkersAI, sentences: list[Speech]
) -> None:
    workers_ai.form = "published"
    speech = sentences[1]
    async with calling(source_of(worker)) as caller:
        end = await caller.say(speech)
    assert likeness(speech.text, end.text) > 0.85, end.text
    assert [word.start for word in end.words] == [None] * len(end.words)
    assert likeness(end.text, " ".join(word.text for word in end.words)) == 1.0
    assert caller.of(ev.SourceOddity) == []


async def test_a_refused_token_fails_the_source_with_the_workers_reason(worker: Worker) -> None:
    async with calling(source_of(worker, "wrong")) as caller:
        failed = await caller.until(ev.SourceFailed)
    assert "401" in failed.message
    assert "The token is wrong." in failed.message


async def test_a_lost_model_is_a_lost_connection_and_the_source_makes_another(
    worker: Worker, workers_ai: WorkersAI, sentences: list[Speech]
) -> None:
    async def vanish(connection: Any) -> None:
        await connection.recv()
        workers_ai.serve = None
        connection.transport.abort()

    workers_ai.serve = vanish
    async with calling(source_of(worker)) as caller:
        end = await caller.say(sentences[1])
    [lost] = caller.of(ev.SourceLost)
    assert lost.reason == (
        "Flux: closed by the server with 1011 the connection to the model broke off"
    )
    assert end.connection == 1
    assert likeness(sentences[1].text, end.text) > 0.85, end.text
