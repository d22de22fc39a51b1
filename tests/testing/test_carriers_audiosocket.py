"""AudioSocket over TCP: packets whole, split and merged, and no buffer but the phone's."""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.testing.backends import tone
from agentkit.testing.carriers import FakeAudioSocket
from agentkit.testing.clock import in_virtual_time

SLIN = AudioFormat("linear16", 8000)
Packet = tuple[int, bytes]


def noise(seconds: float) -> bytes:
    return tone(seconds, SLIN)


def packed(kind: int, payload: bytes = b"") -> bytes:
    return bytes([kind]) + len(payload).to_bytes(2, "big") + payload


class Bot:
    """A TCP server that keeps the packets it was sent, and the sizes in which bytes came."""

    def __init__(self, *, reads: bool = True) -> None:
        self.port = 0
        self.packets: list[Packet] = []
        self.reads: list[int] = []
        self.over = asyncio.Event()
        self.there = asyncio.Event()
        self._reads = reads
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        if self._writer is not None:
            self._writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.there.set()
        received = b""
        try:
            while data := await reader.read(65536):
                self.reads.append(len(data))
                received += data
                while len(received) >= 3:
                    kind, length = struct.unpack(">BH", received[:3])
                    if len(received) < 3 + length:
                        break
                    self.packets.append((kind, received[3 : 3 + length]))
                    received = received[3 + length :]
        except ConnectionError:
            self.packets.append((-1, b""))
        self.over.set()

    async def send(self, data: bytes) -> None:
        await self.there.wait()
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        assert self._writer is not None
        self._writer.close()


@in_virtual_time(until=120)
async def test_the_uuid_comes_first_then_a_packet_each_20_ms() -> None:
    async with Bot() as bot:
        async with FakeAudioSocket("127.0.0.1", bot.port) as caller:
            caller.say(noise(0.1))
            await caller.said()
            await asyncio.sleep(0.05)
            await caller.press("5#")
            await caller.hang_up()
        await bot.over.wait()
    kinds = [kind for kind, _ in bot.packets]
    assert kinds == [0x01] + [0x10] * 7 + [0x03, 0x03, 0x00]
    assert uuid.UUID(bytes=bot.packets[0][1]) == caller.call
    assert b"".join(data for _, data in bot.packets[1:6]) == noise(0.1)
    assert bot.packets[6][1] == bytes(320)
    assert [data for kind, data in bot.packets if kind == 3] == [b"5", b"#"]


def crumbs(data: bytes) -> Iterable[bytes]:
    return (data[begin : begin + 50] for begin in range(0, len(data), 50))


@in_virtual_time(until=120)
async def test_packets_are_split_merged_or_left_out_while_silent() -> None:
    async with Bot() as bot:
        async with FakeAudioSocket("127.0.0.1", bot.port, pieces=crumbs) as caller:
            await asyncio.sleep(0.05)
        await bot.over.wait()
    assert [kind for kind, _ in bot.packets] == [1, 0x10, 0x10, 0x10, 0]
    assert len(bot.reads) > 5
    async with Bot() as bot:
        async with FakeAudioSocket("127.0.0.1", bot.port, together=3) as caller:
            await asyncio.sleep(0.11)
        await bot.over.wait()
    assert 3 * 323 in bot.reads
    assert [kind for kind, _ in bot.packets].count(0x10) == 6
    async with Bot() as bot:
        async with FakeAudioSocket("127.0.0.1", bot.port, sends_silence=False) as caller:
            await asyncio.sleep(3)
            caller.say(noise(0.02))
            await caller.said()
        await bot.over.wait()
    assert [kind for kind, _ in bot.packets] == [1, 0x10, 0]


@in_virtual_time(until=120)
async def test_what_is_paced_is_heard_and_what_comes_in_a_burst_is_lost() -> None:
    async with Bot() as bot, FakeAudioSocket("127.0.0.1", bot.port) as caller:
        data = noise(0.2)
        for begin in range(0, len(data), 320):
            await bot.send(packed(0x10, data[begin : begin + 320]))
            await asyncio.sleep(0.02)
        await caller.until_quiet(0.1)
        assert caller.heard_audio() == data
        assert caller.longest_gap() < 0.02
        assert caller.protocol_errors == []
        for begin in range(0, len(data), 320):
            await bot.send(packed(0x10, data[begin : begin + 320]) * 2)
        await caller.wait_for("error", 10)
        await caller.until_quiet(0.1)
        assert caller.heard_seconds() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("sent", "how"),
    [
        (packed(0x10), "an empty packet of audio, which ends the call"),
        (packed(0x04, b"x"), "a packet of kind 0x04, which ends the call"),
    ],
)
@in_virtual_time(until=120)
async def test_a_wrong_packet_ends_the_call(sent: bytes, how: str) -> None:
    async with Bot() as bot, FakeAudioSocket("127.0.0.1", bot.port) as caller:
        await bot.send(sent)
        assert (await caller.until_ended()).how == "bot closed"
        assert caller.protocol_errors == [how]
        await bot.over.wait()


@in_virtual_time(until=120)
async def test_it_ends_by_a_packet_a_close_or_a_break() -> None:
    async with Bot() as bot, FakeAudioSocket("127.0.0.1", bot.port) as caller:
        await bot.send(packed(0x12, bytes(640)) + packed(0x00))
        assert (await caller.until_ended()).how == "bot closed"
        assert caller.count("hang_up") == 1
        assert caller.protocol_errors == ["audio at another rate, or half a sample"]
    async with Bot() as bot, FakeAudioSocket("127.0.0.1", bot.port, sends_silence=False) as caller:
        await bot.there.wait()
        await asyncio.sleep(0.01)  # the UUID has been read: what is closed with it unread is reset
        bot.close()
        assert (await caller.until_ended()).how == "bot closed"
    async with Bot() as bot, FakeAudioSocket("127.0.0.1", bot.port) as caller:
        await bot.there.wait()
        await caller.drop()
        await bot.over.wait()
        assert 0 not in [kind for kind, _ in bot.packets]
        with pytest.raises(RuntimeError, match="dropped"):
            caller.say(b"")


@in_virtual_time(until=120)
async def test_a_stalled_caller_hears_later_what_was_sent() -> None:
    async with Bot() as bot, FakeAudioSocket("127.0.0.1", bot.port, receive_buffer=4096) as caller:
        caller.stall()
        await bot.send(packed(0x10, noise(0.02)))
        await asyncio.sleep(0.5)
        assert caller.heard == []
        caller.flow()
        await caller.until_quiet(0.1)
        assert caller.heard_audio() == noise(0.02)


@in_virtual_time(until=120)
async def test_other_rates_have_other_kinds_and_errors_a_kind_of_their_own() -> None:
    async with Bot() as bot:
        async with FakeAudioSocket("127.0.0.1", bot.port, rate=16000) as caller:
            await asyncio.sleep(0.01)
            await caller.send_error(b"\x02")
        await bot.over.wait()
    assert [(kind, len(data)) for kind, data in bot.packets] == [
        (1, 16),
        (0x12, 640),
        (0xFF, 1),
        (0, 0),
    ]
    with pytest.raises(ValueError, match="rate=11025"):
        FakeAudioSocket("127.0.0.1", 1, rate=11025)
    with pytest.raises(ConnectionRefusedError):
        async with FakeAudioSocket("127.0.0.1", 1):
            raise AssertionError("not reached")
