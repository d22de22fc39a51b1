"""The page to talk with the agent in a browser: who may have it, its parts, its socket.

===================  ==============================================================================
``GET /``            the page
``GET /web/NAME``    what it is made of
``POST /web/token``  a token for one conversation, good for a minute
``WS /web/media``    the conversation: `agentkit.carriers.browser` says what is said on it
===================  ==============================================================================

With ``AGENTKIT_WEB_PASSWORD`` whoever opens the page is asked for it. Without, ``--web local``
answers this machine alone, by the rule for carriers without a secret, and ``--web open`` everybody.
The token and the socket are for pages of this server only: browsers say which page asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Literal
from urllib.parse import urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from agentkit.carriers.base import TOKEN, StreamStarted
from agentkit.carriers.browser import (
    BrowserCodec,
    CallerMuted,
    CallerTyped,
    PageCommand,
    ready,
    refused,
    voice_format,
)
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.errors import TransportError, UsageError
from agentkit.server.access import Access, Refused, host_of
from agentkit.server.desk import POLICY, Desk
from agentkit.server.narrator import Narrator
from agentkit.server.signatures import basic_password
from agentkit.server.sockets import SocketWire
from agentkit.server.state import Admission
from agentkit.server.tokens import TokenError
from agentkit.session import CallInfo, Session
from agentkit.talk.typed import TypedSource
from agentkit.transports.browser import PageWire
from agentkit.transports.phone import PhoneTransport, admit
from agentkit.turns import TurnSource

log = structlog.get_logger(__name__)

NAME = "web"
"""Among the carriers: in tokens, in the figures, in the names of records."""

MODES = ("local", "open", "off")
Mode = Literal["local", "open", "off"]

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
_PAGE = "index.html"


class Lobby:
    """Where those come in who talk with the agent in a browser.

    Args:
        desk: takes their conversations.
        access: knows which requests are this machine's own.
        public_url: where others reach the server; "" if it is not known.
        mode: who is answered while there is no password; ``off``: the page is not there.
        password: what whoever opens the page is asked for; "": nothing.
        agent: its name, for people.
    """

    def __init__(
        self,
        desk: Callable[[], Desk],
        access: Access,
        *,
        public_url: str = "",
        mode: Mode = "local",
        password: str = "",
        agent: str = "",
    ) -> None:
        self._desk = desk
        self._access = access
        self._public = public_url
        self._mode = mode
        self._password = password
        self._agent = agent
        self._parts = _parts()

    def routes(self) -> list[BaseRoute]:
        """What it answers: nothing if it is off."""
        if self._mode == "off":
            return []
        return [
            Route("/", self._page, methods=["GET"]),
            Route("/web/token", self._token, methods=["POST"]),
            Route("/web/{name}", self._part, methods=["GET"]),
            WebSocketRoute("/web/media", self._media),
        ]

    def describe(self, url: str) -> str:
        """Who may talk with the agent in a browser: a line for whoever starts the server."""
        if self._mode == "off":
            return "no page in the browser: --web off"
        if self._password:
            return f"in a browser, for whoever has the password: {self._public or url}/"
        if self._mode == "open":
            return f"in a browser, for everybody (--web open, no password): {self._public or url}/"
        if self._public:
            return "in a browser: refused until AGENTKIT_WEB_PASSWORD is set, or --web open"
        return f"in a browser, on this machine only: {url}/"

    # ----------------------------------------------------------------------- who is let in

    def check(self, headers: Mapping[str, str], client: str) -> None:
        """Raises `Refused` unless whoever asks may have the page, but for the password."""
        if self._password or self._mode == "open":
            local = self._access.is_local(headers, client)
            if self._public and not local and _host(self._public) != _host_in(headers):
                raise Refused("the page is asked for by another name than AGENTKIT_PUBLIC_URL's")
        elif not self._access.is_local(headers, client):
            raise Refused(
                "the page is for the machine that the server runs on: set AGENTKIT_WEB_PASSWORD,"
                " or start the server with --web open"
            )

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Raises `Refused` unless it is a page of this server that asks.

        Browsers name the page's origin in each POST and each upgrade, and no script can change it
        (Fetch, "Forbidden request-header"; RFC 6455, section 10.2).
        """
        own = set()
        if self._public:
            public = urlsplit(self._public)
            own.add(_origin(public.scheme, public.netloc))
        if _host_in(headers):
            own |= {_origin(scheme, headers["host"].strip()) for scheme in ("http", "https")}
        if headers.get("origin", "").lower() not in own:
            raise Refused("another site's page may not talk with the agent")

    def _lets_in(self, request: Request) -> Response | None:
        """None if the request is answered; else what to say instead. Raises `Refused`."""
        self.check(request.headers, request.client.host if request.client else "")
        if not self._password or basic_password(request.headers, self._password):
            return None
        asking = {"WWW-Authenticate": 'Basic realm="agentkit", charset="UTF-8"'}
        return PlainTextResponse("The page has a password.\n", 401, headers=asking)

    # ---------------------------------------------------------------------------- the page

    async def _page(self, request: Request) -> Response:
        if answer := self._lets_in(request):
            return answer
        rate = voice_format(self._desk().voice).rate
        page = self._parts[_PAGE].decode()
        page = page.replace("{{agent}}", escape(self._agent)).replace("{{rate}}", str(rate))
        return Response(page, media_type="text/html", headers=_HEADERS)

    async def _part(self, request: Request) -> Response:
        if answer := self._lets_in(request):
            return answer
        name = request.path_params["name"]
        part = self._parts.get(name)
        if part is None or name == _PAGE:
            return PlainTextResponse("Not Found\n", 404)
        tag = f'"{hashlib.sha256(part).hexdigest()[:32]}"'
        headers = {**_HEADERS, "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(part, media_type=_TYPES[name[name.rindex(".") :]], headers=headers)

    async def _token(self, request: Request) -> Response:
        self.check_origin(request.headers)
        if answer := self._lets_in(request):
            return answer
        desk = self._desk()
        if desk.state.draining or desk.is_full:
            why = "draining" if desk.state.draining else "full"
            log.warning("call refused", carrier=NAME, why=why)
            desk.metrics.refused.labels(NAME, why).inc()
            return JSONResponse({"why": why}, 503, headers=_HEADERS)
        call = f"{NAME}-{secrets.token_hex(8)}"
        admission = Admission(NAME, call, parameters=dict(request.query_params))
        return JSONResponse({"token": desk.tokens.give(admission)}, headers=_HEADERS)

    # --------------------------------------------------------------------- the conversation

    async def _media(self, socket: WebSocket) -> None:
        desk = self._desk()
        try:
            self.check(socket.headers, socket.client.host if socket.client else "")
            self.check_origin(socket.headers)
        except Refused as error:
            log.warning("upgrade refused", carrier=NAME, why=str(error))
            desk.metrics.refused.labels(NAME, error.code).inc()
            await socket.close(POLICY)
            return
        await socket.accept()
        wire = PageWire(SocketWire(socket))
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(wire.tell_on(), name="page: tell")
            try:
                await _converse(desk, wire)
            finally:
                telling.cancel()


async def _converse(desk: Desk, wire: PageWire) -> None:
    """Hold a conversation; close the socket at its end. Nothing is opened before the token."""
    codec = BrowserCodec(voice_format(desk.voice))
    try:
        started = await admit(codec, wire, within=desk.rules.start_within)
        admission = desk.tokens.take(started.parameters.get(TOKEN, ""), NAME, "")
    except (TransportError, TokenError) as error:
        log.warning("stream refused", carrier=NAME, why=str(error))
        desk.metrics.refused.labels(NAME, error.code).inc()
        wire.tell(refused("token" if isinstance(error, TokenError) else "start"))
        await wire.close(POLICY)
        return
    transport = PhoneTransport(codec, wire, started, silent_for=desk.rules.silent_for)
    visit = _Visit(wire, started, codec)

    def turn_away(why: str) -> None:
        wire.tell(refused(why))
        transport.call_is_over()

    try:
        await desk.take(
            NAME,
            admission.call,
            transport,
            CallInfo(admission.call, parameters=admission.parameters),
            admitted=True,
            observers=[Narrator(wire.tell), visit.see],
            ears=visit.listen,
            began=visit.begin,
            turned_away=turn_away,
        )
    finally:
        desk.metrics.oddities.labels(NAME).inc(transport.oddities.total() + wire.oddities)


class _Visit:
    """What a caller does on the page besides speaking, and what they are told at the end."""

    def __init__(self, wire: PageWire, started: StreamStarted, codec: BrowserCodec) -> None:
        self._wire = wire
        self._started = started
        self._codec = codec
        self._typed: TypedSource | None = None

    def listen(self, ears: TurnSource) -> TurnSource:
        """What listens takes what is typed, too."""
        self._typed = TypedSource(ears)
        return self._typed

    def see(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        """Why the session hangs up is what ends the conversation."""
        for command in commands:
            if isinstance(command, cmd.HangUp):
                self._codec.leaving = command.reason

    def begin(self, session: Session) -> None:
        """The session is there: from now on the caller's commands are obeyed."""

        def obey(command: PageCommand) -> None:
            match command:
                case CallerMuted(muted):
                    # What comes before the call has begun, or after it, mutes nothing.
                    with contextlib.suppress(UsageError):
                        session.mute(muted)
                case CallerTyped(text):
                    if self._typed is not None:
                        self._typed.type_line(text)

        self._wire.commanded = obey
        self._wire.tell(ready(self._started.output))


_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), speaker-selection=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of all that is answered. Nothing is loaded from elsewhere, and no page may hold this one."""


def _parts() -> dict[str, bytes]:
    folder = files("agentkit.server").joinpath("page")
    return {part.name: part.read_bytes() for part in folder.iterdir() if "." in part.name}


def _origin(scheme: str, host: str) -> str:
    """As browsers write it: without a port that goes without saying."""
    usual = {"http": ":80", "https": ":443"}[scheme]
    return f"{scheme}://{host.lower().removesuffix(usual)}"


def _host(url: str) -> str:
    return host_of(urlsplit(url).netloc)


def _host_in(headers: Mapping[str, str]) -> str:
    return host_of(headers.get("host", ""))
