"""The lower bound of the comparison: what the job takes if it is done by hand for this one case.

Protocols on an event loop and nothing else: no history, no errors, no retries, no tools, no log, no
pacing, no resampling filter. It answers with what the scripted servers say, drafts model and voice
at EagerEndOfTurn, gives the voice the first clause, and holds the sound back until EndOfTurn. What
a framework takes above this is what it does for its user.
"""

from __future__ import annotations

import asyncio
import base64
import json
from array import array
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import urlsplit

import uvloop

from agentkit.audio.g711 import linear16_to_mulaw
from tests.bench.peers.probe import FLUX, INSTRUCTIONS, LINE_IN, OPENAI, answering
from tests.bench.sockets import BINARY, TEXT, Socket, frame

AT_ONCE = 0.08
"""Seconds of audio that Flux gets in a message, as Deepgram recommends."""
TWILIO = 8000
"""Hz."""

_http = urlsplit(OPENAI)
_flux = urlsplit(FLUX)


class Request(asyncio.Protocol):
    """One request over a connection of its own, whose body is handed on chunk by chunk.

    Args:
        path: below the base URL.
        body: sent as JSON.
        took: given each chunk.
    """

    def __init__(
        self, path: str, body: Mapping[str, object], took: Callable[[bytes], None]
    ) -> None:
        sent = json.dumps(body).encode()
        self._whole = (
            f"POST {_http.path}{path} HTTP/1.1\r\nhost: {_http.netloc}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n"
        ).encode() + sent
        self._took = took
        self._rest = b""
        self._head = True
        self._transport: asyncio.Transport | None = None
        self._given_up = False

    def send(self) -> Request:
        loop = asyncio.get_running_loop()
        opening = loop.create_connection(lambda: self, "127.0.0.1", _http.port or 80)
        self._opening = loop.create_task(opening)
        return self

    def give_up(self) -> None:
        self._given_up = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._given_up:
            self._transport.abort()
        else:
            self._transport.write(self._whole)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if self._head:
            _, found, data = data.partition(b"\r\n\r\n")
            self._head = not found
        while not self._head and not self._given_up:
            size, found, rest = data.partition(b"\r\n")
            length = int(size, 16) if found else 0
            if not found or len(rest) < length + 2:
                break
            if length == 0 and self._transport is not None:
                self._transport.close()
            data = rest[length + 2 :]
            if length:
                self._took(rest[:length])
        self._rest = data


class Reply:
    """A reply from its request on; what the voice says is held back until it is let go.

    Args:
        heard: what the caller said.
        play: takes 24 kHz linear16 once it may be heard.
    """

    def __init__(self, heard: str, play: Callable[[bytes], None]) -> None:
        self.heard = heard
        self._play = play
        self._held: list[bytes] | None = []
        self._text = ""
        self._asked = 0
        self._voices: list[Request] = []
        self._audio: list[list[bytes]] = []
        messages = [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": heard},
        ]
        body = {"model": "scripted", "messages": messages, "stream": True}
        self._model = Request("/chat/completions", body, self._token).send()

    def let_go(self) -> None:
        held, self._held = self._held or [], None
        for audio in held:
            self._play(audio)

    def give_up(self) -> None:
        for request in (self._model, *self._voices):
            request.give_up()

    def _token(self, event: bytes) -> None:
        for line in event.split(b"\n\n"):
            data = line.removeprefix(b"data: ")
            if not data or data == b"[DONE]":
                continue
            choices = json.loads(data)["choices"]
            self._text += (choices[0]["delta"].get("content") or "") if choices else ""
            ends = bool(choices) and choices[0]["finish_reason"] is not None
            rest = self._text[self._asked :]
            # The first clause as soon as there is one, then a sentence at a time.
            if rest.strip() and (rest[-1] == "." or ends or (not self._asked and rest[-1] == ",")):
                self._speak(rest.strip())
                self._asked = len(self._text)

    def _speak(self, text: str) -> None:
        place = len(self._voices)
        self._audio.append([])
        body = {"model": "scripted", "voice": "tone", "input": text, "response_format": "pcm"}
        self._voices.append(Request("/audio/speech", body, lambda a: self._sound(place, a)).send())

    def _sound(self, place: int, audio: bytes) -> None:
        # What was asked for later comes later here, for all that is scripted takes as long.
        if self._held is None:
            self._play(audio)
        else:
            self._held.append(audio)


