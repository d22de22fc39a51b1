"""Settings, and where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkit import Agent
from agentkit.config import Settings, read_env
from agentkit.errors import ConfigError


def test_the_first_source_that_names_a_setting_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AGENTKIT_LLM=env/file\nAGENTKIT_TTS=env/file\n")
    (tmp_path / "agentkit.toml").write_text('llm = "toml/x"\ntts = "toml/x"\nflux = "local"\n')

    class Mine(Agent):
        llm = "agent/x"
        flux = "deepgram"

    found = Settings.load(
        flags={"llm": None, "tts": "flag/x"},
        env={"AGENTKIT_LLM": "environment/x", "AGENTKIT_TTS": ""},
        folder=tmp_path,
        agent=Mine,
    )
    assert (found.llm, found.tts, found.flux) == ("environment/x", "flag/x", "local")
    assert found.sources == {"tts": "a flag", "llm": "the environment", "flux": "agentkit.toml"}
    assert Settings.load(agent=Mine).llm == "agent/x"


def test_without_anything_everything_is_local() -> None:
    found = Settings.load()
    assert found.choose_flux().name == "local"
    assert found.choose_llm().name == "local/script"
    assert found.choose_tts().name == "local/pico"
    assert "scripted answers, not a model" in found.describe()


def test_a_key_chooses_its_owner_and_is_never_shown() -> None:
    found = Settings.load(env={"DEEPGRAM_API_KEY": "dg-secret", "OPENAI_API_KEY": "sk-secret"})
    assert [found.choose_flux().name, found.choose_llm().name, found.choose_tts().name] == [
        "deepgram",
        "openai",
        "openai",
    ]
    assert "DEEPGRAM_API_KEY is set" in found.describe()
    assert "secret" not in repr(found) + str(found) + found.describe()
    named = Settings.load(env={"OPENAI_API_KEY": "x", "AGENTKIT_LLM": "local/script"})
    assert named.choose_llm().name == "local/script"


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"AGENTKIT_FLUX": "deepgran"}, r"AGENTKIT_FLUX \(from the environment\): 'deepgran'"),
        ({"AGENTKIT_FLUX": "http://x"}, "ws://"),
        ({"OPENAI_BASE_URL": "localhost"}, "OPENAI_BASE_URL"),
        ({"AGENTKIT_PUBLIC_URL": "ftp://x"}, "AGENTKIT_PUBLIC_URL"),
    ],
)
def test_bad_values_name_the_setting_and_its_source(env: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Settings.load(env=env)


def test_a_flux_url_is_taken() -> None:
    assert Settings.load(env={"AGENTKIT_FLUX": "ws://127.0.0.1:1/v2/listen"}).choose_flux().name


def test_env_files(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        '# a comment\n\nexport A=1\nB=\'two # 2\' # more\nC="three\\n\\"3\\""\nD=four # 4\nE=\n'
    )
    assert read_env(path) == {"A": "1", "B": "two # 2", "C": 'three\n"3"', "D": "four", "E": ""}
    assert read_env(tmp_path / "none") == {}


@pytest.mark.parametrize("line", ["no equals", 'A="open', "a-b=1"])
def test_bad_lines_of_env_files_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"OK=1\n{line}\n")
    with pytest.raises(ConfigError, match=r"\.env, line 2"):
        Settings.load(folder=tmp_path)


def test_bad_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "agentkit.toml").write_text("llm = ")
    with pytest.raises(ConfigError, match=r"agentkit\.toml"):
        Settings.load(folder=tmp_path)
    (tmp_path / "agentkit.toml").write_text('lm = "x"')
    with pytest.raises(ConfigError, match="lm: is not known"):
        Settings.load(folder=tmp_path)
