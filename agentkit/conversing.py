"""One conversation from the command line: what it is held with, and what it leaves behind."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from agentkit.agent import Agent
from agentkit.backends import Backends, open_backends
from agentkit.config import Settings
from agentkit.core.economy import Mode
from agentkit.observe import LiveView, RecordWriter, read_record, report_html
from agentkit.observe.timeline import draw_call
from agentkit.session import CallRecord, Session

if TYPE_CHECKING:
    from agentkit.session.session import Observer
    from agentkit.transports.base import Transport
    from agentkit.turns import TurnSource


def backend_flags(parser: argparse.ArgumentParser, out: Path) -> None:
    """Where what is left behind goes, and `backend_names`."""
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help=f"default: {out}")
    backend_names(parser)


def backend_names(parser: argparse.ArgumentParser) -> None:
    """What listens, thinks and speaks."""
    parser.add_argument("--flux", help="deepgram, cloudflare, local, or a ws:// or wss:// URL")
    parser.add_argument("--llm", metavar="NAME", help="a language model, as backend/model")
    parser.add_argument("--tts", metavar="NAME", help="a voice, as backend/model:voice")
    parser.add_argument(
        "--speculation",
        choices=get_args(Mode),
        help="draft never, at each chance, or where it is worth it (default: as the agent says)",
    )


def backend_choices(given: argparse.Namespace) -> dict[str, str | None]:
    """What the flags of `backend_names` say, as settings."""
    return {name: getattr(given, name) for name in ("flux", "llm", "tts", "speculation")}


@asynccontextmanager
async def backends_for(
    given: argparse.Namespace, agent_class: type[Agent]
) -> AsyncIterator[Backends]:
    """Open what the flags of `backend_flags` and the other settings choose; print which that is."""
    flags = backend_choices(given)
    settings = Settings.load(flags=flags, env=os.environ, folder=Path.cwd(), agent=agent_class)
    tell(settings.describe())
    async with open_backends(settings, agent_class) as backends:
        yield backends


@asynccontextmanager
async def session_for(
    agent: Agent,
    transport: Transport,
    backends: Backends,
    out: Path,
    *,
    source: TurnSource | None = None,
    observers: Sequence[Observer] = (),
) -> AsyncIterator[Session]:
    """A session whose record is written to ``out`` as it goes."""
    with RecordWriter(out / "record.jsonl", agent.policy()) as writer:
        session = Session(
            agent,
            transport,
            flux=source or backends.source(),
            llm=backends.llm,
            tts=backends.tts,
            observers=[*observers, writer],
            economy=backends.economy,
        )
        async with session:
            yield session


async def converse(
    given: argparse.Namespace,
    agent_class: type[Agent],
    reach: Callable[[Backends, Path], Awaitable[Transport]],
) -> CallRecord:
    """Hold one call, shown in plain lines; write what it leaves behind.

    Args:
        given: flags of `backend_flags`.
        agent_class: whose instance answers.
        reach: makes the caller's side, from the backends and where its recording belongs.
    """
    out: Path = given.out
    async with backends_for(given, agent_class) as backends:
        agent, view = agent_class(), LiveView()
        async with (
            aclosing(await reach(backends, out / "call.wav")) as transport,
            session_for(agent, transport, backends, out, observers=[view]) as session,
        ):
            record = await session.run()
    leave_behind(out, record)
    return record


def tell(text: str) -> None:
    """Print a line. Where nobody reads it any more, this and what follows goes nowhere."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError:  # a pipe that was closed, a window that is gone
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def leave_behind(out: Path, record: CallRecord) -> None:
    """Draw what was written of a call; print what became of it, and where all that is."""
    written, sound = read_record(out / "record.jsonl"), out / "call.wav"
    (out / "timeline.svg").write_text(draw_call(written, sound), encoding="utf-8")
    (out / "report.html").write_text(report_html(written, sound), encoding="utf-8")
    tell(totals(record))
    tell(f"{out}/call.wav (caller left, agent right), record.jsonl, timeline.svg, and")
    tell(f"{out}/report.html: open it in a browser to look at the call and to listen to it")


def totals(record: CallRecord) -> str:
    """What became of a call, in a line."""
    drafts = ", ".join(f"{count} {what}" for what, count in record.drafts.items()) or "none"
    reactions = sorted(
        (turn.times.first_sound_sent - turn.times.ended) * 1000
        for turn in record.turns
        if turn.times and turn.times.ended is not None and turn.times.first_sound_sent is not None
    )
    median = f"{reactions[len(reactions) // 2]:.0f} ms" if reactions else "none"
    saved = sum(turn.times.saved for turn in record.turns if turn.times)
    return (
        f"{len(record.turns)} turns; drafts: {drafts}; reaction after the end of the turn: {median}"
        f" (median); saved by drafts: {saved:.1f} s in all; ended: {record.reason}\n"
        f"{record.ledger.describe()}"
    )
