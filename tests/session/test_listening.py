"""`Session.listening`: how the agent listens to the answer to a question, and until when."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from agentkit import Agent, Digits, Pace, Turn
from agentkit.core import events as ev
from agentkit.errors import FluxOptionError
from agentkit.flux import FluxOptions, FluxSource
from agentkit.testing import ScriptedFlux
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.source import ScriptedSource

Converse = Any
QUESTION = "What is your customer number?"
USUAL = {"eot_threshold": 0.7}
CAREFUL = {"eot_threshold": 0.9}


async def say_turn(talk: Any, words: str, *, then: float = 0.7) -> None:
    """A turn of half a second; it has settled 0.6 s after its end."""
    talk.source.start(words)
    await asyncio.sleep(0.5)
    talk.source.end(words)
    await asyncio.sleep(then)


async def ask(talk: Any, **changes: Any) -> None:
    """As an agent asks: the block is over when the question was heard."""
    async with talk.session.listening(**(changes or CAREFUL)):
        await talk.session.say(QUESTION)


# --------------------------------------------------------------------------------------- until when


@in_virtual_time()
async def test_it_lasts_until_the_answer_is_there(converse: Converse) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        await ask(talk)
        await asyncio.sleep(30)
        assert talk.source.configured[-1] == CAREFUL, "the caller looks for the letter"
        await say_turn(talk, "one two three", then=0.5)
        assert talk.source.configured[-1] == CAREFUL, "this end may be taken back"
        await asyncio.sleep(0.2)
        assert talk.source.configured[-1] == USUAL
        assert len(talk.source.configured) == 3


@in_virtual_time()
async def test_T11_an_end_that_is_taken_back_is_not_the_answer(converse: Converse) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        await ask(talk)
        talk.source.start("one two three")
        talk.source.end("one two three")
        await asyncio.sleep(0.1)
        talk.source.start("four five six")
        await asyncio.sleep(2)
        assert talk.source.configured[-1] == CAREFUL
        talk.source.end("four five six")
        await asyncio.sleep(0.7)
        assert talk.source.configured[-1] == USUAL
        assert talk.history[1] == "user: one two three four five six"


@in_virtual_time()
async def test_T17_a_sound_of_attention_is_not_the_answer(converse: Converse) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        asking = asyncio.create_task(ask(talk))
        await asyncio.sleep(0.3)
        handle = talk.session.say("Take your time, it is on the letter that we have sent to you.")
        await asking
        await say_turn(talk, "mm-hm")
        await handle
        assert talk.source.configured[-1] == CAREFUL
        await say_turn(talk, "one two three")
        assert talk.source.configured[-1] == USUAL


@in_virtual_time()
async def test_a_block_may_outlast_the_answer(converse: Converse) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        async with talk.session.listening(**CAREFUL):
            await say_turn(talk, "one two three")
            assert talk.source.configured[-1] == CAREFUL
        assert talk.source.configured[-1] == USUAL


@in_virtual_time()
async def test_words_that_began_before_the_question_are_not_its_answer(converse: Converse) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        talk.source.start("so I have")
        async with talk.session.listening(**CAREFUL):
            await asyncio.sleep(1)
            talk.source.end("so I have this letter")
            await asyncio.sleep(1)
        assert talk.source.configured[-1] == CAREFUL
        await say_turn(talk, "one two three")
        assert talk.source.configured[-1] == USUAL


@in_virtual_time()
async def test_T16_who_answers_before_the_question_is_over_has_answered(
    converse: Converse,
) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        asking = asyncio.create_task(ask(talk))
        await asyncio.sleep(1)
        await say_turn(talk, "one two three")
        await asking
        assert talk.source.configured[-1] == USUAL


@in_virtual_time()
async def test_a_block_that_fails_is_over_at_once(converse: Converse) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        asking = asyncio.create_task(ask(talk))
        await asyncio.sleep(0.1)
        assert talk.source.configured[-1] == CAREFUL
        asking.cancel()
        await asyncio.wait([asking])
        assert talk.source.configured[-1] == USUAL


@in_virtual_time()
async def test_nothing_is_put_back_when_the_call_is_over(converse: Converse) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        await ask(talk, eot_threshold=0.8)
        block = talk.session.listening(**CAREFUL)
        await block.__aenter__()
    told = len(talk.seen)
    assert not await block.__aexit__(None, None, None)
    assert talk.source.configured[-1] == CAREFUL
    assert len(talk.seen) == told


@in_virtual_time()
async def test_the_pace_of_a_question_is_that_of_its_answer(converse: Converse) -> None:
    async with converse() as talk:
        async with talk.session.listening(pace=Pace(1.5, "turn")):
            await talk.session.say(QUESTION)
        for wait in (1.5, 0.0):
            talk.source.start("one two")
            talk.source.end("one two")
            ended = asyncio.get_running_loop().time()
            await asyncio.sleep(6)
            assert talk.line.first_sound_at(ended) == pytest.approx(ended + wait, abs=0.01)


# ----------------------------------------------------------------------------------- several blocks


@in_virtual_time()
async def test_blocks_may_lie_in_each_other(converse: Converse) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        async with talk.session.listening(eot_threshold=0.9, keyterms=["Rosewood"]):
            assert talk.source.configured[-1] == {"eot_threshold": 0.9, "keyterms": ["Rosewood"]}
            async with talk.session.listening(eot_threshold=0.95):
                await say_turn(talk, "one two three")
            assert talk.source.configured[-1] == CAREFUL
        assert talk.source.configured[-1] == {"eot_threshold": 0.7, "keyterms": None}


@in_virtual_time()
async def test_blocks_may_overlap(converse: Converse) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        first = talk.session.listening(eot_threshold=0.8)
        second = talk.session.listening(eot_threshold=0.9)
        await first.__aenter__()
        await second.__aenter__()
        await say_turn(talk, "one two three")
        await first.__aexit__(None, None, None)
        assert talk.source.configured[-1] == CAREFUL
        await second.__aexit__(None, None, None)
        assert talk.source.configured[-1] == USUAL


@in_virtual_time()
async def test_one_answer_is_enough_for_two_questions(converse: Converse) -> None:
    async with converse() as talk:
        talk.source.configure(USUAL)
        await ask(talk, eot_threshold=0.8)
        await ask(talk, keyterms=["Rosewood"])
        await say_turn(talk, "one two three")
        assert talk.source.configured[-2:] == [USUAL, {"keyterms": None}]


# -------------------------------------------------------------------------------------------- keys


class Keypad(Agent):
    def __init__(self) -> None:
        self.pressed: list[tuple[str, float]] = []

    async def on_dtmf(self, digits: str) -> None:
        self.pressed.append((digits, asyncio.get_running_loop().time()))

    async def reply(self, turn: Turn) -> Any:
        yield "Thank you."


@in_virtual_time()
async def test_T25_keys_are_pressed_after_the_question(converse: Converse) -> None:
    async with converse(Keypad()) as talk:
        await ask(talk, digits=4)
        await asyncio.sleep(5)
        pressed = asyncio.get_running_loop().time()
        talk.line.press("1234")
        await asyncio.sleep(2)
        assert talk.agent.pressed == [("1234", pressed)], "at once, not after three seconds"
        talk.line.press("56789")
        await asyncio.sleep(2)
        assert len(talk.agent.pressed) == 1, "any number of keys is expected again"
        await asyncio.sleep(2)
        assert talk.agent.pressed[1][0] == "56789"


@in_virtual_time()
async def test_T25_the_rules_for_keys_of_the_innermost_block_hold(converse: Converse) -> None:
    async with converse(Keypad()) as talk:
        async with talk.session.listening(digits=4):
            async with talk.session.listening(digits=Digits(terminator="*")):
                talk.line.press("5#*")
                await asyncio.sleep(1)
            talk.line.press("1234")
            await asyncio.sleep(0.1)
        assert [digits for digits, _ in talk.agent.pressed] == ["5#", "1234"]


# ---------------------------------------------------------------------------------------- sources


@in_virtual_time(until=60)
async def test_flux_is_told_and_told_back(conversation: Any) -> None:
    """Over a real socket: what the question asks for, then what held before."""
    async with ScriptedFlux() as flux:
        source = FluxSource(url=flux.url)
        talk = conversation(Agent(), source=source)
        async with talk.session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(talk.session.run())
            flow = await flux.connection()
            await flow.heard(0.2)
            with suppress(LookupError):
                async with talk.session.listening(eot_threshold=0.9, keyterms=["Rosewood"]):
                    asked = await flow.asked("Configure")
                    raise LookupError
            assert asked["thresholds"] == CAREFUL
            assert asked["keyterms"] == ["Rosewood"]
            back = await flow.asked("Configure", 2, timeout=10)
            assert back["thresholds"] == USUAL
            assert back["keyterms"] == []
            for wrong in ({"eot_treshold": 0.9}, {"eot_threshold": 2.0}):
                with pytest.raises(FluxOptionError, match=next(iter(wrong))):
                    async with talk.session.listening(digits=3, **wrong):
                        pass
            assert source.options == FluxOptions(), "what is refused changes nothing"
            keys = [event for _, event, _ in talk.seen if isinstance(event, ev.DigitsExpected)]
            assert keys[-1] == ev.DigitsExpected(None)
            talk.line.hang_up_remote()
            await running


@in_virtual_time()
async def test_a_source_that_takes_no_changes_goes_on_as_it_is(
    converse: Converse, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ScriptedSource(can_configure=False)
    async with converse(source=source) as talk:
        for _ in range(2):
            await ask(talk)
        await say_turn(talk, "one two three")
        assert source.configured == []
    assert capsys.readouterr().out.count("takes no changes") == 1
