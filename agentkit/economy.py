"""The economy of drafts over all calls of a process: what the settings say, one budget, experience.

The machine of each call decides by itself; what it cannot know of the other calls reaches it as an
event, so that its record replays (rule T22).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar, get_args

from agentkit.core.commands import DraftBooked
from agentkit.core.economy import Budget, Cost, Early, Experience, Mode, Pace, Prices
from agentkit.core.events import SharedBudget
from agentkit.core.policy import Policy
from agentkit.errors import ConfigError

Post = Callable[[SharedBudget], None]
"""Takes an event of a call, at once."""

WINDOW = 3600.0
"""Seconds over which the budget of a process counts."""
_TOLD = 8
"""With so few drafts left, every call is told of each."""
_MOST_SEEN = 200.0
"""Pauses whose experience is kept: older ones fade."""
_MOST_TIMES = 32

_Kind = TypeVar("_Kind", Budget, Prices, Early, Pace)


class Economy:
    """What calls share. One for a process; all in one event loop.

    Args:
        mode: takes the place of each agent's `Speculation.mode`; None: the agent's own.
        budget: likewise of ``speculation.budget``.
        prices: likewise of ``speculation.prices``.
        early: likewise of ``speculation.early``.
        expected: likewise of ``speculation.expected``.
        pace: likewise of ``Agent.pace``.
        shared: what the drafts of all calls may cost together in ``window`` seconds: as in a call's
            budget, but that tokens and money bind once they are spent. It takes no ``share``.
        window: seconds.

    Raises:
        ConfigError: ``shared`` has a ``share``, or the window is not above 0.
    """

    def __init__(
        self,
        *,
        mode: Mode | None = None,
        budget: Budget | None = None,
        prices: Prices | None = None,
        early: Early | None = None,
        expected: int | None = None,
        pace: Pace | None = None,
        shared: Budget | None = None,
        window: float = WINDOW,
    ) -> None:
        given = {
            "mode": mode,
            "budget": budget,
            "prices": prices,
            "early": early,
            "expected": expected,
        }
        self._given = {name: value for name, value in given.items() if value is not None}
        self._pace = pace
        self._shared = shared or Budget()
        if self._shared.share is not None:
            raise ConfigError("shared.share", "binds the turns of one call: set it in its budget")
        if window <= 0:
            raise ConfigError("window", f"{window} is not above 0 seconds")
        self._window = window
        self._calls: dict[int, Post] = {}
        self._told: dict[int, int | None] = {}
        self._next_call = 0
        self._open = 0
        self._lost: deque[tuple[float, Cost]] = deque()  # within the window, where that is asked
        self._spent = Cost()
        """What these took together: each draft asks, and in an hour of many calls they are many."""
        self._refresh: asyncio.TimerHandle | None = None
        self.experience = Experience()
        """What the calls that are over have shown of callers' pauses."""

    # ------------------------------------------------------------------------------- settings

    def apply(self, policy: Policy) -> Policy:
        """The policy of a call, with what the settings say and what earlier calls have shown."""
        rules = policy.speculation
        changes: dict[str, Any] = dict(self._given)
        mode = changes.get("mode", rules.mode)
        if mode == "adaptive" and self.experience != Experience():
            changes["tuning"] = replace(rules.tuning, experience=self.experience)
        changed = replace(policy, speculation=replace(rules, **changes)) if changes else policy
        return replace(changed, pace=self._pace) if self._pace is not None else changed

    # ---------------------------------------------------------------------------------- calls

    @contextmanager
    def call(self, post: Post) -> Iterator[CallAccount]:
        """A call goes on inside the block; it is told when the budget of all begins to bind."""
        number = self._next_call
        self._next_call += 1
        self._calls[number] = post
        account = CallAccount(self)
        self._tell()
        try:
            yield account
        finally:
            del self._calls[number]
            self._told.pop(number, None)
            account.close()

    def learn(self, seen: Experience) -> None:
        """Add what a call has shown; older calls fade."""
        self.experience = _added(self.experience, seen)

    def begin(self) -> None:
        """A draft has begun."""
        self._open += 1
        self._tell()

    def book(self, booked: DraftBooked) -> None:
        """A draft is over."""
        self._open -= 1
        if not booked.adopted and not self._shared.unlimited:
            self._lost.append((asyncio.get_running_loop().time(), booked.cost))
            self._spent += booked.cost
        self._tell()

    @property
    def left(self) -> int | None:
        """How many more drafts may begin now; None: the budget does not bind."""
        limits = self._shared
        if limits.unlimited:
            return None
        now = asyncio.get_running_loop().time()
        while self._lost and self._lost[0][0] <= now - self._window:
            self._spent -= self._lost.popleft()[1]
        if not self._lost:
            self._spent = Cost()  # prices do not add up to exactly nothing
        for name in ("input", "output", "characters", "price"):
            limit = getattr(limits, name)
            if limit is not None and getattr(self._spent, name) >= limit:
                return 0
        if limits.drafts is None:
            return None
        return max(0, limits.drafts - self._open - len(self._lost))

    def _tell(self) -> None:
        if self._shared.unlimited:
            return
        left = self.left
        told = left if left is not None and left <= _TOLD else None
        for number, post in tuple(self._calls.items()):
            if self._told.get(number) != told:
                self._told[number] = told
                post(SharedBudget(told))
        self._wake_up()

    def _wake_up(self) -> None:
        """Look again when the oldest loss is out of the window."""
        if self._refresh is not None:
            self._refresh.cancel()
            self._refresh = None
        if self._lost and self._calls:
            loop = asyncio.get_running_loop()
            due = max(self._lost[0][0] + self._window, loop.time()) + 0.001
            self._refresh = loop.call_at(due, self._tell)


