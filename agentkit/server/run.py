"""`agentkit serve`: the web application in one process or several, until it is told to stop.

SIGTERM drains: no new calls are taken, those that go on end by themselves, and at the deadline the
agent takes leave of the rest. SIGINT (Ctrl-C) takes leave at once; a second signal ends all.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
import uvicorn

from agentkit._hosts import is_loopback
from agentkit.agent import Agent
from agentkit.audio import resample
from agentkit.backends import open_backends
from agentkit.config import Settings
from agentkit.errors import AgentkitError, ConfigError
from agentkit.loading import load_agent
from agentkit.observe.log import configure_logging
from agentkit.server.access import Access
from agentkit.server.app import MOST_BYTES, Office, make_app
from agentkit.server.carriers import CARRIERS
from agentkit.server.controls import load_controls
from agentkit.server.desk import Desk, Rules
from agentkit.server.destinations import allowed
from agentkit.server.metrics import Metrics, forget_process
from agentkit.server.sockets import DirectProtocol
from agentkit.server.state import ALIVE, SharedState
from agentkit.server.web import Lobby, Mode
from agentkit.session import CallInfo
from agentkit.transports.audiosocket import AudioSocketTransport, serve_audiosocket

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from starlette.applications import Starlette

log = structlog.get_logger(__name__)

LEFT_FOR_SOCKETS = 5
"""Seconds that sockets have to close once the calls are over."""
HOPELESS = 78
"""The exit status of a worker that another in its place could not do better than."""
RESTART_AFTER = 1.0
"""Seconds between the death of a worker and the next one in its place."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line says.

    Args:
        agent: as `agentkit.loading.load_agent` takes it.
        host: where to listen.
        port: 0 for any that is free.
        workers: processes that answer calls.
        audiosocket: where to listen for Asterisk's AudioSocket; None: nowhere.
        drain: seconds that calls have to end by themselves after SIGTERM.
        state: a file shared with other servers on this machine; None: one of this server's own.
        records: a folder for the calls' records; None: none are written.
        log: the level.
        log_words: what was said goes to the log.
        flags: settings by their short names, as the command line gave them.
        web: who may talk with the agent in a browser, as `agentkit.server.web` says.
    """

    agent: str
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    audiosocket: tuple[str, int] | None = None
    drain: float = 60.0
    state: Path | None = None
    records: Path | None = None
    log: str = "info"
    log_words: bool = False
    flags: Mapping[str, str | None] | None = None
    web: Mode = "local"


def serve(options: ServeOptions) -> int:
    """Answer calls until a signal says to stop; return the exit status.

    Raises:
        ConfigError: a setting is wrong, or the address cannot be listened on.
    """
    agent = load_agent(options.agent)
    settings = _settings(options, agent)
    load_controls(settings)
    _rules(options, settings)
    _check_audiosocket(options)
    listener = listen(options.host, options.port)
    host, port = listener.getsockname()[:2]
    print(settings.describe(), flush=True)
    for line in _carrier_lines(settings):
        print(line, flush=True)
    url = "http://" + (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if (lobby := _office(options, settings, agent).lobby) is not None:
        print(lobby.describe(url), flush=True)
    said = f"answering on {url}"
    with listener, _shared_folder(options) as options:
        if options.workers > 1:
            return _supervise(options, listener, said)
        _serve_here(options, listener, said)
        return 0


def _settings(options: ServeOptions, agent: type[Agent]) -> Settings:
    return Settings.load(
        flags=dict(options.flags or {}), env=os.environ, folder=Path.cwd(), agent=agent
    )


def _carrier_lines(settings: Settings) -> Iterator[str]:
    """Who is answered, and why."""
    known = [c for c in CARRIERS.values() if settings.by_name(c.secret)]
    checked = [c.name for c in known if c.webhook is not None]
    local = [c.name for c in CARRIERS.values() if c not in known]
    for carrier in known:
        if carrier.webhook is None:
            yield f"with {carrier.secret}: {carrier.name}"
    if checked and settings.public_url:
        yield f"signed requests for {settings.public_url}: {', '.join(checked)}"
    elif checked:
        yield f"refused until AGENTKIT_PUBLIC_URL is set: {', '.join(checked)}"
    if local and settings.public_url:
        yield f"refused until their secrets are set: {', '.join(local)}"
    elif local:
        yield f"from this machine only, without signatures: {', '.join(local)}"


def listen(host: str, port: int) -> socket.socket:
    """A socket that calls come in on. Raises ConfigError if the address cannot be had."""
    try:
        listener = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=2048,
        )
        # What is accepted inherits it. asyncio sets it on sockets of its own alone, and without it
        # audio may wait 40 ms for the acknowledgement of what went before.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise ConfigError("--host, --port", f"cannot listen on {host}:{port}: {error}") from error


def _check_audiosocket(options: ServeOptions) -> None:
    """AudioSocket has neither password nor encryption."""
    if options.audiosocket and not is_loopback(options.audiosocket[0]):
        log.warning(
            "AudioSocket is open to other machines: calls need a UUID from /audiosocket/voice",
            host=options.audiosocket[0],
        )


@contextmanager
def _shared_folder(options: ServeOptions) -> Iterator[ServeOptions]:
    """A folder for what processes share, if there are several."""
    if options.workers == 1:
        yield options
        return
    with tempfile.TemporaryDirectory(prefix="agentkit-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield replace(options, state=options.state or Path(folder) / "state")


# ------------------------------------------------------------------------------ one process


def _serve_here(options: ServeOptions, listener: socket.socket, said: str, fleet: str = "") -> None:
    """Answer calls; once that is so, print what is ``said`` of it."""
    configure_logging(options.log)
    agent = load_agent(options.agent)
    settings = _settings(options, agent)
    office = _office(options, settings, agent)
    state = SharedState(options.state, fleet=fleet)

    async def run() -> None:
        async with _open_desk(options, settings, agent, state) as office.desk:
            with contextlib.suppress(ConfigError):  # which is for the call to tell that needs it
                resample.preload()
            server = Server(uvicorn_config(make_app(office)))
            with _sparing_the_collector():
                print(said, flush=True)
                await _run(server, office, listener, options.drain)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run())
    finally:
        state.close()


def _office(options: ServeOptions, settings: Settings, agent: type[Agent]) -> Office:
    office = Office(Access(settings), settings.public_url or "")
    office.lobby = Lobby(
        office.open_desk,
        office.access,
        public_url=office.public_url,
        mode=options.web,
        password=settings.by_name("AGENTKIT_WEB_PASSWORD"),
        agent=agent.__name__,
    )
    return office


@contextmanager
def _sparing_the_collector() -> Iterator[None]:
    """What was made before the first call is kept until the last: no garbage is looked for in it.

    A look takes some 80 ms, in which no call is served.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def uvicorn_config(app: Starlette) -> uvicorn.Config:
    """How carriers are answered: nothing of a request is believed that anybody can write."""
    return uvicorn.Config(
        app,
        ws=DirectProtocol,
        ws_max_size=MOST_BYTES,
        ws_per_message_deflate=False,
        # A carrier's audio says 50 times a second that it is there.
        ws_ping_interval=None,
        # An address in a header is whoever's wrote it.
        proxy_headers=False,
        server_header=False,
        log_config=None,
        # It logs the path of each socket, where a token may stand.
        log_level="warning",
        access_log=False,
        # What the application needs is open before it, and closed after it.
        lifespan="off",
        timeout_graceful_shutdown=LEFT_FOR_SOCKETS,
    )


