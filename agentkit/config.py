"""Settings: one typed model, from flags, the environment, ``.env``, ``agentkit.toml``, the agent.

The first of these that names a setting wins; an empty value counts as none. A backend that nobody
names is the one whose key is set, else the local one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from agentkit.errors import ConfigError
from agentkit.llm.base import LLM
from agentkit.tts.base import TTS
from agentkit.turns import TurnSource

NAMES: dict[str, str] = {
    "flux": "AGENTKIT_FLUX",
    "llm": "AGENTKIT_LLM",
    "tts": "AGENTKIT_TTS",
    "public_url": "AGENTKIT_PUBLIC_URL",
    "deepgram_api_key": "DEEPGRAM_API_KEY",
    "openai_api_key": "OPENAI_API_KEY",
    "openai_base_url": "OPENAI_BASE_URL",
    "cloudflare_account_id": "CLOUDFLARE_ACCOUNT_ID",
    "cloudflare_api_token": "CLOUDFLARE_API_TOKEN",
    "cloudflare_gateway": "CLOUDFLARE_GATEWAY",
    "cloudflare_worker_token": "CLOUDFLARE_WORKER_TOKEN",
    "twilio_account_sid": "TWILIO_ACCOUNT_SID",
    "twilio_auth_token": "TWILIO_AUTH_TOKEN",
    "twilio_api_key_sid": "TWILIO_API_KEY_SID",
    "twilio_api_key_secret": "TWILIO_API_KEY_SECRET",
    "signalwire_space": "SIGNALWIRE_SPACE",
    "signalwire_project_id": "SIGNALWIRE_PROJECT_ID",
    "signalwire_api_token": "SIGNALWIRE_API_TOKEN",
    "signalwire_signing_key": "SIGNALWIRE_SIGNING_KEY",
    "telnyx_api_key": "TELNYX_API_KEY",
    "telnyx_public_key": "TELNYX_PUBLIC_KEY",
    "telnyx_connection_id": "TELNYX_CONNECTION_ID",
    "plivo_auth_id": "PLIVO_AUTH_ID",
    "plivo_auth_token": "PLIVO_AUTH_TOKEN",
    "vonage_application_id": "VONAGE_APPLICATION_ID",
    "vonage_private_key": "VONAGE_PRIVATE_KEY",
    "vonage_signature_secret": "VONAGE_SIGNATURE_SECRET",
    "jambonz_api_url": "JAMBONZ_API_URL",
    "jambonz_account_sid": "JAMBONZ_ACCOUNT_SID",
    "jambonz_api_key": "JAMBONZ_API_KEY",
    "jambonz_application_sid": "JAMBONZ_APPLICATION_SID",
    "jambonz_webhook_secret": "JAMBONZ_WEBHOOK_SECRET",
    "asterisk_password": "ASTERISK_PASSWORD",
    "transfer_to": "AGENTKIT_TRANSFER_TO",
    "max_calls": "AGENTKIT_MAX_CALLS",
    "web_password": "AGENTKIT_WEB_PASSWORD",
    "phone_number": "AGENTKIT_PHONE_NUMBER",
    "speculation": "AGENTKIT_SPECULATION",
    "draft_budget": "AGENTKIT_DRAFT_BUDGET",
    "process_draft_budget": "AGENTKIT_PROCESS_DRAFT_BUDGET",
    "prices": "AGENTKIT_PRICES",
    "early_drafts": "AGENTKIT_EARLY_DRAFTS",
    "expected_drafts": "AGENTKIT_EXPECTED_DRAFTS",
    "pace": "AGENTKIT_PACE",
}
"""Each setting's name in the environment and in ``.env``; ``agentkit.toml`` has the short one."""

OF_DRAFTS = (
    "speculation",
    "draft_budget",
    "process_draft_budget",
    "prices",
    "early_drafts",
    "expected_drafts",
    "pace",
)
"""The settings that `agentkit.economy.Wanted` reads."""

