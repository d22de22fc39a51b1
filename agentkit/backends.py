"""From settings to what a session needs: the source of turns, the model and the voice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from agentkit import plugins
from agentkit.audio import resample
from agentkit.config import CLOUDFLARE_PREFIX, Settings
from agentkit.economy import Economy, Wanted
from agentkit.errors import ConfigError, FluxOptionError
from agentkit.flux import CLOUDFLARE, FluxOptions, FluxSource
from agentkit.flux.cloudflare import CloudflareGateway, GatewayToken
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
    economy: Economy = field(default_factory=Economy)


@asynccontextmanager
async def open_backends(settings: Settings, agent: type[Agent]) -> AsyncIterator[Backends]:
    """Load and open what the settings choose; close it on the way out.

    What they name as an object is the caller's, and stays open.

    Backends are imported in a thread, so that nothing is imported while a call is going on.

    Raises:
        ConfigError: a key is missing, or a setting cannot be right.
        PluginError: a backend could not be had.
    """
    economy = Wanted(*settings.of_drafts()).economy()
    async with AsyncExitStack() as stack:
        llm = await asyncio.to_thread(_load_llm, settings)
        if llm is not settings.llm:
            stack.push_async_callback(llm.aclose)
        tts = await asyncio.to_thread(_load_tts, settings)
        if tts is not settings.tts:
            stack.push_async_callback(tts.aclose)
        await asyncio.to_thread(_preload_resampler)
        source = await _sources(settings, agent, stack)
        yield Backends(llm, tts, source, settings.describe(), economy)


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


_FIELDS = {
    "key": "DEEPGRAM_API_KEY",
    "url": "AGENTKIT_FLUX",
    "account_id": "CLOUDFLARE_ACCOUNT_ID",
    "gateway": "CLOUDFLARE_GATEWAY",
    "token": "CLOUDFLARE_API_TOKEN",
    "worker token": "CLOUDFLARE_WORKER_TOKEN",
}
"""What a source calls its arguments, and how the settings call them."""


async def _sources(
    settings: Settings, agent: type[Agent], stack: AsyncExitStack
) -> Callable[[], TurnSource]:
    name = settings.choose_flux().value
    if isinstance(name, TurnSource):
        return lambda: name
    options = agent.flux if isinstance(agent.flux, FluxOptions) else None
    if name.startswith("cloudflare"):
        _check_english(agent)
    worker = name.startswith(CLOUDFLARE_PREFIX)
    try:
        if worker:
            make = _worker(settings, name.removeprefix(CLOUDFLARE_PREFIX), options)
        elif name == "cloudflare":
            make = _gateway(settings, options)
        elif name == "deepgram":
            make = _deepgram(settings, options)
        else:
            url = await _local(stack) if name == "local" else name
            make = partial(FluxSource, url=url, options=options)
        make()  # what cannot be right is told now, not by the first call
    except FluxOptionError:
        raise
    except ConfigError as error:
        field = "worker token" if worker and error.field == "token" else error.field
        raise ConfigError(_FIELDS.get(field, field), error.problem) from None
    return make


async def _local(stack: AsyncExitStack) -> str:
    engine = await asyncio.to_thread(plugins.load, "agentkit.flux", "local")
    url: str = (await stack.enter_async_context(engine())).url
    return url


def _deepgram(settings: Settings, options: FluxOptions | None) -> Callable[[], TurnSource]:
    if settings.deepgram_api_key is None:
        raise ConfigError("DEEPGRAM_API_KEY", "is needed to listen through Deepgram")
    return partial(FluxSource, options=options, key=settings.deepgram_api_key)


def _gateway(settings: Settings, options: FluxOptions | None) -> Callable[[], TurnSource]:
    account, gateway = settings.cloudflare_account_id, settings.cloudflare_gateway
    token = settings.cloudflare_api_token
    why = "is needed to listen through Cloudflare's AI Gateway"
    if account is None:
        raise ConfigError("CLOUDFLARE_ACCOUNT_ID", why)
    if gateway is None:
        raise ConfigError("CLOUDFLARE_GATEWAY", f"{why}: the gateway's name")
    if token is None:
        raise ConfigError("CLOUDFLARE_API_TOKEN", why)
    return partial(
        CloudflareGateway,
        account_id=account,
        gateway=gateway,
        token=GatewayToken(token),
        options=options,
    )


def _worker(settings: Settings, url: str, options: FluxOptions | None) -> Callable[[], TurnSource]:
    token = settings.cloudflare_worker_token
    if token is None:
        raise ConfigError("CLOUDFLARE_WORKER_TOKEN", "is needed to listen through a Worker")
    return partial(FluxSource, url=url, token=token, options=options, dialect=CLOUDFLARE)


def _check_english(agent: type[Agent]) -> None:
    if agent.language.split("-")[0].lower() != "en":
        raise ConfigError(
            "language",
            f"the agent's is {agent.language!r}, and Cloudflare's Flux hears English only; "
            "listen through Deepgram for other languages",
        )
