"""The connections below the OpenAI backends: spares, closing, failing, TLS."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Self

import httpx2
import pytest
import trustme

from agentkit import _connections, _http, _openai, _sockets
from agentkit.errors import LLMError
from agentkit.testing.openai import ChatReply, Delays, Fault, ScriptedOpenAI, SpeechReply

ASK = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI() as server:
        yield server


class Client(_connections.Connections):
    """Asks a scripted server."""

    def __init__(self, server: ScriptedOpenAI, spares: int = 1) -> None:
        super().__init__(server.host, server.port, tls=None, spares=spares)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def post(self, path: str, body: object, timeout: float = 5) -> _http.Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"POST /v1{path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(content)}\r\n\r\n"
        return await self.send(head.encode() + content, timeout)


@pytest.fixture
async def client(server: ScriptedOpenAI) -> AsyncIterator[Client]:
    async with Client(server) as client:
        yield client


async def warm(client: Client, server: ScriptedOpenAI, spares: int = 1) -> None:
    """Make spares ready, and let the server see them."""
    await client.warm()
    await server.until(lambda: server.open_connections >= spares)


async def drop(server: ScriptedOpenAI) -> None:
    server.drop_connections()
    await server.until(lambda: server.open_connections == 0)


async def get(client: Client, body: bytes = b"") -> int:
    async with aclosing(await client.post("/models", body)) as answer:
        async for _ in answer:
            pass
    return answer.status


async def test_first_request_opens_its_own_connection_and_a_spare(
    server: ScriptedOpenAI, client: Client
) -> None:
    assert await get(client) == 200
    await server.until(lambda: server.connections == 2)
    assert await get(client) == 200
    assert server.connections == 2, "a connection that is idle is used first"


async def test_warm_opens_spares_and_no_more(server: ScriptedOpenAI, client: Client) -> None:
    await warm(client, server)
    await warm(client, server)
    assert server.connections == 1
    await get(client)
    await server.until(lambda: server.connections == 2)
    assert server.requests[0].connection == 0


async def test_spare_that_the_server_closed_is_not_used(
    server: ScriptedOpenAI, client: Client
) -> None:
    await warm(client, server)
    await drop(server)
    assert await get(client) == 200


async def test_idle_connection_that_the_server_closed_is_not_used(
    server: ScriptedOpenAI, client: Client
) -> None:
    for _ in range(5):
        assert await get(client) == 200
        await server.until(lambda: server.open_connections >= 2)
        await drop(server)


async def test_request_is_sent_no_more_than_twice(server: ScriptedOpenAI) -> None:
    """A server that takes requests and hangs up looks like one that had closed before."""
    server.chat = ChatReply(fault=Fault("cut", after=-1))
    async with Client(server, spares=3) as client:
        await warm(client, server, spares=3)
        for sent in (2, 4):
            with pytest.raises(httpx2.TransportError):
                await client.post("/chat/completions", {"model": "m", "messages": ASK})
            assert len(server.chats) == sent


async def test_lost_spare_is_replaced_while_in_use(
    server: ScriptedOpenAI, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connections, "_TOO_SHORT", 0.0)
    await warm(client, server)
    server.drop_connections()
    await server.until(lambda: server.connections == 2 and server.open_connections == 1)
    await warm(client, server)
    monkeypatch.setattr(_connections, "_IN_USE", 0.0)
    await drop(server)
    assert await get(client) == 200
    assert server.requests[0].connection == 2


async def test_server_that_closes_spares_at_once_is_left_in_peace(
    server: ScriptedOpenAI, client: Client
) -> None:
    await warm(client, server)
    server.drop_connections()
    await server.until(lambda: server.open_connections == 0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert server.connections == 1


async def test_more_are_kept_where_one_was_not_enough(server: ScriptedOpenAI) -> None:
    async with Client(server) as client:
        await warm(client, server)
        assert server.open_connections == 1
        await asyncio.gather(*(get(client) for _ in range(4)))
        await warm(client, server, spares=4 + 2)


async def test_never_more_than_the_bound(server: ScriptedOpenAI) -> None:
    async with Client(server) as client:
        await warm(client, server)
        await asyncio.gather(*(get(client) for _ in range(40)))
        await warm(client, server, spares=48)
        assert server.open_connections == 40 + 8


async def test_connection_of_a_request_given_up_while_connecting_is_the_next_ones(
    server: ScriptedOpenAI,
) -> None:
    async with Client(server, spares=0) as client:
        request = asyncio.create_task(get(client))
        await server.until(lambda: server.connections == 1)
        request.cancel()
        await asyncio.wait([request])
        given_up = server.connections
        assert await get(client) == 200
        assert server.connections == given_up == 1


async def test_requests_given_up_at_any_moment_leave_nothing(server: ScriptedOpenAI) -> None:
    """A request is cancelled after each possible number of the loop's rounds."""
    for rounds in range(40):
        async with Client(server, spares=rounds % 2) as client:
            request = asyncio.create_task(get(client))
            for _ in range(rounds):
                await asyncio.sleep(0)
            request.cancel()
            await asyncio.wait([request])
            assert await get(client) == 200
    await server.until(lambda: server.open_connections == 0)


