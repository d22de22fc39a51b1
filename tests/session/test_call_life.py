"""How a call begins and ends, and what is left of it: what others have reported, here it holds.

Each test names the report: a repository's issue or pull request. LK is livekit/agents, JS
livekit/agents-js, P pipecat-ai/pipecat.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from agentkit import Agent, tool
from agentkit.core import commands as cmd
from agentkit.core.history import ToolCall
from agentkit.errors import TransportError
from agentkit.testing.backends import ScriptedLLM, ScriptedReply, ScriptedTTS
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.source import ScriptedSource
from agentkit.testing.transport import FakeTransport

Converse = Any
LONG = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen."


async def say_turn(talk: Any, words: str, *, lead: float = 0.3, after: float = 0.0) -> None:
    """A turn with a draft, ``lead`` seconds before its end; then time passes."""
    talk.source.start(words)
    talk.source.maybe_end(words)
    await asyncio.sleep(lead)
    talk.source.end(words)
    await asyncio.sleep(after)


class Slow(ScriptedLLM):
    """A model whose server takes its time to be connected to."""

    async def warm(self) -> None:
        await asyncio.sleep(8.0)


class SlowVoice(ScriptedTTS):
    async def warm(self) -> None:
        await asyncio.sleep(8.0)


@in_virtual_time()
async def test_P5868_the_caller_is_heard_and_greeted_while_the_model_is_connected_to(
    converse: Converse,
) -> None:
    """Also P#2957, P#3752: 1 to 5 s before the first word, and nobody heard the caller."""

    class Greeter(Agent):
        greeting = "Good morning."

    async with converse(Greeter(), llm=Slow(), tts=SlowVoice()) as talk:
        began = asyncio.get_running_loop().time()
        assert began < 0.1
        talk.line.feed(b"\x01\x02" * 320)
        assert talk.source.audio_fed() == b"\x01\x02" * 320
        await asyncio.sleep(2.0)
        assert talk.history == ["assistant: Good morning."]


@in_virtual_time()
async def test_P5868_a_backend_that_cannot_be_warmed_ends_no_call(converse: Converse) -> None:
    class Broken(ScriptedLLM):
        async def warm(self) -> None:
            raise OSError("no route to host")

    async with converse(llm=Broken(["Good morning."])) as talk:
        await say_turn(talk, "hello", after=3.0)
        assert talk.history == ["user: hello", "assistant: Good morning."]


# ----------------------------------------------------------------------------- the call's end


@in_virtual_time()
async def test_P2999_the_end_of_the_call_waits_for_no_backend(converse: Converse) -> None:
    """Also PR#5211, P#3179: the call stayed up until its process was killed."""
    tts = SlowVoice(first_byte=60.0)
    async with converse(llm=Slow([LONG], first_token=60.0), tts=tts) as talk:
        await say_turn(talk, "hello")
        talk.session.say("One moment please.")
        await asyncio.sleep(1.0)
        ended = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - ended < 0.1
    assert all(stream.closed_at is not None for stream in tts.streams)


@in_virtual_time()
async def test_P2999_a_hook_that_hangs_holds_the_end_up_for_a_while_only(
    conversation: Any,
) -> None:
    class Hanging(Agent):
        async def on_end(self, reason: str) -> None:
            await asyncio.Event().wait()

    async with asyncio.timeout(30):
        talk = conversation(Hanging())
        before = asyncio.all_tasks()
        async with talk.session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(talk.session.run())
            await talk.source.ready()
            talk.line.hang_up_remote()
            ended = asyncio.get_running_loop().time()
            await running
        assert asyncio.get_running_loop().time() - ended <= 5.1
        assert asyncio.all_tasks() == before


@in_virtual_time()
async def test_P2145_a_carrier_that_refuses_to_hang_up_does_not_break_the_call(
    conversation: Any,
) -> None:
    """Also P#2218, P#1461, P#728: the caller had hung up already, and the carrier said 404."""

    class Gone(FakeTransport):
        async def hang_up(self) -> None:
            self.hang_up_remote("caller hung up")
            raise TransportError("404: no such call")

    talk = conversation(Agent(), line=Gone())
    async with talk.session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(talk.session.run())
        await talk.source.ready()
        talk.session.hang_up()
        talk.session.hang_up()
        record = await running
    assert record.reason == "caller hung up"


@in_virtual_time()
async def test_P2145_a_line_that_does_not_end_is_closed(conversation: Any) -> None:
    """Hanging up was told to the carrier, and nothing came of it."""

    class Stuck(FakeTransport):
        async def hang_up(self) -> None:
            self.hung_up = True

    talk = conversation(Agent(), line=Stuck())
    async with talk.session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(talk.session.run())
        await talk.source.ready()
        talk.session.hang_up()
        begun = asyncio.get_running_loop().time()
        record = await running
    assert record.reason == "closed"
    assert asyncio.get_running_loop().time() - begun == pytest.approx(5.0)


