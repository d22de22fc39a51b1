"""The public names and signatures, against a snapshot that shows every change in review.

Write it anew with ``python tests/test_public_api.py``.
"""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

SNAPSHOT = Path(__file__).parent / "public_api.txt"
MODULES = [
    "agentkit",
    "agentkit.audio",
    "agentkit.errors",
    "agentkit.flux",
    "agentkit.llm",
    "agentkit.observe",
    "agentkit.session",
    "agentkit.testing",
    "agentkit.testing.carriers",
    "agentkit.testing.conformance",
    "agentkit.transports",
    "agentkit.tts",
    "agentkit.turns",
]


PLAIN = (bool, int, float, str, bytes, type(None), type)
"""Defaults that are shown; others may look different in each process. ``empty`` is a type."""


def describe() -> str:
    lines = []
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        lines.append(f"# {module_name}")
        for name in public_names(module):
            lines += _describe(name, getattr(module, name))
        lines.append("")
    return "\n".join(lines)


def public_names(module: ModuleType) -> list[str]:
    """``__all__``; without it, the classes and functions that the module makes itself."""
    made = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return sorted(getattr(module, "__all__", made))


def _describe(name: str, value: object) -> list[str]:
    if not inspect.isclass(value):
        return [f"{name}{_signature(value)}"]
    lines = [f"class {name}{_signature(value)}"]
    for member, found in sorted(_members(value).items()):
        if member.startswith("_"):
            continue
        plain = found.__func__ if isinstance(found, classmethod | staticmethod) else found
        if inspect.isfunction(plain):
            lines.append(f"    {member}{_signature(plain)}")
        elif isinstance(found, property):
            lines.append(f"    {member}: property")
    return lines


def _members(value: type) -> dict[str, object]:
    """Its own, and those of bases that nobody sees: they are not named in a module of these."""
    shown = {base for public in value.__mro__[1:] if public in _public() for base in public.__mro__}
    found: dict[str, object] = {}
    for base in reversed(value.__mro__):
        if base.__module__.startswith("agentkit.") and base not in shown:
            found.update(vars(base))
    return found


@cache
def _public() -> frozenset[object]:
    modules = map(importlib.import_module, MODULES)
    values = [getattr(module, name) for module in modules for name in public_names(module)]
    return frozenset(value for value in values if inspect.isclass(value))


def _signature(value: object) -> str:
    if not callable(value):
        return ""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    stable = [
        parameter if isinstance(parameter.default, PLAIN) else parameter.replace(default=...)
        for parameter in signature.parameters.values()
    ]
    return re.sub(r" at 0x[0-9a-f]+", "", str(signature.replace(parameters=stable)))


def test_the_public_interface_is_as_recorded() -> None:
    assert describe() == SNAPSHOT.read_text(), (
        "the public interface changed: if that is meant, run `python tests/test_public_api.py` "
        "and say it in CHANGELOG.md"
    )


@pytest.mark.parametrize("module_name", MODULES)
def test_exported_names_exist_once(module_name: str) -> None:
    module = importlib.import_module(module_name)
    names = public_names(module)
    assert names, f"{module_name} offers nothing"
    assert len(names) == len(set(names))
    assert all(hasattr(module, name) for name in names)


if __name__ == "__main__":
    SNAPSHOT.write_text(describe())
