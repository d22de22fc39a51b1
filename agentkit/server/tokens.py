"""Tokens that admit a carrier's stream: signed, short-lived, used once.

A webhook that was checked gives one out; the stream brings it. It says which carrier, which call
and until when, and is signed with HMAC-SHA256, so that every process of a server can tell a right
one from a forged one before it looks it up. What else is known of the call stays in the server.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable

from agentkit.errors import AgentkitError
from agentkit.server.state import Admission, SharedState

LIFETIME = 60.0
"""Seconds between the webhook and the stream."""


class TokenError(AgentkitError):
    """A stream came with no token, or with one that does not admit it. Names no token."""

    code = "token"


class Tokens:
    """Gives tokens out and takes them back.

    Args:
        state: remembers what was admitted.
        lifetime: seconds for which a token is good.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        state: SharedState,
        *,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._key = state.signing_key()
        self._lifetime = lifetime
        self._clock = clock

    def give(self, admission: Admission) -> str:
        """A token for one stream of this call: letters, digits, ``-`` and ``_`` alone."""
        nonce = secrets.token_urlsafe(18)
        expires = int(self._clock() + self._lifetime)
        self._state.admit(nonce, admission, expires)
        body = f"{nonce}{expires:010x}{self._sign('call', admission.call)}"
        return body + self._sign(admission.carrier, body)

    def take(self, token: str, carrier: str, call: str) -> Admission:
        """What the token admits. It is used up, also if the stream is another call's.

        Args:
            token: as the stream brought it.
            carrier: whose route it came on.
            call: the carrier's id of the stream's call; "" if the stream does not say.

        Raises:
            TokenError: it is missing, forged, too old, used, or another call's.
        """
        if not token:
            raise TokenError("the stream brought no token")
        body, signature = token[:-_SIGNED], token[-_SIGNED:]
        if not _same(signature, self._sign(carrier, body)):
            raise TokenError("the stream's token is forged, or another carrier's")
        nonce, expires, about = body[:_NONCE], int(body[_NONCE:_BODY], 16), body[_BODY:]
        if expires < self._clock():
            raise TokenError("the stream's token is too old")
        admission = self._state.redeem(nonce)
        if admission is None:
            raise TokenError("the stream's token was used before")
        if call and admission.call and not _same(about, self._sign("call", call)):
            raise TokenError("the stream's token is another call's")
        return admission

    def expect(self, nonce: str, admission: Admission) -> None:
        """Let a stream in that comes with this nonce alone, which has to be hard to guess."""
        self._state.admit(nonce, admission, self._clock() + self._lifetime)

    def _sign(self, purpose: str, text: str) -> str:
        digest = hmac.digest(self._key, f"{purpose}\n{text}".encode(), hashlib.sha256)
        return urlsafe_b64encode(digest).decode().rstrip("=")


_NONCE = 24  # 18 random bytes in base64
_BODY = _NONCE + 10  # and when it ends, in hexadecimal seconds
_SIGNED = 43  # 32 bytes in base64, without the padding


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())
