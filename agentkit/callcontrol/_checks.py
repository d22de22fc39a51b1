"""What may stand in a request to a carrier. Numbers are personal: no message here shows one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from pydantic import SecretStr

from agentkit.callcontrol.base import InvalidCallRequest
from agentkit.carriers.base import KEYS
from agentkit.errors import ConfigError

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_SIP = re.compile(
    r"sips?:"
    r"(?:[A-Za-z0-9._~!*+-]{1,64}@)?"  # whom; never a password
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"  # where
    r"(?::[0-9]{1,5})?"
    r"(?:;[A-Za-z0-9-]{1,32}(?:=[A-Za-z0-9._-]{1,64})?){0,8}"
)
_CALL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=~@+-]{0,255}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_WHOLE = "must be a whole URL without a #, as https://example.com/voice"


@dataclass(frozen=True, slots=True)
class Destination:
    """Whom to call: nothing in ``text`` means anything to XML, JSON or a form.

    Args:
        text: a number with its ``+``, or a ``sip:`` URI.
        is_number: which of the two.
    """

    text: str = field(repr=False)
    is_number: bool

    @property
    def digits(self) -> str:
        """A number without its ``+``, as some carriers want it; a URI as it is."""
        return self.text.removeprefix("+")


def destination(to: str, name: str = "to") -> Destination:
    """Whom to call. Raises InvalidCallRequest for anything but an E.164 number or a SIP URI."""
    if _NUMBER.fullmatch(to):
        return Destination(to, True)
    if len(to) <= 255 and _SIP.fullmatch(to):
        return Destination(to, False)
    raise InvalidCallRequest(
        f"{name}: must be a number with + and 7 to 15 digits, as +15551234567, or a sip: URI"
    )


def number(text: str, name: str) -> Destination:
    """A phone number. Raises InvalidCallRequest for anything else."""
    if not _NUMBER.fullmatch(text):
        raise InvalidCallRequest(
            f"{name}: must be a number with + and 7 to 15 digits, as +15551234567"
        )
    return Destination(text, True)


def call_id(call: str) -> str:
    """A call's id that can stand in a path as it is."""
    if not _CALL.fullmatch(call):
        raise InvalidCallRequest("call: is not the id of a call; take it from StreamStarted.call")
    return call


def keys(digits: str) -> str:
    """The keys of a telephone, ``A`` to ``D`` left out: not every carrier has them."""
    if not digits or not set(digits) <= KEYS - set("ABCD"):
        raise InvalidCallRequest("digits: must be one or more of 0-9 * #")
    return digits


def webhook(url: str, name: str) -> str:
    """The address of a webhook. Raises InvalidCallRequest."""
    if not _is_whole(url):
        raise InvalidCallRequest(f"{name}: {_WHOLE}")
    return url


def transfer_webhook(url: str) -> str:
    """The address of the webhook that transfers ask, or "". Raises ConfigError."""
    if url and not _is_whole(url):
        raise ConfigError("transfer_url", _WHOLE)
    return url


def _is_whole(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
    return named and "#" not in url and bool(_VISIBLE.fullmatch(url))


def asking(transfer_url: str, to: Destination) -> str:
    """The address of the webhook that is asked where a call is to be transferred to."""
    joint = "&" if urlsplit(transfer_url).query else "?"
    return f"{transfer_url}{joint}{urlencode({'to': to.text})}"


def identifier(text: str, name: str) -> str:
    """An account's or an application's id. Raises ConfigError."""
    if not _IDENTIFIER.fullmatch(text):
        raise ConfigError(name, "may hold letters, digits, - and _ only; copy it anew")
    return text


def secret(value: str | SecretStr, name: str) -> str:
    """A secret's text, that a header can hold. Raises ConfigError, which does not show it."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not _VISIBLE.fullmatch(text):
        raise ConfigError(name, "is empty, or holds a space or a line break; copy it anew")
    return text
