"""Calls at Twilio.

The Call resource: https://www.twilio.com/docs/voice/api/call-resource. A form is posted to
``/2010-04-01/Accounts/{AccountSid}/Calls/{CallSid}.json``: ``Status=completed`` ends the call,
``Twiml`` replaces what it executes; posted to ``Calls.json`` it places one. Authentication is
Basic, with the account's SID and token or with an API key's
(https://www.twilio.com/docs/iam/api-keys). A call that is unknown is HTTP 404 with the error
20404 (https://www.twilio.com/docs/api/errors/20404), one that has ended may be the error 21220.
"""

from __future__ import annotations

from pydantic import SecretStr

from agentkit.callcontrol._checks import identifier, secret
from agentkit.callcontrol._http import Answer, RestClient, basic
from agentkit.callcontrol._twiml import CompatibleControl

BASE_URL = "https://api.twilio.com"

_NOT_FOUND = "20404"


class TwilioControl(CompatibleControl):
    """Calls of one Twilio account.

    It has no keys to press: Twilio takes none for a call whose document is a stream.

    Args:
        account_sid: the account, ``AC...``.
        auth_token: the account's token, or the secret of the API key.
        api_key_sid: an API key, ``SK...``; "": the token is the account's.
        base_url: another region's, as ``https://api.dublin.ie1.twilio.com``.

    Raises:
        ConfigError: an id or a secret cannot be one, or the URL is none.
    """

    name = "twilio"

    def __init__(
        self,
        account_sid: str,
        auth_token: str | SecretStr,
        *,
        api_key_sid: str = "",
        base_url: str = BASE_URL,
    ) -> None:
        account = identifier(account_sid, "TWILIO_ACCOUNT_SID")
        user = identifier(api_key_sid, "TWILIO_API_KEY_SID") if api_key_sid else account
        field = "TWILIO_API_KEY_SECRET" if api_key_sid else "TWILIO_AUTH_TOKEN"
        client = RestClient(self.name, base_url, basic(user, secret(auth_token, field)))
        super().__init__(client, f"/2010-04-01/Accounts/{account}")

    def _is_over(self, answer: Answer) -> bool:
        if answer.status == 404:
            return answer.code == _NOT_FOUND
        return super()._is_over(answer)
