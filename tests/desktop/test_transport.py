"""The transport on a real sound server: what goes in comes out, when it says that it does."""

from __future__ import annotations

import asyncio
import contextlib
import math
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import first_sound
from agentkit.cli import main
from agentkit.errors import TransportError
from agentkit.transports.desktop import DesktopTransport
from agentkit.transports.echo import EchoControl
from agentkit.transports.wav import converted, read_wav
from tests.desktop.pulse import Pulse
from tests.transports import desk
from tests.transports.desk import now

VOICE = AudioFormat("linear16", 24000)
CALLER = AudioFormat("linear16", 16000)
BUFFER = 0.02
PIECE = 9600
"""Samples: 0.2 s at 48 kHz."""
Samples = npt.NDArray[np.float64]


class Sink(desk.Sink):
    """One that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.marked_event = asyncio.Event()

    def marked(self, name: str) -> None:
        super().marked(name)
        self.marked_event.set()

    async def reached(self, wanted: str) -> float:
        while not (found := [at for at, name in self.marks if name == wanted]):
            self.marked_event.clear()
            await self.marked_event.wait()
        return found[-1]

    def sounds(self) -> list[float]:
        """When each buffer that is not silent arrived."""
        return [at for at, data in self.got if first_sound(data, CALLER) is not None]


class AllEars(EchoControl):
    """Takes everything for the caller's."""

    def played(self, data: bytes) -> None:
        pass

    def slipped(self) -> None:
        pass

    def heard(self, data: bytes, playing: bool) -> bytes:
        return data


@contextlib.asynccontextmanager
async def talking(**how: Any) -> AsyncIterator[tuple[DesktopTransport, Sink]]:
    transport = DesktopTransport(voice=VOICE, caller=CALLER, buffer=BUFFER, **how)
    transport._echo = AllEars()
    sink = Sink()
    async with desk.held(transport, sink):
        yield transport, sink


def tone(seconds: float) -> bytes:
    count = round(24000 * seconds)
    return array("h", [round(9000 * math.sin(0.3 * at)) for at in range(count)]).tobytes()


def likeness(said: bytes, heard: bytes) -> float:
    """The middle correlation of pieces of what was said, each found where it stands.

    On a busy machine the sound server drops a buffer or puts one in, and what follows is shifted.
    """
    a, b = (np.frombuffer(data, np.int16).astype(float) for data in (said, heard))
    pieces = [a[at : at + PIECE] for at in range(0, len(a) - PIECE, PIECE)]
    return median(_correlation(piece, b) for piece in pieces if np.abs(piece).max() > 2000)


def _correlation(piece: Samples, whole: Samples) -> float:
    size = len(piece) + len(whole)
    product = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(piece, size)), size)
    at = int(np.argmax(product[: len(whole) - len(piece)]))
    part = whole[at : at + len(piece)]
    return float(piece @ part / math.sqrt((piece @ piece) * (part @ part) or 1.0))


def test_the_devices_are_listed(pulse: Pulse, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0
    shown = capfd.readouterr()
    assert "ALSA: pulse" in shown.out
    assert "32*" in shown.out
    assert shown.err == ""  # nothing of what ALSA says meanwhile


async def test_speech_comes_in_and_goes_out_as_it_was(
    pulse: Pulse, speech: Path, tmp_path: Path
) -> None:
    given, said = read_wav(speech)
    path = tmp_path / "heard.wav"
    async with talking(input="pulse", output="pulse") as (transport, sink):
        async with pulse.recording(path):
            transport.play(converted(said, given, VOICE))
            transport.mark("end")
            await pulse.say(speech)
            await sink.reached("end")
            await asyncio.sleep(0.3)
        assert {device.name for device in transport.devices} == {"pulse"}
        assert not transport.statuses["microphone dropped"]
    played_form, played = read_wav(path)
    fine = AudioFormat("linear16", 48000)
    reference = converted(said, given, fine)
    heard = converted(b"".join(data for _, data in sink.got), CALLER, fine)
    assert likeness(reference, heard) > 0.99
    assert likeness(reference, converted(played, played_form, fine)) > 0.99


async def test_marks_come_when_the_sound_is_in_the_room(pulse: Pulse) -> None:
    with pulse.acoustics(0.0, delay=0.02):
        async with talking() as (transport, sink):
            await asyncio.sleep(0.3)
            for each in range(3):
                transport.mark(f"begin {each}")
                began = len(sink.got)
                transport.play(tone(0.4))
                transport.mark(f"end {each}")
                at = await sink.reached(f"end {each}")
                await asyncio.sleep(0.4)
                sounds = [when for when in sink.sounds() if when >= sink.got[began][0]]
                # From the loudspeaker to the session it is the room's delay and some buffers.
                assert 0.0 <= sounds[-1] - at <= 0.02 + 6 * BUFFER
                assert sounds[-1] - sounds[0] == pytest.approx(0.4, abs=2 * BUFFER)


async def test_after_a_clear_the_room_is_silent_at_once(pulse: Pulse) -> None:
    with pulse.acoustics(0.0, delay=0.02):
        async with talking() as (transport, sink):
            await asyncio.sleep(0.3)
            transport.play(tone(2.0))
            transport.mark("never")
            await asyncio.sleep(0.7)
            transport.clear()
            cleared = now()
            await asyncio.sleep(0.6)
            assert sink.sounds()[-1] - cleared <= 0.02 + 8 * BUFFER
            assert not sink.marks
            transport.play(tone(0.2))
            transport.mark("next")
            await sink.reached("next")
            await asyncio.sleep(0.3)
            assert sink.sounds()[-1] > cleared + 0.6


async def test_a_device_that_is_not_there_is_named(pulse: Pulse) -> None:
    with pytest.raises(TransportError, match=r"'Headset'; there are: .*pulse"):
        await DesktopTransport(input="Headset").connect()
