"""Which carriers can be asked over REST, and the secrets that each wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentkit.callcontrol.base import CallControl, Secrets
from agentkit.errors import ConfigError


def load_control(
    carrier: str, secrets: Secrets, *, base_url: str | None = None, transfer_url: str = ""
) -> CallControl | None:
    """The control of a carrier's calls, by the secrets that are set.

    Args:
        carrier: its name, as it stands in the routes.
        secrets: settings by their names in the environment; an empty one counts as none.
        base_url: another address than the carrier's own.
        transfer_url: the webhook that answers `CallControl.transfer_document`, for the carriers
            that ask one; "": there is none.

    Returns:
        None if none of the carrier's secrets is set, or it has no REST interface here.

    Raises:
        ConfigError: one of them is missing or cannot be right.
    """
    load = _LOADERS.get(carrier)
    given = {name: value.strip() for name, value in secrets.items() if value and value.strip()}
    options: dict[str, Any] = {"base_url": base_url} if base_url else {}
    return load(given, options, transfer_url) if load else None


def _missing(given: Secrets, *needed: str, optional: tuple[str, ...] = (), signs: str = "") -> bool:
    """None of these is set. Raises ConfigError if only some are.

    ``signs`` is the one that webhooks are checked with, too: alone, it is set for that.
    """
    found = [name for name in (*needed, *optional) if name in given]
    if found == [signs]:
        return True
    absent = [name for name in needed if name not in given]
    if found and absent:
        raise ConfigError(absent[0], f"is not set, but {found[0]} is. Set all of them, or none")
    return not found


def _twilio(given: Secrets, options: dict[str, Any], transfer_url: str) -> CallControl | None:
    account, user, token = "TWILIO_ACCOUNT_SID", "TWILIO_API_KEY_SID", "TWILIO_AUTH_TOKEN"
    by_key = user in given or "TWILIO_API_KEY_SECRET" in given
    needed = (account, user, "TWILIO_API_KEY_SECRET") if by_key else (account, token)
    if _missing(given, *needed, signs=token):
        return None
    from agentkit.callcontrol.twilio import TwilioControl

    key = given[user] if by_key else ""
    return TwilioControl(given[account], given[needed[-1]], api_key_sid=key, **options)


def _signalwire(given: Secrets, options: dict[str, Any], transfer_url: str) -> CallControl | None:
    needed = ("SIGNALWIRE_SPACE", "SIGNALWIRE_PROJECT_ID", "SIGNALWIRE_API_TOKEN")
    if _missing(given, *needed):
        return None
    from agentkit.callcontrol.signalwire import SignalWireControl

    space, project, token = (given[name] for name in needed)
    return SignalWireControl(space, project, token, transfer_url=transfer_url, **options)


def _telnyx(given: Secrets, options: dict[str, Any], transfer_url: str) -> CallControl | None:
    key, connection = "TELNYX_API_KEY", "TELNYX_CONNECTION_ID"
    if _missing(given, key, optional=(connection,)):
        return None
    from agentkit.callcontrol.telnyx import TelnyxControl

    return TelnyxControl(given[key], connection_id=given.get(connection, ""), **options)


def _plivo(given: Secrets, options: dict[str, Any], transfer_url: str) -> CallControl | None:
    needed = ("PLIVO_AUTH_ID", "PLIVO_AUTH_TOKEN")
    if _missing(given, *needed, signs="PLIVO_AUTH_TOKEN"):
        return None
    from agentkit.callcontrol.plivo import PlivoControl

    account, token = (given[name] for name in needed)
    return PlivoControl(account, token, transfer_url=transfer_url, **options)


def _vonage(given: Secrets, options: dict[str, Any], transfer_url: str) -> CallControl | None:
    needed = ("VONAGE_APPLICATION_ID", "VONAGE_PRIVATE_KEY")
    if _missing(given, *needed):
        return None
    from agentkit.callcontrol.vonage import VonageControl

    application, key = (given[name] for name in needed)
    return VonageControl(application, key, **options)


def _jambonz(given: Secrets, options: dict[str, Any], transfer_url: str) -> CallControl | None:
    needed = ("JAMBONZ_API_URL", "JAMBONZ_ACCOUNT_SID", "JAMBONZ_API_KEY")
    application = "JAMBONZ_APPLICATION_SID"
    if _missing(given, *needed, optional=(application,)):
        return None
    from agentkit.callcontrol.jambonz import JambonzControl

    url, account, key = (given[name] for name in needed)
    try:
        return JambonzControl(
            account,
            key,
            application_sid=given.get(application, ""),
            transfer_url=transfer_url,
            base_url=options.get("base_url", url),
        )
    except ConfigError as exc:
        if exc.field == "base_url" and not options:
            raise ConfigError("JAMBONZ_API_URL", exc.problem) from None
        raise


_Loader = Callable[[Secrets, dict[str, Any], str], CallControl | None]

_LOADERS: dict[str, _Loader] = {
    "twilio": _twilio,
    "signalwire": _signalwire,
    "telnyx": _telnyx,
    "plivo": _plivo,
    "vonage": _vonage,
    "jambonz": _jambonz,
}
