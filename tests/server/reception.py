"""A server on the loopback interface in the test's own loop: scripted ears, brain and voice."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from agentkit.agent import Agent
from agentkit.audio.formats import AudioFormat
from agentkit.backends import Backends
from agentkit.callcontrol import CallControl
from agentkit.callcontrol.registry import load_control
from agentkit.config import NAMES, Settings
from agentkit.core.history import AssistantMessage, UserMessage
from agentkit.core.policy import Limits, Speculation
from agentkit.flux import FluxSource
from agentkit.server.access import Access
from agentkit.server.app import Office, make_app
from agentkit.server.desk import Desk, Rules
from agentkit.server.metrics import Metrics
from agentkit.server.run import Server, listen, uvicorn_config
from agentkit.server.state import SharedState
from agentkit.server.web import Lobby, Mode
from agentkit.testing.backends import Replies, ScriptedLLM, ScriptedTTS, tone
from agentkit.testing.carriers import (
    FakeAsterisk,
    FakeCarrier,
    FakeCarrierRest,
    FakeJambonz,
    FakePlivo,
    FakeSignalWire,
    FakeTelnyx,
    FakeTwilio,
    FakeVonage,
)
from agentkit.testing.carriers.asking import Reply
from agentkit.testing.source import ScriptedSource
from agentkit.turns import TurnSource

PUBLIC = "https://bot.example.com"
SECRET = "s3cret-of-webhooks"

MULAW = AudioFormat("mulaw", 8000)
LINEAR = AudioFormat("linear16", 16000)


@dataclass(frozen=True)
class Line:
    """A carrier, and what a test of it has to know.

    Args:
        fake: the carrier.
        voice: what the caller hears is in.
        secret: the setting that its webhooks are signed with.
        keys: settings of its REST interface.
        dtmf: how it presses keys: a ``message``, ``rest`` or ``tones``.
    """

    fake: type[FakeCarrier]
    voice: AudioFormat
    secret: str
    keys: Mapping[str, str]
    dtmf: str

    @property
    def name(self) -> str:
        return self.fake.name


_PEM = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    .decode()
)

TWILIO = Line(
    FakeTwilio,
    MULAW,
    "TWILIO_AUTH_TOKEN",
    {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": SECRET},
    "tones",
)
SIGNALWIRE = Line(
    FakeSignalWire,
    MULAW,
    "SIGNALWIRE_SIGNING_KEY",
    {
        "SIGNALWIRE_SPACE": "a.signalwire.com",
        "SIGNALWIRE_PROJECT_ID": "proj-1",
        "SIGNALWIRE_API_TOKEN": "PTs3cret",
    },
    "message",
)
TELNYX = Line(FakeTelnyx, MULAW, "TELNYX_PUBLIC_KEY", {"TELNYX_API_KEY": "KEYs3cret"}, "rest")
PLIVO = Line(
    FakePlivo,
    MULAW,
    "PLIVO_AUTH_TOKEN",
    {"PLIVO_AUTH_ID": "MA1", "PLIVO_AUTH_TOKEN": SECRET},
    "message",
)
VONAGE = Line(
    FakeVonage,
    LINEAR,
    "VONAGE_SIGNATURE_SECRET",
    {"VONAGE_APPLICATION_ID": "app-1", "VONAGE_PRIVATE_KEY": _PEM},
    "rest",
)
JAMBONZ = Line(
    FakeJambonz,
    LINEAR,
    "JAMBONZ_WEBHOOK_SECRET",
    {
        "JAMBONZ_API_URL": "https://jambonz.example.com",
        "JAMBONZ_ACCOUNT_SID": "acc-1",
        "JAMBONZ_API_KEY": "key-s3cret",
    },
    "rest",
)
ASTERISK = Line(FakeAsterisk, MULAW, "ASTERISK_PASSWORD", {}, "tones")

WITH_WEBHOOK = (TWILIO, SIGNALWIRE, TELNYX, PLIVO, VONAGE, JAMBONZ)
ALL = (*WITH_WEBHOOK, ASTERISK)

_SHORT = {name: short for short, name in NAMES.items()}


class Receptionist(Agent):
    """Says little, so that tests are short."""

    greeting = "Hello."
    apology = None
    farewell = "Bye."
    limits = Limits(settle=0.1)
    speculation = Speculation()

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.keys: list[str] = []

    async def on_end(self, reason: str) -> None:
        self.reasons.append(reason)

    async def on_dtmf(self, digits: str) -> None:
        self.keys.append(digits)

    @property
    def said(self) -> list[str]:
        """The history, a line a message."""
        lines = []
        for message in self.session.history:
            if isinstance(message, UserMessage):
                lines.append(f"caller: {message.text}")
            elif isinstance(message, AssistantMessage):
                lines.append(f"agent: {message.text}{' ...' if message.interrupted else ''}")
        return lines


class Reception:
    """A running server, as a test sees it."""

    def __init__(self, port: int, desk: Desk, office: Office, tts: ScriptedTTS) -> None:
        self.port = port
        self.desk = desk
        self.office = office
        self.tts = tts
        self.llm: ScriptedLLM
        self.agents: list[Any] = []
        """Each call's, in the order of the calls."""
        self.sources: list[ScriptedSource] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def media(self, carrier: str) -> str:
        return f"ws://{self.host}/{carrier}/media"

    async def agent(self, number: int = 0) -> Any:
        """The agent of a call, once it has answered it."""
        await until(lambda: len(self.agents) > number and self.agents[number]._session is not None)
        return self.agents[number]

    async def ears(self, number: int = 0) -> ScriptedSource:
        """The source of turns of a call, connected."""
        await until(lambda: len(self.sources) > number)
        source = self.sources[number]
        await source.ready()
        if source.connection < 0:
            source.connected()
        return source

    async def all_over(self) -> None:
        """Wait until no call goes on."""
        await until(lambda: self.desk.state.calls() == 0)

    def spoken(self, text: str) -> bytes:
        """What is heard of a text."""
        return tone(self.tts.seconds(text), self.tts.format, pitch=sum(text.encode()))

    async def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        return await request(self.port, method, path, headers=headers)

    async def figures(self) -> dict[str, float]:
        """What /metrics says."""
        reply = await self.get("/metrics")
        assert reply.status == 200
        lines = [line for line in reply.body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def until(reached: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition that nothing tells of. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not reached():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.04)


async def request(
    port: int,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    host: str = "",
) -> Reply:
    """An HTTP request, written as it is told; the answer's header and body."""
    named = {"Host": host or f"127.0.0.1:{port}", **(headers or {})}
    if body and "Content-Length" not in named:
        named["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in named.items()]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        answer = bytearray()
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                answer += chunk
    finally:
        writer.close()
    head, _, rest = bytes(answer).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    found = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Reply(int(first.split(" ")[1]) if first else 0, found, rest)


def control_of(line: Line, rest: FakeCarrierRest, public: str = PUBLIC) -> dict[str, CallControl]:
    """The control of a carrier's calls, at a fake interface."""
    base = f"{rest.url}/v2" if line.fake is FakeTelnyx else rest.url
    url = f"{public}/{line.name}/transfer"
    control = load_control(line.name, line.keys, base_url=base, transfer_url=url)
    return {line.name: control} if control else {}


@asynccontextmanager
async def serving(
    agent: Callable[[], Agent] = Receptionist,
    *,
    replies: Replies = ("Good.",),
    llm: ScriptedLLM | None = None,
    tts: ScriptedTTS | None = None,
    voice: AudioFormat = MULAW,
    flux: str = "",
    given: Mapping[str, str] | None = None,
    controls: Mapping[str, CallControl] | None = None,
    rules: Rules | None = None,
    state: SharedState | None = None,
    web: Mode = "local",
) -> AsyncIterator[Reception]:
    """A server that answers on a port of the loopback interface.

    Args:
        agent: makes the agent of a call.
        replies: what the model answers.
        llm: another model.
        tts: another voice.
        voice: what the voice is in: the line's format, so that what is heard is what was said.
        flux: the URL of a Flux; "": each call has a `ScriptedSource`.
        given: settings by their names in the environment: secrets, and the public URL.
        controls: the carriers' REST interfaces.
        rules: of the desk.
        state: what processes share.
        web: who may talk with the agent in a browser.
    """
    tts = tts or ScriptedTTS(format=voice)
    model = llm or ScriptedLLM(replies)
    known = Settings(**{_SHORT[name]: value for name, value in (given or {}).items()})
    listener = listen("127.0.0.1", 0)
    office = Office(Access(known), known.public_url or "")
    office.lobby = Lobby(
        office.open_desk,
        office.access,
        public_url=office.public_url,
        mode=web,
        password=known.by_name("AGENTKIT_WEB_PASSWORD"),
        agent=getattr(agent, "__name__", "Agent"),
    )
    state = state or SharedState()
    reception: Reception

    def made() -> Agent:
        one = agent()
        reception.agents.append(one)
        return one

    def source() -> TurnSource:
        if flux:
            return FluxSource(url=flux)
        reception.sources.append(ScriptedSource())
        return reception.sources[-1]

    backends = Backends(model, tts, source, "scripted")
    desk = Desk(made, backends, state, Metrics(), controls=controls, rules=rules)
    reception = Reception(listener.getsockname()[1], desk, office, tts)
    reception.llm = model

    office.desk = desk
    server = Server(uvicorn_config(make_app(office)))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield reception
    finally:
        server.should_exit = True
        await running
        for control in (controls or {}).values():
            await control.aclose()
        state.close()


def calling(line: Line, server: Reception, path: str = "", **options: Any) -> FakeCarrier:
    """A call: by way of the webhook, where the carrier has one.

    Args:
        line: the carrier.
        server: whom it calls.
        path: is put behind the URL.
        options: of the fake. A frame is 100 ms long unless they say otherwise: the fewer there are,
            the faster is virtual time.
    """
    options = {"frame": 0.1, **options}
    if line is ASTERISK:
        return line.fake(server.media(line.name) + path, **options)
    return line.fake(webhook=f"{server.url}/{line.name}/voice{path}", **options)


def secrets_of(line: Line) -> dict[str, str]:
    """The setting that the carrier's requests are checked with, and the public URL."""
    key = FakeTelnyx(webhook="http://127.0.0.1", secret=SECRET).public_key
    return {line.secret: key if line is TELNYX else SECRET, "AGENTKIT_PUBLIC_URL": PUBLIC}


def signing(line: Line) -> dict[str, Any]:
    """What makes a fake sign as `secrets_of` wants it."""
    if line is ASTERISK:
        pair = base64.b64encode(f"agentkit:{SECRET}".encode()).decode()
        return {"headers": {"Authorization": f"Basic {pair}"}}
    return {"public_url": PUBLIC, "secret": SECRET}
