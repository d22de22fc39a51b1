"""Tools: what the model is told, and what happens when it calls."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from agentkit import Agent, Call, tool
from agentkit.core.history import ToolCall
from agentkit.errors import ConfigError
from agentkit.tools import collect


class Guest(BaseModel):
    name: str
    age: int = 0


@dataclass
class Booked:
    day: date


class Clinic(Agent):
    @tool(read_only=True)
    async def hours(self, day: Literal["monday", "sunday"], short: bool = False) -> str:
        """When it is open.

        Args:
            day: the weekday
                in English.
            short: say it briefly.

        Returns:
            The hours.
        """
        return f"{day} {short}"

    @tool(timeout=0.05, name="book_it", filler="One moment.")
    def book(self, guest: Guest, when: date, call: Call) -> Booked:
        """Book."""
        assert call.id == "c1"
        return Booked(when)

    @tool(settle=0)
    async def slow(self) -> None:
        """Never done."""
        await asyncio.sleep(60)

    @tool
    async def broken(self) -> str:
        """Raises."""
        raise RuntimeError("secret inside")

    @tool(read_only=True)
    async def nothing(self) -> None:
        """Gives nothing."""


def run(name: str, arguments: Any) -> Any:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return Clinic.tools[name].run(Clinic(), ToolCall("c1", name, text))


def test_the_model_is_told_types_and_descriptions() -> None:
    spec = Clinic.tools["hours"].spec
    assert spec.description == "When it is open."
    assert spec.parameters["required"] == ["day"]
    assert spec.parameters["additionalProperties"] is False
    day = spec.parameters["properties"]["day"]
    assert day == {
        "description": "the weekday in English.",
        "enum": ["monday", "sunday"],
        "type": "string",
    }
    assert "call" not in Clinic.tools["book_it"].spec.parameters["properties"]


def test_tools_are_in_order_and_inherited() -> None:
    class Branch(Clinic):
        broken = None  # type: ignore[assignment]

        @tool
        async def more(self) -> str:
            """More."""
            return ""

    assert list(Clinic.tools) == ["hours", "book_it", "slow", "broken", "nothing"]
    assert list(Branch.tools) == ["hours", "book_it", "slow", "nothing", "more"]
    assert Clinic.tools["hours"].read_only
    assert Clinic.tools["book_it"].filler == "One moment."
    assert Clinic.tools["slow"].settle == 0


async def test_it_is_still_a_method() -> None:
    assert await Clinic().hours("monday", short=True) == "monday True"


async def test_a_call_is_checked_and_run() -> None:
    result = await run("hours", {"day": "sunday"})
    assert (result.text, result.error) == ("sunday False", None)
    assert (await run("nothing", "")).text == "done"
    booked = await run("book_it", {"guest": {"name": "Ann"}, "when": "2026-12-01"})
    assert json.loads(booked.text) == {"day": "2026-12-01"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"day": "friday"}, "day: "),
        ({}, "day: Field required"),
        ({"day": "monday", "hour": 3}, "hour: "),
        ("{not json", "Invalid JSON"),
    ],
)
async def test_wrong_arguments_are_told_to_the_model(arguments: Any, says: str) -> None:
    result = await run("hours", arguments)
    assert result.text.startswith("The arguments are wrong.")
    assert says in result.text
    assert result.error is None


async def test_errors_are_told_without_their_insides() -> None:
    result = await run("broken", {})
    assert result.text == "broken failed."
    assert isinstance(result.error, RuntimeError)


async def test_a_timeout_is_told() -> None:
    class Sleepy(Agent):
        @tool(timeout=0.02)
        async def nap(self) -> str:
            """Sleeps."""
            await asyncio.sleep(5)
            return ""

        @tool(timeout=0.02)
        def doze(self) -> str:
            """Sleeps in a thread."""
            time.sleep(0.1)
            return ""

    for name in ("nap", "doze"):
        result = await Sleepy.tools[name].run(Sleepy(), ToolCall("c", name, "{}"))
        assert "did not answer within 0.02 seconds" in result.text
        assert isinstance(result.error, TimeoutError)


def test_mistakes_are_found_when_the_class_is_written() -> None:
    with pytest.raises(ConfigError, match="parameter day needs a type"):

        class Untyped(Agent):
            @tool
            async def hours(self, day):  # type: ignore[no-untyped-def]
                """Hours."""

    with pytest.raises(ConfigError, match="name each parameter"):

        class Loose(Agent):
            @tool
            async def hours(self, *days: str) -> str:
                """Hours."""
                return ""

    with pytest.raises(ConfigError, match="two methods"):

        class Twice(Agent):
            @tool(name="hours")
            async def one(self) -> str:
                """One."""
                return ""

            @tool(name="hours")
            async def two(self) -> str:
                """Two."""
                return ""

    with pytest.raises(ConfigError, match="1 to 64 letters"):
        tool(name="opening hours")(lambda self: None)
    with pytest.raises(ConfigError, match="timeout"):
        tool(timeout=0, name="x")(lambda self: None)


def test_a_class_without_tools_has_none() -> None:
    assert collect(Agent) == {}
