"""What is pinned, and what wrangler is told."""

from __future__ import annotations

import json
import re

from tests.worker.worker import PROJECT, read_jsonc


def test_the_lock_pins_with_hashes_and_names_no_registry() -> None:
    packages = json.loads((PROJECT / "package-lock.json").read_text())["packages"]
    installed = {name: each for name, each in packages.items() if name}
    assert all(re.match(r"sha512-", each["integrity"]) for each in installed.values())
    assert not [name for name, each in installed.items() if "resolved" in each]


def test_what_is_wanted_is_pinned_exactly() -> None:
    wanted = json.loads((PROJECT / "package.json").read_text())["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())


def test_the_compatibility_date_is_that_of_the_runtime_it_is_tested_in() -> None:
    packages = json.loads((PROJECT / "package-lock.json").read_text())["packages"]
    date = read_jsonc(PROJECT / "wrangler.jsonc")["compatibility_date"]
    built = packages["node_modules/workerd"]["version"].split(".")[1]
    assert date.replace("-", "") == built


def test_what_is_secret_is_not_in_the_configuration() -> None:
    config = read_jsonc(PROJECT / "wrangler.jsonc")
    assert set(config["vars"]) == {"ALLOWED_ORIGINS"}
    assert config["observability"]["logs"]["invocation_logs"] is False
