"""The desk, with a sound card that is driven in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import wave
from array import array
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from agentkit.audio.formats import AudioFormat
from agentkit.cli import main
from agentkit.errors import ConfigError, TransportError
from agentkit.testing.clock import in_virtual_time
from agentkit.transports import soundcard
from agentkit.transports.desktop import DesktopTransport, device_table, list_devices
from agentkit.transports.echo import FullDuplex, HalfDuplex
from agentkit.transports.rings import Doorbell, MicrophoneRing, SpeakerRing
from agentkit.transports.soundcard import choose
from tests.transports import fake_pyaudio
from tests.transports.fake_pyaudio import LOUDSPEAKER, MICROPHONE, FakePyAudio, device

AT_48 = AudioFormat("linear16", 48000)
BUFFER = 0.02


class Sink:
    """What a session was told."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.got: list[tuple[float, bytes]] = []
        self.marks: list[tuple[float, str]] = []
        self.listening = asyncio.Event()

    def audio(self, data: bytes) -> None:
        self.listening.set()
        self.got.append((self.loop.time(), data))

    def marked(self, name: str) -> None:
        self.marks.append((self.loop.time(), name))

    def dtmf(self, digit: str) -> None:
        raise AssertionError("a desk has no keys")

    def between(self, begin: float, end: float) -> array[int]:
        return array("h", b"".join(data for at, data in self.got if begin <= at < end))


Use = Callable[[FakePyAudio], FakePyAudio]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    def use(fake: FakePyAudio) -> FakePyAudio:
        monkeypatch.setitem(sys.modules, "pyaudio", fake)
        return fake

    return use


@contextlib.asynccontextmanager
async def talking(**how: Any) -> AsyncIterator[tuple[DesktopTransport, Sink]]:
    defaults: dict[str, Any] = {"duplex": "half", "caller": AT_48, "voice": AT_48}
    loop = asyncio.get_running_loop()
    fake_pyaudio.drive(loop)
    transport = DesktopTransport(**defaults | how)
    sink = Sink()
    try:
        await transport.connect()
        run = loop.create_task(transport.run(sink))
        await sink.listening.wait()
        yield transport, sink
        await transport.hang_up()
        assert await run == "agent hung up"
    finally:
        await transport.aclose()


def steady(seconds: float, value: int = 8000) -> bytes:
    return array("h", [value] * round(48000 * seconds)).tobytes()


def now() -> float:
    return asyncio.get_running_loop().time()


# ----------------------------------------------------------------------------------- the rings


def test_a_buffer_is_always_whole() -> None:
    ring = SpeakerRing(AT_48)
    ring.write(b"\x01\x00" * 3)
    buffer = ring.read(10, 0.0)
    assert buffer.data == b"\x01\x00" * 3 + bytes(4)
    assert (buffer.audio, buffer.position) == (6, 6)
    assert ring.read(4, 0.0) == (bytes(4), 0, 6, 0.0)


def test_pieces_of_any_length_come_out_in_order() -> None:
    ring = SpeakerRing(AT_48)
    sent = array("h", range(1000)).tobytes()
    for at in range(0, len(sent), 14):
        ring.write(sent[at : at + 14])
    ring.write(b"")
    got = b"".join(ring.read(160, 0.0).data for _ in range(13))
    assert got == sent + bytes(13 * 160 - len(sent))


def test_what_is_cleared_dies_away_in_5_ms() -> None:
    ring = SpeakerRing(AT_48)
    ring.write(steady(1.0))
    ring.read(1920, 0.0)
    ring.clear()
    ring.write(steady(0.001, 50))
    buffer = ring.read(1920, 0.0)
    samples = array("h", buffer.data)
    assert 7900 < samples[0] < 8000
    assert all(0 <= a - b <= 34 for a, b in pairwise(samples[:240]))
    assert 0 < samples[239] < 40
    assert list(samples[240:288]) == [50] * 48
    assert not any(samples[288:])
    assert (buffer.audio, buffer.position) == (2 * 288, ring.queued)


def test_a_rest_shorter_than_the_fade_has_no_click_either() -> None:
    ring = SpeakerRing(AT_48)
    ring.write(steady(0.02) + steady(0.001))
    ring.read(1920, 0.0)
    ring.clear()
    samples = array("h", ring.read(1920, 0.0).data)
    assert 7800 < samples[0] < 8000
    assert 0 < samples[47] < 200
    assert not any(samples[48:])


