"""Conversations with a page: what is heard, what is told, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from agentkit import tool
from agentkit.audio.formats import AudioFormat
from agentkit.core.history import ToolCall, UserMessage
from agentkit.core.policy import Limits, Silence
from agentkit.llm.base import LLMRequest
from agentkit.server.desk import Rules
from agentkit.session import Turn
from agentkit.testing.backends import ScriptedLLM, ScriptedReply
from agentkit.testing.clock import in_virtual_time
from tests.server.pages import FakePage, opened, talking, token
from tests.server.reception import Receptionist, serving

VOICE = AudioFormat("linear16", 24000)
SECOND = VOICE.byte_rate


def only(page: FakePage, kind: str) -> list[dict[str, Any]]:
    """The messages of a type, without their times."""
    return [
        {name: value for name, value in one.items() if name not in ("at", "type")}
        for one in page.told
        if one["type"] == kind
    ]


@in_virtual_time(until=60)
async def test_a_conversation_is_heard_and_its_story_is_told() -> None:
    async with serving(voice=VOICE) as server, talking(server) as page:
        ears = await server.ears()
        assert page.told[0] == {"type": "ready", "version": 1, "rate": 24000}
        await page.until("said")
        assert page.heard() == server.spoken("Hello.")
        await page.speak(b"\x01\x02" * 320)
        ears.start("so")
        ears.maybe_end("so good")
        ears.end("so good")
        await page.until("times")
        assert page.heard()[len(server.spoken("Hello.")) :] == server.spoken("Good.")
        assert ears.audio == AudioFormat("linear16", 16000)
        assert ears.audio_fed() == b"\x01\x02" * 320
        await page.say(type="end")
        await page.until_closed()
        await server.all_over()
    assert server.agents[0].reasons == ["caller hung up"]
    story = [kind for kind in page.types() if kind not in ("heard", "text")]
    assert story == [
        "ready", "began", "reply", "playing", "said",
        "caller", "caller", "reply", "caller", "committed", "playing", "turn", "said", "times",
    ]  # fmt: skip
    states = [(one["state"], one["text"]) for one in only(page, "caller")]
    assert only(page, "caller")[-1]["decided"] == pytest.approx(0.0, abs=0.05)
    assert states == [("started", "so"), ("maybe", "so good"), ("ended", "so good")]
    assert only(page, "reply")[1] == {"reply": 1, "turn": 0, "kind": "answer", "draft": True}
    assert only(page, "turn") == [{"turn": 0, "text": "so good"}]
    assert only(page, "said")[1] == {"reply": 1, "heard": "Good.", "interrupted": False}
    [times] = only(page, "times")
    assert times["outcome"] == "heard"
    assert times.keys() == {"turn", "outcome", "decided", "reaction", "heard", "saved"}
    ats = [one["at"] for one in page.told[1:]]
    assert ats == sorted(ats)
    assert ats[0] == 0


@in_virtual_time(until=60)
async def test_T16_an_interruption_clears_and_the_history_has_what_was_heard() -> None:
    class Talkative(Receptionist):
        greeting = "This is a rather long greeting, and it goes on and on for quite some time."

    async with serving(Talkative, voice=VOICE) as server, talking(server) as page:
        ears = await server.ears()
        await page.until("heard", count=5)
        before = len(page.heard())
        ears.start("wait a moment please")
        await page.until("said")
        assert page.epoch >= 1
        assert len(page.heard()) < before + 0.3 * SECOND
        [said] = only(page, "said")
        assert said["interrupted"] is True
        assert Talkative.greeting.startswith(said["heard"])
        assert 0 < len(said["heard"]) < len(Talkative.greeting)
        agent = await server.agent()
        assert agent.said[0] == f"agent: {said['heard']} ..."


@in_virtual_time(until=60)
async def test_T17_what_was_heard_is_known_from_the_pages_own_clock() -> None:
    """Its marks are late here by nothing but the network; letters follow the sound."""

    class Talkative(Receptionist):
        greeting = "This is a rather long greeting, and it goes on and on for quite some time."

    async with serving(Talkative, voice=VOICE) as server, talking(server) as page:
        await page.until("said")
        letters = [one["letters"] for one in only(page, "heard")]
    assert letters == sorted(letters)
    assert letters[-1] == len(Talkative.greeting)
    assert len(letters) > 10


@in_virtual_time(until=60)
async def test_a_draft_is_told_as_it_is_written_and_why_it_was_discarded() -> None:
    llm = ScriptedLLM({"*": "One two three four."}, first_token=0.1, per_token=0.1)
    async with serving(llm=llm, voice=VOICE) as server, talking(server) as page:
        ears = await server.ears()
        await page.until("said")
        ears.start("I would like")
        ears.maybe_end("I would like to go")
        await page.until("text", count=3)
        ears.resume("I would like to go, well")
        await page.until("discarded")
        assert only(page, "discarded") == [{"reply": 1, "reason": "resumed"}]
        texts = [one for one in only(page, "text") if one["reply"] == 1]
        assert "".join(one["text"] for one in texts) == "One two"


@in_virtual_time(until=60)
async def test_what_is_typed_is_answered_at_once() -> None:
    async with serving(voice=VOICE) as server, talking(server) as page:
        await server.ears()
        await page.until("playing")
        await page.say(type="typed", text=" when do you\n open? ")
        await page.until("times")
        agent = await server.agent()
        assert agent.said[-2:] == ["caller: when do you open?", "agent: Good."]
        assert only(page, "turn") == [{"turn": 0, "text": "when do you open?"}]
        assert only(page, "said")[0]["interrupted"] is True


@in_virtual_time(until=60)
async def test_a_muted_page_is_not_listened_to() -> None:
    async with serving(voice=VOICE) as server, talking(server) as page:
        ears = await server.ears()
        await page.until("said")
        await page.say(type="muted", muted=True)
        await page.speak(b"\x01\x02" * 320)
        await page.say(type="muted", muted=False)
        await page.speak(b"\x03\x04" * 320)
        await asyncio.sleep(0.1)
        assert ears.audio_fed() == bytes(640) + b"\x03\x04" * 320


class Booking(Receptionist):
    limits = Limits(settle=0.1)

    @tool
    async def book(self, name: str) -> str:
        """Book."""
        return f"s3cret of {name}"


@in_virtual_time(until=60)
async def test_of_tools_the_page_hears_their_names_alone() -> None:
    def answer(request: LLMRequest) -> ScriptedReply:
        if isinstance(request.messages[-1], UserMessage):
            return ScriptedReply("", (ToolCall("1", "book", '{"name": "Alice Private"}'),))
        return ScriptedReply("Done.")

    llm = ScriptedLLM(answer)
    async with serving(Booking, llm=llm, voice=VOICE) as server, talking(server) as page:
        ears = await server.ears()
        await page.until("said")
        ears.start("book")
        ears.end("book it")
        await page.until("times")
    [called] = only(page, "tool")
    assert called["name"] == "book"
    assert len(only(page, "returned")) == 1
    assert "s3cret" not in str(page.told)
    assert "Private" not in str(page.told)


@in_virtual_time(until=60)
async def test_T25_keys_do_not_show() -> None:
    async with serving(voice=VOICE) as server, talking(server) as page:
        await server.ears()
        await page.until("said")
        session = (await server.agent()).session
        for key in "1234#":
            session.dtmf(key)
        await page.until("turn")
    assert "1234" not in str(page.told)


@in_virtual_time(until=60)
async def test_each_page_hears_of_its_own_conversation_alone() -> None:
    async with serving(voice=VOICE, replies={"*": "Good."}) as server:
        async with talking(server) as one, talking(server) as other:
            for number, words in enumerate(("first secret", "second secret")):
                ears = await server.ears(number)
                ears.start(words)
                ears.end(words)
            await one.until("times")
            await other.until("times")
    heard = {str(only(page, "turn")) for page in (one, other)}
    assert heard == {
        "[{'turn': 0, 'text': 'first secret'}]",
        "[{'turn': 0, 'text': 'second secret'}]",
    }


class Polite(Receptionist):
    async def reply(self, turn: Turn) -> AsyncIterator[str]:  # type: ignore[override]
        yield "Goodbye."
        await turn.committed()
        self.session.hang_up()


@in_virtual_time(until=60)
async def test_the_agents_goodbye_is_heard_whole_and_then_it_hangs_up() -> None:
    async with serving(Polite, voice=VOICE) as server, talking(server) as page:
        ears = await server.ears()
        await page.until("said")
        ears.start("bye")
        ears.end("bye then")
        assert await page.until_closed() == 1000
        assert page.heard().endswith(server.spoken("Goodbye."))
        assert {"type": "over", "why": "agent hung up"} in page.told
        assert "times" in page.types()
        await server.all_over()


class Hushed(Receptionist):
    silence = Silence(after=2.0, times=0, farewell="Bye.")


@in_virtual_time(until=60)
async def test_the_page_is_told_what_ended_the_conversation() -> None:
    async with serving(Hushed, voice=VOICE) as server, talking(server) as page:
        await server.ears()
        await page.until("said")
        assert await page.until_closed() == 1000
        assert {"type": "over", "why": "silence"} in page.told
        await server.all_over()
        assert server.agents[0].reasons == ["silence"]


@in_virtual_time(until=90)
async def test_a_drain_takes_leave_of_pages_as_of_phones() -> None:
    async with serving(voice=VOICE) as server, talking(server) as page:
        await server.ears()
        await page.until("said")
        draining = asyncio.create_task(server.desk.drain(1.0))
        assert await page.until_closed() == 1000
        assert {"type": "over", "why": "shutdown"} in page.told
        assert page.heard().endswith(server.spoken("Bye."))
        await draining


@in_virtual_time(until=60)
async def test_a_page_that_goes_without_a_word_has_hung_up() -> None:
    async with serving(voice=VOICE) as server:
        async with talking(server) as page:
            await page.until("playing")
        await server.all_over()
        assert server.agents[0].reasons == ["caller hung up"]


@in_virtual_time(until=90)
async def test_a_page_that_has_frozen_is_given_up() -> None:
    rules = Rules(silent_for=4.0)
    async with serving(voice=VOICE, rules=rules) as server, talking(server) as page:
        await page.until("said")
        page.frozen = True
        assert await page.until_closed() == 1011
        await server.all_over()


@in_virtual_time(until=60)
async def test_a_second_start_and_odd_messages_end_nothing_and_are_counted() -> None:
    async with serving(voice=VOICE) as server:
        async with talking(server) as page:
            await page.until("said")
            await page.say(type="start", version=1, token=await token(server))
            await page.say(type="typed", text=7)
            await page.speak(b"\x00")
            await page.say(type="nonsense")
            await server.ears()
            await page.say(type="typed", text="still there?")
            await page.until("said", count=2)
        await server.all_over()
        figures = await server.figures()
    assert figures['agentkit_oddities_total{source="web"}'] == 4


@in_virtual_time(until=60)
async def test_the_agent_is_told_what_the_page_was_asked_with() -> None:
    async with serving(voice=VOICE) as server, talking(server, "/web/token?plan=gold") as page:
        await page.until("began")
        call = (await server.agent()).session.call
        assert call.parameters == {"plan": "gold"}
        assert call.id.startswith("web-")


def named(folder: Path) -> list[str]:
    """How the records in a folder are named, without what is random."""
    return [path.name.rpartition("-")[0] for path in folder.iterdir()]


@in_virtual_time(until=60)
async def test_no_log_shows_a_word_or_a_token(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with serving(voice=VOICE, rules=Rules(records=tmp_path)) as server:
            given = await token(server)
            async with opened(server) as page:
                await page.say(type="start", version=1, token=given)
                ears = await server.ears()
                ears.start("my secret")
                ears.end("my secret wish")
                await page.until("times")
                await page.say(type="typed", text="another secret")
                await page.until("turn", count=2)
            await server.all_over()
    assert logs
    assert "secret" not in str(logs)
    assert given not in str(logs)
    assert named(tmp_path) == ["web-web"]
