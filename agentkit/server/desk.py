"""The desk: every call of one process is taken here, from its first message to its end."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from structlog.contextvars import bound_contextvars

from agentkit.agent import Agent
from agentkit.audio.formats import AudioFormat
from agentkit.backends import Backends
from agentkit.callcontrol.base import CallControl
from agentkit.carriers.base import TOKEN, StreamStarted
from agentkit.errors import AgentkitError, TransportError, UsageError
from agentkit.observe import RecordWriter
from agentkit.server.carriers import Carrier
from agentkit.server.metrics import Metrics
from agentkit.server.state import Admission, SharedState
from agentkit.server.tokens import TokenError, Tokens
from agentkit.session import CallInfo, Session
from agentkit.session.session import Observer
from agentkit.transports.base import Transport
from agentkit.transports.phone import PhoneTransport, Wire, admit
from agentkit.turns import TurnSource

log = structlog.get_logger(__name__)

BUSY = "All our lines are busy. Please call again later."
STREAM_WITHIN = 5.0
"""Seconds after its webhook in which a stream comes; later it is not waited for."""
GOODBYE_WITHIN = 15.0
"""Seconds that calls have to say goodbye once they are taken leave of."""

# Close codes of RFC 6455, section 7.4.1.
POLICY, TRY_LATER = 1008, 1013


@dataclass(frozen=True, slots=True)
class Rules:
    """What a server allows.

    Args:
        most_calls: at once, in all processes that share their state.
        start_within: seconds in which a stream has to start.
        silent_for: seconds without a message after which a far end is taken for gone.
        may_transfer: whether callers may be handed over to a number.
        records: where each call's record is written, if at all: it holds what was said.
        log_words: what was said goes to the log.
        busy: what a caller hears when all lines are taken.
    """

    most_calls: int = 100
    start_within: float = 10.0
    silent_for: float = 30.0
    may_transfer: Callable[[str], bool] = lambda to: False
    records: Path | None = None
    log_words: bool = False
    busy: str = BUSY


class Desk:
    """Takes calls.

    Args:
        agent: makes an agent for a call.
        backends: what calls share.
        state: what processes share.
        metrics: counts.
        controls: the REST interface of each carrier that has one set up.
        rules: what is allowed.
    """

    def __init__(
        self,
        agent: Callable[[], Agent],
        backends: Backends,
        state: SharedState,
        metrics: Metrics,
        *,
        controls: Mapping[str, CallControl] | None = None,
        rules: Rules | None = None,
    ) -> None:
        self.state = state
        self.metrics = metrics
        self.tokens = Tokens(state)
        self.controls = controls or {}
        self.rules = rules or Rules()
        self._agent = agent
        self._backends = backends
        self._calls: dict[tuple[str, str], Session | None] = {}
        self._none_left = asyncio.Event()
        self._none_left.set()

    @property
    def voice(self) -> AudioFormat:
        """What the agents' voice is in."""
        return self._backends.tts.format

    @property
    def is_full(self) -> bool:
        """No more calls may begin now."""
        return self.state.calls() >= self.rules.most_calls

    # ------------------------------------------------------------------------------- streams

    async def take_stream(self, carrier: Carrier, wire: Wire, *, token: str, local: bool) -> None:
        """Hold the call on a carrier's socket that was accepted; close the socket at the end.

        Nothing is opened for it, and nothing paid for, before its token was checked.

        Args:
            carrier: whose socket it is.
            wire: the socket.
            token: what stood in its path; "" if nothing did.
            local: the request is this machine's own, and no secret is set: it may come without
                a token, from a simulator.
        """
        codec = carrier.codec()
        try:
            started = await admit(codec, wire, within=self.rules.start_within)
            admission = self._admission(carrier, started, token, local)
        except (TransportError, TokenError) as error:
            log.warning("stream refused", carrier=carrier.name, why=str(error))
            self.metrics.refused.labels(carrier.name, error.code).inc()
            await wire.close(POLICY)
            return
        control = self.controls.get(carrier.name)
        call = started.call or admission.call or f"{carrier.name}-{secrets.token_hex(8)}"
        # Once it drains no webhook admits a call: a token is from before.
        admitted = bool(token or started.parameters.get(TOKEN))
        async with self._counted_in(carrier.name, call, admitted=admitted) as refusal:
            if refusal:
                # A second stream of a call that goes on must not end the first.
                ends = control if refusal != "twice" else None
                await self._turn_away(carrier, wire, started, ends)
                return
            transport = PhoneTransport(
                codec,
                wire,
                started,
                control=control,
                may_transfer=self.rules.may_transfer,
                silent_for=self.rules.silent_for,
            )
            info = CallInfo(
                call,
                caller=started.caller or admission.caller,
                callee=started.callee or admission.callee,
                parameters={
                    name: value
                    for name, value in {**started.parameters, **admission.parameters}.items()
                    if name != TOKEN
                },
            )
            try:
                await self._hold(carrier.name, transport, info)
            finally:
                self.metrics.oddities.labels(carrier.name).inc(transport.oddities.total())

    def _admission(
        self, carrier: Carrier, started: StreamStarted, token: str, local: bool
    ) -> Admission:
        token = token or started.parameters.get(TOKEN, "")
        if carrier.webhook is None or (local and not token):
            return Admission(carrier.name, started.call)
        call = started.call if carrier.webhook.names_stream else ""
        return self.tokens.take(token, carrier.name, call)

    async def take(
        self,
        name: str,
        call: str,
        transport: Transport,
        info: CallInfo,
        *,
        admitted: bool = False,
        observers: Sequence[Observer] = (),
        ears: Callable[[TurnSource], TurnSource] = lambda source: source,
        began: Callable[[Session], None] = lambda session: None,
        turned_away: Callable[[str], None] = lambda why: None,
    ) -> None:
        """Hold a call on a transport that is there already. Closes the transport.

        Args:
            name: the carrier.
            call: its id of the call.
            transport: the caller.
            info: who calls whom.
            admitted: it was let in before it came: it may begin although calls are drained.
            observers: of its session, beside those of every call.
            ears: is given what listens; what it returns listens to this caller.
            began: is given the session before anything happens in it.
            turned_away: is told why the call may not begin: ``full``, ``twice``, ``draining``.
        """
        async with self._counted_in(name, call, admitted=admitted) as refusal:
            if refusal:
                turned_away(refusal)
                await transport.aclose()
            else:
                await self._hold(name, transport, info, observers, ears, began)

    async def _turn_away(
        self, carrier: Carrier, wire: Wire, started: StreamStarted, control: CallControl | None
    ) -> None:
        """The call got here, but may not begin: end it."""
        try:
            if control is not None and started.call:
                await control.hang_up(started.call)
        except TransportError as error:
            log.warning("a call could not be turned away", carrier=carrier.name, why=str(error))
        finally:
            await wire.close(TRY_LATER)

    # --------------------------------------------------------------------------------- calls

    @asynccontextmanager
    async def _counted_in(
        self, name: str, call: str, *, admitted: bool = False
    ) -> AsyncIterator[str]:
        """Count a call while it goes on; gives the reason why it may not begin, "" if it may."""
        outcome = self.state.begin_call(name, call, self.rules.most_calls, admitted=admitted)
        if outcome != "begun":
            log.warning("call refused", carrier=name, why=outcome)
            self.metrics.refused.labels(name, outcome).inc()
            yield outcome
            return
        self.metrics.active.labels(name).inc()
        self._calls[name, call] = None
        self._none_left.clear()
        try:
            yield ""
        finally:
            del self._calls[name, call]
            if not self._calls:
                self._none_left.set()
            self.metrics.active.labels(name).dec()
            self.state.end_call(name, call)

    async def _hold(
        self,
        name: str,
        transport: Transport,
        info: CallInfo,
        observers: Sequence[Observer] = (),
        ears: Callable[[TurnSource], TurnSource] = lambda source: source,
        began: Callable[[Session], None] = lambda session: None,
    ) -> None:
        """One call. What goes wrong in it is logged, and stays its own."""
        source = ears(self._backends.source())
        reason = "failed"
        with contextlib.ExitStack() as stack:
            # What is logged in this call's tasks, by whatever module, says whose it is.
            stack.enter_context(bound_contextvars(carrier=name, call=info.id))
            try:
                agent = self._agent()
                session = Session(
                    agent,
                    transport,
                    flux=source,
                    llm=self._backends.llm,
                    tts=self._backends.tts,
                    observers=[*self._observers(stack, name, agent, info), *observers],
                    call=info,
                    log_words=self.rules.log_words,
                    economy=self._backends.economy,
                )
                async with session:
                    self._calls[name, info.id] = session
                    began(session)
                    try:
                        record = await session.run()
                        reason = record.reason
                    finally:
                        self.metrics.lost_marks.inc(session.marks_lost)
            except AgentkitError as error:
                log.error("a call failed", error=str(error))
                await transport.aclose()
            except Exception:
                log.exception("a call failed")
                await transport.aclose()
            finally:
                self.metrics.ended(name, reason)
                self.metrics.dropped.inc(source.audio_dropped)

    def _observers(
        self, stack: contextlib.ExitStack, name: str, agent: Agent, info: CallInfo
    ) -> Sequence[Observer]:
        observers = [self.metrics.observer()]
        if self.rules.records is not None:
            path = self.rules.records / f"{_file_name(name, info.id)}.jsonl"
            observers.append(stack.enter_context(RecordWriter(path, agent.policy())))
        return observers

    def told_of_end(self, carrier: str, call: str) -> None:
        """The carrier says that the call is over: nobody is there any more."""
        session = self._calls.get((carrier, call))
        if session is not None and isinstance(session.transport, PhoneTransport):
            session.transport.call_is_over()

    # ------------------------------------------------------------------------------- draining

    async def drain(self, deadline: float) -> None:
        """Take no new calls; wait for those that go on, then take leave of them.

        Args:
            deadline: seconds until calls that go on are taken leave of. They then have
                `GOODBYE_WITHIN` seconds to hear the agent's farewell out.
        """
        self.state.drain()
        log.info("draining", calls=len(self._calls), deadline=deadline)
        if await self._all_over(deadline):
            return
        log.warning("taking leave of the calls that go on", calls=len(self._calls))
        for session in tuple(self._calls.values()):
            if session is not None:
                _take_leave(session)
        if not await self._all_over(GOODBYE_WITHIN):
            log.error("calls are cut off", calls=len(self._calls))

    async def _all_over(self, within: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._streams_have_come()
                await self._none_left.wait()
        return not self._calls

    async def _streams_have_come(self) -> None:
        """Wait for the callers whom a webhook let in, as long as carriers take to open a stream."""
        for _ in range(round(STREAM_WITHIN / 0.1)):
            if not self.state.expected():
                return
            await asyncio.sleep(0.1)


def _take_leave(session: Session) -> None:
    with contextlib.suppress(UsageError):  # it has not begun, or is over
        if session.agent.farewell:
            session.say(session.agent.farewell)
        session.hang_up("shutdown")


def _file_name(*parts: str) -> str:
    """A file's name of letters, digits, dots and dashes; what a carrier calls a call may be any."""
    return "-".join("".join(c if c.isalnum() or c in "._-" else "_" for c in p) for p in parts)
