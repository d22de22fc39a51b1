"""Flux's inputs: checked before a connection is made."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest

from agentkit.audio import AudioFormat
from agentkit.errors import FluxOptionError
from agentkit.flux import CLOUDFLARE, SAGEMAKER, FluxOptions


def pairs(**options: Any) -> list[tuple[str, str]]:
    return parse_qsl(FluxOptions(**options).for_audio(AudioFormat()).query())


def test_the_default_listens_eagerly() -> None:
    query = dict(pairs())
    assert query["model"] == "flux-general-en"
    assert float(query["eager_eot_threshold"]) == 0.4
    assert float(query.get("eot_threshold", 0.7)) == 0.7
    assert int(query.get("eot_timeout_ms", 5000)) == 5000
    assert (query["encoding"], query["sample_rate"]) == ("linear16", "16000")


def test_terms_are_encoded_one_parameter_each() -> None:
    query = FluxOptions(keyterms=["Rosewood Clinic", "a&b", "é"]).for_audio(AudioFormat()).query()
    assert [v for k, v in parse_qsl(query) if k == "keyterm"] == ["Rosewood Clinic", "a&b", "é"]
    assert query.endswith("keyterm=Rosewood%20Clinic&keyterm=a%26b&keyterm=%C3%A9")


def test_tags_are_encoded_one_parameter_each() -> None:
    query = FluxOptions(tags=["night shift", "a&b=c"]).for_audio(AudioFormat()).query()
    assert query.endswith("tag=night%20shift&tag=a%26b%3Dc")


def test_the_term_that_is_too_long_is_named_and_one_at_the_limit_is_taken() -> None:
    assert FluxOptions(keyterms=["x" * 100]).keyterms == ("x" * 100,)
    with pytest.raises(FluxOptionError, match="y" * 101):
        FluxOptions(keyterms=["fine", "y" * 101])


@pytest.mark.parametrize(
    "name", ["eot_threshold", "eager_eot_threshold", "eot_timeout_ms", "sample_rate"]
)
def test_zero_is_a_value_and_none_is_not_sent(name: str) -> None:
    """A zero that counts as "not given" becomes the default, and nobody is told."""
    for zero in (0, 0.0, "0"):
        with pytest.raises(FluxOptionError) as caught:
            FluxOptions(**{name: zero})
        assert caught.value.field == name
        with pytest.raises(FluxOptionError):
            FluxOptions().with_changes({name: zero})
    left_out = FluxOptions().with_changes({name: None})
    assert left_out.value(name) is None
    assert name not in dict(parse_qsl(left_out.query()))


def test_false_is_sent_and_none_is_not() -> None:
    for name in ("numerals", "profanity_filter", "mip_opt_out"):
        assert (name, "false") in pairs(**{name: False})
        assert name not in dict(pairs(**{name: None}))


def test_an_empty_list_is_sent_as_nothing_and_is_a_change() -> None:
    before = FluxOptions(keyterms=["Ann"])
    after = before.with_changes({"keyterms": []})
    assert "keyterm" not in after.query()
    assert after.changed_from(before) == {"keyterms": ()}


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"eot_threshold": 0.4}, "eot_threshold", "0.5"),
        ({"eot_threshold": 1.1}, "eot_threshold", "1.0"),
        ({"eager_eot_threshold": 0.2}, "eager_eot_threshold", "0.3"),
        ({"eager_eot_threshold": 0.8}, "eager_eot_threshold", "which is 0.7"),
        (
            {"eager_eot_threshold": 0.8, "eot_threshold": None},
            "eager_eot_threshold",
            "which is 0.7, Flux's own default",
        ),
        ({"eager_eot_threshold": 0.7, "eot_threshold": 0.6}, "eager_eot_threshold", "0.6"),
        ({"eot_timeout_ms": 400}, "eot_timeout_ms", "500"),
        ({"eot_timeout_ms": 60001}, "eot_timeout_ms", "60000"),
        ({"eot_threshold": 0.0}, "eot_threshold", "0.0"),
        ({"keyterms": ["x" * 101]}, "keyterms", "100 characters"),
        ({"keyterms": [" "]}, "keyterms", "blank"),
        ({"keyterms": ["a,b"]}, "keyterms", "own item"),
        ({"keyterms": ["a"] * 101}, "keyterms", "100 terms"),
        ({"keyterms": ["a b c d e f"] * 99}, "keyterms", "500 tokens"),
        ({"keyterms": [""]}, "keyterms", "blank"),
        ({"model": "flux"}, "model", "flux-general-en"),
        ({"language_hints": ["de"]}, "language_hints", "flux-general-multi"),
        ({"model": "flux-general-multi", "language_hints": ["xx"]}, "language_hints", "en"),
        ({"model": "flux-general-multi", "language_hints": [""]}, "language_hints", "en"),
        ({"redact": "names"}, "redact", "numbers"),
        ({"sample_rate": 11025}, "sample_rate", "16000"),
        ({"encoding": "mp3"}, "encoding", "linear16"),
        ({"tags": ["x" * 129]}, "tags", "128"),
    ],
)
def test_what_flux_would_refuse_is_named_with_its_range(
    options: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(FluxOptionError) as caught:
        FluxOptions(**options)
    assert caught.value.field == field
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["language", "smart_format", "keyterm", "diarize", "nonsense"])
def test_options_of_other_endpoints_are_refused(name: str) -> None:
    with pytest.raises(FluxOptionError) as caught:
        FluxOptions(**{name: "x"})
    assert caught.value.field == name


def test_a_container_has_neither_encoding_nor_rate() -> None:
    names = [name for name, _ in parse_qsl(FluxOptions().query())]
    assert "encoding" not in names
    assert "sample_rate" not in names


def test_booleans_are_lower_case() -> None:
    query = dict(pairs(numerals=True, profanity_filter=False))
    assert query["numerals"] == "true"
    assert query.get("profanity_filter", "false") == "false"


def test_presets() -> None:
    assert FluxOptions.preset("manual").eot_threshold == 1.0
    assert FluxOptions.preset("simple").eager_eot_threshold is None
    assert FluxOptions.preset("low-latency", keyterms=["a"]).keyterms == ("a",)
    with pytest.raises(FluxOptionError, match="there are simple"):
        FluxOptions.preset("fast")


def test_cloudflares_older_ranges_are_checked_by_name() -> None:
    FluxOptions().check(CLOUDFLARE)
    for options in ({"eot_threshold": 0.95}, {"numerals": True}, {"eot_timeout_ms": 20000}):
        with pytest.raises(FluxOptionError, match=r"Cloudflare|between|0\.9|10000|10_000"):
            FluxOptions(**options).check(CLOUDFLARE)
    with pytest.raises(FluxOptionError, match="SageMaker"):
        FluxOptions(numerals=True).check(SAGEMAKER)


def test_changes_are_checked_against_the_values_in_force() -> None:
    options = FluxOptions(eot_threshold=0.8)
    assert options.with_changes({"eager_eot_threshold": 0.8}).eager_eot_threshold == 0.8
    with pytest.raises(FluxOptionError):
        options.with_changes({"eot_threshold": 0.5, "eager_eot_threshold": 0.6})


def test_audio_that_does_not_fit_is_refused() -> None:
    with pytest.raises(FluxOptionError, match="sample_rate"):
        FluxOptions(sample_rate=8000).for_audio(AudioFormat())
    phone = FluxOptions().for_audio(AudioFormat("mulaw", 8000))
    assert ("encoding", "mulaw") in parse_qsl(phone.query())