@in_virtual_time()
async def test_a_line_that_breaks_ends_the_call_in_order(conversation: Any) -> None:
    """With an error of the operating system's that its transport did not translate."""

    class Broken(FakeTransport):
        async def run(self, sink: Any) -> str:
            await asyncio.sleep(1.0)
            raise ConnectionResetError("by the far end")

    class Ending(Agent):
        greeting = "Good morning to you, this is the clinic."
        ended = ""

        async def on_end(self, reason: str) -> None:
            self.ended = reason

    talk = conversation(Ending(), line=Broken())
    async with talk.session:
        record = await talk.session.run()
    assert record.reason == talk.agent.ended == "transport failed"


@in_virtual_time()
async def test_PR6429_a_source_that_raises_has_given_up(conversation: Any) -> None:
    """A send on a dead socket ended the listening, and nobody was told."""

    class Broken(ScriptedSource):
        async def run(self, audio: Any, emit: Any, clock: Any) -> None:
            listening = asyncio.ensure_future(super().run(audio, emit, clock))
            await asyncio.sleep(1.0)
            listening.cancel()
            raise ValueError("a fault in its code")

    talk = conversation(Agent(), source=Broken(), llm=ScriptedLLM(["Good morning to you."]))
    async with talk.session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(talk.session.run())
        await talk.source.ready()
        talk.source.connected()
        talk.source.start("hello")
        record = await running
    said = [message.text for message in record.messages]
    assert said == ["hello", "Good morning to you.", Agent.apology]
    assert talk.of(cmd.HangUp) == [cmd.HangUp("source_failed")]


@in_virtual_time()
async def test_LK5096_a_goodbye_is_heard_to_its_end_and_the_call_ends_once(
    conversation: Any,
) -> None:
    class Leaver(Agent):
        @tool
        async def end_call(self) -> str:
            """End the call."""
            self.session.say("Goodbye, and thank you for your call.")
            self.session.hang_up("done")
            self.session.hang_up("again")
            return "the call ends"

    call = ToolCall("c1", "end_call", "{}")
    llm = ScriptedLLM([ScriptedReply("", tools=(call,)), "Have a nice day."])
    talk = conversation(Leaver(), llm=llm)
    async with talk.session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(talk.session.run())
        await talk.source.ready()
        talk.source.connected()
        await say_turn(talk, "that is all")
        record = await running
    said = [message.text for message in record.messages]
    assert said[-1] == "Goodbye, and thank you for your call."
    assert [event.kind for event in talk.line.events].count("hang_up") == 1
    assert record.reason == "done"


# ---------------------------------------------------------------------------- many, and again


@in_virtual_time()
async def test_LK4331_many_calls_at_once_each_have_their_own_answers(conversation: Any) -> None:
    """Also P#764, P#3378: with two or three at once the agents fell silent, or lagged behind."""
    llm = ScriptedLLM(lambda request: f"Answer to {request.messages[-1].text}.", first_token=0.3)
    tts = ScriptedTTS(first_byte=0.1)

    async def call(number: int) -> tuple[list[str], float]:
        talk = conversation(Agent(), llm=llm, tts=tts)
        async with talk.session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(talk.session.run())
            await talk.source.ready()
            talk.source.connected()
            await asyncio.sleep(number / 100)
            await say_turn(talk, f"question {number}", lead=0.5)
            ended = asyncio.get_running_loop().time()
            await asyncio.sleep(4.0)
            talk.line.hang_up_remote()
            await running
        return talk.history, talk.line.first_heard_at - ended

    async with asyncio.TaskGroup() as calls:
        made = [calls.create_task(call(number)) for number in range(25)]
    for number, done in enumerate(made):
        history, reaction = done.result()
        words = f"question {number}"
        assert history == [f"user: {words}", f"assistant: Answer to {words}."]
        assert reaction == pytest.approx(0.0, abs=1e-6)


@in_virtual_time()
async def test_LK2166_nothing_of_a_call_is_left_in_memory(conversation: Any) -> None:
    """Also P#3750: memory grew with every call."""
    llm, tts = ScriptedLLM(lambda request: "Sure, I can do that."), ScriptedTTS()

    async def call() -> list[weakref.ref[Any]]:
        talk = conversation(Agent(), llm=llm, tts=tts)
        async with talk.session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(talk.session.run())
            await talk.source.ready()
            talk.source.connected()
            await say_turn(talk, "hello", after=1.0)
            talk.source.start("and")
            talk.source.maybe_end("and another")
            talk.line.hang_up_remote()
            await running
        return [weakref.ref(one) for one in (talk.session, talk.agent, talk.line, talk.source)]

    kept = [one for _ in range(5) for one in await call()]
    await asyncio.sleep(0)
    gc.collect()
    assert [one() for one in kept] == [None] * len(kept)


@in_virtual_time()
async def test_P4765_the_same_model_and_voice_serve_one_call_after_another(
    conversation: Any,
) -> None:
    """A pipeline that was used again dropped its speech in silence. A session is for one call."""
    llm, tts = ScriptedLLM(["One.", "Two."]), ScriptedTTS()
    agent = Agent()
    for text in ("One.", "Two."):
        talk = conversation(agent, llm=llm, tts=tts)
        async with talk.session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(talk.session.run())
            await talk.source.ready()
            talk.source.connected()
            await say_turn(talk, "hello", after=3.0)
            talk.line.hang_up_remote()
            await running
        assert talk.history == ["user: hello", f"assistant: {text}"]
        assert talk.line.heard_seconds() > 0
    assert not llm.closed
    assert not tts.closed
