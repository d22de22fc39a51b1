"""The scripted brain: it answers like a model, and says that it is none."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import pytest

from agentkit.core.history import (
    STILL_RUNNING,
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from agentkit.errors import ConfigError
from agentkit.llm import Finish, LLMRequest, TextDelta, ToolSpec
from agentkit.plugins import load_llm
from agentkit.testing.clock import run_virtual
from agentkit_local.brain import ScriptLLM

HOURS = ToolSpec("opening_hours", "When it is open.", {"type": "object", "properties": {}})
BOOK = ToolSpec("book", "Book an appointment.", {"type": "object", "properties": {}})


async def answer(
    llm: ScriptLLM, *messages: Message, tools: tuple[ToolSpec, ...] = ()
) -> list[object]:
    return [event async for event in llm.stream(LLMRequest("", messages, tools))]


def text(events: list[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def quick(script: Path | None = None) -> ScriptLLM:
    return ScriptLLM(script, first_token=0, per_token=0)


def written(folder: Path, content: str) -> ScriptLLM:
    script = folder / "mine.toml"
    script.write_text(content)
    return quick(script)


def calls(events: list[object]) -> list[tuple[str, object]]:
    return [
        (event.name, json.loads(event.arguments)) for event in events if isinstance(event, ToolCall)
    ]


def test_it_says_that_it_is_no_model() -> None:
    assert "not a model" in load_llm("local/script").name


async def test_it_streams_word_by_word_and_counts() -> None:
    events = await answer(quick(), UserMessage("Is there any parking?"))
    assert text(events) == "Yes, there is free parking behind the building."
    assert sum(isinstance(event, TextDelta) for event in events) == 8
    finish = events[-1]
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.usage.output) == ("stop", 8)


async def test_it_calls_a_tool_and_answers_from_its_result() -> None:
    llm, asked = quick(), UserMessage("What are your hours on Wednesday?")
    events = await answer(llm, asked, tools=(HOURS,))
    (call,) = [event for event in events if isinstance(event, ToolCall)]
    assert (call.name, json.loads(call.arguments)) == ("opening_hours", {"day": "Wednesday"})
    again = await answer(
        llm,
        asked,
        AssistantMessage("", tool_calls=(call,)),
        ToolMessage(call.id, "opening_hours", "closed on Wednesday"),
        tools=(HOURS,),
    )
    assert text(again).startswith("We are closed on Wednesday.")
    assert not [event for event in again if isinstance(event, ToolCall)]


async def test_a_rule_whose_tool_is_missing_is_passed_over() -> None:
    events = await answer(quick(), UserMessage("What are your hours on Wednesday?"))
    assert "not sure" in text(events) or "sorry" in text(events)


async def test_a_script_of_ones_own(tmp_path: Path) -> None:
    script = tmp_path / "mine.toml"
    script.write_text(
        'otherwise = "Hm."\n[[rule]]\nwhen = "my name is (?P<name>\\\\w+)"\n'
        'say = ["Hello {name}.", "Hello again, {name|friend}."]\n'
    )
    llm = load_llm(f"local/script:{script}", first_token=0, per_token=0)
    assert isinstance(llm, ScriptLLM)
    ann, joe = UserMessage("My name is Ann!"), UserMessage("My name is Joe.")
    assert text(await answer(llm, ann)) == "Hello Ann."
    assert text(await answer(llm, ann, joe)) == "Hello again, Joe."
    assert text(await answer(llm, ann, joe, ann)) == "Hello Ann."
    assert text(await answer(llm, UserMessage("What?"))) == "Hm."


async def test_a_conversation_leads_to_an_appointment() -> None:
    """A day alone is an answer to the question for it, and to nothing else."""
    llm, friday = quick(), UserMessage("Friday, please.")
    ask = UserMessage("My name is Ann O\u2019Neill, and I need an appointment.")
    first = await answer(llm, ask, tools=(BOOK,))
    assert text(first).endswith("Which day would suit you best?")
    assert calls(first) == []
    said = AssistantMessage(text(first))
    booking = await answer(llm, ask, said, friday, tools=(BOOK,))
    assert text(booking) == "Let me see. Yes, that is possible."
    assert calls(booking) == [("book", {"name": "Ann O'Neill", "when": "Friday"})]
    assert calls(await answer(llm, friday, tools=(BOOK,))) == []


async def test_a_tool_that_still_runs_or_failed_is_told_as_such() -> None:
    llm, asked = quick(), UserMessage("When are you open on Monday?")
    call = ToolCall("1", "opening_hours", "{}")

    async def told(result: str) -> str:
        messages = (
            asked,
            AssistantMessage("", tool_calls=(call,)),
            ToolMessage("1", call.name, result),
        )
        return text(await answer(llm, *messages, tools=(HOURS,)))

    assert (await told(STILL_RUNNING)).startswith("One moment, please")
    assert (await told("opening_hours failed.")).startswith("I am sorry, our calendar")
    assert (await told("The arguments are wrong. day: missing")).startswith("I am sorry")
    assert (await told("open all day")).startswith("We are open all day.")


async def test_a_result_is_spoken_of_although_no_tools_are_offered_any_more() -> None:
    call = ToolCall("1", "opening_hours", "{}")
    events = await answer(
        quick(),
        UserMessage("When are you open on Monday?"),
        AssistantMessage("", tool_calls=(call,)),
        ToolMessage("1", "opening_hours", "open all day"),
    )
    assert text(events).startswith("We are open all day.")


async def test_a_turn_after_a_tools_result_is_answered_anew() -> None:
    call = ToolCall("1", "opening_hours", "{}")
    before = (
        UserMessage("When are you open on Monday?"),
        AssistantMessage("", tool_calls=(call,)),
        ToolMessage("1", "opening_hours", "open all day"),
        AssistantMessage("We are open all day."),
    )
    events = await answer(quick(), *before, UserMessage("And open on Tuesday?"), tools=(HOURS,))
    assert calls(events) == [("opening_hours", {"day": "Tuesday"})]
    assert "still there" in text(await answer(quick(), *before, tools=(HOURS,)))
    assert "still there" in text(await answer(quick(), tools=(HOURS,)))


async def test_the_same_conversation_has_the_same_answer() -> None:
    llm = quick()
    first: Message = UserMessage("Blah.")
    messages = (first, AssistantMessage("x"), UserMessage("Blah blah."))
    one, two = [await answer(llm, *messages) for _ in range(2)]
    assert text(one) == text(two) != text(await answer(llm, first))


async def test_a_rule_that_needs_what_is_not_known_is_passed_over(tmp_path: Path) -> None:
    llm = written(
        tmp_path,
        'notice = "at (?P<hour>nine|ten)"\n'
        '[[rule]]\nwhen = "come"\nsay = "See you at {hour}."\n'
        '[[rule]]\nwhen = "come"\nsay = "When?"\n',
    )
    come = UserMessage("May I come?")
    assert text(await answer(llm, come)) == "When?"
    assert text(await answer(llm, UserMessage("I am free at Nine."), come)) == "See you at Nine."


async def test_words_match_whatever_their_case_marks_and_apostrophes(tmp_path: Path) -> None:
    llm = written(
        tmp_path, """[[rule]]\nwhen = "^what's (?P<it>\\\\w+), good bye$"\nsay = "{it}" """
    )
    heard = UserMessage("WHAT\u2019S  Stra\u00dfe, ... Good-bye?!")
    assert text(await answer(llm, heard)) != "Stra\u00dfe"  # a comma is no word
    llm = written(
        tmp_path, """[[rule]]\nwhen = "^what's (?P<it>\\\\w+) good bye$"\nsay = "{it}" """
    )
    assert text(await answer(llm, heard)) == "strasse"
    assert text(await answer(llm, UserMessage("What's UP, good bye"))) == "UP"


async def test_arguments_keep_their_types(tmp_path: Path) -> None:
    llm = written(
        tmp_path,
        '[[rule]]\nwhen = "(?P<n>\\\\d+)"\ncall = "book"\nthen = "{result}"\n'
        'arguments = { count = 2, sure = true, note = "{n|none} {where|here}" }\n',
    )
    events = await answer(llm, UserMessage("Table 7"), tools=(BOOK,))
    assert calls(events) == [("book", {"count": 2, "sure": True, "note": "7 here"})]


def test_it_takes_its_time_like_a_model() -> None:
    async def times() -> list[float]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        llm = ScriptLLM()
        request = LLMRequest(
            "", (UserMessage("Open on Monday? Then book an appointment."),), (BOOK,)
        )
        found = []
        async for _ in llm.stream(request):
            found.append(loop.time() - begun)  # noqa: PERF401
        return found

    found = run_virtual(times())
    assert found[0] == pytest.approx(0.25)
    words, call = found[:-2], found[-2]
    assert [later - earlier for earlier, later in pairwise(words)] == pytest.approx([0.02] * 5)
    assert call - words[-1] == pytest.approx(
        0.02 * len(["book", '{"name":', '"the', 'caller",', '"when":', '"Monday"}'])
    )


def test_the_script_and_then_the_caller_set_the_pace(tmp_path: Path) -> None:
    script = tmp_path / "slow.toml"
    script.write_text("first_token = 2\nper_token = 1.0\notherwise = 'One two.'\n")

    async def took(llm: ScriptLLM) -> float:
        await answer(llm)
        return asyncio.get_running_loop().time()

    unasked = "Is there anything else I can do for you?"
    assert run_virtual(took(ScriptLLM(script))) == pytest.approx(2 + len(unasked.split()) - 1)
    assert run_virtual(took(ScriptLLM(script, first_token=0, per_token=0))) == 0.0


async def test_what_is_counted_is_its_own_words() -> None:
    request = LLMRequest(
        "Be short.",
        (
            UserMessage("Is there parking?"),
            AssistantMessage("Yes.", tool_calls=(ToolCall("1", "book", '{"a": 1}'),)),
            ToolMessage("1", "book", "it is done"),
            UserMessage("Bye."),
        ),
        (ToolSpec("book", "Book it.", {}),),
    )
    finish = [event async for event in quick().stream(request)][-1]
    assert isinstance(finish, Finish)
    # instructions 2; messages 3, 1, 3, 1; the call 1 + 2; the tool 1 + 2 + 1
    assert (finish.usage.input, finish.usage.cached) == (17, 0)
    assert finish.usage.output == 12


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("rule = 1 x", "Expected"),
        ("rule = 1", "write \\[\\[rule\\]\\]"),
        ("[[rules]]\n", "rules is not known"),
        ('[[rule]]\nsay = "x"\n', "rule 1: when is missing"),
        ('[[rule]]\nwhen = "("\nsay = "x"\n', "rule 1, when"),
        ('[[rule]]\nwhen = "x"\n', "say or call is missing"),
        ('[[rule]]\nwhen = "x"\ncall = "t"\n', "call needs then"),
        ('[[rule]]\nwhen = "x"\ncall = 1\nthen = "x"\n', "call is a tool's name"),
        ('[[rule]]\nwhen = "x"\nsay = 1\n', "neither a text"),
        ('[[rule]]\nwhen = "x"\nanswer = "y"\n', "answer is not known"),
        ('[[rule]]\nwhen = "x"\nsay = "on {day}"\n', "rule 1: {day} is captured nowhere"),
        ('[[rule]]\nwhen = "x"\nsay = "{result}"\n', "{result} is known in then only"),
        ('[[rule]]\nafter = "y"\nsay = "x"\n', "no rule has the name 'y'"),
        ("first_token = -1", "first_token: -1 is no number of seconds"),
        ("per_token = true", "per_token: True is no number of seconds"),
        ("otherwise = 3", "otherwise: 3 is neither"),
    ],
)
def test_a_bad_script_says_where_and_what(tmp_path: Path, content: str, problem: str) -> None:
    script = tmp_path / "bad.toml"
    script.write_text(content)
    with pytest.raises(ConfigError, match=problem):
        quick(script)


def test_a_script_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        quick(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"otherwise = '\xe4'")
    with pytest.raises(ConfigError, match=r"latin\.toml"):
        quick(tmp_path / "latin.toml")


def test_an_unknown_brain_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match="local/script"):
        load_llm("local/llama")
