"""The carriers' REST interfaces that the settings have keys for."""

from __future__ import annotations

from agentkit.callcontrol import CallControl
from agentkit.callcontrol.registry import load_control
from agentkit.config import NAMES, Settings
from agentkit.server.carriers import CARRIERS

_BACKENDS = ("flux", "llm", "tts")


def load_controls(settings: Settings) -> dict[str, CallControl]:
    """By carrier. Each is to be closed.

    Raises:
        ConfigError: of a carrier's keys only some are set.
    """
    secrets = {
        name: settings.by_name(name) for short, name in NAMES.items() if short not in _BACKENDS
    }
    found = {}
    for name in CARRIERS:
        url = f"{settings.public_url}/{name}/transfer" if settings.public_url else ""
        if control := load_control(name, secrets, transfer_url=url):
            found[name] = control
    return found
