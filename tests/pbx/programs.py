"""The programs of the exchange, as `fetch.sh` has unpacked them, run where they lie.

They bring their own C library and loader, so they run on any Linux, without root and without being
installed.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import socket
from pathlib import Path

PLACE = Path(
    os.environ.get("AGENTKIT_PBX")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentkit" / "pbx"
)
"""The folder that `fetch.sh` fills."""

ROOT = PLACE / "root"
PROMPTS = ROOT / "usr/share/asterisk/sounds/en_US_f_Allison"
"""Recordings of one woman's voice: WAV, 16 bits, 8000 Hz."""


def is_fetched() -> bool:
    """Whether `fetch.sh` has done its work."""
    return (ROOT / "packages").exists()


def libraries() -> Path:
    """The folder of the programs' libraries, whose name holds the machine's kind."""
    return next(ROOT.glob("usr/lib/*-linux-gnu*"))


def command(program: str, *arguments: str | Path) -> list[str]:
    """What to run for a program, e.g. ``usr/sbin/asterisk``."""
    folder = libraries()
    loader = next(folder.glob("ld-linux*.so.*"))
    return [str(loader), "--library-path", str(folder), str(ROOT / program), *map(str, arguments)]


def free_port() -> int:
    """A port of the loopback that is free for TCP and UDP, and so is the next one.

    It lies below those that the system gives to whoever asks for any port.
    """
    while True:
        port = random.randrange(10_000, 20_000, 2)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for number in (port, port + 1):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    probe = stack.enter_context(socket.socket(socket.AF_INET, kind))
                    probe.bind(("127.0.0.1", number))
            return port


def prompt(name: str) -> Path:
    """The recording of that name, e.g. ``demo-congrats``."""
    path = PROMPTS / f"{name}.wav"
    if not path.exists():
        raise FileNotFoundError(f"there is no prompt {name} in {PROMPTS}")
    return path


def transcripts() -> dict[str, str]:
    """What is said in each recording, by its name."""
    text = gzip.decompress(
        (ROOT / "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz").read_bytes()
    ).decode()
    lines = (line.partition(": ") for line in text.splitlines() if line and line[0] not in ";#")
    return {name.strip(): words.strip() for name, _, words in lines if words}
