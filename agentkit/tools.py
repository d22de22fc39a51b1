"""Tools: typed methods of an agent that the model can call."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Generic, TypeVar, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from agentkit.core.history import ToolCall
from agentkit.errors import ConfigError
from agentkit.llm.base import ToolSpec

F = TypeVar("F", bound=Callable[..., Any])

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ARGS = re.compile(r"^\s*(Args|Arguments|Parameters):\s*$")
_SECTION = re.compile(r"^\s*(Returns|Raises|Yields|Example|Examples|Note|Notes):\s*$")
_ARG = re.compile(r"^\s*\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool. A parameter annotated with this is given it, unseen by the model.

    Args:
        id: the same however often the call is looked at: the key that makes an effect idempotent.
        name: the tool's.
    """

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call: a text that the model reads, and what went wrong, for the session."""

    text: str
    error: BaseException | None = None


class Tool(Generic[F]):
    """A method that the model can call. Made by `tool`; on an instance it is the plain method.

    Attributes:
        name: as the model calls it.
        read_only: it has no effects, so it may run before its turn has settled.
        timeout: seconds until it is given up.
        settle: 0: an effect that does not wait until its turn has settled; None: it waits.
        filler: what the agent may say while the tool is slow.
    """

    def __init__(
        self,
        function: F,
        *,
        read_only: bool = False,
        timeout: float = 20.0,
        settle: float | None = None,
        filler: str | None = None,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        self.read_only = read_only
        self.timeout = timeout
        self.settle = settle
        self.filler = filler
        self.__doc__ = function.__doc__
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"tool {self.name}", "a name is 1 to 64 letters, digits, _ or -")
        if timeout <= 0:
            raise ConfigError(f"tool {self.name}", f"timeout {timeout} is not above 0 seconds")
        text, about = _describe(inspect.getdoc(function) or "")
        self._description = description or text or self.name
        self._about = about
        self._arguments: type[BaseModel] | None = None
        self._call_parameter: str | None = None

    @overload
    def __get__(self, owner: None, kind: type) -> Tool[F]: ...

    @overload
    def __get__(self, owner: object, kind: type | None = None) -> Callable[..., Any]: ...

    def __get__(self, owner: object | None, kind: type | None = None) -> Any:
        """The tool itself on the class, the method on an instance."""
        return self if owner is None else self.function.__get__(owner, kind)

    @property
    def spec(self) -> ToolSpec:
        """The tool as the model sees it."""
        schema = self._model().model_json_schema()
        schema.pop("title", None)
        for shown in schema.get("properties", {}).values():
            shown.pop("title", None)
        schema.setdefault("properties", {})
        return ToolSpec(self.name, self._description, schema)

    async def run(self, owner: object, call: ToolCall) -> ToolResult:
        """Call the method with a model's arguments.

        Never raises, except when cancelled: wrong arguments, errors and a timeout become a short
        text for the model, without internals, and errors also ``ToolResult.error``. A plain
        function runs in a thread, which goes on past the timeout.
        """
        try:
            arguments = self._model().model_validate_json(call.arguments or "{}")
        except ValidationError as error:
            return ToolResult(f"The arguments are wrong. {_complaints(error)}")
        given = {name: getattr(arguments, name) for name in type(arguments).model_fields}
        if self._call_parameter is not None:
            given[self._call_parameter] = Call(call.id, call.name)
        try:
            async with asyncio.timeout(self.timeout) as timeout:
                if inspect.iscoroutinefunction(self.function):
                    result = await self.function(owner, **given)
                else:
                    result = await asyncio.to_thread(self.function, owner, **given)
        except TimeoutError as error:
            if timeout.expired():
                text = f"{self.name} did not answer within {self.timeout:g} seconds."
                return ToolResult(text, error)
            return ToolResult(f"{self.name} failed.", error)
        except Exception as error:
            return ToolResult(f"{self.name} failed.", error)
        return ToolResult(_as_text(result))

    def check(self) -> None:
        """Raise ConfigError if the model could not be told how to call it."""
        self._model()

    def _model(self) -> type[BaseModel]:
        if self._arguments is None:
            self._arguments = self._make_model()
        return self._arguments

    def _make_model(self) -> type[BaseModel]:
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        try:
            hints = get_type_hints(self.function, include_extras=True)
        except NameError as error:
            raise ConfigError(
                f"tool {self.name}", f"{error}: its types have to be importable in its module"
            ) from error
        fields: dict[str, Any] = {}
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ConfigError(
                    f"tool {self.name}", f"*{parameter.name}: name each parameter, with its type"
                )
            if parameter.name not in hints:
                raise ConfigError(
                    f"tool {self.name}", f"parameter {parameter.name} needs a type, e.g. str"
                )
            if hints[parameter.name] is Call:
                self._call_parameter = parameter.name
                continue
            default = ... if parameter.default is parameter.empty else parameter.default
            about = self._about.get(parameter.name)
            fields[parameter.name] = (hints[parameter.name], Field(default, description=about))
        return create_model(
            f"{self.name}_arguments", __config__=ConfigDict(extra="forbid"), **fields
        )


@overload
def tool(function: F, /) -> Tool[F]: ...


@overload
def tool(
    *,
    read_only: bool = False,
    timeout: float = 20.0,
    settle: float | None = None,
    filler: str | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Callable[[F], Tool[F]]: ...


def tool(function: F | None = None, /, **options: Any) -> Tool[F] | Callable[[F], Tool[F]]:
    """Make a method a tool that the model can call.

    The docstring tells the model when to use it, its ``Args:`` what to give; the types become a
    JSON schema. Plain functions run in a thread.

    Args:
        function: the method, where the decorator is used without arguments.
        options: ``read_only`` (no effects, so it may run before its turn has settled),
            ``timeout`` (20 seconds), ``settle=0`` (an effect that need not wait for that),
            ``filler`` (said while it is slow), ``name`` and ``description`` (instead of the
            method's own).

    Raises:
        ConfigError: the name or the timeout cannot be right. Missing types are found when the
            class is written.
    """
    if function is not None:
        return Tool(function)
    return lambda found: Tool(found, **options)


def collect(owner: type) -> dict[str, Tool[Any]]:
    """The tools of a class by name, inherited ones first, in the order they are written.

    Raises:
        ConfigError: two methods have one name for the model, or a parameter has no type.
    """
    by_attribute: dict[str, Tool[Any]] = {}
    for kind in reversed(owner.__mro__):
        for attribute, value in vars(kind).items():
            if isinstance(value, Tool):
                by_attribute[attribute] = value
            elif attribute in by_attribute:
                del by_attribute[attribute]
    found: dict[str, Tool[Any]] = {}
    for value in by_attribute.values():
        if value.name in found:
            raise ConfigError(f"tool {value.name}", f"two methods of {owner.__name__} have it")
        value.check()
        found[value.name] = value
    return found


def _describe(doc: str) -> tuple[str, dict[str, str]]:
    """A docstring's text, and what its ``Args:`` say of each parameter."""
    text: list[str] = []
    about: dict[str, str] = {}
    current: str | None = None
    place = "text"
    for line in doc.splitlines():
        if _ARGS.match(line):
            place = "args"
        elif _SECTION.match(line):
            place = "else"
        elif place == "text":
            text.append(line)
        elif place == "args" and (match := _ARG.match(line)):
            current = match.group(1)
            about[current] = match.group(2)
        elif place == "args" and current and line.strip():
            about[current] += " " + line.strip()
    return "\n".join(text).strip(), about


def _complaints(error: ValidationError) -> str:
    """What is wrong with the arguments, for the model, without the values it gave."""
    parts = []
    for complaint in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in complaint["loc"])
        parts.append(f"{where}: {complaint['msg']}" if where else complaint["msg"])
    return "; ".join(parts) + "."


def _as_text(result: object) -> str:
    if result is None:
        return "done"
    if isinstance(result, str):
        return result
    if isinstance(result, BaseModel):
        return result.model_dump_json()
    if is_dataclass(result) and not isinstance(result, type):
        result = asdict(result)
    return json.dumps(result, ensure_ascii=False, default=str)
