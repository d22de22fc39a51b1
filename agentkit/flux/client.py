"""Flux as a source of turns: the WebSocket client, and its life over many connections."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import structlog
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection

from agentkit.audio.formats import AudioFormat, Encoding
from agentkit.audio.g711 import decode
from agentkit.core.events import SourceConnected, SourceFailed, SourceLost
from agentkit.errors import (
    ConfigError,
    FluxConnectionError,
    FluxHandshakeError,
    FluxOptionError,
    FluxProtocolError,
    SourceError,
    UsageError,
)
from agentkit.flux.configuring import Configuring
from agentkit.flux.connection import Connection
from agentkit.flux.handshake import Secrets, check_url, join_query, open_socket, request_id
from agentkit.flux.options import CONFIGURABLE, DEEPGRAM, FluxDialect, FluxOptions
from agentkit.flux.outbox import Outbox
from agentkit.flux.timings import FluxStats, FluxTimings
from agentkit.turns import Emit, TurnSource

DEEPGRAM_URL: Final = "wss://api.deepgram.com/v2/listen"
"""Deepgram's endpoint; regions are at ``api.eu``, ``api.au`` and ``api.in.deepgram.com``."""

Headers = Mapping[str, str] | Callable[[], Awaitable[Mapping[str, str]]]
"""Extra headers of the handshake, or a function that makes them anew for each connection."""

_EARLY_BYTES: Final = 1 << 20
"""Audio kept before `run` has said what format it is in; 10 s of the densest one."""

_URL_ONLY: Final = "options changed that only a new connection can take"

Opened = tuple[ClientConnection, list[bytes]]

log = structlog.get_logger(__name__)


