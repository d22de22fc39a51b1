"""What Flux can be told, checked before a connection is made.

Sources: Deepgram docs flux/quickstart, flux/configuration, flux/configure, flux/language-prompting;
Cloudflare's model page for ``@cf/deepgram/flux``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, cast
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from agentkit.audio.formats import AudioFormat
from agentkit.errors import FluxOptionError

FluxEncoding = Literal["linear16", "linear32", "mulaw", "alaw", "opus", "ogg-opus"]

CONFIGURABLE: Final = frozenset(
    {
        "eot_threshold",
        "eager_eot_threshold",
        "eot_timeout_ms",
        "keyterms",
        "language_hints",
        "numerals",
    }
)
"""Options that ``Configure`` can change on a live connection (Deepgram docs, flux/configure)."""


@dataclass(frozen=True, slots=True)
class FluxDialect:
    """What one kind of Flux server allows and understands.

    Args:
        name: for error messages.
        final: lowest and highest ``eot_threshold``.
        eager: lowest and highest ``eager_eot_threshold``.
        timeout_ms: lowest and highest ``eot_timeout_ms``.
        encodings: raw encodings taken.
        unsupported: options this server does not know; ``model`` here means that the URL names it.
        single: options of several values that may have one here.
        configurable: options that ``Configure`` changes; empty where ``Configure`` is fatal.
        can_end_turn: understands ``ForceEndTurn``; where it does not, that message is fatal.
        ready_on_open: the open socket takes audio at once; no ``Connected`` is to be waited for.
        on_401: what to look at when the server does not let one in.
    """

    name: str
    final: tuple[float, float] = (0.5, 1.0)
    eager: tuple[float, float] = (0.3, 0.9)
    timeout_ms: tuple[int, int] = (500, 60_000)
    encodings: tuple[str, ...] = ("linear16", "linear32", "mulaw", "alaw", "opus", "ogg-opus")
    unsupported: frozenset[str] = frozenset()
    single: frozenset[str] = frozenset()
    configurable: frozenset[str] = CONFIGURABLE
    can_end_turn: bool = True
    ready_on_open: bool = False
    on_401: str = "check the key: API keys go in `key`, short-lived JWTs in `token`"

    def wire(self, audio: AudioFormat) -> AudioFormat:
        """The form in which this audio is sent: G.711 is decoded where it is not taken."""
        if audio.encoding in self.encodings:
            return audio
        return AudioFormat("linear16", audio.rate)

    @property
    def without(self) -> str:
        """The control messages that this server does not take, in words; "" if it takes all."""
        missing = {"Configure": not self.configurable, "ForceEndTurn": not self.can_end_turn}
        return " and ".join(name for name, missed in missing.items() if missed)


DEEPGRAM: Final = FluxDialect("Deepgram")
"""Deepgram's own endpoint, with the ranges in force since ``ForceEndTurn`` was added."""

CLOUDFLARE: Final = FluxDialect(
    "Cloudflare",
    final=(0.5, 0.9),
    timeout_ms=(500, 10_000),
    encodings=("linear16",),
    unsupported=frozenset({"model", "language_hints", "numerals", "profanity_filter", "redact"}),
    single=frozenset({"tags"}),
    configurable=frozenset(),
    can_end_turn=False,
    ready_on_open=True,
    on_401=(
        "check the token: AI Gateway wants one that may run AI Gateway and Workers AI, "
        "a Worker the one that it was given"
    ),
)
"""Cloudflare Workers AI: the older ranges, English only, no control message documented.

Its schema bounds ``eot_timeout_ms`` by nothing; the bounds here are Deepgram's own of that age. It
says that ``keyterm`` may be repeated, and says so of no other parameter.
"""

SAGEMAKER: Final = FluxDialect(
    "SageMaker",
    final=(0.5, 0.9),
    timeout_ms=(500, 10_000),
    unsupported=frozenset({"numerals"}),
    configurable=frozenset(),
    can_end_turn=False,
)
"""A build that accepts ``CloseStream`` as its only control message."""

_EFFECTIVE_FINAL: Final = 0.7
"""The ``eot_threshold`` in force when none is sent (Deepgram docs, flux/configuration)."""
_EFFECTIVE_TIMEOUT_MS: Final = 5000
"""The ``eot_timeout_ms`` in force when none is sent (Deepgram docs, flux/configuration)."""
_SAMPLE_RATES: Final = (8000, 16000, 24000, 44100, 48000)
_LANGUAGES: Final = ("en", "es", "fr", "de", "hi", "ru", "pt", "ja", "it", "nl")
_REDACTIONS: Final = ("numbers", "aggressive_numbers")
_MAX_TERMS: Final = 100
_MAX_TERM_CHARS: Final = 100
_MAX_TERM_TOKENS: Final = 500
_MAX_TAG_CHARS: Final = 128

_PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "simple": {"eager_eot_threshold": None, "eot_threshold": 0.7, "eot_timeout_ms": 5000},
    "low-latency": {"eager_eot_threshold": 0.4, "eot_threshold": 0.7, "eot_timeout_ms": 6000},
    "high-reliability": {
        "eager_eot_threshold": None,
        "eot_threshold": 0.85,
        "eot_timeout_ms": 8000,
    },
    "complex-pipeline": {
        "eager_eot_threshold": 0.4,
        "eot_threshold": 0.85,
        "eot_timeout_ms": 7000,
    },
    "manual": {"eager_eot_threshold": None, "eot_threshold": 1.0, "eot_timeout_ms": 30_000},
}

_OTHER_NAMES: Final[Mapping[str, str]] = {
    "keyterm": "the option is called keyterms and takes a list",
    "tag": "the option is called tags and takes a list",
    "language_hint": "the option is called language_hints and takes a list",
    "language": "Flux has no language option; use model flux-general-multi with language_hints",
    "smart_format": "Flux does not have it; it is an option of /v1/listen",
    "punctuate": "Flux does not have it; it is an option of /v1/listen",
    "interim_results": "Flux does not have it; it is an option of /v1/listen",
    "endpointing": "Flux does not have it; set eot_threshold and eot_timeout_ms",
    "utterance_end_ms": "Flux does not have it; set eot_threshold and eot_timeout_ms",
    "diarize": "Flux does not have it; it is an option of /v1/listen",
    "channels": "Flux listens to mono audio only",
}


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is wanted, not true or false")
    return value


_Number = Annotated[float, BeforeValidator(_no_bool)]
_Integer = Annotated[int, BeforeValidator(_no_bool)]


