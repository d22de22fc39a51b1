"""Backends of broken, doubled and odd packages, found on a path of the test's own."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agentkit import plugins
from agentkit.errors import ConfigError, PluginConflict, PluginLoadError, PluginNotFound
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS

CODE = """
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS

seen = []

def llm(model=None, **options):
    seen.append((model, options))
    return ScriptedLLM(["x"])

def tts(model=None, *, voice=None, **options):
    seen.append((model, voice, options))
    return ScriptedTTS()

number = 3
"""


class Site:
    """A folder of packages in front of all others."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def module(self, name: str, code: str) -> None:
        (self.path / f"{name}.py").write_text(code)

    def package(self, name: str, points: str, version: str = "1.0", path: str = "") -> None:
        folder = self.path / path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        (folder / "entry_points.txt").write_text(points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("acme_voices", "acme_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    made = Site(tmp_path)
    made.module("acme_voices", CODE)
    return made


def names(group: plugins.Group) -> list[str]:
    return [info.name for info in plugins.available(group)]


def test_a_strangers_package_is_found_and_used(site: Site) -> None:
    site.package(
        "acme-voices",
        "[agentkit.llm]\nacme = acme_voices:llm\n[agentkit.tts]\nacme = acme_voices:tts\n",
        "2.5",
    )
    (info,) = [info for info in plugins.available("agentkit.tts") if info.name == "acme"]
    assert info == plugins.PluginInfo(
        "agentkit.tts", "acme", "acme-voices", "2.5", "acme_voices:tts"
    )
    assert "acme_voices" not in sys.modules, "it is listed without being imported"
    assert isinstance(plugins.load_llm("acme/ft:m/1:x", heat=1), ScriptedLLM)
    assert isinstance(plugins.load_tts("acme/m:1:v", rate=8000), ScriptedTTS)
    assert isinstance(plugins.load_tts("acme"), ScriptedTTS)
    assert sys.modules["acme_voices"].seen == [
        ("ft:m/1:x", {"heat": 1}),
        ("m:1", "v", {"rate": 8000}),
        (None, None, {}),
    ]


def test_a_voice_that_is_given_apart_wins(site: Site) -> None:
    site.package("acme-voices", "[agentkit.tts]\nacme = acme_voices:tts\n")
    plugins.load_tts("acme/m:v", voice="w")
    assert sys.modules["acme_voices"].seen == [("m", "w", {})]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("acme_broken:llm", "could not be imported: broken inside"),
        ("acme_voices:gone", "could not be imported: .*gone"),
        ("acme_missing:llm", "could not be imported: No module named 'acme_missing'"),
        ("acme_voices:number", "acme_voices:number cannot be called"),
    ],
)
def test_one_broken_plugin_never_breaks_the_others(site: Site, target: str, says: str) -> None:
    site.module("acme_broken", "raise RuntimeError('broken inside')")
    site.package("acme-broken", f"[agentkit.llm]\nbroken = {target}\n")
    site.package("acme-voices", "[agentkit.llm]\nacme = acme_voices:llm\n")
    assert {"broken", "acme"} <= set(names("agentkit.llm"))
    assert isinstance(plugins.load_llm("acme"), ScriptedLLM)
    with pytest.raises(PluginLoadError, match=says) as caught:
        plugins.load_llm("broken")
    assert (caught.value.__cause__ is None) is ("cannot be called" in says)


def test_a_package_whose_metadata_cannot_be_read_is_passed_over(site: Site) -> None:
    site.package("acme-garbled", "[agentkit.llm]\nno equals sign here\n")
    site.package("acme-voices", "[agentkit.llm]\nacme = acme_voices:llm\n")
    assert "acme" in names("agentkit.llm")
    assert isinstance(plugins.load_llm("acme"), ScriptedLLM)
    with pytest.raises(PluginNotFound, match=r"acme_garbled-1\.0\.dist-info cannot be read"):
        plugins.load_llm("nowhere")


