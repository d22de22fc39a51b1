"""What a session does for the economy of drafts (T2, T9), in virtual time and on real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from agentkit import Agent
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Budget, Cost, Pace, Prices, Tuning
from agentkit.core.policy import Digits, Policy, Speculation
from agentkit.economy import Economy, parse
from agentkit.errors import ConfigError, FluxOptionError
from agentkit.llm.openai import OpenAILLM
from agentkit.session import Session, Turn
from agentkit.testing import (
    ChatReply,
    FakeTransport,
    ScriptedLLM,
    ScriptedOpenAI,
    ScriptedSource,
    ScriptedTTS,
)
from agentkit.testing.clock import in_virtual_time
from agentkit.turns import TurnProfile

Converse = Any
QUESTION = "Shall I book that for you?"


class Watcher:
    """Sees what happens in a call on real sockets, and waits for it."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []
        self.commands: list[cmd.Command] = []
        self._news = asyncio.Event()

    def __call__(self, _now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        self.events.append(event)
        self.commands += commands
        self._news.set()

    async def until(self, kind: type, count: int) -> list[Any]:
        """Wait until so many events or commands of that kind were seen."""
        async with asyncio.timeout(10):
            while len(found := self.of(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return found

    def of(self, kind: type) -> list[Any]:
        return [one for one in (*self.events, *self.commands) if isinstance(one, kind)]


async def turn(talk: Any, words: str, lead: float = 0.5) -> None:
    """A turn with a draft, heard to the end of its answer."""
    talk.source.start(words)
    await asyncio.sleep(0.3)
    talk.source.maybe_end(words)
    await asyncio.sleep(lead)
    talk.source.end(words)
    await asyncio.sleep(0.1)
    await talk.line.until_quiet()
    await asyncio.sleep(1.0)


async def lose(talk: Any, words: str = "book") -> None:
    """A draft that comes to nothing; the turn is answered."""
    talk.source.start(words)
    talk.source.maybe_end(words)
    await asyncio.sleep(0.2)
    talk.source.resume(f"{words} a")
    talk.source.end(f"{words} a table")
    await asyncio.sleep(0.1)
    await talk.line.until_quiet()
    await asyncio.sleep(1.0)


# ---------------------------------------------------------------------------- what drafts take


async def test_T9_drafts_share_the_committed_prefix_byte_for_byte() -> None:
    """A provider's cache knows a prompt by its first bytes: a draft has to repeat them all."""
    async with ScriptedOpenAI(ChatReply("At nine.")) as server:
        llm = OpenAILLM("any", api_key="none", base_url=server.base_url)
        source, line = ScriptedSource(), FakeTransport()
        watch = Watcher()

        def asked(times: int) -> bool:
            return len(server.chats) >= times

        async with (
            Session(
                Agent(), line, flux=source, llm=llm, tts=ScriptedTTS(),
                observers=[watch],
            ) as session,
            asyncio.TaskGroup() as group,
        ):  # fmt: skip
            running = group.create_task(session.run())
            await source.ready()
            source.connected()
            for number, words in enumerate(("when do you open", "on Sunday", "thank you")):
                source.start(words)
                source.maybe_end(f"{words} maybe")
                await server.until(partial(asked, 2 * number + 1))
                source.resume(words)
                source.end(words)
                await watch.until(cmd.TurnClosed, number + 1)
            line.hang_up_remote()
            record = await running
        await llm.aclose()
    bodies = [json.dumps(chat.body, ensure_ascii=False) for chat in server.chats]
    prompts = [chat.body["messages"] for chat in server.chats]
    for draft, reply in zip(prompts[::2], prompts[1::2], strict=True):
        assert draft[:-1] == reply[:-1], "all but the caller's last words"
        assert draft[-1]["content"].startswith(reply[-1]["content"])
    for before, after in zip(prompts, prompts[2:], strict=False):
        assert after[: len(before) - 1] == before[:-1], "what is committed only grows"
    for body, prompt in zip(bodies, prompts, strict=True):
        shared = json.dumps(prompt[:-1], ensure_ascii=False)[:-1]
        assert shared in body, "as it stands in the request"
        assert body.startswith(bodies[0][: bodies[0].index(shared[:20])]), "and what is before it"
    ledger = record.ledger
    assert ledger.lost == {"resumed": 3}
    assert ledger.estimated == 3, "a draft that is closed is never counted by its provider"


async def test_T9_tokens_are_the_providers_own_where_it_counts() -> None:
    async with ScriptedOpenAI(ChatReply("At nine.")) as server:
        llm = OpenAILLM("any", api_key="none", base_url=server.base_url)
        source, line = ScriptedSource(), FakeTransport()
        watch = Watcher()
        async with (
            Session(
                Agent(), line, flux=source, llm=llm, tts=ScriptedTTS(), observers=[watch]
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            running = group.create_task(session.run())
            await source.ready()
            source.connected()
            source.start("when do you open")
            source.maybe_end("when do you open")
            counted = await watch.until(ev.ModelCounted, 1)
            source.end("when do you open")
            await asyncio.sleep(0.1)
            await line.until_quiet()
            line.hang_up_remote()
            record = await running
        await llm.aclose()
    assert len(counted) == 1
    assert (record.ledger.adopted, record.ledger.estimated) == (1, 0)
    assert record.ledger.cost_adopted.input == counted[0].input > 0
    assert record.ledger.cost_adopted.output == counted[0].output > 0


@in_virtual_time()
async def test_T9_a_request_beyond_the_budget_is_never_sent(converse: Converse) -> None:
    class Thrifty(Agent):
        speculation = Speculation(budget=Budget(input=1))

    llm = ScriptedLLM(["Sure."])
    async with converse(Thrifty(), llm=llm) as talk:
        await turn(talk, "book a table")
        assert len(llm.requests) == 1
        assert not llm.requests[0].draft
    assert talk.record.ledger.lost == {"budget": 1}


@in_virtual_time()
async def test_T9_the_record_of_a_call_has_its_ledger(converse: Converse) -> None:
    class Priced(Agent):
        speculation = Speculation(prices=Prices(input=1.0, output=4.0, characters=10.0))

    llm = ScriptedLLM(["Sure, I can do that for you."] * 3, first_token=0.3)
    async with converse(Priced(), llm=llm) as talk:
        await lose(talk)
        await turn(talk, "book a table")
    ledger = talk.record.ledger
    assert (ledger.adopted, ledger.lost, ledger.turns) == (1, {"resumed": 1}, 2)
    assert ledger.currency == "USD"
    assert ledger.wasted.price > 0
    assert ledger.saved > 0.1
    assert "2 drafts: 1 heard, 1 lost (1 resumed)" in ledger.describe()


# ------------------------------------------------------------------------------------- warmth


@in_virtual_time()
async def test_T2_the_caller_begins_and_all_is_warmed(converse: Converse) -> None:
    began: list[float] = []

    class Ready(Agent):
        async def caller_began(self) -> None:
            began.append(asyncio.get_running_loop().time())

    async with converse(Ready()) as talk:
        await asyncio.sleep(0.1)
        warmed = talk.llm.warmed
        talk.source.start("")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert talk.llm.warmed == warmed + 1
        assert len(began) == 1


@in_virtual_time()
async def test_T2_nothing_is_warmed_where_nothing_is_drafted(converse: Converse) -> None:
    class Patient(Agent):
        speculation = Speculation(mode="off")

    async with converse(Patient()) as talk:
        await asyncio.sleep(0.1)
        warmed = talk.llm.warmed
        talk.source.start("")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert talk.llm.warmed == warmed


# ---------------------------------------------------------------------- answers that are expected


class Asking(Agent):
    """Asks, and knows what will be answered."""

    speculation = Speculation(expected=2)
    greeting = QUESTION

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def answers_to(self, question: str) -> Sequence[str]:
        assert question == QUESTION
        return ("Yes.", "No.")

    async def on_turn(self, turn: Turn) -> None:
        self.turns.append(turn)


@in_virtual_time()
async def test_T4_an_expected_answer_is_heard_at_once(converse: Converse) -> None:
    """Its reply was made while the question was asked: the caller waits for nothing."""
    agent = Asking()
    llm = ScriptedLLM({"Yes.": "Done.", "No.": "As you like."}, first_token=0.5, per_token=0.1)
    async with converse(agent, llm=llm, tts=ScriptedTTS(first_byte=0.2)) as talk:
        await asyncio.sleep(0.2)
        await talk.line.until_quiet()
        await asyncio.sleep(0.5)
        assert [request.messages[-1].text for request in llm.requests] == ["Yes.", "No."]
        assert all(request.draft for request in llm.requests)
        talk.source.start("yes")
        await asyncio.sleep(0.25)
        talk.source.end("Yes.")
        ended = asyncio.get_running_loop().time()
        await asyncio.sleep(0.1)
        await talk.line.until_quiet()
        closed = talk.of(cmd.TurnClosed)[0].times if talk.of(cmd.TurnClosed) else None
        await asyncio.sleep(1.0)
        closed = closed or talk.of(cmd.TurnClosed)[0].times
        assert closed.first_sound_sent == pytest.approx(ended, abs=1e-6)
        assert len(llm.requests) == 2
        assert talk.history == [f"assistant: {QUESTION}", "user: Yes.", "assistant: Done."]
        assert [(one.id, one.text) for one in agent.turns] == [(0, "Yes.")]
    assert talk.record.ledger.lost == {"words": 1}


@in_virtual_time()
async def test_T24_a_brain_of_ones_own_sees_which_turn_it_was(converse: Converse) -> None:
    ids: list[tuple[int, bool]] = []

    class Brain(Agent):
        speculation = Speculation(expected=1)

        async def reply(self, turn: Turn) -> Any:
            ids.append((turn.id, turn.is_draft))
            yield "Right."
            await turn.committed()
            ids.append((turn.id, turn.is_draft))

    async with converse(Brain()) as talk:
        async with talk.session.listening(expected=["Yes."]):
            await talk.session.say(QUESTION)
        await turn(talk, "yes")
    assert ids == [(-1, True), (0, False)]


@in_virtual_time()
async def test_T24_an_agent_that_fails_to_name_answers_goes_on(converse: Converse) -> None:
    errors: list[Exception] = []

    class Broken(Agent):
        speculation = Speculation(expected=1)

        def answers_to(self, question: str) -> Sequence[str]:
            raise ValueError(question)

        async def on_error(self, error: Any) -> None:
            errors.append(error)

    async with converse(Broken(), llm=ScriptedLLM(["Sure?"])) as talk:
        await turn(talk, "hello")
        assert talk.history == ["user: hello", "assistant: Sure?"]
    assert [str(error) for error in errors] == ["Sure?"]


# ------------------------------------------------------------------------ profiles and the pace


@in_virtual_time()
async def test_the_pace_keeps_an_answer_back_that_is_ready(converse: Converse) -> None:
    class Calm(Agent):
        pace = Pace(0.4, "turn")

    async with converse(Calm()) as talk:
        talk.source.start("hello")
        talk.source.maybe_end("hello")
        await asyncio.sleep(0.5)
        talk.source.end("hello")
        ended = asyncio.get_running_loop().time()
        await asyncio.sleep(0.6)
        assert talk.line.first_heard_at == pytest.approx(ended + 0.4, abs=1e-6)


@in_virtual_time()
async def test_a_question_listens_by_the_profile_that_it_names(converse: Converse) -> None:
    class Clerk(Agent):
        profiles = {  # noqa: RUF012
            "number": TurnProfile(
                eot_threshold=0.9, digits=4, pace=Pace(1.0), keyterms=("nought",),
                options={"numerals": True},
            )
        }  # fmt: skip

    class Options(ScriptedSource):
        def options_now(self, names: Any) -> dict[str, Any]:
            return dict.fromkeys(names, "usual")

    source = Options()
    async with converse(Clerk(), source=source) as talk:
        async with talk.session.listening("number", eot_threshold=0.8):
            assert source.configured[-1] == {
                "eot_threshold": 0.8, "keyterms": ("nought",), "numerals": True
            }  # fmt: skip
            events = [event for _, event, _ in talk.seen]
            assert ev.Listening(Pace(1.0), True) in events
            assert ev.DigitsExpected(Digits(length=4)) in events
        await turn(talk, "one two three")
        assert [event for _, event, _ in talk.seen if isinstance(event, ev.Listening)][-1] == (
            ev.Listening()
        )
        assert source.configured[-1] == dict.fromkeys(
            ("eot_threshold", "keyterms", "numerals"), "usual"
        )
        with pytest.raises(ConfigError, match="'nonsense' is not one of digits, number, open"):
            async with talk.session.listening("nonsense"):
                pass


@in_virtual_time()
async def test_T9_a_lower_final_threshold_takes_the_eager_one_along(converse: Converse) -> None:
    """The controller may have moved it above what a question asks for."""

    class Adaptive(Agent):
        speculation = Speculation(mode="adaptive")

    class Options(ScriptedSource):
        def options_now(self, names: Any) -> dict[str, Any]:
            return dict.fromkeys(names, 0.7)

    async with converse(Adaptive(), source=Options()) as talk:
        async with talk.session.listening(eot_threshold=0.6):
            assert talk.source.configured[-1]["eager_eot_threshold"] == 0.6
        async with talk.session.listening(eot_threshold=0.9):
            assert "eager_eot_threshold" not in talk.source.configured[-1]


@in_virtual_time()
async def test_T9_the_eager_threshold_is_moved_on_the_live_connection(converse: Converse) -> None:
    class Adaptive(Agent):
        speculation = Speculation(mode="adaptive", tuning=Tuning(every=1.0))

    class Stubborn(ScriptedSource):
        def configure(self, changes: Any) -> None:
            super().configure(changes)
            raise FluxOptionError("eager_eot_threshold", "is out of its range here")

    for source in (ScriptedSource(), Stubborn()):
        llm = ScriptedLLM(lambda _: "Yes.", first_token=0.5)
        async with converse(Adaptive(), source=source, llm=llm) as talk:
            source.emit(ev.SourceTuned(5.0, 0.5, 0.8, tunable=True))
            for number in range(5):
                await turn(talk, f"hello {number}")
            assert source.configured[0] == {"eager_eot_threshold": 0.4}
        assert talk.record.ledger.moves == len(source.configured)


# ------------------------------------------------------------------------ all calls of a process


@in_virtual_time(until=600)
async def test_T9_all_calls_together_keep_to_one_budget(conversation: Any) -> None:
    economy = Economy(shared=Budget(drafts=3), window=120.0)
    talks = []
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            talk = conversation(Agent(), llm=ScriptedLLM(lambda _: "Sure."), economy=economy)
            await talk.session.__aenter__()
            talk.running = tasks.create_task(talk.session.run())
            await talk.source.ready()
            talk.source.connected()
            talks.append(talk)
        for talk in talks:
            await lose(talk)
        begun = [sum(one.draft for one in talk.of(cmd.StartReply)) for talk in talks]
        assert begun == [1, 1, 1, 0]
        assert economy.left == 0
        await asyncio.sleep(120)
        assert economy.left == 3, "by then they are forgotten"
        await turn(talks[3], "hello")
        assert economy.left == 3, "what was heard is given back"
        for talk in talks:
            talk.line.hang_up_remote()
            talk.record = await talk.running
            await talk.session.__aexit__(None, None, None)
    assert talks[3].record.ledger.declined == {"process": 1}
    assert talks[3].record.ledger.adopted == 1


@in_virtual_time()
async def test_T9_what_the_settings_say_is_in_the_record_as_an_event(conversation: Any) -> None:
    economy = Economy(
        mode="adaptive", budget=Budget(drafts=5), prices=Prices(output=2.0), pace=Pace(0.2)
    )
    talk = conversation(Agent(), economy=economy)
    async with talk.session, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(talk.session.run())
        await talk.source.ready()
        talk.source.connected()
        changed = [event for _, event, _ in talk.seen if isinstance(event, ev.PolicyChanged)]
        assert [event.policy for event in changed] == [talk.session.policy]
        rules = talk.session.policy.speculation
        assert (rules.mode, rules.budget, rules.prices) == (
            "adaptive", Budget(drafts=5), Prices(output=2.0)
        )  # fmt: skip
        assert talk.session.policy.pace == Pace(0.2)
        await lose(talk)
        talk.line.hang_up_remote()
        await running
    assert sum(economy.experience.lost) == 1
    assert economy.apply(Policy()).speculation.tuning.experience == economy.experience
    assert Economy().apply(Policy()) == Policy()


@in_virtual_time()
async def test_T9_money_and_tokens_bind_all_calls_once_they_are_spent(conversation: Any) -> None:
    economy = Economy(shared=Budget(input=10))
    with economy.call(lambda _: None) as account:
        assert economy.left is None
        account.begin()
        cost = parse("input=1", Prices, "prices")
        assert cost.input == 1.0
        booked = cmd.DraftBooked(0, 0, "eager", False, "words", Cost(input=10))
        account.book(booked)
        assert economy.left == 0
        account.begin()
    assert economy.left == 0


def test_T9_an_economy_refuses_what_cannot_be_right() -> None:
    with pytest.raises(ConfigError, match=r"shared\.share"):
        Economy(shared=Budget(share=0.3))
    with pytest.raises(ConfigError, match="window"):
        Economy(window=0)
