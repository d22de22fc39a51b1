"""The sound card of this machine, by PyAudio: its devices, and a stream in each direction.

PyAudio (https://people.csail.mit.edu/hubert/pyaudio/docs/) hands PortAudio's callbacks to Python,
on a thread of PortAudio's. What runs there here copies bytes between the card and `rings`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentkit.audio.formats import AudioFormat
from agentkit.errors import ConfigError, TransportError
from agentkit.transports.rings import Handed, MicrophoneRing, SpeakerRing, take_all

Direction = Literal["input", "output"]
WAYS: tuple[Direction, ...] = ("input", "output")

MOST_WAITING = 3.0
"""Seconds of the microphone that wait for a busy event loop before the oldest are dropped."""
_LONGEST_DELAY = 5.0
"""Seconds: what a card's clock says beyond it, it does not know."""
_USUAL_RATES = (48000, 44100, 16000)
"""Hz, tried where a device does not take the rate that it names."""
_RATE_UNKNOWN = ("ALSA",)
"""Where PortAudio names the rate that is nearest to 44100 Hz of those that a device takes
(``pa_linux_alsa.c``, ``GropeDevice``), whatever it runs at: 48000 Hz, mostly."""
_BEST_HOSTS = ("Windows WASAPI", "Core Audio")
"""Where a system has several interfaces to one device, the one that is quickest."""
_CALLED = {"input": "microphone", "output": "loudspeaker"}

# PaErrorCode in portaudio.h.
_HOST_ERROR, _BAD_CHANNELS, _BAD_DEVICE, _BAD_RATE, _UNAVAILABLE = -9999, -9998, -9996, -9997, -9985
_REASONS = {
    _HOST_ERROR: "the system refused it: another program may be using it, or the privacy settings"
    " may forbid this program to use it",
    _BAD_CHANNELS: "it takes neither one channel nor two",
    _BAD_RATE: "it takes no usual sample rate",
    _BAD_DEVICE: "it is not there any more: look at `agentkit devices`",
    _UNAVAILABLE: "another program is using it, or it was unplugged",
}


@dataclass(frozen=True, slots=True)
class Device:
    """A microphone, a loudspeaker, or both.

    Args:
        index: what PortAudio calls it by now; it changes when something is plugged in.
        name: as the system has it.
        host: the system's interface to it, e.g. ``ALSA``.
        inputs: channels of a microphone; 0: it is none.
        outputs: channels of a loudspeaker; 0: it is none.
        rate: its own, in Hz, as PortAudio has it.
        default_for: what it is chosen for if nobody chooses.
    """

    index: int
    name: str
    host: str
    inputs: int
    outputs: int
    rate: int
    default_for: frozenset[Direction] = frozenset()

    def channels(self, direction: Direction) -> int:
        """How many it has in that direction."""
        return self.inputs if direction == "input" else self.outputs


def load_pyaudio() -> Any:
    """Import PyAudio. Raises ConfigError where it is missing."""
    try:
        return importlib.import_module("pyaudio")
    except ImportError as error:
        raise ConfigError(
            "desktop",
            "PyAudio is not installed: pip install 'agentkit[desktop]' (on Debian and Ubuntu it is"
            " built, which first needs: apt-get install portaudio19-dev gcc python3-dev)",
        ) from error


def list_devices() -> list[Device]:
    """All devices of this machine. Takes about 0.2 s.

    Raises:
        ConfigError: PyAudio is not installed.
        TransportError: the system's sound does not answer.
    """
    pyaudio = load_pyaudio()
    with quiet(), _portaudio(pyaudio) as audio:
        return devices_of(audio)


@contextlib.contextmanager
def _portaudio(pyaudio: Any) -> Iterator[Any]:
    audio = start_portaudio(pyaudio)
    try:
        yield audio
    finally:
        audio.terminate()


