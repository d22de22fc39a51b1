"""Where settings come from, what is refused, and what never shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from agentkit import Agent
from agentkit.config import NAMES, Choice, Settings, read_env
from agentkit.errors import ConfigError
from agentkit.flux import FluxOptions
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS
from agentkit.testing.source import ScriptedSource

ORDER = ["flag", "environment", "env_file", "toml", "agent", "default"]


class Named(Agent):
    llm = "from/agent"


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_each_source_gives_way_to_those_before_it(first: int, tmp_path: Path) -> None:
    given = set(ORDER[first:])
    if "env_file" in given:
        (tmp_path / ".env").write_text("AGENTKIT_LLM=from/env_file\n")
    if "toml" in given:
        (tmp_path / "agentkit.toml").write_text('llm = "from/toml"\n')
    found = Settings.load(
        flags={"llm": "from/flag"} if "flag" in given else {"llm": None},
        env={"AGENTKIT_LLM": "from/environment"}
        if "environment" in given
        else {"AGENTKIT_LLM": ""},
        folder=tmp_path,
        agent=Named if "agent" in given else Agent,
    )
    expected = "local/script" if first == len(ORDER) - 1 else f"from/{ORDER[first]}"
    assert found.choose_llm().name == expected


def test_every_setting_has_its_name_in_the_environment() -> None:
    values = {name: f"value of {name}" for name in NAMES.values()}
    values |= {
        "AGENTKIT_FLUX": "wss://flux.test/v2/listen",
        "AGENTKIT_PUBLIC_URL": "https://bot.test",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "JAMBONZ_API_URL": "https://jambonz.test/api",
    }
    found = Settings.load(env=values)
    for short, name in NAMES.items():
        value = getattr(found, short)
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        assert plain == values[name]
        assert found.sources[short] == "the environment"


def test_space_around_a_value_is_no_part_of_it_and_space_alone_is_none() -> None:
    found = Settings.load(env={"OPENAI_API_KEY": " sk-1\n", "AGENTKIT_LLM": "  "})
    assert found.openai_api_key is not None
    assert found.openai_api_key.get_secret_value() == "sk-1"
    assert found.llm is None


def test_a_secret_may_come_as_one() -> None:
    found = Settings.load(
        flags={"openai_api_key": SecretStr("sk-1"), "twilio_auth_token": SecretStr("")}
    )
    assert found.openai_api_key == SecretStr("sk-1")
    assert found.twilio_auth_token is None


def test_other_variables_and_no_files_are_no_concern(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()  # some keep their virtual environment there
    found = Settings.load(env={"PATH": "/bin", "AGENTKIT_OTHER": "x"}, folder=tmp_path)
    assert found == Settings()


def test_it_cannot_be_changed() -> None:
    found = Settings.load()
    with pytest.raises(ValidationError, match="frozen"):
        found.llm = "x"  # type: ignore[misc]


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            "flag",
            r"^AGENTKIT_FLUX \(from a flag\): 'http://x' is none of deepgram, cloudflare, local",
        ),
        ("environment", r"^AGENTKIT_FLUX \(from the environment\): 'http://x' is none of"),
        ("env_file", r"^AGENTKIT_FLUX \(from \.env\): 'http://x' is none of"),
        ("toml", r"^flux \(from agentkit\.toml\): 'http://x' is none of"),
        ("agent", r"^flux \(from the agent\): 'http://x' is none of"),
    ],
)
def test_a_wrong_value_is_named_as_it_was_written(source: str, says: str, tmp_path: Path) -> None:
    class Wrong(Agent):
        flux = "http://x"

    if source == "env_file":
        (tmp_path / ".env").write_text("AGENTKIT_FLUX=http://x\n")
    if source == "toml":
        (tmp_path / "agentkit.toml").write_text('flux = "http://x"\n')
    with pytest.raises(ConfigError, match=says):
        Settings.load(
            flags={"flux": "http://x"} if source == "flag" else None,
            env={"AGENTKIT_FLUX": "http://x"} if source == "environment" else None,
            folder=tmp_path,
            agent=Wrong if source == "agent" else None,
        )


def test_a_wrong_value_that_is_overridden_does_no_harm() -> None:
    found = Settings.load(flags={"flux": "local"}, env={"AGENTKIT_FLUX": "nonsense"})
    assert found.flux == "local"


@pytest.mark.parametrize(
    ("short", "value"),
    [
        ("flux", "ws://"),
        ("flux", "ws://host:port"),
        ("flux", "ws://host:99999"),
        ("flux", "wss://[::1"),
        ("flux", "Local"),
        ("public_url", "bot.test"),
        ("public_url", "wss://bot.test"),
        ("openai_base_url", "https://"),
        ("openai_base_url", "http://host:0"),
    ],
)
def test_urls_are_checked(short: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{NAMES[short]} "):
        Settings.load(env={NAMES[short]: value})


@pytest.mark.parametrize(
    "value", ["ws://127.0.0.1:8765", "wss://api.deepgram.com/v2/listen?a=1", "ws://[::1]:1/x"]
)
def test_flux_takes_any_websocket(value: str) -> None:
    assert Settings.load(env={"AGENTKIT_FLUX": value}).choose_flux().name == value


def test_a_slip_of_the_pen_is_seen() -> None:
    with pytest.raises(ConfigError, match=r"'deepgrm' .*; did you mean deepgram\?"):
        Settings.load(flags={"flux": "deepgrm"})


def test_the_public_url_ends_without_a_slash() -> None:
    found = Settings.load(env={"AGENTKIT_PUBLIC_URL": "https://bot.test/agent/"})
    assert found.public_url == "https://bot.test/agent"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("llm = 3", r"^llm \(from agentkit\.toml\): has to be text, not int"),
        ('[llm]\nname = "x"', r"^llm \(from agentkit\.toml\): has to be text, not dict"),
        ('AGENTKIT_LLM = "x"', r"^agentkit\.toml: AGENTKIT_LLM: is not known; known are flux, llm"),
        ("llm = x", r"^agentkit\.toml: Invalid value \(at line 1"),
    ],
)
def test_the_toml_file_is_checked(toml: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "agentkit.toml").write_text(toml)
    with pytest.raises(ConfigError, match=says):
        Settings.load(folder=tmp_path)


@pytest.mark.parametrize("name", [".env", "agentkit.toml"])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"llm = '\xff'")
    with pytest.raises(ConfigError, match=f"^{name}: cannot be read: UnicodeDecodeError"):
        Settings.load(folder=tmp_path)


def test_unknown_flags_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"^a flag: voice: is not known"):
        Settings.load(flags={"voice": "x"})
    with pytest.raises(
        ConfigError, match=r"^OPENAI_API_KEY \(from a flag\): has to be text, not int"
    ):
        Settings.load(flags={"openai_api_key": 3})


# -------------------------------------------------------------------------------- what is chosen


@pytest.mark.parametrize(
    ("env", "described"),
    [
        (
            {},
            "flux: local (no key is set)"
            " · llm: local/script (no key is set; scripted answers, not a model)"
            " · voice: local/pico (no key is set)",
        ),
        (
            {"DEEPGRAM_API_KEY": "d"},
            "flux: deepgram (DEEPGRAM_API_KEY is set)"
            " · llm: local/script (no key is set; scripted answers, not a model)"
            " · voice: local/pico (no key is set)",
        ),
        (
            {"OPENAI_API_KEY": "o", "CLOUDFLARE_API_TOKEN": "t", "CLOUDFLARE_ACCOUNT_ID": "a"},
            "flux: local (no key is set)"
            " · llm: openai (OPENAI_API_KEY is set) · voice: openai (OPENAI_API_KEY is set)",
        ),
        (
            {"AGENTKIT_FLUX": "cloudflare", "DEEPGRAM_API_KEY": "d"},
            "flux: cloudflare (named by the environment)"
            " · llm: local/script (no key is set; scripted answers, not a model)"
            " · voice: local/pico (no key is set)",
        ),
        (
            {"AGENTKIT_FLUX": "cloudflare+wss://flux.mine.workers.dev/flux?token=t"},
            "flux: cloudflare+wss://flux.mine.workers.dev/flux?... (named by the environment)"
            " · llm: local/script (no key is set; scripted answers, not a model)"
            " · voice: local/pico (no key is set)",
        ),
        (
            {
                "CLOUDFLARE_API_TOKEN": "t",
                "OPENAI_API_KEY": "o",
                "AGENTKIT_TTS": "local/pico:en-GB",
            },
            "flux: local (no key is set) · llm: openai (OPENAI_API_KEY is set)"
            " · voice: local/pico:en-GB (named by the environment)",
        ),
    ],
)
def test_one_line_says_which_and_why(env: dict[str, str], described: str) -> None:
    assert Settings.load(env=env).describe() == described


def test_objects_of_the_agent_are_the_choice_and_are_told_so() -> None:
    class Own(Agent):
        llm = ScriptedLLM(["x"])
        tts = ScriptedTTS()
        flux = ScriptedSource()

    found = Settings.load(env={"OPENAI_API_KEY": "o", "DEEPGRAM_API_KEY": "d"}, agent=Own)
    assert found.choose_llm().value is Own.llm
    assert found.choose_tts().value is Own.tts
    assert found.choose_flux().value is Own.flux
    assert found.choose_llm() == Choice(Own.llm.name, "named by the agent", Own.llm)
    assert "flux: ScriptedSource (named by the agent)" in found.describe()
    flag = Settings.load(flags={"llm": "local/script"}, agent=Own)
    assert flag.choose_llm().value == "local/script", "a flag comes before the agent's own"
    given = Settings.load(flags={"llm": Own.llm}, agent=Named)
    assert given.choose_llm().value is Own.llm


def test_options_of_flux_choose_no_backend() -> None:
    class Tuned(Agent):
        flux = FluxOptions()

    assert Settings.load(agent=Tuned).choose_flux() == Choice("local", "no key is set")


# ---------------------------------------------------------------------------- what never shows


def test_secrets_show_nowhere() -> None:
    env = {
        name: f"hidden-{short}"
        for short, name in NAMES.items()
        if name.endswith(("KEY", "TOKEN", "SECRET", "PASSWORD")) and "PUBLIC" not in name
    }
    assert len(env) == 16
    env["AGENTKIT_FLUX"] = "wss://hidden-user:hidden-password@flux.test:1/v2/listen?token=hidden"
    env["OPENAI_BASE_URL"] = "https://hidden@llm.test/v1?key=hidden"
    found = Settings.load(env=env)
    shown = f"{found!r} {found} {found.describe()} {found.choose_flux()}"
    assert "hidden" not in shown
    assert "flux: wss://flux.test:1/v2/listen?... (named by the environment)" in found.describe()
    assert found.choose_flux().name == env["AGENTKIT_FLUX"], "what is used is whole"


@pytest.mark.parametrize(
    "value", ["hidden-0123456789abcdef0123456789abcdef", "http://hidden:hidden@x/?hidden=hidden"]
)
def test_a_key_that_went_astray_is_not_repeated(value: str) -> None:
    for name in ("AGENTKIT_FLUX", "AGENTKIT_PUBLIC_URL", "OPENAI_BASE_URL"):
        with pytest.raises(ConfigError) as caught:
            Settings.load(env={name: value.replace("http://", "ftp://")})
        assert "hidden" not in str(caught.value)


def test_pydantics_own_errors_repeat_no_value() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(openai_api_key=["hidden"])
    assert "hidden" not in str(caught.value)


# ------------------------------------------------------------------------------------ .env files


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("  A = 1  ", "1"),
        ("export A=1", "1"),
        ("\texport\tA=1", "1"),
        ("A=", ""),
        ("A= # nothing", ""),
        ("A=#1", "#1"),
        ("A=a#b # c", "a#b"),
        ("A=a\t# c", "a"),
        ("A=a b", "a b"),
        ("A=it's", "it's"),
        ("A=b=c==", "b=c=="),
        ("A='a # b'", "a # b"),
        ("A='a\\n\"b'#c", 'a\\n"b'),
        ('A="a # b" # c', "a # b"),
        ('A="a\\nb"', "a\nb"),
        ('A="a\\\\nb"', "a\\nb"),
        ('A="say \\"hi\\""', 'say "hi"'),
        ('A="C:\\\\"', "C:\\"),
        ('A="C:\\dir"', "C:\\dir"),
        ('A=""', ""),
        ('A="-----\nabc\n-----"', "-----\nabc\n-----"),
        ("A=$HOME/${X}", "$HOME/${X}"),
        ("A=grüße", "grüße"),
        ("A=1\r", "1"),
        ("A=0\nA=1", "1"),
    ],
)
def test_values_of_env_files(line: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    for before, after in (("", ""), ("# B=2\n\n", "\n"), ("B=2\n", "\nC=3\n"), ("\ufeff", "")):
        path.write_text(f"{before}{line}{after}", encoding="utf-8")
        assert read_env(path)["A"] == value


@pytest.mark.parametrize(
    "line",
    ["A", "=1", "1A=1", "A B=1", "export", "A='open", 'A="open\\"', "A='a' b", 'A="a"b', "- A=1"],
)
def test_lines_that_are_none_are_named_without_what_is_in_them(line: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f'# first\nOK="1\n2"\n\n{line}\n')
    with pytest.raises(ConfigError) as caught:
        read_env(tmp_path / ".env")
    assert str(caught.value) == (
        ".env, line 5: is no NAME=value, or its quotation mark is not closed"
    )


def test_an_empty_env_file_has_nothing(tmp_path: Path) -> None:
    for text in ("", "\n", "# only\n  # comments"):
        (tmp_path / ".env").write_text(text)
        found: dict[str, Any] = read_env(tmp_path / ".env")
        assert found == {}