def test_what_never_began_is_not_faded() -> None:
    ring = SpeakerRing(AT_48)
    ring.write(steady(1.0))
    ring.clear()
    assert not any(ring.read(1920, 0.0).data)
    ring.write(steady(0.01, 9))
    assert ring.read(20, 0.0).data == steady(0.01, 9)[:20]


def test_a_microphone_that_nobody_takes_from_loses_the_oldest() -> None:
    ring = MicrophoneRing(3)
    for each in b"abcde":
        ring.write(bytes([each]))
    assert ring.take() == [b"c", b"d", b"e"]
    assert ring.dropped == 2
    assert ring.take() == []


async def test_many_rings_are_one_call() -> None:
    calls = []
    bell = Doorbell(asyncio.get_running_loop(), lambda: calls.append(now()))

    def ring() -> None:
        for _ in range(5):
            bell.ring()

    thread = threading.Thread(target=ring)
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    bell.ring()
    await asyncio.sleep(0)
    assert len(calls) == 2


def test_a_bell_without_a_loop_is_silent() -> None:
    loop = asyncio.new_event_loop()
    bell = Doorbell(loop, lambda: None)
    loop.close()
    bell.ring()


# ------------------------------------------------------------------------------------ playing


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
    fake = use(FakePyAudio(device("USB", inputs=2, outputs=2, rate=44100),
                           takes=lambda rate, channels: channels == 2))  # fmt: skip
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


# ---------------------------------------------------------------------------------- listening


@in_virtual_time()
async def test_the_microphone_is_delivered_as_it_comes(use: Use) -> None:
    use(FakePyAudio()).speaks = lambda time: int(time * 10000)
    async with talking(caller=AudioFormat()) as (_, sink):
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
        assert all(len(data) == 640 for _, data in sink.got[1:])  # silence, not nothing
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
async def test_a_late_buffer_puts_the_canceller_out_of_step(use: Use, halves: list[Half]) -> None:
    fake = use(FakePyAudio())
    async with talking(duplex="full") as (transport, _):
        await asyncio.sleep(1)
        before = halves[0].resets
        fake.status = FakePyAudio.paOutputUnderflow
        await asyncio.sleep(BUFFER)
        fake.status = 0
        await asyncio.sleep(1)
        assert halves[0].resets > before
        before = halves[0].resets
        await asyncio.sleep(1)
        assert halves[0].resets == before
        assert transport.statuses.total() >= 1


@in_virtual_time()
async def test_late_buffers_are_counted_and_spoken_of_once(use: Use) -> None:
    use(FakePyAudio()).status = FakePyAudio.paOutputUnderflow
    with capture_logs() as logs:
        async with talking() as (transport, _):
            await asyncio.sleep(3)
            assert transport.statuses["output underflow"] > 100
    assert ["longer buffers" in entry["event"] for entry in logs] == [True]


# ------------------------------------------------------------------------------- the two ways


class Half:
    """A canceller that halves what it is given, and remembers."""

    def __init__(self, **how: Any) -> None:
        self.near = self.far = b""
        self.resets = 0
        assert how == {
            "sample_rate": 16000,
            "echo_cancellation": True,
            "noise_suppression": True,
        }

    def reset(self) -> None:
        self.resets += 1

    def process(self, near: Any, far: Any) -> Any:
        assert len(near) == len(far)
        self.near += near.tobytes()
        self.far += far.tobytes()
        return near // 2


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> list[Half]:
    made: list[Half] = []

    def make(**how: Any) -> Half:
        made.append(Half(**how))
        return made[-1]

    library = SimpleNamespace(AudioProcessor=make)
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", library)
    return made


def test_full_duplex_hears_the_canceller_while_the_agent_speaks_and_else_the_room(
    halves: list[Half],
) -> None:
    control = FullDuplex()
    frame = array("h", [1000] * 160).tobytes()
    heard = array("h")
    for playing in (False, False, True, True, False, False):
        control.played(array("h", [5] * 160).tobytes())
        heard.frombytes(control.heard(frame, playing))
    assert list(heard[:320]) == [1000] * 320
    assert heard[320] == 1000
    assert list(heard[480:640]) == [500] * 160
    assert heard[640] == 500
    assert list(heard[800:]) == [1000] * 160
    steps = [b - a for a, b in pairwise(heard[320:])]
    assert max(map(abs, steps)) <= 5
    # It was given both sides in step, in silence, too.
    assert len(halves[0].near) == len(halves[0].far) == 6 * 320
    assert set(array("h", halves[0].far)) == {5}


