"""What Twilio's REST interface and those that are compatible with it have in common."""

from __future__ import annotations

from xml.sax.saxutils import escape

from agentkit.callcontrol._checks import Destination, call_id, destination, number, webhook
from agentkit.callcontrol._http import Answer, RestClient, found_id
from agentkit.callcontrol.base import CallControl

_EVENTS = ("initiated", "ringing", "answered", "completed")
_INVALID_CALL_STATE = "21220"


def dial_document(to: Destination, sip: str = "Sip") -> str:
    """The document that connects a caller with somebody else; ``sip`` names the noun of a URI."""
    noun = "Number" if to.is_number else sip
    return f"<Response><Dial><{noun}>{escape(to.text)}</{noun}></Dial></Response>"


class CompatibleControl(CallControl):
    """Calls of one account, by forms that are posted to ``{account}/Calls.json`` and below.

    Args:
        client: the connections.
        account: the path of the account.
    """

    def __init__(self, client: RestClient, account: str) -> None:
        self._client = client
        self._account = account

    async def hang_up(self, call: str) -> None:
        """Post ``Status=completed`` to the call, which ends it in any state."""
        path, form = self._path(call), [("Status", "completed")]
        await self._client.hang_up("POST", path, form=form, is_over=self._is_over)

    async def transfer(self, call: str, to: str) -> None:
        """Have the call execute a document that dials."""
        path, form = self._path(call), self._transfer_form(destination(to))
        await self._client.request("transfer the call", "POST", path, form=form)

    async def dial(self, to: str, *, caller: str, answer_url: str, status_url: str = "") -> str:
        """Post ``To``, ``From`` and ``Url``; all four events of the call go to ``status_url``."""
        form = [
            ("To", destination(to).text),
            ("From", number(caller, "caller").text),
            ("Url", webhook(answer_url, "answer_url")),
        ]
        if status_url:
            form.append(("StatusCallback", webhook(status_url, "status_url")))
            form += [("StatusCallbackEvent", event) for event in _EVENTS]
        path = f"{self._account}/Calls.json"
        answer = await self._client.request("place the call", "POST", path, form=form)
        return found_id(self.name, answer, "sid")

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._client.aclose()

    def _path(self, call: str) -> str:
        return f"{self._account}/Calls/{call_id(call)}.json"

    def _transfer_form(self, to: Destination) -> list[tuple[str, str]]:
        return [("Twiml", dial_document(to))]

    def _is_over(self, answer: Answer) -> bool:
        """Only a call that has ended cannot be completed."""
        return answer.status == 404 or answer.code == _INVALID_CALL_STATE
