"""Calls through Cloudflare: its doors, its audio, and what it leaves out."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from array import array
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
import structlog
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from agentkit import Agent
from agentkit.audio import AudioFormat
from agentkit.core import events as ev
from agentkit.core.history import UserMessage
from agentkit.errors import ConfigError, UsageError
from agentkit.flux import CLOUDFLARE, CloudflareGateway, FluxSource, cloudflare
from agentkit.flux.cloudflare import GatewayToken
from agentkit.session import CallRecord, Session
from agentkit.testing import Cue, FakeTransport, ScriptedFlux, ScriptedLLM, ScriptedTTS
from agentkit.testing.clock import in_virtual_time

OnCall = Callable[..., Any]
TOKEN = "cf-token-0123456789"
MULAW = AudioFormat("mulaw", 8000)
ALAW = AudioFormat("alaw", 8000)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Callable[..., CloudflareGateway]:
    """Makes sources whose gateway is a scripted Flux."""

    def make(flux: ScriptedFlux, **changes: Any) -> CloudflareGateway:
        monkeypatch.setattr(cloudflare, "GATEWAY_URL", flux.url.replace("/v2/listen", "/v1"))
        return CloudflareGateway(
            **{"account_id": "0123abcd", "gateway": "my-gateway", "token": TOKEN, **changes}
        )

    return make


async def run_to_the_end(source: FluxSource) -> list[ev.SourceEvent]:
    events: list[ev.SourceEvent] = []
    await source.run(AudioFormat(), events.append, asyncio.get_running_loop().time)
    return events


async def run_until_connected(source: FluxSource) -> None:
    connected = asyncio.Event()
    running = asyncio.create_task(
        source.run(AudioFormat(), lambda _: connected.set(), asyncio.get_running_loop().time)
    )
    await connected.wait()
    await source.aclose()
    await running


# ------------------------------------------------------------------------------------- the doors


def test_the_gateway_is_where_cloudflare_says() -> None:
    assert cloudflare.GATEWAY_URL == "wss://gateway.ai.cloudflare.com/v1"
    source = CloudflareGateway(account_id="0123abcd", gateway="my-gateway", token=TOKEN)
    where = "wss://gateway.ai.cloudflare.com/v1/0123abcd/my-gateway/workers-ai"
    assert repr(source) == f"FluxSource({where!r})"


@in_virtual_time(until=60)
async def test_the_gateways_url_and_header(gateway: Callable[..., Any]) -> None:
    async with ScriptedFlux(form="cloudflare") as flux:
        await run_until_connected(gateway(flux))
        shake = flux.handshakes[0]
    assert shake.path == "/v1/0123abcd/my-gateway/workers-ai"
    assert shake.raw_query == (
        "model=@cf/deepgram/flux&encoding=linear16&sample_rate=16000"
        "&eot_threshold=0.7&eager_eot_threshold=0.4&eot_timeout_ms=5000"
    )
    assert shake.headers["cf-aig-authorization"] == TOKEN
    assert "authorization" not in shake.headers


@in_virtual_time(until=60)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_gateway_that_wants_bearer_gets_it_and_the_next_call_at_once(
    status: int, gateway: Callable[..., Any]
) -> None:
    token = GatewayToken(TOKEN)
    async with ScriptedFlux(form="cloudflare") as flux:
        flux.refuse(status, "Unauthorized")
        for _ in range(2):
            await run_until_connected(gateway(flux, token=token))
        sent = [shake.headers["cf-aig-authorization"] for shake in flux.handshakes]
    assert sent == [TOKEN, f"Bearer {TOKEN}", f"Bearer {TOKEN}"]


@in_virtual_time(until=60)
async def test_calls_that_begin_together_both_find_the_form(gateway: Callable[..., Any]) -> None:
    token = GatewayToken(TOKEN)
    async with ScriptedFlux(form="cloudflare", accept_delay=0.1) as flux:
        flux.refuse(401, "Unauthorized", times=2)
        await asyncio.gather(*[run_until_connected(gateway(flux, token=token)) for _ in range(2)])
        sent = [shake.headers["cf-aig-authorization"] for shake in flux.handshakes]
    assert sent == [TOKEN] * 2 + [f"Bearer {TOKEN}"] * 2


def test_a_token_may_be_given_with_its_scheme_and_is_not_shown() -> None:
    assert GatewayToken(f" bearer  {TOKEN}\n").value == TOKEN
    assert TOKEN not in repr(GatewayToken(TOKEN))


@in_virtual_time(until=60)
async def test_a_wrong_token_is_tried_in_both_forms_and_told_with_cloudflares_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def refuse(_wire: ServerConnection, request: Request) -> Response:
        seen.append(request.headers["cf-aig-authorization"])
        errors = [{"code": 2009, "message": f"Unauthorized: {seen[-1]}"}]
        body = json.dumps({"success": False, "result": [], "error": errors}).encode()
        headers = Headers({"cf-ray": "8f00-TXL", "Content-Length": str(len(body))})
        return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", headers, body)

    async def never(_wire: ServerConnection) -> None:
        raise AssertionError("let in")

    quiet = logging.getLogger("agentkit.testing.flux")
    async with serve(never, "127.0.0.1", 0, process_request=refuse, logger=quiet) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(cloudflare, "GATEWAY_URL", f"ws://127.0.0.1:{port}/v1")
        source = CloudflareGateway(account_id="a", gateway="g", token=TOKEN)
        (failed,) = await run_to_the_end(source)
    assert seen == [TOKEN, f"Bearer {TOKEN}"]
    assert isinstance(failed, ev.SourceFailed)
    assert "HTTP 401: 2009: Unauthorized: ***; check the token" in failed.message
    assert "8f00-TXL" in failed.message
    shown = capsys.readouterr()
    assert TOKEN not in failed.message + shown.out + shown.err


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"account_id": ""}, "account_id"),
        ({"account_id": "a/../b"}, "account_id"),
        ({"gateway": "my gateway"}, "gateway"),
        ({"gateway": "x" * 65}, "gateway"),
        ({"token": " "}, "token"),
        ({"token": "two words"}, "token"),
        ({"token": "new\nline"}, "token"),
    ],
)
def test_what_cannot_be_right_is_named(changes: dict[str, str], names: str) -> None:
    given: dict[str, Any] = {"account_id": "a", "gateway": "g", "token": TOKEN, **changes}
    with pytest.raises(ConfigError) as caught:
        CloudflareGateway(**given)
    assert caught.value.field == names
    assert "two words" not in str(caught.value)


@in_virtual_time(until=60)
async def test_a_worker_gets_a_bearer_token_and_what_its_address_says(on_call: OnCall) -> None:
    async with (
        ScriptedFlux(form="cloudflare") as flux,
        on_call(
            flux, url=flux.url.replace("/v2/listen", "/flux"), token=TOKEN, dialect=CLOUDFLARE
        ) as call,
    ):
        await call.ready()
        shake = flux.handshakes[0]
    assert shake.path == "/flux"
    assert shake.headers["authorization"] == f"Bearer {TOKEN}"
    assert "cf-aig-authorization" not in shake.headers


# ------------------------------------------------------------------------------ what it leaves out


@in_virtual_time(until=60)
@pytest.mark.parametrize("connected", [False, True])
async def test_audio_waits_for_no_connected_and_one_that_comes_does_no_harm(
    connected: bool, on_call: OnCall
) -> None:
    async with ScriptedFlux(form="cloudflare") as flux:
        flux.connected = connected
        early = AudioFormat().silence(0.4)
        async with on_call(flux, dialect=CLOUDFLARE, early=[early]) as call:
            flow = await call.ready()
            await flow.heard(0.4)
            assert call.now < 1.0
            await flow.start("hello")
            await call.until(ev.TurnStarted)
            assert not call.of(ev.SourceOddity)
            assert len(flux.handshakes) == 1


@in_virtual_time(until=60)
async def test_what_it_does_without_is_told_once_a_call(on_call: OnCall) -> None:
    with structlog.testing.capture_logs() as lines:
        async with (
            ScriptedFlux(form="cloudflare") as flux,
            on_call(flux, dialect=CLOUDFLARE) as call,
        ):
            await (await call.ready()).abort()
            await call.ready(1)
            assert not call.source.can_configure
            assert not call.source.can_end_turn
    told = [line for line in lines if line["event"] == "flux_does_without"]
    assert [line["what"] for line in told] == ["Configure and ForceEndTurn"]
    assert told[0]["server"] == "Cloudflare"


@in_virtual_time(until=60)
async def test_flux_itself_takes_everything_and_nothing_is_told(on_call: OnCall) -> None:
    with structlog.testing.capture_logs() as lines:
        async with ScriptedFlux() as flux, on_call(flux) as call:
            await call.ready()
    assert "flux_does_without" not in [line["event"] for line in lines]


@in_virtual_time(until=60)
async def test_a_server_that_does_not_know_closestream_ends_the_call_as_well(
    on_call: OnCall,
) -> None:
    async with ScriptedFlux(form="cloudflare", knows=()) as flux:
        async with on_call(flux, dialect=CLOUDFLARE) as call:
            flow = await call.ready()
            began = call.now
        assert call.now - began < 1.0
        assert [control["type"] for control in flow.controls] == ["CloseStream"]
    assert not call.of(ev.SourceFailed)


# -------------------------------------------------------------------------------------- its audio


def expanded(code: int, law: str) -> int:
    """A G.711 code word's value, by the recommendation's own steps (ITU-T G.711, tables 1, 2)."""
    if law == "mulaw":
        code ^= 0xFF
        value = ((2 * (code & 15) + 33) << ((code >> 4) & 7)) - 33  # 14 bits
        return (-value if code & 0x80 else value) * 4
    code ^= 0x55
    segment, step = (code >> 4) & 7, code & 15
    value = 2 * step + 1 if segment == 0 else (2 * step + 33) << (segment - 1)  # 13 bits
    return (value if code & 0x80 else -value) * 8


@in_virtual_time(until=60)
@pytest.mark.parametrize("line", [MULAW, ALAW])
async def test_g711_arrives_decoded_byte_for_byte_from_the_first_frame_on(
    line: AudioFormat, on_call: OnCall
) -> None:
    codes = bytes(itertools.islice(itertools.cycle(range(256)), 160 * 20))
    early, later = codes[:480], codes[480:]
    samples = array("h", [expanded(code, line.encoding) for code in codes])
    async with (
        ScriptedFlux(form="cloudflare") as flux,
        on_call(flux, audio=line, dialect=CLOUDFLARE, early=[early]) as call,
    ):
        flow = await call.ready()
        await call.speak(0.34, later)
        await flow.heard(0.4)
        shake = flux.handshakes[0]
        assert shake.values("encoding") == ["linear16"]
        assert shake.values("sample_rate") == ["8000"]
        assert bytes(flow.audio)[: 2 * len(codes)] == samples.tobytes()
        assert {size for _, size in flow.arrivals} == {1280}, "80 ms a message"


@in_virtual_time(until=60)
async def test_flux_itself_is_sent_mulaw_as_it_is(on_call: OnCall) -> None:
    codes = bytes(range(256)) * 5
    async with ScriptedFlux() as flux, on_call(flux, audio=MULAW, early=[codes]) as call:
        flow = await call.ready()
        await flow.heard(0.16)
        assert flux.handshakes[0].values("encoding") == ["mulaw"]
        assert bytes(flow.audio)[:1280] == codes


@in_virtual_time(until=60)
async def test_T14_decoded_audio_is_sent_again_after_a_loss(
    on_call: OnCall, tone: Callable[..., bytes]
) -> None:
    async with (
        ScriptedFlux(form="cloudflare", chatter=False) as flux,
        on_call(flux, audio=MULAW, dialect=CLOUDFLARE) as call,
    ):
        flow = await call.ready()
        await call.speak(0.8)
        await flow.heard(0.8)
        await flow.update("hello", audio_window_end=0.4)
        await call.until(ev.TurnUpdated)
        await flow.abort()
        again = await call.ready(1)
        await again.heard(0.4)
        assert call.source.stats.audio_resent == pytest.approx(0.4, abs=0.001)
        level = array("h", [expanded(tone(0.02, MULAW)[0], "mulaw")]).tobytes()
        assert bytes(again.audio)[:6400] == level * 3200


# -------------------------------------------------------------------------- whole conversations


async def converse(
    script: list[Cue], agent: Agent, *, seconds: float = 3.0
) -> tuple[CallRecord, Any]:
    """A telephone call through a scripted Cloudflare; what was said, and the model's requests."""
    line, llm = FakeTransport(input=MULAW), ScriptedLLM({"*": "Certainly."})
    async with ScriptedFlux(script, form="cloudflare") as flux:
        source = FluxSource(url=flux.url, token=TOKEN, dialect=CLOUDFLARE)
        session = Session(agent, line, flux=source, llm=llm, tts=ScriptedTTS())
        async with session, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            await line.ready()
            for _ in range(round(seconds / 0.02)):
                line.feed(b"\x10" * 160)
                await asyncio.sleep(0.02)
            line.hang_up_remote()
            record = await running
        assert {control["type"] for control in flux.calls[0].controls} == {"CloseStream"}
    return record, llm


