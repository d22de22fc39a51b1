"""Flux, Deepgram's turn-taking recogniser: its options, its messages and a client for it.

`FluxOptions` and the dialects cost no import of a network library; `FluxSource` does, so it is
loaded when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from agentkit.flux.options import CLOUDFLARE, DEEPGRAM, SAGEMAKER, FluxDialect, FluxOptions
from agentkit.flux.timings import FluxStats, FluxTimings

if TYPE_CHECKING:
    from agentkit.flux.client import DEEPGRAM_URL, FluxSource

__all__ = [
    "CLOUDFLARE",
    "DEEPGRAM",
    "DEEPGRAM_URL",
    "SAGEMAKER",
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
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
