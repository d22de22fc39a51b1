"""The Worker of `examples/cloudflare-worker`, as it is deployed, in Cloudflare's own runtime.

`fetch.sh` has wrangler build it. What runs it here is workerd, with the AI binding that is built
into it; only the service behind that binding is replaced, by `tests.worker.workers_ai`.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import start, stop

PROJECT = Path(__file__).parents[2] / "examples" / "cloudflare-worker"
BUILT = PROJECT / "dist"

SECRET = "a-secret-of-the-tests-7c1f4e"
STARTING = 15.0
"""Seconds workerd has to listen in."""


@dataclass(frozen=True)
class Worker:
    """One that runs, and where.

    Args:
        host: its address, with the port.
        output: the file of what it logs.
    """

    host: str
    output: Path

    def ws(self, query: str = "encoding=linear16&sample_rate=16000") -> str:
        return f"ws://{self.host}/flux?{query}"

    def http(self, path: str) -> str:
        return f"http://{self.host}{path}"


def is_built() -> bool:
    """Whether `fetch.sh` has done its work."""
    return (BUILT / "index.js").exists() and bool(_programs())


@contextlib.contextmanager
def running(folder: Path, ai_port: int, **settings: str) -> Iterator[Worker]:
    """The Worker, on a free port of the loopback, until the block is left.

    Args:
        folder: an empty one for its configuration and its log.
        ai_port: where the service behind the AI binding listens on the loopback.
        settings: variables and secrets on top of wrangler.jsonc's.
    """
    folder.mkdir()
    (folder / "dist").symlink_to(BUILT)  # what is embedded has to lie beneath the configuration
    config = folder / "worker.capnp"
    config.write_text(_config(ai_port, settings))
    output = folder / "worker.log"
    # --experimental only lets the configuration name the built-in module of the AI binding.
    command = [str(_programs()[0]), "serve", "--experimental", "--control-fd=1", str(config)]
    process = start(command, output)
    try:
        yield Worker(f"127.0.0.1:{_port(process, output)}", output)
    finally:
        stop(process)


def read_jsonc(path: Path) -> dict[str, Any]:
    """JSON with lines that are comments."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("//")]
    read: dict[str, Any] = json.loads("\n".join(lines))
    return read


def _programs() -> list[Path]:
    return sorted(PROJECT.glob("node_modules/@cloudflare/workerd-*/bin/workerd"))


def _port(process: subprocess.Popen[bytes], output: Path) -> int:
    """The port that it says it listens on."""
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r'"event":"listen".*"port":(\d+)', output.read_text())
        if found:
            return int(found[1])
        time.sleep(0.02)
    raise AssertionError(f"workerd does not listen: {output.read_text()}")


def _config(ai_port: int, settings: dict[str, str]) -> str:
    wrangler = read_jsonc(PROJECT / "wrangler.jsonc")
    variables = {**wrangler.get("vars", {}), **settings}
    bindings = [f"(name = {_text(name)}, text = {_text(variables[name])})" for name in variables]
    bindings.append(
        f"(name = {_text(wrangler['ai']['binding'])}, wrapped = ("
        'moduleName = "cloudflare-internal:ai-api", '
        'innerBindings = [(name = "fetcher", service = "workers-ai")]))'
    )
    return f"""\
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "app", worker = (
      compatibilityDate = {_text(wrangler["compatibility_date"])},
      modules = [{", ".join(_modules())}],
      bindings = [{", ".join(bindings)}],
    )),
    (name = "workers-ai", external = (address = "127.0.0.1:{ai_port}", http = ())),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "app")],
);
"""


def _modules() -> list[str]:
    """What wrangler made: the code, and the texts that it imports."""
    files = [path for path in BUILT.iterdir() if path.suffix not in (".map", ".md")]
    assert BUILT / "index.js" in files
    files.sort(key=lambda path: path.name != "index.js")
    return [
        f"(name = {_text(path.name)}, {'esModule' if path.name == 'index.js' else 'text'}"
        f" = embed {_text(f'dist/{path.name}')})"
        for path in files
    ]


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
