"""One Worker, one engine and one stand-in for Workers AI, for all of these tests.

`make test-worker` builds the Worker and runs them; a plain `pytest` leaves them out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractContextManager

import pytest
import pytest_asyncio

from agentkit_local.ears import FluxServer
from tests.worker import worker as workers
from tests.worker.speech import Speech, librivox
from tests.worker.worker import SECRET, Worker
from tests.worker.workers_ai import WorkersAI

BEGIN = pytest.StashKey[int]()
"""Where in the Worker's log a test's own begins."""

Start = Callable[..., AbstractContextManager[Worker]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine() -> AsyncIterator[FluxServer]:
    async with FluxServer() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(engine: FluxServer) -> AsyncIterator[WorkersAI]:
    async with WorkersAI(engine.url) as running:
        yield running


@pytest.fixture
def workers_ai(service: WorkersAI) -> WorkersAI:
    """The service behind the Worker's AI binding, which listens with the engine."""
    service.as_new()
    return service


@pytest.fixture(scope="session")
def start(service: WorkersAI, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts a Worker with such settings."""
    if not workers.is_built():
        pytest.fail(f"There is no Worker in {workers.BUILT}: make test-worker", pytrace=False)

    def run(**settings: str) -> AbstractContextManager[Worker]:
        return workers.running(tmp_path_factory.mktemp("worker") / "w", service.port, **settings)

    return run


@pytest.fixture(scope="session")
def usual(start: Start) -> Iterator[Worker]:
    with start(FLUX_TOKEN=SECRET, ALLOWED_ORIGINS="https://one.test, https://two.test") as running:
        yield running


@pytest.fixture
def worker(usual: Worker, workers_ai: WorkersAI, request: pytest.FixtureRequest) -> Worker:
    """The Worker, with a secret and two other sites that may use it."""
    request.node.stash[BEGIN] = usual.output.stat().st_size
    return usual


@pytest.fixture(scope="session")
def sentences() -> list[Speech]:
    return librivox()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what the Worker logged."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, Worker):
                log = value.output.read_text(errors="replace")[item.stash.get(BEGIN, 0) :]
                report.sections.append(("What the Worker logged", log))
    return report
