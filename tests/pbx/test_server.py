"""`agentkit serve` on calls through Asterisk: a caller of flesh and blood speaks with an agent.

The caller is a recorded human voice; who answers is the offline engine, in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from agentkit.core.commands import ReplyEnded
from agentkit.core.events import TurnEnded
from agentkit.observe import Record, read_record
from tests import processes
from tests.pbx import dialplan, programs, sound
from tests.pbx.asterisk import Asterisk

GREETING = "Hello. This is a rather long greeting, which nobody has ever wanted to hear to its end."
AGENT = f"""
from agentkit import Agent

class Receptionist(Agent):
    instructions = "Answer."
    greeting = {GREETING!r}
"""
# The caller says: "Which folder should I save the message to?"
QUESTION = "vm-savefolder"
SCRIPT = r"""
otherwise = "I did not get that."
unprompted = "Are you still there?"

[[rule]]
when = '\bfolder\b'
say = "Into the second folder, please."
"""
ANSWER = "Into the second folder, please."
BREAKS_IN = 1.5
"""Seconds after the answer at which the caller speaks."""
STARTING = 25.0
"""Seconds the server has to start in: three on a quiet machine."""
POLL = 0.05


@dataclass(frozen=True)
class Serving:
    """A server that runs.

    Args:
        port: of its web application.
        audiosocket: of its AudioSocket.
        records: the folder of the calls' records.
        output: what it prints.
    """

    port: int
    audiosocket: int
    records: Path
    output: Path


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "receptionist.py").write_text(AGENT)
    (folder / "script.toml").write_text(SCRIPT)
    ours = Serving(
        programs.free_port(), programs.free_port(), folder / "records", folder / "output"
    )
    command = [
        str(Path(sys.executable).with_name("agentkit")),
        *("serve", str(folder / "receptionist.py"), "--port", str(ours.port)),
        *("--audiosocket", f"127.0.0.1:{ours.audiosocket}", "--records", str(ours.records)),
        *("--flux", "local", "--tts", "local/pico", "--llm", f"local/script:{folder}/script.toml"),
    ]
    # Nobody's own settings decide here.
    kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    process = processes.start(command, ours.output, kept)
    try:
        deadline = time.monotonic() + STARTING
        while not is_healthy(ours.port):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start:\n{ours.output.read_text()}")
            time.sleep(POLL)
        yield ours
    finally:
        processes.stop(process)


def is_healthy(port: int) -> bool:
    with contextlib.suppress(OSError):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    return False


async def lay_agent(asterisk: Asterisk, serving: Serving, kind: str) -> str:
    """An extension that connects a call to the server."""
    call = uuid4()
    if kind == "application":
        step = dialplan.run_audiosocket("127.0.0.1", serving.audiosocket, call)
    elif kind == "slin16":
        step = dialplan.dial_audiosocket("127.0.0.1", serving.audiosocket, call, "slin16")
    else:
        url = f"ws://127.0.0.1:{serving.port}/asterisk/media"
        step = dialplan.dial_websocket(await asterisk.connects(url), "ulaw", "json")
    return await asterisk.extend(dialplan.answer(), step, dialplan.hang_up())


async def record_of(serving: Serving, before: set[Path]) -> Record:
    """The record of the call that was held since, once it is complete."""
    while True:
        for path in set(serving.records.glob("*.jsonl")) - before:
            record = read_record(path)
            if record.ended is not None:
                return record
        await asyncio.sleep(POLL)


def is_loud(samples: sound.Samples, begin: float, end: float) -> bool:
    """Whether there is a sound between these times, in seconds."""
    part = samples[round(begin * sound.RATE) : round(end * sound.RATE)]
    return sound.loud(part, above=300) is not None


@pytest.mark.parametrize("kind", ["application", "slin16", "websocket"])
async def test_a_caller_breaks_in_asks_and_is_answered(
    asterisk: Asterisk, serving: Serving, kind: str
) -> None:
    before = set(serving.records.glob("*.jsonl"))
    agent = await lay_agent(asterisk, serving, kind)
    caller = await asterisk.caller(BREAKS_IN, QUESTION, 5.0)
    await asterisk.originate(caller, agent)
    await caller.recorded()
    record = await record_of(serving, before)

    events = [event for _, event, _ in record.entries]
    turns = [event.text.lower() for event in events if isinstance(event, TurnEnded)]
    assert any("folder" in text for text in turns), turns
    commands = [command for _, _, given in record.entries for command in given]
    greeting, *_, answer = [each for each in commands if isinstance(each, ReplyEnded)]
    assert greeting.interrupted
    assert greeting.heard
    assert GREETING.startswith(greeting.heard)
    assert greeting.heard != GREETING
    assert (answer.heard, answer.interrupted) == (ANSWER, False)
    assert record.ended == "caller hung up"

    said, heard = sound.read(caller.said), sound.read(caller.heard)
    spoken = sound.loud(said)
    assert spoken is not None
    begin, end = spoken
    assert is_loud(heard, 0.5, begin)
    assert not is_loud(heard, begin + 1.5, end)
    assert is_loud(heard, end, end + 3.0)
