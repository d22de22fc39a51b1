"""Who may ask the server for something.

A carrier whose secret is set has to sign what it sends, for the server's public URL. Without the
secret its routes answer local requests alone, and only while no public URL is set: with a tunnel
or a proxy in front, every caller looks local, and one that forwards says so in a header.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from agentkit._hosts import is_loopback
from agentkit.config import Settings
from agentkit.errors import AgentkitError
from agentkit.server.carriers import Carrier
from agentkit.server.signatures import SignedRequest

_FORWARDED = frozenset(
    {
        "cdn-loop",
        "cf-connecting-ip",
        "cf-ray",
        "fly-client-ip",
        "forwarded",
        "ngrok-trace-id",
        "true-client-ip",
        "via",
        "x-amzn-trace-id",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-original-forwarded-for",
        "x-original-host",
        "x-real-ip",
    }
)
"""Headers by which a proxy or a tunnel shows itself, beside all that begin with X-Forwarded."""


class Refused(AgentkitError):
    """A request is not answered: HTTP 403. The message says what is missing, no secret."""

    code = "refused"


class Access:
    """Checks requests.

    Args:
        settings: the secrets, and the public URL.
        clock: seconds since 1970.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._public = settings.public_url or ""

    def has_secret(self, carrier: Carrier) -> bool:
        """The carrier has to sign."""
        return bool(self._settings.by_name(carrier.secret))

    def check_webhook(self, carrier: Carrier, request: SignedRequest, client: str) -> None:
        """Raises `Refused` unless the request is the carrier's, or local.

        Args:
            carrier: whose route it came on.
            request: its ``url`` is path and query alone; the public URL is put before it.
            client: the address it came from.
        """
        secret = self._settings.by_name(carrier.secret)
        if not secret:
            self._check_local(carrier, request.headers, client)
            return
        if not self._public:
            raise Refused(
                f"{carrier.secret} is set, so requests have to be signed, for a URL that is not"
                " known: set AGENTKIT_PUBLIC_URL"
            )
        url = self._public + request.url
        signed = SignedRequest(request.method, url, request.headers, request.form, request.body)
        if not carrier.signed(signed, secret, self._clock()):
            raise Refused(
                f"the request is not signed with {carrier.secret} for AGENTKIT_PUBLIC_URL"
            )

    def check_upgrade(
        self, carrier: Carrier, path: str, headers: Mapping[str, str], client: str
    ) -> None:
        """Raises `Refused` unless the upgrade to the media socket is the carrier's, or local.

        A browser, which alone names an origin, is always refused: pages that someone visits must
        not reach a local server.
        """
        if "origin" in headers:
            raise Refused("a web page may not open a carrier's socket")
        secret = self._settings.by_name(carrier.secret)
        if not secret:
            self._check_local(carrier, headers, client)
        elif carrier.signs_upgrade:
            public = self._public.replace("http", "ws", 1)
            request = SignedRequest("GET", public + path, headers)
            if not carrier.signed(request, secret, self._clock()):
                raise Refused(f"the upgrade is not signed with {carrier.secret}")

    def is_local(self, headers: Mapping[str, str], client: str) -> bool:
        """The request was made on this machine, and for this machine."""
        return (
            not self._public
            and is_loopback(client)
            and is_loopback(host_of(headers.get("host", "")))
            and not was_forwarded(headers)
        )

    def _check_local(self, carrier: Carrier, headers: Mapping[str, str], client: str) -> None:
        if not self.is_local(headers, client):
            raise Refused(
                f"requests of {carrier.name} are answered from elsewhere than this machine only if"
                f" they can be checked: set {carrier.secret}, and AGENTKIT_PUBLIC_URL"
            )


def was_forwarded(headers: Mapping[str, str]) -> bool:
    """A proxy or a tunnel says that it has handed the request on. Names are in lower case."""
    return any(name in _FORWARDED or name.startswith("x-forwarded") for name in headers)


def host_of(header: str) -> str:
    """The host of a Host header, in lower case and without its port; "" if it holds none."""
    found = _HOST.fullmatch(header.strip().lower())
    return (found["v6"] or found["name"]).rstrip(".") if found else ""


_HOST = re.compile(r"(\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^:\[\]/@\s]+))(:[0-9]*)?")