def test_the_loudspeaker_and_the_microphone_stay_in_step(halves: list[Half]) -> None:
    control = FullDuplex()
    control.heard(bytes(320), False)  # nothing was played yet
    assert halves[0].far == bytes(320)
    for _ in range(25):  # the event loop was busy for half a second
        control.played(bytes([1]) * 640)
    for _ in range(25):
        control.heard(bytes(640), False)
    assert halves[0].far[320:] == bytes([1]) * 25 * 640  # nothing was dropped
    for _ in range(500):  # a card that plays faster than the other one hears
        control.played(bytes([1]) * 700)
        control.heard(bytes(640), False)
    assert len(control._far) <= 16000 * 2 * 0.2 + 60 * 32000 / 640
    assert control.heard(bytes(100), False) == b""
    assert len(control.heard(bytes(600), True)) == 640


def test_after_a_gap_the_canceller_begins_anew_and_nothing_is_heard_for_half_a_second(
    halves: list[Half],
) -> None:
    control = FullDuplex()
    frame = array("h", [1000] * 160).tobytes()

    def heard(playing: bool) -> bool:
        control.played(frame)
        return any(control.heard(frame, playing))

    assert heard(True)
    control.slipped()
    assert [heard(True) for _ in range(100)] == [False] * 50 + [True] * 50
    control.slipped()
    assert heard(False)  # in a pause there is nothing to be taken out
    assert halves[0].resets == 2
    control.heard(frame, True)  # more was heard than was played
    assert halves[0].resets == 3


def test_half_duplex_is_as_long_as_what_was_heard() -> None:
    control = HalfDuplex()
    control.played(b"12")
    control.slipped()
    assert control.heard(b"1234", True) == bytes(4)
    assert control.heard(b"1234", False) == b"1234"


def test_without_a_canceller_it_is_half_duplex_and_says_how_to_change_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentkit.transports.desktop.has_canceller", lambda: False)
    assert DesktopTransport().duplex == "half"
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    with pytest.raises(ConfigError, match=r"agentkit\[desktop\]"):
        DesktopTransport(duplex="full")


