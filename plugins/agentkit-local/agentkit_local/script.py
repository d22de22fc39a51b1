"""Scripts of ``local/script``: reading one, and finding what it says to a conversation.

The form of a file is explained at the head of ``default_script.toml``.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from agentkit.core.history import STILL_RUNNING, Message, ToolMessage, UserMessage
from agentkit.errors import ConfigError

_DEFAULT = "default_script.toml"
_TOP = {
    "rule",
    "notice",
    "otherwise",
    "unprompted",
    "waiting",
    "failed",
    "first_token",
    "per_token",
}
_RULE = {"name", "when", "after", "say", "call", "arguments", "then"}
_PLACE = re.compile(r"\{(\w+)(?:\|([^}]*))?\}")
_WORD = re.compile(r"[\w']+")
# How agentkit tells a model that a tool did not work (agentkit.tools, agentkit.session).
_FAILED = re.compile(
    r"The arguments are wrong|There is no tool called|\w+ (failed\.$|did not answer within )"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What to answer to what. ``needs`` is what has to be known for its texts to be whole."""

    when: tuple[re.Pattern[str], ...]
    name: str = ""
    after: frozenset[str] = frozenset()
    say: tuple[str, ...] = ()
    call: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    then: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script says: a text, and after it a tool to call, with its arguments."""

    text: str
    call: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Script:
    """A script that was read and checked."""

    rules: tuple[Rule, ...]
    notice: tuple[re.Pattern[str], ...]
    otherwise: tuple[str, ...]
    unprompted: tuple[str, ...]
    waiting: tuple[str, ...]
    failed: tuple[str, ...]
    first_token: float
    per_token: float

    @classmethod
    def read(cls, path: Path | None = None) -> Script:
        """Read a script; None: the one that comes along.

        Raises:
            ConfigError: it is no such file; it names the rule and what is wrong.
        """
        where = str(path) if path else _DEFAULT
        try:
            text = (path or files("agentkit_local").joinpath(where)).read_text(encoding="utf-8")
            data = tomllib.loads(text)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"script {where}", str(error)) from error
        return _script(data, f"script {where}")

    def answer(self, messages: Sequence[Message], tools: Iterable[str]) -> Answer:
        """What to say to a conversation.

        It depends on nothing else: the whole conversation is gone through anew, so that a draft
        that was thrown away leaves no trace, and the same conversation has the same answer.
        """
        state = _State()
        # One that was called was offered, though it may not be any more.
        known_tools = {*tools, *(m.name for m in messages if isinstance(m, ToolMessage))}
        returned: dict[str, str] = {}
        prompted = False
        for message in messages:
            if isinstance(message, UserMessage):
                self._hear(message.text, state, known_tools)
                returned, prompted = {}, True
            elif isinstance(message, ToolMessage):
                returned[message.name] = message.text
            elif message.text and not message.tool_calls:
                prompted = False
        rule, times = state.rule, state.times
        if not prompted:
            return Answer(_pick(self.unprompted, 0))
        if rule is None:
            return Answer(_pick(self.otherwise, times))
        if rule.call is None:
            return Answer(_fill(_pick(rule.say, times), state.known))
        result = returned.get(rule.call)
        if result is None:
            given = {name: _filled(value, state.known) for name, value in rule.arguments.items()}
            return Answer(_fill(_pick(rule.say, times), state.known), rule.call, given)
        if result == STILL_RUNNING:
            return Answer(_pick(self.waiting, times))
        if _FAILED.match(result):
            return Answer(_pick(self.failed, times))
        return Answer(_fill(_pick(rule.then, times), {**state.known, "result": result}))

    def _hear(self, text: str, state: _State, tools: set[str]) -> None:
        heard = _Heard(text)
        for pattern in self.notice:
            heard.search(pattern, state.known)
        before = state.rule.name if state.rule else ""
        state.rule = None
        for rule in self.rules:
            if rule.after and before not in rule.after:
                continue
            known = dict(state.known)
            if (
                all(heard.search(pattern, known) for pattern in rule.when)
                and rule.needs <= known.keys()
                and (rule.call is None or rule.call in tools)
            ):
                state.known, state.rule = known, rule
                break
        key = id(state.rule)
        state.times = state.used[key]
        state.used[key] += 1


@dataclass(slots=True)
class _State:
    """Where a conversation is: what is known, the rule of the last turn, how often it was used."""

    known: dict[str, str] = field(default_factory=dict)
    rule: Rule | None = None
    times: int = 0
    used: Counter[int] = field(default_factory=Counter)


class _Heard:
    """A caller's words: as patterns see them, and as they were written."""

    def __init__(self, text: str) -> None:
        words = _WORD.findall(unicodedata.normalize("NFKC", text).replace("\u2019", "'"))
        self._written = " ".join(words)
        self._folded = " ".join(word.casefold() for word in words)

    def search(self, pattern: re.Pattern[str], known: dict[str, str]) -> bool:
        """Whether the pattern is in it; what it captures is added to ``known``."""
        match = pattern.search(self._folded)
        if match is None:
            return False
        # Folding makes a few letters longer (ß); then the places are not the same.
        source = self._written if len(self._written) == len(self._folded) else self._folded
        for name in match.groupdict():
            if match[name]:
                known[name] = source[slice(*match.span(name))]
        return True


