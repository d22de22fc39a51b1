"""The carriers' REST interfaces: what is asked is remembered, and done to the fake calls."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from agentkit.testing.carriers import FakeCarrierRest, FakeTwilio
from agentkit.testing.clock import in_virtual_time
from tests.testing.carrier_bots import ALL, Bot, Words

HANG_UP: dict[str, tuple[str, str, dict[str, Any]]] = {
    "twilio": (
        "POST",
        "/2010-04-01/Accounts/AC0/Calls/{call}.json",
        {"data": {"Status": "completed"}},
    ),
    "signalwire": (
        "POST",
        "/api/laml/2010-04-01/Accounts/p/Calls/{call}.json",
        {"data": {"Status": "completed"}},
    ),
    "telnyx": ("POST", "/v2/calls/{call}/actions/hangup", {"json": {}}),
    "plivo": ("DELETE", "/v1/Account/MA0/Call/{call}/", {}),
    "vonage": ("PUT", "/v1/calls/{call}", {"json": {"action": "hangup"}}),
    "jambonz": ("PUT", "/v1/Accounts/a/Calls/{call}", {"json": {"call_status": "completed"}}),
    "asterisk": ("DELETE", "/ari/channels/{call}", {"params": {"reason": "normal"}}),
}
GONE = {"telnyx": 422}
DONE = {"twilio": 200, "signalwire": 200, "telnyx": 200, "jambonz": 202}

each_carrier = pytest.mark.parametrize("words", ALL, ids=lambda words: words.fake.name)


@each_carrier
@in_virtual_time(until=120)
async def test_to_hang_up_ends_the_call_once(words: Words) -> None:
    method, path, body = HANG_UP[words.fake.name]
    async with Bot() as bot, words.fake(bot.url) as caller, FakeCarrierRest([caller]) as rest:
        async with httpx2.AsyncClient(base_url=rest.url, trust_env=False) as client:
            answer = await client.request(method, path.format(call=caller.call), **body)
            assert answer.status_code == DONE.get(words.fake.name, 204)
            assert (await caller.until_ended()).how == "carrier ended it"
            assert caller.is_over
            again = await client.request(method, path.format(call=caller.call), **body)
            assert again.status_code == GONE.get(words.fake.name, 404)
            if words.fake.name == "telnyx":
                assert again.json()["errors"][0]["code"] == "90018"
    assert [each.verb for each in rest.requests] == ["hang up", "hang up"]
    assert {each.call for each in rest.requests} == {caller.call}
    assert bot.closed_with == 1000


@each_carrier
@in_virtual_time(until=120)
async def test_a_call_can_be_over_only_for_the_stream(words: Words) -> None:
    method, path, body = HANG_UP[words.fake.name]
    async with Bot() as bot, words.fake(bot.url) as caller, FakeCarrierRest() as rest:
        rest.watch(caller)
        await bot.until(1)
        await bot.close()
        await caller.until_ended()
        async with httpx2.AsyncClient(base_url=rest.url, trust_env=False) as client:
            answer = await client.request(method, path.format(call=caller.call), **body)
        assert answer.is_success != words.fake.closing_ends_call
        assert caller.is_over
        assert caller.ended is not None
        assert caller.ended.how == "bot closed"


@pytest.mark.parametrize(
    ("method", "path", "body", "carrier", "verb"),
    [
        ("POST", "/2010-04-01/Accounts/A/Calls.json", {"data": {"To": "1"}}, "twilio", "dial"),
        (
            "POST",
            "/2010-04-01/Accounts/A/Calls/C.json",
            {"data": {"Twiml": "<Response/>"}},
            "twilio",
            "transfer",
        ),
        ("POST", "/v2/calls", {"json": {"to": "1"}}, "telnyx", "dial"),
        ("POST", "/v2/calls/C/actions/transfer", {"json": {"to": "1"}}, "telnyx", "transfer"),
        ("POST", "/v2/calls/C/actions/send_dtmf", {"json": {"digits": "1"}}, "telnyx", "dtmf"),
        ("POST", "/v1/Account/M/Call/", {"json": {"to": "1"}}, "plivo", "dial"),
        ("POST", "/v1/Account/M/Call/C/", {"json": {"legs": "aleg"}}, "plivo", "transfer"),
        ("POST", "/v1/Account/M/Call/C/DTMF/", {"json": {"digits": "1"}}, "plivo", "dtmf"),
        ("POST", "/v1/calls", {"json": {"to": []}}, "vonage", "dial"),
        ("PUT", "/v1/calls/C/dtmf", {"json": {"digits": "1"}}, "vonage", "dtmf"),
        (
            "PUT",
            "/v1/calls/C",
            {"json": {"action": "transfer", "destination": {}}},
            "vonage",
            "transfer",
        ),
        ("POST", "/v1/Accounts/a/Calls", {"json": {"to": {}}}, "jambonz", "dial"),
        ("PUT", "/v1/Accounts/a/Calls/C", {"json": {"call_hook": "u"}}, "jambonz", "transfer"),
        ("POST", "/ari/channels", {"params": {"endpoint": "PJSIP/1"}}, "asterisk", "dial"),
        ("POST", "/ari/channels/C/dtmf", {"params": {"dtmf": "1"}}, "asterisk", "dtmf"),
        ("POST", "/ari/channels/C/redirect", {"params": {"endpoint": "x"}}, "asterisk", "transfer"),
        ("GET", "/v1/calls", {}, "", "unknown"),
        ("PUT", "/v1/calls/C", {"json": {"action": "mute"}}, "vonage", "unknown"),
    ],
)
@in_virtual_time(until=120)
async def test_what_is_asked_is_recognised(
    method: str, path: str, body: dict[str, Any], carrier: str, verb: str
) -> None:
    async with FakeCarrierRest() as rest:
        async with httpx2.AsyncClient(base_url=rest.url, trust_env=False) as client:
            answer = await client.request(method, path, headers={"Authorization": "k"}, **body)
        (request,) = rest.requests
        assert (request.carrier, request.verb) == (carrier, verb)
        assert request.call == ("C" if verb not in {"dial"} and carrier else "")
        assert request.authorization == "k"
        assert request.answered == answer.status_code
        given = body.get("json") or body.get("data") or body.get("params") or {}
        assert request.fields == given
        assert answer.is_success == (verb == "dial")
        assert "authorization" not in repr(request)


@in_virtual_time(until=120)
async def test_it_fails_and_delays_as_it_is_told() -> None:
    async with Bot() as bot, FakeTwilio(bot.url) as caller:
        async with FakeCarrierRest([caller], delay=2.0) as rest:
            rest.fail(503, times=2)
            path = f"{rest.url}/2010-04-01/Accounts/A/Calls/{caller.call}.json"
            began = asyncio.get_running_loop().time()
            async with httpx2.AsyncClient(trust_env=False) as client:
                for status in (503, 503, 200):
                    answer = await client.post(path, data={"Status": "completed"})
                    assert answer.status_code == status
            assert asyncio.get_running_loop().time() - began >= 6
            assert (await rest.wait_for("hang up", 3)).answered == 200
