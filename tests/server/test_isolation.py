"""What goes wrong in one call stays in it; calls share nothing; the log keeps its secrets."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog

from agentkit.agent import Agent
from agentkit.core.history import UserMessage
from agentkit.errors import LLMError, TransportError
from agentkit.llm.base import LLMRequest
from agentkit.observe.log import configure_logging
from agentkit.server.desk import Rules
from agentkit.session import Turn
from agentkit.testing.backends import ScriptedLLM, ScriptedReply
from agentkit.testing.carriers import FakeCarrierRest
from agentkit.testing.clock import in_virtual_time
from tests.server.reception import (
    JAMBONZ,
    PLIVO,
    SECRET,
    SIGNALWIRE,
    TELNYX,
    TWILIO,
    WITH_WEBHOOK,
    Line,
    Receptionist,
    calling,
    control_of,
    secrets_of,
    serving,
    signing,
    until,
)


class Broken(Receptionist):
    """Raises where its first caller's parameter says."""

    @property
    def where(self) -> str:
        return self.session.call.parameters.get("where", "")

    async def on_start(self) -> None:
        if self.where == "on_start":
            raise RuntimeError("broken")

    async def reply(self, turn: Turn) -> AsyncIterator[str]:  # type: ignore[override]
        if self.where == "reply":
            raise RuntimeError("broken")
        yield "Good."

    async def on_turn(self, turn: Turn) -> None:
        if self.where == "on_turn":
            raise RuntimeError("broken")

    async def on_end(self, reason: str) -> None:
        await super().on_end(reason)
        if self.where == "on_end":
            raise RuntimeError("broken")

    def spoken(self, text: str) -> str:
        if self.where == "spoken":
            raise RuntimeError("broken")
        return text


@pytest.mark.parametrize("where", ["on_start", "reply", "on_turn", "on_end", "spoken"])
@in_virtual_time(until=60)
async def test_an_agent_that_raises_disturbs_no_other_call(where: str) -> None:
    async with serving(Broken) as server:
        async with (
            calling(TWILIO, server) as good,
            calling(TWILIO, server, f"?where={where}") as bad,
        ):
            await good.until_quiet(0.1)
            for call in (0, 1):
                ears = await server.ears(call)
                ears.start("hi")
                ears.end("hi there")
            await until(lambda: server.spoken("Good.") in good.heard_audio())
            await bad.hang_up()
            await until(lambda: server.desk.state.calls() == 1)
            assert good.ended is None
        await server.all_over()
        assert (await server.get("/healthz")).status == 200


@in_virtual_time(until=60)
async def test_an_agent_that_cannot_be_made_ends_its_own_call_alone() -> None:
    made: list[int] = []

    def make() -> Agent:
        made.append(1)
        if len(made) == 2:
            raise RuntimeError("cannot be made")
        return Receptionist()

    async with FakeCarrierRest() as rest:
        async with serving(make, controls=control_of(TWILIO, rest)) as server:
            async with calling(TWILIO, server) as good:
                await good.until_quiet(0.1)
                async with calling(TWILIO, server) as bad:
                    rest.watch(bad)
                    await bad.until_ended()
                await until(lambda: server.desk.state.calls() == 1)
                assert good.ended is None
            async with calling(TWILIO, server) as third:
                await third.until_quiet(0.1)
        assert [one.call for one in rest.requests] == [bad.call]


@in_virtual_time(until=60)
async def test_two_calls_at_once_share_nothing() -> None:
    def echo(request: LLMRequest) -> str:
        said = [one.text for one in request.messages if isinstance(one, UserMessage)]
        assert len(said) == 1
        return said[0].upper()

    async with serving(llm=ScriptedLLM(echo)) as server:
        async with calling(TWILIO, server) as one, calling(PLIVO, server) as other:
            calls = [(one, "apples please", b"\x11\x12"), (other, "pears for me", b"\x21\x22")]
            await one.until_quiet(0.1)
            for number, (caller, text, sound) in enumerate(calls):
                ears = await server.ears(number)
                caller.say(sound * 400)
                ears.start(text)
                ears.end(text)
            for caller, text, _ in calls:
                await until(lambda c=caller, t=text: server.spoken(t.upper()) in c.heard_audio())  # type: ignore[misc]
            await asyncio.sleep(0.5)
            for number, (caller, text, sound) in enumerate(calls):
                other_text, other_sound = calls[1 - number][1:]
                assert server.agents[number].said == [
                    "agent: Hello.",
                    f"caller: {text}",
                    f"agent: {text.upper()}",
                ]
                assert server.spoken(other_text.upper()) not in caller.heard_audio()
                fed = server.sources[number].audio_fed()
                assert sound * 400 in fed
                assert other_sound not in fed


# ---------------------------------------------------------------------------------- transfers