def _pick(texts: tuple[str, ...], times: int) -> str:
    return texts[times % len(texts)] if texts else ""


def _fill(text: str, known: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda place: known.get(place[1], place[2] or ""), text)


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    return _fill(value, known) if isinstance(value, str) else value


# ------------------------------------------------------------------------------------- reading


def _script(data: dict[str, Any], where: str) -> Script:
    _known_only(data, _TOP, where)
    raw = data.get("rule", [])
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise ConfigError(where, "rule is not a list of tables: write [[rule]]")
    rules = tuple(_rule(item, f"{where}, rule {n}") for n, item in enumerate(raw, 1))
    notice = _patterns(data.get("notice", []), f"{where}, notice")
    _check(rules, notice, where)

    def texts(key: str, default: str) -> tuple[str, ...]:
        return _texts(data.get(key, default), f"{where}, {key}")

    return Script(
        rules,
        notice,
        otherwise=texts("otherwise", "I am not sure I understood that."),
        unprompted=texts("unprompted", "Is there anything else I can do for you?"),
        waiting=texts("waiting", "One moment, please: I am still waiting for that."),
        failed=texts("failed", "I am sorry, that did not work just now."),
        first_token=seconds(data.get("first_token", 0.25), f"{where}, first_token"),
        per_token=seconds(data.get("per_token", 0.02), f"{where}, per_token"),
    )


def seconds(value: Any, where: str) -> float:
    """A delay. Raises ConfigError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 60:
        raise ConfigError(where, f"{value!r} is no number of seconds from 0 to 60")
    return float(value)


def _rule(raw: dict[str, Any], where: str) -> Rule:
    _known_only(raw, _RULE, where)
    when = _patterns(raw.get("when", []), f"{where}, when")
    if not when and "after" not in raw:
        raise ConfigError(where, "when is missing: a pattern, or a list of them")
    if "call" in raw and "then" not in raw:
        raise ConfigError(where, "call needs then: what to say with {result}")
    if "call" not in raw and "say" not in raw:
        raise ConfigError(where, "say or call is missing")
    call, arguments = raw.get("call"), raw.get("arguments", {})
    if not isinstance(call, str | None) or not isinstance(arguments, dict):
        raise ConfigError(where, "call is a tool's name, and arguments is a table")
    say, then = (_texts(raw.get(key, []), f"{where}, {key}") for key in ("say", "then"))
    places = {
        place[1]
        for text in (*say, *then, *arguments.values())
        if isinstance(text, str)
        for place in _PLACE.finditer(text)
        if place[2] is None
    }
    if "result" in places and not any("{result}" in text for text in then):
        raise ConfigError(where, "{result} is known in then only")
    name = raw.get("name", "")
    after = frozenset(_texts(raw.get("after", []), f"{where}, after"))
    return Rule(when, str(name), after, say, call, arguments, then, frozenset(places - {"result"}))


def _check(rules: tuple[Rule, ...], notice: tuple[re.Pattern[str], ...], where: str) -> None:
    """That rules speak of other rules and of captures that are there."""
    captured = {name for pattern in notice for name in pattern.groupindex}
    captured |= {name for rule in rules for pattern in rule.when for name in pattern.groupindex}
    names = {rule.name for rule in rules if rule.name}
    for number, rule in enumerate(rules, 1):
        if missing := sorted(rule.needs - captured):
            raise ConfigError(
                f"{where}, rule {number}",
                f"{{{missing[0]}}} is captured nowhere: write (?P<{missing[0]}>...) in a pattern",
            )
        if missing := sorted(rule.after - names):
            raise ConfigError(f"{where}, rule {number}", f"no rule has the name {missing[0]!r}")


def _known_only(raw: dict[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(raw.keys() - known):
        raise ConfigError(where, f"{unknown[0]} is not known; known are {', '.join(sorted(known))}")


def _patterns(value: Any, where: str) -> tuple[re.Pattern[str], ...]:
    try:
        return tuple(re.compile(pattern) for pattern in _texts(value, where))
    except re.error as error:
        raise ConfigError(where, f"{error}") from error


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ConfigError(where, f"{value!r} is neither a text nor a list of texts")
