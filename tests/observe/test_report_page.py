"""The report as a page: nothing that was said gets out of it, and it needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from array import array
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agentkit.audio.g711 import mulaw_to_linear16
from agentkit.cli import main
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall
from agentkit.core.policy import Policy
from agentkit.errors import RecordError
from agentkit.observe import Record, read_record, redact, report_html, sound, write_record
from agentkit.observe.record import Entry
from agentkit.transports.wav import read_wav
from tests.observe.reports import block, record, recording, the

ROOT = Path(__file__).parent.parent.parent
HOSTILE = (
    "</script><script>alert(1)</script> <!-- <script> \"'&amp; \u2028 \u202e \x00 \ud800 "
    "{{data}} $&"
)


class Parts(HTMLParser):
    """The elements of a page, as a browser would see them, and what is in those of a kind."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.inside.append((self._open, data))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def text(self, tag: str) -> str:
        return "".join(data for name, data in self.inside if name == tag)


def hostile_record() -> Record:
    """Hostile words in every place that holds words."""
    call = ToolCall("a", HOSTILE, HOSTILE)
    times = cmd.TurnTimes(ended=1.0, first_sound_sent=1.5, maybe_ended=0.5)
    entries: tuple[Entry, ...] = (
        (
            0.0,
            ev.TurnMaybeEnded(connection=0, index=0, text=HOSTILE),
            (cmd.StartReply(0, turn=0, draft=True, text=HOSTILE),),
        ),
        (0.5, ev.ReplyText(0, HOSTILE), (cmd.Discard(0, "words"), cmd.RunTool(0, call))),
        (0.6, ev.ToolReturned(0, "a", HOSTILE), (cmd.Oddity(HOSTILE),)),
        (
            1.0,
            ev.TurnEnded(connection=0, index=0, text=HOSTILE),
            (cmd.TurnCommitted(0, HOSTILE), cmd.StartReply(1, turn=0)),
        ),
        (1.1, ev.ReplyText(1, HOSTILE * 2), (cmd.Speak(1, 0, HOSTILE), cmd.Play(1, 1))),
        (1.2, ev.SoundSent(1, silent=False), (cmd.ErrorRaised(1, HOSTILE, False),)),
        (2.0, ev.SourceLost(0, HOSTILE), (cmd.ReplyEnded(1, None, 0, HOSTILE, True),)),
        (3.0, ev.CallEnded(HOSTILE), (cmd.TurnClosed(0, "heard", times),)),
    )
    return Record(HOSTILE, Policy(), entries, HOSTILE)


def test_what_was_said_cannot_end_the_block_that_it_is_in() -> None:
    page = report_html(hostile_record())
    page.encode("utf-8")
    parts = Parts(page)
    kinds = [attributes.get("type") for tag, attributes in parts.elements if tag == "script"]
    assert kinds == ["application/json", "text/plain", "module"]
    assert "alert" not in re.sub(r'<script [^>]*id="data">.*?</script>', "", page).replace(
        "&lt;script&gt;alert(1)", ""
    )
    assert "alert(1)" in parts.text("title")  # as text
    data = json.loads(block(page, "data"))
    assert the(data, "agent")["heard"] == HOSTILE
    assert data["ended"] == HOSTILE
    assert parts.count("h1") == 1


def test_the_script_shows_words_as_text_only() -> None:
    script = (ROOT / "agentkit" / "observe" / "report" / "report.js").read_text()
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert way not in script


