"""The desk, with a sound card that is driven in virtual time."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from agentkit.audio.formats import AudioFormat
from agentkit.errors import TransportError
from agentkit.testing.clock import in_virtual_time
from agentkit.transports.desktop import DesktopTransport
from tests.transports import fake_pyaudio
from tests.transports.desk import BUFFER, Half, Sink, now, steady, talking
from tests.transports.fake_pyaudio import FakePyAudio, device

Use = Callable[[FakePyAudio], FakePyAudio]


@pytest.mark.parametrize("tells", [True, False])
@in_virtual_time()
async def test_a_mark_comes_back_when_its_sound_was_heard(use: Use, tells: bool) -> None:
    # A card that knows no time is asked for its latency.
    fake = use(FakePyAudio(latency=0.03 if tells else 0.04, tells=tells))
    async with talking() as (transport, sink):
        transport.play(steady(0.5))
        transport.mark("half")
        transport.play(steady(0.5))
        transport.mark("end")
        await asyncio.sleep(1.5)
        start = fake.first_sound()
        assert start is not None
        assert [(round(time - start, 4), name) for time, name in sink.marks] == [
            (0.5, "half"),
            (1.0, "end"),
        ]
        transport.mark("nothing is queued")
        await asyncio.sleep(0.001)
        assert sink.marks[-1][1] == "nothing is queued"
        assert sum(map(bool, fake.heard())) == 48000


@in_virtual_time()
async def test_a_clear_is_silence_within_a_buffer_and_a_fade(use: Use) -> None:
    fake = use(FakePyAudio())
    async with talking() as (transport, sink):
        transport.play(steady(2.0))
        transport.mark("never")
        await asyncio.sleep(0.5)
        transport.clear()
        cleared = now()
        transport.mark("at once")
        await asyncio.sleep(0.5)
        assert fake.last_sound() - cleared <= BUFFER + 0.005 + fake.latency + 1e-6
        assert [name for _, name in sink.marks] == ["at once"]
        transport.play(steady(0.1, 500))
        transport.mark("next")
        await asyncio.sleep(0.3)
        assert list(fake.heard()).count(500) == 4800
        assert [name for _, name in sink.marks] == ["at once", "next"]


@in_virtual_time()
async def test_sound_is_turned_into_what_the_card_takes(use: Use) -> None:
    stereo = device("USB", inputs=2, outputs=2, rate=44100)
    fake = use(FakePyAudio(stereo, takes=lambda *form: form == (44100, 2)))
    voice, caller = AudioFormat("linear16", 24000), AudioFormat("linear16", 16000)
    async with talking(voice=voice, caller=caller) as (transport, sink):
        transport.play(voice.silence(0.02) + array("h", [4000] * 24000).tobytes())
        transport.mark("end")
        await asyncio.sleep(1.5)
        assert {stream.channels for stream in fake.streams.values()} == {2}
        assert {stream.rate for stream in fake.streams.values()} == {44100}
        heard = [sample for sample in fake.heard() if abs(sample - 4000) < 40]
        assert abs(len(heard) - 44100) < 250
        begin = fake.first_sound()
        assert begin is not None
        assert abs(sink.marks[0][0] - begin - 1.0) < 0.005
        # One channel of the microphone, at 16 kHz, without a gap.
        before = sink.between(0.2, 0.2 + 20 * BUFFER)
        assert abs(len(before) - 16000 * 20 * BUFFER) <= 640


@pytest.mark.parametrize("duplex", ["half", "full"])
@in_virtual_time()
async def test_the_microphone_is_delivered_as_it_comes(
    use: Use, halves: list[Half], duplex: str
) -> None:
    use(FakePyAudio()).speaks = lambda time: int(time * 10000)
    async with talking(duplex=duplex, caller=AudioFormat()) as (_, sink):
        await asyncio.sleep(1.0)
        got = sink.between(0.0, 9.0)
        assert len(got) / 16000 == pytest.approx(now(), abs=0.025)
        assert max(abs(b - a) for a, b in pairwise(got[1600:])) <= 2
        assert got[-1] == pytest.approx(10000 * now(), abs=10000 * (BUFFER + 0.003))


@in_virtual_time()
async def test_half_duplex_hears_silence_while_the_agent_speaks_and_a_little_after(
    use: Use,
) -> None:
    fake = use(FakePyAudio())
    async with talking(caller=AudioFormat()) as (transport, sink):
        assert "half duplex" in transport.describe()
        await asyncio.sleep(0.5)
        begin = now()
        transport.play(steady(1.0))
        await asyncio.sleep(2.0)
        silent = [at for at, data in sink.got if not any(data)]
        assert all(len(data) == 320 for _, data in sink.got[1:])  # silence, not nothing
        assert silent[0] - begin <= BUFFER + 0.001
        assert silent[-1] == pytest.approx(fake.last_sound() + 0.25, abs=BUFFER)
        assert len(silent) == round((silent[-1] - silent[0]) / BUFFER) + 1


@in_virtual_time()
async def test_a_microphone_of_nothing_but_zeros_is_spoken_of_once(use: Use) -> None:
    use(FakePyAudio()).speaks = lambda time: 0
    with capture_logs() as logs:
        async with talking():
            await asyncio.sleep(1.9)
            assert not logs
            await asyncio.sleep(10)
    assert ["nothing but silence" in entry["event"] for entry in logs] == [True]
    assert "Privacy" in logs[0]["event"]


@in_virtual_time()
async def test_late_buffers_are_counted_and_spoken_of_once(use: Use) -> None:
    use(FakePyAudio()).status = FakePyAudio.paOutputUnderflow
    with capture_logs() as logs:
        async with talking() as (transport, _):
            await asyncio.sleep(3)
            assert transport.statuses["output underflow"] > 100
    assert ["longer buffers" in entry["event"] for entry in logs] == [True]


@in_virtual_time()
async def test_the_card_is_stopped_then_closed_then_let_go(use: Use) -> None:
    fake = use(FakePyAudio())
    async with talking() as (transport, _):
        await transport.connect()  # does nothing
    await transport.aclose()
    assert fake.log == [
        "init", "stop input", "close input", "stop output", "close output", "terminate",
    ]  # fmt: skip


@in_virtual_time()
async def test_a_device_that_is_pulled_out_ends_the_call_in_words(use: Use) -> None:
    fake = use(FakePyAudio())
    fake_pyaudio.drive(asyncio.get_running_loop())
    transport = DesktopTransport(duplex="half")
    await transport.connect()
    run = asyncio.create_task(transport.run(Sink()))
    await asyncio.sleep(5)
    assert not run.done()
    fake.unplugged = True
    gone = now()
    with pytest.raises(TransportError, match=r"'Built-in Microphone' does not answer.*unplugged"):
        await run
    assert 2.0 <= now() - gone <= 3.0
    await transport.aclose()


@in_virtual_time()
async def test_the_caller_may_end_it_and_so_may_a_cancellation(use: Use) -> None:
    use(FakePyAudio())
    fake_pyaudio.drive(asyncio.get_running_loop())
    for end in ("caller hung up", "closed", None):
        transport = DesktopTransport(duplex="half")
        await transport.aclose()  # safe before it begins
        await transport.connect()
        run = asyncio.create_task(transport.run(Sink()))
        await asyncio.sleep(0.1)
        if end is None:
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
        elif end == "closed":
            await transport.aclose()
            assert await run == end
        else:
            transport.call_is_over()
            assert await run == end
        await transport.aclose()
        transport.play(steady(0.1))
        transport.mark("late")
        transport.clear()


@in_virtual_time()
async def test_a_process_that_was_stopped_has_no_unplugged_device(use: Use) -> None:
    fake = use(FakePyAudio())
    async with talking() as (transport, _):
        await asyncio.sleep(3)
        fake.unplugged = True  # no buffer comes, and no time is seen to pass: Ctrl-Z
        transport._watched -= 60
        transport._counted = {
            way: (count, since - 60) for way, (count, since) in transport._counted.items()
        }
        await asyncio.sleep(0.6)


@in_virtual_time()
async def test_levels_are_of_the_last_moment(use: Use) -> None:
    fake = use(FakePyAudio())
    fake.speaks = lambda time: 3276 if time < 1 else 0
    async with talking() as (transport, _):
        await asyncio.sleep(0.5)
        assert transport.level("input") == pytest.approx(-20, abs=0.1)
        assert transport.level("output") == -96
        transport.play(steady(1.0, 16384))
        await asyncio.sleep(0.7)
        assert transport.level("input") == -96
        assert transport.level("output") == pytest.approx(-6, abs=0.1)
        await asyncio.sleep(1.0)
        assert transport.level("output") == -96


@pytest.mark.parametrize("buffer", [0.2, 0.02, 0.01])
@in_virtual_time()
async def test_half_of_a_buffer_changes_hands_at_a_time(use: Use, buffer: float) -> None:
    # PortAudio's ALSA keeps two pieces ahead.
    fake = use(FakePyAudio(latency=buffer))
    async with talking(buffer=buffer) as (transport, _):
        assert {stream._frames for stream in fake.streams.values()} == {48000 * buffer / 2}
        transport.play(steady(1.0))
        await asyncio.sleep(0.5)
        transport.clear()
        cleared = now()
        await asyncio.sleep(0.5)
        assert fake.last_sound() - cleared <= 1.5 * buffer + 0.005 + 1e-6
