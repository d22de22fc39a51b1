"""Conversations at the desk: a human voice, the offline engine, and a loudspeaker in the room.

The agent's own words are no help in telling its echo (``echo_words=0``): only the canceller is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import wave
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from agentkit import Agent
from agentkit.backends import open_backends
from agentkit.config import Settings
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.policy import Interruption
from agentkit.observe import read_record
from agentkit.session import CallRecord, Session
from agentkit.transports.desktop import DesktopTransport
from tests.desktop.pulse import Pulse
from tests.desktop.test_transport import AllEars
from tests.talk.terminals import on_terminal

SCRIPT = """
otherwise = "I see. He was a young man."
unprompted = "Are you still there?"
"""
AGENT = """
from agentkit import Agent

class Clerk(Agent):
    greeting = "Hello."
    farewell = "Goodbye."
"""
BUFFER = 0.04
"""Seconds: these tests are not for how quick it is, and may have a busy machine."""
LONG = (
    "Hello and welcome. I will now tell you a rather long story about a man who lived in a small"
    " house by the sea."
)
"""Seven seconds of speech."""


class Storyteller(Agent):
    instructions = "Tell stories."
    greeting = LONG
    interruption = Interruption(echo_words=0)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT)
    return path


class Witness:
    """What happened in a conversation."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []
        self.commands: list[cmd.Command] = []
        self._something = asyncio.Event()

    def __call__(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        self.events.append(event)
        self.commands += commands
        self._something.set()

    @property
    def replies(self) -> list[cmd.ReplyEnded]:
        return [command for command in self.commands if isinstance(command, cmd.ReplyEnded)]

    @property
    def turns(self) -> list[cmd.TurnCommitted]:
        return [command for command in self.commands if isinstance(command, cmd.TurnCommitted)]

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._something.clear()
            await self._something.wait()

    async def hears(self, seconds: float) -> None:
        """Wait until the caller has heard so much of the current reply."""
        await self.until(
            lambda: any(
                isinstance(event, ev.PlayoutReached) and event.seconds >= seconds
                for event in self.events
            )
        )


@contextlib.asynccontextmanager
async def conversation(
    transport: DesktopTransport, script: Path
) -> AsyncIterator[tuple[Witness, asyncio.Task[CallRecord]]]:
    """A storyteller at the desk; the call is ended with this."""
    flags = {"flux": "local", "llm": f"local/script:{script}", "tts": "local/pico"}
    settings = Settings.load(flags=flags, env={}, folder=script.parent, agent=Storyteller)
    witness = Witness()
    async with open_backends(settings, Storyteller) as backends:
        session = Session(
            Storyteller(),
            transport,
            flux=backends.source(),
            llm=backends.llm,
            tts=backends.tts,
            observers=[witness],
        )
        async with session, asyncio.TaskGroup() as tasks:
            call = tasks.create_task(session.run())
            yield witness, call
            transport.call_is_over()
            await call


async def test_the_agent_does_not_interrupt_itself(pulse: Pulse, script: Path) -> None:
    with pulse.acoustics():
        transport = DesktopTransport(duplex="full", buffer=BUFFER)
        async with conversation(transport, script) as (witness, _):
            await witness.until(lambda: bool(witness.replies))
            assert witness.replies[0].heard == LONG
            assert not witness.replies[0].interrupted
        assert witness.turns == []


async def test_without_the_canceller_it_would(pulse: Pulse, script: Path) -> None:
    with pulse.acoustics():
        transport = DesktopTransport(duplex="full", buffer=BUFFER)
        transport._echo = AllEars()
        async with conversation(transport, script) as (witness, _):
            await witness.until(lambda: bool(witness.replies))
            assert witness.replies[0].interrupted


async def test_a_caller_who_talks_over_it_interrupts_it_and_is_answered(
    pulse: Pulse, speech: Path, script: Path
) -> None:
    with pulse.acoustics():
        transport = DesktopTransport(duplex="full", buffer=BUFFER)
        async with conversation(transport, script) as (witness, _):
            await witness.hears(2.0)
            await pulse.say(speech)
            await witness.until(lambda: len(witness.replies) > 1)
        story, *answers = witness.replies
        assert story.interrupted
        assert LONG.startswith(story.heard)
        assert 2.0 * 10 < len(story.heard) < len(LONG)
        # It stopped for the first words, so that the last ones were heard with nothing else.
        assert "man" in witness.turns[-1].text.casefold()
        assert "young man" in answers[-1].heard


async def test_half_duplex_hears_the_caller_only_after_the_agent(
    pulse: Pulse, speech: Path, script: Path
) -> None:
    with pulse.acoustics():
        transport = DesktopTransport(duplex="half", buffer=BUFFER)
        async with conversation(transport, script) as (witness, _):
            await witness.hears(1.0)
            await pulse.say(speech)
            await witness.until(lambda: bool(witness.replies))
            assert witness.replies[0].heard == LONG
            assert not witness.replies[0].interrupted
            assert witness.turns == []
            await asyncio.sleep(0.5)
            await pulse.say(speech)
            await witness.until(lambda: bool(witness.turns))
        assert "young man" in witness.turns[0].text.casefold()


async def test_talk_holds_a_conversation_until_ctrl_c(
    pulse: Pulse, speech: Path, script: Path, tmp_path: Path
) -> None:
    agent, out = tmp_path / "agent.py", tmp_path / "out"
    agent.write_text(AGENT)
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("agentkit")),
        *("talk", str(agent), "--input", "pulse", "--full-duplex", "--out", str(out)),
        *("--flux", "local", "--llm", f"local/script:{script}", "--tts", "local/pico"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | pulse.environment,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        shown = ""
        while "Hello." not in shown:
            line = await process.stdout.readline()
            assert line, (await process.stderr.read()).decode()
            shown += line.decode()
        assert "microphone: pulse, loudspeaker: default; full duplex" in shown
        await pulse.say(speech)
        while "He was a young man" not in shown:
            shown += (await process.stdout.readline()).decode()
        process.send_signal(signal.SIGINT)
        rest, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    assert "agent       Goodbye." in rest.decode()
    assert "ended: caller hung up" in rest.decode()
    record = read_record(out / "record.jsonl")
    assert any(isinstance(event, ev.TurnEnded) for _, event, _ in record.entries)
    with wave.open(str(out / "call.wav")) as file:
        assert file.getnchannels() == 2
        assert file.getnframes() / file.getframerate() > 4
    assert (out / "timeline.svg").exists()


def test_talk_is_seen_in_a_terminal_and_lines_can_be_typed(
    pulse: Pulse, script: Path, tmp_path: Path
) -> None:
    agent, out = tmp_path / "agent.py", tmp_path / "out"
    agent.write_text(AGENT)
    command = (
        str(Path(sys.executable).with_name("agentkit")),
        *("talk", str(agent), "--input", "pulse", "--full-duplex", "--out", str(out)),
        *("--flux", "local", "--llm", f"local/script:{script}", "--tts", "local/pico"),
    )
    with on_terminal(command) as desk:
        desk.until(lambda: desk.screen.alternate)
        desk.until("● speaking")
        assert "echo canceller" in desk.lines[1]
        desk.until("speaker █")
        desk.until("agent   Hello.")
        desk.press("t")
        desk.until("Enter send")
        assert "mic muted" in desk.text
        desk.press("who was he?\r")
        desk.until("you     who was he?")
        desk.until("agent   I see. He was a young man.")
        desk.press("\x1b")
        desk.until("mic ·")
        desk.press("q")
        desk.until("● ending")
        assert desk.end() == 0
        assert not desk.screen.alternate
        assert "agent   Goodbye." in desk.text
        assert "ended: caller hung up" in desk.text
    record = read_record(out / "record.jsonl")
    ended = [event for _, event, _ in record.entries if isinstance(event, ev.TurnEnded)]
    assert [event.text for event in ended] == ["who was he?"]
    with wave.open(str(out / "call.wav")) as file:
        assert file.getnframes() / file.getframerate() > 1
