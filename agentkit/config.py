"""Settings: one typed model, from flags, the environment, ``.env``, ``agentkit.toml``, the agent.

The first of these that names a setting wins; an empty value counts as none. A backend that nobody
names is the one whose key is set, else the local one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from agentkit.errors import ConfigError

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
    "twilio_account_sid": "TWILIO_ACCOUNT_SID",
    "twilio_auth_token": "TWILIO_AUTH_TOKEN",
}
"""Each setting's name in the environment and in ``.env``; ``agentkit.toml`` has the short one."""

FLUX_NAMES = ("deepgram", "cloudflare", "local")


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend that was chosen, and why, for the first line that is printed."""

    name: str
    why: str


class Settings(BaseModel):
    """All settings. Make one with `Settings.load`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flux: str | None = None
    llm: str | None = None
    tts: str | None = None
    public_url: str | None = None
    deepgram_api_key: SecretStr | None = None
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    cloudflare_account_id: str | None = None
    cloudflare_api_token: SecretStr | None = None
    cloudflare_gateway: str | None = None
    twilio_account_sid: str | None = None
    twilio_auth_token: SecretStr | None = None
    sources: Mapping[str, str] = {}

    @classmethod
    def load(
        cls,
        *,
        flags: Mapping[str, str | None] | None = None,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        agent: object | None = None,
    ) -> Settings:
        """Put the settings together.

        Args:
            flags: by short name, as the command line gave them.
            env: the environment; None: none is read.
            folder: where ``.env`` and ``agentkit.toml`` may be; None: none is read.
            agent: an agent or its class, whose ``llm``, ``tts`` and ``flux`` may be names.

        Raises:
            ConfigError: a value cannot be right; it says where the value came from.
        """
        by_env = {name: short for short, name in NAMES.items()}
        layers: list[tuple[str, Mapping[str, Any]]] = [("a flag", flags or {})]
        layers.append(("the environment", _renamed(env or {}, by_env)))
        if folder is not None:
            layers.append((".env", _renamed(read_env(folder / ".env"), by_env)))
            layers.append(("agentkit.toml", _read_toml(folder / "agentkit.toml")))
        layers.append(("the agent", _of_agent(agent)))
        values: dict[str, str] = {}
        sources: dict[str, str] = {}
        for source, layer in layers:
            for short, value in layer.items():
                if short in NAMES and value not in (None, "") and short not in values:
                    values[short] = str(value)
                    sources[short] = source
        settings = cls(**values, sources=sources)
        settings._check()
        return settings

    def _check(self) -> None:
        if self.flux is not None and self.flux not in FLUX_NAMES:
            url = urlsplit(self.flux)
            if url.scheme not in ("ws", "wss") or not url.hostname:
                raise ConfigError(
                    self._named("flux"),
                    f"{self.flux!r} is none of {', '.join(FLUX_NAMES)}, nor a ws:// or wss:// URL",
                )
        for short in ("openai_base_url", "public_url"):
            value = getattr(self, short)
            if value is not None and urlsplit(value).scheme not in ("http", "https"):
                raise ConfigError(self._named(short), f"{value!r} is no http:// or https:// URL")

    def _named(self, short: str) -> str:
        return f"{NAMES[short]} (from {self.sources.get(short, 'the arguments')})"

    def choose_flux(self) -> Choice:
        """Where turns come from."""
        if self.flux is not None:
            return Choice(self.flux, f"named by {self.sources.get('flux', 'the arguments')}")
        if self.deepgram_api_key is not None:
            return Choice("deepgram", "DEEPGRAM_API_KEY is set")
        if self.cloudflare_api_token is not None and self.cloudflare_account_id is not None:
            return Choice("cloudflare", "CLOUDFLARE_API_TOKEN is set")
        return Choice("local", "no key is set")

    def choose_llm(self) -> Choice:
        """The language model."""
        if self.llm is not None:
            return Choice(self.llm, f"named by {self.sources.get('llm', 'the arguments')}")
        if self.openai_api_key is not None:
            return Choice("openai", "OPENAI_API_KEY is set")
        return Choice("local/script", "no key is set; scripted answers, not a model")

    def choose_tts(self) -> Choice:
        """The voice."""
        if self.tts is not None:
            return Choice(self.tts, f"named by {self.sources.get('tts', 'the arguments')}")
        if self.openai_api_key is not None:
            return Choice("openai", "OPENAI_API_KEY is set")
        return Choice("local/pico", "no key is set")

    def describe(self) -> str:
        """Which backends were chosen, and why: one line."""
        chosen = (
            ("flux", self.choose_flux()),
            ("llm", self.choose_llm()),
            ("voice", self.choose_tts()),
        )
        return " · ".join(f"{what}: {choice.name} ({choice.why})" for what, choice in chosen)


def read_env(path: Path) -> dict[str, str]:
    r"""The variables of an ``.env`` file; none if there is no such file.

    A line is ``NAME=value``, with ``export`` before it or not. Values may stand in single quotes,
    as they are, or in double quotes, with ``\n``, ``\"`` and ``\\``. ``#`` begins a comment on a
    line of its own, or after a space behind a value without quotes.

    Raises:
        ConfigError: a line is none of this; it names the file and the line.
    """
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().replace("_", "").isalnum():
            raise ConfigError(f"{path.name}, line {number}", "is no NAME=value")
        found[name.strip()] = _value(value.strip(), f"{path.name}, line {number}")
    return found


def _value(text: str, where: str) -> str:
    quote = text[:1]
    if quote not in ("'", '"') or not quote:
        return text.split(" #")[0].strip()
    end = text.find(quote, 1)
    while quote == '"' and end > 0 and text[end - 1] == "\\":
        end = text.find(quote, end + 1)
    if end < 0:
        raise ConfigError(where, f"the quotation mark {quote} is not closed")
    inner = text[1:end]
    if quote == '"':
        inner = inner.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    return inner


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path.name, str(error)) from error
    unknown = sorted(found.keys() - NAMES.keys())
    if unknown:
        known = ", ".join(NAMES)
        raise ConfigError(f"{path.name}: {unknown[0]}", f"is not known; known are {known}")
    return found


def _renamed(values: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {short: values[name] for name, short in names.items() if name in values}


def _of_agent(agent: object | None) -> dict[str, str]:
    found = {short: getattr(agent, short, None) for short in ("flux", "llm", "tts")}
    return {short: value for short, value in found.items() if isinstance(value, str)}