class Server(uvicorn.Server):
    """Signals are ours: uvicorn's way of ending closes the sockets of calls at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_run`."""
        yield


async def _run(server: Server, office: Office, listener: socket.socket, deadline: float) -> None:
    loop = asyncio.get_running_loop()
    draining: list[asyncio.Task[None]] = []

    async def leave(deadline: float) -> None:
        if office.desk is not None:
            await office.desk.drain(deadline)
        server.should_exit = True

    def drain() -> None:
        # Some service managers tell the supervisor and each worker: the second word says no more.
        if not draining:
            draining.append(loop.create_task(leave(deadline), name="drain"))

    def interrupt() -> None:
        if draining:
            server.should_exit = server.force_exit = True
        else:
            draining.append(loop.create_task(leave(0.0), name="drain"))

    loop.add_signal_handler(signal.SIGTERM, drain)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    if (parent := multiprocessing.parent_process()) is not None:
        loop.add_reader(parent.sentinel, _orphaned, loop, parent.sentinel, drain)
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in draining:
            task.cancel()
        await asyncio.gather(*draining, return_exceptions=True)


def _orphaned(loop: asyncio.AbstractEventLoop, sentinel: int, drain: Callable[[], None]) -> None:
    log.error("the supervisor is gone")
    loop.remove_reader(sentinel)
    drain()