async def test_closing_while_a_request_connects(
    server: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = asyncio.Event()

    async def connect(*_: Any) -> _http.Connection:
        await never.wait()
        raise AssertionError

    monkeypatch.setattr(_connections, "connect", connect)
    client = Client(server)
    request = asyncio.create_task(get(client))
    for _ in range(10):
        await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(httpx2.ConnectError):
        await request


async def test_nobody_listens(server: ScriptedOpenAI, client: Client) -> None:
    await server.aclose()
    await warm(client, server, spares=0)
    for _ in range(2):
        with pytest.raises(httpx2.ConnectError, match="ConnectionRefusedError"):
            await get(client)


async def test_no_connection_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(host: str, port: int) -> socket.socket:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(_sockets, "_reach", never)
    monkeypatch.setattr(_sockets, "CONNECT_TIMEOUT", 0.01)
    async with ScriptedOpenAI() as server, Client(server) as client:
        with pytest.raises(httpx2.ConnectTimeout):
            await get(client)


async def test_next_address_is_tried_when_one_does_not_answer(
    server: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four addresses the first hangs and the second refuses; two answer, one is used."""
    monkeypatch.setattr(_sockets, "_STAGGER", 0.01)
    loop = asyncio.get_running_loop()
    good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (server.host, server.port))
    hung = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("hung", 1))
    bad = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
    connect_now = loop.sock_connect

    async def addresses(*_: Any, **__: Any) -> list[Any]:
        return [hung, bad, good, good]

    async def sock_connect(sock: socket.socket, address: Any) -> None:
        if address[0] == "hung":
            await asyncio.Event().wait()
        await connect_now(sock, address)

    monkeypatch.setattr(loop, "getaddrinfo", addresses)
    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    async with Client(server, spares=0) as client:
        assert await get(client) == 200


async def test_host_without_an_address_that_answers(
    server: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    async def none(*_: Any, **__: Any) -> list[Any]:
        return []

    async def unknown(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    async with Client(server, spares=0) as client:
        monkeypatch.setattr(loop, "getaddrinfo", none)
        with pytest.raises(httpx2.ConnectError):
            await get(client)
        monkeypatch.setattr(loop, "getaddrinfo", unknown)
        with pytest.raises(httpx2.ConnectError, match="gaierror"):
            await get(client)


async def test_server_waits_for_a_slow_reader(server: ScriptedOpenAI) -> None:
    server.speech = SpeechReply(seconds=120.0)
    body = {"model": "m", "voice": "v", "input": "Hi", "response_format": "pcm"}
    async with Client(server) as client:
        async with aclosing(await client.post("/audio/speech", body)) as answer:
            size = len(await anext(answer))
            for _ in range(200):
                await asyncio.sleep(0)
            request = server.speeches[0]
            assert not request.over, "all of it was taken although nobody reads"
            async for part in answer:
                size += len(part)
        assert size == 120 * 48000
        assert request.over


async def test_client_waits_for_a_slow_server(server: ScriptedOpenAI) -> None:
    """A long request is written no faster than the server takes it."""
    server.delays = Delays(accept=0.1)
    async with Client(server, spares=0) as client:
        assert await get(client, b"x" * 30_000_000) == 200


async def test_write_times_out() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    connections = _connections.Connections("127.0.0.1", port, tls=None, spares=0)
    with pytest.raises(httpx2.WriteTimeout):
        await connections.send(b"x" * 30_000_000, 0.1)
    await connections.aclose()
    listener.close()


# ----------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["http/1.1"])
    monkeypatch.setattr(_openai, "tls_context", lambda: context)


def endpoint_of(server: ScriptedOpenAI) -> _openai.Endpoint:
    return _openai.Endpoint(api_key="sk-x", base_url=server.base_url, timeout=5, spares=1)


async def speak(endpoint: _openai.Endpoint) -> int:
    body = {"model": "m", "voice": "v", "input": "Hi", "response_format": "pcm"}
    answer = await endpoint.post("/audio/speech", body, accept="*/*")
    try:
        return sum([len(part) async for part in answer])
    finally:
        await answer.aclose()


@pytest.mark.usefixtures("trusted")
async def test_T3_spare_has_its_tls_handshake_behind_it(server_tls: ssl.SSLContext) -> None:
    async with ScriptedOpenAI(tls=server_tls) as server:
        endpoint = endpoint_of(server)
        await endpoint.warm()
        # The server counts a TLS connection when the handshake is done.
        await server.until(lambda: server.accepted == 1)
        assert await speak(endpoint) == 5760
        assert await speak(endpoint) == 5760
        assert [request.connection for request in server.requests] == [0, 0]
        body = {"model": "m", "voice": "v", "input": "x" * 4000, "response_format": "pcm"}
        answer = await endpoint.post("/audio/speech", body, accept="*/*")
        await answer.aclose()
        await server.until(lambda: server.requests[2].closed_at is not None)
        assert await speak(endpoint) == 5760
        await endpoint.aclose()
        await server.until(lambda: server.open_connections == 0)


async def test_certificate_that_is_not_trusted(server_tls: ssl.SSLContext) -> None:
    async with ScriptedOpenAI(tls=server_tls) as server:
        endpoint = endpoint_of(server)
        await endpoint.warm()
        with pytest.raises(_openai.ERRORS) as caught:
            await speak(endpoint)
        await endpoint.aclose()
    assert isinstance(caught.value, Exception)
    error = _openai.error_from(caught.value, LLMError, "openai/m")
    assert error.failure == "connection"
    assert "SSLCertVerificationError" in str(error)


# --------------------------------------------------------------------------------------- proxies


async def test_proxy_of_the_environment_is_used(
    server: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forward proxy is asked for the whole URL, which the scripted server does not mind."""
    monkeypatch.setenv("HTTP_PROXY", f"http://{server.host}:{server.port}")
    monkeypatch.setenv("http_proxy", f"http://{server.host}:{server.port}")
    endpoint = _openai.Endpoint(
        api_key="sk-x", base_url="http://upstream.invalid/v1", timeout=5, spares=1
    )
    await endpoint.warm()
    assert server.connections == 0
    assert await speak(endpoint) == 5760
    await endpoint.aclose()
    assert server.requests[0].path == "http://upstream.invalid/v1/audio/speech"


async def test_proxy_is_passed_by_where_the_environment_says_so(
    server: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    endpoint = endpoint_of(server)
    assert await speak(endpoint) == 5760
    await endpoint.aclose()


async def test_a_server_on_this_machine_is_never_asked_through_a_proxy(
    server: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy elsewhere would look for it on its own machine."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    endpoint = endpoint_of(server)
    assert await speak(endpoint) == 5760
    await endpoint.aclose()
