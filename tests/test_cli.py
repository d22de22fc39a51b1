"""The command line, as a person types it: real speech through the offline engine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import wave
from pathlib import Path
from xml.etree import ElementTree

import pytest
from websockets.sync.client import connect

from agentkit import Agent
from agentkit.cli import main
from agentkit.errors import ConfigError
from agentkit.loading import load_agent

ROOT = Path(__file__).parent.parent
RECORDING = Path("/usr/share/pocketsphinx/test/data/librivox")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DEEPGRAM_API_KEY", "OPENAI_API_KEY", "AGENTKIT_FLUX", "AGENTKIT_LLM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_short_demo_leaves_a_recording_a_record_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cues = tmp_path / "cues.toml"
    cues.write_text('[[cue]]\ntext = "Is there any parking?"\n')
    assert main(["demo", "--cues", str(cues), "--out", "out"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("flux: local (no key is set)")
    assert "scripted answers, not a model" in shown
    assert "parking" in shown
    with wave.open("out/call.wav") as file:
        assert file.getnchannels() == 2
        assert file.getnframes() / file.getframerate() > 5
    ElementTree.fromstring(Path("out/timeline.svg").read_text())
    assert shown.splitlines()[-1].startswith("out/report.html: ")
    report = Path("out/report.html").read_text(encoding="utf-8")
    assert "parking" in report
    assert len(report) > Path("out/call.wav").stat().st_size / 2  # its sound is in it
    types = [
        json.loads(line).get("event", {}).get("type")
        for line in Path("out/record.jsonl").read_text().splitlines()
    ]
    assert "TurnEnded" in types
    assert main(["replay", "out/record.jsonl"]) == 0
    assert "the same commands each time" in capsys.readouterr().out


def test_run_takes_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speech = sorted(RECORDING.glob("*.wav"))[1]
    agent = ROOT / "examples" / "receptionist.py"
    assert main(["run", str(agent), "--audio", str(speech), "--out", "out"]) == 0
    assert "man" in capsys.readouterr().out


def test_flux_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "agentkit.cli", "flux", "--port", "0"]
    # What runs in the background of a shell has SIGINT ignored, and so would what it starts.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        url = line.split()[2].rstrip(";")
        query = "model=flux-general-en&encoding=linear16&sample_rate=16000"
        with connect(f"{url}?{query}") as socket:
            assert json.loads(socket.recv(timeout=5))["type"] == "Connected"
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 130


def test_plugins_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    shown = capsys.readouterr().out
    assert "agentkit.llm\n  local" in shown
    assert "agentkit-local" in shown


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "none.py", "--audio", "x.wav"], "--audio: there is no file x.wav"),
        (["demo", "none.py"], "there is no file none.py"),
        (["demo", "--cues", "none.toml"], "none.toml"),
        (["replay", "none.jsonl"], "No such file"),
        (["demo", "--flux", "elsewhere"], "AGENTKIT_FLUX (from a flag): 'elsewhere'"),
        (["demo", "--flux", "deepgram"], "DEEPGRAM_API_KEY: is needed"),
        (["demo", "--llm", "acme/x"], "installed: local, openai"),
        (["demo", "--tts", "local/loud"], "there are local/pico"),
    ],
)
def test_mistakes_are_told_in_a_line(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 1
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


def test_a_wrong_command_line_exits_with_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sing"])
    assert ended.value.code == 2


def test_agents_are_found_by_file_and_by_module(tmp_path: Path) -> None:
    assert load_agent(str(ROOT / "examples" / "receptionist.py")).__name__ == "Receptionist"
    assert load_agent("agentkit.agent:Agent") is Agent
    two = tmp_path / "two.py"
    two.write_text(
        "from agentkit import Agent\nclass A(Agent): pass\nclass B(Agent): pass\nC = 1\n"
    )
    assert load_agent(f"{two}:B").__name__ == "B"
    for name, says in (
        (str(two), "holds A, B"),
        (f"{two}:C", "no agent called C"),
        ("agentkit_no_such:X", "cannot be imported"),
        ("nothing", "cannot be imported"),
        (":X", "neither a file"),
    ):
        with pytest.raises(ConfigError, match=says):
            load_agent(name)


def test_the_receptionist_is_short_and_typed() -> None:
    text = (ROOT / "examples" / "receptionist.py").read_text()
    assert len(text.splitlines()) < 100
    tools = load_agent(str(ROOT / "examples" / "receptionist.py")).tools
    assert [(name, tool.read_only) for name, tool in tools.items()] == [
        ("opening_hours", True),
        ("book", False),
    ]
