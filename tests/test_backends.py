"""From settings to sources of turns."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent
from agentkit.audio import AudioFormat
from agentkit.backends import open_backends
from agentkit.cli import main
from agentkit.config import Settings
from agentkit.core import events as ev
from agentkit.errors import ConfigError, FluxOptionError
from agentkit.flux import FluxOptions, cloudflare
from agentkit.testing import Cue, ScriptedFlux, ScriptedLLM, ScriptedTTS
from agentkit.testing.clock import in_virtual_time

ACCOUNT, GATEWAY, TOKEN = "0123abcd0123abcd", "my-gateway", "cf-token-0123456789"
WHOLE = {
    "AGENTKIT_FLUX": "cloudflare",
    "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
    "CLOUDFLARE_GATEWAY": GATEWAY,
    "CLOUDFLARE_API_TOKEN": TOKEN,
}
WORKER = {
    "AGENTKIT_FLUX": "cloudflare+wss://flux.mine.workers.dev/flux",
    "CLOUDFLARE_WORKER_TOKEN": TOKEN,
}


class Listener(Agent):
    llm = ScriptedLLM()
    tts = ScriptedTTS()


def at(flux: ScriptedFlux, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings, with the scripted Flux in Cloudflare's place."""
    base = flux.url.removesuffix("/v2/listen")
    monkeypatch.setattr(cloudflare, "GATEWAY_URL", f"{base}/v1")
    if env["AGENTKIT_FLUX"] == "cloudflare":
        return env
    return env | {"AGENTKIT_FLUX": f"cloudflare+{base}/flux"}


async def listen(env: dict[str, str], agent: type[Agent] = Listener) -> None:
    """Open the source that the settings choose, connect it, and close it."""
    connected = asyncio.Event()
    settings = Settings.load(env=env, agent=agent)
    async with open_backends(settings, agent) as backends, asyncio.TaskGroup() as tasks:
        source = backends.source()
        clock = asyncio.get_running_loop().time

        def emit(event: ev.SourceEvent) -> None:
            if isinstance(event, ev.SourceConnected):
                connected.set()

        tasks.create_task(source.run(AudioFormat("mulaw", 8000), emit, clock))
        async with asyncio.timeout(10):
            await connected.wait()
        await source.aclose()


@in_virtual_time(until=60)
@pytest.mark.parametrize(
    ("env", "path", "header", "value"),
    [
        (WHOLE, f"/v1/{ACCOUNT}/{GATEWAY}/workers-ai", "cf-aig-authorization", TOKEN),
        (WORKER, "/flux", "authorization", f"Bearer {TOKEN}"),
    ],
)
async def test_cloudflare_is_reached_by_its_settings(
    env: dict[str, str], path: str, header: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tuned(Listener):
        flux = FluxOptions(eot_threshold=0.8, keyterms=("Rosewood",))

    async with ScriptedFlux(form="cloudflare") as flux:
        await listen(at(flux, env, monkeypatch), Tuned)
        (shake,) = flux.handshakes
    assert shake.path == path
    assert shake.headers[header] == value
    names = {"authorization", "cf-aig-authorization"}
    assert names & shake.headers.keys() == {header}
    assert shake.values("encoding") == ["linear16"]
    assert shake.values("sample_rate") == ["8000"]
    assert shake.values("eot_threshold") == ["0.8"]
    assert shake.values("keyterm") == ["Rosewood"]


@in_virtual_time(until=60)
async def test_the_form_of_the_token_is_found_once_for_all_calls_of_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ScriptedFlux(form="cloudflare") as flux:
        flux.refuse(401, "Unauthorized")
        settings = Settings.load(env=at(flux, WHOLE, monkeypatch), agent=Listener)
        async with open_backends(settings, Listener) as backends:
            for _ in range(2):
                source, connected = backends.source(), asyncio.Event()
                clock = asyncio.get_running_loop().time

                def emit(_: ev.SourceEvent, connected: asyncio.Event = connected) -> None:
                    connected.set()

                running = asyncio.create_task(source.run(AudioFormat(), emit, clock))
                await connected.wait()
                await source.aclose()
                await running
        sent = [shake.headers["cf-aig-authorization"] for shake in flux.handshakes]
    assert sent == [TOKEN, f"Bearer {TOKEN}", f"Bearer {TOKEN}"]


@in_virtual_time(until=60)
@pytest.mark.parametrize(
    ("env", "names"),
    [
        *[({k: v for k, v in WHOLE.items() if k != name}, name) for name in [*WHOLE][1:]],
        ({"AGENTKIT_FLUX": WORKER["AGENTKIT_FLUX"]}, "CLOUDFLARE_WORKER_TOKEN"),
        (WORKER | {"CLOUDFLARE_WORKER_TOKEN": "two words"}, "CLOUDFLARE_WORKER_TOKEN"),
        (WHOLE | {"CLOUDFLARE_API_TOKEN": "two words"}, "CLOUDFLARE_API_TOKEN"),
        (WHOLE | {"CLOUDFLARE_ACCOUNT_ID": "../x"}, "CLOUDFLARE_ACCOUNT_ID"),
        (WHOLE | {"CLOUDFLARE_GATEWAY": "my gateway"}, "CLOUDFLARE_GATEWAY"),
        (WORKER | {"AGENTKIT_FLUX": "cloudflare+wss://a:b@flux.test/flux"}, "AGENTKIT_FLUX"),
        ({"AGENTKIT_FLUX": "wss://flux.test/v1/listen"}, "AGENTKIT_FLUX"),
        ({"AGENTKIT_FLUX": "deepgram"}, "DEEPGRAM_API_KEY"),
        ({"DEEPGRAM_API_KEY": "two words"}, "DEEPGRAM_API_KEY"),
    ],
)
async def test_what_is_missing_or_cannot_be_right_is_named_before_any_call(
    env: dict[str, str], names: str
) -> None:
    settings = Settings.load(env=env, agent=Listener)
    with pytest.raises(ConfigError) as caught:
        async with open_backends(settings, Listener):
            raise AssertionError("opened")
    assert caught.value.field == names
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize("value", ["cloudflare+https://x/flux", "cloudflare+flux", "cloudflare+"])
def test_a_workers_address_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"nor cloudflare\+wss:// and a Worker's address"):
        Settings.load(env={"AGENTKIT_FLUX": value})


