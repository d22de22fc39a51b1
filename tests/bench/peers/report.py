"""The report of the comparison: tables and two pictures, of all rows there are."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.bench.peers.calls import BUSY, ONE_BY_ONE
from tests.bench.peers.chart import Series, chart
from tests.bench.peers.stage import BOUNDARIES, FRAMEWORKS, KEPT, PUNCTUAL, Row, at

NAMES = {
    "agentkit": "agentkit",
    "pipecat": "Pipecat",
    "livekit": "LiveKit Agents",
    "bare": "bare asyncio",
}
LINES = {"twilio": "Twilio stream", "plain": "plain audio"}
COLOURS = {"agentkit": "#0b6e4f", "pipecat": "#c2410c", "livekit": "#1d4ed8", "bare": "#78716c"}
SIDES = [(framework, line) for framework in FRAMEWORKS for line in BOUNDARIES[framework]]
ONE_KINDS = [turn.kind for turn in ONE_BY_ONE]
BUSY_KINDS = sorted(turn.kind for turn in BUSY)
BEGIN, END = "<!-- measured -->", "<!-- end of what was measured -->"
WORSE, LAG = 1.5, 0.005
"""A core is full once the reaction's p90 is so many times that of one call, or the event loop's
lateness passes so many seconds in one case of a hundred."""

Side = tuple[str, str]


class Cell:
    """All counted runs of one bot with so many calls; if none counts, the least disturbed.

    Args:
        rows: what was measured.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        counted = [row for row in rows if not row.fault]
        self.void = not counted
        self.rows = counted or [min(rows, key=lambda row: row.waited + row.lateness)]

    def pooled(self, kinds: Iterable[str]) -> list[float]:
        """The reactions of all runs, in seconds."""
        return [
            took for row in self.rows for kind in kinds for took in row.tally.reaction.get(kind, [])
        ]

    def reaction(self, kind: str, high: float = 99) -> str:
        """In milliseconds: the median and a high percentile of all runs."""
        found = self.pooled([kind])
        return f"{at(found, 50) * 1000:.0f} / {at(found, high) * 1000:.0f}" if found else "-"

    def barge_in(self) -> str:
        found = [took for row in self.rows for took in row.tally.barge_in]
        return f"{at(found, 50) * 1000:.1f} / {at(found, 99) * 1000:.1f}" if found else "-"

    def of(self, value: Callable[[Row], float]) -> float:
        """The median of the runs."""
        return statistics.median(value(row) for row in self.rows)

    def spread(self, value: Callable[[Row], float], form: str = ".2f") -> str:
        """The median of the runs, and the least and the most if there are several."""
        found = sorted(value(row) for row in self.rows)
        middle = format(statistics.median(found), form)
        if len(found) == 1:
            return middle
        return f"{middle} ({format(found[0], form)} to {format(found[-1], form)})"

    def total(self, value: Callable[[Row], float]) -> str:
        return f"{sum(value(row) for row in self.rows):.0f}"


Cells = dict[tuple[Side, int], Cell]


def cells_of(rows: Sequence[Row], script: str) -> Cells:
    """What was measured with a script, by bot and number of calls."""
    found: defaultdict[tuple[Side, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.script == script:
            found[(row.framework, row.boundary), row.calls].append(row)
    return {key: Cell(group) for key, group in sorted(found.items())}


def full_at(
    cells: Cells, side: Side, passes: Callable[[Cell, Cell], bool]
) -> tuple[int | None, int | None]:
    """The most calls measured before the first that passes a limit, and that first.

    What is void is left out: a bot is not to be blamed for what disturbed it.
    """
    steps = sorted(
        calls for (found, calls), cell in cells.items() if found == side and not cell.void
    )
    most = None
    for calls in steps:
        if passes(cells[side, calls], cells[side, steps[0]]):
            return most, calls
        most = calls
    return most, None


def slower(cell: Cell, one: Cell) -> bool:
    """Whether some kind of turn's reaction has passed `WORSE` times that of one call.

    A kind that takes no time at all, because its draft is ready, is left to the loop's lateness.
    """
    if cell.of(lambda row: row.tally.unanswered / max(1, row.tally.turns)) > 0.01:
        return True
    return any(
        at(cell.pooled([kind]), 90) > WORSE * at(one.pooled([kind]), 90)
        for kind in ("lead 0", "lead 200")
    )


def late(cell: Cell, one: Cell) -> bool:
    """Whether the event loop is later than `LAG` in one case of a hundred."""
    return cell.of(lambda row: row.lag_p99) > LAG


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)]


