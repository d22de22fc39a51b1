"""Nothing that comes on a socket ends another call, and little ends its own."""

from __future__ import annotations

import asyncio
import json

import pytest

from agentkit.testing.carriers import FakeCarrier
from agentkit.testing.clock import in_virtual_time
from tests.server.reception import (
    ALL,
    TELNYX,
    TWILIO,
    Line,
    Reception,
    calling,
    serving,
    until,
)

each_carrier = pytest.mark.parametrize("line", ALL, ids=lambda line: line.name)
in_json = pytest.mark.parametrize(
    "line", [line for line in ALL if line.fake.is_text], ids=lambda line: line.name
)

DEEP = '{"event":' + "[" * 30_000 + "]" * 30_000 + "}"

ODD = ("null", "0", '""', "[]", "{}", "", " ", DEEP, '{"event":{"event":[]}}', "\u2028")
INNER: tuple[object, ...] = (
    None, 0, "x", [], {}, {"payload": None}, {"digit": "55"}, {"name": 7},
)  # fmt: skip


async def is_alive(server: Reception, caller: FakeCarrier, call: int = 0) -> bool:
    """Whether the call still answers what its caller says."""
    ears = await server.ears(call)
    ears.start("are you")
    ears.end("are you there")
    before = caller.heard_seconds()
    await until(lambda: caller.heard_seconds() > before or caller.ended)
    return caller.ended is None


@each_carrier
@in_virtual_time(until=60)
async def test_a_call_goes_on_through_messages_that_say_nothing(line: Line) -> None:
    async with serving(voice=line.voice) as server, calling(line, server) as caller:
        await caller.until_quiet(0.1)
        faults = caller.faults
        await faults.malformed()
        await faults.not_an_object()
        await faults.binary()
        await faults.unknown_event()
        await faults.bad_base64()
        await faults.wrong_stream()
        await faults.second_start()
        await faults.flood_marks("1:999999999", 200)
        await faults.flood_marks("\u0663", 5)
        await faults.flood_marks("0:" + "9" * 4000, 5)
        for odd in (
            "null",
            "0",
            '""',
            "[]",
            "{}",
            "",
            " ",
            DEEP,
            '{"event":{"event":[]}}',
            "\u2028",
        ):
            await caller.send_raw(odd)
        for event in ("media", "start", "dtmf", "mark", "stop ", "websocket:dtmf", "DTMF_END"):
            for inner in INNER:
                await caller.send_raw(json.dumps({"event": event, event: inner, "type": event}))
        await asyncio.sleep(0.2)
        assert server.agents[0].keys == []
        assert await is_alive(server, caller)
        await caller.hang_up()
        await server.all_over()
        figures = await server.figures()
        assert figures[f'agentkit_oddities_total{{source="{line.name}"}}'] > 50
    assert server.agents[0].reasons == ["caller hung up"]


@each_carrier
@in_virtual_time(until=60)
async def test_a_thousand_unknown_events_are_counted_and_logged_once(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(voice=line.voice) as server, calling(line, server) as caller:
        for _ in range(1000):
            await caller.faults.unknown_event()
        assert await is_alive(server, caller)
        await caller.hang_up()
        await server.all_over()
        figures = await server.figures()
        assert figures[f'agentkit_oddities_total{{source="{line.name}"}}'] >= 1000
    assert capsys.readouterr().out.count("the carrier sent") == 1


@in_json
@in_virtual_time(until=60)
async def test_what_the_network_does_to_media_loses_no_call(line: Line) -> None:
    async with serving(voice=line.voice) as server, calling(line, server, frame=0.02) as caller:
        caller.faults.reorder(5)
        caller.faults.duplicate(5)
        await asyncio.sleep(0.5)
        caller.faults.lose(5)
        caller.gap(1.0)
        await asyncio.sleep(1.5)
        assert await is_alive(server, caller)


@in_virtual_time(until=60)
async def test_media_out_of_order_reaches_flux_in_order() -> None:
    async with serving() as server, calling(TELNYX, server, frame=0.02) as caller:
        ears = await server.ears()
        spoken = bytes(range(1, 101)) * 16  # ten frames, none like another
        caller.faults.reorder(5)
        caller.say(spoken)
        await caller.said()
        await asyncio.sleep(0.2)
        assert spoken in ears.audio_fed()


@each_carrier
@in_virtual_time(until=60)
async def test_a_message_that_is_too_long_ends_its_own_call_alone(line: Line) -> None:
    async with serving(voice=line.voice, replies={"*": "Good."}) as server:
        async with calling(line, server) as good, calling(line, server) as bad:
            await good.until_quiet(0.1)
            await server.agent(1)
            await bad.faults.oversize(65 * 1024)
            ended = await bad.until_ended()
            assert (ended.how, ended.code) == ("bot closed", 1009)
            assert await is_alive(server, good)
            await until(lambda: server.desk.state.calls() == 1)


@in_virtual_time(until=60)
async def test_a_message_just_below_the_limit_is_read() -> None:
    async with serving() as server, calling(TWILIO, server) as caller:
        await caller.faults.oversize(60 * 1024)
        assert await is_alive(server, caller)


@each_carrier
@in_virtual_time(until=60)
async def test_text_that_is_no_utf8_ends_its_own_call_alone(line: Line) -> None:
    async with serving(voice=line.voice, replies={"*": "Good."}) as server:
        async with calling(line, server) as good, calling(line, server) as bad:
            await good.until_quiet(0.1)
            await server.agent(1)
            await bad._open_socket.send(b"\xff\xfe", text=True)
            await bad.until_ended()
            assert await is_alive(server, good)
            await until(lambda: server.desk.state.calls() == 1)
