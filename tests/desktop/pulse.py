"""A sound server with a loudspeaker and a microphone that are not there.

PulseAudio, with a "null sink" for each: what is played on one of them can be recorded from its
monitor. The microphone is what is played on the sink `microphone`. `acoustics` lets it hear the
loudspeaker, as it does in a room.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STARTING = 10.0
"""Seconds it has to start in: a tenth of one on a quiet machine."""
STOPPING = 5.0
POLL = 0.02

# Without norewinds a null sink gives silence for the first second of what is played on it.
CONFIGURATION = """
load-module module-native-protocol-unix socket={socket} auth-anonymous=1
load-module module-null-sink sink_name=loudspeaker {form}
load-module module-null-sink sink_name=microphone {form}
load-module module-remap-source source_name=mic master=microphone.monitor
set-default-sink loudspeaker
set-default-source mic
"""
FORM = "format=s16le rate=48000 channels=1 norewinds=1"


@dataclass(frozen=True)
class Pulse:
    """A server that is running.

    Args:
        folder: all it has on the disk.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to find this server and no other."""
        return {
            "PULSE_SERVER": f"unix:{self.folder}/native",
            "PULSE_RUNTIME_PATH": str(self.folder / "run"),
            "PULSE_STATE_PATH": str(self.folder / "state"),
            "PULSE_CONFIG_PATH": str(self.folder / "config"),
        }

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def control(self, *arguments: str) -> str:
        """Give an order; return what is printed."""
        done = subprocess.run(
            ["pactl", *arguments],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=STARTING,
        )
        return done.stdout.strip()

    def is_up(self) -> bool:
        with contextlib.suppress(subprocess.SubprocessError):
            return "mic" in self.control("list", "short", "sources")
        return False

    @contextlib.contextmanager
    def acoustics(self, decibels: float = -6.0, delay: float = 0.04) -> Iterator[None]:
        """The microphone hears the loudspeaker: so much softer, and so many seconds later."""
        module = self.control(
            "load-module", "module-loopback", "source=loudspeaker.monitor", "sink=microphone",
            f"latency_msec={round(delay * 1000)}",
        )  # fmt: skip
        try:
            inputs = self.control("list", "short", "sink-inputs").splitlines()
            (at,) = (line.split()[0] for line in inputs if "loopback" in line)
            self.control("set-sink-input-volume", at, f"{decibels}dB")
            yield
        finally:
            self.control("unload-module", module)

    async def say(self, *files: Path) -> None:
        """The caller says what is in these WAV files, one behind the other."""
        for file in files:
            async with self._running("paplay", "-d", "microphone", str(file)) as playing:
                assert await playing.wait() == 0

    @contextlib.asynccontextmanager
    async def recording(self, path: Path) -> AsyncIterator[None]:
        """Record what the loudspeaker plays, as a WAV file of 48 kHz."""
        async with self._running(
            "parec", "-d", "loudspeaker.monitor", "--format=s16le", "--rate=48000",
            "--channels=1", "--file-format=wav", str(path),
        ) as recorder:  # fmt: skip
            await asyncio.to_thread(_wait_for, path)
            yield
            recorder.send_signal(signal.SIGINT)
            await recorder.wait()

    @contextlib.asynccontextmanager
    async def _running(
        self, program: str, *arguments: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            program, "--latency-msec=100", *arguments, env=os.environ | self.environment
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@dataclass(frozen=True, slots=True)
class Sounding:
    """A stretch of sound that is not silence: when it began and ended, in seconds of `time`."""

    begin: float
    end: float


class Ear:
    """Listens to what a sink plays, from the moment it is made, and knows when it did.

    What PulseAudio gives of a sink is at most a few milliseconds old; the sample that came soonest
    tells when the others were played.

    Args:
        pulse: the server.
        sink: the sink's name.
    """

    RATE = 48000

    def __init__(self, pulse: Pulse, sink: str) -> None:
        self._process = subprocess.Popen(
            ["parec", "-d", f"{sink}.monitor", "--format=s16le", f"--rate={self.RATE}",
             "--channels=1", "--raw", "--latency-msec=2"],
            env=os.environ | pulse.environment, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        self._data = bytearray()
        self._soonest = float("inf")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def soundings(self, gap: float = 0.05, least: int = 200) -> list[Sounding]:
        """All that sounded so far, in stretches with this much silence between, in seconds."""
        data = bytes(self._data[: len(self._data) // 2 * 2])
        loud = np.flatnonzero(np.abs(np.frombuffer(data, np.int16).astype(int)) > least)
        if not len(loud):
            return []
        breaks = np.flatnonzero(np.diff(loud) > gap * self.RATE)
        begins, ends = loud[[0, *(breaks + 1)]], loud[[*breaks, -1]]
        return [
            Sounding(self._soonest + begin / self.RATE, self._soonest + (end + 1) / self.RATE)
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 65536):
            now = time.monotonic()
            self._data += data
            self._soonest = min(self._soonest, now - len(self._data) / 2 / self.RATE)


def _wait_for(path: Path) -> None:
    while not path.exists() or not path.stat().st_size:
        time.sleep(POLL)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Pulse]:
    """Start a server in a process group of its own, which is gone when this is over.

    Raises:
        RuntimeError: it did not start; the message is its log.
    """
    pulse = Pulse(folder)
    for part in ("run", "state", "config"):
        (folder / part).mkdir(mode=0o700)
    script = folder / "default.pa"
    script.write_text(CONFIGURATION.format(socket=folder / "native", form=FORM))
    command = [
        # Only this server is ended with these tests, even if they are killed.
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("pulseaudio", "-n", "-F", str(script), "--daemonize=no", "--system=false"),
        *("--exit-idle-time=-1", "--disallow-exit", "--disallow-module-loading=false"),
        *("--use-pid-file=no", "--disable-shm=yes", "--realtime=no", "--high-priority=no"),
    ]
    with pulse.log.open("wb") as log:
        server = subprocess.Popen(
            command,
            env=os.environ | pulse.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + STARTING
        while not pulse.is_up():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PulseAudio did not start:\n{pulse.log.read_text()}")
            time.sleep(POLL)
        yield pulse
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOPPING)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
