"""Backends found by entry point: listed without importing them, loaded by name.

A package offers a language model under the group ``agentkit.llm``, a voice under ``agentkit.tts``
and an engine that speaks Flux under ``agentkit.flux``. The entry point's name is the backend's:
``openai`` in ``openai/gpt-4.1-mini``. What it points to is called as ``factory(model, **options)``
for models, ``factory(model, voice=voice, **options)`` for voices; a model or a voice that was not
named is left out.

A package that is broken, in its metadata or in its code, is of no concern to the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, Literal

from pydantic import SecretStr

from agentkit.errors import (
    AgentkitError,
    ConfigError,
    PluginConflict,
    PluginLoadError,
    PluginNotFound,
)
from agentkit.llm.base import LLM
from agentkit.tts.base import TTS

Group = Literal["agentkit.llm", "agentkit.tts", "agentkit.flux"]
GROUPS: tuple[Group, ...] = ("agentkit.llm", "agentkit.tts", "agentkit.flux")

_PACKAGES = {"local": "agentkit-local", "openai": "agentkit"}
"""What to install for a backend that is not there, where that is known."""

_HERE = "this process"
"""Stands for the package of what `register` offers."""

_registered: dict[tuple[str, str], Callable[..., Any]] = {}


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """An installed backend.

    Args:
        group: what it is for.
        name: how it is named in settings.
        package: the distribution that brings it.
        version: of that distribution.
        target: what would be imported.
    """

    group: str
    name: str
    package: str
    version: str
    target: str


def available(group: Group) -> list[PluginInfo]:
    """The backends of a group by name: installed ones, and those of `register`. Imports nothing."""
    found = [
        PluginInfo(
            group,
            point.name,
            point.dist.name if point.dist else "?",
            point.dist.version if point.dist else "?",
            point.value,
        )
        for point in _points(group)
    ]
    found += [
        PluginInfo(group, name, _HERE, "", getattr(factory, "__qualname__", repr(factory)))
        for (owner, name), factory in _registered.items()
        if owner == group
    ]
    return sorted(found, key=lambda info: (info.name, info.package))


def parse_name(name: str) -> tuple[str, str | None]:
    """``backend/model``: the first slash splits; the model's own name may hold more."""
    backend, _, model = name.partition("/")
    return backend, model or None


def parse_voice(name: str) -> tuple[str, str | None, str | None]:
    """``backend/model:voice``: the first slash splits, and the last colon after it."""
    backend, rest = parse_name(name)
    if rest is None:
        return backend, None, None
    model, colon, voice = rest.rpartition(":")
    return (backend, model or None, voice or None) if colon else (backend, rest, None)


def load_llm(name: str | LLM, **options: Any) -> LLM:
    """The language model of that name; an object is given back as it is.

    Importing a backend can take long: call this in a thread once the event loop runs.

    Raises:
        PluginNotFound: nothing of that name is installed.
        PluginConflict: two packages offer it.
        PluginLoadError: it could not be imported or made.
        ConfigError: ``name`` is neither a name nor a language model, or the backend says that a
            model or an option cannot be right.
    """
    if isinstance(name, LLM):
        return name
    backend, model = parse_name(_text(name, "llm", "an agentkit.llm.LLM"))
    made = _make("agentkit.llm", backend, name, model, options)
    if not isinstance(made, LLM):
        raise PluginLoadError(f"{name}: {type(made).__name__} is no agentkit.llm.LLM")
    return made


def load_tts(name: str | TTS, **options: Any) -> TTS:
    """The voice of that name; an object is given back as it is. Raises like `load_llm`."""
    if isinstance(name, TTS):
        return name
    backend, model, voice = parse_voice(_text(name, "tts", "an agentkit.tts.TTS"))
    if voice is not None:
        options = {"voice": voice, **options}
    made = _make("agentkit.tts", backend, name, model, options)
    if not isinstance(made, TTS):
        raise PluginLoadError(f"{name}: {type(made).__name__} is no agentkit.tts.TTS")
    return made


