"""Which streams become calls: tokens, times, limits and draining."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentkit.core.policy import Limits
from agentkit.server.desk import BUSY, Rules
from agentkit.server.tokens import Tokens
from agentkit.testing.carriers import (
    Connect,
    FakeAsterisk,
    FakeCarrier,
    FakeCarrierRest,
    FakeTelnyx,
    FakeTwilio,
    Network,
    Refusal,
)
from agentkit.testing.clock import in_virtual_time
from tests.server.reception import (
    ALL,
    ASTERISK,
    PUBLIC,
    TELNYX,
    TWILIO,
    WITH_WEBHOOK,
    Line,
    Reception,
    Receptionist,
    calling,
    control_of,
    secrets_of,
    serving,
    signing,
)

each_webhook = pytest.mark.parametrize("line", WITH_WEBHOOK, ids=lambda line: line.name)
each_carrier = pytest.mark.parametrize("line", ALL, ids=lambda line: line.name)


async def admitted(line: Line, server: Reception) -> FakeCarrier:
    """A call that the webhook has let in and whose stream has not come yet."""
    caller = calling(line, server, **signing(line))
    answer = await caller.ask()
    assert isinstance(answer, Connect)
    caller.answer = answer
    return caller


def streaming(line: Line, server: Reception, of: FakeCarrier, **options: Any) -> FakeCarrier:
    """The stream of a call that was admitted."""
    assert isinstance(of.answer, Connect)
    url = of.answer.url.replace("wss://bot.example.com", f"ws://{server.host}")
    if line is TWILIO:  # the URL that is signed is the public one
        options = {**signing(line), **options}
    found = line.fake(url, parameters=dict(of.answer.parameters), audio=of.answer.audio, **options)
    found.call = of.call
    return found


async def refused(caller: FakeCarrier, code: int = 1008) -> bool:
    """Whether a stream comes to nothing, with that close code."""
    async with caller:
        ended = await caller.until_ended()
        return (ended.how, ended.code) == ("bot closed", code) and caller.first_heard_at is None


# ------------------------------------------------------------------------------------- tokens


@each_webhook
@in_virtual_time(until=30)
async def test_a_token_lets_one_stream_in_once(line: Line) -> None:
    async with serving(given=secrets_of(line), voice=line.voice) as server:
        call = await admitted(line, server)
        async with streaming(line, server, call) as caller:
            await caller.until_quiet(0.1)
            await caller.hang_up()
        await server.all_over()
        assert await refused(streaming(line, server, call))
    assert len(server.agents) == len(server.sources) == 1


@each_webhook
@in_virtual_time(until=30)
async def test_a_stream_without_a_token_is_refused(line: Line) -> None:
    async with serving(given=secrets_of(line)) as server:
        call = await admitted(line, server)
        assert isinstance(call.answer, Connect)
        bare = Connect(call.answer.url.partition("/media/")[0].removesuffix("/media") + "/media")
        call.answer = bare
        assert await refused(streaming(line, server, call))
    assert server.sources == []
    assert server.llm.warmed == server.tts.warmed == 0


@pytest.mark.parametrize(
    "forged", ["x", "A" * 120, "\u00e9" * 90, "", "A" * 400, "0" * 77 + "=" * 43]
)
@in_virtual_time(until=30)
async def test_a_forged_token_is_refused(forged: str) -> None:
    async with serving(given=secrets_of(TWILIO)) as server:
        caller = FakeTwilio(server.media("twilio"), parameters={"token": forged}, **signing(TWILIO))
        assert await refused(caller)
    assert server.agents == []


@in_virtual_time(until=30)
async def test_a_token_of_which_a_letter_was_changed_is_refused() -> None:
    async with serving(given=secrets_of(TWILIO)) as server:
        call = await admitted(TWILIO, server)
        assert isinstance(call.answer, Connect)
        token = call.answer.parameters["token"]
        for place in (0, 23, 24, 33, 34, 60, 76, 77, 100, 119):
            changed = token[:place] + ("B" if token[place] == "A" else "A") + token[place + 1 :]
            caller = FakeTwilio(
                server.media("twilio"), parameters={"token": changed}, **signing(TWILIO)
            )
            caller.call = call.call
            assert await refused(caller)
        async with streaming(TWILIO, server, call) as right:
            await right.until_quiet(0.1)


@in_virtual_time(until=30)
async def test_a_token_that_is_too_old_is_refused() -> None:
    async with serving(given=secrets_of(TWILIO)) as server:
        server.desk.tokens = Tokens(server.desk.state, lifetime=-1)
        assert await refused(streaming(TWILIO, server, await admitted(TWILIO, server)))


@in_virtual_time(until=30)
async def test_a_token_of_another_call_is_refused_and_used_up() -> None:
    async with serving(given=secrets_of(TWILIO)) as server:
        call = await admitted(TWILIO, server)
        stream = streaming(TWILIO, server, call)
        stream.call = "CA" + "9" * 32
        assert await refused(stream)
        assert await refused(streaming(TWILIO, server, call))


@in_virtual_time(until=30)
async def test_a_token_of_another_carrier_is_refused() -> None:
    given = {**secrets_of(TWILIO), **secrets_of(TELNYX)}
    async with serving(given=given) as server:
        call = await admitted(TWILIO, server)
        assert isinstance(call.answer, Connect)
        token = call.answer.parameters["token"]
        other = FakeTelnyx(f"{server.media('telnyx')}/{token}")
        other.call = call.call
        assert await refused(other)


@in_virtual_time(until=30)
async def test_a_simulator_on_this_machine_needs_no_token_but_a_wrong_one_is_refused() -> None:
    async with serving() as server:
        async with FakeTwilio(server.media("twilio")) as caller:
            await caller.until_quiet(0.1)
        assert await refused(FakeTwilio(server.media("twilio"), parameters={"token": "x"}))


# -------------------------------------------------------------------------------------- times


@each_carrier
@in_virtual_time(until=30)
async def test_a_stream_that_does_not_start_is_closed_in_time(line: Line) -> None:
    async with serving(rules=Rules(start_within=2.0)) as server:
        async with calling(line, server, starts=False) as caller:
            ended = await caller.until_ended()
            assert (ended.how, ended.code) == ("bot closed", 1008)
            assert ended.time == pytest.approx(2.0, abs=0.1)
    assert server.agents == []


@in_virtual_time(until=30)
async def test_media_before_the_start_is_passed_over_but_not_for_ever() -> None:
    async with serving() as server:
        async with FakeTwilio(server.media("twilio"), media_before_start=5) as caller:
            await caller.until_quiet(0.1)
            assert caller.heard_audio() == server.spoken("Hello.")
        assert await refused(FakeTwilio(server.media("twilio"), media_before_start=100))


@each_carrier
@in_virtual_time(until=60)
async def test_a_far_end_that_falls_silent_is_given_up(line: Line) -> None:
    network = Network(marks=lambda name: ())
    async with FakeCarrierRest() as rest:
        rules = Rules(silent_for=4.0)
        controls = control_of(line, rest)
        async with (
            serving(rules=rules, voice=line.voice, controls=controls) as server,
            calling(line, server, network=network, sends_silence=False) as caller,
        ):
            rest.watch(caller)
            ended = await caller.until_ended()
            await server.all_over()
            assert ended.time == pytest.approx(4.0, abs=0.3)
            assert server.agents[0].reasons == ["carrier fell silent"]
        assert [one.verb for one in rest.requests] == ["hang up"] * len(controls)


@each_carrier
@in_virtual_time(until=60)
async def test_a_caller_who_says_nothing_is_not_given_up(line: Line) -> None:
    """With silence suppression nothing comes; the far end answers when it is asked."""
    async with (
        serving(rules=Rules(silent_for=2.0), voice=line.voice) as server,
        calling(line, server, sends_silence=False) as caller,
    ):
        await asyncio.sleep(15.0)
        assert caller.ended is None
        assert server.agents[0].reasons == []
    assert caller.protocol_errors == []


class Brief(Receptionist):
    limits = Limits(longest_call=2.0)


@in_virtual_time(until=60)
async def test_a_call_that_gets_too_long_is_taken_leave_of() -> None:
    async with serving(Brief) as server, calling(TWILIO, server) as caller:
        await caller.until_ended()
        assert caller.heard_audio().endswith(server.spoken("Bye."))
        assert caller.ended is not None
        assert caller.ended.time < 3.0


# ------------------------------------------------------------------------------------- limits


@each_webhook
@in_virtual_time(until=30)
async def test_when_all_lines_are_taken_the_webhook_says_so(line: Line) -> None:
    async with serving(rules=Rules(most_calls=1), voice=line.voice) as server:
        async with calling(line, server) as first:
            await first.until_quiet(0.1)
            async with calling(line, server) as second:
                assert isinstance(second.answer, Refusal)
                assert BUSY in second.answer.sentence or second.answer.why == "reject"
            assert first.ended is None
        await server.all_over()
        async with calling(line, server) as third:
            assert isinstance(third.answer, Connect)
            await third.until_quiet(0.1)


@each_carrier
@in_virtual_time(until=30)
async def test_a_stream_beyond_the_limit_is_turned_away_and_its_call_ended(line: Line) -> None:
    async with FakeCarrierRest() as rest:
        controls = control_of(line, rest)
        rules = Rules(most_calls=1)
        async with serving(rules=rules, voice=line.voice, controls=controls) as server:
            one, other = calling(line, server), calling(line, server)
            rest.watch(one, other)
            if line is not ASTERISK:
                one.answer, other.answer = await one.ask(), await other.ask()
            else:
                one.answer = other.answer = Connect(server.media("asterisk"))
            async with streaming(line, server, one) as first:
                await first.until_quiet(0.1)
                second = streaming(line, server, other)
                rest.watch(second)
                async with second:
                    ended = await second.until_ended()
                assert first.ended is None
        hung_up = [(request.verb, request.call) for request in rest.requests]
        assert hung_up[: len(controls)] == [("hang up", other.call)] * len(controls)
    assert (ended.how, ended.code) == ("bot closed", 1013) or ended.how == "carrier ended it"
    assert len(server.agents) == 1


@in_virtual_time(until=30)
async def test_a_second_stream_of_the_same_call_is_refused_and_does_not_end_the_first() -> None:
    """A webhook that is asked twice, as carriers do when an answer was lost, admits twice."""
    async with FakeCarrierRest() as rest:
        controls = control_of(TWILIO, rest)
        async with serving(controls=controls, given=secrets_of(TWILIO)) as server:
            call = await admitted(TWILIO, server)
            again = await call.ask()
            async with streaming(TWILIO, server, call) as first:
                rest.watch(first)
                await first.until_quiet(0.1)
                call.answer = again
                assert await refused(streaming(TWILIO, server, call), 1013)
                await asyncio.sleep(0.5)
                assert first.ended is None
                assert rest.requests == []
    assert len(server.agents) == 1


@each_webhook
@in_virtual_time(until=30)
async def test_while_draining_calls_go_on_and_new_ones_are_refused(line: Line) -> None:
    async with serving(voice=line.voice) as server, calling(line, server) as first:
        late = calling(line, server)
        late.answer = await late.ask()
        await first.until_quiet(0.1)
        draining = asyncio.create_task(server.desk.drain(5.0))
        await asyncio.sleep(0.1)
        async with calling(line, server) as second:
            assert isinstance(second.answer, Refusal)
        assert await refused(
            FakeAsterisk(server.media("asterisk")), 1013
        )  # nobody let it in before
        async with streaming(line, server, late) as let_in:
            await let_in.until_quiet(0.1)
        assert first.ended is None
        await first.hang_up()
        await draining
        assert server.agents[0].reasons == ["caller hung up"]


@in_virtual_time(until=30)
async def test_at_the_deadline_the_agent_takes_leave() -> None:
    async with serving() as server, calling(TWILIO, server) as caller:
        await caller.until_quiet(0.1)
        draining = asyncio.create_task(server.desk.drain(1.0))
        await caller.until_ended()
        await draining
        assert caller.heard_audio().endswith(server.spoken("Bye."))
        assert server.agents[0].reasons == ["shutdown"]


@in_virtual_time(until=30)
async def test_the_webhooks_url_of_the_socket_is_the_public_one() -> None:
    async with serving(given=secrets_of(TWILIO)) as server:
        call = await admitted(TWILIO, server)
        assert isinstance(call.answer, Connect)
        assert call.answer.url == PUBLIC.replace("https", "wss") + "/twilio/media"