def test_two_packages_of_one_backend_are_both_named(site: Site) -> None:
    site.package("acme-voices", "[agentkit.llm]\nacme = acme_voices:llm\n")
    site.package("other-voices", "[agentkit.llm]\nacme = other_voices:llm\n")
    with pytest.raises(PluginConflict, match="acme-voices and other-voices both offer"):
        plugins.load_llm("acme")
    found = [info.package for info in plugins.available("agentkit.llm") if info.name == "acme"]
    assert found == ["acme-voices", "other-voices"], "both are listed"
    with plugins.register("agentkit.llm", "acme", lambda: ScriptedLLM(["x"])):
        assert isinstance(plugins.load_llm("acme"), ScriptedLLM), "what is registered hides them"


def test_a_package_found_twice_is_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older copy further down the path, as an editable install may leave one."""
    site.package("Acme.Voices", "[agentkit.llm]\nacme = acme_voices:llm\n", "2.0")
    site.package("acme-voices", "[agentkit.llm]\nacme = acme_old:llm\n", "1.0", path="old")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site.path / "old")])
    (info,) = [info for info in plugins.available("agentkit.llm") if info.name == "acme"]
    assert (info.version, info.target) == ("2.0", "acme_voices:llm")
    assert isinstance(plugins.load_llm("acme"), ScriptedLLM)


def test_a_missing_local_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "distributions", lambda: iter(()))
    with pytest.raises(PluginNotFound, match=r"installed: none\. .*pip install agentkit-local"):
        plugins.load_tts("local/pico")


def test_a_slip_of_the_pen_is_told_from_a_missing_package() -> None:
    """A package of a mistyped name may be anybody's: nobody is told to install it."""
    with pytest.raises(PluginNotFound, match="Did you mean 'openai'") as caught:
        plugins.load_llm("opnai/gpt-5.4-mini")
    assert "pip install" not in str(caught.value)


@pytest.mark.parametrize("load", [plugins.load_llm, plugins.load_tts])
def test_what_is_no_name_is_refused(load: Any) -> None:
    with pytest.raises(ConfigError, match=r"takes a backend's name or an agentkit.*, not int"):
        load(3)
    for empty in ("", "/model"):
        with pytest.raises(ConfigError, match="names no backend: write it as backend/model"):
            load(empty)


def test_registered_backends_are_listed_and_give_way_again() -> None:
    def first(model: str | None = None) -> ScriptedLLM:
        return ScriptedLLM(["first"])

    second = functools.partial(first)
    with plugins.register("agentkit.llm", "mine", first):
        (info,) = [info for info in plugins.available("agentkit.llm") if info.name == "mine"]
        assert (info.package, info.version) == ("this process", "")
        assert info.target.endswith("first")
        with plugins.register("agentkit.llm", "mine", second):
            assert plugins.load("agentkit.llm", "mine") is second
        assert plugins.load("agentkit.llm", "mine") is first
        assert "mine" not in names("agentkit.tts")
        with pytest.raises(PluginNotFound, match="installed: local, mine, openai"):
            plugins.load_llm("nowhere")
    assert "mine" not in names("agentkit.llm")


def test_what_is_registered_goes_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError):
        with plugins.register("agentkit.llm", "mine", ScriptedLLM):
            raise ZeroDivisionError
    assert "mine" not in names("agentkit.llm")


def test_a_backend_that_quotes_its_key_does_not_give_it_away() -> None:
    def careless(**options: Any) -> None:
        raise ValueError(f"bad arguments {options['api_key']} {options['auth_token']} {options}")

    with plugins.register("agentkit.llm", "careless", careless):
        with pytest.raises(PluginLoadError) as caught:
            plugins.load_llm(
                "careless", api_key="sk-12345", auth_token=SecretStr("tok-678"), base_url="http://x"
            )
    assert "could not be set up: bad arguments ***" in str(caught.value)
    assert "http://x" in str(caught.value)
    assert "sk-12345" not in str(caught.value)
