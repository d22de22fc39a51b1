"""Numbers, keys and headers: where they never show."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from agentkit.callcontrol import CallControl
from agentkit.callcontrol.telnyx import TelnyxControl
from agentkit.callcontrol.twilio import TwilioControl
from agentkit.errors import CallControlError, ConfigError
from agentkit.testing._rest import RestReply, ScriptedRest
from agentkit.testing.clock import in_virtual_time

MakeControl = Callable[..., CallControl]

CARRIERS = ["twilio", "signalwire", "telnyx", "plivo", "vonage", "jambonz"]
NUMBER = "+14155550123"
WEBHOOK = "https://bot.example.com/voice"
NEVER = ("4155550123", "s3cret", "PRIVATE KEY", "Basic ", "Bearer ", "Authorization")


def whole_chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def shown(error: BaseException) -> str:
    chain = list(whole_chain(error))
    assert len(chain) == 1, "a cause would have the request at hand"
    return f"{error} {error!r} {error.args} {vars(error)}"


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("verb", ["hang_up", "transfer", "dial"])
@pytest.mark.parametrize(
    "fault",
    [
        RestReply(400, {"code": 21211, "message": f"Invalid 'To': {NUMBER} by s3cret"}),
        RestReply(422, {"errors": [{"code": NUMBER, "title": f"{NUMBER} s3cret"}]}),
        RestReply(401, f"no {NUMBER} s3cret".encode()),
        RestReply(302, headers={"location": "http://127.0.0.1:9/elsewhere"}),
        RestReply(500),
        RestReply(cut=0),
        RestReply(delay=100),
    ],
    ids=["400", "422", "401", "302", "500", "dropped", "slow"],
)
@in_virtual_time(until=60)
async def test_errors_and_logs_hold_no_number_and_no_secret(
    make_control: MakeControl,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    carrier: str,
    verb: str,
    fault: RestReply,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with ScriptedRest(fault) as server:
        options = {"transfer_url": WEBHOOK} if carrier in ("plivo", "jambonz") else {}
        if carrier == "telnyx":
            options = {"connection_id": "17"}
        control = make_control(carrier, server.base_url, **options)
        error: CallControlError | None = None
        try:
            if verb == "hang_up":
                await control.hang_up("c-1")
            elif verb == "transfer":
                await control.transfer("c-1", NUMBER)
            else:
                await control.dial(NUMBER, caller=NUMBER, answer_url=WEBHOOK)
        except CallControlError as caught:
            error = caught
        await control.aclose()
    ended = verb == "hang_up" and carrier == "vonage" and fault.status == 400
    assert (error is None) == ended
    output = capsys.readouterr()
    logs = "".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    texts = [logs, output.out, output.err, repr(control), repr(vars(control))]
    for text in texts + ([shown(error)] if error else []):
        for secret in NEVER:
            assert secret not in text


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    "to", [f"{NUMBER}<", f"sip:{NUMBER}:s3cret@x.example", f"{NUMBER}\r\nX: s3cret"]
)
@in_virtual_time(until=60)
async def test_a_refused_destination_is_not_repeated(
    make_control: MakeControl, carrier: str, to: str
) -> None:
    async with ScriptedRest() as server:
        control = make_control(carrier, server.base_url)
        with pytest.raises(CallControlError, match="to: must be a number") as caught:
            await control.transfer("c-1", to)
        await control.aclose()
        assert server.connections == 0
        for secret in NEVER:
            assert secret not in shown(caught.value)


def test_a_secret_that_no_header_can_hold_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="copy it anew") as caught:
        TwilioControl("AC1", "s3cret\ntoken")
    assert caught.value.field == "TWILIO_AUTH_TOKEN"
    assert "s3cret" not in shown(caught.value)
    with pytest.raises(ConfigError, match="copy it anew") as caught:
        TelnyxControl("s3cret key")
    assert caught.value.field == "TELNYX_API_KEY"
    assert "s3cret" not in shown(caught.value)
