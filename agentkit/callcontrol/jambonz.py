"""Calls at jambonz, its own cloud or a server of one's own.

https://docs.jambonz.org/reference/rest-call-control/calls/update-call: JSON is put to
``/v1/Accounts/{sid}/Calls/{call_sid}``, with an API key as a bearer token; one change a request.
``call_status`` ends a call: ``completed`` if it was answered, ``no-answer`` if it still rings.
``call_hook`` makes it fetch another application, so a transfer needs a webhook to be asked;
``dtmf`` presses one key. A change is accepted with HTTP 202 and carried out after it. A call that
is unknown is HTTP 404, and HTTP 422 with "call session is gone" if it ended just now
(https://github.com/jambonz/jambonz-feature-server, ``lib/http-routes/api/update-call.js``).

https://docs.jambonz.org/reference/rest-call-control/calls/create-call places a call. Where an
application is named, its own webhooks are asked, not those of the request; where none is, the
server wants five settings of speech that a call which is only streamed never uses
(https://github.com/jambonz/jambonz-api-server, ``lib/routes/api/accounts.js``).
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from pydantic import SecretStr

from agentkit.callcontrol._checks import (
    Destination,
    asking,
    call_id,
    destination,
    identifier,
    keys,
    number,
    secret,
    transfer_webhook,
    webhook,
)
from agentkit.callcontrol._http import Answer, RestClient, bearer, found_id
from agentkit.callcontrol.base import CallControl, InvalidCallRequest
from agentkit.carriers.documents import Document

BASE_URL = "https://api.jambonz.cloud"

KEY_SECONDS = 0.4
"""From one key to the next: a tone lasts 0.25 s, and nothing tells when it has ended."""

_SPEECH = {
    "speech_synthesis_vendor": "google",
    "speech_synthesis_language": "en-US",
    "speech_synthesis_voice": "en-US-Wavenet-C",
    "speech_recognizer_vendor": "google",
    "speech_recognizer_language": "en-US",
}


class JambonzControl(CallControl):
    """Calls of one jambonz account.

    Args:
        account_sid: the account.
        api_key: a key of the account's.
        application_sid: the application through which calls are placed, whose own webhooks are
            then asked; "": those that are given with each call.
        transfer_url: the webhook that answers `transfer_document`; "": calls cannot be
            transferred.
        base_url: with or without the version.

    Raises:
        ConfigError: an id or a secret cannot be one, or a URL is none.
    """

    name = "jambonz"

    def __init__(
        self,
        account_sid: str,
        api_key: str | SecretStr,
        *,
        application_sid: str = "",
        transfer_url: str = "",
        base_url: str = BASE_URL,
    ) -> None:
        account = identifier(account_sid, "JAMBONZ_ACCOUNT_SID")
        self._calls = f"/v1/Accounts/{account}/Calls"
        self._application = (
            identifier(application_sid, "JAMBONZ_APPLICATION_SID") if application_sid else ""
        )
        self._transfer_url = transfer_webhook(transfer_url)
        authorize = bearer(secret(api_key, "JAMBONZ_API_KEY"))
        root = base_url.rstrip("/").removesuffix("/v1")
        self._client = RestClient(self.name, root, authorize)

    async def hang_up(self, call: str) -> None:
        """Put ``completed``; if the call still rings, ``no-answer``."""
        path = self._path(call)
        body = {"call_status": "completed"}
        answer = await self._client.hang_up("PUT", path, body=body, is_over=_is_not_answered)
        if _is_ringing(answer):
            body = {"call_status": "no-answer"}
            await self._client.hang_up("PUT", path, body=body, is_over=_is_over)

    async def transfer(self, call: str, to: str) -> None:
        """Have the call fetch its next verbs from ``transfer_url``, with ``to`` in the query."""
        path, whom = self._path(call), destination(to)
        if not self._transfer_url:
            raise InvalidCallRequest("jambonz: transfers need transfer_url, the webhook to ask")
        body = {"call_hook": _hook(asking(self._transfer_url, whom))}
        await self._client.request("transfer the call", "PUT", path, body=body)

    def transfer_document(self, to: str) -> Document:
        """What ``transfer_url`` answers: the verb that dials."""
        verb = {"verb": "dial", "target": [_target(destination(to))]}
        return Document("application/json", json.dumps([verb], separators=(",", ":")))

    async def send_dtmf(self, call: str, digits: str) -> None:
        """Press keys towards the far end, one each `KEY_SECONDS`; cancelling leaves the rest."""
        path = self._path(call)
        for place, digit in enumerate(keys(digits)):
            if place:
                await asyncio.sleep(KEY_SECONDS)
            body = {"dtmf": {"digit": digit}}
            await self._client.request("press the keys", "PUT", path, body=body)

    async def dial(self, to: str, *, caller: str, answer_url: str, status_url: str = "") -> str:
        """Post to ``Calls``, by the application or with the webhooks themselves."""
        body: dict[str, Any] = {
            "from": number(caller, "caller").text,
            "to": _target(destination(to)),
            "call_hook": _hook(webhook(answer_url, "answer_url")),
        }
        if status_url:
            body["call_status_hook"] = _hook(webhook(status_url, "status_url"))
        if self._application:
            body = {"application_sid": self._application, "from": body["from"], "to": body["to"]}
        else:
            body |= _SPEECH
        answer = await self._client.request("place the call", "POST", self._calls, body=body)
        return found_id(self.name, answer, "sid")

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._client.aclose()

    def _path(self, call: str) -> str:
        return f"{self._calls}/{call_id(call)}"


def _hook(url: str) -> dict[str, str]:
    return {"url": url, "method": "POST"}


def _target(to: Destination) -> dict[str, str]:
    if to.is_number:
        return {"type": "phone", "number": to.text}
    return {"type": "sip", "sipUri": to.text}


def _is_over(answer: Answer) -> bool:
    if answer.status == 422:
        return "session is gone" in answer.text("msg", "message")
    return answer.status == 404


def _is_ringing(answer: Answer) -> bool:
    return answer.status == 422 and "incompatible" in answer.text("msg", "message")


def _is_not_answered(answer: Answer) -> bool:
    return _is_over(answer) or _is_ringing(answer)
