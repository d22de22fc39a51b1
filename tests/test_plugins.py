"""Backends by entry point: listed without importing, loaded by name."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from agentkit import plugins
from agentkit.errors import ConfigError, PluginConflict, PluginLoadError, PluginNotFound
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("openai", ("openai", None)),
        ("openai/gpt-5.4-mini", ("openai", "gpt-5.4-mini")),
        ("openai/ft:gpt-4.1-mini:x", ("openai", "ft:gpt-4.1-mini:x")),
        ("local/llama3.2:3b", ("local", "llama3.2:3b")),
        ("local/a/b.gguf", ("local", "a/b.gguf")),
        ("openai/", ("openai", None)),
    ],
)
def test_names_split_at_the_first_slash(name: str, parts: tuple[str, str | None]) -> None:
    assert plugins.parse_name(name) == parts


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("openai", ("openai", None, None)),
        ("local/pico", ("local", "pico", None)),
        ("local/pico:en-GB", ("local", "pico", "en-GB")),
        ("acme/a:b:c", ("acme", "a:b", "c")),
        ("acme/:c", ("acme", None, "c")),
    ],
)
def test_voices_split_at_the_last_colon(
    name: str, parts: tuple[str, str | None, str | None]
) -> None:
    assert plugins.parse_voice(name) == parts


def test_what_is_installed_is_listed_without_importing_it() -> None:
    code = (
        "import sys; from agentkit import plugins;"
        "print([p.name for p in plugins.available('agentkit.llm')],"
        " [m for m in ('openai', 'agentkit_local') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['local', 'openai'] []"


def test_objects_are_given_back_as_they_are() -> None:
    llm, tts = ScriptedLLM(["x"]), ScriptedTTS()
    assert plugins.load_llm(llm) is llm
    assert plugins.load_tts(tts) is tts


def test_a_factory_gets_what_was_named() -> None:
    seen: list[Any] = []

    def make_llm(*args: Any, **options: Any) -> ScriptedLLM:
        seen.append((args, options))
        return ScriptedLLM(["x"])

    def make_tts(*args: Any, **options: Any) -> ScriptedTTS:
        seen.append((args, options))
        return ScriptedTTS()

    with plugins.register("agentkit.llm", "mine", make_llm):
        plugins.load_llm("mine")
        plugins.load_llm("mine/m:1", temperature=1)
    with plugins.register("agentkit.tts", "mine", make_tts):
        plugins.load_tts("mine/m:v")
    assert seen == [((), {}), (("m:1",), {"temperature": 1}), (("m",), {"voice": "v"})]
    with pytest.raises(PluginNotFound):
        plugins.load_llm("mine")


def test_a_missing_backend_says_what_is_there_and_what_to_install() -> None:
    with pytest.raises(
        PluginNotFound, match=r"installed: local, openai\. Install the package that brings it"
    ):
        plugins.load_llm("acme/x")


def test_a_backend_that_gives_something_else_is_refused() -> None:
    with plugins.register("agentkit.llm", "odd", lambda: "a text"):
        with pytest.raises(PluginLoadError, match="str is no agentkit"):
            plugins.load_llm("odd")
    with plugins.register("agentkit.tts", "odd", lambda: "a text"):
        with pytest.raises(PluginLoadError, match="str is no agentkit"):
            plugins.load_tts("odd")


def test_what_goes_wrong_in_a_backend_is_chained() -> None:
    def broken() -> None:
        raise ValueError("no")

    def choosy() -> None:
        raise ConfigError("model", "is missing")

    with plugins.register("agentkit.llm", "broken", broken):
        with pytest.raises(PluginLoadError, match="could not be set up: no") as caught:
            plugins.load_llm("broken")
    assert isinstance(caught.value.__cause__, ValueError)
    with plugins.register("agentkit.llm", "choosy", choosy), pytest.raises(ConfigError):
        plugins.load_llm("choosy")


def test_two_packages_of_one_name_and_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    points = (
        EntryPoint("twin", "one:LLM", "agentkit.llm"),
        EntryPoint("twin", "two:LLM", "agentkit.llm"),
        EntryPoint("gone", "agentkit_no_such:LLM", "agentkit.llm"),
    )
    monkeypatch.setattr(plugins, "_points", lambda group: points)
    assert [p.name for p in plugins.available("agentkit.llm")] == ["gone", "twin", "twin"]
    with pytest.raises(PluginConflict, match="both offer"):
        plugins.load("agentkit.llm", "twin")
    with pytest.raises(PluginLoadError, match="could not be imported"):
        plugins.load("agentkit.llm", "gone")
