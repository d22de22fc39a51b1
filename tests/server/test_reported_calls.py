"""What users of other frameworks reported of their phone calls does not happen here.

More of them stand where they belong: `test_interruptions`, `test_calls`, `test_admission`.
"""

from __future__ import annotations

import asyncio

import pytest

from agentkit.audio.frames import first_sound
from agentkit.errors import TTSError
from agentkit.testing.backends import ScriptedTTS
from agentkit.testing.carriers import Connect
from agentkit.testing.clock import in_virtual_time
from tests.server.reception import (
    ALL,
    MULAW,
    PLIVO,
    TWILIO,
    WITH_WEBHOOK,
    Line,
    Receptionist,
    calling,
    request,
    secrets_of,
    serving,
    until,
)

each_carrier = pytest.mark.parametrize("line", ALL, ids=lambda line: line.name)

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen. " * 3


@pytest.mark.parametrize("line", WITH_WEBHOOK, ids=lambda line: line.name)
@in_virtual_time(until=30)
async def test_nothing_keeps_the_line_open_behind_the_stream(line: Line) -> None:
    """A pause behind the stream leaves a silent line when it ends (dograh #627, #704)."""
    async with serving() as server:
        reply = await request(server.port, "POST", f"/{line.name}/voice")
        assert reply.status == 200
        assert b"Pause" not in reply.body
        assert b"pause" not in reply.body
        caller = calling(line, server)
        answer = await caller.ask()
        assert isinstance(answer, Connect)
        assert not answer.keeps_call or not caller.closing_ends_call or line is PLIVO


@each_carrier
@in_virtual_time(until=60)
async def test_audio_that_comes_in_crumbs_is_heard_without_a_gap(line: Line) -> None:
    """Small and irregular pieces make the sound choppy (openai-agents-python #1906, #1926; openclaw
    #52111; mod_audio_stream #94; pipecat-asterisk #5; pipecat PR #3229).
    """
    tts = ScriptedTTS(format=line.voice, chunk=0.013, pace=1.5)
    text = "one two three four five six seven eight."
    async with (
        serving(tts=tts, replies=[text]) as server,
        calling(line, server) as caller,
    ):
        ears = await server.ears()
        await caller.until_quiet(0.3)
        before = asyncio.get_running_loop().time()
        ears.start("go on")
        ears.end("go on please")
        await until(lambda: f"agent: {text}" in server.agents[0].said)
        after = asyncio.get_running_loop().time()
        assert caller.longest_gap((before + 0.3, after)) < 0.001
        frame = caller.audio.size(0.02)
        sizes = {int(one.detail) for one in caller.events if one.kind == "media"}
        assert {size % frame for size in sizes} == {0}
    assert caller.protocol_errors == []


@each_carrier
@in_virtual_time(until=60)
async def test_a_carriers_buffer_is_never_flooded(line: Line) -> None:
    """A long reply made at once delays marks and loses sound (bolna #621)."""
    async with serving(voice=line.voice, replies=[LONG]) as server, calling(line, server) as caller:
        ears = await server.ears()
        await caller.until_quiet(0.3)
        ears.start("tell me")
        ears.end("tell me more")
        await until(lambda: server.llm.requests)
        for _ in range(60):
            await asyncio.sleep(0.1)
            sent = sum(int(one.detail) for one in caller.events if one.kind == "media")
            assert caller.audio.seconds(sent) - caller.heard_seconds() <= 2.0 + 0.12
    assert caller.protocol_errors == []


@each_carrier
@in_virtual_time(until=60)
async def test_marks_are_few(line: Line) -> None:
    """One for each small piece was seen to delay the sound (twilio-samples, speech-assistant)."""
    async with serving(voice=line.voice, replies=[LONG]) as server, calling(line, server) as caller:
        ears = await server.ears()
        await caller.until_quiet(0.3)
        ears.start("tell me")
        ears.end("tell me more")
        await asyncio.sleep(5.0)
        assert caller.count("mark") <= caller.heard_seconds() / 0.1 + 12  # ten a second


@each_carrier
@in_virtual_time(until=60)
async def test_a_voice_that_dies_is_not_said_to_have_spoken(line: Line) -> None:
    """The agent goes mute while the history claims that it spoke (pipecat #5305)."""
    tts = ScriptedTTS(format=line.voice)
    text = "one two three four five six seven eight nine ten eleven twelve."
    async with serving(tts=tts, replies=[text, text]) as server, calling(line, server) as caller:
        ears = await server.ears()
        await caller.until_quiet(0.3)
        before = caller.heard_seconds()
        tts.fail_next(TTSError("died"), after=1.0)
        ears.start("go on")
        ears.end("go on please")
        await until(lambda: any(one.startswith("agent: one") for one in server.agents[0].said))
        await caller.until_quiet(1.0)
        said = [one for one in server.agents[0].said if one.startswith("agent: one")]
        heard = caller.heard_seconds() - before
        words = said[-1].removeprefix("agent: ").removesuffix(" ...")
        assert tts.seconds(words) <= heard + 0.2
        assert caller.ended is None


class Reader(Receptionist):
    greeting = "Your appointment is on Monday at nine in the morning in room seven."


@each_carrier
@in_virtual_time(until=60)
async def test_the_echo_of_the_agent_is_no_interruption(line: Line) -> None:
    """Its own words come back from the caller's loudspeaker: it goes on to its end."""
    async with serving(Reader, voice=line.voice) as server, calling(line, server) as caller:
        ears = await server.ears()
        await asyncio.sleep(1.5)
        ears.start("appointment is on monday")
        await asyncio.sleep(0.5)
        ears.end("appointment is on monday")
        await until(lambda: f"agent: {Reader.greeting}" in server.agents[0].said)
        assert server.llm.requests == []
    assert caller.protocol_errors == []


@in_virtual_time(until=60)
async def test_an_open_socket_costs_nobody_anything() -> None:
    """Whoever finds the media socket makes no calls with it: no model, voice or listener is opened
    (openclaw #7001, #21050, #102837; Patter #204; openai-agents-js #1968; hermes-agent #4688).
    """
    given = {name: value for line in ALL for name, value in secrets_of(line).items()}
    async with serving(given=given) as server:
        for line in ALL:
            async with line.fake(server.media(line.name)) as caller:
                ended = await caller.until_ended()
                assert (ended.how, ended.code) in (
                    ("handshake refused", 403),
                    ("bot closed", 1008),
                )
        assert [*server.agents, *server.sources, *server.llm.requests] == []
        assert server.tts.streams == []


@in_virtual_time(until=60)
async def test_the_first_sound_is_the_voices_own() -> None:
    """No click and no header of a file stands before it (CyCoreSystems/audiosocket #21)."""
    async with serving() as server, calling(TWILIO, server) as caller:
        await caller.until_quiet(0.1)
        heard = caller.heard_audio()
        assert heard == server.spoken("Hello.")
        assert first_sound(heard, MULAW) == 0
