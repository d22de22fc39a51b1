"""Tools: typed methods of an agent that the model can call.

A `Tool` is made by the decorator `tool`, collected when the agent's class is written (`collect`),
shown to the model as a JSON schema (`Tool.spec`) and run with the JSON that the model wrote
(`Tool.run`). Whatever goes wrong in a run becomes a text for the model, and an error beside it for
the session: a tool never breaks a call.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from types import FunctionType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    overload,
)

from agentkit._cancelling import cancelled_if_asked
from agentkit.core.history import ToolCall
from agentkit.errors import ConfigError
from agentkit.llm.base import ToolSpec

if TYPE_CHECKING:
    from agentkit._arguments import Arguments

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=Callable[..., Any])
"""The method as it is called on an instance."""

# What OpenAI takes as a function's name, and others after it.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADER = re.compile(r"(\w[\w ]*):\s*")
_ARGUMENT = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?:(?:\s+(.*))?")

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

_threads = ThreadPoolExecutor(64, thread_name_prefix="agentkit-tool")
"""Plain functions run here. Not asyncio's own pool: functions that hang would fill it, and name
look-ups wait in that one."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool. A parameter annotated with this is given it, unseen by the model.

    Args:
        id: the same however often the call is looked at: the key that makes an effect idempotent.
        name: the tool's.
    """

    id: str
    name: str


class BadArguments(ValueError):
    """A model's arguments do not fit; the message is for the model."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call: a text that the model reads, and what went wrong, for the session."""

    text: str
    error: BaseException | None = None


