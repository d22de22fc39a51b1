"""What comes of a tool call: arguments, results, errors, and time."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, field_validator

from agentkit.core.history import ToolCall
from agentkit.tools import Call, Tool, ToolResult, collect, tool


class Kind(Enum):
    CHECKUP = "check-up"
    TREATMENT = "treatment"


class Address(BaseModel):
    street: str
    title: str = ""


@dataclass
class Slot:
    day: date
    price: Decimal


class Words:
    def __str__(self) -> str:
        return "in words"


trace: ContextVar[str] = ContextVar("trace", default="")


class Desk:
    @tool(read_only=True)
    async def slots(
        self,
        kind: Kind,
        after: datetime,
        at: Address | None = None,
        seats: Annotated[int, Field(ge=1)] = 1,
        *,
        tags: list[str] = [],  # noqa: B006 - it is not shared: see the test
    ) -> list[Slot]:
        """Find free slots."""
        tags.append("seen")
        return [Slot(after.date(), Decimal("12.50"))] * len(tags)

    @tool
    def order(self, copy: str, json: int, schema: bool, model_config: float, _x: int = 0) -> str:
        """Names that pydantic has a use for."""
        return f"{copy} {json} {schema} {model_config} {_x}"

    @tool
    async def buy(self, call: Call, phone: str, again: Call) -> dict[str, Any]:
        """Buy it."""
        assert call == again
        return {"id": call.id, "name": call.name, "phone": phone, "on": date(2026, 12, 1)}


def make(function: Callable[..., Any], **options: Any) -> Tool[Any]:
    """A tool in a class of its own, checked like those of an agent."""
    made: Tool[Any] = Tool(function, **options)
    return collect(type("Owner", (), {"method": made}))[made.name]


async def run(used: Tool[Any], arguments: object = None, call_id: str = "c1") -> ToolResult:
    return await used.run(Desk(), ToolCall(call_id, used.name, json.dumps(arguments or {})))


async def test_arguments_come_as_their_types() -> None:
    asked = {
        "kind": "check-up",
        "after": "2026-12-01T10:00:00",
        "at": {"street": "Elm"},
        "tags": ["x"],
    }
    result = await run(Desk.slots, asked)
    assert result.error is None
    assert json.loads(result.text) == [{"day": "2026-12-01", "price": "12.50"}] * 2


async def test_a_default_is_not_shared_between_calls() -> None:
    for _ in range(2):
        result = await run(Desk.slots, {"kind": "treatment", "after": "2026-12-01"})
        assert len(json.loads(result.text)) == 1


async def test_plain_functions_run_beside_the_loop_in_their_context() -> None:
    threads: list[threading.Thread] = []

    def look(self: object) -> str:
        threads.append(threading.current_thread())
        return trace.get()

    trace.set("call 7")
    assert (await run(make(look))).text == "call 7"
    assert threads[0] is not threading.main_thread()


async def test_odd_parameter_names_reach_the_method() -> None:
    asked = {"copy": "a", "json": 1, "schema": True, "model_config": 2.5, "_x": 3}
    assert (await run(Desk.order, asked)).text == "a 1 True 2.5 3"
    again = await run(Desk.order, {"field0": "a", **asked})
    assert "field0: Extra inputs are not permitted" in again.text


async def test_the_call_carries_the_key_that_makes_an_effect_idempotent() -> None:
    result = await run(Desk.buy, {"phone": 5551234}, call_id="call_9")
    assert json.loads(result.text) == {
        "id": "call_9",
        "name": "buy",
        "phone": "5551234",
        "on": "2026-12-01",
    }


@pytest.mark.parametrize("nothing", ["", "  ", "null", "{}"])
async def test_models_have_many_words_for_no_arguments(nothing: str) -> None:
    async def ping(self: object) -> str:
        return "pong"

    assert await make(ping).run(Desk(), ToolCall("c", "ping", nothing)) == ToolResult("pong")


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (None, "done"),
        ("", ""),
        ("grüße", "grüße"),
        (True, "true"),
        (3, "3"),
        ({"a": date(2026, 1, 2), "b": {1}}, '{"a":"2026-01-02","b":[1]}'),
        ([Address(street="Elm")], '[{"street":"Elm","title":""}]'),
        (Address(street="Elm"), '{"street":"Elm","title":""}'),
        (Slot(date(2026, 1, 2), Decimal("1.50")), '{"day":"2026-01-02","price":"1.50"}'),
        (Kind.CHECKUP, '"check-up"'),
        ({"é": None}, '{"é":null}'),
        (Words(), '"in words"'),
    ],
)
async def test_results_become_text(returned: object, text: str) -> None:
    async def give(self: object) -> Any:
        return returned

    assert await run(make(give)) == ToolResult(text)


async def test_a_result_without_words_was_done_all_the_same() -> None:
    """The model must not try an effect again because its result cannot be read."""

    async def book(self: object) -> object:
        return object()

    async def loop(self: object) -> list[Any]:
        endless: list[Any] = []
        endless.append(endless)
        return endless

    for function, says in ((book, "a tool returned a object: return text"), (loop, "Circular")):
        result = await run(make(function))
        assert result.text == "done"
        assert says in str(result.error)


async def test_several_mistakes_are_told_at_once_without_the_values() -> None:
    asked = {"kind": "holiday", "at": {"street": 1.5, "title": []}, "seats": 0, "colour": "red"}
    result = await run(Desk.slots, asked)
    assert result.error is None
    for part in (
        "kind: Input should be 'check-up' or 'treatment'",
        "after: Field required",
        "at.title: Input should be a valid string",
        "seats: Input should be greater than or equal to 1",
        "colour: Extra inputs are not permitted",
    ):
        assert part in result.text
    assert "holiday" not in result.text
    assert "red" not in result.text.replace("required", "")
    assert "pydantic" not in result.text


class Fussy(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def no_such(cls, value: str) -> str:
        raise RuntimeError(f"secret {value}")


async def test_a_validator_that_breaks_is_reported() -> None:
    async def take(self: object, fussy: Fussy) -> None: ...

    result = await run(make(take), {"fussy": {"name": "x"}})
    assert result.text == "take failed."
    assert isinstance(result.error, RuntimeError)


@pytest.mark.parametrize("error", [StopIteration(), KeyError("secret"), TimeoutError("secret")])
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_an_error_is_one_short_text_and_is_reported(error: Exception, kind: str) -> None:
    async def fetch(self: object) -> None:
        raise error

    def plain(self: object) -> None:
        raise error

    result = await run(make(fetch if kind == "async" else plain, name="fetch"))
    assert result.text == "fetch failed."
    if isinstance(error, StopIteration):
        assert isinstance(result.error, RuntimeError), "what Python makes of it in a coroutine"
    else:
        assert result.error is error


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_late_effect_may_have_been_done(read_only: bool) -> None:
    async def wait(self: object) -> None:
        await asyncio.Event().wait()

    result = await run(make(wait, timeout=0.01, read_only=read_only))
    assert isinstance(result.error, TimeoutError)
    assert result.text.startswith("wait did not answer within 0.01 seconds.")
    assert ("not known whether it was done" in result.text) is not read_only


async def test_a_plain_function_that_hangs_holds_up_nobody() -> None:
    go = threading.Event()

    def hang(self: object) -> None:
        go.wait(10)

    try:
        stuck = make(hang, timeout=0.01)
        results = await asyncio.gather(*(run(stuck) for _ in range(40)))
        assert all(isinstance(result.error, TimeoutError) for result in results)
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(lambda: "name look-up") == "name look-up"

            def quick(self: object) -> str:
                return "here"

            assert (await run(make(quick))).text == "here"
    finally:
        go.set()


async def test_cancelling_cancels_the_method() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(self: object) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.ensure_future(run(make(wait)))
    async with asyncio.timeout(5):
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended.is_set()


async def test_a_decorator_below_it_may_hide_that_it_is_async() -> None:
    def traced(
        function: Callable[[object, int], Awaitable[str]],
    ) -> Callable[[object, int], Awaitable[str]]:
        @functools.wraps(function)
        def wrapper(self: object, number: int) -> Awaitable[str]:
            return function(self, number)

        return wrapper

    @traced
    async def double(self: object, number: int) -> str:
        """Double it."""
        return str(2 * number)

    assert make(double).spec.parameters["required"] == ["number"]
    assert await run(make(double), {"number": 4}) == ToolResult("8")
