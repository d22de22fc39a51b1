"""Configure is checked as a whole, and taken or refused as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit_local.ears.configure import Unparsable, configured
from agentkit_local.ears.query import Asked, BadRequest
from agentkit_local.ears.turns import Thresholds

NOW = Thresholds(0.7, 0.4, 5.0)
ASKED = Asked("linear16", 16000, NOW, ("Xarelto",))


def configure(**message: Any) -> tuple[Thresholds, Asked]:
    return configured({"type": "Configure", **message}, NOW, ASKED)


def test_what_is_left_out_or_null_keeps_its_value() -> None:
    assert configure() == (NOW, ASKED)
    assert configure(thresholds=None, keyterms=None, language_hints=None) == (NOW, ASKED)
    assert configure(thresholds={"eot_threshold": None, "eot_timeout_ms": None})[0] == NOW


def test_each_field_is_taken() -> None:
    thresholds, asked = configure(
        thresholds={"eot_threshold": 0.8, "eager_eot_threshold": 0.5, "eot_timeout_ms": 9000},
        keyterms=["Eliquis", "prior authorization"],
        numerals=True,
    )
    assert thresholds == Thresholds(0.8, 0.5, 9.0)
    assert asked.keyterms == ("Eliquis", "prior authorization")
    assert asked.numerals
    assert configure(keyterms=[])[1].keyterms == ()
    assert configure(thresholds={"eager_eot_threshold": None})[0].eager is None


@pytest.mark.parametrize(
    ("thresholds", "reason"),
    [
        ({"eot_threshold": 0.2}, "eot_threshold 0.2"),
        ({"eot_threshold": 0}, "eot_threshold 0"),
        ({"eot_threshold": float("nan")}, "out of range"),
        ({"eot_timeout_ms": 100}, "eot_timeout_ms 100"),
        ({"eot_timeout_ms": 1e300}, "out of range"),
        ({"eager_eot_threshold": 0.8}, "above eot_threshold 0.7"),
        ({"eot_threshold": 0.5, "eager_eot_threshold": 0.6}, "above eot_threshold 0.5"),
    ],
)
def test_a_bad_threshold_is_refused_by_its_code(thresholds: Any, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        configure(thresholds=thresholds)


def test_the_codes_of_refusals() -> None:
    with pytest.raises(BadRequest) as refused:
        configure(thresholds={"eot_threshold": 0.2})
    assert refused.value.code == "INVALID_THRESHOLD"
    with pytest.raises(BadRequest) as refused:
        configure(keyterms=[""])
    assert refused.value.code == "INVALID_CONFIGURATION"


def test_hints_are_for_the_multilingual_model() -> None:
    with pytest.raises(BadRequest, match="flux-general-multi only"):
        configure(language_hints=["en"])
    multi = Asked("linear16", 16000, NOW, multilingual=True)
    message = {"type": "Configure", "language_hints": ["de", "en-GB"]}
    assert configured(message, NOW, multi)[1].language_hints == ("de", "en-GB")
    with pytest.raises(BadRequest, match="none of"):
        configured({"type": "Configure", "language_hints": ["tlh"]}, NOW, multi)


@pytest.mark.parametrize(
    "message",
    [
        {"features": {"numerals": True}},
        {"thresholds": [0.7]},
        {"thresholds": {"eot": 0.7}},
        {"thresholds": {"eot_threshold": "0.8"}},
        {"thresholds": {"eot_threshold": True}},
        {"thresholds": {"eot_timeout_ms": 900.5}},
        {"keyterms": "abc"},
        {"keyterms": [1]},
        {"numerals": "true"},
    ],
)
def test_what_has_another_form_is_fatal(message: dict[str, Any]) -> None:
    with pytest.raises(Unparsable):
        configure(**message)