class Tool(Generic[M]):
    """A method that the model can call. Made by `tool`; on an instance it is the plain method.

    Attributes:
        function: the method as it was written.
        name: as the model calls it.
        description: when to call it, for the model.
        read_only: it has no effects, so it may run before its turn has settled.
        timeout: seconds until it is given up.
        settle: 0: an effect that does not wait until its turn has settled; None: it waits.
        filler: what the agent may say while the tool is slow.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        read_only: bool = False,
        timeout: float = 20.0,
        settle: float | None = None,
        filler: str | None = None,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        if not isinstance(function, FunctionType) or _wrapped(function):
            raise ConfigError("@tool", f"belongs directly on a method, not on {function!r}")
        update_wrapper(self, function, updated=())
        self.function = function
        self.name = name or function.__name__
        self._is_async = inspect.iscoroutinefunction(function)
        if not _NAME.fullmatch(self.name):
            raise self._wrong("a name is 1 to 64 letters, digits, _ or -")
        if not (timeout > 0 and math.isfinite(timeout)):
            raise self._wrong(f"timeout {timeout} is no number of seconds above 0")
        if settle not in (None, 0):
            raise self._wrong(f"settle is None (wait) or 0 (do not wait), not {settle}")
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise self._wrong("it yields, but a tool returns one result")
        self.read_only = read_only
        self.timeout = timeout
        self.settle = settle
        self.filler = filler
        text, self._about = _describe(inspect.getdoc(function) or "")
        self.description = description or text or self.name

    @overload
    def __get__(self, owner: None, kind: type) -> Tool[M]: ...

    @overload
    def __get__(self, owner: object, kind: type | None = None) -> M: ...

    def __get__(self, owner: object | None, kind: type | None = None) -> Any:
        """The tool itself on the class, the method on an instance."""
        return self if owner is None else MethodType(self.function, owner)

    def __call__(self, owner: object, /, *args: Any, **kwargs: Any) -> Any:
        """The plain method, reached through the class."""
        return self.function(owner, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.name}>"

    @cached_property
    def spec(self) -> ToolSpec:
        """The tool as the model sees it. Raises ConfigError where `collect` does."""
        return ToolSpec(self.name, self.description, self._arguments.schema())

    async def run(self, owner: object, call: ToolCall) -> ToolResult:
        """Call the method with a model's arguments.

        Never raises, except when cancelled: wrong arguments, errors and a timeout become a short
        text for the model, without internals; errors and a timeout also ``ToolResult.error``. A
        plain function runs in a thread, in a copy of the caller's context; it goes on past a
        timeout or a cancellation, and its result is then lost.
        """
        try:
            given = self._arguments.read(call)
        except BadArguments as error:
            return ToolResult(f"The arguments are wrong. {error}")
        except Exception as error:  # a validator of the user's own broke
            return ToolResult(f"{self.name} failed.", error)
        try:
            with cancelled_if_asked():
                async with asyncio.timeout(self.timeout) as deadline:
                    result = await self._call(owner, given)
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                return ToolResult(self._late(), error)
            return ToolResult(f"{self.name} failed.", error)
        try:
            return ToolResult(self._arguments.as_text(result))
        except Exception as error:  # it was done all the same, and must not be done again
            return ToolResult("done", error)

    async def _call(self, owner: object, given: dict[str, Any]) -> Any:
        if self._is_async:
            return await self.function(owner, **given)

        def work() -> tuple[Any, Exception | None]:
            try:
                return self.function(owner, **given), None
            except Exception as error:  # not raised: a future refuses StopIteration
                return None, error

        loop = asyncio.get_running_loop()
        result, error = await loop.run_in_executor(_threads, copy_context().run, work)
        if error is not None:
            raise error
        return await result if inspect.isawaitable(result) else result

    def _late(self) -> str:
        text = f"{self.name} did not answer within {self.timeout:g} seconds."
        return text if self.read_only else f"{text} It is not known whether it was done."

    @cached_property
    def _arguments(self) -> Arguments:
        """Made at first need: an annotation may name what stands further down in the module.

        Imported then, too: pydantic takes as long to import as all the rest of agentkit.
        """
        from agentkit._arguments import Arguments

        return Arguments(self)

    def _wrong(self, problem: str) -> ConfigError:
        return ConfigError(f"tool {self.name}", problem)


@overload
def tool(function: Callable[Concatenate[Any, P], R], /) -> Tool[Callable[P, R]]: ...


@overload
def tool(
    *,
    read_only: bool = False,
    timeout: float = 20.0,
    settle: float | None = None,
    filler: str | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Callable[[Callable[Concatenate[Any, P], R]], Tool[Callable[P, R]]]: ...


def tool(
    function: Callable[..., Any] | None = None, /, **options: Any
) -> Tool[Any] | Callable[[Callable[..., Any]], Tool[Any]]:
    """Make a method a tool that the model can call.

    The docstring tells the model when to use it, its ``Args:`` (Google style) what to give; the
    types become a JSON schema. Plain functions run in a thread. In the code the method stays what
    it was: ``await agent.opening_hours("Monday")``.

    Args:
        function: the method, where the decorator is used without arguments.
        options: ``read_only`` (no effects, so it may run before its turn has settled, even in a
            draft), ``timeout`` (20 seconds), ``settle=0`` (an effect that need not wait until the
            turn has settled), ``filler`` (what the agent may say while it is slow), ``name`` and
            ``description`` (for the model, instead of the method's own).

    Raises:
        ConfigError: the name, the timeout or the method cannot be right. Missing types are found
            by `collect`, when the agent's class is written.
    """
    if function is not None:
        return Tool(function)
    return lambda found: Tool(found, **options)


def collect(owner: type) -> dict[str, Tool[Any]]:
    """The tools of a class by the model's names, inherited ones first, in the order written.

    A subclass replaces a tool by another ``@tool`` method, and takes it away with ``method =
    None``.

    Raises:
        ConfigError: two tools have one name for the model, a parameter has no type or one that
            makes no JSON schema, ``@tool`` is inside another decorator, or a tool is overridden by
            something that is none.
    """
    attributes: dict[str, Tool[Any]] = {}
    for kind in reversed(owner.__mro__):
        for attribute, value in vars(kind).items():
            if isinstance(value, Tool):
                attributes[attribute] = value
            elif _wrapped(value):
                where = f"{kind.__name__}.{attribute}"
                raise ConfigError(where, "put @tool above the other decorators, outermost")
            elif attribute in attributes and value is not None:
                raise ConfigError(
                    f"{kind.__name__}.{attribute}",
                    "overrides a tool and is none: put @tool on it, or set it to None to take "
                    "the tool away",
                )
            else:
                attributes.pop(attribute, None)
    found: dict[str, Tool[Any]] = {}
    for attribute, value in attributes.items():
        if value.name in found:
            other = next(name for name, tool in attributes.items() if tool is found[value.name])
            raise ConfigError(
                f"tool {value.name}",
                f"two methods of {owner.__name__} have it: {other} and {attribute}",
            )
        value._arguments  # noqa: B018 - raises what is wrong with it
        found[value.name] = value
    return found


def _wrapped(value: object) -> bool:
    """Whether this is a tool inside another decorator, or a decorator that hides a function."""
    if isinstance(value, staticmethod | classmethod):
        inner: object = value.__func__
    elif isinstance(value, property):
        inner = value.fget
    elif isinstance(value, FunctionType):
        inner = vars(value).get("__wrapped__")
    else:
        inner = None
    return isinstance(inner, Tool)


def _describe(doc: str) -> tuple[str, dict[str, str]]:
    """A docstring's text, and what its ``Args:`` say of each parameter (Google style).

    Other sections (``Returns:``, ``Raises:``) are for people who read the code.
    """
    text: list[str] = []
    about: dict[str, str] = {}
    section = ""
    margin = 0
    name = ""
    for line in doc.splitlines():
        bare = line.strip()
        indent = len(line) - len(line.lstrip())
        if indent == 0 and bare:
            header = _HEADER.fullmatch(bare)
            section = header[1].lower() if header and header[1].lower() in _SECTIONS else ""
            margin = 0
            if section:
                continue
        if not section:
            text.append(line)
        elif section in ("args", "arguments", "parameters") and bare:
            margin = margin or indent
            match = _ARGUMENT.fullmatch(bare) if indent <= margin else None
            if match:
                name = match[1]
                about[name] = match[2] or ""
            elif name:
                about[name] = f"{about[name]} {bare}".strip()
    return "\n".join(text).strip(), about


_SECTIONS = frozenset(
    {"args", "arguments", "parameters", "returns", "yields", "raises", "note", "notes"}
    | {"example", "examples", "attributes", "warning", "warnings", "see also", "todo"}
)
