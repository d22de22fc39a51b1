"""What a client may ask for in the URL, checked as Deepgram checks it (docs flux/configuration)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal
from urllib.parse import parse_qsl

from agentkit_local.ears.turns import Thresholds

MODELS = ("flux-general-en", "flux-general-multi")
RAW = ("linear16", "linear32", "mulaw", "alaw")
CONTAINED = ("opus", "ogg-opus")
RATES = (8000, 16000, 24000, 44100, 48000)
LANGUAGES = frozenset({"en", "es", "fr", "de", "hi", "ru", "pt", "ja", "it", "nl"})
_KNOWN = frozenset(
    {
        "model", "encoding", "sample_rate", "eot_threshold", "eager_eot_threshold",
        "eot_timeout_ms", "keyterm", "language_hint", "numerals", "profanity_filter", "redact",
        "mip_opt_out", "tag",
    }
)  # fmt: skip
_REDACT: dict[str, Literal["", "numbers", "aggressive_numbers"]] = {
    "": "", "numbers": "numbers", "aggressive_numbers": "aggressive_numbers",
}  # fmt: skip
_REPEATABLE = frozenset({"keyterm", "language_hint", "tag"})


class BadRequest(ValueError):
    """Refused with HTTP 400 and this reason, or, in a Configure, with a ConfigureFailure."""

    status = HTTPStatus.BAD_REQUEST
    code = "INVALID_CONFIGURATION"


class UnknownModel(BadRequest):
    """Deepgram refuses a model that it does not know like one that the key may not use."""

    status = HTTPStatus.FORBIDDEN


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asked for.

    Args:
        encoding: None: a WAV file, which says for itself.
        rate: in Hz; None with a WAV file.
        keyterms: taken and given back; the recogniser has no use for them.
        multilingual: ``flux-general-multi`` was asked for.
        language_hints: taken and given back, like the keyterms.
        redact: which numbers are not to be shown.
    """

    encoding: str | None
    rate: int | None
    thresholds: Thresholds
    keyterms: tuple[str, ...] = ()
    multilingual: bool = False
    language_hints: tuple[str, ...] = ()
    redact: Literal["", "numbers", "aggressive_numbers"] = ""
    numerals: bool = False


def parse(query: str) -> Asked:
    """Read the query of ``/v2/listen``. Raises BadRequest."""
    given = parse_qsl(query, keep_blank_values=True)
    values: dict[str, str] = {}
    for name, value in given:
        if name not in _KNOWN:
            raise BadRequest(f"unknown query parameter: {name}")
        if name in values and name not in _REPEATABLE:
            raise BadRequest(f"{name} may be given once only")
        values[name] = value
    model = values.get("model")
    if model is None:
        raise BadRequest("model is required")
    if model not in MODELS:
        raise UnknownModel(
            f"INSUFFICIENT_PERMISSIONS: no access to model {model!r}: use {' or '.join(MODELS)}"
        )
    keyterms = tuple(value for name, value in given if name == "keyterm")
    check_keyterms(keyterms)
    multilingual = model == "flux-general-multi"
    hints = tuple(value for name, value in given if name == "language_hint")
    check_language_hints(hints, multilingual)
    for name in ("numerals", "profanity_filter", "mip_opt_out"):
        if values.get(name, "true") not in ("true", "false"):
            raise BadRequest(f"{name} must be true or false")
    redact = values.get("redact", "")
    if redact not in ("numbers", "aggressive_numbers") and "redact" in values:
        raise BadRequest("redact must be numbers or aggressive_numbers")
    encoding, rate = _audio(values)
    return Asked(
        encoding,
        rate,
        _thresholds(values),
        keyterms,
        multilingual,
        hints,
        _REDACT[redact],
        values.get("numerals") == "true",
    )


def check_keyterms(keyterms: tuple[str, ...]) -> None:
    """Raise BadRequest if there are too many of them, or one is blank or too long."""
    if len(keyterms) > 100:
        raise BadRequest(f"Keyterm limit exceeded: {len(keyterms)} of 100")
    for term in keyterms:
        if not term.strip():
            raise BadRequest("keyterm must not be blank")
        if len(term) > 100:
            raise BadRequest(f"keyterm is longer than 100 characters: {term[:20]}...")


def check_language_hints(hints: tuple[str, ...], multilingual: bool) -> None:
    """Raise BadRequest if there are any for the English model, or one is not known."""
    if hints and not multilingual:
        raise BadRequest("INVALID_PARAMETER: language_hint works with flux-general-multi only")
    for hint in hints:
        if not re.fullmatch(r"[A-Za-z]{2}(-[A-Za-z0-9]+)*", hint) or (
            hint[:2].lower() not in LANGUAGES
        ):
            known = ", ".join(sorted(LANGUAGES))
            raise BadRequest(f"INVALID_PARAMETER: language_hint {hint!r} is none of {known}")


def check_thresholds(thresholds: Thresholds) -> Thresholds:
    """Raise BadRequest if one is out of its range, or eager is above the final one."""
    eot, eager = thresholds.eot, thresholds.eager
    if not 0.5 <= eot <= 1.0:
        raise BadRequest(f"eot_threshold {eot} is not between 0.5 and 1.0")
    if eager is not None and not 0.3 <= eager <= 0.9:
        raise BadRequest(f"eager_eot_threshold {eager} is not between 0.3 and 0.9")
    if eager is not None and eager > eot:
        raise BadRequest(f"eager_eot_threshold {eager} is above eot_threshold {eot}")
    if not 0.5 <= thresholds.timeout <= 60.0:
        raise BadRequest(
            f"eot_timeout_ms {thresholds.timeout * 1000:.0f} is not between 500 and 60000"
        )
    return thresholds


def _audio(values: dict[str, str]) -> tuple[str | None, int | None]:
    encoding, rate = values.get("encoding"), values.get("sample_rate")
    if encoding is None and rate is None:
        return None, None
    if encoding is None:
        raise BadRequest("encoding is required with sample_rate; leave both out for a WAV file")
    if encoding in CONTAINED:
        raise BadRequest(f"encoding {encoding} is not supported here: use {', '.join(RAW)} or WAV")
    if encoding not in RAW:
        raise BadRequest(f"encoding {encoding!r} is unknown: use {', '.join(RAW)}")
    if rate is None:
        raise BadRequest("sample_rate is required with raw audio")
    if not rate.isdecimal() or int(rate) not in RATES:
        raise BadRequest(f"sample_rate {rate!r} is none of {', '.join(map(str, RATES))}")
    return encoding, int(rate)


def _thresholds(values: dict[str, str]) -> Thresholds:
    eager = values.get("eager_eot_threshold")
    return check_thresholds(
        Thresholds(
            _number("eot_threshold", values.get("eot_threshold", "0.7")),
            None if eager is None else _number("eager_eot_threshold", eager),
            _whole("eot_timeout_ms", values.get("eot_timeout_ms", "5000")) / 1000,
        )
    )


def _whole(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise BadRequest(f"{name} {value!r} is no whole number")
    return int(value)


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise BadRequest(f"{name} {value!r} is no number") from None