def test_it_needs_nothing_from_elsewhere(call: tuple[Path, str], tmp_path: Path) -> None:
    page = report_html(read_record(call[0]), recording(tmp_path / "call.wav", 3))
    assert set(re.findall(r"\b[a-z]{2,8}://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}
    for tag, attributes in Parts(page).elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in page
    assert "@import" not in page


def test_a_browser_may_run_its_own_script_alone(call: tuple[Path, str]) -> None:
    page = report_html(read_record(call[0]))
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert found
    for tag, kind in (("script", 'script type="module"'), ("style", "style")):
        inside = re.search(rf"<{kind}>(.*?)</{tag}>", page, re.DOTALL)
        assert inside
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in found[1]
    assert found[1].startswith("default-src 'none';")
    assert "unsafe" not in found[1]


def test_times_and_places_that_cannot_be_read_are_shown_as_they_are() -> None:
    page = report_html(Record("<b>soon</b>", Policy(), ((0.0, ev.CallStarted(), ()),), None))
    assert "&lt;b&gt;soon&lt;/b&gt;" in page
    assert "2026-11-24 09:00 UTC" in report_html(record())
    long = record((0.0, ev.CallStarted(), ()), (125.0, ev.Touched(), ()))
    assert "<h1>A call of 2 minutes 5 seconds</h1>" in report_html(long)


def test_links_and_labels_lead_to_what_is_there() -> None:
    elements = Parts(report_html(record())).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in elements:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert attributes.get(name) is None or attributes[name] in ids
        if tag == "a":
            assert (attributes["href"] or "")[1:] in ids
        if tag == "section":
            assert "aria-labelledby" in attributes


# --------------------------------------------------------------------------------- sound


def embedded(page: str, path: Path) -> Path:
    path.write_bytes(base64.b64decode(block(page, "sound"), validate=True))
    return path


def test_the_sound_is_in_it_as_mu_law(call: tuple[Path, str], tmp_path: Path) -> None:
    page = report_html(read_record(call[0]), recording(tmp_path / "call.wav", 3))
    audio, samples = read_wav(embedded(page, tmp_path / "small.wav"))  # the left channel
    assert (audio.encoding, audio.rate, len(samples)) == ("mulaw", 16000, 48000)
    values = array("h", mulaw_to_linear16(samples))
    assert max(abs(abs(value) - 16000) for value in values) < 600
    size = (tmp_path / "small.wav").stat().st_size
    assert size == 58 + 2 * 48000
    assert len(page) < 1.34 * size + 150_000


def test_waves_are_the_loudness_of_both_voices(call: tuple[Path, str], tmp_path: Path) -> None:
    page = report_html(read_record(call[0]), recording(tmp_path / "call.wav", 2))
    waves = json.loads(block(page, "data"))["audio"]
    assert (waves["perSecond"], waves["seconds"]) == (100, 2.0)
    caller, agent = (base64.b64decode(waves[side]) for side in ("caller", "agent"))
    assert len(caller) == len(agent) == 200
    assert set(caller) == {round(255 * 16000 / 32768)}
    assert set(agent) == {round(255 * 8000 / 32768)}


@pytest.mark.parametrize(
    ("rate", "long", "kept"), [(8000, 9, 8000), (24000, 9, 16000), (48000, 1, 8000)]
)
def test_the_rate_of_the_copy(
    rate: int, long: float, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "_LONG", long)
    given = recording(tmp_path / "call.wav", 2, rate)
    audio, samples = read_wav(embedded(report_html(record(), given), tmp_path / "small.wav"))
    assert (audio.rate, len(samples)) == (kept, 2 * kept)


def test_without_the_resampler_the_rate_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "samplerate", None)
    given = recording(tmp_path / "call.wav", 1, 24000)
    audio, _ = read_wav(embedded(report_html(record(), given), tmp_path / "small.wav"))
    assert audio.rate == 24000


def test_without_sound_there_is_none() -> None:
    page = report_html(record())
    assert block(page, "sound") == ""
    assert "audio" not in json.loads(block(page, "data"))
    assert len(page) < 60_000


def test_sound_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No such file"):
        report_html(record(), tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(RecordError, match=r"text\.wav"):
        report_html(record(), tmp_path / "text.wav")


# ------------------------------------------------------------------------ the command line


def test_the_command_writes_beside_the_record(
    call: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(call[0])]) == 0
    page = call[0].with_suffix(".html")
    assert f"{page} (" in capsys.readouterr().out
    assert json.loads(block(page.read_text(encoding="utf-8"), "data"))["figures"]["turns"] == 2


def test_the_command_takes_sound_and_a_place(
    call: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = recording(tmp_path / "call.wav", 2)
    out = tmp_path / "new" / "page.html"
    assert main(["report", str(call[0]), "--audio", str(given), "--out", str(out)]) == 0
    assert "its sound in it" in capsys.readouterr().out
    assert block(out.read_text(encoding="utf-8"), "sound")


def test_the_command_never_writes_over_what_it_reads(
    call: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = recording(tmp_path / "call.wav", 1)
    kept = call[0].read_bytes(), given.read_bytes()
    for out in (call[0], given):
        command = ["report", str(call[0]), "--audio", str(given), "--out", str(out)]
        assert main(command) == 1
        assert "name another file" in capsys.readouterr().err
    assert (call[0].read_bytes(), given.read_bytes()) == kept
    assert main(["report", str(call[0]), "--out", str(tmp_path)]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none.jsonl")]) == 1


def test_a_record_that_was_redacted_on_the_way_has_a_report(
    call: tuple[Path, str], tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden.jsonl"
    write_record(hidden, redact(read_record(call[0])))
    assert main(["report", str(hidden)]) == 0
    assert "certainly" not in hidden.with_suffix(".html").read_text(encoding="utf-8").lower()


def test_what_it_is_made_of_is_in_the_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("page.html", "report.css", "report.js", "page.py"):
        assert f"agentkit/observe/report/{name}" in names
