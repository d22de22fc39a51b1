"""The ``listen`` verb of jambonz, from the side of jambonz, with streaming in both directions.

Messages: docs.jambonz.org, "listen", and jambonz-feature-server ``lib/tasks/listen.js``.
Signatures: docs.jambonz.org, "Verifying a signed request", as its SDKs check them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
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


class FakeJambonz(FakeCarrier):
    """A call over jambonz. ``secret`` is the webhook secret of the account.

    The first message tells of the call; audio is binary, 16-bit linear. A mark comes back with
    ``playout``, or after a ``killAudio`` with ``cleared``. ``disconnect`` and a closed socket end
    the verb, not the call, unless no other verb follows.
    """

    name = "jambonz"
    is_text = False
    subprotocols = ("audio.jambonz.org",)
    needs_subprotocol = True
    default_audio = AudioFormat("linear16", 8000)

    def _new_id(self, of: str) -> str:
        return str(uuid.uuid4())

    # ------------------------------------------------------------------------- the webhook

    def _question(self) -> Question:
        fields = {
            "account_sid": self.account,
            "call_id": str(uuid.uuid4()),
            "call_sid": self.call,
            "call_status": "trying",
            "direction": "inbound",
            "from": self.caller,
            "to": self.callee,
        }
        return Question(fields, is_json=True)

    def _sign(self, secret: str, url: str, question: Question) -> dict[str, str]:
        stamp = str(int(self._wall_clock()))
        signed = stamp.encode() + b"." + question.body()
        signature = hmac.digest(secret.encode(), signed, hashlib.sha256).hex()
        return {"Jambonz-Signature": f"t={stamp},v1={signature}"}

    def _read_answer(self, reply: Reply) -> Answer:
        verbs = read_json(reply)
        names = [str(verb.get("verb")) for verb in verbs]
        for place, verb in enumerate(verbs):
            if verb.get("verb") in {"listen", "stream"}:
                return self._read_listen(verb, names[place + 1 :])
        said = [str(verb.get("text")) for verb in verbs if verb.get("verb") == "say"]
        declined = "sip:decline" in names
        return Refusal("reject" if declined else "hang up", " ".join(said))

    def _read_listen(self, verb: dict[str, Any], behind: list[str]) -> Connect:
        both = verb.get("bidirectionalAudio") or {}
        rate = int(verb.get("sampleRate", 8000))
        if not both.get("streaming"):
            raise ValueError("bidirectionalAudio.streaming is not true: the caller hears nothing")
        if both.get("sampleRate") != rate:
            raise ValueError("bidirectionalAudio.sampleRate has no default: give sampleRate's")
        if verb.get("mixType", "mono") != "mono":
            raise ValueError("mixType is mono: the bot would hear itself")
        headers = {}
        if auth := verb.get("wsAuth"):
            pair = f"{auth.get('username')}:{auth.get('password')}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        metadata = verb.get("metadata") or {}
        return Connect(
            str(verb.get("url", "")),
            {name: str(value) for name, value in metadata.items()},
            AudioFormat("linear16", rate),
            keeps_call=behind not in ([], ["hangup"]),
            headers=headers,
        )

    # ------------------------------------------------------------------------- to the bot

    def start_message(self) -> Message:
        """The first message: what the call is, and the metadata of the verb."""
        about: dict[str, Any] = {
            "callSid": self.call,
            "accountSid": self.account,
            "direction": "inbound",
            "from": self.caller,
            "to": self.callee,
            "callId": str(uuid.uuid4()),
            "callStatus": "in-progress",
            "sampleRate": self.audio.rate,
            "mixType": "mono",
        }
        if self.parameters:
            about["metadata"] = self.parameters
        return json.dumps(about)

    def media_message(self, encoded: str | bytes) -> Message:
        """The next media."""
        return encoded

    def dtmf_message(self, digit: str) -> Message:
        """A key was pressed; ``duration`` counts samples at 8 kHz."""
        return json.dumps({"event": "dtmf", "dtmf": digit, "duration": "1600"})

    def mark_message(self, name: str, *, cleared: bool) -> Message:
        """A mark comes back."""
        data = {"name": name, "event": "cleared" if cleared else "playout"}
        return json.dumps({"type": "mark", "data": data})

    # ------------------------------------------------------------------------- from the bot

    def _read(self, message: Message) -> None:
        if isinstance(message, bytes):
            self._read_audio(message)
            return
        if (found := self._object(message)) is None:
            return
        kind = found.get("type")
        data = found.get("data")
        if kind == "killAudio":
            self._clear()
        elif kind == "mark":
            self._mark(data.get("name") if isinstance(data, dict) else None)
        elif kind == "disconnect":
            self._log("hang_up")
            self._own(self._stop_listening())
        else:
            self._wrong(f"a type that jambonz does not know: {kind!s:.20}")

    def _read_audio(self, data: bytes) -> None:
        if not data or len(data) % 2:
            self._wrong("a binary message that is no whole samples")
            return
        self._hear(data)

    async def _stop_listening(self) -> None:
        self.is_over = not self._keeps_call
        self._finish("bot closed")
        if self._socket is not None:
            await self._socket.close()
