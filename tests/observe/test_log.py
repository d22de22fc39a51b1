"""The log: lives of turns and drafts without words or secrets; oddities once per kind."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.errors import ConfigError
from agentkit.observe import read_record
from agentkit.observe.log import CallLogger, configure_logging, mask_secrets


@pytest.fixture(autouse=True)
def _structlog_as_it_was() -> Iterator[None]:
    structlog.reset_defaults()
    structlog.configure()
    yield
    structlog.reset_defaults()


def logged(call: tuple[Path, str], *, words: bool = False) -> list[Any]:
    logger = CallLogger(words=words, call="c1")
    with capture_logs() as lines:
        for entry in read_record(call[0]).entries:
            logger(*entry)
    return lines


def test_T21_turns_and_drafts_are_logged_with_ids_and_times(call: tuple[Path, str]) -> None:
    lines = logged(call)
    events = [line["event"] for line in lines]
    for event in ("call started", "draft begun", "draft parked", "draft committed", "turn closed"):
        assert event in events
    closed = next(line for line in lines if line["event"] == "turn closed")
    assert closed["turn"] == 0
    assert closed["saved"] > 0
    assert closed["ended"] <= closed["first_sound_sent"]
    assert all(line["call"] == "c1" for line in lines)


def test_the_log_follows_standard_error() -> None:
    with contextlib.redirect_stderr(io.StringIO()) as first:
        configure_logging("info")
        log = structlog.get_logger("somewhere")
        log.info("one")
    first.close()
    with contextlib.redirect_stderr(io.StringIO()) as second:
        log.info("two")
    assert "two" in second.getvalue()


def test_what_was_said_is_logged_only_if_asked(call: tuple[Path, str]) -> None:
    assert "table" not in str(logged(call))
    assert "table" in str(logged(call, words=True))


def test_a_program_that_has_not_set_a_log_up_is_told_of_failures_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    structlog.reset_defaults()
    logger = CallLogger()
    logger(0.0, ev.CallStarted(), [])
    logger(1.0, ev.SourceLost(0, "gone"), [])
    printed = capsys.readouterr()
    assert "call started" not in printed.out + printed.err
    assert "source lost" in printed.out + printed.err


def test_T13_an_oddity_is_logged_once_per_kind_and_counted() -> None:
    logger = CallLogger()
    with capture_logs() as lines:
        for kind in ("late", "late", "unknown", "late"):
            logger(0.0, ev.SourceOddity(kind), [cmd.Oddity(kind)])
        logger(1.0, ev.CallEnded("over"), [])
    assert [line["kind"] for line in lines if line["event"] == "source out of order"] == [
        "late",
        "unknown",
    ]
    assert lines[-1]["oddities"] == {"late": 3, "unknown": 1}


def test_a_drafts_failure_is_no_warning_and_a_replys_is() -> None:
    logger = CallLogger()
    failed = ev.ReplyFailed(1, "llm", "llm", retryable=True)
    with capture_logs() as lines:
        logger(0.0, ev.Touched(), [cmd.StartReply(1, turn=0, draft=True)])
        logger(0.1, failed, [cmd.Discard(1, "failed")])
        logger(0.2, ev.ReplyFailed(2, "tts", "tts", retryable=False), [])
    levels = [(line["event"], line["log_level"]) for line in lines]
    assert ("reply failed", "warning") in levels
    assert ("draft discarded", "debug") in levels
    assert ("reply failed", "debug") in levels


SECRETS = "dg-0123456789abcdef"


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": SECRETS},
        {"DEEPGRAM_API_KEY": SECRETS},
        {"headers": {"Authorization": f"Token {SECRETS}"}},
        {"nested": [{"auth_token": SECRETS}]},
        {"url": f"wss://host/listen?model=flux&token={SECRETS}&x=1"},
        {"url": f"https://user:{SECRETS}@host/"},
        {"error": f"refused: Bearer {SECRETS}"},
        {"error": f"header was 'Token {SECRETS}'"},
        {"exception": f"Incorrect API key provided: sk-{SECRETS}"},
        {"password": SECRETS.encode()},
    ],
)
def test_secrets_are_masked(given: dict[str, Any]) -> None:
    masked = str(mask_secrets(None, "info", {"event": "x", **given}))
    assert SECRETS not in masked
    assert "***" in masked


def test_what_is_no_secret_stays() -> None:
    given = {"event": "the first token was late", "tokens": 12, "turn": 3, "url": "wss://h/v2?a=b"}
    assert mask_secrets(None, "info", dict(given)) == given


def test_json_lines_at_a_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", json=True)
    structlog.get_logger("x").info("hello", api_key="abc", n=1)
    structlog.get_logger("x").debug("unseen")
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"], found["api_key"], found["n"]) == (
        "hello",
        "info",
        "***",
        1,
    )


def test_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    structlog.get_logger("x").info("unseen")
    structlog.get_logger("x").warning("seen", turn=4)
    shown = capsys.readouterr().err
    assert "seen" in shown
    assert "turn=4" in shown
    assert "unseen" not in shown


def test_there_is_no_such_level() -> None:
    with pytest.raises(ConfigError, match="'loud' is not one of debug, info"):
        configure_logging("loud")


def test_nothing_is_configured_on_import() -> None:
    code = (
        "import structlog, agentkit.observe.log, agentkit.observe;"
        "assert not structlog.is_configured()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
