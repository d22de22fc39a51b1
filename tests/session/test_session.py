"""The session carries out what the machine decides, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from agentkit.agent import Agent
from agentkit.core import commands as cmd
from agentkit.core.history import ToolCall
from agentkit.errors import DraftFenceError, LLMError, SelfWaitError, TTSError, UsageError
from agentkit.session import Turn
from agentkit.testing.backends import ScriptedLLM, ScriptedReply, ScriptedTTS
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.transport import FakeTransport
from agentkit.tools import tool

Converse = Any


async def one_turn(talk: Any, words: str = "book a table", lead: float = 1.0) -> float:
    """A turn with a draft ``lead`` seconds before its end; returns the time of the end."""
    talk.source.start(words)
    await asyncio.sleep(0.5)
    talk.source.maybe_end(words)
    await asyncio.sleep(lead)
    talk.source.end(words)
    return asyncio.get_running_loop().time()


@in_virtual_time()
async def test_T4_a_draft_that_is_ready_is_heard_at_once(converse: Converse) -> None:
    llm = ScriptedLLM(["Sure, I can do that for you."], first_token=0.3, per_token=0.02)
    async with converse(llm=llm, tts=ScriptedTTS(first_byte=0.1)) as talk:
        ended = await one_turn(talk)
        await talk.line.until_quiet()
        assert talk.line.first_heard_at == pytest.approx(ended, abs=1e-6)
        assert len(llm.requests) == 1
        await asyncio.sleep(1)
        assert talk.history == ["user: book a table", "assistant: Sure, I can do that for you."]
    assert talk.reason


@in_virtual_time()
async def test_the_reaction_is_at_the_bound_when_the_draft_is_not_ready(converse: Converse) -> None:
    llm = ScriptedLLM(["Sure. I can do that for you."], first_token=0.3, per_token=0.0)
    async with converse(llm=llm, tts=ScriptedTTS(first_byte=0.1)) as talk:
        ended = await one_turn(talk, lead=0.25)
        await talk.line.until_quiet()
        assert talk.line.first_heard_at - ended == pytest.approx(0.3 + 0.1 - 0.25, abs=0.002)


@in_virtual_time()
async def test_T3_resumed_closes_the_models_stream(converse: Converse) -> None:
    llm = ScriptedLLM(["Sure, I can do that for you."] * 2, first_token=0.5)
    async with converse(llm=llm) as talk:
        talk.source.start("book")
        talk.source.maybe_end("book")
        await asyncio.sleep(0.2)
        talk.source.resume("book a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert llm.generations[0].closed_early
        assert llm.warmed >= 2, "a warm spare for the next request"
        talk.source.end("book a table")
        await talk.line.until_quiet()
        await asyncio.sleep(0.5)
        assert talk.history[0] == "user: book a table"


@in_virtual_time()
async def test_the_greeting_is_said_and_remembered(converse: Converse) -> None:
    class Greeter(Agent):
        greeting = "Good morning, this is the clinic."

    async with converse(Greeter()) as talk:
        await asyncio.sleep(0.1)
        await talk.line.until_quiet()
        await asyncio.sleep(0.5)
        assert talk.history == ["assistant: Good morning, this is the clinic."]


@in_virtual_time()
async def test_T16_an_interruption_clears_the_line_and_cuts_the_history(converse: Converse) -> None:
    llm = ScriptedLLM(["One two three four five six seven eight nine ten eleven twelve thirteen."])
    async with converse(llm=llm) as talk:
        await one_turn(talk, "count")
        await asyncio.sleep(1.5)
        talk.source.start("stop it please")
        before = talk.line.heard_seconds()
        await asyncio.sleep(1)
        assert talk.line.heard_seconds() <= before + 0.021
        talk.source.end("stop it please")
        assert talk.history[1].endswith("(interrupted)")


@in_virtual_time()
async def test_T17_a_held_reply_goes_on_without_a_word_lost(converse: Converse) -> None:
    text = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen."
    async with converse(llm=ScriptedLLM([text])) as talk:
        await one_turn(talk, "count")
        await asyncio.sleep(1.5)
        talk.source.start("")
        await asyncio.sleep(1.2)
        talk.source.end("")
        await asyncio.sleep(0.5)
        await talk.line.until_quiet()
        await asyncio.sleep(2.5)
        made = talk.tts.seconds_for(text) if hasattr(talk.tts, "seconds_for") else None
        assert talk.history[1] == f"assistant: {text}"
        if made is not None:
            assert made <= talk.line.heard_seconds() <= made + 1.0


class Booker(Agent):
    def __init__(self) -> None:
        self.booked: list[str] = []
        self.turns: list[str] = []
        self.errors: list[object] = []
        self.ended: list[str] = []

    @tool
    async def book(self, name: str) -> str:
        """Book an appointment."""
        self.booked.append(name)
        return f"booked for {name}"

    @tool(read_only=True)
    async def hours(self) -> str:
        """Opening hours."""
        return "nine to five"

    async def on_turn(self, turn: Turn) -> None:
        self.turns.append(turn.text)

    async def on_error(self, error: object) -> None:
        self.errors.append(error)

    async def on_end(self, reason: str) -> None:
        self.ended.append(reason)


def with_tool(name: str, arguments: str, after: str) -> ScriptedLLM:
    call = ToolCall("call-1", name, arguments)
    return ScriptedLLM([ScriptedReply("One moment please.", tools=(call,)), after])


@in_virtual_time()
async def test_T6_an_effect_runs_once_after_the_turn_has_settled(converse: Converse) -> None:
    agent = Booker()
    llm = with_tool("book", '{"name": "Ann"}', "It is booked.")
    async with converse(agent, llm=llm) as talk:
        ended = await one_turn(talk, "book it for Ann")
        assert agent.booked == []
        await asyncio.sleep(0.55)
        assert agent.booked == []
        await asyncio.sleep(0.1)
        assert agent.booked == ["Ann"]
        await asyncio.sleep(3)
        assert asyncio.get_running_loop().time() > ended
        assert talk.history == [
            "user: book it for Ann",
            "assistant: One moment please.",
            "tool: booked for Ann",
            "assistant: It is booked.",
        ]
        assert agent.turns == ["book it for Ann"]
    assert agent.booked == ["Ann"]
    assert len(agent.ended) == 1


@in_virtual_time()
async def test_a_tool_that_only_reads_runs_at_the_commit(converse: Converse) -> None:
    llm = with_tool("hours", "{}", "We are open nine to five.")
    async with converse(Booker(), llm=llm) as talk:
        await one_turn(talk, "when are you open")
        await asyncio.sleep(3)
        assert "tool: nine to five" in talk.history
        assert talk.history[-1] == "assistant: We are open nine to five."


@in_virtual_time()
async def test_a_tool_that_does_not_exist_is_told_to_the_model(converse: Converse) -> None:
    llm = with_tool("fly", "{}", "I cannot do that.")
    async with converse(Booker(), llm=llm) as talk:
        await one_turn(talk, "fly")
        await asyncio.sleep(3)
        assert "There is no tool called fly" in talk.history[2]


@in_virtual_time()
async def test_T7_a_model_that_fails_is_apologised_for(converse: Converse) -> None:
    agent = Booker()
    bad = ScriptedReply(error=LLMError("no such key", failure="auth"))
    async with converse(agent, llm=ScriptedLLM([bad, bad, bad])) as talk:
        await one_turn(talk, "hello")
        await asyncio.sleep(8)
        assert talk.history == ["user: hello", f"assistant: {Agent.apology}"]
        assert [getattr(error, "code", None) for error in agent.errors] == ["llm.auth"]


@in_virtual_time()
async def test_T7_the_apology_is_heard_although_the_voice_is_down(converse: Converse) -> None:
    tts = ScriptedTTS()
    async with converse(tts=tts, llm=ScriptedLLM(["Sure, I can do that."] * 3)) as talk:
        await asyncio.sleep(5)
        for _ in range(6):
            tts.fail_next(TTSError("down", failure="server"))
        await one_turn(talk, "hello")
        await asyncio.sleep(8)
        assert talk.history == ["user: hello", f"assistant: {Agent.apology}"]
        assert talk.line.heard_seconds() > 1.0


class Reckless(Agent):
    """Does in its reply what must not be done in a draft."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.errors: list[object] = []

    async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
        verbs: dict[str, Any] = {
            "say": lambda: self.session.say("hm"),
            "hang_up": lambda: self.session.hang_up(),
            "interrupt": lambda: self.session.interrupt(),
            "reply": lambda: self.session.reply("greet"),
            "mute": lambda: self.session.mute(),
        }
        verbs[self.verb]()
        yield "Sure."

    async def on_error(self, error: object) -> None:
        self.errors.append(error)


