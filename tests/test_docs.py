"""What the project's own pages and lock files say holds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
PYPROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def pins(lock: Path) -> list[str]:
    """The pinned requirements, each on one line with its hashes."""
    return lock.read_text().replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_that_are_named_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    named = set(re.findall(r"(?:^|`)make (\w+)", page.read_text(), re.MULTILINE))
    assert named <= set(phony[1].split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_in_the_pages_is_python(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        compile(block, str(page), "exec")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_locks_pin_exactly_with_hashes_and_no_address(lock: Path) -> None:
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links", lock.read_text())
    loose = [line for line in pins(lock) if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:", line)]
    assert loose == []


def test_locks_hold_every_dependency() -> None:
    own, runs, develops = set(), set(), set()
    for path in PYPROJECTS:
        data = tomllib.loads(path.read_text())
        own.add(data["project"]["name"])
        runs |= {name_of(line) for line in data["project"]["dependencies"]}
        develops |= {name_of(line) for line in data.get("dependency-groups", {}).get("dev", [])}
    locked = {name_of(line) for line in pins(ROOT / "requirements.lock")}
    assert runs - own - locked == set(), "run `make lock`"
    assert develops - {name_of(line) for line in pins(ROOT / "requirements-dev.lock")} == set()


def test_both_locks_agree() -> None:
    first, second = (
        {line.split("--hash")[0].split(";")[0].strip() for line in pins(ROOT / name)}
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    both = {name_of(line) for line in first} & {name_of(line) for line in second}
    assert {line for line in first if name_of(line) in both} == {
        line for line in second if name_of(line) in both
    }
