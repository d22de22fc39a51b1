"""The scripted brain: it answers like a model, and says that it is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentkit.core.history import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from agentkit.errors import ConfigError
from agentkit.llm import Finish, LLMRequest, TextDelta, ToolSpec
from agentkit.plugins import load_llm
from agentkit_local.brain import ScriptLLM

HOURS = ToolSpec("opening_hours", "When it is open.", {"type": "object", "properties": {}})


async def answer(
    llm: ScriptLLM, *messages: Message, tools: tuple[ToolSpec, ...] = ()
) -> list[object]:
    return [event async for event in llm.stream(LLMRequest("", messages, tools))]


def text(events: list[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def quick(script: Path | None = None) -> ScriptLLM:
    return ScriptLLM(script, first_token=0, per_token=0)


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
    assert (call.name, json.loads(call.arguments)) == ("opening_hours", {"day": "wednesday"})
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
    assert text(await answer(llm, UserMessage("My name is Ann!"))) == "Hello again, ann."
    assert text(await answer(llm, UserMessage("What?"))) == "Hm."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("rule = 1 x", "Expected"),
        ("[[rules]]\n", "rules is not known"),
        ('[[rule]]\nsay = "x"\n', "rule 1: when is missing"),
        ('[[rule]]\nwhen = "("\nsay = "x"\n', "when"),
        ('[[rule]]\nwhen = "x"\n', "say or call is missing"),
        ('[[rule]]\nwhen = "x"\ncall = "t"\n', "call needs then"),
        ('[[rule]]\nwhen = "x"\nsay = 1\n', "neither a text"),
        ('[[rule]]\nwhen = "x"\nanswer = "y"\n', "answer is not known"),
    ],
)
def test_a_bad_script_says_where_and_what(tmp_path: Path, content: str, problem: str) -> None:
    script = tmp_path / "bad.toml"
    script.write_text(content)
    with pytest.raises(ConfigError, match=problem):
        quick(script)


def test_an_unknown_brain_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match="local/script"):
        load_llm("local/llama")