def said(record: CallRecord) -> list[str]:
    return [message.text for message in record.messages if isinstance(message, UserMessage)]


@in_virtual_time(until=60)
async def test_T10_an_empty_end_takes_the_last_words_and_commits_their_draft() -> None:
    """cloudflare/agents#1454."""
    script = [
        Cue("start", "book", at=0.4),
        Cue("update", "book a table", at=0.6),
        Cue("eager", "book a table for two", at=0.8),
        Cue("update", "", at=0.96),
        Cue("end", "", at=1.12),
    ]
    record, llm = await converse(script, Agent())
    assert said(record) == ["book a table for two"]
    assert record.drafts == {"begun": 1, "committed": 1}
    assert len(llm.requests) == 1


@in_virtual_time(until=60)
async def test_T10_words_before_a_resume_are_not_the_turns() -> None:
    """cloudflare/agents#1497."""
    script = [
        Cue("start", "book", at=0.4),
        Cue("eager", "book", at=0.6),
        Cue("resume", "", at=0.8),
        Cue("end", "", at=1.12),
    ]
    record, _ = await converse(script, Agent())
    assert said(record) == []
    assert "committed" not in record.drafts


@in_virtual_time(until=60)
async def test_T10_words_since_the_last_resume_are() -> None:
    script = [
        Cue("start", "book", at=0.4),
        Cue("eager", "book", at=0.6),
        Cue("resume", "", at=0.8),
        Cue("update", "cancel it", at=0.96),
        Cue("end", "", at=1.12),
    ]
    record, llm = await converse(script, Agent())
    assert said(record) == ["cancel it"]
    assert [message.text for message in llm.requests[-1].messages][-1] == "cancel it"


@in_virtual_time(until=60)
async def test_a_session_does_without_changes_and_says_so_once() -> None:
    class Careful(Agent):
        async def on_start(self) -> None:
            for _ in range(2):
                async with self.session.listening(eot_threshold=0.9, eot_timeout_ms=8000):
                    pass
            with pytest.raises(UsageError, match="cannot end a turn"):
                self.session.end_turn()

    with structlog.testing.capture_logs() as lines:
        record, _ = await converse(
            [Cue("start", "hello", at=0.4), Cue("end", "hello", at=0.8)], Careful()
        )
    assert said(record) == ["hello"]
    assert not record.errors
    warned = [line for line in lines if "takes no changes" in line["event"]]
    assert len(warned) == 1