class Clerk(Receptionist):
    """Transfers to whom the webhook's URL says, and tells how that went."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = ""

    async def reply(self, turn: Turn) -> AsyncIterator[str]:  # type: ignore[override]
        await turn.committed()
        try:
            await self.session.transfer("+15557770001")
        except TransportError as error:
            self.refused = str(error)
            yield "No."


each_webhook = pytest.mark.parametrize("line", WITH_WEBHOOK, ids=lambda line: line.name)


@each_webhook
@in_virtual_time(until=60)
async def test_a_transfer_that_is_not_allowed_is_an_error_and_the_call_goes_on(line: Line) -> None:
    async with FakeCarrierRest() as rest:
        async with (
            serving(Clerk, voice=line.voice, controls=control_of(line, rest)) as server,
            calling(line, server) as caller,
        ):
            rest.watch(caller)
            ears = await server.ears()
            await caller.until_quiet(0.1)
            ears.start("connect me")
            ears.end("connect me please")
            await until(lambda: server.spoken("No.") in caller.heard_audio())
            assert "AGENTKIT_TRANSFER_TO" in server.agents[0].refused
            assert "7770001" not in server.agents[0].refused
            assert caller.ended is None
        assert [one.verb for one in rest.requests] == []


@each_webhook
@in_virtual_time(until=60)
async def test_a_transfer_that_is_allowed_is_the_carriers_to_carry_out(line: Line) -> None:
    rules = Rules(may_transfer=lambda to: to == "+15557770001")
    async with FakeCarrierRest() as rest:
        controls = control_of(line, rest)
        async with (
            serving(Clerk, voice=line.voice, controls=controls, rules=rules) as server,
            calling(line, server) as caller,
        ):
            rest.watch(caller)
            ears = await server.ears()
            await caller.until_quiet(0.1)
            ears.start("connect me")
            ears.end("connect me please")
            ended = await caller.until_ended()
            await server.all_over()
        assert ended.how == "carrier ended it"
        assert server.agents[0].reasons == ["transferred"]
        assert [one.verb for one in rest.requests] == ["transfer"]


@each_webhook
@in_virtual_time(until=60)
async def test_only_allowed_destinations_are_answered_to_a_carrier_that_asks(line: Line) -> None:
    rules = Rules(may_transfer=lambda to: to == "+15557770001")
    async with FakeCarrierRest() as rest:
        async with serving(controls=control_of(line, rest), rules=rules) as server:
            path = f"/{line.name}/transfer?to=%2B1555777000"
            assert (await server.get(path + "2")).status == 403
            reply = await server.get(path + "1")
            if line in (SIGNALWIRE, PLIVO, JAMBONZ):
                assert reply.status == 200
                assert b"15557770001" in reply.body
            else:
                assert reply.status == 400


# ---------------------------------------------------------------------------------------- log


PRESSED = "86429753"  # not where it is used: a traceback shows the line


class Talkative(Receptionist):
    async def on_turn(self, turn: Turn) -> None:
        raise ValueError("broken")

    async def on_dtmf(self, digits: str) -> None:
        with pytest.raises(TransportError):
            await self.session.transfer("+15558880002")
        await self.session.send_dtmf(PRESSED)


@pytest.fixture
def at_debug() -> Iterator[io.StringIO]:
    """All that goes to standard error, with the log at its most talkative."""
    told = io.StringIO()
    configure_logging("debug")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(told))
    with contextlib.redirect_stderr(told):
        yield told


@pytest.mark.parametrize("line", [TWILIO, TELNYX, PLIVO], ids=lambda line: line.name)
def test_the_log_holds_neither_numbers_nor_words_nor_keys_nor_secrets(
    line: Line, at_debug: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hidden = call_with_everything_in_it(line)
    text = re.sub(r"T[\d:.]+Z", "", at_debug.getvalue()) + caplog.text  # times are digits, too
    assert "call started" in text
    assert "broken" in text
    for secret in hidden:
        assert secret
        assert secret not in text, secret


@in_virtual_time(until=60)
async def call_with_everything_in_it(line: Line) -> list[str]:
    replies: list[str | ScriptedReply] = [
        "Marmalade it is.",
        ScriptedReply(error=LLMError("refused", failure="auth")),
        "Rhubarb then.",
        "Rhubarb then.",
        "Rhubarb then.",
    ]
    async with FakeCarrierRest() as rest:
        controls = control_of(line, rest)
        given = secrets_of(line)
        options: dict[str, Any] = signing(line)
        async with serving(Talkative, replies=replies, controls=controls, given=given) as server:
            async with calling(line, server, "?plan=platinum", **options) as caller:
                rest.watch(caller)
                ears = await server.ears()
                await caller.until_quiet(0.2)
                ears.start("zebra")
                ears.maybe_end("zebra stripes")
                ears.end("zebra stripes")
                await until(lambda: "agent: Marmalade it is." in server.agents[0].said)
                ears.start("quokka")
                ears.end("quokka smile")
                await asyncio.sleep(1.0)
                rest.fail(500, times=3)
                await caller.press("97531#")
                await caller.faults.malformed()
                await asyncio.sleep(4.0)
                await caller.faults.oversize(70_000)
                await caller.until_ended()
            async with calling(line, server, webhook_signature="wrong", **options):
                pass
            await server.all_over()
            answer = await calling(line, server, **options).ask()
    token = getattr(answer, "parameters", {}).get("token") or answer.url.rpartition("/")[2]  # type: ignore[union-attr]
    numbers = [caller.caller[-7:], caller.callee[-7:], "15558880002"]
    words = ["zebra", "stripes", "quokka", "armalade", "hubarb", "platinum", "Hello."]
    used = caller.parameters.get("token") or caller.media.rpartition("/")[2]
    keys = [value for name, value in line.keys.items() if "TOKEN" in name or "KEY" in name]
    return [*numbers, *words, *keys, "97531", PRESSED, SECRET, token, used]
