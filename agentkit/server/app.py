"""The web application: carriers' webhooks and media sockets, health and figures.

=========================  ===================================================================
``POST /CARRIER/voice``    what to do with a call (``GET`` too, where a carrier asks that way)
``POST /CARRIER/status``   how a call goes
``POST /CARRIER/transfer`` where to transfer a call to, for carriers that ask
``WS /CARRIER/media``      the call's audio; ``/CARRIER/media/TOKEN`` where the token is in it
``POST /audiosocket/voice``  a UUID for one call over AudioSocket
``GET /healthz``           200 while calls are taken, 503 while draining
``GET /metrics``           Prometheus figures, for this machine and its own network
``GET /``, ``/web/...``    the page in a browser: `agentkit.server.web`
=========================  ===================================================================
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from agentkit.carriers.base import TOKEN
from agentkit.carriers.documents import Document
from agentkit.errors import AgentkitError
from agentkit.server.access import Access, Refused, host_of, was_forwarded
from agentkit.server.carriers import CARRIERS, Carrier
from agentkit.server.desk import Desk
from agentkit.server.metrics import CONTENT_TYPE
from agentkit.server.signatures import SignedRequest
from agentkit.server.sockets import SocketWire
from agentkit.server.state import Admission
from agentkit.server.web import Lobby

log = structlog.get_logger(__name__)

MOST_BYTES = 64 * 1024
"""Of a webhook's body, and of a message on a media socket: far more than either needs."""

BODY_WITHIN = 10.0
"""Seconds in which the body of a webhook's request has to be there."""

_OVER = frozenset({"completed", "busy", "failed", "no-answer", "canceled", "cancelled", "hangup"})
"""Call statuses that mean that nobody is there any more, at Twilio, SignalWire, Plivo, jambonz."""


@dataclass(slots=True)
class Office:
    """What the routes need.

    Args:
        access: who is answered.
        public_url: where carriers reach the server; "" if it is not known.
        desk: takes the calls; there once the application has started.
        lobby: answers browsers; None: nobody does.
    """

    access: Access
    public_url: str
    desk: Desk | None = None
    lobby: Lobby | None = None

    def open_desk(self) -> Desk:
        """The desk. Never None while requests are answered."""
        assert self.desk is not None  # noqa: S101
        return self.desk


def make_app(office: Office) -> Starlette:
    """The application. The office's desk has to be open while it answers."""
    app = Starlette(
        routes=[
            *(office.lobby.routes() if office.lobby is not None else ()),
            Route("/{carrier}/voice", _voice, methods=["GET", "POST"]),
            Route("/{carrier}/status", _status, methods=["GET", "POST"]),
            Route("/{carrier}/transfer", _transfer, methods=["GET", "POST"]),
            WebSocketRoute("/{carrier}/media", _media),
            WebSocketRoute("/{carrier}/media/{token}", _media),
            Route("/healthz", _healthz, methods=["GET"]),
            Route("/metrics", _metrics, methods=["GET"]),
        ],
        exception_handlers={Refused: _refused, AgentkitError: _unanswerable},
    )
    app.state.office = office
    return app


# ------------------------------------------------------------------------------------ webhooks


async def _voice(request: Request) -> Response:
    office, desk, name = _of(request)
    if name == "audiosocket":
        return _expect_audiosocket(request, office, desk)
    carrier = CARRIERS.get(name)
    if carrier is None or carrier.webhook is None:
        return _not_found()
    fields = await _checked(request, office, carrier)
    call = carrier.webhook.read(fields)
    if desk.state.draining or desk.is_full:
        reason = "draining" if desk.state.draining else "full"
        log.warning("call refused", carrier=name, call=call.call, why=reason)
        desk.metrics.refused.labels(name, reason).inc()
        return _answer(carrier.webhook.refuse(desk.rules.busy))
    asked_with = dict(request.query_params)
    admission = Admission(name, call.call, call.caller, call.callee, asked_with)
    token = desk.tokens.give(admission)
    url = f"{_socket_base(request, office)}/{name}/media"
    if carrier.webhook.token_in_path:
        document = carrier.webhook.connect(f"{url}/{token}", {}, call)
    else:
        document = carrier.webhook.connect(url, {TOKEN: token}, call)
    log.info("call admitted", carrier=name, call=call.call)
    return _answer(document)


async def _status(request: Request) -> Response:
    office, desk, name = _of(request)
    carrier = CARRIERS.get(name)
    if carrier is None or carrier.webhook is None:
        return _not_found()
    fields = await _checked(request, office, carrier)
    status = _first(fields, "CallStatus", "call_status", "status", "Event").lower()
    call = carrier.webhook.read(fields).call
    log.info("call status", carrier=name, call=call, status=status)
    desk.metrics.statuses.labels(name, status if status in _KNOWN else "other").inc()
    if status in _OVER and call:
        desk.told_of_end(name, call)
    return Response(status_code=204)


_KNOWN = _OVER | {"queued", "initiated", "ringing", "early-media", "in-progress", "answered"}