@pytest.mark.parametrize("verb", ["say", "hang_up", "interrupt", "reply", "mute"])
@in_virtual_time()
async def test_T24_verbs_inside_a_draft_raise_and_name_the_seam(
    converse: Converse, verb: str
) -> None:
    agent = Reckless(verb)
    async with converse(agent) as talk:
        talk.source.start("hello")
        talk.source.maybe_end("hello")
        await asyncio.sleep(0.1)
        assert isinstance(agent.errors[0], DraftFenceError)
        assert "turn.committed()" in str(agent.errors[0])
        assert talk.of(cmd.Discard)[0].reason == "failed"
        talk.source.resume("hello")


@in_virtual_time()
async def test_T24_after_the_commit_verbs_work(converse: Converse) -> None:
    class Careful(Agent):
        async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
            assert turn.is_draft
            yield "Let me see. "
            await turn.committed()
            assert not turn.is_draft
            self.session.say("And one more thing.")
            await turn.settled()
            yield "Done."

    async with converse(Careful()) as talk:
        await one_turn(talk, "hello")
        await asyncio.sleep(6)
        assert talk.history == [
            "user: hello",
            "assistant: Let me see. Done.",
            "assistant: And one more thing.",
        ]


@in_virtual_time()
async def test_T24_a_discard_cancels_and_closes_the_brain(converse: Converse) -> None:
    closed: list[str] = []

    class Slow(Agent):
        async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
            try:
                await turn.committed()
                closed.append("never")
                yield "no"
            finally:
                closed.append(turn.text)

    async with converse(Slow()) as talk:
        talk.source.start("one")
        talk.source.maybe_end("one")
        await asyncio.sleep(0.1)
        talk.source.resume("one two")
        await asyncio.sleep(0.1)
        assert closed == ["one"]


