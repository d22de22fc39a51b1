"""Flux where Cloudflare serves it (Workers AI, ``@cf/deepgram/flux``), reached from anywhere.

AI Gateway takes the model's parameters in its URL. A Worker of one's own is a `FluxSource` with its
address, its token and the dialect `CLOUDFLARE`.

Sources: Cloudflare docs, workers-ai/models/flux, ai-gateway/usage/websockets-api/realtime-api and
ai-gateway/configuration/authentication.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pydantic import SecretStr

from agentkit.errors import ConfigError, FluxHandshakeError, SourceError
from agentkit.flux.client import FluxSource, plain_secret
from agentkit.flux.options import CLOUDFLARE, FluxOptions
from agentkit.flux.timings import FluxTimings

GATEWAY_URL: Final = "wss://gateway.ai.cloudflare.com/v1"
_MODEL: Final = "@cf/deepgram/flux"
_HEADER: Final = "cf-aig-authorization"
_PATH_PART: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class GatewayToken:
    """A Cloudflare API token in the form that AI Gateway takes, once that is known.

    Cloudflare's page on real-time WebSockets puts the bare token into the header, its page on
    authentication puts ``Bearer`` before it. The bare one is tried first; sources that share this
    object try the wrong one once.

    Raises:
        ConfigError: it cannot be a token.
    """

    def __init__(self, token: SecretStr | str) -> None:
        text = token.get_secret_value() if isinstance(token, SecretStr) else token
        bare = plain_secret("token", re.sub(r"(?i)^\s*bearer\s+", "", text))
        self._forms = [bare, f"Bearer {bare}"]

    def __repr__(self) -> str:
        return "GatewayToken('***')"

    @property
    def value(self) -> str:
        """The header's value."""
        return self._forms[0]

    def refused(self, value: str) -> None:
        """The gateway does not let this value in: the other form comes first from now on."""
        if value == self._forms[0]:
            self._forms.reverse()


class CloudflareGateway(FluxSource):
    """Listens to one caller through Cloudflare's AI Gateway.

    Args:
        account_id: the Cloudflare account's id.
        gateway: the gateway's name.
        token: an API token that may run AI Gateway and Workers AI.
        options: what Flux is told; the default listens eagerly.
        timings: how patient to be.

    Raises:
        ConfigError: the id, the name or the token cannot be right.
        FluxOptionError: Cloudflare does not take an option, or its value.
    """

    def __init__(
        self,
        *,
        account_id: str,
        gateway: str,
        token: GatewayToken | SecretStr | str,
        options: FluxOptions | None = None,
        timings: FluxTimings | None = None,
    ) -> None:
        for name, part in (("account_id", account_id), ("gateway", gateway)):
            if not _PATH_PART.fullmatch(part):
                raise ConfigError(name, "it has letters, digits, - and _, at most 64 of them")
        self._token = token if isinstance(token, GatewayToken) else GatewayToken(token)
        self._sent = ""
        self._forms_left = 1
        super().__init__(
            url=f"{GATEWAY_URL}/{account_id}/{gateway}/workers-ai?model={_MODEL}",
            headers=self._header,
            options=options,
            dialect=CLOUDFLARE,
            timings=timings,
        )

    async def _header(self) -> Mapping[str, str]:
        self._sent = self._token.value
        return {_HEADER: self._sent}

    def _may_retry(self, problem: SourceError) -> bool:
        unauthorized = isinstance(problem, FluxHandshakeError) and problem.status in (401, 403)
        if unauthorized and self._forms_left:
            self._forms_left -= 1
            self._token.refused(self._sent)
            return True
        return super()._may_retry(problem)
