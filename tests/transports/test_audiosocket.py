"""Calls on AudioSocket: real loopback sockets, with Asterisk's end played by the test."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
import structlog

from agentkit.agent import Agent
from agentkit.audio.dtmf import tones
from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import is_silent
from agentkit.errors import ConfigError, TransportError, UsageError
from agentkit.session import Session
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.source import ScriptedSource
from agentkit.transports.audiosocket import AudioSocketTransport, serve_audiosocket

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
NARROW = AudioFormat("linear16", 8000)
WIDE = AudioFormat("linear16", 16000)
HANG_UP = b"\x00\x00\x00"


def now() -> float:
    return asyncio.get_running_loop().time()


def packet(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


def pcm(seconds: float, form: AudioFormat = NARROW) -> bytes:
    """Sound in which no frame is like another."""
    count = round(seconds * form.rate)
    return b"".join(struct.pack("<h", at % 30_000 + 500) for at in range(count))


FIRST = packet(0x01, CALL.bytes)
FRAME = packet(0x10, pcm(0.02))


class Asterisk:
    """The far end: it dials in, talks, and notes what it is sent and when."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.reader = reader
        self.packets: list[tuple[float, int, bytes]] = []
        self.closed_at: float | None = None
        self.reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        try:
            while True:
                kind, length = struct.unpack(">BH", await self.reader.readexactly(3))
                self.packets.append((now(), kind, await self.reader.readexactly(length)))
        except (EOFError, ConnectionError):
            self.closed_at = now()

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def close(self) -> None:
        """Close as Asterisk does when the channel is gone: at once, with what is unread."""
        self.writer.transport.abort()
        if self.reading is not None:
            await self.reading

    @property
    def heard(self) -> bytes:
        return b"".join(data for _, kind, data in self.packets if kind in range(0x10, 0x19))

    @property
    def times(self) -> list[float]:
        return [time for time, kind, _ in self.packets if kind in range(0x10, 0x19)]


@asynccontextmanager
async def dialled(
    port: int, hello: bytes = FIRST + FRAME, *, reads: bool = True, room: int = 0
) -> AsyncIterator[Asterisk]:
    """A connection to the server.

    Args:
        port: the server's.
        hello: what is sent first.
        reads: whether it reads what it is sent.
        room: bytes that the system takes for it unread; 0: as the system likes.
    """
    end = socket.socket()
    if room:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    end.setblocking(False)
    await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", port))
    asterisk = Asterisk(*await asyncio.open_connection(sock=end, limit=256))
    asterisk.say(hello)
    if reads:
        asterisk.reading = asyncio.create_task(asterisk.read())
    try:
        yield asterisk
    finally:
        await asterisk.close()


class Sink:
    """What a session would be told, and when."""

    def __init__(self) -> None:
        self.heard = b""
        self.keys = ""
        self.marks: list[tuple[float, str]] = []

    def audio(self, data: bytes) -> None:
        self.heard += data

    def marked(self, name: str) -> None:
        self.marks.append((round(now(), 6), name))

    def dtmf(self, digit: str) -> None:
        self.keys += digit


class Call:
    """One call: both ends of it."""

    def __init__(self, transport: AudioSocketTransport, asterisk: Asterisk, sink: Sink) -> None:
        self.transport = transport
        self.asterisk = asterisk
        self.sink = sink
        self.running = asyncio.create_task(transport.run(sink))


@asynccontextmanager
async def calling(
    hello: bytes = FIRST + FRAME,
    *,
    reads: bool = True,
    room: int = 0,
    form: AudioFormat | None = None,
) -> AsyncIterator[Call]:
    """A call that is connected and runs; at the end both sides are closed."""
    taken: asyncio.Future[AudioSocketTransport] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def handler(uuid: UUID, transport: AudioSocketTransport) -> None:
        assert uuid == CALL
        await transport.connect()
        taken.set_result(transport)
        await over.wait()

    async with serve_audiosocket("127.0.0.1", 0, handler, form=form) as server:
        async with dialled(server.port, hello, reads=reads, room=room) as asterisk:
            call = Call(await taken, asterisk, Sink())
            yield call
            over.set()
        await asyncio.gather(call.running, return_exceptions=True)


