"""The command ``agentkit talk``: its flags, and the conversation."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from agentkit.agent import Agent
from agentkit.conversing import backend_flags, backends_for, leave_behind, session_for, tell
from agentkit.errors import UsageError
from agentkit.loading import load_agent
from agentkit.observe import LiveView
from agentkit.session import CallRecord, Session
from agentkit.talk.typed import TypedSource
from agentkit.talk.view import TalkView
from agentkit.transports.desktop import DesktopTransport

if TYPE_CHECKING:
    from agentkit.backends import Backends
    from agentkit.session.session import Observer

SWITCH = 0.001
"""Seconds after which a thread of Python's lets another one on; 0.005 if nobody asks."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    talk = commands.add_parser("talk", help="talk with it here: microphone and loudspeaker")
    talk.add_argument("agent", metavar="AGENT", help="file.py, file.py:Class or module:Class")
    for way, what in (("input", "microphone"), ("output", "loudspeaker")):
        talk.add_argument(
            f"--{way}",
            metavar="DEVICE",
            help=f"the {what}: an index of `agentkit devices`, a name or a part of one",
        )
    duplex = talk.add_mutually_exclusive_group()
    duplex.add_argument(
        "--full-duplex",
        dest="duplex",
        action="store_const",
        const="full",
        help="talk over it at any time: its echo is taken out of what the microphone hears"
        " (default where the echo canceller is installed)",
    )
    duplex.add_argument(
        "--half-duplex",
        dest="duplex",
        action="store_const",
        const="half",
        help="it does not listen while it speaks",
    )
    talk.add_argument(
        "--buffer",
        type=float,
        default=20.0,
        metavar="MS",
        help="after an interruption it is silent within two of them; 10 to 200, longer if it"
        " stutters (default: 20)",
    )
    talk.add_argument(
        "--plain",
        action="store_true",
        help="plain lines, as where the output is no terminal: no levels, no keys",
    )
    backend_flags(talk, Path("out/talk"))
    talk.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Hold the conversation; return the exit status."""
    record = asyncio.run(_talk(given, load_agent(given.agent)))
    return 1 if record.errors or record.reason == "transport failed" else 0


async def _talk(given: argparse.Namespace, agent_class: type[Agent]) -> CallRecord:
    out: Path = given.out
    async with backends_for(given, agent_class) as backends:
        desk = DesktopTransport(
            input=given.input,
            output=given.output,
            duplex=given.duplex,
            voice=backends.tts.format,
            buffer=given.buffer / 1000,
            recording=out / "call.wav",
        )
        async with aclosing(desk):
            await desk.connect()
            tell(f"{desk.describe()}\nCtrl-C ends the conversation")
            source = TypedSource(backends.source())
            agent = agent_class()
            with way_for_sound():
                record = await _converse(agent, desk, source, backends, out, plain=given.plain)
    leave_behind(out, record)
    return record


@contextlib.contextmanager
def way_for_sound() -> Iterator[None]:
    """Let the sound card's threads wait less for Python, once all is loaded.

    The loudspeaker's asks for sound every 10 ms and has 20 in hand. It waits for whoever computes,
    and for the garbage collector, which would go through all that was loaded: 15 ms.
    """
    switch = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(switch)


async def _converse(
    agent: Agent,
    desk: DesktopTransport,
    source: TypedSource,
    backends: Backends,
    out: Path,
    *,
    plain: bool,
) -> CallRecord:
    """Hold the conversation, seen on a screen of its own where there is a terminal for it."""
    if plain or not has_screen():
        observers: list[Observer] = [LiveView()]
        async with session_for(
            agent, desk, backends, out, source=source, observers=observers
        ) as session:
            with signals(Leaving(session, desk)):
                return await session.run()
    from agentkit.talk.screen import Screen

    view = TalkView()
    async with session_for(agent, desk, backends, out, source=source, observers=[view]) as session:
        leaving = Leaving(session, desk)
        screen = Screen(
            view,
            session,
            type_line=source.type_line,
            leave=leaving.ask,
            levels=lambda: (desk.level("input"), desk.level("output")),
            duplex="echo canceller" if desk.duplex == "full" else "half duplex",
        )
        with signals(leaving), screen:
            return await session.run()


def has_screen() -> bool:
    """Whether a screen can be had: there is a terminal, of the kind that systems but Windows have.

    There it is plain lines.
    """
    try:
        from agentkit.talk.terminal import Terminal
    except ImportError:  # no termios
        return False
    return Terminal.usable()


class Leaving:
    """How the one at the desk ends the conversation: with a farewell; asked again, at once.

    Args:
        session: the conversation.
        desk: its caller's side.
    """

    def __init__(self, session: Session, desk: DesktopTransport) -> None:
        self.asked = False
        self._session = session
        self._desk = desk

    def ask(self) -> None:
        """They are done."""
        if self.asked:
            self.at_once()
            return
        self.asked = True
        farewell = self._session.agent.farewell
        try:
            self._session.interrupt()
            if farewell:
                self._session.say(farewell)
            self._session.hang_up("caller hung up")
        except UsageError:  # it has not begun, or is over
            self.at_once()

    def at_once(self) -> None:
        """They do not want to hear more."""
        self.asked = True
        self._desk.call_is_over()


@contextlib.contextmanager
def signals(leaving: Leaving) -> Iterator[None]:
    """Ctrl-C ends the call, again at once, and the third time all. SIGTERM and SIGHUP: at once.

    On Windows Ctrl-C ends all.
    """
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if leaving.asked:
            loop.remove_signal_handler(signal.SIGINT)
        leaving.ask()

    handlers: dict[str, Callable[[], None]] = {
        "SIGINT": interrupted,
        "SIGTERM": leaving.at_once,
        "SIGHUP": leaving.at_once,
    }
    known = {
        number: handler
        for name, handler in handlers.items()
        if (number := getattr(signal, name, None)) is not None
    }
    with contextlib.suppress(NotImplementedError):
        for number, handler in known.items():
            loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in known:
                loop.remove_signal_handler(number)
