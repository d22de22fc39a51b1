"""A phone carrier as a bot meets it: it asks the webhook, opens the media socket and calls."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import json
import math
import secrets
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from agentkit.audio.formats import AudioFormat
from agentkit.testing.carriers.asking import (
    Answer,
    Connect,
    Question,
    Refusal,
    Reply,
    as_local,
    as_public,
    post,
)
from agentkit.testing.carriers.call import KEYS, FakeCall, How
from agentkit.testing.carriers.faults import Faults
from agentkit.testing.carriers.line import Line, Listening, Network
from agentkit.testing.carriers.wire import PATIENCE, Message, Outbox, plug

Signature = Literal["right", "wrong", "none", "https"]

MULAW_8K = AudioFormat("mulaw", 8000)


class FakeCarrier(FakeCall):
    """One call of a carrier to a bot, over a real WebSocket.

    With ``webhook`` it asks there first, as the carrier does, and follows the document that comes
    back; with ``media`` it goes straight to the media socket. `answer` tells what the webhook said:
    if it is a `Refusal`, the call is over.

        async with FakeTwilio(webhook="http://127.0.0.1:8080/twilio/voice") as caller:
            caller.say(speech)                     # mu-law at 8 kHz
            await caller.until_quiet()
            assert caller.first_sound_at() is not None
            assert caller.protocol_errors == []
            await caller.hang_up()

    Args:
        media: the bot's media socket, ``ws://...``.
        webhook: the bot's webhook, ``http://...``.
        public_url: how the bot believes that it is reached, e.g. ``https://bot.example.com``. It is
            what signatures are made for; a stream's URL there leads to the webhook's own host.
        secret: what webhooks and handshakes are signed with; None: they are not.
        parameters: what ``media`` is told of the call, by name. With ``webhook`` the document says.
        audio: the caller's audio; None: what the document asks for, or the carrier's default.
        caller: the caller's number.
        callee: the number that was called.
        account: the account at the carrier; "": one of the right form.
        frame: seconds of audio in each message.
        sends_silence: while the caller says nothing, silence is sent; otherwise nothing is.
        network: how good the way to the caller is, and what becomes of marks.
        starts: False: the stream's start is never sent, nor any media.
        start_delay: seconds between the first message and the stream's start.
        media_before_start: how many frames are sent too early.
        webhook_signature: ``wrong`` is made with another secret, ``none`` is left out.
        upgrade_signature: the same for the handshake; ``https`` is made for the wrong scheme.
        headers: more headers of the handshake.
        receive_buffer: the socket's receive buffer in bytes, to be small where a test wants a
            stalled reader to be felt soon.
        wall_clock: gives the time of day for signatures and stamps, in seconds since 1970; what a
            test sets back makes a stale signature. Nothing waits by it.

    Attributes:
        name: the carrier, as it stands in agentkit's routes.
        is_text: audio travels as base64 in JSON, not as binary messages.
        closing_ends_call: the call is over when the bot closes the socket.
    """

    name: ClassVar[str]
    is_text: ClassVar[bool] = True
    closing_ends_call: ClassVar[bool] = True
    subprotocols: ClassVar[tuple[str, ...]] = ()
    needs_subprotocol: ClassVar[bool] = False
    echoes_cleared_marks: ClassVar[bool] = True
    buffer_limit: ClassVar[float] = math.inf
    default_audio: ClassVar[AudioFormat] = MULAW_8K

    def __init__(
        self,
        media: str = "",
        *,
        webhook: str = "",
        public_url: str = "",
        secret: str | None = None,
        parameters: Mapping[str, str] | None = None,
        audio: AudioFormat | None = None,
        caller: str = "+15550100001",
        callee: str = "+15550100002",
        account: str = "",
        frame: float = 0.02,
        sends_silence: bool = True,
        network: Network | None = None,
        starts: bool = True,
        start_delay: float = 0.0,
        media_before_start: int = 0,
        webhook_signature: Signature = "right",
        upgrade_signature: Signature = "right",
        headers: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if bool(media) == bool(webhook):
            raise ValueError("give either `media` or `webhook`")
        super().__init__(frame=frame, sends_silence=sends_silence, network=network)
        self.audio = audio or self.default_audio
        self.media = media
        self.webhook = webhook
        self.public_url = public_url.rstrip("/")
        self.secret = secret
        self.parameters = dict(parameters or {})
        self.caller = caller
        self.callee = callee
        self.account = account or self._new_id("account")
        self.call = self._new_id("call")
        self.stream = self._new_id("stream")
        self.answer: Answer | None = None
        """What the webhook answered; None if it was not asked."""
        self.is_over = False
        """Whether the call itself is over: on some carriers it outlives its stream."""
        self.faults = Faults(self)
        self._audio_asked = audio
        self._starts = starts
        self._start_delay = start_delay
        self._media_before_start = media_before_start
        self._webhook_signature: Signature = webhook_signature
        self._upgrade_signature: Signature = upgrade_signature
        self._headers = dict(headers or {})
        self._receive_buffer = receive_buffer
        self._wall_clock = wall_clock
        self._keeps_call = not self.closing_ends_call
        self._socket: ClientConnection | None = None
        self._started = False
        self._outbox = Outbox()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._silence: str | bytes = b""
        self._held: Message | None = None
        self._sequence = 0
        self._chunk = 0
        self._passed = 0

    # -------------------------------------------------------------------- making the call

    async def dial(self) -> None:
        """Ask the webhook, if there is one, and start the stream that it asks for.

        Raises:
            OSError: nothing listens there.
        """
        headers = dict(self._headers)
        if self.webhook:
            self.answer = await self.ask()
            if isinstance(self.answer, Refusal):
                self.is_over = True
                self._finish("refused", self.answer.status)
                return
            self._follow(self.answer)
            headers |= self.answer.headers
        await self._open(headers)

    async def ask(self) -> Answer:
        """Ask the webhook what to do with the call. The answer is not followed here.

        Raises:
            OSError: nothing listens there.
        """
        question = self._question()
        url = as_public(self.webhook, self.public_url)
        headers = {"Content-Type": question.content_type, "User-Agent": f"fake-{self.name}/1.0"}
        if (secret := self._secret(self._webhook_signature)) is not None:
            headers |= self._sign(secret, url, question)
        reply = await post(self.webhook, question.body(), headers)
        if not 200 <= reply.status < 300:
            return Refusal("http", status=reply.status)
        try:
            return self._read_answer(reply)
        except ValueError as error:
            self._wrong(str(error))
            return Refusal("hang up", status=reply.status)

    def _follow(self, answer: Connect) -> None:
        self.media = answer.url
        self.parameters = dict(answer.parameters)
        self.audio = self._audio_asked or answer.audio or self.default_audio
        self._keeps_call = answer.keeps_call
        scheme = urlsplit(answer.url).scheme
        if self.public_url.startswith("https") and scheme != "wss":
            self._wrong(f"the stream's url is {scheme}://, which should be wss://")

    async def _open(self, headers: dict[str, str]) -> None:
        if (secret := self._secret(self._upgrade_signature)) is not None:
            url = as_public(self.media, self.public_url, socket=True)
            if self._upgrade_signature == "https":
                url = url.replace("ws", "http", 1)
            headers = self._sign_upgrade(secret, url) | headers
        url = as_local(self.media, self.public_url, urlsplit(self.webhook).netloc)
        try:
            self._socket = await connect(
                url,
                sock=plug(url, self._receive_buffer),
                additional_headers=headers,
                user_agent_header=f"fake-{self.name}/1.0",
                subprotocols=[Subprotocol(name) for name in self.subprotocols] or None,
                compression=None,
                ping_interval=None,
                proxy=None,
                max_size=None,
                close_timeout=1.0,
            )
        except InvalidHandshake as error:
            status = error.response.status_code if isinstance(error, InvalidStatus) else None
            self.is_over = not self._keeps_call
            self._finish("handshake refused", status)
            return
        if self.needs_subprotocol and self._socket.subprotocol is None:
            self._wrong(f"the socket does not speak {' or '.join(self.subprotocols)}")
        self._line = self._new_line()
        self._silence = self._encode(self.audio.silence(self.frame))
        self._own(self._listen(self._socket))
        await self._begin()

    async def _begin(self) -> None:
        for message in self._hello():
            await self.send_raw(message)
        for _ in range(self._media_before_start):
            await self.send_raw(self.media_message(self._silence))
        if self._start_delay:
            await asyncio.sleep(self._start_delay)
        if self._starts and self.ended is None:
            self._started = True
            await self.send_raw(self.start_message())
            self._start_speaking()

    def _new_line(self) -> Listening:
        return Line(
            self.audio,
            self.network,
            self._marked,
            echo=self.echoes_cleared_marks,
            limit=self.buffer_limit,
        )

    def _secret(self, signature: Signature) -> str | None:
        if self.secret is None or signature == "none":
            return None
        return self.secret + "!" if signature == "wrong" else self.secret

    # ------------------------------------------------------------------ what the caller does

    async def press(self, digits: str) -> None:
        """The caller presses keys: ``0-9 * # A-D``."""
        self._check_running()
        for digit in digits:
            if digit not in KEYS:
                raise ValueError(f"{digit!r} is not a key: press 0-9, *, # or A-D")
            await self.send_raw(self.dtmf_message(digit))

    async def hang_up(self) -> None:
        """The caller hangs up: the stream stops as the carrier stops it, and the socket closes."""
        await self._end_stream("caller hung up")

    async def end(self) -> None:
        """The carrier ends the call, as after a request over its REST interface."""
        await self._end_stream("carrier ended it")

    async def drop(self) -> None:
        """The connection breaks: no stop, no close, and bytes on the way may be lost."""
        self._check_running()
        self.is_over = True
        self._finish("dropped")
        self._open_socket.transport.abort()

    def stall(self) -> None:
        """Read nothing any more of what the bot sends: its buffers fill, until `flow`."""
        self._check_running()
        self._flowing.clear()
        self._open_socket.transport.pause_reading()

    def flow(self) -> None:
        """Read on."""
        if self._socket is not None and not self._flowing.is_set():
            self._flowing.set()
            self._socket.transport.resume_reading()

    @property
    def _open_socket(self) -> ClientConnection:
        if self._socket is None:
            raise RuntimeError("the call was not made yet: use `async with`")
        return self._socket

    async def send_raw(self, message: Message) -> None:
        """Send a message as it is. Nothing happens once the socket is closed."""
        self._outbox.put(message)
        await self._outbox.flush(self._open_socket)

    async def _end_stream(self, how: How) -> None:
        self.is_over = True
        if self.ended is not None or self._socket is None:
            return
        self._finish(how)
        if self._started and (stop := self.stop_message()) is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self.send_raw(stop)
        self.flow()
        await self._socket.close()

    # ------------------------------------------------------------------ what the carrier does

    async def _send_frame(self, frame: bytes, *, is_silence: bool) -> None:
        message = self.media_message(self._silence if is_silence else self._encode(frame))
        faults = self.faults
        self.frames_sent += 1
        if faults.losing:
            faults.losing -= 1
            return
        if faults.reordering and self._held is None:
            self._held = message
            return
        await self.send_raw(message)
        if faults.duplicating:
            faults.duplicating -= 1
            await self.send_raw(message)
        if self._held is not None:
            faults.reordering -= 1
            held, self._held = self._held, None
            await self.send_raw(held)

    def _pass(self) -> None:
        self._passed += 1

    @property
    def _milliseconds(self) -> int:
        """How long the stream has lasted by its own schedule."""
        return round(self._passed * self.frame * 1000)

    def _post(self, message: Message) -> None:
        """Send a message soon, in the order of the calls."""
        self._outbox.put(message)
        if not self._outbox.is_busy:
            self._own(self._outbox.flush(self._open_socket))

    async def _listen(self, socket: ClientConnection) -> None:
        try:
            while True:
                message = await socket.recv()
                await self._flowing.wait()
                if self.ended is None:
                    self._take(message)
        except ConnectionClosed as closed:
            if self.ended is None:
                self.is_over = not self._keeps_call
            if (close := closed.rcvd) is not None:
                self._finish("bot closed", close.code, close.reason)
            else:
                self._finish("bot vanished")

    def _take(self, message: Message) -> None:
        if self._started:
            self._read(message)
        else:
            self._wrong("a message before the stream's start")

    def _marked(self, name: str, cleared: bool) -> None:
        if self.ended is None:
            self._log("marked", name)
            self._post(self.mark_message(name, cleared=cleared))

    def _clear(self) -> None:
        """The bot cleared."""
        self._log("clear")
        cut = self._queued.clear()
        if (message := self._cleared()) is not None:
            loop = asyncio.get_running_loop()
            loop.call_at(cut + self.network.latency, self._confirm, message)

    def _confirm(self, message: Callable[[], Message]) -> None:
        if self.ended is None:
            self._post(message())

    def _mark(self, name: object) -> None:
        """The bot asked for a mark."""
        if not isinstance(name, str) or not name:
            self._wrong("a mark without a name")
            return
        self._log("mark", name)
        self._queued.mark(name)

    def _object(self, message: Message) -> dict[str, Any] | None:
        """The JSON object that a text message holds; else the protocol was broken."""
        if isinstance(message, bytes):
            self._wrong("a binary message")
            return None
        try:
            found = json.loads(message)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            self._wrong("a message that is no JSON object")
            return None
        return found

    def _hear_payload(self, payload: object) -> int:
        """The bot played audio in base64: how many bytes; 0 if it is none."""
        try:
            data = binascii.a2b_base64(payload, strict_mode=True)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            data = b""
        if not data:
            self._wrong("media without audio in base64")
            return 0
        if data.startswith((b"RIFF", b".snd", b"ID3")):
            self._wrong("media with a file's header: it is heard as noise")
        if len(data) % self.audio.sample_bytes:
            self._wrong("media with half a sample")
        self._hear(data)
        return len(data)

    # ------------------------------------------------------------------------ each carrier's own

    def _new_id(self, of: str) -> str:
        """An id of an account, a call or a stream, in the carrier's form."""
        return secrets.token_hex(16)

    @abstractmethod
    def _question(self) -> Question:
        """What the webhook is sent."""

    @abstractmethod
    def _sign(self, secret: str, url: str, question: Question) -> dict[str, str]:
        """The headers that sign a webhook's request."""

    def _sign_upgrade(self, secret: str, url: str) -> dict[str, str]:
        """The headers that sign a socket's handshake."""
        return {}

    @abstractmethod
    def _read_answer(self, reply: Reply) -> Answer:
        """What the webhook's document says. Raises ValueError if it says nothing."""

    def _encode(self, frame: bytes) -> str | bytes:
        """A frame of audio as it stands in a message."""
        if not self.is_text:
            return frame
        return binascii.b2a_base64(frame, newline=False).decode("ascii")

    def _hello(self) -> list[Message]:
        """What is sent before the start of the stream."""
        return []

    @abstractmethod
    def start_message(self) -> Message:
        """The start of the stream."""

    @abstractmethod
    def media_message(self, encoded: str | bytes) -> Message:
        """The next media, of audio that was encoded."""

    def foreign_media(self) -> Message:
        """Media of another stream; where media name no stream, just media."""
        return self.media_message(self._silence)

    @abstractmethod
    def dtmf_message(self, digit: str) -> Message:
        """A key was pressed."""

    @abstractmethod
    def mark_message(self, name: str, *, cleared: bool) -> Message:
        """A mark comes back."""

    def _cleared(self) -> Callable[[], Message] | None:
        """Makes what confirms a clear; None where nothing does."""
        return None

    def stop_message(self) -> Message | None:
        """The end of the stream; None where only the close tells of it."""
        return None

    @abstractmethod
    def _read(self, message: Message) -> None:
        """The bot said something, after the start of the stream."""
