"""Changes of options on a live connection: one at a time, the latest values win.

Pure bookkeeping, like `agentkit.flux.outbox`. Flux refuses a message when too many are waiting
for an answer ("Too many pending Configure messages"), so the next one is sent when the last one
was answered, or has waited long enough.
"""

from __future__ import annotations

from typing import Any

from agentkit.errors import FluxOptionError
from agentkit.flux.messages import Configure
from agentkit.flux.options import FluxOptions


class Configuring:
    """What Flux has been told, and what it is still to be told.

    Args:
        options: what the connection's URL says.
        configurable: the options that ``Configure`` changes here.
        patience: how long an answer is waited for, in seconds.
    """

    def __init__(self, options: FluxOptions, configurable: frozenset[str], patience: float) -> None:
        self.configurable = configurable
        self.sent = 0
        self.acknowledged = 0
        self.refused = 0
        self.given_up = 0
        self._wanted = options
        self._in_force = options
        self._patience = patience
        self._asked: dict[str, Any] = {}
        self._deadline: float | None = None
        self._news = False

    @property
    def wanted(self) -> FluxOptions:
        """The latest values."""
        return self._wanted

    def want(self, options: FluxOptions) -> None:
        """These are the latest values; what differs is sent as soon as it may be."""
        self._wanted = options
        self._news = True

    def connected(self) -> None:
        """A new connection was made, with the wanted options in its URL."""
        self._in_force = self._wanted
        self._news = False
        self._asked = {}
        self._deadline = None

    @property
    def awaiting(self) -> bool:
        """A message was sent and is not answered."""
        return bool(self._asked)

    @property
    def deadline(self) -> float | None:
        """When `next_message` has to be asked again; None if not before `want`."""
        return self._deadline

    def next_message(self, now: float) -> str | None:
        """The message to send now; None if there is nothing to say, or an answer is awaited."""
        if self._deadline is not None:
            if now < self._deadline:
                return None
            if self._asked:
                self.given_up += 1
            self._settle(self._asked)
        if not self._news:
            return None
        self._news = False
        differs = self._wanted.changed_from(self._in_force)
        changes = {name: differs[name] for name in differs if name in self.configurable}
        if not changes:
            return None
        self._asked = changes
        self._deadline = now + self._patience
        self.sent += 1
        return Configure.of(changes).to_json()

    def succeeded(self) -> None:
        """Flux has taken the message."""
        self.acknowledged += 1
        self._settle(self._asked)

    def failed(self, description: str) -> None:
        """Flux has refused the message, whole. Its values are no longer wanted.

        A message that came while too many were waiting says nothing about its values: they are
        sent again when the usual wait is over.
        """
        self.refused += 1
        if "pending" in description.lower():
            self._asked = {}
            self._news = True
            return
        stale = {
            name: getattr(self._in_force, name)
            for name, value in self._asked.items()
            if getattr(self._wanted, name) == value
        }
        self._settle({})
        try:
            self._wanted = self._wanted.with_changes(stale)
        except FluxOptionError:  # what was wanted since then only fits the refused values
            self._wanted = self._in_force

    def _settle(self, in_force: dict[str, Any]) -> None:
        if in_force:
            self._in_force = self._in_force.with_changes(in_force)
        self._asked = {}
        self._deadline = None
