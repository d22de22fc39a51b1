"""Calls at SignalWire, by the interface that is compatible with Twilio's.

https://signalwire.com/docs/compatibility-api/rest/calls (its source is ``specs/compatibility-api``
of https://github.com/signalwire/docs). The paths are Twilio's below ``/api/laml``, on the host of
the space; the project's id stands for the account. Authentication is Basic, with the project's id
and an API token. A call that is unknown is HTTP 404.

Updating a call is documented with ``Url``, not with a document in the request; placing one takes
both. With ``transfer_url`` a transfer is asked for as documented; without it the document is sent
along as Twilio takes it.
"""

from __future__ import annotations

import re

from pydantic import SecretStr

from agentkit.callcontrol._checks import (
    Destination,
    asking,
    destination,
    identifier,
    secret,
    transfer_webhook,
)
from agentkit.callcontrol._http import RestClient, basic
from agentkit.callcontrol._twiml import CompatibleControl, dial_document
from agentkit.carriers.documents import Document
from agentkit.errors import ConfigError

_SPACE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*\.)+[A-Za-z]{2,}")


class SignalWireControl(CompatibleControl):
    """Calls of one SignalWire project.

    Args:
        space: the host of the space, as ``example.signalwire.com``.
        project_id: the project.
        api_token: a token with the scope *Voice*.
        transfer_url: the webhook that answers `transfer_document`; "": none is needed.
        base_url: None: the space's.

    Raises:
        ConfigError: an id or a secret cannot be one, or a URL is none.
    """

    name = "signalwire"

    def __init__(
        self,
        space: str,
        project_id: str,
        api_token: str | SecretStr,
        *,
        transfer_url: str = "",
        base_url: str | None = None,
    ) -> None:
        if not _SPACE.fullmatch(space):
            raise ConfigError("SIGNALWIRE_SPACE", "must be a host, as example.signalwire.com")
        project = identifier(project_id, "SIGNALWIRE_PROJECT_ID")
        authorize = basic(project, secret(api_token, "SIGNALWIRE_API_TOKEN"))
        client = RestClient(self.name, base_url or f"https://{space}", authorize)
        super().__init__(client, f"/api/laml/2010-04-01/Accounts/{project}")
        self._transfer_url = transfer_webhook(transfer_url)

    def transfer_document(self, to: str) -> Document:
        """What ``transfer_url`` answers: a document that dials."""
        return Document("application/xml", dial_document(destination(to)))

    def _transfer_form(self, to: Destination) -> list[tuple[str, str]]:
        if not self._transfer_url:
            return super()._transfer_form(to)
        return [("Url", asking(self._transfer_url, to)), ("Method", "POST")]