def start_portaudio(pyaudio: Any) -> Any:
    """PortAudio with the devices that are there by now. Raises TransportError."""
    try:
        return pyaudio.PyAudio()
    except OSError as error:
        raise TransportError(f"the sound of this machine cannot be used: {error}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While PortAudio looks for devices, ALSA and JACK print some eighty lines of no interest.

    They print to the process's standard error, so all of it goes nowhere meanwhile.
    """
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def devices_of(audio: Any) -> list[Device]:
    """The devices that this PortAudio knows."""
    hosts = [audio.get_host_api_info_by_index(at) for at in range(audio.get_host_api_count())]
    defaults = {
        "input": _default(audio.get_default_input_device_info, hosts, "defaultInputDevice"),
        "output": _default(audio.get_default_output_device_info, hosts, "defaultOutputDevice"),
    }
    found = []
    for index in range(audio.get_device_count()):
        info = audio.get_device_info_by_index(index)
        found.append(
            Device(
                index,
                _text(info["name"]),
                _text(hosts[info["hostApi"]]["name"]),
                int(info["maxInputChannels"]),
                int(info["maxOutputChannels"]),
                round(info["defaultSampleRate"]),
                frozenset(each for each in WAYS if defaults[each] == index),
            )
        )
    return found


def _default(ask: Callable[[], dict[str, Any]], hosts: list[dict[str, Any]], key: str) -> int:
    for host in hosts:
        if host["name"] in _BEST_HOSTS and int(host[key]) >= 0:
            return int(host[key])
    try:
        return int(ask()["index"])
    except OSError:  # there is none
        return -1


def _text(name: str | bytes) -> str:
    """PyAudio gives the bytes of a name that it cannot decode."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def choose(devices: list[Device], wanted: int | str | None, direction: Direction) -> Device:
    """The device that was asked for.

    Args:
        devices: of `list_devices`.
        wanted: an index, a name or a part of one in any case, or None for the default. Where
            several fit, the default one is taken, else the first.
        direction: what it is for.

    Raises:
        TransportError: there is none; the message lists those there are.
    """
    called = _CALLED[direction]
    usable = [device for device in devices if device.channels(direction)]
    if not usable:
        raise TransportError(
            f"there is no {called}: plug one in, or start the system's sound (PulseAudio or"
            " PipeWire), and look at `agentkit devices`"
        )
    text = "" if wanted is None else str(wanted).strip()
    fitting = [device for device in usable if _fits(device, text)]
    if not fitting:
        names = ", ".join(f"{device.index} {device.name}" for device in usable)
        raise TransportError(f"{direction}: there is no {called} {text!r}; there are: {names}")
    return next((device for device in fitting if direction in device.default_for), fitting[0])


def _fits(device: Device, text: str) -> bool:
    return (
        device.index == int(text)
        if text.isdecimal()
        else text.casefold() in (f"{device.host}: {device.name}".casefold())
    )


def device_table(devices: Sequence[Device]) -> str:
    """The devices, one a line; a star marks the default of its direction."""
    rows = [("", "in", "out", "Hz", "name")]
    for device in devices:
        heard, played = (
            f"{device.channels(way) or '-'}{'*' if way in device.default_for else ''}"
            for way in WAYS
        )
        name = f"{device.host}: {device.name}"
        rows.append((str(device.index), heard, played, str(device.rate), name))
    if len(rows) == 1:
        return "There are no microphones and no loudspeakers."
    lines = (
        f"{at:>3}  {heard:>4} {played:>4}  {rate:>6}  {name}"
        for at, heard, played, rate, name in rows
    )
    return "\n".join((*lines, "in, out: channels of a microphone, a loudspeaker; *: the default"))


class _Stream:
    """One direction of one device, opened but not started."""

    def __init__(
        self,
        pyaudio: Any,
        audio: Any,
        device: Device,
        direction: Direction,
        buffer: float,
        callback: Callable[..., Any],
    ) -> None:
        self.device = device
        self.rate, self.channels = _form(pyaudio, audio, device, direction)
        self.format = AudioFormat("linear16", self.rate)
        try:
            self._stream = audio.open(
                self.rate,
                self.channels,
                pyaudio.paInt16,
                **{direction: True, f"{direction}_device_index": device.index},
                frames_per_buffer=round(buffer * self.rate),
                stream_callback=callback,
                start=False,
            )
        except (OSError, ValueError) as error:
            raise _explained(device, direction, error) from error
        measure = "get_input_latency" if direction == "input" else "get_output_latency"
        self.latency: float = getattr(self._stream, measure)()

    def start(self, direction: Direction) -> None:
        """Let the card's thread call back. Raises TransportError."""
        try:
            self._stream.start_stream()
        except OSError as error:
            raise _explained(self.device, direction, error) from error

    def close(self) -> None:
        """Stop and close; what does not work on a device that is gone does not matter."""
        with contextlib.suppress(OSError):
            self._stream.stop_stream()
        with contextlib.suppress(OSError):
            self._stream.close()


def _form(pyaudio: Any, audio: Any, device: Device, direction: Direction) -> tuple[int, int]:
    """The first rate, in Hz, and number of channels, one or two, that the device takes."""
    last: Exception | None = None
    own = () if device.host in _RATE_UNKNOWN else (device.rate,)
    for rate in dict.fromkeys((*own, *_USUAL_RATES, device.rate)):
        for channels in range(1, min(2, device.channels(direction)) + 1):
            wanted = {
                f"{direction}_device": device.index,
                f"{direction}_channels": channels,
                f"{direction}_format": pyaudio.paInt16,
            }
            try:
                if audio.is_format_supported(rate, **wanted):
                    return rate, channels
            except ValueError as error:
                last = error
    raise _explained(device, direction, last)


def _explained(device: Device, direction: Direction, error: Exception | None) -> TransportError:
    """What PortAudio said, in words that help."""
    code = next((arg for arg in getattr(error, "args", ()) if isinstance(arg, int)), None)
    reason = _REASONS.get(code or 0, str(error))
    return TransportError(
        f"the {_CALLED[direction]} {device.name!r} cannot be used: {reason}"
        + (f" (PortAudio {code})" if code else "")
    )


class SoundCard:
    """A microphone and a loudspeaker, open. Every method may block: `play` and `clear` never do.

    Args:
        input: the microphone, as for `choose`.
        output: the loudspeaker.
        buffer: seconds. Half of them change hands at a time, for PortAudio holds on to sound. On
            ALSA it keeps two of the loudspeaker's pieces ahead (``pa_linux_alsa.c``,
            ``PaAlsa_GetFramesPerHostBuffer``), which no clear can take back, and the next one is
            up to a piece away: that makes a buffer and a half. And of the microphone's sound it
            keeps back what does not fill a piece, which is any part of one once a thread came late
            (``pa_process.c``, ``AdaptingInputOnlyProcess``).

    Attributes:
        statuses: what PortAudio said of buffers that came late, counted.
        buffers: how many changed hands in each direction.
    """

    def __init__(self, input: int | str | None, output: int | str | None, *, buffer: float) -> None:
        self.statuses: Counter[str] = Counter()
        self.buffers: Counter[Direction] = Counter()
        self._wanted: dict[Direction, int | str | None] = {"input": input, "output": output}
        self._piece = buffer / 2
        most = round(MOST_WAITING / self._piece)
        self._handed: deque[Handed] = deque(maxlen=most)
        self._microphone = MicrophoneRing(most)
        self._audio: Any = None
        self._streams: list[_Stream] = []

    def open(self) -> None:
        """Find the devices and open both. Raises ConfigError and TransportError."""
        pyaudio = load_pyaudio()
        self._go_on = pyaudio.paContinue
        self._flags = {
            pyaudio.paInputUnderflow: "input underflow",
            pyaudio.paInputOverflow: "input overflow",
            pyaudio.paOutputUnderflow: "output underflow",
            pyaudio.paOutputOverflow: "output overflow",
        }
        with quiet():
            self._audio = start_portaudio(pyaudio)
            try:
                devices = devices_of(self._audio)
                self.microphone = self._open(pyaudio, devices, "input", self._hear)
                self.loudspeaker = self._open(pyaudio, devices, "output", self._sound)
            except BaseException:
                self.close()
                raise
        self._ring = SpeakerRing(self.loudspeaker.format)

    def start(self, clock: Callable[[], float], woken: Callable[[], None]) -> None:
        """Begin. Raises TransportError.

        Args:
            clock: the time, in seconds. Asked on the card's threads.
            woken: called on the card's threads when there is something for `take`.
        """
        self._clock, self._woken = clock, woken
        self.loudspeaker.start("output")
        self.microphone.start("input")

    @property
    def queued(self) -> int:
        """Bytes that were ever played."""
        return self._ring.queued

    @property
    def dropped(self) -> int:
        """Buffers of the microphone that nobody took in time."""
        return self._microphone.dropped

    def play(self, data: bytes) -> None:
        """Queue whole samples, in the loudspeaker's format."""
        self._ring.write(data)

    def clear(self) -> None:
        """Drop what has not been handed to the card; the next buffer fades it out."""
        self._ring.clear()

    def take(self) -> tuple[list[Handed], list[bytes]]:
        """What the loudspeaker was given and what the microphone heard since the last time."""
        return take_all(self._handed), self._microphone.take()

    def close(self) -> None:
        """Stop, close and let go of the card, in this order. Safe to call twice."""
        streams, self._streams = self._streams, []
        audio, self._audio = self._audio, None
        try:
            for stream in streams:
                stream.close()
        finally:
            if audio is not None:
                audio.terminate()

    def _open(
        self, pyaudio: Any, devices: list[Device], way: Direction, callback: Callable[..., Any]
    ) -> _Stream:
        device = choose(devices, self._wanted[way], way)
        stream = _Stream(pyaudio, self._audio, device, way, self._piece, callback)
        self._streams.append(stream)
        return stream

    # --------------------------------------------------------------- on the sound card's threads

    def _hear(
        self, data: bytes, _frames: int, _times: dict[str, float], status: int
    ) -> tuple[None, int]:
        self._note("input", status)
        self._microphone.write(_one_of_two(data) if self.microphone.channels == 2 else data)
        self._woken()
        return None, int(self._go_on)

    def _sound(
        self, _data: None, frames: int, times: dict[str, float], status: int
    ) -> tuple[bytes, int]:
        self._note("output", status)
        # PortAudio says when the first sample will be heard; some systems do not know.
        delay = times["output_buffer_dac_time"] - times["current_time"]
        if not 0 < delay < _LONGEST_DELAY:
            delay = self.loudspeaker.latency
        handed = self._ring.read(2 * frames, self._clock() + delay)
        self._handed.append(handed)
        if handed.audio:
            self._woken()
        data = handed.data
        return _both_of_two(data) if self.loudspeaker.channels == 2 else data, int(self._go_on)

    def _note(self, way: Direction, status: int) -> None:
        self.buffers[way] += 1
        if status:
            for flag, name in self._flags.items():
                if status & flag:
                    self.statuses[name] += 1


def _one_of_two(data: bytes) -> bytes:
    return array("h", data)[::2].tobytes()


def _both_of_two(data: bytes) -> bytes:
    samples = array("h", data)
    both = array("h", bytes(2 * len(data)))
    both[::2] = both[1::2] = samples
    return both.tobytes()
