"""Calls at Plivo.

https://docs.plivo.com/docs/voice/api/overview: JSON to ``/v1/Account/{auth_id}/Call/...``, with
Basic authentication by the account's id and token. ``DELETE Call/{uuid}/`` ends a call, and is
HTTP 404 if there is none; ``POST Call/{uuid}/`` makes its leg fetch another document, from
``aleg_url`` (``update`` in
https://github.com/plivo/plivo-python/blob/master/plivo/resources/calls.py); a document in the
request itself is not taken. ``POST Call/`` places a call
(https://docs.plivo.com/docs/voice/api/call/make-a-call); its answer names a ``request_uuid``, which
is also ``ALegRequestUUID`` of the webhooks
(https://docs.plivo.com/docs/voice/xml/request). Numbers are written without their ``+``.

Keys are pressed over the call's socket.
"""

from __future__ import annotations

from pydantic import SecretStr

from agentkit.callcontrol._checks import (
    Destination,
    asking,
    call_id,
    destination,
    identifier,
    number,
    secret,
    transfer_webhook,
    webhook,
)
from agentkit.callcontrol._http import Answer, RestClient, basic, found_id
from agentkit.callcontrol._twiml import dial_document
from agentkit.callcontrol.base import CallControl, InvalidCallRequest
from agentkit.carriers.documents import Document

BASE_URL = "https://api.plivo.com"


class PlivoControl(CallControl):
    """Calls of one Plivo account.

    Args:
        auth_id: the account, ``MA...`` or ``SA...``.
        auth_token: its token.
        transfer_url: the webhook that answers `transfer_document`; "": calls cannot be
            transferred.
        base_url: without the version.

    Raises:
        ConfigError: an id or a secret cannot be one, or a URL is none.
    """

    name = "plivo"

    def __init__(
        self,
        auth_id: str,
        auth_token: str | SecretStr,
        *,
        transfer_url: str = "",
        base_url: str = BASE_URL,
    ) -> None:
        account = identifier(auth_id, "PLIVO_AUTH_ID")
        self._calls = f"/v1/Account/{account}/Call/"
        self._transfer_url = transfer_webhook(transfer_url)
        authorize = basic(account, secret(auth_token, "PLIVO_AUTH_TOKEN"))
        self._client = RestClient(self.name, base_url, authorize)

    async def hang_up(self, call: str) -> None:
        """Delete the call."""
        path = f"{self._calls}{call_id(call)}/"
        await self._client.hang_up("DELETE", path, is_over=_is_over)

    async def transfer(self, call: str, to: str) -> None:
        """Have the call fetch its next document from ``transfer_url``, with ``to`` in the query."""
        path, whom = f"{self._calls}{call_id(call)}/", destination(to)
        if not self._transfer_url:
            raise InvalidCallRequest("plivo: transfers need transfer_url, the webhook to ask")
        body = {
            "legs": "aleg",
            "aleg_url": asking(self._transfer_url, whom),
            "aleg_method": "POST",
        }
        await self._client.request("transfer the call", "POST", path, body=body)

    def transfer_document(self, to: str) -> Document:
        """What ``transfer_url`` answers: a document that dials."""
        whom = destination(to)
        bare = Destination(whom.digits, whom.is_number)
        return Document("application/xml", dial_document(bare, sip="User"))

    async def dial(self, to: str, *, caller: str, answer_url: str, status_url: str = "") -> str:
        """Post to ``Call/``; ``status_url`` is told of the ringing and of the end."""
        body = {
            "from": number(caller, "caller").digits,
            "to": destination(to).digits,
            "answer_url": webhook(answer_url, "answer_url"),
            "answer_method": "POST",
        }
        if status_url:
            url = webhook(status_url, "status_url")
            body |= {"ring_url": url, "ring_method": "POST"}
            body |= {"hangup_url": url, "hangup_method": "POST"}
        answer = await self._client.request("place the call", "POST", self._calls, body=body)
        return found_id(self.name, answer, "request_uuid")

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._client.aclose()


def _is_over(answer: Answer) -> bool:
    return answer.status == 404
