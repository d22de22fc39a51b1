"""Calls over every carrier, from the webhook to the last word; asserted on what was heard."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentkit.audio.dtmf import tones
from agentkit.session import Turn
from agentkit.testing.backends import ScriptedLLM, ScriptedReply, ScriptedTTS
from agentkit.testing.carriers import FakeCarrierRest
from agentkit.testing.clock import VirtualLoop, in_virtual_time
from agentkit.testing.flux import ScriptedFlux
from tests.server.reception import (
    ALL,
    ASTERISK,
    LINEAR,
    MULAW,
    TWILIO,
    VONAGE,
    Line,
    Receptionist,
    calling,
    control_of,
    secrets_of,
    serving,
    signing,
    until,
)

each_carrier = pytest.mark.parametrize("line", ALL, ids=lambda line: line.name)
in_mulaw = pytest.mark.parametrize(
    "line", [line for line in ALL if line.voice == MULAW], ids=lambda line: line.name
)


class Polite(Receptionist):
    """Hangs up after its first answer."""

    async def reply(self, turn: Turn) -> AsyncIterator[str]:  # type: ignore[override]
        yield "Goodbye."
        await turn.committed()
        self.session.hang_up()


@each_carrier
@in_virtual_time(until=60)
async def test_a_call_from_the_signed_webhook_to_the_last_word_of_the_goodbye(line: Line) -> None:
    """The goodbye is heard whole, then the call ends, by one hang-up alone.

    Others left a silent line (pipecat #308, #482, #728), cut the goodbye off (pipecat #1461) or
    hung up twice (pipecat, CHANGELOG).
    """
    async with FakeCarrierRest() as rest:
        controls = control_of(line, rest)
        async with (
            serving(Polite, voice=line.voice, controls=controls, given=secrets_of(line)) as server,
            calling(line, server, frame=0.02, **signing(line)) as caller,
        ):
            rest.watch(caller)
            ears = await server.ears()
            await caller.until_quiet(0.3)
            assert caller.heard_audio() == server.spoken("Hello.")
            assert server.desk.state.calls() == 1
            caller.say(b"\x11\x22" * caller.audio.size(0.1))
            await caller.said()
            ears.start("bye")
            ears.end("bye then")
            await caller.until_ended()
            # Whole frames: the last one may be filled up with silence.
            heard = caller.heard_audio()
            assert heard[len(server.spoken("Hello.")) :].startswith(server.spoken("Goodbye."))
            await server.all_over()
        hung_up = [request.verb for request in rest.requests]
        assert hung_up == (["hang up"] if controls else [])
        assert all(200 <= request.answered < 300 for request in rest.requests)
    assert caller.is_over
    assert caller.protocol_errors == []
    assert server.agents[0].reasons == ["agent hung up"]
    assert server.sources[0].closed


@each_carrier
@in_virtual_time(until=60)
async def test_without_rest_keys_the_socket_is_closed_behind_the_goodbye(line: Line) -> None:
    async with serving(Polite, voice=line.voice) as server, calling(line, server) as caller:
        ears = await server.ears()
        await caller.until_quiet(0.1)
        ears.start("bye")
        ears.end("bye then")
        ended = await caller.until_ended()
        await server.all_over()
    assert ended.how == "bot closed"
    assert server.spoken("Goodbye.") in caller.heard_audio()
    assert caller.protocol_errors == []


@in_mulaw
@in_virtual_time(until=60)
async def test_mulaw_reaches_flux_as_it_came(line: Line) -> None:
    async with (
        ScriptedFlux() as flux,
        serving(flux=flux.url) as server,
        calling(line, server) as caller,
    ):
        call = await flux.connection(0)
        spoken = random.Random(5).randbytes(4000)
        caller.say(spoken)
        await caller.said()
        await call.until(lambda: spoken in call.audio)
    assert call.handshake.values("encoding") == ["mulaw"]
    assert call.handshake.values("sample_rate") == ["8000"]
    assert set(bytes(call.audio).replace(spoken, b"")) <= set(MULAW.silence(0.02))


@in_virtual_time(until=60)
async def test_linear_audio_reaches_flux_at_its_own_rate() -> None:
    async with (
        ScriptedFlux() as flux,
        serving(flux=flux.url, voice=LINEAR) as server,
        calling(VONAGE, server) as caller,
    ):
        call = await flux.connection(0)
        spoken = random.Random(5).randbytes(6400)
        caller.say(spoken)
        await caller.said()
        await call.until(lambda: spoken in call.audio)
    assert call.handshake.values("encoding") == ["linear16"]
    assert call.handshake.values("sample_rate") == ["16000"]


@in_virtual_time(until=60)
async def test_a_voice_at_another_rate_is_heard_in_its_length() -> None:
    tts = ScriptedTTS()  # 16-bit at 16 kHz, to a telephone of 8 kHz mu-law
    async with serving(tts=tts) as server, calling(TWILIO, server) as caller:
        await caller.until_quiet(0.3)
        assert caller.heard_seconds() == pytest.approx(tts.seconds("Hello."), abs=0.03)
    assert caller.protocol_errors == []


@each_carrier
@in_virtual_time(until=60)
async def test_the_agent_is_told_who_calls_whom_and_what_the_webhook_was_asked_with(
    line: Line,
) -> None:
    options: dict[str, Any] = {"parameters": {"campaign": "spring"}} if line is ASTERISK else {}
    path = "" if line is ASTERISK else "?campaign=spring&token=x"
    async with (
        serving(voice=line.voice) as server,
        calling(line, server, path, **options) as caller,
    ):
        info = (await server.agent()).session.call
        assert info.parameters["campaign"] == "spring"
        assert "token" not in info.parameters
        assert info.id == caller.call
        if line is not ASTERISK:
            assert (info.caller.lstrip("+"), info.callee.lstrip("+")) == (
                caller.caller.lstrip("+"),
                caller.callee.lstrip("+"),
            )
        for hidden in (caller.caller.lstrip("+"), "spring"):
            assert hidden not in repr(info)


@each_carrier
@in_virtual_time(until=60)
async def test_keys_that_the_caller_presses_are_one_turn(line: Line) -> None:
    async with serving(voice=line.voice) as server, calling(line, server) as caller:
        await caller.until_quiet(0.1)
        await caller.press("12#")
        await until(lambda: server.llm.requests)
        await caller.until_quiet(0.1, after=caller.events[-1].time)
        assert server.agents[0].keys in (["12#"], ["12"])
        await until(lambda: server.spoken("Good.") in caller.heard_audio())


@each_carrier
@in_virtual_time(until=60)
async def test_keys_that_the_agent_presses_go_each_carriers_way(line: Line) -> None:
    async with FakeCarrierRest() as rest:
        async with (
            serving(voice=line.voice, controls=control_of(line, rest)) as server,
            calling(line, server) as caller,
        ):
            rest.watch(caller)
            await caller.until_quiet(0.1)
            await (await server.agent()).session.send_dtmf("4#")
            if line.dtmf == "message":
                await caller.wait_for("dtmf", 2)
                assert [e.detail for e in caller.events if e.kind == "dtmf"] == ["4", "#"]
            elif line.dtmf == "rest":
                await rest.wait_for("dtmf")
                assert {request.call for request in rest.requests} == {caller.call}
                pressed = "".join(str(request.fields) for request in rest.requests)
                assert pressed.index("4") < pressed.index("#")
            else:
                expected = tones("4#", line.voice)
                await until(lambda: expected in caller.heard_audio())
            assert caller.ended is None
    assert caller.protocol_errors == []


# -------------------------------------------------------------------- the caller hangs up first


@pytest.mark.parametrize(
    ("line", "how"),
    [*((line, "hang_up") for line in ALL), (TWILIO, "drop"), (VONAGE, "drop")],
    ids=lambda value: value.name if isinstance(value, Line) else value,
)
@pytest.mark.parametrize("busy", ["speaking", "thinking", "drafting"])
@in_virtual_time(until=60)
async def test_nothing_stays_open_when_the_caller_hangs_up(line: Line, how: str, busy: str) -> None:
    """Others went on paying for the speech service (Twilio's sample
    speech-assistant-openai-realtime-api-python #36).
    """
    first = 20.0 if busy == "thinking" else 0.0
    text = "One two three four. " * 5
    llm = ScriptedLLM([ScriptedReply(text, first_token=first, per_token=0.2)])
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with (
        ScriptedFlux() as flux,
        serving(llm=llm, voice=line.voice, flux=flux.url) as server,
        calling(line, server) as caller,
    ):
        call = await flux.connection(0)
        await caller.until_quiet(0.1)
        heard = caller.heard_seconds()
        await call.start("well")
        await (call.eager("well then") if busy == "drafting" else call.end("well then"))
        await until(lambda: llm.generations)
        if busy == "speaking":
            await until(lambda: caller.heard_seconds() > heard)
        else:
            await asyncio.sleep(0.3)
        assert llm.generations[0].closed is None
        began = loop.time()
        await getattr(caller, how)()
        with loop.hold():  # what the kernel delays is not the server's fault
            await call.gone()
        await server.all_over()
        assert loop.time() - began <= 1.0
        llm.assert_complete()
        server.tts.assert_complete()
    assert server.agents[0].reasons == ["caller hung up"]
    assert len(flux.calls) == 1
    assert caller.protocol_errors == []