class FluxOptions(BaseModel):
    """Every input of Flux. Immutable; a value out of its range raises FluxOptionError.

    ``None`` is "not sent": Flux then uses its own default. It is never the same as zero.

    Args:
        model: ``flux-general-en`` or ``flux-general-multi``.
        encoding: of the raw audio; None takes it from the audio given to the client. Without any,
            the audio is a container (WAV, Ogg, WebM) that says it itself.
        sample_rate: in Hz, given together with ``encoding``.
        eot_threshold: 0.5 to 1.0, the confidence that ends a turn; 1.0 leaves only the timeout
            and ``ForceEndTurn``. None is Flux's 0.7.
        eager_eot_threshold: 0.3 to 0.9, never above ``eot_threshold``; None switches
            EagerEndOfTurn and TurnResumed off.
        eot_timeout_ms: 500 to 60000, the silence that ends a turn whatever the confidence.
        keyterms: words to listen for, at most 100 of at most 100 characters, 500 tokens in all.
            They are taken literally; there are no weights.
        language_hints: language codes such as ``en`` or ``de-CH``; ``flux-general-multi`` only.
        numerals: write numbers as digits.
        profanity_filter: mask profanity.
        redact: ``numbers`` or ``aggressive_numbers``.
        mip_opt_out: keep the audio out of Deepgram's model improvement programme.
        tags: labels for Deepgram's usage figures, at most 128 characters each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "flux-general-en"
    encoding: FluxEncoding | None = None
    sample_rate: _Integer | None = None
    eot_threshold: _Number | None = 0.7
    eager_eot_threshold: _Number | None = 0.4
    eot_timeout_ms: _Integer | None = 5000
    keyterms: tuple[str, ...] = ()
    language_hints: tuple[str, ...] = ()
    numerals: bool | None = None
    profanity_filter: bool | None = None
    redact: str | None = None
    mip_opt_out: bool | None = None
    tags: tuple[str, ...] = ()

    if not TYPE_CHECKING:  # type checkers see the fields instead

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise _option_error(error) from None
            self.check()

        @classmethod
        def model_validate(cls, obj: Any, **how: Any) -> Self:
            """As pydantic's; raises FluxOptionError."""
            try:
                return super().model_validate(obj, **how)
            except ValidationError as error:
                raise _option_error(error) from None

        @classmethod
        def model_validate_json(cls, json_data: str | bytes | bytearray, **how: Any) -> Self:
            """As pydantic's; raises FluxOptionError."""
            try:
                return super().model_validate_json(json_data, **how)
            except ValidationError as error:
                raise _option_error(error) from None

    @classmethod
    def preset(cls, name: str, **changes: Any) -> FluxOptions:
        """Deepgram's advice for a kind of conversation (Deepgram docs, flux/configuration).

        Args:
            name: ``simple`` (no eager listening), ``low-latency``, ``high-reliability``,
                ``complex-pipeline``, or ``manual`` (turns end by ForceEndTurn or timeout only).
            changes: options on top of it.

        Raises:
            FluxOptionError: no such preset, or a value is out of its range.
        """
        if name not in _PRESETS:
            known = ", ".join(_PRESETS)
            raise FluxOptionError("preset", f"{name!r} is not known; there are {known}")
        return cls(**{**_PRESETS[name], **changes})

    @property
    def effective_eot_threshold(self) -> float:
        """The final threshold in force, also when none is sent."""
        return _EFFECTIVE_FINAL if self.eot_threshold is None else self.eot_threshold

    @property
    def turn_timeout(self) -> float:
        """The silence in force that ends a turn, in seconds, also when none is sent."""
        return (
            _EFFECTIVE_TIMEOUT_MS if self.eot_timeout_ms is None else self.eot_timeout_ms
        ) / 1000

    def check(self, dialect: FluxDialect = DEEPGRAM) -> None:
        """Raise FluxOptionError for the first value that this kind of server would refuse."""
        self._check_support(dialect)
        self._check_model(dialect)
        self._check_audio(dialect)
        _check_range("eot_threshold", self.eot_threshold, dialect.final, dialect)
        _check_range("eager_eot_threshold", self.eager_eot_threshold, dialect.eager, dialect)
        _check_range("eot_timeout_ms", self.eot_timeout_ms, dialect.timeout_ms, dialect)
        self._check_eager()
        self._check_keyterms()
        self._check_language_hints()
        if self.redact is not None and self.redact not in _REDACTIONS:
            raise _bad("redact", self.redact, f"allowed are {', '.join(_REDACTIONS)}")
        for tag in self.tags:
            if not tag.strip() or len(tag) > _MAX_TAG_CHARS:
                raise _bad("tags", tag, f"a tag has 1 to {_MAX_TAG_CHARS} characters")

    def _check_support(self, dialect: FluxDialect) -> None:
        for name in sorted(dialect.unsupported):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                english = name in ("model", "language_hints")
                why = "has one model, for English" if english else "does not take this option"
                shown = list(value) if isinstance(value, tuple) else value
                raise _bad(name, shown, f"{dialect.name} {why}; leave it out")
        for name in sorted(dialect.single):
            values = getattr(self, name)
            if len(values) > 1:
                raise _bad(name, list(values), f"{dialect.name} takes one, not {len(values)}")

    def _check_model(self, dialect: FluxDialect) -> None:
        suffix = self.model.removeprefix("flux-general-")
        if suffix == self.model or not suffix.replace("-", "").isalnum():
            raise _bad("model", self.model, "allowed are flux-general-en and flux-general-multi")

    def _check_audio(self, dialect: FluxDialect) -> None:
        if self.encoding is not None and self.encoding not in dialect.encodings:
            allowed = ", ".join(dialect.encodings)
            raise _bad("encoding", self.encoding, f"{dialect.name} takes {allowed}")
        if self.sample_rate is not None and self.sample_rate not in _SAMPLE_RATES:
            allowed = ", ".join(map(str, _SAMPLE_RATES))
            raise _bad("sample_rate", self.sample_rate, f"allowed are {allowed} Hz")

    def _check_eager(self) -> None:
        eager, final = self.eager_eot_threshold, self.effective_eot_threshold
        if eager is not None and eager > final:
            whence = "" if self.eot_threshold is not None else ", Flux's own default"
            raise _bad(
                "eager_eot_threshold",
                eager,
                f"it must not be above eot_threshold, which is {final}{whence}",
            )

    def _check_keyterms(self) -> None:
        if len(self.keyterms) > _MAX_TERMS:
            raise _bad("keyterms", len(self.keyterms), f"at most {_MAX_TERMS} terms are allowed")
        for term in self.keyterms:
            if not term.strip():
                raise _bad("keyterms", term, "a term must not be blank")
            if len(term) > _MAX_TERM_CHARS:
                raise _bad("keyterms", term, f"a term has at most {_MAX_TERM_CHARS} characters")
            if any(mark in term for mark in ",;\n\r"):
                raise _bad(
                    "keyterms",
                    term,
                    "commas, semicolons and line breaks are not allowed; "
                    "give each term as its own item",
                )
        # Flux counts tokens, which only it can do; a word is at least one.
        words = sum(len(term.split()) for term in self.keyterms)
        if words > _MAX_TERM_TOKENS:
            raise _bad("keyterms", words, f"at most {_MAX_TERM_TOKENS} tokens are allowed in all")

    def _check_language_hints(self) -> None:
        if self.language_hints and self.model == "flux-general-en":
            raise _bad(
                "language_hints", list(self.language_hints), "only flux-general-multi takes hints"
            )
        for hint in self.language_hints:
            if hint.split("-")[0].lower() not in _LANGUAGES:
                raise _bad("language_hints", hint, f"allowed are {', '.join(_LANGUAGES)}")

    def for_audio(self, audio: AudioFormat) -> FluxOptions:
        """The same options for this raw audio.

        Raises:
            FluxOptionError: the options name another encoding or rate, or Flux does not take it.
        """
        for name, own, given in (
            ("encoding", self.encoding, audio.encoding),
            ("sample_rate", self.sample_rate, audio.rate),
        ):
            if own is not None and own != given:
                raise _bad(name, own, f"the audio is {given}; leave the option out to follow it")
        return self.with_changes({"encoding": audio.encoding, "sample_rate": audio.rate})

    def with_changes(self, changes: Mapping[str, Any]) -> FluxOptions:
        """These options with some of them changed, all checked together.

        An eager threshold alone is checked against the final one in force, and the other way
        round, as Flux does with a ``Configure``.

        Raises:
            FluxOptionError: no such option, or a value is out of its range.
        """
        return FluxOptions(**{**self._values(), **changes})

    def value(self, name: str) -> Any:
        """An option by its name. Raises FluxOptionError if there is none of that name."""
        if name not in type(self).model_fields:
            raise FluxOptionError(
                name, f"is no option; there are {', '.join(type(self).model_fields)}"
            )
        return getattr(self, name)

    def changed_from(self, other: FluxOptions) -> dict[str, Any]:
        """The options that differ from ``other``, with the values they have here."""
        theirs = other._values()
        return {name: value for name, value in self._values().items() if value != theirs[name]}

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in type(self).model_fields}

    def query(self, dialect: FluxDialect = DEEPGRAM) -> str:
        """The query string, without a question mark.

        Repeated options are repeated parameters, each percent-encoded on its own; booleans are in
        lower case, as Flux wants them. Without ``encoding`` and ``sample_rate`` it is a query for
        audio in a container.

        Raises:
            FluxOptionError: only one of ``encoding`` and ``sample_rate`` is set, or this kind of
                server would refuse a value.
        """
        self.check(dialect)
        if (self.encoding is None) != (self.sample_rate is None):
            missing = "encoding" if self.encoding is None else "sample_rate"
            raise _bad(missing, None, "raw audio needs both encoding and sample_rate")
        pairs: list[tuple[str, str]] = []
        for name in type(self).model_fields:
            if name in dialect.unsupported:
                continue
            value = getattr(self, name)
            if isinstance(value, tuple):
                pairs += [(name.removesuffix("s"), item) for item in value]
            elif isinstance(value, bool):
                pairs.append((name, "true" if value else "false"))
            elif value is not None:
                pairs.append((name, str(value)))
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)


