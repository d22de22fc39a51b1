"""What is made of a carrier's answers, and of none."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from agentkit.callcontrol import CallControl, InvalidCallRequest
from agentkit.errors import CallControlError
from agentkit.testing._rest import RestReply, ScriptedRest
from agentkit.testing.clock import in_virtual_time

MakeControl = Callable[..., CallControl]

CARRIERS = ["twilio", "signalwire", "telnyx", "plivo", "vonage", "jambonz"]
NUMBER = "+15551234567"
WEBHOOK = "https://bot.example.com/voice"


@pytest.mark.parametrize(
    ("carrier", "status", "body"),
    [
        ("twilio", 404, {"code": 20404, "message": "The requested resource was not found"}),
        ("twilio", 400, {"code": 21220, "message": "Call is not in-progress"}),
        ("signalwire", 404, {"code": "20404"}),
        ("signalwire", 404, None),
        ("telnyx", 422, {"errors": [{"code": "90018", "title": "Call has already ended"}]}),
        ("telnyx", 422, {"errors": [{"code": 90018}]}),
        ("telnyx", 404, {"errors": [{"code": "10005", "title": "Resource not found"}]}),
        ("plivo", 404, {"api_id": "x", "error": "not found"}),
        ("vonage", 404, {"type": "NOT_FOUND", "error_title": "Not Found"}),
        ("vonage", 400, {"title": "Bad Request"}),
        ("jambonz", 404, b"Not Found"),
        ("jambonz", 422, {"msg": "call session is gone for call_sid c-1"}),
    ],
)
@in_virtual_time(until=60)
async def test_hanging_up_a_call_that_is_over_is_no_error(
    make_control: MakeControl, carrier: str, status: int, body: Any
) -> None:
    async with ScriptedRest(RestReply(status, body)) as server:
        control = make_control(carrier, server.base_url)
        await control.hang_up("c-1")
        await control.aclose()
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("carrier", "status", "body"),
    [
        ("twilio", 404, b"<html>a proxy's page</html>"),
        ("twilio", 404, {"code": 20003}),
        ("twilio", 401, {"code": 20003}),
        ("telnyx", 404, b"page not found"),
        ("telnyx", 422, {"errors": [{"code": "10015"}]}),
        ("telnyx", 422, {"errors": []}),
        ("telnyx", 422, {"errors": ["90018"]}),
        ("plivo", 401, b"Could not verify your access level"),
        ("vonage", 401, {}),
        ("jambonz", 422, {"msg": "something else"}),
        ("jambonz", 422, [1, 2]),
        ("jambonz", 403, b"\xff\xfe"),
        ("plivo", 400, b"[" * 100_000),
    ],
)
@in_virtual_time(until=60)
async def test_other_refusals_to_hang_up_are_errors_and_not_tried_again(
    make_control: MakeControl, carrier: str, status: int, body: Any
) -> None:
    async with ScriptedRest(RestReply(status, body)) as server:
        control = make_control(carrier, server.base_url)
        with pytest.raises(CallControlError, match="did not hang up the call") as caught:
            await control.hang_up("c-1")
        await control.aclose()
        assert caught.value.status == status
        assert not caught.value.retryable
        assert len(server.requests) == 1


@in_virtual_time(until=60)
async def test_a_jambonz_call_that_rings_is_ended_otherwise(make_control: MakeControl) -> None:
    rings = RestReply(422, {"msg": "current call state is incompatible with requested action"})
    async with ScriptedRest(rings, RestReply(202)) as server:
        control = make_control("jambonz", server.base_url)
        await control.hang_up("c-1")
        await control.aclose()
        assert [request.body for request in server.requests] == [
            b'{"call_status":"completed"}',
            b'{"call_status":"no-answer"}',
        ]


@in_virtual_time(until=60)
async def test_a_jambonz_call_that_cannot_be_ended_at_all_is_an_error(
    make_control: MakeControl,
) -> None:
    rings = RestReply(422, {"msg": "current call state is incompatible with requested action"})
    async with ScriptedRest(rings) as server:
        control = make_control("jambonz", server.base_url)
        with pytest.raises(CallControlError, match="422"):
            await control.hang_up("c-1")
        await control.aclose()
        assert len(server.requests) == 2


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    "fault",
    [
        RestReply(500),
        RestReply(503, b"busy"),
        RestReply(429),
        RestReply(cut=0),
        RestReply(200, {"a": 1}, cut=20),
        RestReply(200, {"a": "b" * 100}, cut=100),
    ],
    ids=["500", "503", "429", "dropped", "cut in its head", "cut in its body"],
)
@in_virtual_time(until=60)
async def test_hanging_up_is_tried_once_more(
    make_control: MakeControl, carrier: str, fault: RestReply
) -> None:
    async with ScriptedRest(fault, RestReply(204)) as server:
        control = make_control(carrier, server.base_url)
        await control.hang_up("c-1")
        await control.aclose()
        first, second = server.requests
        assert (first.method, first.path, first.body) == (second.method, second.path, second.body)
        assert server.times[1] - server.times[0] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("status", [429, 500, 502])
@in_virtual_time(until=60)
async def test_the_second_failure_counts(make_control: MakeControl, status: int) -> None:
    async with ScriptedRest(RestReply(cut=0), RestReply(status, {"code": 20500})) as server:
        control = make_control("twilio", server.base_url)
        with pytest.raises(
            CallControlError, match=rf"HTTP {status}, .* \(error 20500\)$"
        ) as caught:
            await control.hang_up("c-1")
        await control.aclose()
        assert caught.value.status == status
        assert caught.value.retryable
        assert len(server.requests) == 2


@in_virtual_time(until=60)
async def test_hanging_up_takes_five_seconds_at_most(make_control: MakeControl) -> None:
    loop = asyncio.get_running_loop()
    async with ScriptedRest(RestReply(delay=100)) as server:
        control = make_control("telnyx", server.base_url)
        began = loop.time()
        with pytest.raises(CallControlError, match="no answer in time") as caught:
            await control.hang_up("c-1")
        assert loop.time() - began == pytest.approx(5.0, abs=0.01)
        assert caught.value.status is None
        assert caught.value.retryable
        assert len(server.requests) == 2
        await server.all_closed()  # a request that was given up leaves no connection
        await control.aclose()


@in_virtual_time(until=60)
async def test_other_requests_take_ten_seconds_at_most_and_are_not_repeated(
    make_control: MakeControl,
) -> None:
    loop = asyncio.get_running_loop()
    async with ScriptedRest(RestReply(delay=100)) as server:
        control = make_control("twilio", server.base_url)
        began = loop.time()
        with pytest.raises(CallControlError, match="did not transfer the call: no answer in time"):
            await control.transfer("c-1", NUMBER)
        assert loop.time() - began == pytest.approx(10.0, abs=0.01)
        assert len(server.requests) == 1
        await server.all_closed()
        await control.aclose()


@pytest.mark.parametrize("fault", [RestReply(cut=0), RestReply(503), RestReply(429)])
@in_virtual_time(until=60)
async def test_a_call_is_placed_once_only(make_control: MakeControl, fault: RestReply) -> None:
    async with ScriptedRest(fault) as server:
        control = make_control("vonage", server.base_url)
        with pytest.raises(CallControlError, match="did not place the call") as caught:
            await control.dial(NUMBER, caller=NUMBER, answer_url=WEBHOOK)
        await control.aclose()
        assert caught.value.retryable
        assert len(server.requests) == 1


@pytest.mark.parametrize("body", [None, {}, {"sid": ""}, {"sid": 7}, b"created", ["sid"]])
@in_virtual_time(until=60)
async def test_a_call_without_an_id_is_an_error_that_does_not_say_to_call_again(
    make_control: MakeControl, body: Any
) -> None:
    async with ScriptedRest(RestReply(201, body)) as server:
        control = make_control("twilio", server.base_url)
        with pytest.raises(CallControlError, match="named no id") as caught:
            await control.dial(NUMBER, caller=NUMBER, answer_url=WEBHOOK)
        await control.aclose()
        assert not caught.value.retryable


@pytest.mark.parametrize("carrier", CARRIERS)
@in_virtual_time(until=60)
async def test_a_server_that_is_not_there(make_control: MakeControl, carrier: str) -> None:
    async with ScriptedRest() as server:
        url = server.base_url
    control = make_control(carrier, url)
    with pytest.raises(CallControlError, match="it cannot be reached") as caught:
        await control.hang_up("c-1")
    assert caught.value.retryable
    await control.aclose()


@in_virtual_time(until=60)
async def test_nothing_is_sent_to_a_server_whose_certificate_is_not_trusted(
    make_control: MakeControl,
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with ScriptedRest(tls=tls) as server:
        control = make_control("twilio", server.base_url)
        with pytest.raises(CallControlError, match="it cannot be reached"):
            await control.hang_up("c-1")
        await control.aclose()
        assert server.requests == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@in_virtual_time(until=60)
async def test_no_redirect_is_followed(make_control: MakeControl, status: int) -> None:
    async with ScriptedRest() as other:
        reply = RestReply(status, headers={"location": f"{other.base_url}/elsewhere"})
        async with ScriptedRest(reply) as server:
            control = make_control("plivo", server.base_url)
            with pytest.raises(CallControlError, match="redirected elsewhere") as caught:
                await control.hang_up("c-1")
            await control.aclose()
            assert caught.value.status == status
            assert len(server.requests) == 1
        assert other.connections == 0


@pytest.mark.parametrize("carrier", CARRIERS)
@in_virtual_time(until=60)
async def test_cancelling_a_request_leaves_no_connection(
    make_control: MakeControl, carrier: str
) -> None:
    async with ScriptedRest(RestReply(delay=100), RestReply(200)) as server:
        control = make_control(carrier, server.base_url)
        task = asyncio.create_task(control.hang_up("c-1"))
        await server.asked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.all_closed()
        await control.hang_up("c-1")  # and what comes after it works
        assert server.connections == 2
        await control.aclose()
        await server.all_closed()


@in_virtual_time(until=60)
async def test_many_calls_share_the_connections_and_closing_frees_them(
    make_control: MakeControl,
) -> None:
    async with ScriptedRest() as server:
        control = make_control("telnyx", server.base_url)
        for call in range(20):
            await control.hang_up(f"c-{call}")
        assert server.connections == 1
        await asyncio.gather(*(control.hang_up(f"d-{call}") for call in range(20)))
        assert len(server.requests) == 40
        assert server.open <= 4
        await control.aclose()
        await control.aclose()
        await server.all_closed()
        with pytest.raises(InvalidCallRequest, match="was closed"):
            await control.hang_up("c-1")


@in_virtual_time(until=60)
async def test_a_connection_that_the_server_closed_meanwhile_is_not_used(
    make_control: MakeControl,
) -> None:
    async with ScriptedRest(RestReply(200, {"sid": "CA1"})) as server:
        control = make_control("twilio", server.base_url)
        await control.hang_up("c-1")
        server.drop()
        await server.all_closed()
        await asyncio.sleep(1)
        await control.dial(NUMBER, caller=NUMBER, answer_url=WEBHOOK)
        assert server.connections == 2
        await control.aclose()


@in_virtual_time(until=60)
async def test_a_server_on_this_machine_is_not_asked_through_a_proxy(
    make_control: MakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedRest() as proxy, ScriptedRest() as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.base_url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        control = make_control("twilio", server.base_url)
        await control.hang_up("c-1")
        await control.aclose()
        assert len(server.requests) == 1
        assert proxy.connections == 0


@in_virtual_time(until=60)
async def test_another_server_is_asked_through_the_proxy(
    make_control: MakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedRest() as proxy:
        monkeypatch.setenv("http_proxy", proxy.base_url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        control = make_control("jambonz", "http://10.255.255.1:3000")
        await control.hang_up("c-1")
        await control.aclose()
        assert proxy.requests[0].path == "http://10.255.255.1:3000/v1/Accounts/acc-1/Calls/c-1"