class CallAccount:
    """What one call tells the economy. Drafts that it never booked are given back at its end."""

    def __init__(self, economy: Economy) -> None:
        self._economy = economy
        self._open = 0

    def begin(self) -> None:
        """A draft of this call has begun."""
        self._open += 1
        self._economy.begin()

    def book(self, booked: DraftBooked) -> None:
        """A draft of this call is over."""
        self._open -= 1
        self._economy.book(booked)

    def close(self) -> None:
        """The call is over."""
        self._economy._open -= self._open
        self._open = 0
        self._economy._tell()


def _added(known: Experience, seen: Experience) -> Experience:
    held = _sum(known.held, seen.held)
    lost = _sum(known.lost, seen.lost)
    total = sum(held) + sum(lost)
    fade = min(1.0, _MOST_SEEN / total) if total else 1.0
    return Experience(
        tuple(one * fade for one in held),
        tuple(one * fade for one in lost),
        (*known.leads, *seen.leads)[-_MOST_TIMES:],
        (*known.resumes, *seen.resumes)[-_MOST_TIMES:],
    )


def _sum(one: tuple[float, ...], other: tuple[float, ...]) -> list[float]:
    none = (0.0,) * 10
    return [a + b for a, b in zip(one or none, other or none, strict=True)]


# --------------------------------------------------------------------------- from the settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say of drafts, as text, and how each is called there, for errors."""

    values: Mapping[str, str | None]
    places: Mapping[str, str]

    def economy(self) -> Economy:
        """The economy that they describe.

        Raises:
            ConfigError: a text is none of what it has to be; it names the setting and the part.
        """
        mode = self.values.get("speculation")
        if mode is not None and mode not in get_args(Mode):
            raise ConfigError(
                self.places["speculation"], f"{mode!r} is not one of {', '.join(get_args(Mode))}"
            )
        return Economy(
            mode=mode,  # type: ignore[arg-type]  # it is one of them
            budget=self._read("draft_budget", Budget),
            prices=self._read("prices", Prices),
            early=self._early(),
            expected=self._expected(),
            pace=self._read("pace", Pace, first="floor"),
            shared=self._shared(),
        )

    def _early(self) -> Early | None:
        if self.values.get("early_drafts") == "off":
            return Early()
        return self._read("early_drafts", Early, first="rest")

    def _expected(self) -> int | None:
        text = self.values.get("expected_drafts")
        if text is None:
            return None
        if not text.isdecimal():
            raise ConfigError(self.places["expected_drafts"], f"{text!r} is not 0, 1, 2, ...")
        return int(text)

    def _shared(self) -> Budget | None:
        shared = self._read("process_draft_budget", Budget)
        if shared is not None and shared.share is not None:
            place = self.places["process_draft_budget"]
            raise ConfigError(place, "share is of one call: it belongs into the call's budget")
        return shared

    def _read(self, name: str, kind: type[_Kind], first: str = "") -> _Kind | None:
        text = self.values.get(name)
        return None if text is None else parse(text, kind, self.places[name], first=first)


def parse(text: str, kind: type[_Kind], place: str, *, first: str = "") -> _Kind:
    """Settings such as ``drafts=10, price=0.05`` as a `Budget`, `Prices`, `Early` or `Pace`.

    Args:
        text: names and values with ``=`` between and commas around.
        kind: whose fields they are.
        place: the setting, for errors.
        first: the field that a lone number is.

    Raises:
        ConfigError: it is no such text, a name is not known, or a value is out of range.
    """
    hints = {field.name: str(field.type) for field in fields(kind)}
    given: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and first:
            name, value = first, name
        if name not in hints:
            raise ConfigError(place, f"{part!r}: give NAME=VALUE of {', '.join(hints)}")
        given[name] = _value(value, hints[name], f"{place}: {name}")
    try:
        return kind(**given)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.field}", error.problem) from None


def _value(text: str, hint: str, place: str) -> Any:
    if hint.startswith(("str", "Literal")):
        return text
    if hint == "bool":
        if text not in ("true", "false"):
            raise ConfigError(place, f"{text!r} is neither true nor false")
        return text == "true"
    try:
        return int(text) if hint.startswith("int") else float(text)
    except ValueError:
        whole = "a whole number" if hint.startswith("int") else "a number"
        raise ConfigError(place, f"{text!r} is not {whole}") from None
