"""The server of AudioSocket: who is let in, how many, and how it ends."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
import structlog

from agentkit.audio.formats import AudioFormat
from agentkit.errors import ConfigError, TransportError
from agentkit.testing.clock import in_virtual_time
from agentkit.transports.audiosocket import AudioSocketTransport, serve_audiosocket
from tests.transports.far_asterisk import (
    CALL,
    FIRST,
    FRAME,
    Sink,
    dialled,
    now,
    packet,
)

Handler = Callable[[UUID, AudioSocketTransport], Awaitable[None]]


async def wait(uuid: UUID, transport: AudioSocketTransport) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("hello", [b"", FIRST[:18], b"\x01"])
def test_a_connection_that_says_nothing_is_closed_in_time(hello: bytes) -> None:
    @in_virtual_time()
    async def main() -> None:
        with structlog.testing.capture_logs() as logged:
            async with serve_audiosocket("127.0.0.1", 0, wait, start_timeout=3.0) as server:
                async with dialled(server.port, hello) as asterisk:
                    assert await asterisk.until_closed() == pytest.approx(3.0, abs=0.1)
        assert [each["error"] for each in logged] == ["no UUID came within 3 s"]

    main()


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "did not begin with a UUID"),
        (packet(0x10, bytes(320)), "did not begin with a UUID"),
        (packet(0x01, bytes(40)), "did not begin with a UUID"),
    ],
)
def test_strangers_are_closed_at_once(hello: bytes, why: str) -> None:
    @in_virtual_time()
    async def main() -> None:
        with structlog.testing.capture_logs() as logged:
            async with serve_audiosocket("127.0.0.1", 0, wait) as server:
                async with dialled(server.port, hello) as asterisk:
                    assert await asterisk.until_closed() < 0.1
        assert [why in each["error"] for each in logged] == [True]

    main()


@in_virtual_time()
async def test_a_connection_that_closes_before_its_uuid_is_no_call() -> None:
    with structlog.testing.capture_logs() as logged:
        async with serve_audiosocket("127.0.0.1", 0, wait) as server:
            async with dialled(server.port, FIRST[:5]) as asterisk:
                asterisk.writer.write_eof()
                assert await asterisk.until_closed() < 0.1
                assert server.calls == 0
    assert [each["error"] for each in logged] == ["the connection closed before a UUID came"]


@in_virtual_time()
async def test_a_caller_who_is_gone_before_the_call_begins() -> None:
    errors: list[str] = []

    async def handler(uuid: UUID, transport: AudioSocketTransport) -> None:
        with pytest.raises(TransportError) as caught:
            await transport.connect()
        errors.append(str(caught.value))

    async with serve_audiosocket("127.0.0.1", 0, handler) as server:
        async with dialled(server.port, FIRST) as asterisk:
            asterisk.writer.write_eof()
            await asterisk.until_closed()
        async with dialled(server.port, FIRST + packet(0x00)) as asterisk:
            await asterisk.until_closed()
    assert errors == ["the caller hung up before the call had begun"] * 2


@in_virtual_time()
async def test_a_call_that_is_not_expected_is_refused_in_order() -> None:
    """Asterisk is told, and closes; nothing that it says meanwhile takes that back."""

    async def handler(uuid: UUID, transport: AudioSocketTransport) -> None:
        with pytest.raises(TransportError, match="connect"):
            transport.play(b"")
        await transport.hang_up()

    async with serve_audiosocket("127.0.0.1", 0, handler) as server:
        async with dialled(server.port, FIRST + FRAME * 50) as asterisk:
            await asterisk.until_closed()
            assert [each[1:] for each in asterisk.packets] == [(0x00, b"")]
            asterisk.say(FRAME * 50)
            assert server.calls == 1
            asterisk.writer.close()
            await asyncio.sleep(0.1)
            assert server.calls == 0


@in_virtual_time()
async def test_more_calls_than_allowed_are_hung_up() -> None:
    with structlog.testing.capture_logs() as logged:
        async with serve_audiosocket("127.0.0.1", 0, wait, limit=2) as server:
            async with dialled(server.port), dialled(server.port):
                await asyncio.sleep(0.1)
                assert server.calls == 2
                async with dialled(server.port, b"") as third:
                    await third.until_closed()
                    assert [each[1:] for each in third.packets] == [(0x00, b"")]
                assert server.calls == 2
            await asyncio.sleep(0.1)
    assert [each["event"] for each in logged] == ["a call was refused: too many at once"]


@in_virtual_time()
async def test_a_handler_that_fails_ends_its_call_only() -> None:
    async def handler(uuid: UUID, transport: AudioSocketTransport) -> None:
        if uuid == CALL:
            raise RuntimeError("boom")
        await asyncio.Event().wait()

    with structlog.testing.capture_logs() as logged:
        async with serve_audiosocket("127.0.0.1", 0, handler) as server:
            async with dialled(server.port, packet(0x01, bytes(16))) as other:
                async with dialled(server.port) as asterisk:
                    await asterisk.until_closed()
                await asyncio.sleep(0.1)
                assert server.calls == 1
                assert other.closed_at is None
    assert [(each["event"], each["log_level"]) for each in logged] == [
        ("a call on AudioSocket failed", "error")
    ]


@in_virtual_time()
async def test_the_end_of_the_server_cancels_calls_and_closes_their_sockets() -> None:
    cancelled = []

    async def handler(uuid: UUID, transport: AudioSocketTransport) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(uuid)

    async with serve_audiosocket("127.0.0.1", 0, handler) as server:
        port = server.port
        connection = dialled(port)
        asterisk = await connection.__aenter__()
        await asyncio.sleep(0.1)
    assert cancelled == [CALL]
    await asterisk.until_closed()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    await connection.__aexit__(None, None, None)


@in_virtual_time()
async def test_draining_takes_no_more_calls_and_waits_for_those_there_are() -> None:
    async def handler(uuid: UUID, transport: AudioSocketTransport) -> None:
        await asyncio.sleep(30)

    async with serve_audiosocket("127.0.0.1", 0, handler) as server:
        port = server.port
        async with dialled(port) as asterisk:
            await asyncio.sleep(1)
            await server.drain()
            assert now() == pytest.approx(30.0, abs=0.2)
            await asterisk.until_closed()
            assert server.calls == 0
            await server.drain()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)


@in_virtual_time()
async def test_a_place_where_nothing_can_listen_is_told() -> None:
    async with serve_audiosocket("127.0.0.1", 0, wait) as server:
        with pytest.raises(TransportError, match=f"cannot listen at 127.0.0.1:{server.port}"):
            async with serve_audiosocket("127.0.0.1", server.port, wait):
                pass
    with pytest.raises(ConfigError, match="linear16"):
        async with serve_audiosocket("127.0.0.1", 0, wait, form=AudioFormat("mulaw", 8000)):
            pass


@in_virtual_time()
async def test_connecting_reads_the_uuid_if_nobody_has() -> None:
    reasons = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = AudioSocketTransport(reader, writer)
        await transport.connect()
        reasons.append(await transport.run(Sink()))
        await transport.aclose()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        async with dialled(server.sockets[0].getsockname()[1]) as asterisk:
            asterisk.writer.write_eof()
            await asterisk.until_closed()
    assert reasons == ["caller hung up"]


@in_virtual_time()
async def test_a_connection_that_breaks_is_an_error() -> None:
    """As when the network is gone: nothing was acknowledged for so long that the system gave up."""
    errors = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = AudioSocketTransport(reader, writer)
        await transport.connect()
        reader.set_exception(OSError(errno.ETIMEDOUT, "Connection timed out"))
        with pytest.raises(TransportError) as caught:
            await transport.run(Sink())
        errors.append(str(caught.value))
        await transport.aclose()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        async with dialled(server.sockets[0].getsockname()[1]) as asterisk:
            await asterisk.until_closed()
    assert errors == ["the connection to Asterisk broke: Connection timed out"]