# ------------------------------------------------------------------------------------- the sound


@pytest.mark.parametrize(("kind", "form"), [(0x10, NARROW), (0x12, WIDE)])
def test_what_is_played_comes_a_packet_every_20_ms(kind: int, form: AudioFormat) -> None:
    @in_virtual_time()
    async def main() -> None:
        async with calling(FIRST + packet(kind, pcm(0.02, form))) as call:
            assert call.transport.input == call.transport.output == form
            start, audio = now(), pcm(2.0, form)
            call.transport.play(audio[:12_345])
            call.transport.play(audio[12_345:])
            await asyncio.sleep(3)
            assert call.asterisk.heard[: len(audio)] == audio
            assert call.asterisk.times[:100] == pytest.approx(
                [start + 0.02 * at for at in range(100)], abs=1e-6
            )
            sizes = {len(data) for _, _, data in call.asterisk.packets}
            assert sizes == {form.size(0.02)}
            assert {each for _, each, _ in call.asterisk.packets} == {kind}

    main()


@in_virtual_time()
async def test_the_caller_is_heard_from_the_first_packet_on() -> None:
    async with calling(FIRST + FRAME + packet(0x03, b"5")) as call:
        audio = pcm(1.0)
        for at in range(0, len(audio), 320):
            call.asterisk.say(packet(0x10, audio[at : at + 320]))
            await asyncio.sleep(0.02)
        stream = FRAME + packet(0x03, b"#") + FRAME
        for at in range(len(stream)):
            call.asterisk.say(stream[at : at + 1])
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        assert call.sink.heard == pcm(0.02) + audio + pcm(0.02) * 2
        assert call.sink.keys == "5#"


@in_virtual_time()
async def test_marks_and_clears() -> None:
    async with calling() as call:
        start = now()
        call.transport.play(pcm(0.1))
        call.transport.mark("said")
        call.transport.play(pcm(5.0))
        call.transport.mark("dropped")
        await asyncio.sleep(0.21)
        call.transport.clear()
        call.transport.mark("cleared")
        await asyncio.sleep(0.5)
        call.transport.play(pcm(0.02))
        await asyncio.sleep(0.1)
        assert call.asterisk.heard == pcm(0.1) + pcm(5.0)[: 6 * 320] + pcm(0.02)
        times = [(time - start, name) for time, name in call.sink.marks]
        assert [name for _, name in times] == ["said", "cleared"]
        assert [time for time, _ in times] == pytest.approx([0.1, 0.22], abs=1e-5)


@in_virtual_time()
async def test_keys_are_pressed_as_tones() -> None:
    async with calling() as call:
        call.transport.play(pcm(0.4))
        before = now()
        await call.transport.send_dtmf("42#")
        assert now() - before == pytest.approx(0.6)
        await asyncio.sleep(0.5)
        assert call.asterisk.heard == tones("42#", NARROW) + pcm(0.4)
        with pytest.raises(UsageError, match="0-9"):
            await call.transport.send_dtmf("5x")


@in_virtual_time()
async def test_without_any_audio_the_call_begins_as_the_application_has_it() -> None:
    before = now()
    async with calling(FIRST + packet(0x03, b"7")) as call:
        assert now() - before == pytest.approx(0.5, abs=0.01)
        assert call.transport.input == NARROW
        await asyncio.sleep(0.1)
        assert call.sink.keys == "7"


@in_virtual_time()
async def test_a_format_that_is_known_is_not_waited_for() -> None:
    before = now()
    async with calling(FIRST, form=WIDE) as call:
        assert now() - before < 0.1
        assert call.transport.input == WIDE
        call.transport.play(pcm(0.02, WIDE))
        await asyncio.sleep(0.1)
        assert [kind for _, kind, _ in call.asterisk.packets] == [0x12]


