"""What goes across the Worker, and how its two sides end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.worker.worker import SECRET, Worker
from tests.worker.workers_ai import WorkersAI

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIMIT = 64 * 1024


def opening(worker: Worker, open_timeout: float = 5.0) -> connect:
    return connect(
        worker.ws(),
        additional_headers={"Authorization": f"Bearer {SECRET}"},
        compression=None,
        proxy=None,
        open_timeout=open_timeout,
        ping_interval=None,
        max_size=None,
    )


async def until_closed(socket: ClientConnection | ServerConnection) -> tuple[int | None, str]:
    async with asyncio.timeout(5):
        try:
            async for _ in socket:
                pass
        except ConnectionClosed:
            pass
        await socket.wait_closed()
    return socket.close_code, socket.close_reason or ""


async def send_without_end(socket: ClientConnection) -> None:
    while True:
        await socket.send(b"\x00" * LIMIT)


@asynccontextmanager
async def joined(
    worker: Worker, service: WorkersAI
) -> AsyncIterator[tuple[ClientConnection, ServerConnection]]:
    """A caller's socket, and the end of it that the service has."""
    opened: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def hold(connection: ServerConnection) -> None:
        opened.set_result(connection)
        await done.wait()
        connection.transport.abort()

    service.serve = hold
    try:
        async with opening(worker) as socket:
            async with asyncio.timeout(5):
                model = await opened
            yield socket, model
    finally:
        done.set()


async def test_text_stays_text_and_bytes_stay_bytes_both_ways(
    worker: Worker, workers_ai: WorkersAI
) -> None:
    sent: list[str | bytes] = ["{}", b"{}", b"\xff\x00" * 1280, "söße \U0001f399", b"\x00", b""]
    async with joined(worker, workers_ai) as (socket, model):
        for source, sink in ((socket, model), (model, socket)):
            for message in sent:
                await source.send(message)
            assert [await sink.recv() for _ in sent] == sent


async def test_the_greatest_message_that_is_allowed_goes_across(
    worker: Worker, workers_ai: WorkersAI
) -> None:
    async with joined(worker, workers_ai) as (socket, model):
        for message in (b"\x01" * LIMIT, "x" * LIMIT, "é" * (LIMIT // 2)):
            await socket.send(message)
            assert await model.recv() == message


@pytest.mark.parametrize(
    "message",
    [b"\x01" * (LIMIT + 1), "x" * (LIMIT + 1), "é" * (LIMIT // 2 + 1)],
    ids=["bytes", "text", "text of longer characters"],
)
async def test_a_greater_message_ends_the_call_with_1009(
    worker: Worker, workers_ai: WorkersAI, message: str | bytes
) -> None:
    async with joined(worker, workers_ai) as (socket, model):
        await socket.send(message)
        assert await until_closed(socket) == (1009, "a message has at most 65536 bytes")
        assert await until_closed(model) == (1000, "")


async def test_what_the_model_says_has_no_such_limit(worker: Worker, workers_ai: WorkersAI) -> None:
    async with joined(worker, workers_ai) as (socket, model):
        await model.send("x" * (4 * LIMIT))
        assert len(await socket.recv()) == 4 * LIMIT


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1000, ""),
        (1001, "going"),
        (1011, "failed"),
        (1013, "later"),
        (3000, "own"),
        (4008, "ö" * 61),
    ],
)
async def test_a_close_goes_across_with_its_code_and_reason(
    worker: Worker, workers_ai: WorkersAI, code: int, reason: str
) -> None:
    async with joined(worker, workers_ai) as (socket, model):
        await model.close(code, reason)
        assert await until_closed(socket) == (code, reason)

    async with joined(worker, workers_ai) as (socket, model):
        await socket.close(code, reason)
        assert await until_closed(model) == (code, reason)


async def test_a_close_without_a_code_stays_without_one(
    worker: Worker, workers_ai: WorkersAI
) -> None:
    """Flux closes so after CloseStream (Deepgram docs, flux/close-stream)."""
    async with joined(worker, workers_ai) as (socket, model):
        await model.close(None)  # type: ignore[arg-type]
        assert await until_closed(socket) == (1005, "")


async def test_a_caller_that_vanishes_ends_the_models_side(
    worker: Worker, workers_ai: WorkersAI
) -> None:
    async with joined(worker, workers_ai) as (socket, model):
        await socket.send(b"\x00" * 2560)
        socket.transport.abort()
        assert await until_closed(model) == (1011, "the caller is gone")


async def test_a_model_that_vanishes_ends_the_callers_side(
    worker: Worker, workers_ai: WorkersAI
) -> None:
    async with joined(worker, workers_ai) as (socket, model):
        model.transport.abort()
        assert await until_closed(socket) == (1011, "the connection to the model broke off")


async def test_a_model_that_takes_no_more_audio_ends_the_call(
    worker: Worker, workers_ai: WorkersAI
) -> None:
    async with joined(worker, workers_ai) as (socket, model):
        model.transport.pause_reading()
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionClosed):
                await send_without_end(socket)
        assert await until_closed(socket) == (1011, "the model takes no more audio")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, {"errors": [{"code": 5006, "message": "bad input"}]}, "answered 400: 5006 bad input"),
        (429, {"internalCode": 3040, "description": "no capacity"}, "answered 429: no capacity"),
        (500, {}, "answered 500"),
        (403, "<html>", "answered 403"),
    ],
)
async def test_a_model_that_does_not_open_is_a_502_that_says_why(
    worker: Worker, workers_ai: WorkersAI, status: int, body: object, said: str
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    workers_ai.refusal = (HTTPStatus(status), text)
    with pytest.raises(InvalidStatus) as refused:
        async with opening(worker):
            pass
    response = refused.value.response
    assert response.status_code == 502
    assert json.loads(response.body) == {"error": f"Workers AI {said}"}


async def test_a_model_that_does_not_answer_is_a_502_after_ten_seconds(
    worker: Worker, workers_ai: WorkersAI
) -> None:
    began = time.monotonic()
    workers_ai.answers.clear()
    try:
        with pytest.raises(InvalidStatus) as refused:
            async with opening(worker, open_timeout=15):
                pass
    finally:
        workers_ai.answers.set()
    assert json.loads(refused.value.response.body) == {
        "error": "Workers AI did not answer within 10 s."
    }
    assert 9.5 < time.monotonic() - began < 14
