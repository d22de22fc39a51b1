"""Arguments and results of tools: from types to a JSON schema, and from JSON to Python."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import FunctionType, SimpleNamespace
from typing import Any, ClassVar, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import to_json

from agentkit.core.history import ToolCall
from agentkit.tools import BadArguments, Call, Tool

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class _Schema(GenerateJsonSchema):
    """Without titles: they repeat the names, and the model pays for each token."""

    ignored_warning_kinds: ClassVar[set[JsonSchemaWarningKind]] = {  # type: ignore[misc]
        "skipped-choice",
        "non-serializable-default",
    }

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class Arguments:
    """A method's parameters as a pydantic model.

    Its fields are numbered and the parameters' names are aliases, so that a parameter may have a
    name that pydantic has a use for, such as ``copy`` or ``json``.
    """

    def __init__(self, tool: Tool[Any]) -> None:
        self._tool = tool
        self._call_parameters: list[str] = []
        self._fields: dict[str, str] = {}
        definitions: dict[str, Any] = {}
        hints = self._hints()
        for parameter in self._parameters():
            name = parameter.name
            if name not in hints:
                raise tool._wrong(f"parameter {name} needs a type, as in {name}: str")
            if hints[name] is Call:
                self._call_parameters.append(name)
                continue
            field = f"field{len(self._fields)}"
            self._fields[field] = name
            definitions[field] = (hints[name], self._field(parameter))
        self.model = self._model(definitions)

    def read(self, call: ToolCall) -> dict[str, Any]:
        """What the model wrote, as keyword arguments. Raises BadArguments."""
        text = call.arguments.strip()
        try:
            read = self.model.model_validate_json("{}" if text in ("", "null") else text)
        except ValidationError as error:
            raise BadArguments(_complaints(error)) from error
        given = {name: getattr(read, field) for field, name in self._fields.items()}
        for name in self._call_parameters:
            given[name] = Call(call.id, call.name)
        return given

    def schema(self) -> dict[str, Any]:
        """A JSON schema of type ``object``."""
        schema = self.model.model_json_schema(schema_generator=_Schema)
        schema.pop("title", None)
        schema.setdefault("properties", {})
        return schema

    @staticmethod
    def as_text(result: object) -> str:
        """What a tool returned, as the model reads it. Raises TypeError if it has no words."""
        if result is None:
            return "done"
        if isinstance(result, str):
            return result
        return to_json(result, fallback=_in_own_words).decode()

    def _parameters(self) -> list[inspect.Parameter]:
        found = [*inspect.signature(self._tool.function).parameters.values()]
        if not found or found[0].kind not in (found[0].POSITIONAL_ONLY, _BY_NAME[0]):
            raise self._tool._wrong("it is a method: its first parameter is self")
        for parameter in found[1:]:
            if parameter.kind not in _BY_NAME:
                raise self._tool._wrong(
                    f"parameter {parameter.name} cannot be given by name: "
                    "name each parameter, with its type"
                )
        return found[1:]

    def _hints(self) -> dict[str, Any]:
        """The parameters' types. What is returned is no concern of the model's."""
        plain = cast("FunctionType", inspect.unwrap(self._tool.function))
        wanted = {name: hint for name, hint in plain.__annotations__.items() if name != "return"}
        try:
            return get_type_hints(
                cast("Any", SimpleNamespace(__annotations__=wanted)),
                globalns=plain.__globals__,
                include_extras=True,
            )
        except NameError as error:
            raise self._tool._wrong(
                f"{error}: the types of its parameters have to be defined above the class, or "
                "imported in its module, and not for TYPE_CHECKING alone"
            ) from error

    def _field(self, parameter: inspect.Parameter) -> Any:
        default = ... if parameter.default is parameter.empty else parameter.default
        if isinstance(default, FieldInfo):
            raise self._tool._wrong(
                f"parameter {parameter.name} has Field() as its default: write it as "
                f"{parameter.name}: Annotated[TYPE, Field(...)]"
            )
        about = self._tool._about.get(parameter.name)
        # A description of None would take away one that stands in Annotated.
        more: dict[str, Any] = {"description": about} if about else {}
        return Field(default, alias=parameter.name, **more)

    def _model(self, definitions: dict[str, Any]) -> type[BaseModel]:
        # Models write 5551234 for a telephone number that is asked for as text.
        config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)
        try:
            model: type[BaseModel] = create_model(
                f"{self._tool.name}_arguments", __config__=config, **definitions
            )
            model.model_json_schema(schema_generator=_Schema)
        except PydanticUserError as error:
            raise self._tool._wrong(
                f"{self._culprit(definitions)}: its type makes no JSON schema. Use text, numbers, "
                "dates, Literal, Enum, lists of these, or pydantic models"
            ) from error
        return model

    def _culprit(self, definitions: dict[str, Any]) -> str:
        for field, (hint, _) in definitions.items():
            try:
                TypeAdapter(hint).json_schema(schema_generator=_Schema)
            except PydanticUserError:
                return f"parameter {self._fields[field]}"
        return "a parameter"


def _complaints(error: ValidationError) -> str:
    """What is wrong with the arguments, for the model, without the values it gave."""
    parts: Iterable[str] = (
        ": ".join(filter(None, (".".join(map(str, complaint["loc"])), complaint["msg"])))
        for complaint in error.errors(include_url=False, include_input=False)
    )
    return "; ".join(parts) + "."


def _in_own_words(value: object) -> str:
    """What has no form in JSON, if it has words for itself."""
    if type(value).__str__ is object.__str__:
        raise TypeError(
            f"a tool returned a {type(value).__name__}: return text, or what turns into JSON"
        )
    return str(value)
