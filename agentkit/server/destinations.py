"""Where calls may be transferred to.

What the model says comes from the caller in the end: without a list, a caller who talks well has
calls made at our cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from agentkit.errors import ConfigError

_NUMBER = re.compile(r"\+[0-9]{6,15}")
_PREFIX = re.compile(r"\+[0-9]{1,14}\*")
_SIP = re.compile(r"sips?:[A-Za-z0-9._+~-]{1,64}@[A-Za-z0-9.-]{1,255}(:[0-9]{1,5})?")


def allowed(listed: str) -> Callable[[str], bool]:
    """A function that says whether a destination is on the list.

    Args:
        listed: with commas between them: numbers (``+15551234567``), beginnings of numbers
            (``+1555*``) and SIP addresses (``sip:desk@pbx.example.com``).

    Raises:
        ConfigError: an entry is none of these.
    """
    whole: set[str] = set()
    beginnings: list[str] = []
    for entry in filter(None, (part.strip() for part in listed.split(","))):
        if _NUMBER.fullmatch(entry) or _SIP.fullmatch(entry):
            whole.add(entry)
        elif _PREFIX.fullmatch(entry):
            beginnings.append(entry[:-1])
        else:
            raise ConfigError(
                "AGENTKIT_TRANSFER_TO",
                "an entry is neither a number (+15551234567), nor the beginning of one (+1555*),"
                " nor a sip: address",
            )

    def may(to: str) -> bool:
        return to in whole or (
            _NUMBER.fullmatch(to) is not None and to.startswith(tuple(beginnings))
        )

    return may
