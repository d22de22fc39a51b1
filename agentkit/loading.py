"""Finding the agent that a command line names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from agentkit.agent import Agent
from agentkit.errors import ConfigError


def load_agent(name: str) -> type[Agent]:
    """The agent class of ``path/to/file.py``, ``path/to/file.py:Class`` or ``module:Class``.

    A file without a class name has to hold one agent.

    Raises:
        ConfigError: there is no such file, module or class, or more than one.
    """
    where, _, class_name = name.rpartition(":") if ":" in name else (name, "", "")
    module = _file(Path(where)) if where.endswith(".py") else _module(where, name)
    if class_name:
        found = getattr(module, class_name, None)
        if not (isinstance(found, type) and issubclass(found, Agent)):
            raise ConfigError("AGENT", f"{where} has no agent called {class_name}")
        return found
    agents = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Agent)
        and value.__module__ == module.__name__
    ]
    if len(agents) != 1:
        names = ", ".join(agent.__name__ for agent in agents) or "none"
        raise ConfigError("AGENT", f"{where} holds {names}: name one, as in {where}:Class")
    return agents[0]


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError("AGENT", f"there is no file {path}")
    name = f"agentkit_loaded_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError("AGENT", f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


def _module(module: str, name: str) -> ModuleType:
    if not module:
        raise ConfigError("AGENT", f"{name} is neither a file nor module:Class")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError("AGENT", f"{module} cannot be imported: {error}") from error
