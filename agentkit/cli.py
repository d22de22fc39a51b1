"""The command line: ``agentkit demo``, ``run``, ``talk``, ``serve``, ``call`` and others."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentkit import __version__, plugins
from agentkit.agent import Agent
from agentkit.audio import AudioFormat
from agentkit.backends import Backends
from agentkit.config import Settings
from agentkit.conversing import backend_choices, backend_flags, backend_names, converse
from agentkit.errors import AgentkitError, ConfigError
from agentkit.loading import load_agent
from agentkit.observe import read_record, redact, replay, report_html, write_record
from agentkit.observe.log import LEVELS, configure_logging
from agentkit.talk.command import add_parser as add_talk

if TYPE_CHECKING:
    from agentkit.transports.base import Transport
    from agentkit.transports.files import Cue, FileTransport
    from agentkit.tts.base import TTS

EXAMPLES = Path(__file__).parent.parent / "examples"
CALLER = AudioFormat("linear16", 16000)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 for a failure, 2 for a wrong command line."""
    given = _parser().parse_args(argv)
    configure_logging(given.log or "warning")
    run: Callable[[argparse.Namespace], int] = given.run
    try:
        return run(given)
    except AgentkitError as error:
        print(f"agentkit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agentkit",
        description="Voice agents that draft their reply while the caller is still finishing.",
    )
    parser.add_argument("--version", action="version", version=f"agentkit {__version__}")
    parser.add_argument(
        "--log", choices=LEVELS, help="how much to log (default: warning; for serve: info)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="a spoken conversation on this machine, offline")
    demo.add_argument(
        "agent", nargs="?", metavar="AGENT", help="file.py, file.py:Class or module:Class"
    )
    demo.add_argument("--cues", type=Path, help="what the caller says, and when (TOML)")
    backend_flags(demo, Path("out/demo"))
    demo.set_defaults(run=_demo)

    run = commands.add_parser("run", help="a call from a recording")
    run.add_argument("agent", metavar="AGENT", help="file.py, file.py:Class or module:Class")
    run.add_argument("--audio", type=Path, required=True, help="the caller, as a WAV file")
    backend_flags(run, Path("out/run"))
    run.set_defaults(run=_run)

    _desk_parsers(commands)
    _phone_parsers(commands)

    flux = commands.add_parser("flux", help="the offline engine as a Flux-compatible server")
    flux.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    flux.add_argument("--port", type=int, default=8765, help="default: 8765")
    flux.add_argument(
        "--ears", type=Path, metavar="FOLDER", help="another recogniser's files, as converted"
    )
    flux.set_defaults(run=_flux)

    listed = commands.add_parser("plugins", help="the backends that are installed")
    listed.set_defaults(run=_plugins)

    report = commands.add_parser("report", help="a call's record as a page to look at and hear")
    report.add_argument("record", type=Path, metavar="RECORD", help="as demo, run and serve write")
    report.add_argument(
        "--audio",
        type=Path,
        metavar="FILE.wav",
        help="the call's sound, caller left and agent right: it is put into the page",
    )
    report.add_argument(
        "--out",
        type=Path,
        metavar="FILE.html",
        help="default: beside the record, with its name; an older one is replaced",
    )
    report.set_defaults(run=_report)

    again = commands.add_parser("replay", help="run a record's events through the machine again")
    again.add_argument("record", type=Path, metavar="RECORD")
    again.add_argument(
        "--redacted", type=Path, metavar="OUT", help="write a copy with other words, which replays"
    )
    again.set_defaults(run=_replay)
    return parser


def _desk_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    add_talk(commands)
    devices = commands.add_parser("devices", help="the microphones and loudspeakers here")
    devices.set_defaults(run=_devices)


def _phone_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser("serve", help="answer phone calls")
    serve.add_argument("agent", metavar="AGENT", help="file.py, file.py:Class or module:Class")
    serve.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    serve.add_argument("--port", type=int, default=8080, help="default: 8080")
    serve.add_argument(
        "--audiosocket", type=_address, metavar="HOST:PORT", help="for Asterisk's AudioSocket, too"
    )
    serve.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    serve.add_argument(
        "--drain",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="after SIGTERM, how long calls have to end by themselves (default: 60)",
    )
    serve.add_argument(
        "--state", type=Path, metavar="FILE", help="shared with other servers on this machine"
    )
    serve.add_argument(
        "--records",
        type=Path,
        metavar="DIR",
        help="write each call's record there: it holds what was said",
    )
    serve.add_argument(
        "--log-words", action="store_true", help="log what is said: it is personal data"
    )
    page = "who may talk with it in a browser while there is no password (default: local)"
    serve.add_argument("--web", choices=("local", "open", "off"), default="local", help=page)
    backend_names(serve)
    serve.set_defaults(run=_serve)

    call = commands.add_parser("call", help="have a number called; a running server answers")
    call.add_argument("to", metavar="NUMBER", help="as +15551234567")
    call.add_argument("--from", dest="caller", default="", metavar="NUMBER", help="your own number")
    call.add_argument("--carrier", default="", help="default: the one whose keys are set")
    call.add_argument(
        "--unchecked", action="store_true", help="do not ask first whether the server is there"
    )
    call.set_defaults(run=_place_call)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


# ------------------------------------------------------------------------------------ commands


def _demo(given: argparse.Namespace) -> int:
    from agentkit.transports.files import load_cues

    agent = load_agent(given.agent or str(_example("receptionist.py")))
    cues = load_cues(given.cues or _example("demo", "cues.toml"))
    return asyncio.run(_call(given, agent, cues))


def _run(given: argparse.Namespace) -> int:
    from agentkit.transports.files import At, Cue

    if not given.audio.is_file():
        raise ConfigError("--audio", f"there is no file {given.audio}")
    cue = Cue(given.audio, At(0.0))
    return asyncio.run(_call(given, load_agent(given.agent), [cue]))


def _example(*parts: str) -> Path:
    path = EXAMPLES.joinpath(*parts)
    if not path.is_file():
        raise ConfigError(
            "demo", f"there is no {path}: run it in a checkout, or name an AGENT and --cues"
        )
    return path


async def _call(given: argparse.Namespace, agent_class: type[Agent], cues: Sequence[Cue]) -> int:
    """Hold one call with a caller made of cues."""

    async def reach(backends: Backends, recording: Path) -> Transport:
        return await _caller(cues, backends, recording)

    record = await converse(given, agent_class, reach)
    return 0 if record.turns and not record.errors else 1


async def _caller(cues: Sequence[Cue], backends: Backends, recording: Path) -> FileTransport:
    from agentkit.transports.files import FileTransport

    speak: Callable[[str], Awaitable[bytes]] | None = None
    if any(cue.text is not None for cue in cues):
        voice = await asyncio.to_thread(plugins.load_tts, "local/pico:en-GB")

        async def speak(text: str) -> bytes:
            return await _spoken(voice, text)

    return FileTransport(
        cues,
        recording=recording,
        input=CALLER,
        output=backends.tts.format,
        speak=speak,
        linger=3.0,
    )


async def _spoken(voice: TTS, text: str) -> bytes:
    """A text in another voice than the agent's, as the caller's line carries it."""
    from agentkit.audio.resample import convert
    from agentkit.tts.base import SpeechAudio

    stream = voice.open()
    stream.push(text)
    stream.end()
    made = b"".join([event.data async for event in stream if isinstance(event, SpeechAudio)])
    return convert(made, voice.format, CALLER)


def _devices(_given: argparse.Namespace) -> int:
    from agentkit.transports.desktop import device_table, list_devices

    print(device_table(list_devices()))
    return 0


def _serve(given: argparse.Namespace) -> int:
    server = _needs_serve("agentkit.server.run")
    if given.workers < 1:
        raise ConfigError("--workers", "has to be 1 or more")
    options = server.ServeOptions(
        agent=given.agent,
        host=given.host,
        port=given.port,
        workers=given.workers,
        audiosocket=given.audiosocket,
        drain=given.drain,
        state=given.state,
        records=given.records,
        log=given.log or "info",
        log_words=given.log_words,
        flags=backend_choices(given),
        web=given.web,
    )
    status: int = server.serve(options)
    return status


def _place_call(given: argparse.Namespace) -> int:
    dial = _needs_serve("agentkit.server.dial")
    settings = Settings.load(env=os.environ, folder=Path.cwd())
    call = asyncio.run(
        dial.place_call(
            settings,
            given.to,
            carrier=given.carrier,
            caller=given.caller,
            check=not given.unchecked,
        )
    )
    print(f"calling; the carrier's id of the call is {call}")
    return 0


def _needs_serve(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("agentkit"):
            raise
        raise ConfigError(
            "serve", f"{error.name} is not installed: pip install 'agentkit[serve]'"
        ) from error


def _flux(given: argparse.Namespace) -> int:
    engine = plugins.load("agentkit.flux", "local")

    async def serve() -> None:
        async with engine(given.host, given.port, ears=given.ears) as server:
            print(f"listening on {server.url}; end with Ctrl-C", flush=True)
            await asyncio.Event().wait()

    asyncio.run(serve())
    return 0


def _plugins(_given: argparse.Namespace) -> int:
    for group in plugins.GROUPS:
        print(group)
        for plugin in plugins.available(group):
            print(f"  {plugin.name:<10} {plugin.package} {plugin.version}  ({plugin.target})")
    return 0


def _report(given: argparse.Namespace) -> int:
    record = read_record(given.record)
    out: Path = given.out or given.record.with_suffix(".html")
    if out.resolve() in {path.resolve() for path in (given.record, given.audio) if path}:
        raise ConfigError("--out", f"{out} is what the report is made of: name another file")
    page = report_html(record, given.audio)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError("--out", f"{out} cannot be written: {error.strerror}") from error
    sound = "its sound in it" if given.audio else "without sound: --audio puts it in"
    print(f"{out} ({out.stat().st_size / 1000:,.0f} kB, {sound}); it holds what was said")
    return 0


def _replay(given: argparse.Namespace) -> int:
    from agentkit.core.machine import TurnMachine

    record = read_record(given.record)
    if given.redacted is not None:
        record = redact(record)
        write_record(given.redacted, record)
    difference = replay(record, TurnMachine)
    if difference is None:
        print(f"{len(record.entries)} events, the same commands each time")
        return 0
    print(f"{given.record}, line {difference.line}: {type(difference.event).__name__}")
    for label, commands in (("recorded", difference.recorded), ("replayed", difference.replayed)):
        print(f"  {label}:")
        for command in commands:
            print(f"    {command}")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
