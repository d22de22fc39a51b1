"""A Configure message, checked as a whole (Deepgram docs, flux/configure). Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agentkit_local.ears.query import (
    Asked,
    BadRequest,
    check_keyterms,
    check_language_hints,
    check_thresholds,
)
from agentkit_local.ears.turns import Thresholds

_FIELDS = frozenset({"type", "thresholds", "keyterms", "language_hints", "numerals"})
_THRESHOLDS = frozenset({"eot_threshold", "eager_eot_threshold", "eot_timeout_ms"})


class Unparsable(ValueError):
    """The message does not have the form of a Configure, which is fatal."""


def configured(
    message: dict[str, Any], thresholds: Thresholds, asked: Asked
) -> tuple[Thresholds, Asked]:
    """What is in force after the message. A field that is absent or null keeps its value.

    ``eager_eot_threshold`` alone has a meaning for null: eager ends are switched off.

    Raises:
        Unparsable: a field is unknown, or of the wrong JSON type.
        BadRequest: a value is refused; nothing of the message is taken.
    """
    _no_others(message, _FIELDS)
    given = message.get("thresholds")
    if given is not None:
        if not isinstance(given, dict):
            raise Unparsable("thresholds: expected an object")
        thresholds = _thresholds(given, thresholds)
    keyterms = _texts(message, "keyterms")
    if keyterms is not None:
        check_keyterms(keyterms)
        asked = replace(asked, keyterms=keyterms)
    hints = _texts(message, "language_hints")
    if hints is not None:
        check_language_hints(hints, asked.multilingual)
        asked = replace(asked, language_hints=hints)
    if "numerals" in message:
        if not isinstance(message["numerals"], bool):
            raise Unparsable("numerals: expected a boolean")
        asked = replace(asked, numerals=message["numerals"])
    return thresholds, asked


def _thresholds(given: dict[str, Any], now: Thresholds) -> Thresholds:
    _no_others(given, _THRESHOLDS)
    eot, timeout = _number(given, "eot_threshold"), _number(given, "eot_timeout_ms")
    eager = _number(given, "eager_eot_threshold")
    if timeout is not None and timeout != int(timeout):
        raise Unparsable("eot_timeout_ms: expected an integer")
    changed = Thresholds(
        now.eot if eot is None else eot,
        eager if "eager_eot_threshold" in given else now.eager,
        now.timeout if timeout is None else timeout / 1000,
    )
    try:
        return check_thresholds(changed)
    except BadRequest as error:
        error.code = "INVALID_THRESHOLD"
        raise


def _no_others(given: dict[str, Any], known: frozenset[str]) -> None:
    if unknown := given.keys() - known:
        raise Unparsable(f"unknown field `{min(unknown)}`")


def _number(given: dict[str, Any], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unparsable(f"{name}: expected a number")
    if not abs(value) < 1e9:
        raise BadRequest(f"{name} is out of range")
    return float(value)


def _texts(given: dict[str, Any], name: str) -> tuple[str, ...] | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Unparsable(f"{name}: expected a list of strings")
    return tuple(value)