class Flux(Socket):
    """Listens to a call."""

    def __init__(self, rate: str, call: Call) -> None:
        super().__init__(f"{_flux.path}?model=flux-general-en&eager_eot_threshold=0.4&{rate}")
        self._call = call

    def took(self, opcode: int, payload: bytes, key: bytes) -> None:
        message = json.loads(payload)
        if message["type"] == "TurnInfo" and message["event"] != "Update":
            self._call.turn(message["event"], message["transcript"])


class Call(Socket):
    """One call: Twilio's media stream, or binary messages of samples."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = ""
        self._plain = False
        self._flux: Flux | None = None
        self._gathered = bytearray()
        self._reply: Reply | None = None
        self._speaks = False

    def _shake_hands(self, head: bytes) -> None:
        self._plain = head.startswith(b"GET /plain")
        super()._shake_hands(head)

    def opened(self) -> None:
        if self._plain:
            self._listen(f"encoding=linear16&sample_rate={LINE_IN}")

    def _listen(self, rate: str) -> None:
        flux = self._flux = Flux(rate, self)
        loop = asyncio.get_running_loop()
        opening = loop.create_connection(lambda: flux, "127.0.0.1", _flux.port or 80)
        self._opening = loop.create_task(opening)

    def ended(self) -> None:
        if self._reply is not None:
            self._reply.give_up()
        if self._flux is not None:
            self._flux.hang_up()

    def took(self, opcode: int, payload: bytes, key: bytes) -> None:
        if opcode == BINARY:
            self._hear(payload, round(2 * LINE_IN * AT_ONCE))
            return
        # The load generator masks with zeros, which changes nothing.
        message = json.loads(payload)
        if message["event"] == "media":
            audio = base64.b64decode(message["media"]["payload"])
            self._hear(audio, round(TWILIO * AT_ONCE))
        elif message["event"] == "start":
            self.stream = message["streamSid"]
            self._listen(f"encoding=mulaw&sample_rate={TWILIO}")

    def _hear(self, audio: bytes, enough: int) -> None:
        self._gathered += audio
        if len(self._gathered) >= enough and self._flux is not None:
            self._flux.send(frame(bytes(self._gathered), BINARY, masked=True))
            self._gathered.clear()

    def turn(self, event: str, words: str) -> None:
        """What Flux says of the caller's turn."""
        if event in ("StartOfTurn", "TurnResumed") and self._reply is not None:
            self._reply.give_up()
            self._reply = None
            if self._speaks:
                self._clear()
        elif event == "EagerEndOfTurn":
            self._reply = Reply(words, self._play)
        elif event == "EndOfTurn":
            if self._reply is None or self._reply.heard != words:
                self._reply = Reply(words, self._play)
            self._reply.let_go()

    def _play(self, audio: bytes) -> None:
        self._speaks = True
        if self._plain:
            self.send(frame(audio, BINARY))
            return
        samples = array("h", audio[: len(audio) // 6 * 6])[::3]
        payload = base64.b64encode(linear16_to_mulaw(samples.tobytes())).decode()
        self._say({"event": "media", "media": {"payload": payload}})

    def _clear(self) -> None:
        self._speaks = False
        self._say({"event": "clear"})

    def _say(self, message: dict[str, object]) -> None:
        whole = message if self._plain else {**message, "streamSid": self.stream}
        self.send(frame(json.dumps(whole).encode(), TEXT))


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Call, "127.0.0.1", 0)
    probe = answering(server.sockets[0].getsockname()[1])
    await server.serve_forever()
    del probe


if __name__ == "__main__":
    uvloop.run(main())
