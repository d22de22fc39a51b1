"""`agentkit call`: a carrier calls a number, and a server that is running answers."""

from __future__ import annotations

import httpx2

from agentkit.callcontrol import CallControl
from agentkit.config import Settings
from agentkit.errors import ConfigError
from agentkit.server.carriers import CARRIERS
from agentkit.server.controls import load_controls

CHECK_WITHIN = 5.0
"""Seconds that the server has to say that it takes calls."""


async def place_call(
    settings: Settings, to: str, *, carrier: str = "", caller: str = "", check: bool = True
) -> str:
    """Have a number called; return the carrier's id of the call.

    Args:
        settings: the carriers' secrets, and the public URL of the server that answers.
        to: the number, as ``+15551234567``.
        carrier: which one; "": the one whose secrets are set.
        caller: the number that is shown; "": ``AGENTKIT_PHONE_NUMBER``.
        check: ask the server first whether it takes calls.

    Raises:
        ConfigError: a setting is missing, or the server does not take calls.
        CallControlError: the carrier refused.
    """
    public, caller = settings.public_url, caller or settings.phone_number or ""
    if not public:
        raise ConfigError(
            "AGENTKIT_PUBLIC_URL", "is needed: the carrier asks it what to do with the call"
        )
    if not caller:
        raise ConfigError("--from", "give a number of your account's own, or set it as"
                          " AGENTKIT_PHONE_NUMBER")  # fmt: skip
    controls = load_controls(settings)
    try:
        name, control = _choose(controls, carrier)
        if check:
            await _check_server(public)
        return await control.dial(
            to,
            caller=caller,
            answer_url=f"{public}/{name}/voice",
            status_url=f"{public}/{name}/status",
        )
    finally:
        for each in controls.values():
            await each.aclose()


def _choose(controls: dict[str, CallControl], carrier: str) -> tuple[str, CallControl]:
    if carrier and carrier not in CARRIERS:
        raise ConfigError("--carrier", f"{carrier!r} is none of {', '.join(CARRIERS)}")
    if carrier:
        if carrier not in controls:
            raise ConfigError("--carrier", f"the keys of {carrier}'s REST interface are not set")
        return carrier, controls[carrier]
    if not controls:
        raise ConfigError("--carrier", "no carrier's keys are set, e.g. TWILIO_ACCOUNT_SID and"
                          " TWILIO_AUTH_TOKEN")  # fmt: skip
    if len(controls) > 1:
        raise ConfigError("--carrier", f"the keys of several are set: {', '.join(controls)}")
    return next(iter(controls.items()))


async def _check_server(public: str) -> None:
    """Nobody shall be called whom no agent then speaks with."""
    mend = "start it with agentkit serve, or call without this check: --unchecked"
    try:
        async with httpx2.AsyncClient(timeout=CHECK_WITHIN) as client:
            answer = await client.get(f"{public}/healthz")
    except httpx2.HTTPError as error:
        problem = f"no server answers there ({type(error).__name__}); {mend}"
        raise ConfigError("AGENTKIT_PUBLIC_URL", problem) from None
    if answer.status_code != 200:
        raise ConfigError(
            "AGENTKIT_PUBLIC_URL", f"the server there takes no calls (HTTP {answer.status_code});"
            f" {mend}"
        )  # fmt: skip
