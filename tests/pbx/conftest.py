"""A real Asterisk for these tests: one for all of them, started once and stopped at the end.

`make test-pbx` fetches it and runs them; a plain `pytest` leaves them out.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.pbx import asterisk as exchanges
from tests.pbx import programs, sound
from tests.pbx.asterisk import Asterisk
from tests.pbx.phone import Phone, switched_on
from tests.pbx.sound import Part

BEGIN = pytest.StashKey[int]()
"""Where in Asterisk's log a test's own begins."""


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asterisk]:
    if not programs.is_fetched():
        pytest.fail(f"There is no Asterisk in {programs.PLACE}: make test-pbx", pytrace=False)
    with exchanges.running(tmp_path_factory.mktemp("asterisk") / "a") as running:
        yield running


@pytest.fixture
async def asterisk(exchange: Asterisk, request: pytest.FixtureRequest) -> AsyncIterator[Asterisk]:
    """The exchange, without a call."""
    request.node.stash[BEGIN] = exchange.log_file.stat().st_size
    yield exchange
    await exchange.hang_up_all()


@pytest.fixture
async def phone(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Phone]]]:
    """Switches a telephone on, that says such parts (`tests.pbx.sound.Part`) and then nothing."""
    async with contextlib.AsyncExitStack() as stack:

        async def switch_on(*says: Part) -> Phone:
            microphone = sound.write(tmp_path / "microphone.wav", *says, 60.0)
            return await stack.enter_async_context(switched_on(tmp_path / "phone", microphone))

        yield switch_on


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what Asterisk logged, and what another program of the test printed."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, Asterisk):
                log = value.log(item.stash.get(BEGIN, 0))
                report.sections.append(("What Asterisk logged", log))
            elif isinstance(output := getattr(value, "output", None), Path) and output.exists():
                text = output.read_text(errors="replace")[-20_000:]
                report.sections.append((f"What is in {output}", text))
    return report
