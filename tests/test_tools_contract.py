"""What a method must be to be a tool, and what the model is told of it."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, assert_type

import pytest
from pydantic import BaseModel, Field

from agentkit.errors import ConfigError
from agentkit.llm.base import ToolSpec
from agentkit.tools import Call, Tool, collect, tool

if TYPE_CHECKING:
    from fractions import Fraction


class Kind(Enum):
    CHECKUP = "check-up"
    TREATMENT = "treatment"


class Address(BaseModel):
    street: str = Field(description="without the number")
    title: str = ""


@dataclass
class Slot:
    day: date
    price: Decimal


class Desk:
    @tool(read_only=True, timeout=5, filler="One moment.")
    async def slots(
        self,
        kind: Kind,
        after: datetime,
        at: Address | None = None,
        room: Literal["a", "b"] = "a",
        seats: Annotated[int, Field(ge=1, description="how many")] = 1,
        *,
        tags: list[str] = [],  # noqa: B006 - it is not shared between calls
    ) -> list[Slot]:
        """Find free slots.

        Only the next ones are found: ask for later ones
        if none suits.

        Args:
            kind (Kind): what for.
            after: the earliest time:
                an ISO date and time.

                Today if it was not said.
            at: where
            unknown: not a parameter.

        Returns:
            kind: this is not about the parameter.
        """
        raise NotImplementedError

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


# -------------------------------------------------------------------------- what the model is told


def test_the_whole_schema() -> None:
    spec = Desk.slots.spec
    assert isinstance(spec, ToolSpec)
    assert spec.name == "slots"
    assert spec.description == (
        "Find free slots.\n\nOnly the next ones are found: ask for later ones\nif none suits."
    )
    assert spec.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind", "after"],
        "properties": {
            "kind": {"$ref": "#/$defs/Kind", "description": "what for."},
            "after": {
                "type": "string",
                "format": "date-time",
                "description": "the earliest time: an ISO date and time. Today if it was not said.",
            },
            "at": {
                "anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}],
                "default": None,
                "description": "where",
            },
            "room": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "seats": {"type": "integer", "minimum": 1, "default": 1, "description": "how many"},
            "tags": {"type": "array", "items": {"type": "string"}, "default": []},
        },
        "$defs": {
            "Kind": {"type": "string", "enum": ["check-up", "treatment"], "title": "Kind"},
            "Address": {
                "type": "object",
                "title": "Address",
                "required": ["street"],
                "properties": {
                    "street": {"type": "string", "description": "without the number"},
                    "title": {"type": "string", "default": ""},
                },
            },
        },
    }
    assert Desk.slots.spec is spec, "made once"


def test_any_name_may_name_a_parameter() -> None:
    properties = Desk.order.spec.parameters["properties"]
    assert list(properties) == ["copy", "json", "schema", "model_config", "_x"]


def test_the_call_is_not_the_models_concern() -> None:
    assert list(Desk.buy.spec.parameters["properties"]) == ["phone"]


def test_without_a_docstring_the_name_stands_for_it() -> None:
    async def ring_bell(self: object) -> None: ...

    assert make(ring_bell).spec == ToolSpec(
        "ring_bell",
        "ring_bell",
        {"type": "object", "properties": {}, "additionalProperties": False},
    )
    assert make(ring_bell, name="bell", description="Ring it.").spec.description == "Ring it."


def test_a_default_that_is_no_json_is_left_out_of_the_schema() -> None:
    nowhere = object()

    async def go(self: object, where: Any = nowhere) -> None: ...

    assert make(go).spec.parameters["properties"] == {"where": {}}


def test_what_it_returns_need_not_be_known() -> None:
    async def half(self: object, of: int) -> Fraction:
        raise NotImplementedError

    assert list(make(half).spec.parameters["properties"]) == ["of"]


# ---------------------------------------------------------------------------- it stays a method


async def test_it_is_called_like_any_method() -> None:
    class Branch(Desk):
        @tool
        async def buy(self, call: Call, phone: str, again: Call) -> dict[str, Any]:
            """Buy it here."""
            return {"branch": await super().buy(call, phone, again)}

    call = Call("c", "buy")
    bought = await Branch().buy(call, "1", again=call)
    assert_type(bought, dict[str, Any])
    assert bought["branch"]["phone"] == "1"
    assert_type(Desk().order("a", 1, True, 0.5), str)
    assert (await Desk.buy(Desk(), call, "2", call))["phone"] == "2"
    assert Desk.buy.__doc__ == "Buy it."
    assert inspect.unwrap(Desk.buy) is Desk.buy.function
    assert repr(Desk.buy) == "<tool buy>"


def test_its_options_can_be_read() -> None:
    assert (Desk.slots.read_only, Desk.slots.timeout, Desk.slots.filler) == (True, 5, "One moment.")
    assert (Desk.buy.read_only, Desk.buy.timeout, Desk.buy.filler) == (False, 20.0, None)
    assert (Desk.buy.settle, make(Desk.buy.function, settle=0).settle) == (None, 0)


# ----------------------------------------------------------------------------------- collecting


def test_the_order_is_as_written_inherited_ones_first() -> None:
    class Mixin:
        @tool
        async def extra(self) -> None: ...

    class Branch(Mixin, Desk):
        @tool
        async def new(self) -> None: ...

        @tool(name="purchase")
        async def buy(self) -> None: ...  # type: ignore[override]

    assert list(collect(Branch)) == ["slots", "order", "purchase", "extra", "new"]
    assert list(collect(Desk)) == ["slots", "order", "buy"]


def test_a_tool_is_not_lost_by_accident() -> None:
    class Forgot(Desk):
        async def buy(self, call: Call, phone: str, again: Call) -> dict[str, Any]:
            return {}

    class Meant(Desk):
        buy = None  # type: ignore[assignment]

    with pytest.raises(ConfigError, match=r"Forgot\.buy: overrides a tool and is none: put @tool"):
        collect(Forgot)
    assert list(collect(Meant)) == ["slots", "order"]


def test_two_tools_of_one_name_are_both_named() -> None:
    class Two:
        @tool(name="look")
        async def first(self) -> None: ...

        @tool(name="look")
        async def second(self) -> None: ...

    with pytest.raises(
        ConfigError, match="tool look: two methods of Two have it: first and second"
    ):
        collect(Two)


def test_the_decorator_stands_outermost() -> None:
    @tool
    async def look(self: object) -> None: ...

    @functools.wraps(look)
    def wrapper(self: object) -> None: ...

    inside: Any = look
    hidden: Any
    for hidden in (staticmethod(inside), classmethod(inside), property(inside), wrapper):
        with pytest.raises(ConfigError, match=r"Owner\.look: put @tool above the other"):
            collect(type("Owner", (), {"look": hidden}))


@pytest.mark.parametrize(
    "thing", ["look", 3, staticmethod(len), property(len), Desk.buy, functools.partial(len)]
)
def test_only_methods_can_be_tools(thing: Any) -> None:
    with pytest.raises(ConfigError, match="belongs directly on a method"):
        tool(thing)


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="reed_only"):
        tool(reed_only=True)(lambda self: None)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": 0}, "timeout 0 is no number of seconds above 0"),
        ({"timeout": -1.0}, "timeout -1.0"),
        ({"timeout": float("nan")}, "timeout nan"),
        ({"timeout": float("inf")}, "timeout inf"),
        ({"settle": 0.5}, "settle is None .* or 0 .*, not 0.5"),
        ({"name": "opening hours"}, "a name is 1 to 64"),
        ({"name": "x" * 65}, "a name is 1 to 64"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], says: str) -> None:
    async def look(self: object) -> None: ...

    with pytest.raises(ConfigError, match=says):
        Tool(look, **options)


async def _yields(self: object) -> AsyncIterator[str]:
    yield ""


async def _local_type(self: object, of: Fraction) -> None: ...


async def _no_self() -> None: ...


async def _positional(self: object, day: str, /) -> None: ...


async def _many(self: object, *days: str) -> None: ...


async def _any(self: object, **days: str) -> None: ...


async def _untyped(self, day) -> None: ...  # type: ignore[no-untyped-def]


async def _odd_type(self: object, day: str, when: threading.Thread) -> None: ...


async def _no_schema(self: object, then: Callable[[int], int]) -> None: ...


async def _field_default(self: object, day: str = Field(min_length=1)) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_yields, "it yields, but a tool returns one result"),
        (_local_type, "name 'Fraction' is not defined.*above the class.*TYPE_CHECKING"),
        (_no_self, "its first parameter is self"),
        (_positional, "day cannot be given by name"),
        (_many, "parameter days cannot be given by name: name each parameter"),
        (_any, "parameter days cannot be given by name: name each parameter"),
        (_untyped, "parameter day needs a type, as in day: str"),
        (_odd_type, "parameter when: its type makes no JSON schema"),
        (_no_schema, "parameter then: its type makes no JSON schema"),
        (_field_default, r"parameter day has Field\(\) as its default.*Annotated"),
    ],
)
def test_methods_that_the_model_could_not_call_are_refused(
    function: Callable[..., Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=f"^tool {function.__name__}: .*{says}"):
        make(function)
