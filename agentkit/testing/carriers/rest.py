"""The REST interfaces of the carriers: what a bot asks them to do to a call, done to a fake one."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from agentkit.testing.carriers.base import FakeCarrier

Verb = Literal["hang up", "transfer", "dtmf", "dial", "unknown"]

_ACCOUNT = r"(?:/api/laml)?/2010-04-01/Accounts/[^/]+"
_ROUTES: tuple[tuple[str, str, str, str], ...] = (
    ("twilio", "POST", _ACCOUNT + r"/Calls(?:\.json)?", "dial"),
    ("twilio", "POST", _ACCOUNT + r"/Calls/(?P<call>[^/.]+)(?:\.json)?", "update"),
    ("telnyx", "POST", r"/v2/calls/(?P<call>[^/]+)/actions/hangup", "hang up"),
    ("telnyx", "POST", r"/v2/calls/(?P<call>[^/]+)/actions/transfer", "transfer"),
    ("telnyx", "POST", r"/v2/calls/(?P<call>[^/]+)/actions/send_dtmf", "dtmf"),
    ("telnyx", "POST", r"/v2/(?:calls|texml/calls/[^/]+|texml/Accounts/[^/]+/Calls)", "dial"),
    ("plivo", "DELETE", r"/v1/Account/[^/]+/Call/(?P<call>[^/]+)/?", "hang up"),
    ("plivo", "POST", r"/v1/Account/[^/]+/Call/(?P<call>[^/]+)/DTMF/?", "dtmf"),
    ("plivo", "POST", r"/v1/Account/[^/]+/Call/(?P<call>[^/]+)/?", "transfer"),
    ("plivo", "POST", r"/v1/Account/[^/]+/Call/?", "dial"),
    ("jambonz", "POST", r"/v1/Accounts/[^/]+/Calls/?", "dial"),
    ("jambonz", "PUT", r"/v1/Accounts/[^/]+/Calls/(?P<call>[^/]+)", "update"),
    ("jambonz", "POST", r"/v1/Accounts/[^/]+/Calls/(?P<call>[^/]+)", "update"),
    ("jambonz", "DELETE", r"/v1/Accounts/[^/]+/Calls/(?P<call>[^/]+)", "hang up"),
    ("vonage", "PUT", r"/v1/calls/(?P<call>[^/]+)/dtmf", "dtmf"),
    ("vonage", "PUT", r"/v1/calls/(?P<call>[^/]+)", "update"),
    ("vonage", "POST", r"/v1/calls", "dial"),
    ("asterisk", "DELETE", r"/ari/channels/(?P<call>[^/]+)", "hang up"),
    ("asterisk", "POST", r"/ari/channels/(?P<call>[^/]+)/dtmf", "dtmf"),
    ("asterisk", "POST", r"/ari/channels/(?P<call>[^/]+)/(?:redirect|continue)", "transfer"),
    ("asterisk", "POST", r"/ari/channels(?:/create)?", "dial"),
)
"""Carrier, method, path and what it asks for; SignalWire's paths are Twilio's behind a prefix."""

_DONE: Mapping[str, int] = {
    "twilio": 200, "telnyx": 200, "plivo": 202, "vonage": 204, "jambonz": 202, "asterisk": 204,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RestRequest:
    """What the bot asked.

    Args:
        carrier: whose interface it was; SignalWire's counts as ``twilio``.
        verb: what it asked for.
        call: the id of the call; "" for ``dial``.
        method: of HTTP.
        path: of the URL.
        fields: of the query, and of the form or the JSON object.
        authorization: the header.
        answered: the status that it was answered with.
    """

    carrier: str
    verb: Verb
    call: str
    method: str
    path: str
    fields: Mapping[str, Any] = field(repr=False)
    authorization: str = field(default="", repr=False)
    answered: int = 200


class FakeCarrierRest:
    """The REST interface of every carrier, on one port of the loopback interface.

    It does to the calls that it knows what they are asked: to hang up ends the call as the carrier
    would, a transfer ends the stream. A call that is over or unknown gets the carrier's own answer.
    `dial` makes an id and remembers the request; the test makes the call itself.

        async with FakeCarrierRest() as rest, FakeTwilio(media=url) as caller:
            rest.watch(caller)
            ...                                   # the bot's API base is `rest.url`
            assert (await rest.wait_for("hang up")).call == caller.call
            assert caller.is_over

    Args:
        calls: the calls that it knows from the start.
        delay: seconds before each answer; may be changed while it runs.
    """

    def __init__(self, calls: Iterable[FakeCarrier] = (), *, delay: float = 0.0) -> None:
        self.url = ""
        """``http://127.0.0.1:PORT``."""
        self.requests: list[RestRequest] = []
        self.delay = delay
        self._calls = {call.call: call for call in calls}
        self._failing: list[int] = []
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening and break every connection off. Safe to call twice."""
        if self._server is not None:
            self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def watch(self, *calls: FakeCarrier) -> None:
        """Know these calls, too."""
        self._calls |= {call.call: call for call in calls}

    def fail(self, status: int, *, times: int = 1) -> None:
        """Answer the next requests with this status, and do nothing."""
        self._failing += [status] * times

    async def wait_for(self, verb: Verb, count: int = 1) -> RestRequest:
        """Wait until something was asked so many times since the start; return that request."""
        while len(found := [each for each in self.requests if each.verb == verb]) < count:
            self._changed.clear()
            await self._changed.wait()
        return found[count - 1]

    # -------------------------------------------------------------------------------- inside

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
        try:
            while (head := await _head(reader)) is not None:
                method, target, headers = head
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, answer = await self._answer(method, target, headers, body)
                writer.write(_response(status, answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client is gone
        finally:
            self._serving -= {task}
            writer.close()

    async def _answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(target)
        fields = dict(parse_qsl(parts.query)) | _fields(headers, body)
        carrier, verb, call = _recognise(method, parts.path, fields)
        if self.delay:
            await asyncio.sleep(self.delay)
        if self._failing:
            status, answer = self._failing.pop(0), {"message": "refused by the script"}
        else:
            status, answer = await self._carry_out(carrier, verb, call)
        self.requests.append(
            RestRequest(
                carrier,
                verb,
                call,
                method,
                parts.path,
                fields,
                headers.get("authorization", ""),
                status,
            )
        )
        self._changed.set()
        return status, answer

    async def _carry_out(self, carrier: str, verb: Verb, call: str) -> tuple[int, dict[str, Any]]:
        if verb == "unknown":
            return 404, {"message": "there is no such interface here"}
        if verb == "dial":
            return _dialled(carrier)
        fake = self._calls.get(call)
        if fake is None or fake.is_over:
            return _gone(carrier)
        if verb != "dtmf":
            await fake.end()
        status = 204 if verb == "hang up" and carrier == "plivo" else _DONE[carrier]
        return status, {"sid": call, "status": "completed"} if carrier == "twilio" else {}


def _recognise(method: str, path: str, fields: Mapping[str, Any]) -> tuple[str, Verb, str]:
    for carrier, allowed, pattern, what in _ROUTES:
        if allowed == method and (match := re.fullmatch(pattern, path)):
            call = unquote(match.groupdict().get("call") or "")
            verb = _updating(fields) if what == "update" else what
            return carrier, verb, call  # type: ignore[return-value]
    return "", "unknown", ""


def _updating(fields: Mapping[str, Any]) -> str:
    """What an update of a call asks for."""
    ended = ("hangup", "completed", "no-answer")
    if any(fields.get(name) in ended for name in ("Status", "call_status", "action")):
        return "hang up"
    if any(name in fields for name in ("Twiml", "Url", "destination", "call_hook")):
        return "transfer"
    return "dtmf" if "dtmf" in fields else "unknown"


def _dialled(carrier: str) -> tuple[int, dict[str, Any]]:
    call = str(uuid.uuid4())
    if carrier == "telnyx":
        return 200, {"data": {"call_control_id": call, "call_session_id": call}, "sid": call}
    if carrier == "plivo":
        return 201, {"api_id": call, "message": "call fired", "request_uuid": call}
    if carrier == "vonage":
        return 201, {"uuid": call, "status": "started", "direction": "outbound"}
    if carrier == "asterisk":
        return 200, {"id": call, "state": "Down"}
    return 201, {"sid": call if carrier == "jambonz" else f"CA{uuid.uuid4().hex}"}


def _gone(carrier: str) -> tuple[int, dict[str, Any]]:
    """How a carrier says that there is no such call, or that it is over."""
    if carrier == "telnyx":
        detail = {"code": "90018", "title": "Call has already ended"}
        return 422, {"errors": [detail]}
    if carrier == "twilio":
        return 404, {"code": 20404, "message": "The requested resource was not found"}
    return 404, {"error": "not found"}


def _fields(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    if "json" in headers.get("content-type", "") and body:
        found = json.loads(body)
        return found if isinstance(found, dict) else {}
    return dict(parse_qsl(body.decode("latin-1")))


async def _head(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]] | None:
    """Method, target and headers of the next request; None at the end of the connection."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = lines[0].split(" ", 2)
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return method, target, headers


def _response(status: int, answer: Mapping[str, Any]) -> bytes:
    body = b"" if status == HTTPStatus.NO_CONTENT else json.dumps(answer).encode()
    reason = HTTPStatus(status).phrase
    return (
        f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
