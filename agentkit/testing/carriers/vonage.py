"""Vonage's Voice WebSocket, from Vonage's side.

Messages and NCCO: developer.vonage.com, "WebSockets in the Vonage Voice API". Signatures:
developer.vonage.com, "Signed webhooks" (a JWT, HS256).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from typing import Any

from agentkit.audio.formats import AudioFormat
from agentkit.testing.carriers.asking import (
    Answer,
    Connect,
    Question,
    Refusal,
    Reply,
    read_json,
)
from agentkit.testing.carriers.base import FakeCarrier
from agentkit.testing.carriers.wire import Message

_MESSAGES = 3072
"""How many frames Vonage buffers (its tutorial "Play audio into a WebSocket")."""


class FakeVonage(FakeCarrier):
    """A call over Vonage. ``secret`` is the signature secret of the account.

    Audio is binary, 16-bit linear, and each message of the bot has to be exactly one frame of
    20 ms. ``parameters`` stand at the top of the first message. A notify comes back when what stood
    before it was played; a clear is confirmed by ``websocket:cleared`` and forgets them. Closing
    the socket does not end the call. The handshake is signed only if the document asks for it, with
    ``"authorization": {"type": "vonage"}``.
    """

    name = "vonage"
    is_text = False
    closing_ends_call = False
    echoes_cleared_marks = False
    buffer_limit = _MESSAGES * 0.02
    default_audio = AudioFormat("linear16", 16000)
    _is_asked_who_it_is = False

    def _new_id(self, of: str) -> str:
        if of == "account":
            return uuid.uuid4().hex[:8]
        return str(uuid.uuid4())

    # ------------------------------------------------------------------------- the webhook

    def _question(self) -> Question:
        fields = {
            "from": self.caller.lstrip("+"),
            "to": self.callee.lstrip("+"),
            "uuid": self.call,
            "conversation_uuid": f"CON-{uuid.uuid4()}",
        }
        return Question(fields, is_json=True)

    def _sign(self, secret: str, url: str, question: Question) -> dict[str, str]:
        claims = {
            "iat": int(self._wall_clock()),
            "jti": str(uuid.uuid4()),
            "iss": "Vonage",
            "payload_hash": hashlib.sha256(question.body()).hexdigest(),
            "api_key": self.account,
        }
        return {"Authorization": f"Bearer {_token(secret, claims)}"}

    def _sign_upgrade(self, secret: str, url: str) -> dict[str, str]:
        if not self._is_asked_who_it_is:
            return {}
        claims = {"iat": int(self._wall_clock()), "jti": str(uuid.uuid4()), "iss": "Vonage"}
        return {"Authorization": f"Bearer {_token(secret, claims)}"}

    def _read_answer(self, reply: Reply) -> Answer:
        actions = read_json(reply)
        for action in actions:
            if action.get("action") == "connect":
                endpoint = action.get("endpoint")
                if isinstance(endpoint, list) and len(endpoint) == 1:
                    return self._read_endpoint(endpoint[0])
                raise ValueError("connect needs one endpoint")
        said = [str(action.get("text")) for action in actions if action.get("action") == "talk"]
        return Refusal("hang up", " ".join(said))

    def _read_endpoint(self, endpoint: dict[str, Any]) -> Answer:
        if endpoint.get("type") != "websocket":
            raise ValueError("the endpoint is no websocket")
        kind, _, rate = str(endpoint.get("content-type", "")).partition(";rate=")
        if kind != "audio/l16" or rate not in {"8000", "16000", "24000"}:
            raise ValueError("content-type is audio/l16;rate= with 8000, 16000 or 24000")
        headers = endpoint.get("headers", {})
        if len(json.dumps(headers)) > 512:
            self._wrong("headers are longer than 512 bytes")
        authorization = endpoint.get("authorization") or {}
        upgrade = {}
        self._is_asked_who_it_is = authorization.get("type") == "vonage"
        if authorization.get("type") == "custom":
            upgrade["Authorization"] = str(authorization.get("value"))
        audio = AudioFormat("linear16", int(rate))
        parameters = {name: str(value) for name, value in headers.items()}
        return Connect(
            str(endpoint.get("uri", "")), parameters, audio, keeps_call=True, headers=upgrade
        )

    # ------------------------------------------------------------------------- to the bot

    def start_message(self) -> Message:
        """The first message: the format, and beside it all the headers of the document."""
        return json.dumps(
            {
                "event": "websocket:connected",
                "content-type": f"audio/l16;rate={self.audio.rate}",
                **self.parameters,
            }
        )

    def media_message(self, encoded: str | bytes) -> Message:
        """The next media."""
        return encoded

    def dtmf_message(self, digit: str) -> Message:
        """A key was pressed; ``duration`` is in milliseconds."""
        return json.dumps({"event": "websocket:dtmf", "digit": digit, "duration": 260})

    def mark_message(self, name: str, *, cleared: bool) -> Message:
        """A notify comes back with the payload that it came with, here kept as JSON."""
        payload = name if name.startswith("{") else json.dumps({"name": name})
        return f'{{"event":"websocket:notify","payload":{payload}}}'

    def _cleared(self) -> Callable[[], Message] | None:
        return lambda: '{"event":"websocket:cleared"}'

    # ------------------------------------------------------------------------- from the bot

    def _read(self, message: Message) -> None:
        if isinstance(message, bytes):
            self._read_audio(message)
            return
        if (found := self._object(message)) is None:
            return
        action = found.get("action")
        if action == "clear":
            self._clear()
        elif action == "notify":
            payload = found.get("payload")
            self._mark(json.dumps(payload) if isinstance(payload, dict) else None)
        else:
            self._wrong(f"an action that vonage does not know: {action!s:.20}")

    def _read_audio(self, data: bytes) -> None:
        if len(data) != self.audio.size(0.02):
            self._wrong(f"a message of {len(data)} bytes, which is no frame of 20 ms")
            return
        self._hear(data)


def _token(secret: str, claims: dict[str, object]) -> str:
    """A JSON Web Token, HS256 (RFC 7515)."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(json.dumps(claims).encode())
    return head + "." + part(hmac.digest(secret.encode(), head.encode(), hashlib.sha256))