@asynccontextmanager
async def _open_desk(
    options: ServeOptions, settings: Settings, agent: Callable[[], Agent], state: SharedState
) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        backends = await stack.enter_async_context(open_backends(settings, agent))  # type: ignore[arg-type]
        controls = load_controls(settings)
        for control in controls.values():
            stack.push_async_callback(control.aclose)
        desk = Desk(
            agent,
            backends,
            state,
            Metrics(),
            controls=controls,
            rules=_rules(options, settings),
        )
        beating = asyncio.create_task(_beat(state), name="heartbeat")
        stack.callback(beating.cancel)
        if options.audiosocket is not None:
            await stack.enter_async_context(_audiosocket(desk, *options.audiosocket))
        yield desk


async def _beat(state: SharedState) -> None:
    while True:
        await asyncio.sleep(ALIVE / 4)
        state.beat()


def _rules(options: ServeOptions, settings: Settings) -> Rules:
    most = settings.max_calls or "100"
    if not most.isdecimal() or int(most) < 1:
        raise ConfigError("AGENTKIT_MAX_CALLS", f"{most!r} is no number of calls from 1 up")
    if options.records is not None:
        options.records.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Rules(
        most_calls=int(most),
        may_transfer=allowed(settings.transfer_to or ""),
        records=options.records,
        log_words=options.log_words,
    )


@asynccontextmanager
async def _audiosocket(desk: Desk, host: str, port: int) -> AsyncIterator[None]:
    local = is_loopback(host)

    async def answer(uuid: UUID, transport: AudioSocketTransport) -> None:
        admission = desk.state.redeem(str(uuid))
        if admission is None and not local:
            log.warning("call refused", carrier="audiosocket", why="its UUID was not expected")
            desk.metrics.refused.labels("audiosocket", "token").inc()
            await transport.aclose()
            return
        parameters = admission.parameters if admission else {}
        info = CallInfo(str(uuid), parameters=parameters)
        await desk.take("audiosocket", str(uuid), transport, info)

    async with serve_audiosocket(host, port, answer):
        yield


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None  # where there is no uvloop, asyncio's own loop serves
    return uvloop.new_event_loop


# -------------------------------------------------------------------------- several processes


def _supervise(options: ServeOptions, listener: socket.socket, said: str) -> int:
    """Keep as many workers as wanted until told to stop; each takes calls from one listener."""
    context = multiprocessing.get_context("spawn")
    fleet = f"{os.getpid()}-{time.time_ns()}"
    stopping: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        stopping.append(number)

    def start() -> BaseProcess:
        worker = context.Process(target=_work, args=(options, listener, said, fleet), daemon=False)
        worker.start()
        return worker

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    workers = [start() for _ in range(options.workers)]
    told = 0
    failed = False
    try:
        while workers:
            wait([worker.sentinel for worker in workers], timeout=0.2)
            while told < len(stopping):
                _tell(workers, stopping[told])
                told += 1
            gone = [worker for worker in workers if not worker.is_alive()]
            workers = [worker for worker in workers if worker not in gone]
            for worker in gone:
                _forget(options, fleet, worker.pid or 0)
                if worker.exitcode == HOPELESS and not stopping:
                    failed = True
                    stopping.append(signal.SIGTERM)
                if stopping:
                    continue
                log.error("a worker ended", pid=worker.pid, status=worker.exitcode)
                time.sleep(RESTART_AFTER)
                workers.append(start())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 1 if failed else 0


def _forget(options: ServeOptions, fleet: str, pid: int) -> None:
    """A worker that was killed has not said that its calls are over."""
    forget_process(pid)
    with contextlib.closing(SharedState(options.state, fleet=fleet)) as state:
        state.forget(pid)


def _tell(workers: list[BaseProcess], number: int) -> None:
    for worker in workers:
        if worker.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, number)


def _work(options: ServeOptions, listener: socket.socket, said: str, fleet: str) -> None:
    # A Ctrl-C reaches a whole process group: the supervisor hands it on, once.
    os.setpgrp()
    try:
        _serve_here(options, listener, f"{said}, process {os.getpid()}", fleet)
    except AgentkitError as error:
        print(f"agentkit: {error}", file=sys.stderr, flush=True)
        sys.exit(HOPELESS)
