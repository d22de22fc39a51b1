"""Lines that are typed become turns, in order with those that are heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agentkit import Agent
from agentkit.audio.formats import AudioFormat
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.machine import TurnMachine
from agentkit.observe import RecordWriter, read_record, replay
from agentkit.session import Session
from agentkit.talk.typed import TypedSource
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.source import ScriptedSource
from agentkit.testing.transport import FakeTransport


class Talk:
    def __init__(self, record: Any = None) -> None:
        self.ears, self.line = ScriptedSource(), FakeTransport()
        self.source = TypedSource(self.ears)
        self.commands: list[cmd.Command] = []
        self.session = Session(
            Agent(),
            self.line,
            flux=self.source,
            llm=ScriptedLLM(lambda _request: "Right, that is noted."),
            tts=ScriptedTTS(),
            observers=[self.watch, *([record] if record else [])],
        )

    def watch(self, _now: float, _event: ev.Event, commands: Any) -> None:
        self.commands += commands

    @property
    def turns(self) -> list[str]:
        return [each.text for each in self.commands if isinstance(each, cmd.TurnCommitted)]

    @property
    def oddities(self) -> list[str]:
        return [each.kind for each in self.commands if isinstance(each, cmd.Oddity)]


@asynccontextmanager
async def talking(record: Any = None) -> AsyncIterator[Talk]:
    talk = Talk(record)
    async with talk.session, asyncio.TaskGroup() as tasks:
        call = tasks.create_task(talk.session.run())
        await talk.ears.ready()
        talk.ears.connected()
        yield talk
        talk.line.hang_up_remote()
        await call


@in_virtual_time()
async def test_a_typed_line_is_answered_and_so_is_what_is_said_next() -> None:
    async with talking() as talk:
        talk.source.type_line("  what are your\thours? ")
        await asyncio.sleep(3)
        talk.ears.start("thank")
        talk.ears.end("thank you very much")
        await asyncio.sleep(3)
        talk.source.type_line("goodbye")
        talk.source.type_line("   ")
        await asyncio.sleep(3)
        assert talk.turns == ["what are your hours?", "thank you very much", "goodbye"]
        assert [message.text for message in talk.session.history][1::2] == [
            "Right, that is noted."
        ] * 3
    assert talk.oddities == []


@in_virtual_time()
async def test_T16_a_typed_line_interrupts() -> None:
    async with talking() as talk:
        said = talk.session.say("one two three four five six seven eight nine ten. " * 4)
        await asyncio.sleep(2)
        talk.source.type_line("stop that please")
        await asyncio.sleep(3)
        assert said.interrupted
        assert talk.turns == ["stop that please"]


@in_virtual_time()
async def test_T15_a_line_typed_while_the_caller_speaks_becomes_one_turn_with_it() -> None:
    async with talking() as talk:
        talk.ears.start("")
        talk.ears.update("my name is")
        talk.source.type_line("Siobhan")
        talk.ears.update("my name is shivawn")  # of a turn that is answered already
        talk.ears.end("my name is shivawn")
        await asyncio.sleep(3)
        talk.ears.start("and")
        talk.ears.end("and a table for two")
        await asyncio.sleep(3)
        assert talk.turns == ["my name is Siobhan", "and a table for two"]
    assert talk.oddities == []


@in_virtual_time()
async def test_T14_a_line_typed_without_a_connection_waits_for_the_next() -> None:
    async with talking() as talk:
        talk.source.type_line("one")
        await asyncio.sleep(3)
        talk.ears.lose()
        talk.source.type_line("two")
        await asyncio.sleep(1)
        assert talk.turns == ["one"]
        talk.ears.connected()
        await asyncio.sleep(3)
        talk.ears.start("three")
        talk.ears.end("three")
        await asyncio.sleep(3)
        assert talk.turns == ["one", "two", "three"]
    assert talk.oddities == []


@in_virtual_time()
async def test_T22_a_record_with_typed_lines_replays(tmp_path: Any) -> None:
    with RecordWriter(tmp_path / "record.jsonl", Agent().policy()) as writer:
        async with talking(writer) as talk:
            talk.ears.start("hello")
            talk.source.type_line("what are your hours?")
            await asyncio.sleep(3)
    record = read_record(tmp_path / "record.jsonl")
    ended = [event for _, event, _ in record.entries if isinstance(event, ev.TurnEnded)]
    assert [event.trigger for event in ended] == ["typed"]
    assert replay(record, TurnMachine) is None


async def test_all_else_is_the_ears() -> None:
    ears = ScriptedSource(can_configure=False)
    source = TypedSource(ears)
    assert (source.can_configure, source.can_end_turn) == (False, True)
    running = asyncio.create_task(source.run(AudioFormat(), lambda event: None, lambda: 0.0))
    await ears.ready()
    source.feed(b"12")
    source.end_turn()
    source.reconnect("why")
    assert ears.audio_fed() == b"12"
    assert ears.reconnects == ["why"]
    assert len(ears.turns_ended_at) == 1
    assert source.audio_dropped == 0.0
    source.configure({"eot_threshold": 0.8})
    assert ears.configured == [{"eot_threshold": 0.8}]
    assert source.options_now(["eot_threshold"]) == ears.options_now(["eot_threshold"])
    await source.aclose()
    await running