def _name(side: Side) -> str:
    return f"{NAMES[side[0]]}, {LINES[side[1]]}"


def _one_call(cells: Cells) -> list[str]:
    sides = [side for side in SIDES if (side, 1) in cells]
    found = {side: cells[side, 1] for side in sides}

    def line(name: str, value: Callable[[Cell], str]) -> list[str]:
        return [name, *(value(found[side]) for side in sides)]

    def reaction(kind: str) -> list[str]:
        return line(f"{kind}: p50 / p99", lambda cell: cell.reaction(kind))

    lines = [reaction(kind) for kind in ONE_KINDS]
    lines += [
        line("StartOfTurn to clear: p50 / p99", Cell.barge_in),
        line("sounds before the turn's end", lambda c: c.total(lambda r: r.tally.early)),
        line("requests of the model a turn", lambda c: c.spread(lambda r: r.requests)),
        line("requests of the voice a turn", lambda c: c.spread(lambda r: r.speeches)),
        line("first piece for the voice", lambda c: f"“{c.rows[-1].spoken}”"),
        line("turns", lambda c: c.total(lambda r: r.tally.turns)),
        line("of them unanswered", lambda c: c.total(lambda r: r.tally.unanswered)),
        line("import, s", lambda c: c.spread(lambda r: r.importing)),
        line("start of the process, s", lambda c: c.spread(lambda r: r.start)),
        line("memory before a call, MiB", lambda c: f"{c.of(lambda r: r.idle) / 2**20:.0f}"),
        line("runs", lambda c: f"{len(c.rows)}{', VOID' if c.void else ''}"),
    ]
    return _table(["ms", *map(_name, sides)], lines)


def _many_calls(cells: Cells) -> list[str]:
    head = [
        "bot, calls at once",
        *(f"{kind}: p50 / p90" for kind in BUSY_KINDS),
        "clear: p50 / p99",
        "CPU s a call-minute",
        "of it more than bare asyncio",
        "of one core",
        "MiB a call",
        "loop late, p99",
        "unanswered of turns",
        "gaps",
        "load late, p99",
        "runs",
    ]
    lines = []
    for side in SIDES:
        for calls in sorted(calls for found, calls in cells if found == side):
            cell = cells[side, calls]
            lines.append(
                [
                    f"{_name(side)}: {calls}",
                    *(cell.reaction(kind, 90) for kind in BUSY_KINDS),
                    cell.barge_in(),
                    cell.spread(per_minute),
                    own_work(cells, side, calls),
                    f"{cell.of(core_share):.0%}",
                    f"{cell.of(lambda r: r.a_call) / 2**20:.2f}" if calls >= 5 else "-",
                    f"{cell.of(lambda r: r.lag_p99) * 1000:.1f}",
                    f"{cell.total(lambda r: r.tally.unanswered)} of"
                    f" {cell.total(lambda r: r.tally.turns)}",
                    cell.total(lambda r: len(r.tally.gaps)),
                    f"{cell.of(lambda r: r.lateness) * 1000:.1f}",
                    f"{len(cell.rows)}{', VOID' if cell.void else ''}",
                ]
            )
    return _table(head, lines)


def own_work(cells: Cells, side: Side, calls: int) -> str:
    """What a framework takes beyond the conversation itself, in CPU seconds a call-minute."""
    bare = cells.get((("bare", side[1]), calls))
    if side[0] == "bare" or bare is None or bare.void:
        return "-"
    return f"{cells[side, calls].of(per_minute) - bare.of(per_minute):.2f}"


def per_minute(row: Row) -> float:
    """CPU seconds that a minute of one call takes."""
    return row.per_minute


def core_share(row: Row) -> float:
    """How much of its core a bot took."""
    return (row.cpu_user + row.cpu_system) / row.seconds


