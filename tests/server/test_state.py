"""What the processes of a server share."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from agentkit.server.state import ALIVE, Admission, SharedState
from agentkit.server.tokens import LIFETIME, TokenError, Tokens


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path, clock: Clock) -> Iterator[SharedState]:
    with closing(SharedState(tmp_path / "state", clock=clock)) as state:
        yield state


@pytest.fixture
def other(tmp_path: Path, clock: Clock, state: SharedState) -> Iterator[SharedState]:
    with closing(SharedState(tmp_path / "state", clock=clock)) as other:
        yield other


CALL = Admission("twilio", "CA1", "+15550100", "+15550199", {"menu": "night"})


def test_a_token_admits_what_it_was_given_for(state: SharedState, clock: Clock) -> None:
    tokens = Tokens(state, clock=clock)
    assert tokens.take(tokens.give(CALL), "twilio", "CA1") == CALL


def test_a_token_is_good_in_another_process_and_only_once(
    state: SharedState, other: SharedState, clock: Clock
) -> None:
    token = Tokens(state, clock=clock).give(CALL)
    assert Tokens(other, clock=clock).take(token, "twilio", "CA1") == CALL
    for each in (state, other):
        with pytest.raises(TokenError, match="used before"):
            Tokens(each, clock=clock).take(token, "twilio", "CA1")


def test_streams_are_expected_until_they_come_or_are_too_late(
    state: SharedState, other: SharedState, clock: Clock
) -> None:
    tokens = Tokens(state, clock=clock)
    token, _late = tokens.give(CALL), tokens.give(CALL)
    assert state.expected() == other.expected() == 2
    tokens.take(token, "twilio", "CA1")
    assert other.expected() == 1
    clock.now += LIFETIME + 1
    assert state.expected() == 0


def test_a_token_gets_too_old(state: SharedState, clock: Clock) -> None:
    tokens = Tokens(state, clock=clock)
    token = tokens.give(CALL)
    clock.now += LIFETIME + 1
    with pytest.raises(TokenError, match="too old"):
        tokens.take(token, "twilio", "CA1")


def test_a_token_is_no_other_carriers_and_no_other_calls(state: SharedState, clock: Clock) -> None:
    tokens = Tokens(state, clock=clock)
    with pytest.raises(TokenError, match="another carrier's"):
        tokens.take(tokens.give(CALL), "plivo", "CA1")
    token = tokens.give(CALL)
    with pytest.raises(TokenError, match="another call's"):
        tokens.take(token, "twilio", "CA2")
    with pytest.raises(TokenError, match="used before"):
        tokens.take(token, "twilio", "CA1")


def test_a_stream_that_does_not_name_its_call_is_known_by_its_token(
    state: SharedState, clock: Clock
) -> None:
    tokens = Tokens(state, clock=clock)
    assert tokens.take(tokens.give(CALL), "twilio", "") == CALL
    unnamed = Admission("vonage", "")
    assert tokens.take(tokens.give(unnamed), "vonage", "any") == unnamed


def test_every_changed_letter_of_a_token_is_seen(state: SharedState, clock: Clock) -> None:
    tokens = Tokens(state, clock=clock)
    token = tokens.give(CALL)
    for at, letter in enumerate(token):
        changed = token[:at] + ("A" if letter != "A" else "B") + token[at + 1 :]
        if at == len(token) - 1:  # base64's last letter has two bits that mean nothing
            continue
        with pytest.raises(TokenError):
            tokens.take(changed, "twilio", "CA1")
    for garbage in ("x", token[:-1], token * 2, "\ud800", "ü" * 200, " " + token):
        with pytest.raises(TokenError):
            tokens.take(garbage, "twilio", "CA1")
    assert tokens.take(token, "twilio", "CA1") == CALL


def test_errors_and_reprs_show_neither_token_nor_number(state: SharedState, clock: Clock) -> None:
    tokens = Tokens(state, clock=clock)
    token = tokens.give(CALL)
    with pytest.raises(TokenError) as error:
        tokens.take(token + "x", "twilio", "CA1")
    assert token not in str(error.value)
    assert "+1555" not in repr(CALL)
    assert "night" not in repr(CALL)


def test_as_many_calls_as_may_go_on_at_once_in_all_processes(
    state: SharedState, other: SharedState
) -> None:
    assert state.begin_call("twilio", "CA1", 2) == "begun"
    assert other.begin_call("twilio", "CA2", 2) == "begun"
    assert state.begin_call("twilio", "CA3", 2) == "full"
    assert state.calls() == other.calls() == 2
    other.end_call("twilio", "CA1")  # not its own
    assert state.calls() == 2
    state.end_call("twilio", "CA1")
    assert other.begin_call("twilio", "CA3", 2) == "begun"


def test_a_call_has_one_stream(state: SharedState, other: SharedState) -> None:
    assert state.begin_call("twilio", "CA1", 9) == "begun"
    assert other.begin_call("twilio", "CA1", 9) == "twice"
    assert other.begin_call("plivo", "CA1", 9) == "begun"


def test_the_calls_of_a_process_that_died_are_forgotten(
    state: SharedState, other: SharedState, clock: Clock
) -> None:
    assert other.begin_call("twilio", "CA1", 1) == "begun"
    clock.now += ALIVE - 1
    state.beat()
    assert state.begin_call("twilio", "CA2", 1) == "full"
    clock.now += 2
    assert state.begin_call("twilio", "CA2", 1) == "begun"


def test_a_process_that_leaves_takes_its_calls_along(
    state: SharedState, other: SharedState
) -> None:
    assert other.begin_call("twilio", "CA1", 1) == "begun"
    other.close()
    other.close()
    assert state.begin_call("twilio", "CA2", 1) == "begun"


def test_processes_of_a_fleet_drain_together(tmp_path: Path) -> None:
    with ExitStack() as opened:
        first, second, newer = (
            opened.enter_context(closing(SharedState(tmp_path / "s", fleet=fleet)))
            for fleet in ("old", "old", "new")
        )
        first.drain()
        first.drain()
        assert second.draining
        assert second.begin_call("twilio", "CA1", 9) == "draining"
        assert second.begin_call("twilio", "CA2", 9, admitted=True) == "begun"
        assert not newer.draining
        assert newer.begin_call("twilio", "CA1", 9) == "begun"


def test_the_file_is_its_owners_alone(tmp_path: Path, state: SharedState) -> None:
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_in_memory_nothing_is_shared() -> None:
    with closing(SharedState()) as one, closing(SharedState()) as two:
        assert one.begin_call("twilio", "CA1", 1) == "begun"
        assert two.calls() == 0
        assert one.signing_key() != two.signing_key()


def _begin_many(path: Path, name: str, results: multiprocessing.Queue[int]) -> None:
    state = SharedState(path)
    begun = [state.begin_call("twilio", f"{name}{n}", 50) == "begun" for n in range(100)]
    results.put(sum(begun))
    results.close()
    results.join_thread()
    # Ends as a crash does, without `close`: its calls stay counted until it is missed.


def test_processes_that_race_never_exceed_the_limit(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = context.Queue()
    racers = [
        context.Process(target=_begin_many, args=(tmp_path / "s", name, results)) for name in "abc"
    ]
    for racer in racers:
        racer.start()
    assert sum(results.get(timeout=20) for _ in racers) == 50
    for racer in racers:
        racer.join(20)
    with closing(SharedState(tmp_path / "s")) as state:
        assert state.calls() == 50


def test_a_closed_state_says_so(state: SharedState) -> None:
    state.close()
    with pytest.raises(sqlite3.ProgrammingError):
        state.calls()
