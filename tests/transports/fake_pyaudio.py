"""A module like PyAudio, whose sound card is driven by the event loop: no threads, no devices.

Its callbacks are called as PortAudio's are (pyaudio.PyAudio.Stream, ``stream_callback``), every
buffer's length, in virtual time too.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from typing import Any

Callback = Callable[[bytes | None, int, dict[str, float], int], tuple[bytes | None, int]]


def device(name: str, *, inputs: int = 1, outputs: int = 0, rate: int = 48000) -> dict[str, Any]:
    return {
        "name": name,
        "hostApi": 0,
        "maxInputChannels": inputs,
        "maxOutputChannels": outputs,
        "defaultSampleRate": float(rate),
    }


MICROPHONE = device("Built-in Microphone")
LOUDSPEAKER = device("Built-in Speakers", inputs=0, outputs=1)


class FakePyAudio:
    """Stands for the module.

    Args:
        devices: as PyAudio describes them.
        latency: seconds from the callback to the ear; the card knows its clock if ``tells``.
        takes: whether a device takes a rate and a number of channels.
        open_error: what opening a stream raises.
    """

    # As portaudio.h has them.
    paInt16, paContinue = 8, 0  # noqa: N815
    paInputUnderflow, paInputOverflow = 1, 2  # noqa: N815
    paOutputUnderflow, paOutputOverflow = 4, 8  # noqa: N815

    def __init__(
        self,
        *devices: dict[str, Any],
        latency: float = 0.03,
        tells: bool = True,
        takes: Callable[[int, int], bool] = lambda rate, channels: True,
        open_error: OSError | None = None,
        hosts: tuple[dict[str, Any], ...] = (),
    ) -> None:
        self.devices = devices or (MICROPHONE, LOUDSPEAKER)
        self.latency, self.tells = latency, tells
        self.takes, self.open_error = takes, open_error
        self.hosts = hosts or ({"name": "ALSA"},)
        self.log: list[str] = []
        self.streams: dict[str, _Stream] = {}
        self.speaks: Callable[[float], int] = lambda time: 100
        """The microphone's sample at a time."""
        self.sounded: list[tuple[float, array[int]]] = []
        """What the loudspeaker played: when it is heard, and the samples of one channel."""
        self.unplugged = False
        self.status = 0

    def PyAudio(self) -> _Host:
        self.log.append("init")
        return _Host(self)

    def heard(self, since: float = 0.0) -> array[int]:
        """All samples that are heard from a time on, padding included."""
        found = array("h")
        for time, samples in self.sounded:
            if time >= since:
                found += samples
        return found

    def first_sound(self, since: float = 0.0) -> float | None:
        """When the first sample that is not 0 is heard."""
        rate = self.streams["output"].rate
        for time, samples in self.sounded:
            for at, sample in enumerate(samples):
                if sample and time + at / rate >= since:
                    return time + at / rate
        return None

    def last_sound(self) -> float:
        """When the last sample that is not 0 was heard."""
        rate = self.streams["output"].rate
        return max(
            time + at / rate
            for time, samples in self.sounded
            for at, sample in enumerate(samples)
            if sample
        )


class _Host:
    def __init__(self, fake: FakePyAudio) -> None:
        self._fake = fake

    def get_host_api_count(self) -> int:
        return len(self._fake.hosts)

    def get_host_api_info_by_index(self, index: int) -> dict[str, Any]:
        return self._fake.hosts[index]

    def get_device_count(self) -> int:
        return len(self._fake.devices)

    def get_device_info_by_index(self, index: int) -> dict[str, Any]:
        return self._fake.devices[index] | {"index": index}

    def get_default_input_device_info(self) -> dict[str, Any]:
        return self._first("maxInputChannels")

    def get_default_output_device_info(self) -> dict[str, Any]:
        return self._first("maxOutputChannels")

    def _first(self, key: str) -> dict[str, Any]:
        for index, found in enumerate(self._fake.devices):
            if found[key]:
                return found | {"index": index}
        raise OSError("No Default Device Available")

    def is_format_supported(self, rate: int, **wanted: int) -> bool:
        channels = wanted.get("input_channels") or wanted["output_channels"]
        if not self._fake.takes(rate, channels):
            raise ValueError("Invalid sample rate", -9997)
        return True

    def open(self, rate: int, channels: int, sample: int, **how: Any) -> _Stream:
        if self._fake.open_error is not None:
            raise self._fake.open_error
        assert sample == FakePyAudio.paInt16
        assert how["start"] is False
        way = "input" if how.get("input") else "output"
        stream = _Stream(
            self._fake, way, rate, channels, how["frames_per_buffer"], how["stream_callback"]
        )
        self._fake.streams[way] = stream
        return stream

    def terminate(self) -> None:
        self._fake.log.append("terminate")


class _Stream:
    def __init__(
        self, fake: FakePyAudio, way: str, rate: int, channels: int, frames: int, callback: Callback
    ) -> None:
        self.rate, self.channels = rate, channels
        self._fake, self._way, self._frames, self._callback = fake, way, frames, callback
        self._handle: asyncio.Handle | None = None
        self._loop = _loop
        self._next = 0.0

    def get_input_latency(self) -> float:
        return 0.01

    def get_output_latency(self) -> float:
        return 0.04

    def start_stream(self) -> None:
        assert self._loop is not None
        self._next = self._loop.time()
        self._loop.call_soon_threadsafe(self._tick)

    def stop_stream(self) -> None:
        self._fake.log.append(f"stop {self._way}")
        self._way_over = True
        if self._loop is not None and self._handle is not None:
            self._loop.call_soon_threadsafe(self._handle.cancel)

    def close(self) -> None:
        self._fake.log.append(f"close {self._way}")

    def _tick(self) -> None:
        if self._fake.unplugged:
            return
        assert self._loop is not None
        now = self._next
        if self._way == "input":
            self._hear(now)
        else:
            self._sound(now)
        self._next = now + self._frames / self.rate
        self._handle = self._loop.call_at(self._next, self._tick)

    def _hear(self, now: float) -> None:
        begin = now - self._frames / self.rate
        samples = array("h")
        for at in range(self._frames):
            samples.append(self._fake.speaks(begin + at / self.rate))
            if self.channels == 2:
                samples.append(7)
        times = {"current_time": now, "input_buffer_adc_time": begin, "output_buffer_dac_time": 0.0}
        made, flag = self._callback(samples.tobytes(), self._frames, times, self._fake.status)
        assert (made, flag) == (None, FakePyAudio.paContinue)

    def _sound(self, now: float) -> None:
        heard = now + self._fake.latency if self._fake.tells else 0.0
        times = {
            "current_time": now,
            "input_buffer_adc_time": 0.0,
            "output_buffer_dac_time": heard,
        }
        made, flag = self._callback(None, self._frames, times, self._fake.status)
        assert flag == FakePyAudio.paContinue
        assert made is not None
        assert len(made) == 2 * self.channels * self._frames, "fewer frames end the stream"
        samples = array("h", made)
        assert self.channels == 1 or samples[::2] == samples[1::2]
        self._fake.sounded.append((now + self._fake.latency, samples[:: self.channels]))


_loop: asyncio.AbstractEventLoop | None = None


def drive(loop: asyncio.AbstractEventLoop) -> None:
    """The loop that the sound cards opened from now on run on (they are opened in a thread)."""
    global _loop
    _loop = loop
