"""Status callbacks, health, figures, and requests of every kind."""

from __future__ import annotations

import asyncio
import json
import socket
from urllib.parse import urlencode

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples

from agentkit.core.policy import Limits
from agentkit.server.run import listen
from agentkit.testing.carriers import Network
from agentkit.testing.clock import in_virtual_time, run_virtual
from tests.server.reception import (
    JAMBONZ,
    PLIVO,
    PUBLIC,
    SIGNALWIRE,
    TELNYX,
    TWILIO,
    VONAGE,
    Line,
    Receptionist,
    calling,
    request,
    secrets_of,
    serving,
    signing,
    until,
)

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


def over(line: Line, call: str) -> tuple[bytes, dict[str, str]]:
    """What a carrier tells when a call is over."""
    if line is VONAGE:
        return json.dumps({"uuid": call, "status": "completed"}).encode(), JSON
    if line is JAMBONZ:
        return json.dumps({"call_sid": call, "call_status": "completed"}).encode(), JSON
    name = "CallUUID" if line is PLIVO else "CallSid"
    return urlencode({name: call, "CallStatus": "completed"}).encode(), FORM


@pytest.mark.parametrize(
    "line", [TWILIO, SIGNALWIRE, TELNYX, PLIVO, VONAGE, JAMBONZ], ids=lambda line: line.name
)
@in_virtual_time(until=60)
async def test_a_status_callback_ends_a_call_whose_socket_hangs(line: Line) -> None:
    async with serving(voice=line.voice) as server, calling(line, server) as caller:
        await caller.until_quiet(0.1)
        body, headers = over(line, "another call")
        path = f"/{line.name}/status"
        reply = await request(server.port, "POST", path, body=body, headers=headers)
        assert reply.status == 204
        await asyncio.sleep(0.3)
        assert caller.ended is None
        body, headers = over(line, caller.call)
        for _ in range(2):  # they may repeat
            reply = await request(server.port, "POST", path, body=body, headers=headers)
            assert reply.status == 204
        await caller.until_ended()
        await server.all_over()
        assert server.agents[0].reasons == ["caller hung up"]
        figures = await server.figures()
        name = f'agentkit_call_statuses_total{{carrier="{line.name}",status="completed"}}'
        assert figures[name] == 3


@in_virtual_time(until=60)
async def test_a_status_that_is_none_is_counted_as_another() -> None:
    async with serving() as server:
        body = urlencode({"CallSid": "CA1", "CallStatus": "secret-" * 9}).encode()
        reply = await request(server.port, "POST", "/twilio/status", body=body, headers=FORM)
        assert reply.status == 204
        figures = await server.figures()
        assert figures['agentkit_call_statuses_total{carrier="twilio",status="other"}'] == 1


@in_virtual_time(until=60)
async def test_health_says_whether_calls_are_taken() -> None:
    async with serving() as server:
        reply = await server.get("/healthz")
        assert (reply.status, json.loads(reply.body)) == (200, {"status": "ok", "calls": 0})
        async with calling(TWILIO, server) as caller:
            await caller.until_quiet(0.1)
            assert json.loads((await server.get("/healthz")).body)["calls"] == 1
        server.desk.state.drain()
        reply = await server.get("/healthz")
        assert reply.status == 503
        assert json.loads(reply.body)["status"] == "draining"


class Patient(Receptionist):
    limits = Limits(settle=0.1)


@in_virtual_time(until=60)
async def test_the_figures_move_as_calls_go() -> None:
    """Turns, drafts by their fate, the stages of latency, what was refused, lost and dropped."""
    network = Network(marks=lambda name: ())
    async with serving(Patient, replies={"*": "Good."}) as server:
        before = await server.figures()
        assert before["agentkit_marks_lost_total"] == 0
        async with calling(TWILIO, server, network=network) as caller:
            ears = await server.ears()
            await caller.until_quiet(0.3)
            during = await server.figures()
            assert during['agentkit_calls_active{carrier="twilio"}'] == 1
            ears.start("what")
            ears.maybe_end("what time")
            await until(lambda: len(server.llm.requests) == 1)
            ears.resume("what time is")
            ears.maybe_end("what time is it")
            await until(lambda: len(server.llm.requests) == 2)
            ears.end("what time is it")
            await until(lambda: "agent: Good." in server.agents[0].said)
            await caller.hang_up()
        await server.all_over()
        await request(server.port, "POST", "/twilio/voice", headers={"Forwarded": "for=x"})
        after = await server.figures()
    assert after['agentkit_calls_active{carrier="twilio"}'] == 0
    assert after['agentkit_calls_total{carrier="twilio",reason="caller hung up"}'] == 1
    assert after['agentkit_turns_total{outcome="heard"}'] == 1
    assert after['agentkit_drafts_total{fate="committed"}'] == 1
    assert sum(v for k, v in after.items() if k.startswith("agentkit_drafts_total")) == 2
    for stage in ("first_text", "first_audio_made", "first_audio_sent", "first_heard"):
        assert after[f'agentkit_latency_seconds_count{{stage="{stage}"}}'] == 1
    assert after["agentkit_saved_seconds_count"] == 1
    assert after['agentkit_refused_total{carrier="twilio",reason="refused"}'] == 1
    assert after["agentkit_marks_lost_total"] >= 1
    assert "agentkit_audio_dropped_seconds_total" in after


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("127.0.0.1:1", {}, 200),
        ("metrics.internal:9090", {}, 200),
        ("bot.example.com", {}, 404),
        ("bot.example.com:443", {}, 404),
        ("BOT.Example.COM", {}, 404),
        ("bot.example.com.", {}, 404),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, 404),
        ("127.0.0.1", {"CF-Ray": "1"}, 404),
    ],
)
@in_virtual_time(until=60)
async def test_the_figures_are_not_for_callers(
    host: str, headers: dict[str, str], status: int
) -> None:
    async with serving(given={"AGENTKIT_PUBLIC_URL": PUBLIC}) as server:
        reply = await request(server.port, "GET", "/metrics", host=host, headers=headers)
        assert reply.status == status


