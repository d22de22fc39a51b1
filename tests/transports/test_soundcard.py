"""Devices: which there are, which is taken, and what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit.cli import main
from agentkit.errors import ConfigError, TransportError
from agentkit.testing.clock import in_virtual_time
from agentkit.transports import soundcard
from agentkit.transports.desktop import DesktopTransport, device_table, list_devices
from agentkit.transports.soundcard import choose
from tests.transports.desk import talking
from tests.transports.fake_pyaudio import LOUDSPEAKER, MICROPHONE, FakePyAudio, device

Use = Callable[[FakePyAudio], FakePyAudio]


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


@pytest.mark.parametrize(
    ("host", "named", "takes", "rate"),
    [
        ("MME", 44100, (44100, 48000), 44100),
        ("ALSA", 44100, (44100, 48000), 48000),
        ("ALSA", 44100, (44100,), 44100),
        ("ALSA", 32000, (22050, 32000), 32000),
    ],
)
@in_virtual_time()
async def test_a_device_is_used_at_its_own_rate_where_portaudio_knows_it(
    use: Use, host: str, named: int, takes: tuple[int, ...], rate: int
) -> None:
    """PortAudio's ALSA names the rate nearest to 44100 Hz of those that a device takes."""
    fake = use(
        FakePyAudio(
            device("USB", outputs=1, rate=named),
            takes=lambda wanted, channels: wanted in takes,
            hosts=({"name": host},),
        )
    )
    async with talking():
        assert {stream.rate for stream in fake.streams.values()} == {rate}


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
        ({"buffer": 0.001}, "buffer: 0.001 s is not within 0.01 and 0.2"),
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