def _bad(field: str, value: object, allowed: str) -> FluxOptionError:
    shown = repr(value)
    if len(shown) > 140:
        shown = shown[:137] + "..."
    return FluxOptionError(field, f"{shown} is not allowed: {allowed}")


def _check_range(
    field: str,
    value: float | None,
    allowed: Sequence[float],
    dialect: FluxDialect,
) -> None:
    low, high = allowed
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise _bad(field, value, f"{dialect.name} takes {low} to {high}")


def _option_error(error: ValidationError) -> FluxOptionError:
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    if isinstance(context.get("error"), FluxOptionError):
        return cast("FluxOptionError", context["error"])
    field = str(first["loc"][0]) if first["loc"] else "options"
    if first["type"] == "extra_forbidden":
        # Its value is not shown: a misplaced key would show with it.
        return FluxOptionError(field, _unknown_option(field))
    if first["type"] == "literal_error":
        return _bad(field, first["input"], f"allowed are {context['expected']}")
    return _bad(field, first["input"], str(context.get("error", first["msg"])))


def _unknown_option(field: str) -> str:
    if field in _OTHER_NAMES:
        return _OTHER_NAMES[field]
    near = difflib.get_close_matches(field, FluxOptions.model_fields, n=1)
    if near:
        return f"there is no such option; did you mean {near[0]}?"
    return f"there is no such option; there are {', '.join(FluxOptions.model_fields)}"