# -------------------------------------------------------------------------- exotic requests

PATHS = st.sampled_from(
    [f"/{name}/{route}" for name in ("twilio", "signalwire", "telnyx", "plivo", "vonage",
     "jambonz", "asterisk", "audiosocket", "nobody", "%00", "%2e%2e", "\xe9")
     for route in ("voice", "status", "transfer", "media", "media/x", "media/%ff", "nothing")]
    + ["/", "*", "//", "/healthz", "/metrics", "/healthz/", "/%", "/twilio//voice"]
)  # fmt: skip
QUERIES = st.sampled_from(
    ["", "?", "?&&=", "?a=%ff%fe", "?to=%2B1555", "?to=", "?bodySHA256=x", "?" + "a=b&" * 500,
     "?uuid=" + "u" * 900, "?CallSid=%00%01", "?CallSid=" + "c" * 3000, "?from=%F0%9F%98%80"]
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Content-Type", "Content-Encoding", "Authorization", "Accept-Encoding", "Expect",
         "X-Twilio-Signature", "Upgrade", "Connection", "Transfer-Encoding", "Cookie", "Range",
         "telnyx-timestamp", "telnyx-signature-ed25519", "X-Plivo-Signature-V3", "Origin",
         "X-Plivo-Signature-V3-Nonce", "Jambonz-Signature", "Sec-WebSocket-Key",
         "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Forwarded", "Content-Length"]
    ),
    st.sampled_from(
        ["", "application/json", "application/x-www-form-urlencoded", "websocket", "Upgrade",
         "multipart/form-data; boundary=x", "text/plain; charset=utf-7", "gzip", "chunked",
         "Bearer a.b.c", "Basic %", "t=1,v1=2", "9" * 30, "-1", "\xff\xfe", "0", "13", "\x7f"]
    ),
    max_size=4,
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"", b"{", b"null", b"[]", b'{"uuid":[]}', b'{"from":1e999}', b'"\\ud800"', b"\xff" * 9,
         b'{"uuid":"\\ud800","from":"\\u0000"}', b"a=%ff&b=\xff", b"[" * 50_000, b"x" * 70_000,
         b'{"call_sid":"' + b"c" * 2000 + b'"}', b"CallSid=%00%0A<&>&From=%FF", b"&" * 60_000,
         b'{"uuid":' + b"9" * 5000 + b"}"]
    ),
)  # fmt: skip
METHODS = st.sampled_from(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "X"]
)

Asked = tuple[str, str, str, dict[str, str], bytes]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("secrets", [False, True])
@given(st.lists(st.tuples(METHODS, PATHS, QUERIES, HEADERS, BODIES), min_size=20, max_size=20))
@examples(
    max_examples=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_no_request_makes_the_server_fail(secrets: bool, asked: list[Asked]) -> None:
    async def ask() -> None:
        known = {**secrets_of(TWILIO), **secrets_of(VONAGE)} if secrets else {}
        async with serving(given=known) as server:
            for method, path, query, headers, body in asked:
                async with asyncio.timeout(30):
                    reply = await request(
                        server.port, method, path + query, headers=headers, body=body
                    )
                assert reply.status < 500 or reply.status == 501, (method, path + query, headers)
            assert (await server.get("/healthz")).status == 200
            async with (
                calling(PLIVO, server)
                if not secrets
                else calling(TWILIO, server, **signing(TWILIO)) as caller
            ):
                await caller.until_quiet(0.1)

    run_virtual(ask(), until=600)


@in_virtual_time(until=60)
async def test_a_body_that_is_too_long_is_refused_before_it_was_all_read() -> None:
    async with serving() as server:
        reply = await request(server.port, "POST", "/twilio/voice", body=b"x" * 2_000_000)
        assert reply.status == 403
        reply = await request(server.port, "HEAD", "/twilio/voice")
        assert (reply.status, reply.body) == (200, b"")
        assert (await request(server.port, "PUT", "/twilio/voice")).status == 405


@in_virtual_time(until=60)
async def test_a_body_that_does_not_come_holds_nothing_up() -> None:
    async with serving() as server:
        began = asyncio.get_running_loop().time()
        headers = {"Content-Length": "500"}
        reply = await request(server.port, "POST", "/twilio/voice", body=b"x", headers=headers)
        assert reply.status == 403
        assert asyncio.get_running_loop().time() - began == pytest.approx(10.0, abs=0.2)


@in_virtual_time(until=60)
async def test_a_request_that_breaks_off_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /twilio/voice HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 500\r\n\r\n"
        writer.write(head.encode() + b"x")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.1)
        assert (await server.get("/healthz")).status == 200
    assert "Exception" not in caplog.text


def test_nothing_that_is_sent_waits_for_an_acknowledgement() -> None:
    with listen("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