@in_virtual_time(until=60)
@pytest.mark.parametrize("env", [WHOLE, WORKER])
async def test_what_the_agent_wants_and_cloudflare_does_not_take_is_told_before_any_call(
    env: dict[str, str],
) -> None:
    class Polyglot(Listener):
        flux = FluxOptions(model="flux-general-multi")

    class German(Listener):
        language = "de-CH"

    class British(Listener):
        language = "en-GB"

    for agent, error, field in (
        (Polyglot, FluxOptionError, "model"),
        (German, ConfigError, "language"),
    ):
        with pytest.raises(error, match="English") as caught:
            async with open_backends(Settings.load(env=env, agent=agent), agent):
                raise AssertionError("opened")
        assert caught.value.field == field
    async with open_backends(Settings.load(env=env, agent=British), British) as backends:
        assert not backends.source().can_configure


# ------------------------------------------------------------------------------ the command line


@contextmanager
def flux_in_a_thread(*script: Cue) -> Iterator[ScriptedFlux]:
    """A scripted Cloudflare for a program that has an event loop of its own."""
    flux = ScriptedFlux(script, form="cloudflare")
    ready, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with flux:
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(5)
        yield flux
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def in_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Sets the environment to this, and no other key."""
    for name in ("DEEPGRAM_API_KEY", "OPENAI_API_KEY", "AGENTKIT_LLM", "AGENTKIT_TTS", *WHOLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def put(env: dict[str, str]) -> None:
        for name, value in env.items():
            monkeypatch.setenv(name, value)

    return put


def test_run_through_the_gateway_says_so_first_and_answers(
    in_env: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    with wave.open("caller.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"\x00\x08" * 16000)
    agent = tmp_path / "quiet.py"
    agent.write_text("from agentkit import Agent\n\n\nclass Quiet(Agent):\n    pass\n")
    script = [Cue("start", "hello", at=0.4), Cue("eager", "hello there", at=0.6), Cue("end", "")]
    with flux_in_a_thread(*script) as flux:
        in_env(at(flux, WHOLE, monkeypatch))
        assert main(["run", str(agent), "--audio", "caller.wav", "--out", "out"]) == 0
        assert flux.handshakes[0].path == f"/v1/{ACCOUNT}/{GATEWAY}/workers-ai"
    shown = capsys.readouterr()
    assert shown.out.startswith("flux: cloudflare (named by the environment) · llm: local/script")
    assert "hello there" in shown.out
    assert "1 turns" in shown.out
    assert TOKEN not in shown.out + shown.err
    assert TOKEN not in Path("out/record.jsonl").read_text()


@pytest.mark.parametrize("command", [["demo"], ["serve", "agentkit.agent:Agent", "--port", "0"]])
def test_a_missing_secret_is_told_in_a_line(command: list[str], in_env: Callable[..., Any]) -> None:
    in_env({name: WHOLE[name] for name in [*WHOLE][:-1]})
    told = subprocess.run(
        [sys.executable, "-m", "agentkit.cli", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 1
    assert told.stdout.startswith("flux: cloudflare (named by the environment)")
    assert (
        "CLOUDFLARE_API_TOKEN: is needed to listen through Cloudflare's AI Gateway" in told.stderr
    )
    assert "Traceback" not in told.stderr