@in_virtual_time()
async def test_odd_packets_are_counted_and_logged_once_a_kind() -> None:
    with structlog.testing.capture_logs() as logged:
        async with calling(FIRST + packet(0x42, b"secret") + FRAME) as call:
            call.asterisk.say(packet(0x42) * 3 + packet(0x10) + FIRST + FRAME)
            await asyncio.sleep(0.1)
            assert call.transport.oddities == {
                "an unknown kind of packet": 4,
                "audio that is no whole samples": 1,
                "a second UUID": 1,
            }
            assert call.sink.heard == pcm(0.02) * 2
    assert [each["kind"] for each in logged] == list(call.transport.oddities)
    assert "secret" not in str(logged)
    assert str(CALL) not in str(logged)


# ------------------------------------------------------------------------------------ the silence


@in_virtual_time()
async def test_a_call_without_a_sound_is_kept_by_a_packet_of_silence_a_second() -> None:
    async with calling() as call:
        start = now()
        await asyncio.sleep(5.5)
        assert call.asterisk.times == pytest.approx([start + at for at in range(1, 6)], abs=0.01)
        assert is_silent(call.asterisk.heard, NARROW)


@in_virtual_time()
async def test_while_either_side_is_heard_no_silence_is_sent() -> None:
    async with calling() as call:
        for _ in range(10):
            await asyncio.sleep(0.9)
            call.asterisk.say(FRAME)
        assert call.asterisk.heard == b""
        call.transport.play(pcm(2.0))
        await asyncio.sleep(2.5)
        assert call.asterisk.heard == pcm(2.0)


# ----------------------------------------------------------------------------------- the end of it


@in_virtual_time()
async def test_the_caller_hangs_up_by_closing_the_socket() -> None:
    async with calling() as call:
        call.asterisk.say(FRAME)
        call.asterisk.writer.write_eof()
        assert await call.running == "caller hung up"
        assert call.sink.heard == pcm(0.02) * 2


@in_virtual_time()
async def test_the_caller_hangs_up_by_a_packet() -> None:
    async with calling() as call:
        call.asterisk.say(packet(0x00) + FRAME)
        assert await call.running == "caller hung up"
        assert call.sink.heard == pcm(0.02)


@in_virtual_time()
async def test_a_caller_who_hangs_up_while_we_speak_is_no_broken_connection() -> None:
    """Asterisk leaves unread what we said last, and its system answers that with a reset."""
    async with calling(reads=False) as call:
        call.transport.play(pcm(10.0))
        call.transport.mark("end")
        await asyncio.sleep(1)
        linger = struct.pack("ii", 1, 0)
        end = call.asterisk.writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await call.asterisk.close()
        assert await call.running == "caller hung up"
        call.transport.play(pcm(1.0))
        call.transport.clear()
        await asyncio.sleep(10)
        assert call.sink.marks == []


@in_virtual_time()
async def test_to_hang_up_sends_the_packet_and_waits_for_asterisk_to_close() -> None:
    async with calling() as call:
        call.transport.play(pcm(5.0))
        await asyncio.sleep(0.05)
        await call.transport.hang_up()
        await call.transport.hang_up()
        call.asterisk.say(FRAME * 100)
        await asyncio.sleep(0.3)
        assert call.asterisk.packets[-1][1:] == (0x00, b"")
        assert call.asterisk.closed_at is not None
        assert not call.running.done()
        call.asterisk.writer.close()
        assert await call.running == "agent hung up"
        assert call.sink.heard == pcm(0.02)


@in_virtual_time()
async def test_an_asterisk_that_does_not_close_is_not_waited_for() -> None:
    async with calling() as call:
        before = now()
        await call.transport.hang_up()
        assert await call.running == "agent hung up"
        assert now() - before == pytest.approx(1.0, abs=0.01)


@in_virtual_time()
async def test_a_far_end_that_does_not_read_is_given_up_without_a_burst() -> None:
    async with calling(reads=False, room=4096) as call:
        start = now()
        for _ in range(300):
            call.transport.play(pcm(0.1))
            await asyncio.sleep(0.1)
            if call.running.done():
                break
        with pytest.raises(TransportError, match="read nothing for 2 s"):
            await call.running
        assert 2.0 < now() - start < 15.0