@in_virtual_time()
async def test_waiting_for_ones_own_reply_is_an_error_not_a_deadlock(converse: Converse) -> None:
    seen: list[BaseException] = []

    class Waiter(Agent):
        async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
            yield "Sure. "
            await turn.committed()
            handle = self.session.say("Later.")
            try:
                await handle
            except SelfWaitError as error:
                seen.append(error)

    async with converse(Waiter()) as talk:
        await one_turn(talk, "hello")
        await asyncio.sleep(4)
        assert len(seen) == 1
        assert talk.history[-1] == "assistant: Later."


@in_virtual_time()
async def test_a_speech_handle_tells_what_was_heard(converse: Converse) -> None:
    async with converse() as talk:
        handle = talk.session.say("One two three four five six seven eight nine ten.")
        await asyncio.sleep(1.0)
        assert not handle.done
        handle.cancel()
        await handle
        assert handle.interrupted
        assert handle.heard
        assert "ten" not in handle.heard
        whole = await talk.session.say("All right.")
        assert (whole.heard, whole.interrupted) == ("All right.", False)


@in_virtual_time()
async def test_hang_up_is_after_the_goodbye(converse: Converse) -> None:
    async with converse() as talk:
        talk.session.say("Goodbye, and thank you for your call.")
        talk.session.hang_up()
        await asyncio.sleep(6)
        assert talk.history == ["assistant: Goodbye, and thank you for your call."]
    assert talk.line.heard_seconds() > 1


@in_virtual_time()
async def test_one_agent_instance_serves_one_call(converse: Converse) -> None:
    agent = Agent()
    async with converse(agent):
        with pytest.raises(UsageError, match="one for each call"):
            async with converse(agent):
                pass  # pragma: no cover
    with pytest.raises(UsageError, match="not in a conversation"):
        _ = agent.session


