"""Calls at Vonage.

The Voice API: https://developer.vonage.com/en/api/voice. JSON is put to ``/v1/calls/{uuid}`` to end
a call or to have it execute another NCCO
(https://developer.vonage.com/en/voice/voice-api/code-snippets/controlling-conversations/transfer-a-call-inline-ncco),
to ``/v1/calls/{uuid}/dtmf`` to press keys, and posted to ``/v1/calls`` to place one
(``voice.py`` of https://github.com/Vonage/vonage-python-sdk). Numbers are written without their
``+``. Each request has a JWT of its own, signed with the application's private key
(https://developer.vonage.com/en/getting-started/concepts/authentication). A call that has ended is
HTTP 404 or 400.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from agentkit.callcontrol._checks import (
    Destination,
    call_id,
    destination,
    identifier,
    keys,
    number,
    webhook,
)
from agentkit.callcontrol._http import Answer, RestClient, found_id
from agentkit.callcontrol.base import CallControl
from agentkit.errors import ConfigError

BASE_URL = "https://api.nexmo.com"

_TOKEN_LIFE = timedelta(minutes=15)  # as Vonage's own libraries have it


class VonageControl(CallControl):
    """Calls of one Vonage application. It needs ``agentkit[serve]``, for the JWTs.

    Args:
        application_id: the application.
        private_key: its RSA key, as PEM text or as the path of a file with it.
        base_url: another region's, as ``https://api-eu.vonage.com``.

    Raises:
        ConfigError: the id or the key cannot be one, the URL is none, or PyJWT is missing.
    """

    name = "vonage"

    def __init__(
        self, application_id: str, private_key: str | SecretStr, *, base_url: str = BASE_URL
    ) -> None:
        self._application = identifier(application_id, "VONAGE_APPLICATION_ID")
        self._sign = _signer(private_key)
        self._client = RestClient(self.name, base_url, self._authorize)

    async def hang_up(self, call: str) -> None:
        """Put ``hangup``."""
        path, body = f"/v1/calls/{call_id(call)}", {"action": "hangup"}
        await self._client.hang_up("PUT", path, body=body, is_over=_is_over)

    async def transfer(self, call: str, to: str) -> None:
        """Put ``transfer`` with an NCCO that connects the call."""
        connect = {"action": "connect", "endpoint": [_endpoint(destination(to))]}
        body = {"action": "transfer", "destination": {"type": "ncco", "ncco": [connect]}}
        path = f"/v1/calls/{call_id(call)}"
        await self._client.request("transfer the call", "PUT", path, body=body)

    async def send_dtmf(self, call: str, digits: str) -> None:
        """Put the digits to ``dtmf``."""
        path, body = f"/v1/calls/{call_id(call)}/dtmf", {"digits": keys(digits)}
        await self._client.request("press the keys", "PUT", path, body=body)

    async def dial(self, to: str, *, caller: str, answer_url: str, status_url: str = "") -> str:
        """Post to ``calls``; ``status_url`` is told of all events."""
        body: dict[str, Any] = {
            "to": [_endpoint(destination(to))],
            "from": _endpoint(number(caller, "caller")),
            "answer_url": [webhook(answer_url, "answer_url")],
            "answer_method": "POST",
        }
        if status_url:
            body["event_url"] = [webhook(status_url, "status_url")]
            body["event_method"] = "POST"
        answer = await self._client.request("place the call", "POST", "/v1/calls", body=body)
        return found_id(self.name, answer, "uuid")

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._client.aclose()

    def _authorize(self) -> str:
        now = datetime.now(UTC)
        claims = {
            "application_id": self._application,
            "iat": now,
            "exp": now + _TOKEN_LIFE,
            "jti": str(uuid.uuid4()),
        }
        return f"Bearer {self._sign(claims)}"


def _endpoint(to: Destination) -> dict[str, str]:
    if to.is_number:
        return {"type": "phone", "number": to.digits}
    return {"type": "sip", "uri": to.text}


def _is_over(answer: Answer) -> bool:
    return answer.status in (400, 404)


def _signer(given: str | SecretStr) -> Callable[[dict[str, Any]], str]:
    """What makes a JWT of claims. The key shows in no error, and neither does its path."""
    text = given.get_secret_value() if isinstance(given, SecretStr) else given
    name = "VONAGE_PRIVATE_KEY"
    try:
        import jwt
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise ConfigError(name, "needs PyJWT: pip install 'agentkit[serve]'") from None
    problem = ""
    try:
        if "-----BEGIN" not in text:
            text = Path(text).expanduser().read_text(encoding="ascii")
        pem = text.replace("\\n", "\n").strip().encode("ascii")  # as .env files write line breaks
        key = load_pem_private_key(pem, password=None)
    except (OSError, ValueError, RuntimeError, TypeError, UnsupportedAlgorithm):
        # TypeError: it has a password. RuntimeError: a ~ that is nobody's home.
        problem = "is neither an RSA private key in PEM without a password, nor a file with one"
    if problem or not isinstance(key, RSAPrivateKey):
        raise ConfigError(name, problem or "must be an RSA key: Vonage checks RS256")
    return functools.partial(jwt.encode, key=key, algorithm="RS256")