@in_virtual_time()
async def test_a_far_end_that_reads_again_in_time_is_kept() -> None:
    async with calling(reads=False, room=4096) as call:
        audio = pcm(20.0)
        call.transport.play(audio)
        call.transport.mark("end")
        await asyncio.sleep(4)
        call.asterisk.reading = asyncio.create_task(call.asterisk.read())
        await asyncio.sleep(20)
        assert call.asterisk.heard[: len(audio)] == audio
        ((end, name),) = call.sink.marks
        assert name == "end"
        assert 21.0 < end < 22.5  # what waited came in its pace, and so everything after it


@in_virtual_time()
async def test_a_call_is_closed_from_our_side() -> None:
    async with calling() as call:
        call.transport.play(pcm(1.0))
        await call.transport.aclose()
        await call.transport.aclose()
        assert await call.running == "closed"
        await call.transport.hang_up()
        await asyncio.sleep(0.1)
        assert call.asterisk.closed_at is not None


@in_virtual_time()
async def test_a_run_may_be_cancelled_and_closes_nothing() -> None:
    async with calling() as call:
        call.running.cancel()
        await asyncio.wait([call.running])
        call.transport.play(pcm(0.02))
        await asyncio.sleep(0.1)
        assert call.asterisk.heard == pcm(0.02)
        assert call.asterisk.closed_at is None


# --------------------------------------------------------------------------------------- the server

Handler = Callable[[UUID, AudioSocketTransport], Awaitable[None]]


async def wait(uuid: UUID, transport: AudioSocketTransport) -> None:
    await asyncio.Event().wait()


async def closed(asterisk: Asterisk) -> float:
    assert asterisk.reading is not None
    await asterisk.reading
    assert asterisk.closed_at is not None
    return asterisk.closed_at


@pytest.mark.parametrize("hello", [b"", FIRST[:18], b"\x01"])
def test_a_connection_that_says_nothing_is_closed_in_time(hello: bytes) -> None:
    @in_virtual_time()
    async def main() -> None:
        with structlog.testing.capture_logs() as logged:
            async with serve_audiosocket("127.0.0.1", 0, wait, start_timeout=3.0) as server:
                async with dialled(server.port, hello) as asterisk:
                    assert await closed(asterisk) == pytest.approx(3.0, abs=0.1)
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
                    assert await closed(asterisk) < 0.1
        assert [why in each["error"] for each in logged] == [True]

    main()


@in_virtual_time()
async def test_a_connection_that_closes_before_its_uuid_is_no_call() -> None:
    with structlog.testing.capture_logs() as logged:
        async with serve_audiosocket("127.0.0.1", 0, wait) as server:
            async with dialled(server.port, FIRST[:5]) as asterisk:
                asterisk.writer.write_eof()
                assert await closed(asterisk) < 0.1
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
            await closed(asterisk)
        async with dialled(server.port, FIRST + packet(0x00)) as asterisk:
            await closed(asterisk)
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
            await closed(asterisk)
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
                    await closed(third)
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
                    await closed(asterisk)
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
    await closed(asterisk)
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
            await closed(asterisk)
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
            await closed(asterisk)
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
            await closed(asterisk)
    assert errors == ["the connection to Asterisk broke: Connection timed out"]


# --------------------------------------------------------------------------------------- a session


class Greeter(Agent):
    greeting = "Rosewood Clinic, how can I help?"


@in_virtual_time()
async def test_a_session_greets_a_caller_on_audiosocket() -> None:
    reasons = []

    async def handler(uuid: UUID, transport: AudioSocketTransport) -> None:
        session: Any = Session(
            Greeter(),
            transport,
            flux=ScriptedSource(),
            llm=ScriptedLLM([]),
            tts=ScriptedTTS(),
        )
        async with session:
            record = await session.run()
            reasons.append(record.reason)

    async with serve_audiosocket("127.0.0.1", 0, handler) as server:
        async with dialled(server.port) as asterisk:
            for _ in range(250):
                asterisk.say(FRAME)
                await asyncio.sleep(0.02)
            assert not is_silent(asterisk.heard, NARROW)
            gaps = [b - a for a, b in zip(asterisk.times, asterisk.times[1:], strict=False)]
            assert max(gaps) == pytest.approx(0.02, abs=1e-3)
            asterisk.writer.write_eof()
            await closed(asterisk)
    assert reasons == ["caller hung up"]
