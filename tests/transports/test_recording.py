"""The recording of a call, written while it goes on."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import tracemalloc
import wave
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agentkit.audio.formats import AudioFormat
from agentkit.errors import TransportError
from agentkit.testing.clock import in_virtual_time
from agentkit.transports.recording import BATCH, MOST_WAITING, CallRecording
from tests.transports.desk import BUFFER, now, steady, talking
from tests.transports.fake_pyaudio import FakePyAudio

Use = Callable[[FakePyAudio], FakePyAudio]


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


# ------------------------------------------------------------------------------- the file itself

CALLER, AGENT = AudioFormat("linear16", 16000), AudioFormat("linear16", 24000)


def both(path: Path) -> tuple[array[int], array[int]]:
    """The caller's samples and the agent's."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 24000)
        samples = array("h", file.readframes(file.getnframes()))
    return samples[::2], samples[1::2]


def level(form: AudioFormat, seconds: float, value: int) -> bytes:
    return array("h", [value] * round(form.rate * seconds)).tobytes()


def test_the_two_voices_lie_where_they_were_heard(tmp_path: Path) -> None:
    recording = CallRecording(tmp_path / "new" / "call.wav", CALLER, AGENT)
    recording.begin(100.0)
    for at in range(150):  # the agent's sound is known before it is heard
        recording.caller(100.0 + at / 50 + 0.003 * (at % 2), level(CALLER, 0.02, 1000))
        if 25 <= at < 50:
            recording.agent(100.3 + at / 50, level(AGENT, 0.02, 2000))
    recording.agent(102.5, level(AGENT, 0.25, 3000))
    recording.close(103.0)
    caller, agent = both(recording.path)
    assert len(caller) == 3 * 24000
    assert all(abs(sample - 1000) < 30 for sample in caller[100:-100])
    heard = [at for at, sample in enumerate(agent) if sample == 2000]
    assert (heard[0], heard[-1] + 1) == (round(0.8 * 24000), round(1.3 * 24000))
    heard = [at for at, sample in enumerate(agent) if sample == 3000]
    assert (heard[0], heard[-1] + 1) == (round(2.5 * 24000), round(2.75 * 24000))
    assert not any(agent[: round(0.8 * 24000)])


def test_a_program_that_is_killed_leaves_what_was_said(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    program = """
import os, signal, sys
from pathlib import Path
from agentkit.audio.formats import AudioFormat
from agentkit.transports.recording import CallRecording
form = AudioFormat("linear16", 24000)
recording = CallRecording(Path(sys.argv[1]), form, form)
recording.begin(0.0)
for at in range(100):
    recording.caller(at / 50, b"\\1\\2" * 480)
while recording._handed.qsize():
    pass
recording._handed.put([])  # taken only when the one before is written
while recording._handed.qsize():
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    caller, agent = both(path)
    assert len(caller) >= 1.5 * 24000
    assert set(caller) == {0x0201}
    assert set(agent) == {0}


def test_memory_does_not_grow_with_the_call(tmp_path: Path) -> None:
    recording = CallRecording(tmp_path / "call.wav", AGENT, AGENT)
    recording.begin(0.0)
    second = level(AGENT, 1.0, 7)
    tracemalloc.start()
    try:
        for at in range(600):
            recording.caller(float(at), second)
            recording.agent(float(at), second)
            while recording._handed.qsize() > 2:
                time.sleep(0.0001)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    recording.close(600.0)
    assert most < 3_000_000
    assert recording.path.stat().st_size == 44 + 600 * 24000 * 4


def test_a_stop_of_the_process_is_a_gap(tmp_path: Path) -> None:
    recording = CallRecording(tmp_path / "call.wav", AGENT, AGENT)
    recording.begin(0.0)
    recording.caller(0.0, level(AGENT, 0.2, 5))
    recording.caller(8.0, level(AGENT, 0.2, 6))
    recording.close(8.2)
    caller, _ = both(recording.path)
    assert next(at for at, sample in enumerate(caller) if sample == 6) == 8 * 24000
    assert list(caller).count(5) == list(caller).count(6) == 4800


def test_a_disk_that_fails_is_told_at_the_end_and_nothing_waits(tmp_path: Path) -> None:
    recording = CallRecording(tmp_path / "call.wav", AGENT, AGENT)
    recording._file.close()
    with Path("/dev/full").open("r+b", buffering=0) as recording._file:
        recording.begin(0.0)
        for at in range(100):
            recording.caller(float(at), level(AGENT, 1.0, 5))
        with pytest.raises(OSError, match="No space left"):
            recording.close(100.0)
    assert not recording._handed.qsize()


def test_a_slow_disk_costs_a_gap_and_not_the_memory(tmp_path: Path) -> None:
    recording = CallRecording(tmp_path / "call.wav", AGENT, AGENT)
    recording._start = 0.0  # its thread does not write
    with capture_logs() as logs:
        for at in range(1000):
            recording.caller(float(at), level(AGENT, 1.0, 5))
    assert recording._handed.qsize() * BATCH == MOST_WAITING
    assert ["too slow" in entry["event"] for entry in logs] == [True]
    recording._file.close()


def test_a_call_that_never_began_leaves_no_file(tmp_path: Path) -> None:
    recording = CallRecording(tmp_path / "call.wav", CALLER, AGENT)
    recording.close(0.0)
    assert not list(tmp_path.iterdir())
