"""Who may talk with the agent in a browser: the page, its parts, its token, its socket."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from agentkit.audio.formats import AudioFormat
from agentkit.config import Settings
from agentkit.server.access import Access, Refused
from agentkit.server.desk import Rules
from agentkit.server.web import Lobby, Mode
from agentkit.testing.clock import in_virtual_time
from tests.server.pages import ask_token, opened, talking, token
from tests.server.reception import PUBLIC, request, serving

ASKING = {"Authorization": "Basic YW55Ym9keTpvcGVuIHNlc2FtZQ=="}  # anybody:open sesame
PASSWORD = {"AGENTKIT_WEB_PASSWORD": "open sesame"}
LOCAL = {"host": "127.0.0.1:8080"}
ELSEWHERE = {"host": "192.168.1.5:8080"}
PUBLICLY = {"host": "bot.example.com", "x-forwarded-for": "203.0.113.9"}


def lobby(mode: Mode = "local", password: str = "", public_url: str = "") -> Lobby:
    def no_desk() -> Any:
        raise AssertionError("nothing is answered here")

    access = Access(Settings(public_url=public_url or None))
    return Lobby(no_desk, access, mode=mode, password=password, public_url=public_url)


def answers(lobby: Lobby, headers: dict[str, str], client: str = "127.0.0.1") -> bool:
    try:
        lobby.check(headers, client)
    except Refused:
        return False
    return True


@pytest.mark.parametrize(
    ("given", "local", "elsewhere", "tunnelled", "publicly"),
    [
        (lobby(), True, False, False, False),
        (lobby(public_url=PUBLIC), False, False, False, False),
        (lobby("open"), True, True, True, True),
        (lobby("open", public_url=PUBLIC), False, False, False, True),
        (lobby(password="x"), True, True, True, True),
        (lobby(password="x", public_url=PUBLIC), False, False, False, True),
    ],
)
def test_who_is_answered(
    given: Lobby, local: bool, elsewhere: bool, tunnelled: bool, publicly: bool
) -> None:
    """A tunnel makes every caller look local: where one may be, names alone decide."""
    assert answers(given, LOCAL) is local
    assert answers(given, ELSEWHERE, "192.168.1.9") is elsewhere
    assert answers(given, {**LOCAL, "cf-ray": "1"}) is tunnelled
    assert answers(given, PUBLICLY) is publicly


@pytest.mark.parametrize(
    ("host", "origin", "public", "own"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", "", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8081", "", False),
        ("127.0.0.1:8080", "http://localhost:8080", "", False),
        ("bot.example.com", "https://bot.example.com", "", True),
        ("bot.example.com:443", "https://bot.example.com", "", True),
        ("10.0.0.7:8080", "https://bot.example.com", PUBLIC, True),
        ("10.0.0.7:8080", "http://bot.example.com", PUBLIC, False),
        ("bot.example.com", "https://bot.example.com.evil.test", PUBLIC, False),
        ("127.0.0.1:8080", "null", "", False),
        ("127.0.0.1:8080", "", "", False),
        ("[::1]:8080", "http://[::1]:8080", "", True),
        ("[1.2]", "http://[1.3]", "", False),
        ("[::1", "http://[::1", "", False),
        ("", "http://", "", False),
    ],
)
def test_only_a_page_of_this_server_may_ask(host: str, origin: str, public: str, own: bool) -> None:
    headers = {"host": host, **({"origin": origin} if origin else {})}
    if own:
        lobby("open", public_url=public).check_origin(headers)
    else:
        with pytest.raises(Refused, match="another site"):
            lobby("open", public_url=public).check_origin(headers)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lobby(), "on this machine only: http://127.0.0.1:8080/"),
        (lobby("off"), "no page"),
        (lobby("open"), "for everybody (--web open, no password): http://127.0.0.1:8080/"),
        (lobby(public_url=PUBLIC), "refused until AGENTKIT_WEB_PASSWORD is set, or --web open"),
        (lobby(password="x", public_url=PUBLIC), f"whoever has the password: {PUBLIC}/"),
    ],
)
def test_the_server_says_whom_it_answers(given: Lobby, words: str) -> None:
    assert words in given.describe("http://127.0.0.1:8080")


@in_virtual_time(until=30)
async def test_the_page_needs_nothing_from_elsewhere_and_nobody_may_hold_it() -> None:
    async with serving(voice=AudioFormat("linear16", 24000)) as server:
        reply = await server.get("/")
        assert reply.status == 200
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        policy = {
            part.split()[0]: part.split()[1:]
            for part in reply.headers["content-security-policy"].split(";")
        }
        assert policy["default-src"] == policy["frame-ancestors"] == ["'none'"]
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["permissions-policy"].startswith("microphone=(self)")
        page = reply.body.decode()
        assert 'data-rate="24000"' in page
        assert "<h1>Receptionist</h1>" in page
        for unwanted in ("{{", "http:", "https:", "//", "<style", "onclick", "style="):
            assert unwanted not in page.replace("<!doctype html>", ""), unwanted


@in_virtual_time(until=30)
async def test_its_parts_are_there_and_are_not_sent_twice() -> None:
    names = [part.name for part in files("agentkit.server").joinpath("page").iterdir()]
    assert {"index.html", "page.js", "playback.js", "capture.js", "style.css"} <= set(names)
    async with serving() as server:
        for name in names:
            reply = await server.get(f"/web/{name}")
            assert reply.status == (404 if name == "index.html" else 200), name
        script = await server.get("/web/page.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        again = await server.get("/web/page.js", If_None_Match=script.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        for path in ("/web/", "/web/none.js", "/web/..%2fapp.py", "/web/__init__.py"):
            assert (await server.get(path)).status == 404, path


@in_virtual_time(until=30)
async def test_from_elsewhere_it_is_refused_and_says_what_to_do() -> None:
    async with serving() as server:
        for path in ("/", "/web/page.js"):
            reply = await server.get(path, Host="bot.example.com")
            assert reply.status == 403
            assert b"AGENTKIT_WEB_PASSWORD" in reply.body
        reply = await ask_token(server, X_Forwarded_For="203.0.113.9")
        assert reply.status == 403
        with pytest.raises(InvalidStatus, match="403"):
            async with opened(server, **{"X-Forwarded-For": "203.0.113.9"}):
                pass


@in_virtual_time(until=30)
async def test_turned_off_there_is_nothing() -> None:
    async with serving(web="off") as server:
        assert (await server.get("/")).status == 404
        assert (await server.get("/web/page.js")).status == 404
        assert (await ask_token(server)).status == 404
        with pytest.raises(InvalidStatus, match="403"):
            async with opened(server):
                pass


@in_virtual_time(until=30)
async def test_with_a_password_it_is_asked_for() -> None:
    async with serving(given=PASSWORD) as server:
        for path, method in (("/", "GET"), ("/web/page.js", "GET"), ("/web/token", "POST")):
            origin = {"Origin": server.url}
            reply = await request(server.port, method, path, headers=origin)
            assert reply.status == 401
            assert reply.headers["www-authenticate"] == 'Basic realm="agentkit", charset="UTF-8"'
            wrong = {**origin, "Authorization": "Basic YTpi"}
            assert (await request(server.port, method, path, headers=wrong)).status == 401
            right = {**origin, **ASKING}
            assert (await request(server.port, method, path, headers=right)).status == 200


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://127.0.0.1:1"])
@in_virtual_time(until=30)
async def test_another_sites_page_gets_neither_token_nor_socket(origin: str) -> None:
    async with serving(web="open") as server:
        assert (await ask_token(server, Origin=origin)).status == 403
        with pytest.raises(InvalidStatus, match="403"):
            async with opened(server, Origin=origin):
                pass
        assert (await server.get("/healthz")).status == 200
        assert server.agents == []


@in_virtual_time(until=60)
async def test_a_token_is_good_once() -> None:
    async with serving() as server:
        given = await token(server)
        async with opened(server) as page:
            await page.say(type="start", version=1, token=given)
            await page.until("began")
            async with opened(server) as second:
                await second.say(type="start", version=1, token=given)
                assert await second.until("refused") == {"type": "refused", "why": "token"}
                assert await second.until_closed() == 1008
            assert page.closed is None
        await server.all_over()
        assert len(server.agents) == 1


@pytest.mark.parametrize("given", ["", "x", "A" * 120, None, 7])
@in_virtual_time(until=60)
async def test_without_its_token_nothing_is_opened(given: object) -> None:
    async with serving() as server, opened(server) as page:
        await page.say(type="start", version=1, token=given)
        assert await page.until_closed() == 1008
        assert page.told == [{"type": "refused", "why": "token"}]
        assert server.agents == server.sources == []


@in_virtual_time(until=60)
async def test_a_carriers_token_opens_no_page_and_a_pages_no_carrier() -> None:
    async with serving() as server, opened(server) as page:
        reply = await server.get("/twilio/voice?CallSid=CA1", "POST")
        stream = reply.body.decode().partition('name="token" value="')[2].partition('"')[0]
        assert stream
        await page.say(type="start", version=1, token=stream)
        assert await page.until_closed() == 1008
        assert server.agents == []


@in_virtual_time(until=60)
async def test_a_socket_that_says_nothing_is_closed() -> None:
    async with serving(rules=Rules(start_within=2.0)) as server, opened(server) as page:
        assert await page.until_closed() == 1008
        assert page.told == [{"type": "refused", "why": "start"}]


@in_virtual_time(until=60)
async def test_messages_have_a_size() -> None:
    async with serving() as server, talking(server) as page:
        await page.until("began")
        await page.speak(bytes(64 * 1024 + 2))
        assert await page.until_closed() == 1009
        await server.all_over()


@in_virtual_time(until=60)
async def test_calls_in_the_browser_and_on_the_phone_are_counted_together() -> None:
    async with serving(rules=Rules(most_calls=1)) as server:
        early = await token(server)
        async with talking(server) as page:
            await page.until("began")
            reply = await ask_token(server)
            assert (reply.status, json.loads(reply.body)) == (503, {"why": "full"})
            phone = await server.get("/twilio/voice?CallSid=CA1", "POST")
            assert b"busy" in phone.body
            async with opened(server) as second:
                await second.say(type="start", version=1, token=early)
                assert await second.until("refused") == {"type": "refused", "why": "full"}
                await second.until_closed()
        await server.all_over()
        figures = await server.figures()
        assert figures['agentkit_refused_total{carrier="web",reason="full"}'] == 2


@in_virtual_time(until=60)
async def test_while_it_drains_no_new_page_is_let_in() -> None:
    async with serving() as server:
        early = await token(server)
        server.desk.state.drain()
        reply = await ask_token(server)
        assert (reply.status, json.loads(reply.body)) == (503, {"why": "draining"})
        async with opened(server) as page:  # it was let in before
            await page.say(type="start", version=1, token=early)
            await page.until("began")
