"""Figures of a server's calls, in the form that Prometheus reads.

Each process counts for itself; where ``PROMETHEUS_MULTIPROC_DIR`` is set before this is imported,
as `agentkit serve --workers` does, the figures are those of all processes together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.session.session import Observer
from agentkit.transports.base import AGENT_HUNG_UP

CONTENT_TYPE = CONTENT_TYPE_LATEST

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Seconds."""


class Metrics:
    """The figures of one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.active = Gauge(
            "agentkit_calls_active",
            "Calls that are going on.",
            ["carrier"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.calls = Counter(
            "agentkit_calls", "Calls that are over.", ["carrier", "reason"], registry=registry
        )
        self.refused = Counter(
            "agentkit_refused",
            "Requests and streams that were not let in.",
            ["carrier", "reason"],
            registry=registry,
        )
        self.statuses = Counter(
            "agentkit_call_statuses",
            "What carriers' status callbacks said.",
            ["carrier", "status"],
            registry=registry,
        )
        self._turns = Counter(
            "agentkit_turns", "Committed turns, by what became of them.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._drafts = Counter(
            "agentkit_drafts",
            "Drafts, by fate: committed, or why they were discarded.",
            ["fate"],
            registry=registry,
        )
        self._economy = _Economy(registry)
        self._latency = Histogram(
            "agentkit_latency_seconds",
            "From the end of the turn to each stage of its reply; 0 for what was ready before.",
            ["stage"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._saved = Histogram(
            "agentkit_saved_seconds",
            "What the draft saved of a reply's latency.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "agentkit_errors", "Failures that callers noticed.", ["code"], registry=registry
        )
        self.oddities = Counter(
            "agentkit_oddities", "Messages that said nothing.", ["source"], registry=registry
        )
        self.dropped = Counter(
            "agentkit_audio_dropped_seconds",
            "Callers' audio that Flux was never sent.",
            registry=registry,
        )
        self.lost_marks = Counter(
            "agentkit_marks_lost", "Marks that never came back.", registry=registry
        )

    def ended(self, carrier: str, reason: str) -> None:
        """A call is over. Reasons of an agent's own are counted as one: they may be any words."""
        self.calls.labels(carrier, reason if reason in _REASONS else AGENT_HUNG_UP).inc()

    def observer(self) -> Observer:
        """Counts what happens in one call."""
        return _CallCounter(
            self._turns, self._drafts, self._latency, self._saved, self._errors, self._economy
        )

    def text(self) -> bytes:
        """All figures, of all processes where there are several."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def forget_process(pid: int) -> None:
    """Take the gauges of a process that has ended out of the figures."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


class _Economy:
    """What drafts cost (rule T9). ``reason`` is why they were lost; that of others is ``heard``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tokens = Counter(
            "agentkit_draft_tokens",
            "Tokens of drafts that are over: of their prompts, of these from a cache, written.",
            ["kind", "reason"],
            registry=registry,
        )
        self._characters = Counter(
            "agentkit_draft_characters",
            "Text given to the voice for drafts before their turn was over.",
            ["reason"],
            registry=registry,
        )
        self._price = Counter(
            "agentkit_draft_price",
            "What drafts cost, where prices are set, in their currency.",
            ["reason"],
            registry=registry,
        )
        self._rungs = Counter(
            "agentkit_draft_rungs",
            "Drafts that are over, by what they were begun for.",
            ["rung", "reason"],
            registry=registry,
        )
        self._declined = Counter(
            "agentkit_drafts_declined", "Drafts not begun.", ["reason"], registry=registry
        )
        self._moves = Counter(
            "agentkit_threshold_moves",
            "Moves of the eager threshold.",
            ["reason"],
            registry=registry,
        )

    def book(self, command: cmd.DraftBooked) -> None:
        reason, cost = command.reason or "heard", command.cost
        self._rungs.labels(command.rung, reason).inc()
        self._tokens.labels("input", reason).inc(cost.input)
        self._tokens.labels("cached", reason).inc(cost.cached)
        self._tokens.labels("output", reason).inc(cost.output)
        self._characters.labels(reason).inc(cost.characters)
        self._price.labels(reason).inc(cost.price)

    def decline(self, command: cmd.DraftDeclined) -> None:
        self._declined.labels(command.reason).inc()

    def move(self, command: cmd.TuneSource) -> None:
        self._moves.labels(command.reason).inc()


_REASONS = frozenset(
    {
        "caller hung up",
        "carrier fell silent",
        "closed",
        "failed",
        "longest call",
        "shutdown",
        "silence",
        "transferred",
        "transport failed",
    }
)
_STAGES = ("first_text", "first_audio_made", "first_audio_sent", "first_sound_sent", "first_heard")


class _CallCounter:
    """An observer of one session."""

    def __init__(
        self,
        turns: Counter,
        drafts: Counter,
        latency: Histogram,
        saved: Histogram,
        errors: Counter,
        economy: _Economy,
    ) -> None:
        self._turns = turns
        self._drafts = drafts
        self._saved = saved
        self._errors = errors
        self._stages = [(stage, latency.labels(stage)) for stage in _STAGES]
        self._open: set[int] = set()
        self._counted: Mapping[type, Callable[[Any], None]] = {
            cmd.StartReply: self._started,
            cmd.Commit: self._committed,
            cmd.Discard: self._discarded,
            cmd.TurnClosed: self._closed,
            cmd.ErrorRaised: lambda c: self._errors.labels(c.code).inc(),
            cmd.DraftBooked: economy.book,
            cmd.DraftDeclined: economy.decline,
            cmd.TuneSource: economy.move,
        }

    def __call__(self, _now: float, _event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        for command in commands:
            if count := self._counted.get(type(command)):
                count(command)

    def _started(self, command: cmd.StartReply) -> None:
        if command.draft:
            self._open.add(command.reply)

    def _committed(self, command: cmd.Commit) -> None:
        self._fate(command.reply, "committed")

    def _discarded(self, command: cmd.Discard) -> None:
        self._fate(command.reply, command.reason)

    def _fate(self, reply: int, fate: str) -> None:
        if reply in self._open:
            self._open.discard(reply)
            self._drafts.labels(fate).inc()

    def _closed(self, command: cmd.TurnClosed) -> None:
        self._turns.labels(command.outcome).inc()
        times = command.times
        if times.ended is None:
            return
        for stage, latency in self._stages:
            at = getattr(times, stage)
            if at is not None:
                latency.observe(max(0.0, at - times.ended))
        if times.draft_started is not None:
            self._saved.observe(times.saved)
