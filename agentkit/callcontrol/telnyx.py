"""Calls at Telnyx.

Commands to a call are posted to ``/v2/calls/{call_control_id}/actions/...`` as JSON, with the API
key as a bearer token:
https://developers.telnyx.com/api-reference/call-commands/hangup-call,
https://developers.telnyx.com/api-reference/call-commands/transfer-call,
https://developers.telnyx.com/api-reference/call-commands/send-dtmf. The id of a TeXML call,
``CallSid``, is its call control id too
(https://developers.telnyx.com/api-reference/callbacks/texml-call-completed). A call that has ended
is HTTP 422 with the error 90018.

Calls are placed through a TeXML application, whose documents say what to do with them:
https://developers.telnyx.com/api-reference/texml-rest-commands/create-a-connection-scoped-texml-call
"""

from __future__ import annotations

from pydantic import SecretStr

from agentkit.callcontrol._checks import (
    call_id,
    destination,
    identifier,
    keys,
    number,
    secret,
    webhook,
)
from agentkit.callcontrol._http import Answer, RestClient, bearer, found_id
from agentkit.callcontrol.base import CallControl, InvalidCallRequest

BASE_URL = "https://api.telnyx.com/v2"

_ENDED = "90018"


class TelnyxControl(CallControl):
    """Calls of one Telnyx account.

    Args:
        api_key: the key.
        connection_id: the TeXML application through which calls are placed; "": none can be.
        base_url: with the version.

    Raises:
        ConfigError: an id or a secret cannot be one, or the URL is none.
    """

    name = "telnyx"

    def __init__(
        self, api_key: str | SecretStr, *, connection_id: str = "", base_url: str = BASE_URL
    ) -> None:
        self._connection = (
            identifier(connection_id, "TELNYX_CONNECTION_ID") if connection_id else ""
        )
        authorize = bearer(secret(api_key, "TELNYX_API_KEY"))
        self._client = RestClient(self.name, base_url, authorize)

    async def hang_up(self, call: str) -> None:
        """Post to ``actions/hangup``."""
        path = _action(call, "hangup")
        await self._client.hang_up("POST", path, body={}, is_over=_is_over)

    async def transfer(self, call: str, to: str) -> None:
        """Post to ``actions/transfer``; the number that was called is shown to ``to``."""
        path, body = _action(call, "transfer"), {"to": destination(to).text}
        await self._client.request("transfer the call", "POST", path, body=body)

    async def send_dtmf(self, call: str, digits: str) -> None:
        """Post to ``actions/send_dtmf``."""
        path, body = _action(call, "send_dtmf"), {"digits": keys(digits)}
        await self._client.request("press the keys", "POST", path, body=body)

    async def dial(self, to: str, *, caller: str, answer_url: str, status_url: str = "") -> str:
        """Post to ``texml/calls``; ``answer_url`` goes before the application's own."""
        if not self._connection:
            raise InvalidCallRequest("telnyx: set TELNYX_CONNECTION_ID to place calls")
        body = {
            "To": destination(to).text,
            "From": number(caller, "caller").text,
            "Url": webhook(answer_url, "answer_url"),
            "Method": "POST",
        }
        if status_url:
            body["StatusCallback"] = webhook(status_url, "status_url")
            body["StatusCallbackEvent"] = "initiated ringing answered completed"
        path = f"/texml/calls/{self._connection}"
        answer = await self._client.request("place the call", "POST", path, body=body)
        wrapped = answer.fields.get("data")
        if isinstance(wrapped, dict):
            answer = Answer(answer.status, wrapped)
        return found_id(self.name, answer, "call_sid", "sid", "call_control_id")

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._client.aclose()


def _action(call: str, name: str) -> str:
    return f"/calls/{call_id(call)}/actions/{name}"


def _is_over(answer: Answer) -> bool:
    """Ended, or ended so long ago that it is forgotten: Telnyx's own 404 lists an error."""
    if answer.status == 404:
        return answer.code != ""
    return answer.status == 422 and answer.code == _ENDED
