"""Backends found by entry point: listed without importing them, loaded by name.

A package offers a language model under the group ``agentkit.llm``, a voice under ``agentkit.tts``
and an engine that speaks Flux under ``agentkit.flux``. The entry point's name is the backend's:
``openai`` in ``openai/gpt-4.1-mini``. What it points to is called as ``factory(model, **options)``
for models, ``factory(model, voice=voice, **options)`` for voices; a model or a voice that was not
named is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from agentkit.errors import AgentkitError, PluginConflict, PluginLoadError, PluginNotFound
from agentkit.llm.base import LLM
from agentkit.tts.base import TTS

Group = Literal["agentkit.llm", "agentkit.tts", "agentkit.flux"]
GROUPS: tuple[Group, ...] = ("agentkit.llm", "agentkit.tts", "agentkit.flux")

_PACKAGES = {"local": "agentkit-local", "openai": "agentkit"}
"""What to install for a backend that is not there, where that is known."""

_registered: dict[tuple[str, str], Callable[..., Any]] = {}


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """An installed backend.

    Args:
        group: what it is for.
        name: how it is named in settings.
        package: the distribution that brings it, with its version.
        target: what would be imported.
    """

    group: str
    name: str
    package: str
    version: str
    target: str


def available(group: Group) -> list[PluginInfo]:
    """The installed backends of a group, by name. Nothing is imported."""
    return [
        PluginInfo(
            group,
            point.name,
            point.dist.name if point.dist else "?",
            point.dist.version if point.dist else "?",
            point.value,
        )
        for point in sorted(_points(group), key=lambda point: point.name)
    ]


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
    """
    if isinstance(name, LLM):
        return name
    backend, model = parse_name(name)
    made = _make("agentkit.llm", backend, name, model, options)
    if not isinstance(made, LLM):
        raise PluginLoadError(f"{name}: {type(made).__name__} is no agentkit.llm.LLM")
    return made


def load_tts(name: str | TTS, **options: Any) -> TTS:
    """The voice of that name; an object is given back as it is. Raises like `load_llm`."""
    if isinstance(name, TTS):
        return name
    backend, model, voice = parse_voice(name)
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
    return loaded


@contextmanager
def register(group: Group, backend: str, factory: Callable[..., Any]) -> Iterator[None]:
    """Offer a backend for as long as the block runs, without a package."""
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


def _make(
    group: Group, backend: str, name: str, model: str | None, options: Mapping[str, Any]
) -> Any:
    factory = load(group, backend)
    try:
        return factory(*([model] if model else []), **options)
    except AgentkitError:
        raise
    except Exception as error:
        raise PluginLoadError(f"{name} could not be set up: {error}") from error


def _points(group: Group) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _not_found(group: Group, backend: str) -> str:
    names = sorted({point.name for point in _points(group)})
    names += sorted(name for owner, name in _registered if owner == group)
    installed = ", ".join(names) or "none"
    package = _PACKAGES.get(backend, f"agentkit-{backend}")
    return (
        f"no {group} backend is called {backend!r}; installed: {installed}. "
        f"If there is one, it is installed with: pip install {package}"
    )