class FluxSource(TurnSource):
    """Listens to one caller through Flux.

    Nothing is connected until `run`. The connection is made again when it is lost (rule T14); the
    options then go into the new URL as they are wanted at that time.

    Mu-law and A-law are decoded on the way to a server that takes neither; a control message that
    the server does not know is never sent, and the log says so as the call begins.

    Args:
        url: where Flux is; parameters that it has already are kept.
        options: what Flux is told; the default listens eagerly.
        key: an API key, sent as ``Authorization: Token``.
        token: a short-lived JWT, sent as ``Authorization: Bearer``.
        headers: more headers, or an async function that makes them for each connection, for
            servers that want others than Deepgram, or for tokens that expire.
        dialect: what kind of server it is.
        timings: how patient to be.

    Raises:
        ConfigError: the URL, the key or their combination cannot be right.
        FluxOptionError: an option is out of the range that this kind of server allows.
    """

    def __init__(
        self,
        *,
        url: str = DEEPGRAM_URL,
        options: FluxOptions | None = None,
        key: SecretStr | str | None = None,
        token: SecretStr | str | None = None,
        headers: Headers | None = None,
        dialect: FluxDialect = DEEPGRAM,
        timings: FluxTimings | None = None,
    ) -> None:
        self._where = check_url(url)
        self._url = url
        self._authorization = _authorization(url, key, token, headers)
        self._headers = headers
        self._secrets: Secrets = ()
        self._dialect = dialect
        self._timings = timings or FluxTimings()
        options = options or FluxOptions()
        options.check(dialect)
        self._configuring = Configuring(options, dialect.configurable, self._timings.configure)
        self._proven: FluxOptions | None = None
        self.can_configure = bool(dialect.configurable)
        self.can_end_turn = dialect.can_end_turn
        self._stats = FluxStats()
        self._early: deque[bytes] = deque()
        self._early_bytes = 0
        self._fed: Encoding = "linear16"
        """What `feed` has to decode from; ``linear16``: it is sent as it comes."""
        self._outbox: Outbox | None = None
        self._clock: Callable[[], float] | None = None
        self._live: Connection | None = None
        self._running = False
        self._closing = asyncio.Event()
        self._finished = asyncio.Event()

    def __repr__(self) -> str:
        return f"FluxSource({self._where!r})"

    @property
    def options(self) -> FluxOptions:
        """What Flux is told, or will be."""
        return self._configuring.wanted

    @property
    def stats(self) -> FluxStats:
        """The counters as they are now."""
        stats, configuring = self._stats, self._configuring
        if self._outbox is not None:
            stats.audio_dropped = self._outbox.dropped
        stats.configures_sent = configuring.sent
        stats.configures_acknowledged = configuring.acknowledged
        stats.configures_refused = configuring.refused
        stats.configures_given_up = configuring.given_up
        return stats

    @property
    def audio_dropped(self) -> float:
        """Seconds of the caller's audio that were never sent, for want of connection or time."""
        return self.stats.audio_dropped

    # ---------------------------------------------------------------- the caller's side of it

    def feed(self, data: bytes) -> None:
        """Take the caller's audio, of any length. Never blocks; drops the oldest past a bound.

        Audio that comes before `run`, or before Flux is ready, is sent first, in order.
        """
        outbox, clock = self._outbox, self._clock
        if outbox is None or clock is None:
            self._feed_early(data)
        elif self._finished.is_set():
            return
        elif outbox.feed(decode(data, self._fed), clock()):
            live = self._live
            if live is not None:
                live.send_audio()
                if outbox.queued > self._timings.backlog:
                    outbox.trim(self._timings.backlog)
            else:
                outbox.trim(self._timings.keep)

    def _feed_early(self, data: bytes) -> None:
        if self._closing.is_set():
            return
        self._early.append(bytes(data))
        self._early_bytes += len(data)
        while self._early_bytes > _EARLY_BYTES:
            self._early_bytes -= len(self._early.popleft())

    def options_now(self, names: Iterable[str]) -> dict[str, Any]:
        """The latest values of these options, as `configure` takes them.

        Raises:
            FluxOptionError: Flux has no option of that name.
        """
        return {name: self.options.value(name) for name in names}

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Change options of the live connection. Never blocks; the latest values win.

        Options that Flux takes only in the URL (``model``, ``tags``, ...) make a new connection.
        Without a connection, or where the server knows no ``Configure``, the changes go into the
        next connection's URL.

        Raises:
            FluxOptionError: a value is out of range, or the audio's format would change.
        """
        for name in ("encoding", "sample_rate"):
            if name in changes:
                raise FluxOptionError(name, "it cannot change during a call")
        before = self._configuring.wanted
        wanted = before.with_changes(changes)
        wanted.check(self._dialect)
        self._configuring.want(wanted)
        if self._live is not None:
            if self._needs_new_url(before):
                self._live.leave(_URL_ONLY)
            else:
                self._live.wake()

    def end_turn(self) -> None:
        """Ask Flux to end the open turn, behind the audio that was fed before.

        Does nothing without a connection, or where the server does not know ``ForceEndTurn``.
        """
        if self._live is not None and self.can_end_turn:
            self._live.end_turn()

    def reconnect(self, reason: str) -> None:
        """Drop the connection and make another. Does nothing while there is none."""
        if self._live is not None:
            self._live.leave(reason)

    async def aclose(self) -> None:
        """Send what is waiting, read what Flux still has to say, and let `run` return.

        Takes at most ``timings.close`` seconds. Safe to call twice, and before `run`.
        """
        self._closing.set()
        if self._live is not None:
            self._live.close()
        if self._running:
            await self._finished.wait()

    # --------------------------------------------------------------------------------- its life

    async def run(self, audio: AudioFormat, emit: Emit, clock: Callable[[], float]) -> None:
        """Connect, listen and reconnect until `aclose` is called or nothing more can be heard.

        See `TurnSource.run`. Options that do not fit the audio are a `SourceFailed` too.

        Raises:
            UsageError: it was run before; a source is for one call.
        """
        if self._clock is not None:
            raise UsageError("FluxSource.run() was called twice; make a new source for each call")
        self._clock = clock
        self._running = True
        try:
            await self._life(audio, emit, clock)
        except (SourceError, FluxOptionError) as error:
            log.error("flux_failed", code=error.code, error=str(error))
            emit(SourceFailed(error.code, str(error)))
        finally:
            self._running = False
            self._closing.set()
            self._finished.set()

    async def _life(self, audio: AudioFormat, emit: Emit, clock: Callable[[], float]) -> None:
        wire = self._dialect.wire(audio)
        self._configuring.wanted.for_audio(wire).check(self._dialect)
        if wire != audio:
            self._fed = audio.encoding
        if self._dialect.without:
            log.info("flux_does_without", server=self._dialect.name, what=self._dialect.without)
        outbox = self._outbox = Outbox(wire, chunk=self._timings.chunk, gap=self._timings.gap)
        # In one piece: it was captured over as long as it lasts, up to now.
        self.feed(b"".join(self._early))
        self._early.clear()
        failures = 0
        while not self._closing.is_set():
            try:
                connection = await self._connect(wire, outbox, emit, clock)
                if connection is None:
                    return
                loss = await self._use(connection)
            except SourceError as error:
                problem = error
            else:
                if loss is None:
                    return
                problem = loss
                if connection.healthy:
                    failures = 0
                self._stats.losses += 1
                self._stats.audio_resent += outbox.restart(self._timings.keep)
                log.warning("flux_lost", connection=connection.number, reason=str(loss))
                emit(SourceLost(connection.number, str(loss)))
            failures += 1
            if failures >= self._timings.tries or not self._may_retry(problem):
                raise problem
            await self._pause(self._backoff(failures))

    def _may_retry(self, problem: SourceError) -> bool:
        if problem.retryable:
            return True
        wanted, proven = self._configuring.wanted, self._proven
        if (
            isinstance(problem, FluxHandshakeError)
            and problem.status == 400
            and proven is not None
            and proven != wanted
        ):
            # What was changed during the call is what Flux does not take in a URL.
            self._configuring.want(proven)
            return True
        return False

    def _backoff(self, failures: int) -> float:
        timings = self._timings
        if failures == 1:
            return random.uniform(0.0, 0.1)
        wait = min(timings.backoff * 2.0 ** (failures - 2), timings.longest_backoff)
        return wait * random.uniform(0.5, 1.0)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _use(self, connection: Connection) -> SourceError | None:
        self._live = connection
        if self._closing.is_set():
            connection.close()
        try:
            loss = await connection.run()
        finally:
            self._live = None
        if isinstance(loss, FluxProtocolError) and loss.flux_code == "UNPARSABLE_CLIENT_MESSAGE":
            self._learn(connection)
        return loss

    def _learn(self, connection: Connection) -> None:
        """The server does not know a control message: never send it that again."""
        if connection.turn_end_asked:
            self.can_end_turn = False
        elif self._configuring.awaiting:
            self.can_configure = False
            self._configuring.configurable = frozenset()

    # ------------------------------------------------------------------------------ connecting

    async def _connect(
        self, audio: AudioFormat, outbox: Outbox, emit: Emit, clock: Callable[[], float]
    ) -> Connection | None:
        """A new connection, ready for audio; None if `aclose` came first. Raises SourceError."""
        wanted = self._configuring.wanted
        self._configuring.connected()
        self._stats.attempts += 1
        opened = await self._unless_closed(self._open(wanted.for_audio(audio)))
        if opened is None:
            return None
        socket, said = opened
        self._proven = wanted
        number = self._stats.connections
        self._stats.connections += 1
        outbox.resume(clock())
        connection = Connection(
            socket,
            number,
            said=said,
            outbox=outbox,
            configuring=self._configuring,
            timings=self._timings,
            stats=self._stats,
            emit=emit,
            clock=clock,
            secrets=self._secrets,
        )
        if self._needs_new_url(wanted):
            connection.leave(_URL_ONLY)
        named = request_id(socket.response) if socket.response else None
        log.info("flux_connected", connection=number, request_id=named)
        emit(SourceConnected(number))
        return connection

    async def _unless_closed(self, opening: Coroutine[Any, Any, Opened]) -> Opened | None:
        attempt = asyncio.create_task(opening, name="flux handshake")
        closing = asyncio.create_task(self._closing.wait(), name="flux closing")
        handed_over = False
        try:
            await asyncio.wait({attempt, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                return None
            opened = attempt.result()
            handed_over = True
            return opened
        finally:
            closing.cancel()
            attempt.cancel()
            await asyncio.gather(attempt, closing, return_exceptions=True)
            if not handed_over and not attempt.cancelled() and attempt.exception() is None:
                attempt.result()[0].transport.abort()

    async def _open(self, options: FluxOptions) -> Opened:
        headers = dict(await self._more_headers())
        if self._authorization is not None:
            headers["Authorization"] = self._authorization.get_secret_value()
        self._secrets = _secrets(self._url, headers)
        return await open_socket(
            join_query(self._url, options.query(self._dialect)),
            headers,
            dialect=self._dialect,
            timings=self._timings,
            secrets=self._secrets,
        )

    async def _more_headers(self) -> Mapping[str, str]:
        if not callable(self._headers):
            return self._headers or {}
        try:
            async with asyncio.timeout(self._timings.connect):
                return await self._headers()
        except Exception as error:
            # Its message may show what it works with, a secret for one.
            kind = type(error).__name__
            raise FluxConnectionError(f"the headers for Flux could not be made: {kind}") from error

    def _needs_new_url(self, before: FluxOptions) -> bool:
        return bool(self._configuring.wanted.changed_from(before).keys() - CONFIGURABLE)


def _authorization(
    url: str, key: SecretStr | str | None, token: SecretStr | str | None, headers: Headers | None
) -> SecretStr | None:
    if key is not None and token is not None:
        raise ConfigError("token", "give either a key or a token, not both")
    host = urlsplit(url).hostname or ""
    if key is None and token is None:
        if headers is None and host.endswith(".deepgram.com"):
            raise ConfigError("key", "Deepgram wants an API key: set DEEPGRAM_API_KEY, or pass key")
        return None
    name, scheme, secret = ("token", "Bearer", token) if key is None else ("key", "Token", key)
    return SecretStr(f"{scheme} {plain_secret(name, secret)}")


def plain_secret(name: str, secret: SecretStr | str | None) -> str:
    """A key or token as it goes into a header. Raises ConfigError, naming ``name``."""
    text = secret.get_secret_value() if isinstance(secret, SecretStr) else str(secret or "")
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError(name, "it is empty or has characters that no key has")
    return text


def _secrets(url: str, headers: Mapping[str, str]) -> Secrets:
    """What no error may show: header values and the URL's own parameters.

    Short ones are words, not secrets.
    """
    parts = {part for value in headers.values() for part in (value, value.split(" ")[-1])}
    parts |= {value for _, value in parse_qsl(urlsplit(url).query)}
    return tuple(sorted((part for part in parts if len(part) >= 8), key=len, reverse=True))
