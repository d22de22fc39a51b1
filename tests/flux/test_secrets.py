"""Keys and headers: where they go, and where they never show."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import events as ev
from agentkit.testing import ScriptedFlux
from agentkit.testing.clock import in_virtual_time

OnCall = Callable[..., Any]


@in_virtual_time(until=60)
async def test_secrets_reach_no_log_error_or_repr(
    on_call: OnCall, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets").setLevel(logging.DEBUG)
    secrets = ["key-of-the-house", "cf-token-123456", "url-token-98765"]
    async with (
        ScriptedFlux() as flux,
        on_call(
            flux,
            url=f"{flux.url}?access_token={secrets[2]}",
            key=secrets[0],
            headers={"cf-aig-authorization": f"Bearer {secrets[1]}"},
        ) as call,
    ):
        flow = await call.ready()
        await flow.start("a private matter")
        await call.until(ev.TurnStarted)
        await flow.error("BAD", f"your {secrets[0]} and {secrets[1]} and {secrets[2]}")
        await call.ready(1)
        flux.refuse(400, f"no {secrets[0]} {secrets[1]} {secrets[2]}")
        call.source.reconnect("as the test wants")
        await call.until(ev.SourceFailed)
    sent = flux.handshakes[0]
    assert sent.headers["authorization"] == f"Token {secrets[0]}"
    assert sent.values("access_token") == [secrets[2]]
    output = capsys.readouterr()
    losses = [event for _, event in call.events if not isinstance(event, ev.TurnEvent)]
    shown = "".join((output.out, output.err, caplog.text, repr(call.source), repr(losses)))
    for secret in secrets:
        assert secret not in shown
    assert "a private matter" not in output.out + output.err + caplog.text


@in_virtual_time(until=60)
async def test_headers_can_be_made_for_each_connection(on_call: OnCall) -> None:
    made = 0

    async def headers() -> dict[str, str]:
        nonlocal made
        made += 1
        if made == 2:
            raise RuntimeError("token-service-secret is down")
        return {"Authorization": f"Bearer jwt-number-{made}"}

    async with ScriptedFlux() as flux, on_call(flux, headers=headers) as call:
        flow = await call.ready()
        await flow.abort()
        await call.ready(1)
        assert [shake.headers["authorization"] for shake in flux.handshakes] == [
            "Bearer jwt-number-1",
            "Bearer jwt-number-3",
        ]
        assert "secret" not in repr(call.of(ev.SourceLost))


@in_virtual_time(until=60)
async def test_a_redirect_is_not_followed_with_the_key(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux:
        flux.refuse(302, "elsewhere")
        async with on_call(flux, key="key-of-the-house") as call:
            failed = await call.until(ev.SourceFailed)
        assert "redirect" in failed.message
        assert len(flux.handshakes) == 1
