"""From settings to what a session needs: the source of turns, the model and the voice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit import plugins
from agentkit.audio import resample
from agentkit.config import Settings
from agentkit.errors import ConfigError
from agentkit.flux import FluxOptions, FluxSource
from agentkit.llm.base import LLM
from agentkit.tts.base import TTS
from agentkit.turns import TurnSource

if TYPE_CHECKING:
    from agentkit.agent import Agent


@dataclass(frozen=True, slots=True)
class Backends:
    """What the calls of a process share, and how each call gets its own source of turns."""

    llm: LLM
    tts: TTS
    source: Callable[[], TurnSource]
    described: str


@asynccontextmanager
async def open_backends(settings: Settings, agent: type[Agent]) -> AsyncIterator[Backends]:
    """Load and open what the settings choose; close it on the way out.

    What they name as an object is the caller's, and stays open.

    Backends are imported in a thread, so that nothing is imported while a call is going on.

    Raises:
        ConfigError: a key is missing, or a setting cannot be right.
        PluginError: a backend could not be had.
    """
    async with AsyncExitStack() as stack:
        llm = await asyncio.to_thread(_load_llm, settings)
        if llm is not settings.llm:
            stack.push_async_callback(llm.aclose)
        tts = await asyncio.to_thread(_load_tts, settings)
        if tts is not settings.tts:
            stack.push_async_callback(tts.aclose)
        await asyncio.to_thread(_preload_resampler)
        source = await _sources(settings, agent, stack)
        yield Backends(llm, tts, source, settings.describe())


def _load_llm(settings: Settings) -> LLM:
    choice = settings.choose_llm()
    return plugins.load_llm(choice.value, **_openai_options(settings, choice.value))


def _load_tts(settings: Settings) -> TTS:
    choice = settings.choose_tts()
    return plugins.load_tts(choice.value, **_openai_options(settings, choice.value))


def _openai_options(settings: Settings, wanted: object) -> dict[str, Any]:
    if not isinstance(wanted, str) or plugins.parse_name(wanted)[0] != "openai":
        return {}
    key = settings.openai_api_key
    options: dict[str, Any] = {"base_url": settings.openai_base_url}
    if key is not None:
        options["api_key"] = key.get_secret_value()
    _preload_openai()
    return options


def _preload_openai() -> None:
    from agentkit.llm import openai as llm
    from agentkit.tts import openai as tts

    llm.preload()
    tts.preload()


def _preload_resampler() -> None:
    """A call may need it; where it is not installed, the call that does will say so."""
    with contextlib.suppress(ConfigError):
        resample.preload()


async def _sources(
    settings: Settings, agent: type[Agent], stack: AsyncExitStack
) -> Callable[[], TurnSource]:
    name = settings.choose_flux().value
    if isinstance(name, TurnSource):
        return lambda: name
    options = agent.flux if isinstance(agent.flux, FluxOptions) else None
    if name == "cloudflare":
        raise ConfigError("AGENTKIT_FLUX", "cloudflare is not supported yet")
    if name == "deepgram":
        key = settings.deepgram_api_key
        if key is None:
            raise ConfigError("DEEPGRAM_API_KEY", "is needed to listen through Deepgram")
        return lambda: FluxSource(options=options, key=key)
    url = name
    if name == "local":
        engine = await asyncio.to_thread(plugins.load, "agentkit.flux", "local")
        url = (await stack.enter_async_context(engine())).url
    return lambda: FluxSource(url=url, options=options)