def test_with_one_it_is_full_duplex(halves: list[Half], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentkit.transports.desktop.has_canceller", lambda: True)
    assert DesktopTransport().duplex == "full"


# ------------------------------------------------------------------------------------- devices


def test_devices_are_listed_in_a_table(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    fake = use(FakePyAudio(MICROPHONE, LOUDSPEAKER, device("Headset", inputs=1, outputs=2)))
    assert main(["devices"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split() for line in shown[:4]] == [
        ["in", "out", "Hz", "name"],
        ["0", "1*", "-", "48000", "ALSA:", "Built-in", "Microphone"],
        ["1", "-", "1*", "48000", "ALSA:", "Built-in", "Speakers"],
        ["2", "1", "2", "48000", "ALSA:", "Headset"],
    ]
    assert fake.log == ["init", "terminate"]
    assert "no microphones" in device_table([])


@pytest.mark.parametrize(
    ("wanted", "index"), [(None, 0), ("2", 2), (2, 2), ("head", 2), ("ALSA: Head", 2), ("", 0)]
)
def test_a_device_is_chosen_by_index_or_name(
    use: Use, wanted: int | str | None, index: int
) -> None:
    use(FakePyAudio(MICROPHONE, LOUDSPEAKER, device("Headset", outputs=2)))
    assert choose(list_devices(), wanted, "input").index == index


def test_the_quickest_interface_of_a_system_has_the_default(use: Use) -> None:
    hosts = (
        {"name": "MME", "defaultInputDevice": 0, "defaultOutputDevice": 0},
        {"name": "Windows WASAPI", "defaultInputDevice": 1, "defaultOutputDevice": -1},
    )
    use(FakePyAudio(device("Mic", outputs=1), device("Mic") | {"hostApi": 1}, hosts=hosts))
    devices = list_devices()
    assert choose(devices, None, "input").host == "Windows WASAPI"
    assert choose(devices, "mic", "input").index == 1
    assert choose(devices, None, "output").index == 0


def test_a_name_that_cannot_be_decoded_is_shown_as_it_can_be(use: Use) -> None:
    use(FakePyAudio(MICROPHONE | {"name": b"K\xf6nig"}))
    assert list_devices()[0].name == "K\ufffdnig"


@pytest.mark.parametrize(
    ("fake", "how", "says"),
    [
        (FakePyAudio(LOUDSPEAKER), {}, "there is no microphone"),
        (FakePyAudio(MICROPHONE), {}, "there is no loudspeaker"),
        (FakePyAudio(), {"input": "headset"}, "no microphone 'headset'; there are: 0 Built-in"),
        (FakePyAudio(), {"output": 0}, "no loudspeaker '0'; there are: 1 Built-in Speakers"),
        (
            FakePyAudio(takes=lambda rate, channels: False),
            {},
            "'Built-in Microphone' cannot be used: it takes no usual sample rate (PortAudio -9997)",
        ),
        (
            FakePyAudio(open_error=OSError(-9999, "Unanticipated host error")),
            {},
            "the privacy settings may forbid",
        ),
        (FakePyAudio(open_error=OSError(-9985, "Device unavailable")), {}, "another program"),
        (FakePyAudio(open_error=OSError(-9993, "Odd")), {}, "Odd (PortAudio -9993)"),
    ],
)
@in_virtual_time()
async def test_what_is_wrong_with_a_device_is_said_in_words(
    use: Use, fake: FakePyAudio, how: dict[str, Any], says: str
) -> None:
    use(fake)
    fake.log.clear()
    transport = DesktopTransport(duplex="half", **how)
    with pytest.raises(TransportError) as told:
        await transport.connect()
    assert says in str(told.value)
    await transport.aclose()
    assert fake.log[-1] == "terminate"
    assert fake.log.count("terminate") == 1


def test_a_system_without_sound_says_so(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = use(FakePyAudio())

    def fail() -> None:
        raise OSError("no host")

    monkeypatch.setattr(fake, "PyAudio", fail)
    with pytest.raises(TransportError, match="no host"):
        list_devices()


@pytest.mark.parametrize("command", [["devices"], ["talk", "agentkit.agent:Agent"]])
def test_without_pyaudio_the_mend_is_named(
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "pip install 'agentkit[desktop]'" in told
    assert "portaudio19-dev" in told


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"buffer": 0.001}, "buffer: 0.001 s is not within 0.005 and 0.2"),
        ({"duplex": "both"}, "duplex: 'both' is not one of"),
    ],
)
def test_values_out_of_range_are_named(how: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        DesktopTransport(**how)


def test_what_a_library_prints_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    with soundcard.quiet():
        os.write(2, b"ALSA lib conf.c: no such card\n")
    os.write(2, b"seen\n")
    assert capfd.readouterr().err == "seen\n"


# ------------------------------------------------------------------------------------- its end


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
async def test_the_call_is_recorded_on_one_time_axis(use: Use, tmp_path: Path) -> None:
    fake = use(FakePyAudio())
    path = tmp_path / "new" / "call.wav"
    async with talking(recording=path) as (transport, _):
        start = now()
        await asyncio.sleep(1.0)
        transport.play(steady(0.5))
        await asyncio.sleep(1.0)
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 48000)
        samples = array("h", file.readframes(file.getnframes()))
    caller, agent = samples[::2], samples[1::2]
    heard = [at for at, sample in enumerate(agent) if sample]
    begin = fake.first_sound()
    assert begin is not None
    assert len(heard) == 24000
    assert heard[0] / 48000 == pytest.approx(begin - start, abs=BUFFER)
    assert caller[48000 // 2] == 100
    assert caller[heard[12000]] == 0  # half duplex


@in_virtual_time()
async def test_a_recording_that_cannot_be_written_is_said(use: Use, tmp_path: Path) -> None:
    use(FakePyAudio())
    (tmp_path / "file").touch()
    with pytest.raises(TransportError, match="cannot be written"):
        async with talking(recording=tmp_path / "file" / "call.wav"):
            await asyncio.sleep(0.1)
