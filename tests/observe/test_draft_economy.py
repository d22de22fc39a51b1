"""What drafts cost is told: in the log, the record, the report and the figures (T9)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Cost
from agentkit.observe import read_record, redact, write_record
from agentkit.observe.log import CallLogger, configure_logging
from agentkit.observe.report.data import report_data
from agentkit.observe.summary import ledger_of
from agentkit.server.metrics import Metrics

RECORD = Path(__file__).parent.parent / "records" / "drafts_within_a_budget.jsonl"


@pytest.fixture
def told() -> list[dict[str, object]]:
    """What the log says of the recorded call."""
    configure_logging("debug")
    with capture_logs() as lines:
        log = CallLogger()
        for now, event, commands in read_record(RECORD).entries:
            log(now, event, commands)
    return [dict(line) for line in lines]


def test_T9_the_log_says_why_the_threshold_was_moved(told: list[dict[str, object]]) -> None:
    moved = [line for line in told if line["event"] == "eager threshold moved"]
    assert [(one["before"], one["to"], one["reason"]) for one in moved] == [
        (0.5, 0.4, "worth_more")
    ]


def test_T9_the_log_adds_the_drafts_up_at_the_end(told: list[dict[str, object]]) -> None:
    record = read_record(RECORD)
    ledger = ledger_of(record.entries, record.policy)
    total = next(line for line in told if line["event"] == "drafts")
    assert (total["adopted"], total["lost"]) == (ledger.adopted, ledger.lost)
    assert total["lost_input"] == ledger.wasted.input
    booked = [line for line in told if line["event"] == "draft booked"]
    assert len(booked) == ledger.drafts


def test_T9_a_call_without_drafts_adds_nothing_up() -> None:
    configure_logging("debug")
    with capture_logs() as lines:
        CallLogger()(0.0, ev.CallEnded("closed"), [])
    assert [line["event"] for line in lines] == ["call ended"]


def test_T9_the_log_says_what_was_not_begun() -> None:
    configure_logging("debug")
    with capture_logs() as lines:
        declined = cmd.DraftDeclined(3, "eager", "worth", -0.02)
        CallLogger()(0.0, ev.CallEnded("closed"), [declined])
    assert {"event": "draft declined", "reason": "worth", "worth": -0.02}.items() <= {
        key: value for line in lines if line["event"] == "draft declined"
        for key, value in line.items()
    }.items()  # fmt: skip


def test_T9_the_last_line_of_a_record_has_the_ledger_redacted_or_not(tmp_path: Path) -> None:
    record = read_record(RECORD)
    totals = []
    for name, one in (("as it is", record), ("redacted", redact(record))):
        write_record(tmp_path / name, one)
        last = (tmp_path / name).read_text(encoding="utf-8").splitlines()[-1]
        totals.append(json.loads(last)["totals"]["ledger"])
    assert totals[0] == totals[1]
    ledger = ledger_of(record.entries, record.policy)
    assert totals[0]["lost"] == ledger.lost
    assert totals[0]["currency"] == "USD"


def test_T9_the_report_tells_tokens_and_money() -> None:
    record = read_record(RECORD)
    ledger = ledger_of(record.entries, record.policy)
    shown = report_data(record)["ledger"]
    assert shown["tokens"]["lost"]["input"] == ledger.wasted.input
    assert shown["tokens"]["heard"]["cached"] == ledger.cost_adopted.cached
    assert shown["price"]["heard"] == pytest.approx(ledger.cost_adopted.price, abs=1e-6)
    assert (shown["currency"], shown["moves"]) == ("USD", 1)
    assert shown["per_extra"] == pytest.approx(ledger.saved_per_extra or 0.0, abs=1e-3)


def test_T9_the_ledger_follows_the_prices_of_the_agent_that_took_over() -> None:
    record = read_record(RECORD)
    first = record.entries[0]
    changed = ((first[0], ev.PolicyChanged(record.policy), ()), *record.entries)
    assert ledger_of(changed, type(record.policy)()).currency == "USD"


def test_T9_the_figures_of_a_server_count_what_drafts_cost() -> None:
    metrics = Metrics()
    count = metrics.observer()
    for now, event, commands in read_record(RECORD).entries:
        count(now, event, commands)
    cost = Cost(100, 64, 20, 30, 0.5)
    booked = cmd.DraftBooked(99, 7, "rest", False, "resumed", cost)
    count(0.0, ev.Touched(), [booked, cmd.DraftDeclined(None, "expected", "share")])
    text = metrics.text().decode()
    for line in (
        'agentkit_draft_tokens_total{kind="input",reason="resumed"} 100.0',
        'agentkit_draft_tokens_total{kind="cached",reason="words"} 64.0',
        'agentkit_draft_characters_total{reason="resumed"} 30.0',
        'agentkit_draft_price_total{reason="resumed"} 0.5',
        'agentkit_draft_rungs_total{reason="words",rung="expected"} 1.0',
        'agentkit_drafts_declined_total{reason="share"} 1.0',
        'agentkit_threshold_moves_total{reason="worth_more"} 1.0',
    ):
        assert line in text
