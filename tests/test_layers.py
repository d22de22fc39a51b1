"""A module imports only from layers below its own; the lower ones do no I/O and read no clock."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "agentkit"

LAYERS: dict[str, float] = {
    "agentkit": 5,
    "agentkit.errors": 0,
    "agentkit.core": 0,
    "agentkit.audio": 0,
    "agentkit.audio.resample": 2.9,
    "agentkit.flux": 3,
    "agentkit.flux.options": 1,
    "agentkit.flux.messages": 1,
    "agentkit.turns": 2,
    "agentkit.tools": 2.5,
    "agentkit._arguments": 2.5,
    "agentkit.plugins": 2.5,
    "agentkit.config": 2.5,
    "agentkit.llm": 2,
    "agentkit.llm.openai": 3,
    "agentkit.tts": 2,
    "agentkit.tts.openai": 3,
    "agentkit.tts.requests": 3,
    "agentkit.transports": 2,
    "agentkit.transports.cues": 3,
    "agentkit.transports.files": 3,
    "agentkit.transports.playout": 3,
    "agentkit.transports.wav": 3,
    "agentkit._openai": 2.9,
    "agentkit._connections": 2.9,
    "agentkit._sockets": 2.9,
    "agentkit.observe": 3,
    "agentkit.session": 4,
    "agentkit.agent": 5,
    "agentkit.backends": 5,
    "agentkit.cli": 5,
    "agentkit.loading": 5,
    "agentkit.testing": 5,
}
"""A module has the layer of the longest name here that it begins with. Fractions order the modules
of one layer; 2.9 is what the adapters of layer 3 share."""

MAY_IMPORT: dict[float, frozenset[str] | None] = {
    0: frozenset(),
    1: frozenset({"pydantic", "pydantic_core"}),
    2: frozenset({"pydantic", "pydantic_core"}),
    2.5: frozenset({"pydantic", "pydantic_core"}),
    2.9: None,
    3: None,
    4: frozenset({"structlog"}),
    5: None,
}
"""Libraries besides the standard one; None: any."""

NO_IO = {
    "asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib",
    "queue", "random", "secrets", "select", "socket", "ssl", "subprocess", "tempfile", "threading",
    "time", "urllib.request",
}  # fmt: skip
"""What layer 0 does without."""


def modules() -> list[str]:
    names = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("agentkit", *path.relative_to(ROOT).with_suffix("").parts)
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def layer(module: str) -> float | None:
    name = module
    while name:
        if name in LAYERS and (name != "agentkit" or module == "agentkit"):
            return LAYERS[name]
        name = name.rpartition(".")[0]
    return None


def path_of(module: str) -> Path:
    path = ROOT.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


class _Imports(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports are absolute"
        assert node.module
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            known = inner.startswith("agentkit.") and path_of(inner).exists()
            self.found.append(inner if known else node.module)


def imports(module: str) -> list[str]:
    visitor = _Imports()
    visitor.visit(ast.parse(path_of(module).read_text()))
    return visitor.found


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_from_below(module: str) -> None:
    own = layer(module)
    assert own is not None, f"{module} has no layer yet: add it to LAYERS"
    allowed = MAY_IMPORT[own]
    package = ".".join(module.split(".")[:2])
    for name in imports(module):
        top = name.split(".")[0]
        if top == "agentkit":
            other = layer(name)
            assert other is not None, f"{name} has no layer"
            same = name == package or name.startswith(package + ".")
            together = own == other and own in (0, 2.5, 2.9, 5)
            assert other < own or same or together, f"{module} ({own}) imports {name} ({other})"
            assert other <= own, f"{module} ({own}) imports {name} ({other}) of its own package"
            if not module.startswith("agentkit.testing"):
                assert not name.startswith("agentkit.testing"), f"{module} imports {name}"
        elif top in sys.stdlib_module_names:
            assert own > 0 or not {name, top} & NO_IO, (
                f"{module} imports {name}: layer 0 does no I/O"
            )
        else:
            assert allowed is None or top in allowed, f"{module} ({own}) imports {name}"


@pytest.mark.parametrize("module", [name for name in modules() if (layer(name) or 0) <= 4])
def test_no_wall_clock_decides_anything(module: str) -> None:
    for node in ast.walk(ast.parse(path_of(module).read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called = f"{node.value.id}.{node.attr}"
            assert called not in {"time.time", "time.sleep", "datetime.utcnow"}, called


def test_import_agentkit_is_light() -> None:
    code = (
        "import sys, time; t = time.process_time(); import agentkit; t = time.process_time() - t;"
        "heavy = ('openai', 'numpy', 'samplerate', 'onnxruntime');"
        "print(t, [m for m in heavy if m in sys.modules])"
    )
    best = 9.0
    for _ in range(5):
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        seconds, _, heavy = out.stdout.strip().partition(" ")
        assert heavy == "[]"
        best = min(best, float(seconds))
    assert best < 0.3, f"import agentkit took {best:.2f} s"
