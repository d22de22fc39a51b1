"""Who is answered: the loopback rule, row by row, and the carriers' signatures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.config import Settings
from agentkit.server.access import Access, Refused, host_of
from agentkit.server.carriers import CARRIERS
from agentkit.server.signatures import SignedRequest
from agentkit.testing.carriers import FakeAsterisk, Refusal
from agentkit.testing.clock import in_virtual_time
from tests.server.reception import (
    ASTERISK,
    PUBLIC,
    SECRET,
    TWILIO,
    WITH_WEBHOOK,
    Line,
    calling,
    request,
    secrets_of,
    serving,
    signing,
)

each_webhook = pytest.mark.parametrize("line", WITH_WEBHOOK, ids=lambda line: line.name)

LOCAL = {"host": "127.0.0.1:8080"}


def answers(
    headers: dict[str, str], client: str = "127.0.0.1", public_url: str | None = None
) -> bool:
    """Whether a carrier without a secret is answered, both on its webhook and on its socket."""
    access = Access(Settings(public_url=public_url))
    carrier = CARRIERS["twilio"]

    def passes(check: Callable[[], None]) -> bool:
        try:
            check()
        except Refused as error:
            return carrier.secret not in str(error)  # it says what is missing
        return True

    webhook = passes(
        lambda: access.check_webhook(carrier, SignedRequest("POST", "/", headers), client)
    )
    upgrade = passes(lambda: access.check_upgrade(carrier, "/", headers, client))
    assert webhook == upgrade == access.is_local(headers, client)
    return webhook


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("127.0.0.1:8080", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.8.9.1", "127.0.0.2"),
        ("localhost:8080", "127.0.0.1"),
        ("LocalHost", "127.0.0.1"),
        ("localhost.", "127.0.0.1"),
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("localhost:8080", "::1"),
    ],
)
def test_a_request_of_this_machine_for_this_machine_is_answered(host: str, client: str) -> None:
    assert answers({"host": host}, client)


def test_with_a_public_url_nothing_is_local() -> None:
    assert not answers(LOCAL, public_url=PUBLIC)
    assert not answers(LOCAL, public_url="http://127.0.0.1:8080")


@pytest.mark.parametrize(
    "client", ["", "10.0.0.7", "192.168.1.2", "203.0.113.9", "fe80::1", "2001:db8::1", "unix"]
)
def test_other_machines_are_refused(client: str) -> None:
    assert not answers(LOCAL, client)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "bot.example.com",
        "0.0.0.0:8080",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "127.0.0.1@example.com",
        "example.com:127.0.0.1",
        "[::1]example.com",
        "[::1",
        "127.1",
        "2130706433",
        "127.0.0.1 example.com",
        "127.0.0.1/x",
        "[::ffff:203.0.113.9]",
        "192.168.1.2",
    ],
)
def test_requests_for_another_host_are_refused(host: str) -> None:
    """A name of somebody else's that leads here is how web pages reach local servers."""
    assert not answers({"host": host})


def test_a_request_without_a_host_is_refused() -> None:
    assert not answers({})


@pytest.mark.parametrize(
    "header",
    [
        "cdn-loop",
        "cf-connecting-ip",
        "cf-ray",
        "fly-client-ip",
        "forwarded",
        "ngrok-trace-id",
        "true-client-ip",
        "via",
        "x-amzn-trace-id",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-forwarded-server",
        "x-original-forwarded-for",
        "x-original-host",
        "x-real-ip",
    ],
)
def test_what_came_through_a_proxy_or_a_tunnel_is_refused(header: str) -> None:
    assert not answers({**LOCAL, header: "127.0.0.1"})
    assert not answers({**LOCAL, header: ""})


@pytest.mark.parametrize(
    ("header", "host"),
    [("A.Example.com:80", "a.example.com"), ("[2001:DB8::1]:1", "2001:db8::1"), ("a b", "")],
)
def test_the_host_of_a_header(header: str, host: str) -> None:
    assert host_of(header) == host


