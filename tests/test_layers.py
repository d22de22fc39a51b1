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
    "agentkit.carriers": 1,
    "agentkit.callcontrol": 3,
    "agentkit.callcontrol.base": 2,
    "agentkit._hosts": 1,
    "agentkit.turns": 2,
    "agentkit._cancelling": 2,
    "agentkit.tools": 2.5,
    "agentkit._arguments": 2.5,
    "agentkit.plugins": 2.5,
    "agentkit.config": 2.5,
    "agentkit.economy": 2.5,
    "agentkit.llm": 2,
    "agentkit.llm.openai": 3,
    "agentkit.tts": 2,
    "agentkit.tts.openai": 3,
    "agentkit.tts.requests": 3,
    "agentkit.transports": 2,
    "agentkit.transports.browser": 3,
    "agentkit.transports.cues": 3,
    "agentkit.transports.desktop": 3,
    "agentkit.transports.echo": 3,
    "agentkit.transports.files": 3,
    "agentkit.transports.phone": 3,
    "agentkit.transports.audiosocket": 3,
    "agentkit.transports.pacer": 3,
    "agentkit.transports.playout": 3,
    "agentkit.transports.recording": 3,
    "agentkit.transports.rings": 3,
    "agentkit.transports.soundcard": 3,
    "agentkit.transports.wav": 3,
    "agentkit._openai": 2.9,
    "agentkit._connections": 2.9,
    "agentkit._http": 2.9,
    "agentkit._sockets": 2.9,
    "agentkit.observe": 3,
    "agentkit.server": 5,
    "agentkit.session": 4,
    "agentkit.agent": 5,
    "agentkit.backends": 3.5,
    "agentkit.cli": 5,
    "agentkit.loading": 5,
    "agentkit.talk": 5,
    "agentkit.conversing": 5,
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
    3.5: None,
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


TOGETHER = {0, 1, 2.5, 2.9, 5}
"""Layers whose modules may use one another."""

PLUGINS = {path.parent.name for path in ROOT.parent.glob("plugins/*/*/__init__.py")}
"""Packages that are found by entry point: nothing here imports them."""


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
    """The modules that run when this one is imported or used; not those for type checkers alone."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_If(self, node: ast.If) -> None:
        only_types = ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for child in node.orelse if only_types else [node.test, *node.body, *node.orelse]:
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


def misplaced(module: str, source: str) -> list[str]:
    """What ``source``, as the module of that name, imports and may not."""
    visitor = _Imports()
    visitor.visit(ast.parse(source))
    own = layer(module)
    assert own is not None, f"{module} has no layer yet: add it to LAYERS"
    return [
        f"{module} ({own}) imports {why}"
        for name in visitor.found
        if (why := _why(name, module, own))
    ]


def _why(name: str, module: str, own: float) -> str | None:
    top = name.split(".")[0]
    if top in PLUGINS:
        return f"{name}, a plugin"
    if top in sys.stdlib_module_names:
        return f"{name}, which does I/O" if own == 0 and {name, top} & NO_IO else None
    if top != "agentkit":
        allowed = MAY_IMPORT[own]
        return None if allowed is None or top in allowed else f"{name}, a library of other layers"
    other = layer(name)
    if other is None:
        return f"{name}, which has no layer"
    if name.startswith("agentkit.testing") and not module.startswith("agentkit.testing"):
        return f"{name}, which is for tests"
    package = ".".join(module.split(".")[:2])
    beside = name == package or name.startswith(package + ".") or own in TOGETHER
    return None if other < own or (other == own and beside) else f"{name} ({other})"


CLOCKS = {
    "time.time", "time.time_ns", "time.sleep", "datetime.now", "datetime.utcnow", "datetime.today",
    "date.today",
}  # fmt: skip
TASKS = {"asyncio.create_task", "asyncio.ensure_future", "asyncio.run"}


def forbidden_calls(module: str, source: str) -> list[str]:
    """Wall clocks, everywhere below the commands; tasks, below the adapters."""
    own = layer(module) or 0
    banned = CLOCKS | TASKS if own < 2.9 else CLOCKS - {"datetime.now"}
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found.add(".".join(ast.unparse(node).split(".")[-2:]))
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return sorted(found & banned)


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_from_below(module: str) -> None:
    assert misplaced(module, path_of(module).read_text()) == []


@pytest.mark.parametrize("module", [name for name in modules() if (layer(name) or 0) <= 4])
def test_no_wall_clock_and_no_stray_task_decides_anything(module: str) -> None:
    assert forbidden_calls(module, path_of(module).read_text()) == []


def test_every_name_in_the_table_is_a_module() -> None:
    assert sorted(set(LAYERS) - set(modules())) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("agentkit.core.machine", "import asyncio"),
        ("agentkit.core.machine", "def f():\n    from pathlib import Path"),
        ("agentkit.core.machine", "import pydantic"),
        ("agentkit.core.machine", "from agentkit.llm.base import LLM"),
        ("agentkit.flux.options", "from agentkit.turns import TurnSource"),
        ("agentkit.flux.options", "from agentkit.flux.client import FluxClient"),
        ("agentkit.llm.base", "import openai"),
        ("agentkit.llm.base", "from agentkit.llm import openai"),
        ("agentkit.llm.openai", "from agentkit.tts import openai"),
        ("agentkit.llm.openai", "import agentkit.session"),
        ("agentkit.session.session", "from agentkit.agent import Agent"),
        ("agentkit.session.session", "import websockets"),
        ("agentkit.cli", "from agentkit.testing import clock"),
        ("agentkit.cli", "if True:\n    import agentkit_local"),
        ("agentkit.core.machine", "if typing.TYPE_CHECKING:\n    pass\nelse:\n    import time"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(misplaced(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("agentkit.core.machine", "from agentkit.core.history import Message"),
        ("agentkit.core.machine", "if TYPE_CHECKING:\n    from agentkit.llm.base import LLM"),
        ("agentkit.flux.client", "import websockets\nfrom agentkit.turns import TurnSource"),
        ("agentkit.testing.flux", "from agentkit.testing import clock\nimport agentkit.session"),
    ],
)
def test_a_right_import_passes(module: str, source: str) -> None:
    assert misplaced(module, source) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("agentkit.tools", "import asyncio\nasyncio.create_task(x)"),
        ("agentkit.tools", "from asyncio import create_task"),
        ("agentkit.tools", "import datetime\ndatetime.datetime.now()"),
        ("agentkit.session.session", "import time\ntime.time()"),
        ("agentkit.session.session", "from time import time"),
    ],
)
def test_a_forbidden_call_is_found(module: str, source: str) -> None:
    assert len(forbidden_calls(module, source)) == 1


def test_import_agentkit_is_light() -> None:
    """It takes some 0.15 s; told in imports of asyncio, which a busy machine slows down as well."""
    code = (
        "import sys, time; clock = time.process_time; a = clock(); import asyncio; b = clock();"
        "import agentkit; c = clock(); heavy = ('openai', 'numpy', 'samplerate', 'onnxruntime');"
        "print((c - a) / (b - a), [m for m in heavy if m in sys.modules])"
    )
    best = 99.0
    for _ in range(5):
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        times, _, heavy = out.stdout.strip().partition(" ")
        assert heavy == "[]"
        best = min(best, float(times))
    assert best < 7, f"import agentkit took as long as {best:.1f} imports of asyncio"