def load(group: Group, backend: str) -> Callable[..., Any]:
    """What a backend's entry point refers to. Raises like `load_llm`."""
    if factory := _registered.get((group, backend)):
        return factory
    found = [point for point in _points(group) if point.name == backend]
    if not found:
        raise PluginNotFound(_not_found(group, backend))
    if len({point.value for point in found}) > 1:
        packages = " and ".join(sorted(point.dist.name if point.dist else "?" for point in found))
        raise PluginConflict(f"{packages} both offer {group} {backend!r}: uninstall one of them")
    try:
        loaded: Callable[..., Any] = found[0].load()
    except Exception as error:
        raise PluginLoadError(
            f"{group} {backend!r} is installed but could not be imported: {error}"
        ) from error
    if not callable(loaded):
        raise PluginLoadError(
            f"{group} {backend!r} is installed but {found[0].value} cannot be called"
        )
    return loaded


@contextmanager
def register(group: Group, backend: str, factory: Callable[..., Any]) -> Iterator[None]:
    """Offer a backend for as long as the block runs, without a package; it hides installed ones."""
    key = (group, backend)
    before = _registered.get(key)
    _registered[key] = factory
    try:
        yield
    finally:
        if before is None:
            del _registered[key]
        else:
            _registered[key] = before


def _text(name: object, field: str, kind: str) -> str:
    if not isinstance(name, str):
        raise ConfigError(field, f"takes a backend's name or {kind}, not {type(name).__name__}")
    if not parse_name(name)[0]:
        raise ConfigError(field, f"{name!r} names no backend: write it as backend/model")
    return name


def _make(
    group: Group, backend: str, name: str, model: str | None, options: Mapping[str, Any]
) -> Any:
    factory = load(group, backend)
    try:
        return factory(*([model] if model else []), **options)
    except AgentkitError:
        raise
    except Exception as error:
        problem = _without_secrets(str(error), options)
        raise PluginLoadError(f"{name} could not be set up: {problem}") from error


def _without_secrets(text: str, options: Mapping[str, Any]) -> str:
    """A stranger's message: some libraries quote the arguments that they refuse."""
    for option, value in options.items():
        secret = value.get_secret_value() if isinstance(value, SecretStr) else value
        if re.search("key|token|secret|password", option) and isinstance(secret, str) and secret:
            text = text.replace(secret, "***")
    return text


def _points(group: Group) -> tuple[EntryPoint, ...]:
    return _scan(group)[0]


def _scan(group: Group) -> tuple[tuple[EntryPoint, ...], tuple[str, ...]]:
    """The entry points of a group, and the packages whose metadata cannot be read.

    ``importlib.metadata.entry_points`` raises for all packages if one has a malformed file.
    """
    found: list[EntryPoint] = []
    unreadable: list[str] = []
    seen: set[str] = set()
    for distribution in distributions():
        try:
            points = [point for point in distribution.entry_points if point.group == group]
            name = _folded(distribution) if points else ""
        except Exception:
            unreadable.append(_place(distribution))
            continue
        # Found again further down the path, a package is hidden by its first copy.
        if points and name not in seen:
            seen.add(name)
            found += points
    return tuple(found), tuple(unreadable)


def _folded(distribution: Distribution) -> str:
    """A package's name as packages are told apart (PyPA, name normalization)."""
    return re.sub(r"[-_.]+", "-", distribution.name).lower()


def _place(distribution: Distribution) -> str:
    return str(getattr(distribution, "_path", "a package"))


def _not_found(group: Group, backend: str) -> str:
    points, unreadable = _scan(group)
    names = sorted(
        {point.name for point in points} | {name for owner, name in _registered if owner == group}
    )
    told = f"no {group} backend is called {backend!r}; installed: {', '.join(names) or 'none'}."
    if close := get_close_matches(backend, names, 1, 0.75):
        told += f" Did you mean {close[0]!r}?"
    elif package := _PACKAGES.get(backend):
        told += f" It is installed with: pip install {package}"
    else:
        told += " Install the package that brings it; its documentation says which."
    if unreadable:
        told += f" (the metadata of {', '.join(unreadable)} cannot be read)"
    return told
