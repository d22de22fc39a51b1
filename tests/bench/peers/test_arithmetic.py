"""The comparison counts right: what a caller hears, what a row says, what a core takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.peers import calls as caller_calls
from tests.bench.peers.calls import BUSY, ONE_BY_ONE, Caller, Line, Tally, TwilioLine, cycle
from tests.bench.peers.chart import Series, chart, spread_out, ticks
from tests.bench.peers.report import (
    cells_of,
    full_at,
    late,
    own_work,
    reacts_in,
    series,
    slower,
    write_report,
)
from tests.bench.peers.stage import PUNCTUAL, Row, at
from tests.bench.sockets import BINARY, TEXT
from tests.bench.wheel import Wheel

LOUD, QUIET = b"\x00\x10" * 480, b"\x01\x00" * 480  # 20 ms of 24 kHz


class Clock:
    """`time.monotonic`, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Silent:
    """A Flux that is told things."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def turn(self, event: str, text: str, confidence: float = 0.1) -> None:
        self.told.append(f"{event} {text}")


class Run:
    """A caller whose wheel the test turns."""

    def __init__(self, clock: Clock, script: tuple[caller_calls.Turn, ...]) -> None:
        self.clock = clock
        self.due: list[tuple[float, Callable[[], None]]] = []
        wheel = Wheel()
        wheel.at = lambda due, call: self.due.append((due, call))  # type: ignore[method-assign]
        self.line = caller_calls.PlainLine(0, wheel)
        self.caller = Caller(0, wheel, self.line, script)
        self.flux = Silent()
        self.caller.converse(self.flux)  # type: ignore[arg-type]

    @property
    def tally(self) -> Tally:
        return self.caller.tally

    def until(self, time: float) -> None:
        while self.due:
            self.due.sort(key=lambda entry: entry[0])
            due, call = self.due[0]
            if due > time:
                break
            del self.due[0]
            self.clock.now = due
            call()
        self.clock.now = time

    def hear(self, audio: bytes) -> None:
        self.line.took(BINARY, audio, b"")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(caller_calls, "time", clock)
    return clock


def test_a_reaction_runs_from_the_turns_end_to_the_first_sound(clock: Clock) -> None:
    run = Run(clock, (caller_calls.Turn("lead 200", 0.2, 3.0),))
    run.until(1001.7)  # 1 s, then 0.5 s of speech, then the lead
    assert run.flux.told[-1].startswith("EndOfTurn")
    clock.now += 0.100
    run.hear(QUIET)
    clock.now += 0.050
    run.hear(LOUD)
    assert run.tally.reaction == {"lead 200": [pytest.approx(0.150)]}
    assert run.tally.turns == 1


def test_a_sound_before_the_turns_end_is_early(clock: Clock) -> None:
    run = Run(clock, (caller_calls.Turn("lead 200", 0.2, 3.0),))
    run.until(1001.6)
    run.hear(LOUD)
    assert run.tally.early == 1


def test_a_turn_without_a_sound_is_unanswered(clock: Clock) -> None:
    run = Run(clock, (caller_calls.Turn("lead 200", 0.2, 3.0),))
    run.until(1004.0)
    assert run.tally.unanswered == 1


def test_a_barge_in_runs_from_the_start_of_the_turn_to_the_clear(clock: Clock) -> None:
    turn = caller_calls.Turn("lead 200", 0.2, 1.0, breaks_in=True)
    run = Run(clock, (turn,))
    run.until(1001.9)
    for _ in range(100):
        run.hear(LOUD)
    run.until(1002.0)
    clock.now += 0.003
    run.line.took(TEXT, b'{"event":"clear"}', b"")
    assert run.tally.barge_in == [pytest.approx(0.003)]


def test_a_reply_that_goes_on_late_has_a_gap(clock: Clock) -> None:
    run = Run(clock, (caller_calls.Turn("lead 200", 0.2, 3.0),))
    run.until(1001.8)
    run.hear(LOUD)
    clock.now += 0.02 + 0.03
    run.hear(LOUD)
    assert run.tally.gaps == []
    clock.now += 0.02 + 0.05
    run.hear(LOUD)
    assert run.tally.gaps == [pytest.approx(0.05)]


def test_a_false_end_is_taken_back(clock: Clock) -> None:
    run = Run(clock, (caller_calls.Turn("false", 0.2, 4.0, resumes="more"),))
    run.until(1003.0)
    assert [told.split()[0] for told in run.flux.told] == [
        "StartOfTurn",
        "EagerEndOfTurn",
        "TurnResumed",
        "EagerEndOfTurn",
        "EndOfTurn",
    ]
    assert run.flux.told[-1].endswith("please")


def test_both_lines_send_fifty_whole_frames_a_second() -> None:
    wheel = Wheel()
    plain, twilio = caller_calls.PlainLine(0, wheel), TwilioLine(0, wheel)
    assert plain._frame.endswith(caller_calls.noise(0) * 2)
    assert len(caller_calls.noise(0) * 2) == 16000 * 2 * caller_calls.FRAME
    assert b'"event":"media"' in twilio._frame


def test_the_busy_script_has_twelve_turns_a_minute() -> None:
    assert len(BUSY) * 60 / cycle(BUSY) == 12
    assert {turn.kind for turn in BUSY} == {"lead 0", "lead 200", "lead 500"}
    assert cycle(ONE_BY_ONE) == pytest.approx(18)


# ------------------------------------------------------------------------------------- the rows


def row(calls: int, reaction: float = 0.3, lag: float = 0.001, **fields: object) -> Row:
    found = {kind: [reaction] * 10 for kind in ("lead 0", "lead 200", "lead 500")}
    tally = Tally(reaction=found, turns=30, barge_in=[0.001])
    made = Row("livekit", "plain", "busy", calls, "x 1", "a machine", "a command", 0.0)
    made.seconds, made.tally, made.lag_p99 = 30.0, tally, lag
    made.cpu_user, made.cpu_system = 4.0 * calls, 1.0 * calls
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_cpu_is_of_a_minute_of_one_call() -> None:
    assert row(10).per_minute == pytest.approx(10.0)


def test_percentiles_are_values_that_were_found() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (at(values, 50), at(values, 90), at(values, 99)) == (51.0, 91.0, 100.0)
    assert at([], 99) == 0.0


@pytest.mark.parametrize(
    ("fields", "counts"),
    [({}, True), ({"lateness": PUNCTUAL * 1.01}, False), ({"waited": 0.06}, False)],
)
def test_a_row_counts_only_if_the_load_was_on_time(fields: dict[str, object], counts: bool) -> None:
    assert (row(1, **fields).fault == "") is counts  # type: ignore[arg-type]


def test_void_rows_are_left_out_if_others_count() -> None:
    cells = cells_of([row(1, 0.9, lateness=1.0), row(1, 0.3), row(1, 0.5)], "busy")
    cell = cells[("livekit", "plain"), 1]
    assert (len(cell.rows), cell.void) == (2, False)
    assert at(cell.pooled(["lead 0"]), 99) == 0.5


def test_a_core_is_full_where_one_of_the_limits_is_passed() -> None:
    steps = [row(1, 0.3), row(10, 0.4, lag=0.004), row(30, 0.44, lag=0.006), row(50, 0.46)]
    cells = cells_of(steps, "busy")
    assert full_at(cells, ("livekit", "plain"), slower) == (30, 50)
    assert full_at(cells, ("livekit", "plain"), late) == (10, 30)
    assert full_at(cells_of(steps[:2], "busy"), ("livekit", "plain"), slower) == (10, None)


def test_a_bot_that_answers_nobody_has_no_reaction_to_draw() -> None:
    answering, silent = row(10), row(70)
    silent.tally.reaction.clear()
    (line,) = series(cells_of([answering, silent], "busy"), reacts_in)
    assert [calls for calls, _ in line.points] == [10]


def test_a_frameworks_own_work_is_what_it_takes_more_than_bare_asyncio() -> None:
    bare = {"framework": "bare", "cpu_user": 20.0, "cpu_system": 5.0}
    rows = [row(10), row(30), row(10, **bare), row(30, lateness=1.0, **bare)]  # type: ignore[arg-type]
    cells = cells_of(rows, "busy")
    assert own_work(cells, ("livekit", "plain"), 10) == "5.00"
    assert own_work(cells, ("livekit", "plain"), 30) == "-", "bare asyncio was disturbed"
    assert own_work(cells, ("bare", "plain"), 10) == "-"


def test_a_row_is_read_back_as_it_was_written() -> None:
    assert Row.from_json(row(7).to_json()) == row(7)


def test_the_report_goes_between_the_marks_of_the_page(tmp_path: Path) -> None:
    rows = tmp_path / "peers.jsonl"
    rows.write_text("".join(row(calls).to_json() + "\n" for calls in (1, 10)))
    page = tmp_path / "docs" / "peers.md"
    page.parent.mkdir()
    page.write_text("above\n<!-- measured -->\nold\n<!-- end of what was measured -->\nbelow\n")
    written = write_report(rows, tmp_path, page.parent)
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "old" not in text
    assert "| LiveKit Agents, plain audio: 10 | 300 / 300 |" in text
    assert {path.name for path in written} == {
        "peers.md",
        "peers-reaction.svg",
        "peers-cpu.svg",
    }


# ---------------------------------------------------------------------------------- the picture


@pytest.mark.parametrize("highest", [0.3, 1, 7, 100, 101, 1500])
def test_ticks_are_few_and_reach_the_top(highest: float) -> None:
    found = ticks(highest)
    assert found[0] == 0
    assert found[-1] >= highest
    assert 2 <= len(found) <= 7


def test_labels_do_not_overlap() -> None:
    assert spread_out([30.0, 10.0, 12.0], 16) == [42.0, 10.0, 26.0]


def test_what_is_too_high_is_drawn_at_the_top() -> None:
    picture = chart("t", "x", "ms", [Series("a < b", "#000", [(1, 50), (2, 900)])], highest=100)
    assert 'cy="44.0"' in picture
    assert "a &lt; b" in picture


def test_lines_know_how_to_hear() -> None:
    with pytest.raises(NotImplementedError):
        Line(0, Wheel(), "/").is_sound(b"")