def test_a_secret_without_a_public_url_refuses_and_says_what_is_missing() -> None:
    access = Access(Settings(twilio_auth_token=SECRET))
    with pytest.raises(Refused, match="AGENTKIT_PUBLIC_URL") as caught:
        access.check_webhook(CARRIERS["twilio"], SignedRequest("POST", "/", LOCAL), "127.0.0.1")
    assert SECRET not in str(caught.value)


# -------------------------------------------------------------------------------- signatures


@each_webhook
@pytest.mark.parametrize("signature", ["wrong", "none"])
@in_virtual_time(until=30)
async def test_a_webhook_that_is_not_signed_is_refused(line: Line, signature: str) -> None:
    options: dict[str, Any] = {**signing(line), "webhook_signature": signature}
    async with (
        serving(given=secrets_of(line), voice=line.voice) as server,
        calling(line, server, **options) as caller,
    ):
        assert caller.answer == Refusal("http", status=403)
        assert server.agents == []
        reply = await request(server.port, "POST", f"/{line.name}/voice")
        assert reply.status == 403
        text = reply.body.decode()
        assert line.secret in text
        assert SECRET not in text


@each_webhook
@pytest.mark.parametrize("route", ["status", "transfer?to=%2B15550001111"])
@in_virtual_time(until=30)
async def test_the_other_webhooks_are_checked_too(line: Line, route: str) -> None:
    async with serving(given=secrets_of(line)) as server:
        reply = await request(server.port, "POST", f"/{line.name}/{route}")
    assert reply.status in (403, 404)
    assert (reply.status == 403) == (not route.startswith("transfer"))


@pytest.mark.parametrize("signature", ["wrong", "none", "https"])
@in_virtual_time(until=30)
async def test_an_upgrade_that_is_not_signed_for_its_url_is_refused(signature: str) -> None:
    """Twilio signs the wss:// URL; a signature for https:// is one of a webhook."""
    options: dict[str, Any] = {**signing(TWILIO), "upgrade_signature": signature}
    async with serving(given=secrets_of(TWILIO)) as server:
        async with calling(TWILIO, server, **options) as caller:
            assert caller.ended is not None
            assert (caller.ended.how, caller.ended.code) == ("handshake refused", 403)
    assert server.agents == []


@pytest.mark.parametrize(
    "header",
    [None, "Basic", "Basic !", "Basic YTpi", "Bearer YTpi", "Basic " + "A" * 5000, "Basic \xff"],
)
@in_virtual_time(until=30)
async def test_a_pbx_without_the_password_is_refused(header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    async with serving(given=secrets_of(ASTERISK)) as server:
        async with FakeAsterisk(server.media("asterisk"), headers=headers) as caller:
            assert caller.ended is not None
            assert (caller.ended.how, caller.ended.code) == ("handshake refused", 403)


@pytest.mark.parametrize("secrets", [True, False])
@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "https://evil.example.com", "null"])
@in_virtual_time(until=30)
async def test_a_web_page_may_not_open_a_socket(origin: str, secrets: bool) -> None:
    given = secrets_of(TWILIO) if secrets else {}
    options = signing(TWILIO) if secrets else {}
    async with serving(given=given) as server:
        async with calling(TWILIO, server, headers={"Origin": origin}, **options) as caller:
            assert caller.ended is not None
            assert caller.ended.how == "handshake refused"


@pytest.mark.parametrize(
    "headers", [{"Host": "bot.example.com"}, {"X-Forwarded-For": "203.0.113.9"}]
)
@in_virtual_time(until=30)
async def test_through_a_tunnel_neither_webhook_nor_socket_is_open(headers: dict[str, str]) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
    }
    async with serving() as server:
        for line in WITH_WEBHOOK:
            reply = await request(server.port, "POST", f"/{line.name}/voice", headers=headers)
            assert reply.status == 403
        for name in CARRIERS:
            path = f"/{name}/media"
            reply = await request(server.port, "GET", path, headers={**upgrade, **headers})
            assert reply.status == 403
        reply = await request(server.port, "POST", "/audiosocket/voice", headers=headers)
        assert reply.status == 403
        reply = await request(server.port, "POST", "/audiosocket/voice")
        assert (reply.status, len(reply.body)) == (200, 36)