_SHORT = {name: short for short, name in NAMES.items()}

FLUX_NAMES = ("deepgram", "cloudflare", "local")
CLOUDFLARE_PREFIX = "cloudflare+"
"""Before the URL of a Worker: it speaks Flux as Cloudflare does."""

_FLAG, _ENVIRONMENT, _AGENT = "a flag", "the environment", "the agent"
_OBJECTS: dict[str, type] = {"flux": TurnSource, "llm": LLM, "tts": TTS}
_URLS = {
    "flux": ("ws", "wss", f"{CLOUDFLARE_PREFIX}ws", f"{CLOUDFLARE_PREFIX}wss"),
    "openai_base_url": ("http", "https"),
    "public_url": ("http", "https"),
    "jambonz_api_url": ("http", "https"),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend that was chosen, and why, for the first line that is printed.

    Args:
        name: the backend's name, or Flux's URL as it is to be used.
        why: who named it, or which key is set.
        value: what to load: the name, or the object that the agent or a flag gave.
    """

    name: str
    why: str
    value: Any = None

    def __post_init__(self) -> None:
        if self.value is None:
            object.__setattr__(self, "value", self.name)

    def __str__(self) -> str:
        return f"{_public(self.name)} ({self.why})"


class Settings(BaseModel):
    """All settings. Make one with `Settings.load`.

    Keys and tokens, and what of a URL may be one, do not show in its ``repr``.

    Attributes:
        sources: of each setting that was given, where it came from.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    flux: str | TurnSource | None = None
    llm: str | LLM | None = None
    tts: str | TTS | None = None
    public_url: str | None = None
    deepgram_api_key: SecretStr | None = None
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    cloudflare_account_id: str | None = None
    cloudflare_api_token: SecretStr | None = None
    cloudflare_gateway: str | None = None
    cloudflare_worker_token: SecretStr | None = None
    twilio_account_sid: str | None = None
    twilio_auth_token: SecretStr | None = None
    twilio_api_key_sid: str | None = None
    twilio_api_key_secret: SecretStr | None = None
    signalwire_space: str | None = None
    signalwire_project_id: str | None = None
    signalwire_api_token: SecretStr | None = None
    signalwire_signing_key: SecretStr | None = None
    telnyx_api_key: SecretStr | None = None
    telnyx_public_key: str | None = None
    telnyx_connection_id: str | None = None
    plivo_auth_id: str | None = None
    plivo_auth_token: SecretStr | None = None
    vonage_application_id: str | None = None
    vonage_private_key: SecretStr | None = None
    vonage_signature_secret: SecretStr | None = None
    jambonz_api_url: str | None = None
    jambonz_account_sid: str | None = None
    jambonz_api_key: SecretStr | None = None
    jambonz_application_sid: str | None = None
    jambonz_webhook_secret: SecretStr | None = None
    asterisk_password: SecretStr | None = None
    transfer_to: str | None = None
    max_calls: str | None = None
    web_password: SecretStr | None = None
    phone_number: str | None = None
    speculation: str | None = None
    draft_budget: str | None = None
    process_draft_budget: str | None = None
    prices: str | None = None
    early_drafts: str | None = None
    expected_drafts: str | None = None
    pace: str | None = None
    sources: Mapping[str, str] = {}

    @classmethod
    def load(
        cls,
        *,
        flags: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        agent: object | None = None,
    ) -> Settings:
        """Put the settings together.

        Args:
            flags: by short name, as the command line gave them; a backend may be an object.
            env: the environment; None: none is read.
            folder: where ``.env`` and ``agentkit.toml`` may be; None: none is read.
            agent: an agent or its class, whose ``llm``, ``tts`` and ``flux`` may be names or
                backends. `FluxOptions` name no backend.

        Raises:
            ConfigError: a value cannot be right; it says where the value came from.
        """
        layers: list[tuple[str, Mapping[str, Any]]] = [
            (_FLAG, _known(flags or {}, _FLAG)),
            (_ENVIRONMENT, _short(env or {})),
        ]
        if folder is not None:
            layers.append((".env", _short(read_env(folder / ".env"))))
            layers.append(("agentkit.toml", _read_toml(folder / "agentkit.toml")))
        layers.append((_AGENT, _of_agent(agent)))
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for source, layer in layers:
            for short, given in layer.items():
                if short in values:
                    continue
                value = _checked(short, given, source)
                if value is not None:
                    values[short] = value
                    sources[short] = source
        return cls(**values, sources=sources)

    def choose_flux(self) -> Choice:
        """Where turns come from: ``deepgram``, ``cloudflare``, ``local``, a URL or an object.

        ``cloudflare`` is AI Gateway; ``cloudflare+wss://HOST/flux`` is a Worker.
        """
        if self.flux is not None:
            return self._named("flux", self.flux)
        if self.deepgram_api_key is not None:
            return Choice("deepgram", "DEEPGRAM_API_KEY is set")
        return Choice("local", "no key is set")

    def choose_llm(self) -> Choice:
        """The language model. `agentkit.plugins.load_llm` takes the choice's ``value``."""
        if self.llm is not None:
            return self._named("llm", self.llm)
        if self.openai_api_key is not None:
            return Choice("openai", "OPENAI_API_KEY is set")
        return Choice("local/script", "no key is set; scripted answers, not a model")

    def choose_tts(self) -> Choice:
        """The voice. `agentkit.plugins.load_tts` takes the choice's ``value``."""
        if self.tts is not None:
            return self._named("tts", self.tts)
        if self.openai_api_key is not None:
            return Choice("openai", "OPENAI_API_KEY is set")
        return Choice("local/pico", "no key is set")

    def describe(self) -> str:
        """Which backends were chosen, and why: one line, without secrets."""
        return f"flux: {self.choose_flux()} · llm: {self.choose_llm()} · voice: {self.choose_tts()}"

    def of_drafts(self) -> tuple[dict[str, str | None], dict[str, str]]:
        """What `agentkit.economy.Wanted` reads: the settings of drafts, and where each is from."""
        places = {name: _place(name, self.sources.get(name, "the arguments")) for name in OF_DRAFTS}
        return {name: getattr(self, name) for name in OF_DRAFTS}, places

    def by_name(self, name: str) -> str:
        """A setting by its name in the environment, as text, secrets too; "" if it is not set."""
        value = getattr(self, _SHORT[name])
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        return value or ""

    def _named(self, short: str, value: object) -> Choice:
        why = f"named by {self.sources.get(short, 'the arguments')}"
        if isinstance(value, str):
            return Choice(value, why)
        return Choice(getattr(value, "name", type(value).__name__), why, value)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            if value is None:
                continue
            yield name, _public(value) if isinstance(value, str) else value


# ------------------------------------------------------------------------------------- checking


def _checked(short: str, value: object, source: str) -> Any:
    """The value as it is to be used; None if there is none. Raises ConfigError."""
    where = _place(short, source)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or isinstance(value, _OBJECTS.get(short, ())):
        return value
    if not isinstance(value, str):
        raise ConfigError(where, f"has to be text, not {type(value).__name__}")
    value = value.strip()
    if not value:
        return None
    if short in _URLS and not (short == "flux" and value in FLUX_NAMES):
        return _checked_url(value, _URLS[short], short, where)
    return value


def _checked_url(value: str, schemes: tuple[str, ...], short: str, where: str) -> str:
    try:
        url = urlsplit(value)
        right = url.scheme in schemes and bool(url.hostname) and url.port != 0
    except ValueError:  # a port or an address that is none
        right = False
    if not right:
        kinds = f"{schemes[0]}:// or {schemes[1]}:// URL"
        if short == "flux":
            close = get_close_matches(value.lower(), FLUX_NAMES, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            worker = f"nor {schemes[3]}:// and a Worker's address"
            problem = f"is none of {', '.join(FLUX_NAMES)}, nor a {kinds}, {worker}{hint}"
        else:
            problem = f"is no {kinds}"
        raise ConfigError(where, f"{_quoted(value)} {problem}")
    # Paths are put behind it, and carriers sign what that makes.
    return value.rstrip("/") if short == "public_url" else value


def _place(short: str, source: str) -> str:
    """A setting by its name there; flags are few, and go by the name that every setting has."""
    name = short if source in ("agentkit.toml", _AGENT) else NAMES[short]
    return f"{name} (from {source})"


def _public(text: str) -> str:
    """A URL without its user, password and query, which may hold a key; other text as it is."""
    if "://" not in text:
        return text
    try:
        url = urlsplit(text)
    except ValueError:
        return f"{text.partition('://')[0]}://..."
    host = url.netloc.rpartition("@")[2]
    return urlunsplit((url.scheme, host, url.path, "..." if url.query else "", ""))


def _quoted(value: str) -> str:
    """A wrong value, for an error. What is long and no URL may be a key that went astray."""
    if "://" in value:
        return repr(_public(value))
    return repr(value) if len(value) <= 20 else f"what is there ({len(value)} characters)"


# -------------------------------------------------------------------------------------- sources

_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_VARIABLE = re.compile(
    r"""[ \t]* (?:export[ \t]+)? (?P<name>[A-Za-z_][A-Za-z0-9_]*) [ \t]* =
    (?: [ \t]* '(?P<plain>[^']*)'
      | [ \t]* "(?P<escaped>(?:[^"\\]|\\.)*)"
      | (?![ \t]*['"]) (?P<bare>(?:(?![ \t]\#)[^\n])*) )
    [ \t]* (?:\#[^\n]*)? (?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


def read_env(path: Path) -> dict[str, str]:
    r"""The variables of an ``.env`` file; none if there is no such file.

    A line is ``NAME=value``, with ``export`` before it or not. Values may stand in single quotes,
    as they are, or in double quotes, with ``\n``, ``\"`` and ``\\``; in quotes they may run over
    several lines. ``#`` begins a comment on a line of its own, behind a quoted value, or after a
    space behind one without quotes. ``$NAME`` is not replaced. The last of several wins.

    Raises:
        ConfigError: the file cannot be read, or a line is none of this; it names the line.
    """
    text = _read(path)
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = blank.end()
            continue
        variable = _VARIABLE.match(text, at)
        if variable is None:
            line = text.count("\n", 0, at) + 1
            raise ConfigError(
                f"{path.name}, line {line}", "is no NAME=value, or its quotation mark is not closed"
            )
        name, plain, escaped, bare = variable.group("name", "plain", "escaped", "bare")
        if escaped is not None:
            found[name] = re.sub(r'\\[n"\\]', lambda escape: _ESCAPES[escape[0]], escaped)
        else:
            found[name] = plain if plain is not None else bare.strip()
        at = variable.end()
    return found


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path.name, str(error)) from error
    return dict(_known(found, path.name))


def _read(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path.name, f"cannot be read: {type(error).__name__}") from error


def _known(values: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    unknown = sorted(values.keys() - NAMES.keys())
    if unknown:
        raise ConfigError(f"{source}: {unknown[0]}", f"is not known; known are {', '.join(NAMES)}")
    return values


def _short(values: Mapping[str, str]) -> dict[str, str]:
    """By short names; what is none of ours is left aside."""
    return {short: values[name] for short, name in NAMES.items() if name in values}


def _of_agent(agent: object | None) -> dict[str, Any]:
    found = {short: getattr(agent, short, None) for short in _OBJECTS}
    return {
        short: value for short, value in found.items() if isinstance(value, str | _OBJECTS[short])
    }