def _limits(cells: Cells) -> list[str]:
    def told(found: tuple[int | None, int | None]) -> str:
        most, first = found
        if first is None:
            return f"{most} and more" if most else "not measured undisturbed"
        return f"{most or 'none'}, not {first}"

    sides = [side for side in SIDES if any(found == side for found, _ in cells)]
    return _table(
        ["calls on one core", f"reaction's p90 within {WORSE:g} times that of one call",
         f"event loop's lateness p99 within {LAG * 1000:g} ms"],
        ([_name(s), told(full_at(cells, s, slower)), told(full_at(cells, s, late))] for s in sides),
    )  # fmt: skip


def series(cells: Cells, value: Callable[[Cell], float | None]) -> list[Series]:
    """A line for each bot, through what counts and has a value."""
    found: defaultdict[Side, list[tuple[float, float]]] = defaultdict(list)
    for (side, calls), cell in cells.items():
        if not cell.void and (height := value(cell)) is not None:
            found[side].append((calls, height))
    return [
        Series(_name(side), COLOURS[side[0]], found[side], dashed=side[1] == "plain")
        for side in SIDES
        if side in found
    ]


def reacts_in(cell: Cell) -> float | None:
    """The reaction's 90th percentile in milliseconds; None where no turn was answered."""
    took = cell.pooled(["lead 200"])
    return at(took, 90) * 1000 if took else None


def measured(rows: Sequence[Row]) -> str:
    """The tables, in Markdown."""
    one, busy = cells_of(rows, "one"), cells_of(rows, "busy")
    versions = sorted({row.version for row in rows})
    return "\n".join(
        [
            f"Machine: {'; '.join(sorted({row.machine for row in rows}))}, one of the cores for the"
            f" bot. Versions: {'; '.join(versions)}. {len(rows)} measurements,"
            f" {sum(bool(row.fault) for row in rows)} of them void.",
            "",
            "### One call",
            "",
            "EndOfTurn to the first sound that is not silence, by the kind of turn, and what else"
            " one call shows. Milliseconds, if nothing else is said."
            " `python tests/bench/peers/run.py --script one --framework F --boundary B`",
            "",
            *_one_call(one),
            "",
            "### Many calls",
            "",
            "12 turns a minute in each, one in three breaks in. Milliseconds, if nothing else is"
            " said. `python tests/bench/peers/run.py --script busy --framework F --boundary B"
            " --calls N`",
            "",
            *_many_calls(busy),
            "",
            f"A measurement is void if the load itself was late by more than {PUNCTUAL * 1000:g}"
            f" ms in one case of a hundred, or if the bot had to wait for its core for more than"
            f" {KEPT:.0%} of the time. Figures marked VOID were disturbed: they do not compare.",
            "",
            "### How many calls a core takes",
            "",
            *_limits(busy),
            "",
        ]
    )


def write_report(rows_file: Path, out: Path, docs: Path | None = None) -> list[Path]:
    """Write the tables and the pictures; into the documentation, too, if that is given.

    Returns:
        what was written.
    """
    rows = [Row.from_json(line) for line in rows_file.read_text().splitlines()]
    busy = cells_of(rows, "busy")
    pictures = {
        "peers-reaction.svg": chart(
            "EndOfTurn to first sound, lead 200 ms, p90",
            "calls at once on one core",
            "ms",
            series(busy, reacts_in),
            highest=1500,
        ),
        "peers-cpu.svg": chart(
            "What a bot takes of its core",
            "calls at once",
            "%",
            series(busy, lambda cell: cell.of(core_share) * 100),
            highest=100,
        ),
    }
    tables = measured(rows)
    seen = "".join(f"![{name}]({name})\n" for name in pictures)
    written = [_write(out / "peers.md", f"{tables}\n{seen}")]
    written += [_write(out / name, picture) for name, picture in pictures.items()]
    if docs is not None:
        page = docs / "peers.md"
        before, _, rest = page.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        written.append(_write(page, f"{before}{BEGIN}\n\n{tables}\n{seen}\n{END}{after}"))
        written += [_write(docs / name, picture) for name, picture in pictures.items()]
    return written


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