async def _transfer(request: Request) -> Response:
    office, desk, name = _of(request)
    carrier, control = CARRIERS.get(name), desk.controls.get(name)
    if carrier is None or control is None:
        return _not_found()
    await _checked(request, office, carrier)
    to = request.query_params.get("to", "")
    if not desk.rules.may_transfer(to):
        raise Refused("this destination is not allowed: name it in AGENTKIT_TRANSFER_TO")
    return _answer(control.transfer_document(to))


def _expect_audiosocket(request: Request, office: Office, desk: Desk) -> Response:
    """A UUID under which a PBX on this machine may connect a call, once, within a minute."""
    client = request.client.host if request.client else ""
    if not office.access.is_local(request.headers, client):
        raise Refused("UUIDs for AudioSocket are given to this machine alone")
    uuid = str(uuid4())
    desk.tokens.expect(uuid, Admission("audiosocket", uuid, parameters=dict(request.query_params)))
    return PlainTextResponse(uuid)


async def _checked(request: Request, office: Office, carrier: Carrier) -> Mapping[str, str]:
    """The request's fields, once it was found to be the carrier's. Raises `Refused`."""
    body = await _body(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form: list[tuple[str, str]] = []
    if kind == "application/x-www-form-urlencoded":
        form = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    query = f"?{request.url.query}" if request.url.query else ""
    signed = SignedRequest(
        request.method, f"{_raw_path(request.scope)}{query}", request.headers, form, body
    )
    client = request.client.host if request.client else ""
    office.access.check_webhook(carrier, signed, client)
    fields = dict(request.query_params)
    if kind == "application/json":
        fields |= _json_fields(body)
    return fields | dict(form)


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise Refused(f"a request has at most {MOST_BYTES} bytes")
    except TimeoutError:
        raise Refused(f"the request's body did not come within {BODY_WITHIN:g} s") from None
    except ClientDisconnect:
        raise Refused("the request broke off") from None
    return bytes(body)


def _json_fields(body: bytes) -> dict[str, str]:
    """The texts and numbers of a JSON object, one level deep."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: str(value) for name, value in found.items() if isinstance(value, str | int)}


# --------------------------------------------------------------------------------------- media


async def _media(socket: WebSocket) -> None:
    office: Office = socket.app.state.office
    carrier = CARRIERS.get(socket.path_params["carrier"])
    if carrier is None:
        await socket.close(1008)
        return
    desk = office.open_desk()
    client = socket.client.host if socket.client else ""
    query = socket.url.query
    path = _raw_path(socket.scope) + (f"?{query}" if query else "")
    try:
        office.access.check_upgrade(carrier, path, socket.headers, client)
    except Refused as error:
        log.warning("upgrade refused", carrier=carrier.name, why=str(error))
        desk.metrics.refused.labels(carrier.name, error.code).inc()
        await socket.close(1008)
        return
    offered = socket.scope.get("subprotocols", [])
    wanted = carrier.codec().subprotocols
    await socket.accept(next((name for name in offered if name in wanted), None))
    local = not office.access.has_secret(carrier) and office.access.is_local(socket.headers, client)
    token = socket.path_params.get("token", "")
    await desk.take_stream(carrier, SocketWire(socket), token=token, local=local)


# ---------------------------------------------------------------------------------- the others


async def _healthz(request: Request) -> Response:
    office: Office = request.app.state.office
    desk = office.open_desk()
    draining = desk.state.draining
    status = {"status": "draining" if draining else "ok", "calls": desk.state.calls()}
    return JSONResponse(status, status_code=503 if draining else 200)


async def _metrics(request: Request) -> Response:
    """Figures are for those who run the server, not for those who call it."""
    office: Office = request.app.state.office
    host = host_of(request.headers.get("host", ""))
    public = host_of(urlsplit(office.public_url).netloc)
    if was_forwarded(request.headers) or host in ("", public):
        return _not_found()
    return Response(office.open_desk().metrics.text(), media_type=CONTENT_TYPE)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, AgentkitError)  # noqa: S101
    office: Office = request.app.state.office
    name = request.path_params.get("carrier", "")
    log.warning("request refused", carrier=name, why=str(error))
    office.open_desk().metrics.refused.labels(name, error.code).inc()
    return PlainTextResponse(f"{error}\n", status_code=403)


async def _unanswerable(request: Request, error: Exception) -> Response:
    """What was asked for cannot be answered: there is no such document, or it would not fit."""
    log.warning("request not answered", path=request.scope["route"].path, why=str(error))
    return PlainTextResponse(f"{error}\n", status_code=400)


def _of(request: Request) -> tuple[Office, Desk, str]:
    office: Office = request.app.state.office
    return office, office.open_desk(), request.path_params["carrier"]


def _answer(document: Document) -> Response:
    return Response(document.body, media_type=document.content_type)


def _not_found() -> Response:
    return PlainTextResponse("Not Found\n", status_code=404)


def _first(fields: Mapping[str, str], *names: str) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")


def _raw_path(scope: Mapping[str, Any]) -> str:
    """The path as it was asked for, with its escapes: what was signed."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1").partition("?")[0]


def _socket_base(request: Request, office: Office) -> str:
    """Where carriers open sockets: the public URL's host, else the one that was asked."""
    if office.public_url:
        return office.public_url.replace("http", "ws", 1)
    return f"ws://{request.headers['host']}"
