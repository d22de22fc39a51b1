"""Flux, Deepgram's turn-taking recogniser: its options, its messages and a client for it.

`FluxOptions` and the dialects cost no import of a network library; `FluxSource` and
`CloudflareGateway` do, so they are loaded when they are first asked for.
"""

from typing import TYPE_CHECKING, Any

from agentkit.flux.options import CLOUDFLARE, DEEPGRAM, SAGEMAKER, FluxDialect, FluxOptions
from agentkit.flux.timings import FluxStats, FluxTimings

if TYPE_CHECKING:
    from agentkit.flux.client import DEEPGRAM_URL, FluxSource
    from agentkit.flux.cloudflare import CloudflareGateway

__all__ = [
    "CLOUDFLARE",
    "DEEPGRAM",
    "DEEPGRAM_URL",
    "SAGEMAKER",
    "CloudflareGateway",
    "FluxDialect",
    "FluxOptions",
    "FluxSource",
    "FluxStats",
    "FluxTimings",
]


def __getattr__(name: str) -> Any:
    if name in ("DEEPGRAM_URL", "FluxSource"):
        from agentkit.flux import client

        return getattr(client, name)
    if name == "CloudflareGateway":
        from agentkit.flux import cloudflare

        return cloudflare.CloudflareGateway
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
