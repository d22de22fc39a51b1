"""Calls on AudioSocket: real loopback sockets, with Asterisk's end played by the test."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any
from uuid import UUID

import pytest
import structlog

from agentkit.agent import Agent
from agentkit.audio.dtmf import tones
from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import is_silent
from agentkit.errors import TransportError, UsageError
from agentkit.session import Session
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.source import ScriptedSource
from agentkit.transports.audiosocket import AudioSocketTransport, serve_audiosocket
from tests.transports.far_asterisk import (
    CALL,
    FIRST,
    FRAME,
    NARROW,
    WIDE,
    calling,
    dialled,
    now,
    packet,
    pcm,
)

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
            await asterisk.until_closed()
    assert reasons == ["caller hung up"]
