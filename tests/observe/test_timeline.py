"""The picture: well formed, complete, with no words upon words."""

from __future__ import annotations

import itertools
import re
import wave
from array import array
from pathlib import Path
from xml.etree import ElementTree

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.policy import Policy
from agentkit.errors import RecordError
from agentkit.observe import Record, read_record, timeline_svg
from agentkit.observe.record import Entry
from agentkit.observe.svg import wide
from agentkit.observe.timeline import draw_call

SVG = "{http://www.w3.org/2000/svg}"


def stereo(path: Path, seconds: float, channels: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(array("h", [9000, -20000] * round(4000 * seconds * channels)).tobytes())
    return path


def test_it_says_what_it_shows_in_words_too(call: tuple[Path, str]) -> None:
    root = ElementTree.fromstring(timeline_svg(read_record(call[0])))
    assert root.get("role") == "img"
    described = root.findtext(f"{SVG}desc") or ""
    for part in (
        "2 turns",
        "2 drafts (1 committed, 1 discarded)",
        "Caller: book a table for two",
        "Agent: Good morning.",
        "(cut off)",
    ):
        assert part in described


def test_each_edge_of_a_turn_has_its_mark(call: tuple[Path, str]) -> None:
    svg = timeline_svg(read_record(call[0]))
    assert len(re.findall(r"<title>the turn started at", svg)) == 3
    assert len(re.findall(r"<title>the turn may have ended at", svg)) == 2
    assert len(re.findall(r"<title>the turn was resumed at", svg)) == 1
    assert "(attention, no turn)" in svg
    assert "parked, then discarded: words" in svg
    assert "committed, 500 ms ahead" in svg


def test_waveforms_come_from_the_audio(call: tuple[Path, str], tmp_path: Path) -> None:
    record = read_record(call[0])
    assert "<path" not in draw_call(record)
    assert "<path" in draw_call(record, stereo(tmp_path / "a.wav", 20))
    assert "<path" in draw_call(record, stereo(tmp_path / "short.wav", 3))


def test_audio_that_cannot_be_used_says_why(call: tuple[Path, str], tmp_path: Path) -> None:
    record = read_record(call[0])
    with pytest.raises(RecordError, match="no 16-bit stereo"):
        draw_call(record, stereo(tmp_path / "mono.wav", 1, channels=1))
    with pytest.raises(RecordError, match="No such file"):
        draw_call(record, tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(RecordError, match=r"text\.wav"):
        draw_call(record, tmp_path / "text.wav")


def test_what_was_said_cannot_break_the_picture() -> None:
    said = 'a <b> & "c" \x00\x1b[31m\x0b \u202e end'
    event = ev.TurnEnded(connection=0, index=0, text=said)
    ended = cmd.ReplyEnded(0, None, 0, said, interrupted=False)
    entries = (
        (0.0, event, (cmd.TurnCommitted(0, said), cmd.StartReply(0, turn=0), cmd.Play(0, 1))),
        (0.1, ev.SoundSent(0, silent=False), ()),
        (3.0, ev.CallEnded(said), (ended,)),
    )
    texts = "".join(
        ElementTree.fromstring(timeline_svg(Record("", Policy(), entries, ""))).itertext()
    )
    assert "<b> &" in texts
    assert "\x1b" not in texts


def test_words_do_not_lie_upon_words() -> None:
    """Many short drafts close together, over the ends of rows."""
    entries: list[Entry] = []
    for number in range(60):
        at = 0.31 * number
        resumed = ev.TurnResumed(connection=0, index=0, text="so")
        start = cmd.StartReply(number, turn=0, draft=True)
        entries.append((at, ev.TurnMaybeEnded(connection=0, index=0, text="so"), (start,)))
        entries.append((at + 0.1, resumed, (cmd.Discard(number, "resumed"),)))
    svg = timeline_svg(Record("", Policy(), tuple(entries), None))
    boxes = []
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        if text.text == "discarded: resumed":
            x, y, length = float(text.get("x", 0)), float(text.get("y", 0)), wide(text.text, 13)
            begin = x if text.get("text-anchor") == "start" else x - length
            boxes.append((y, begin, begin + length))
    assert len(boxes) == 60
    boxes.sort()
    for (y, _, end), (next_y, begin, _) in itertools.pairwise(boxes):
        assert y != next_y or end <= begin
    assert all(begin >= 0 and end <= 1400 for _, begin, end in boxes)


def test_a_long_call_grows_downwards() -> None:
    entries = ((0.0, ev.CallStarted(), ()), (600.0, ev.CallEnded("over"), ()))
    root = ElementTree.fromstring(timeline_svg(Record("", Policy(), entries, "over")))
    assert root.get("width") == "1400"
    assert float(root.get("height", 0)) > 50 * 150


def test_a_record_without_entries() -> None:
    ElementTree.fromstring(timeline_svg(Record("", Policy(), (), None)))
