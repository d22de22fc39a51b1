"""`agentkit serve` as it is run: its lines, its signals, its workers."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from agentkit.testing.backends import ScriptedTTS, tone
from agentkit.testing.carriers import Connect, FakeAudioSocket, FakeTwilio, Refusal
from agentkit.testing.flux import ScriptedFlux
from tests.server.reception import MULAW, until
from tests.server.serving import Served, is_alive, served

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
async def flux() -> AsyncIterator[ScriptedFlux]:
    async with ScriptedFlux() as server:
        yield server


def calling(server: Served) -> FakeTwilio:
    return FakeTwilio(webhook=f"{server.url}/twilio/voice")


def spoken(text: str) -> bytes:
    tts = ScriptedTTS(format=MULAW)
    return tone(tts.seconds(text), MULAW, pitch=sum(text.encode()))


async def test_it_says_what_it_is_and_drains_when_it_is_told(
    tmp_path: Path, flux: ScriptedFlux
) -> None:
    async with served(tmp_path, flux=flux.url) as server:
        assert server.lines[0].startswith(f"flux: {flux.url} (named by a flag)")
        assert "scripted/llm" in server.lines[0]
        assert server.lines[1].startswith("from this machine only, without signatures: twilio")
        async with calling(server) as caller:
            await caller.until_quiet(0.1)
            assert caller.heard_audio() == spoken("Hello.")
            server.tell(signal.SIGTERM)
            await server.until("draining")
            health = await server.get("/healthz")
            assert health.status == 503
            assert json.loads(health.body) == {"status": "draining", "calls": 1}
            async with calling(server) as late:
                assert isinstance(late.answer, Refusal)
            call = await flux.connection(0)
            await call.start("hi")
            await call.end("hi there")
            await until(lambda: spoken("Good.") in caller.heard_audio())
            assert caller.ended is None
            await caller.hang_up()
        assert await server.over() == 0
    assert caller.protocol_errors == []
    assert "Traceback" not in server.errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_calls_that_go_on_hear_the_farewell(
    tmp_path: Path, flux: ScriptedFlux, number: signal.Signals
) -> None:
    """At the deadline after SIGTERM, and at once after a Ctrl-C."""
    async with served(
        tmp_path, "--drain", "1" if number == signal.SIGTERM else "60", flux=flux.url
    ) as server:
        async with calling(server) as caller:
            await caller.until_quiet(0.1)
            server.tell(number)
            ended = await caller.until_ended()
            assert ended.how == "bot closed"
            assert caller.heard_audio().endswith(spoken("Bye."))
        assert await server.over() == 0
    assert "Traceback" not in server.errors


async def test_a_second_ctrl_c_ends_all(tmp_path: Path, flux: ScriptedFlux) -> None:
    async with served(tmp_path, flux=flux.url) as server:
        async with calling(server) as caller:
            await caller.until_quiet(0.1)
            call = await flux.connection(0)
            server.tell(signal.SIGINT)
            await server.until("taking leave")
            server.tell(signal.SIGINT)
            await caller.until_ended()
        assert await server.over() == 0
        await call.gone()
    assert "Traceback" not in server.errors


async def test_two_workers_are_one_server(tmp_path: Path, flux: ScriptedFlux) -> None:
    """Tokens, limits, figures and draining are shared; a worker that is killed is replaced."""
    limits = {"AGENTKIT_MAX_CALLS": "4"}
    async with served(tmp_path, "--workers", "2", flux=flux.url, **limits) as server:
        first, second = server.workers
        calls = [calling(server) for _ in range(4)]
        for call in calls:  # asked on connections of their own, which either worker may take
            call.answer = await call.ask()
        assert all(isinstance(call.answer, Connect) for call in calls)
        streams = []
        for call in calls:
            assert isinstance(call.answer, Connect)
            stream = FakeTwilio(call.answer.url, parameters=call.answer.parameters)
            stream.call = call.call
            streams.append(stream)
        await asyncio.gather(*(stream.dial() for stream in streams))
        try:
            await asyncio.gather(*(stream.until_quiet(0.1) for stream in streams))
            for _ in range(4):
                assert isinstance((await calling(server).ask()), Refusal)
            assert (await server.figures())['agentkit_calls_active{carrier="twilio"}'] == 4
            left = streams
            for killed in (first, second):  # one of them has calls
                if len(left) == 4:
                    server.tell(signal.SIGKILL, killed)
                    await server.until(f"pid={killed}")
                    await server.until("answering on", len(server.workers) + 1)
                    left = [stream for stream in streams if stream.ended is None]
            health = json.loads((await server.get("/healthz")).body)
            assert health["calls"] == len(left) < 4
            figures = await server.figures()
            assert figures.get('agentkit_calls_active{carrier="twilio"}', 0) == len(left)
            third = server.workers[-1]
            assert third not in (first, second)
            assert is_alive(third)
            server.tell(signal.SIGTERM)
            await server.until("draining", 2)
            for _ in range(4):
                assert (await server.get("/healthz")).status == 503
            assert all(stream.ended is None for stream in left)
        finally:
            for stream in streams:
                await stream.aclose()
        assert await server.over() == 0
        assert not any(map(is_alive, server.workers))


async def test_workers_whose_supervisor_was_killed_drain_and_end(
    tmp_path: Path, flux: ScriptedFlux
) -> None:
    async with served(tmp_path, "--workers", "2", "--drain", "1", flux=flux.url) as server:
        async with calling(server) as caller:
            await caller.until_quiet(0.1)
            server.tell(signal.SIGKILL)
            await server.until("the supervisor is gone", 2)
            ended = await caller.until_ended()
            assert ended.how == "bot closed"
            assert caller.heard_audio().endswith(spoken("Bye."))
        await until(lambda: not any(map(is_alive, server.workers)))


async def test_asterisk_calls_over_audiosocket_with_a_uuid(
    tmp_path: Path, flux: ScriptedFlux
) -> None:
    """The sound is paced and clean from its first frame on (CyCoreSystems/audiosocket #21)."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ("--audiosocket", f"127.0.0.1:{port}")
    async with served(tmp_path, *arguments, flux=flux.url) as server:
        reply = await server.get("/audiosocket/voice?campaign=spring", "POST")
        uuid = UUID(reply.body.decode())
        async with FakeAudioSocket("127.0.0.1", port, call=uuid) as caller:
            await caller.until_quiet(0.3)
            assert caller.heard_seconds() >= ScriptedTTS().seconds("Hello.") - 0.02
            assert json.loads((await server.get("/healthz")).body)["calls"] == 1
        server.tell(signal.SIGTERM)
        assert await server.over() == 0
    assert caller.protocol_errors == []