@in_virtual_time()
async def test_marks_that_never_come_do_not_stop_the_conversation(converse: Converse) -> None:
    line = FakeTransport(marks=lambda name: ())
    async with converse(line=line) as talk:
        await one_turn(talk, "hello")
        await asyncio.sleep(8)
        assert talk.history == ["user: hello", "assistant: Sure, I can do that for you."]


@in_virtual_time()
async def test_a_hook_that_raises_ends_only_itself(converse: Converse) -> None:
    class Clumsy(Agent):
        async def on_turn(self, turn: Turn) -> None:
            raise ValueError("oops")

    async with converse(Clumsy()) as talk:
        await one_turn(talk, "hello")
        await asyncio.sleep(5)
        assert talk.history[-1] == "assistant: Sure, I can do that for you."


@in_virtual_time()
async def test_an_observer_that_raises_is_dropped(converse: Converse) -> None:
    async with converse() as talk:

        def broken(*_: object) -> None:
            raise ValueError("oops")

        talk.session._observers.append(broken)
        await one_turn(talk, "hello")
        await asyncio.sleep(5)
        assert broken not in talk.session._observers
        assert talk.history[-1] == "assistant: Sure, I can do that for you."


@in_virtual_time()
async def test_nothing_is_left_running_after_a_call(converse: Converse) -> None:
    before = len(asyncio.all_tasks())
    async with converse() as talk:
        await one_turn(talk, "hello")
        await asyncio.sleep(0.1)
        talk.source.start("and")
        talk.source.maybe_end("and another")
    assert len(asyncio.all_tasks()) == before


@in_virtual_time()
async def test_verbs_outside_the_call_are_refused(converse: Converse) -> None:
    async with converse() as talk:
        session = talk.session
        await asyncio.sleep(0.1)
    with pytest.raises(UsageError, match="while the call is going on only"):
        session.say("Too late.")


@in_virtual_time()
async def test_speech_whose_voice_fails_is_begun_again_with_its_words(converse: Converse) -> None:
    async def words() -> AsyncGenerator[str, None]:
        yield "One moment please. "
        yield "Here it is."

    tts = ScriptedTTS()
    async with converse(tts=tts) as talk:
        await asyncio.sleep(1)
        for text in ("One moment please. Here it is.", words()):
            tts.fail_next(TTSError("down", failure="server"))
            handle = await talk.session.say(text)
            assert handle.heard.replace("  ", " ") == "One moment please. Here it is."


@in_virtual_time()
async def test_a_rewriting_that_raises_leaves_the_text_as_it_is(converse: Converse) -> None:
    class Clumsy(Agent):
        apology = None

        def spoken(self, text: str) -> str:
            raise ValueError("oops")

    async with converse(Clumsy()) as talk:
        await one_turn(talk, "hello")
        await asyncio.sleep(5)
        assert talk.history[-1] == "assistant: Sure, I can do that for you."


@in_virtual_time()
async def test_a_voice_that_raises_anything_is_apologised_for(converse: Converse) -> None:
    class Broken(ScriptedTTS):
        broken = False

        def open(self, voice: str | None = None) -> Any:
            if self.broken:
                raise ValueError("oops")
            return super().open(voice)

    tts = Broken()
    async with converse(tts=tts, llm=ScriptedLLM(lambda request: "Sure, I can do that.")) as talk:
        await asyncio.sleep(5)
        tts.broken = True
        await one_turn(talk, "hello")
        await asyncio.sleep(8)
        assert talk.history == ["user: hello", f"assistant: {Agent.apology}"]


@in_virtual_time()
async def test_T19_cancelling_the_session_lets_an_effect_finish(conversation: Converse) -> None:
    done: list[str] = []

    class Slow(Agent):
        @tool
        async def book(self, name: str) -> str:
            """Book."""
            await asyncio.sleep(5)
            done.append(name)
            return "booked"

    talk = conversation(Slow(), llm=with_tool("book", '{"name": "Ann"}', "Done."))
    before = len(asyncio.all_tasks())
    async with talk.session:
        running = asyncio.create_task(talk.session.run())
        await talk.source.ready()
        talk.source.connected()
        await one_turn(talk, "book it for Ann")
        await asyncio.sleep(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert done == ["Ann"]
    assert len(asyncio.all_tasks()) == before
