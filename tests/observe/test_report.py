"""What the report of a call says is what happened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.history import ToolCall
from agentkit.core.policy import Policy
from agentkit.observe import read_record, redact, report_html
from agentkit.observe.report.data import report_data, unheard
from tests.observe.reports import block, kinds, record, the

ROOT = Path(__file__).parent.parent.parent
RECORDS = sorted((ROOT / "tests" / "records").glob("*.jsonl"))


def test_the_conversation_is_in_order(call: tuple[Path, str]) -> None:
    data = report_data(read_record(call[0]))
    times = [moment["at"] for moment in data["moments"]]
    assert times == sorted(times)
    assert kinds(data)[:2] == ["agent", "caller"]
    assert kinds(data)[-1] == "end"
    assert [one["text"] for one in data["moments"] if one["kind"] == "caller"] == [
        "book a table for two",
        "mm-hm",
        "no wait for three",
    ]
    assert the(data, "caller", 1)["note"] == "attention"


def test_drafts_have_their_fate_and_what_they_saved(call: tuple[Path, str]) -> None:
    data = report_data(read_record(call[0]))
    gone, kept = the(data, "draft", 0), the(data, "draft", 1)
    assert (gone["fate"], gone["reason"], gone["parked"]) == ("discarded", "words", True)
    assert gone["text"].startswith("Certainly, I can do that")
    assert gone["saved"] == 0
    assert (kept["fate"], kept["text"]) == ("committed", "")
    assert kept["saved"] == data["latency"]["turns"][0]["saved"] > 0


def test_T12_what_was_not_heard_of_a_reply_stands_apart(call: tuple[Path, str]) -> None:
    data = report_data(read_record(call[0]))
    greeting, cut, last = (the(data, "agent", number) for number in range(3))
    assert (greeting["says"], greeting["rest"], greeting["cut"]) == ("say", "", False)
    assert cut["cut"]
    whole = "Certainly, I can do that for you right away. Which day?"
    assert (cut["heard"] + cut["rest"]).split() == whole.split()
    assert cut["heard"]
    assert cut["rest"]
    assert (last["heard"], last["rest"]) == (whole, "")


def test_T16_T17_holds_and_interruptions(call: tuple[Path, str]) -> None:
    data = report_data(read_record(call[0]))
    holds = [one["verdict"] for one in data["moments"] if one["kind"] == "hold"]
    assert holds == ["went_on", "interrupted"]
    assert (data["figures"]["holds"], data["figures"]["interruptions"]) == (2, 1)


def test_T21_stages_are_counted_from_the_end_of_the_turn(call: tuple[Path, str]) -> None:
    latency = report_data(read_record(call[0]))["latency"]
    first, second = (turn["stages"] for turn in latency["turns"])
    assert first["ended"] == second["ended"] == 0
    assert first["draft_started"] == first["maybe_ended"] == -0.5
    assert first["first_text"] == first["first_audio_made"] == pytest.approx(-0.3, abs=0.01)
    assert first["first_sound_sent"] == pytest.approx(0, abs=0.02)
    assert second["draft_started"] is None
    assert second["first_text"] == pytest.approx(0.2, abs=0.01)
    assert latency["medians"]["draft_started"] == -0.5
    middle = (first["first_text"] + second["first_text"]) / 2
    assert latency["medians"]["first_text"] == pytest.approx(middle, abs=0.001)


def test_the_ledger_adds_up(call: tuple[Path, str]) -> None:
    ledger = report_data(read_record(call[0]))["ledger"]
    assert (ledger["begun"], ledger["fates"]) == (2, {"discarded": 1, "committed": 1})
    assert ledger["reasons"] == {"words": 1}
    assert (ledger["parked"], ledger["adopted"], ledger["taken_back"]) == (1, 0, 0)
    whole = "Certainly, I can do that for you right away. Which day?"
    assert ledger["written_in_vain"] == len(whole)
    voice = ledger["voice"]
    assert 0 < voice["unheard_drafts"] <= 120  # T8
    assert 0 < voice["unheard_replies"] < len(whole)
    assert voice["given"] == voice["unheard_drafts"] + len("Good morning.") + 2 * len(whole)


def test_characters_of_a_reply_that_was_taken_back_were_given_in_vain() -> None:
    ended = ev.TurnEnded(connection=0, index=0, text="hi")
    data = report_data(
        record(
            (0.0, ev.TurnMaybeEnded(connection=0, index=0, text="hi"),
             (cmd.StartReply(0, turn=0, draft=True),)),
            (0.1, ev.ReplyText(0, "Hello there."), (cmd.Speak(0, 0, "Hello there."),)),
            (0.2, ended, (cmd.Commit(0), cmd.Play(0, 1), cmd.TurnCommitted(0, "hi"))),
            (0.4, ev.TurnStarted(connection=0, index=1, text="and"),
             (cmd.ClearPlayout(2), cmd.Discard(0, "taken_back"))),
        )
    )  # fmt: skip
    assert data["ledger"]["taken_back"] == 1
    assert data["ledger"]["voice"] == {"given": 12, "unheard_drafts": 0, "unheard_replies": 12}
    reply = the(data, "agent")
    assert (reply["discarded"], reply["heard"], reply["rest"]) == ("taken_back", "", "Hello there.")
    assert the(data, "hold")["verdict"] == "taken_back"
    assert reply["at"] == 0.2  # not where its draft was begun


def test_tools_losses_echo_silence_and_errors_are_told() -> None:
    call = ToolCall("a", "book", '{"day": "Friday"}')
    other = ToolCall("b", "wait", "{}")
    heard = ev.TurnEnded(connection=0, index=0, text="good morning")
    data = report_data(
        record(
            (10.0, ev.CallStarted(), (cmd.StartReply(0, turn=0, draft=True),)),
            (10.1, ev.Touched(), (cmd.RunTool(0, call), cmd.RunTool(0, other))),
            (10.4, ev.ToolReturned(0, "a", "booked"), (cmd.Discard(0, "words"),)),
            (11.0, ev.SourceLost(0, "closed"), ()),
            (11.5, ev.SourceConnected(1), (cmd.Oddity("late"), cmd.Oddity("late"))),
            (12.0, heard, (cmd.EchoHeard(1, "good morning"),)),
            (20.0, ev.TimerFired("silence"), (cmd.SilenceNoticed(1),)),
            (21.0, ev.Touched(), (cmd.ErrorRaised(None, "llm.server", True),)),
            (22.0, ev.SourceLost(1, "closed"), ()),
        )
    )
    assert kinds(data) == [
        "draft", "tool", "tool", "lost", "caller", "silence", "error", "lost",
    ]  # fmt: skip
    assert the(data, "tool") == {
        "kind": "tool", "at": 0.1, "end": 0.4, "name": "book", "arguments": '{"day": "Friday"}',
        "result": "booked", "drafted": True,
    }  # fmt: skip
    assert the(data, "tool", 1)["end"] is None
    assert (the(data, "lost")["end"], the(data, "lost", 1)["end"]) == (1.5, None)
    assert the(data, "caller")["note"] == "echo"
    assert data["oddities"] == [("late", 2)]
    assert data["figures"]["errors"] == 1


def test_T25_keys_are_counted_and_not_in_the_page() -> None:
    path = ROOT / "tests" / "records" / "keys_after_words.jsonl"
    assert '"4711"' in path.read_text()
    page = report_html(read_record(path))
    assert "4711" not in block(page, "data")
    data = json.loads(block(page, "data"))
    assert the(data, "keys")["count"] == 4
    assert data["latency"]["turns"][1]["text"] == "my number is ····"
    pressed = [row for row in data["log"] if row[2] == "KeyPressed"]
    assert {row[3] for row in pressed} == {"key ·"}


def test_the_log_has_a_row_for_each_event_and_command(call: tuple[Path, str]) -> None:
    record = read_record(call[0])
    rows = report_data(record)["log"]
    assert len(rows) == sum(1 + len(commands) for _, _, commands in record.entries)
    assert {row[1] for row in rows} <= {"caller", "reply", "voice", "tools", "trouble", "call"}
    names = [row[2] for row in rows]
    assert names[0] == "CallStarted"
    assert names.count("→ Discard") >= 1
    started = rows[names.index("TurnStarted")]
    assert started[1] == "caller"
    assert "“book a”" in started[3]
    ticks = {row[2] for row in rows if row[4]}
    assert "PlayoutReached" in ticks
    assert "TurnEnded" not in ticks


def test_times_in_the_log_are_those_of_the_call() -> None:
    times = cmd.TurnTimes(speech_end=100.5, ended=101.0, saved=0.25)
    speech = ev.TurnUpdated(connection=0, index=0, text="a", speech_start=100.25)
    rows = report_data(
        record(
            (100.0, ev.CallStarted(), (cmd.SetTimer("longest_call", 3700.0),)),
            (101.0, speech, (cmd.TurnClosed(0, "heard", times),)),
            (102.0, ev.PolicyChanged(Policy()), ()),
        )
    )["log"]
    told = {row[2]: row[3] for row in rows}
    assert told["→ SetTimer"] == "timer longest_call · at 3600.000"
    assert told["TurnUpdated"] == "index 0 · “a” · speech start 0.250"
    assert told["→ TurnClosed"] == (
        "turn 0 · outcome heard · speech end 0.500 · ended 1.000 · saved 0.250"
    )
    assert told["PolicyChanged"] == "policy changed"


@pytest.mark.parametrize(
    ("text", "heard", "rest"),
    [
        ("Hello there. Bye.", "Hello there.", " Bye."),
        (" Hello  there. Bye. ", "Hello there. ", " Bye."),
        ("Hello", "Hello", ""),
        ("Hello", "", "Hello"),
        ("Hello", "Hullo", None),
        ("Hello", "Hello there", None),
        ("", "", ""),
    ],
)
def test_what_comes_after_what_was_heard(text: str, heard: str, rest: str | None) -> None:
    assert unheard(text, heard) == rest


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_record_has_a_report_redacted_too(path: Path) -> None:
    record = read_record(path)
    data, hidden = report_data(record), report_data(redact(record))
    assert json.loads(block(report_html(record), "data")) == json.loads(json.dumps(data))
    assert kinds(data) == kinds(hidden)
    assert data["figures"] == hidden["figures"]
    assert data["ledger"] == hidden["ledger"]


def test_a_redacted_record_makes_a_report_without_the_words(call: tuple[Path, str]) -> None:
    page = report_html(redact(read_record(call[0])))
    said = block(page, "data").lower()
    for word in ("table", "three", "certainly"):
        assert word not in said


@pytest.mark.parametrize("ended", ["over", None])
def test_records_that_are_empty_or_break_off(ended: str | None) -> None:
    data = report_data(record(ended=ended))
    assert (data["moments"], data["log"], data["figures"]["reaction"]) == ([], [], None)
    started = ev.TurnStarted(connection=0, index=0, text="hello")
    broken = (1.0, started, (cmd.StartReply(0, turn=0, draft=True),))
    data = report_data(record(broken, ended=ended))
    assert the(data, "draft")["fate"] == "open"
    assert data["ended"] is None
