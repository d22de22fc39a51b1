"""What a connection is asked for with, and what it means when it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.core import events as ev
from agentkit.errors import ConfigError
from agentkit.flux import CLOUDFLARE, FluxOptions, FluxSource
from agentkit.testing import Cue, ScriptedFlux
from agentkit.testing.clock import in_virtual_time

OnCall = Callable[..., Any]
SECRET = "key-of-the-house"


@in_virtual_time(until=60)
async def test_every_term_and_tag_arrives_as_it_was_given(on_call: OnCall) -> None:
    """Merged into one parameter, or encoded twice, they would be other words."""
    terms = ["Rosewood Clinic", "a&b=c", "100%", "é", "x:2", "a+b"]
    tags = ["night shift", "b/c"]
    options = FluxOptions(keyterms=terms, tags=tags, numerals=True, profanity_filter=False)
    async with ScriptedFlux() as flux, on_call(flux, options=options) as call:
        await call.ready()
        shake = flux.handshakes[0]
        assert shake.values("keyterm") == terms
        assert shake.values("tag") == tags
        assert shake.raw_query.count("keyterm=") == len(terms)
        assert shake.values("numerals") == ["true"]
        assert shake.values("profanity_filter") == ["false"]


@in_virtual_time(until=60)
async def test_what_is_not_set_is_not_sent_and_what_is_set_is_sent_once(on_call: OnCall) -> None:
    """A threshold that is written down in two places is right in one of them."""
    unset = FluxOptions(eot_threshold=None, eager_eot_threshold=None, eot_timeout_ms=None)
    own = FluxOptions(eot_threshold=0.83, eager_eot_threshold=0.61, eot_timeout_ms=7300)
    async with ScriptedFlux() as flux:
        for options in (unset, own):
            async with on_call(flux, options=options) as call:
                await call.ready()
        first, second = flux.handshakes
    assert sorted(name for name, _ in first.query) == ["encoding", "model", "sample_rate"]
    assert second.values("eot_threshold") == ["0.83"]
    assert second.values("eager_eot_threshold") == ["0.61"]
    assert second.values("eot_timeout_ms") == ["7300"]


@in_virtual_time(until=60)
async def test_a_gateway_gets_its_own_header_and_no_other(on_call: OnCall) -> None:
    """Cloudflare's gateway is reported to refuse an ``Authorization`` beside its own header."""
    headers = {"cf-aig-authorization": "Bearer of-the-gateway"}
    async with (
        ScriptedFlux(form="cloudflare") as flux,
        on_call(flux, headers=headers, dialect=CLOUDFLARE) as call,
    ):
        await call.ready()
        sent = flux.handshakes[0].headers
        assert sent["cf-aig-authorization"] == "Bearer of-the-gateway"
        assert "authorization" not in sent
        assert flux.handshakes[0].values("model") == []


@in_virtual_time(until=60)
@pytest.mark.parametrize(
    ("status", "reason", "says"),
    [
        (400, "INVALID_PARAMETER: eot_threshold", "INVALID_PARAMETER: eot_threshold"),
        (400, "V2_MODEL_ON_V1_LISTEN_ENDPOINT", "WebSocket at /v2/listen"),
        (401, "Invalid credentials.", "short-lived JWTs in `token`"),
        (403, "INSUFFICIENT_PERMISSIONS", "INSUFFICIENT_PERMISSIONS"),
        (405, "Method not allowed", "WebSocket at /v2/listen"),
    ],
)
async def test_a_refusal_says_what_to_do_and_is_final(
    status: int, reason: str, says: str, on_call: OnCall
) -> None:
    async with ScriptedFlux() as flux:
        flux.refuse(status, reason, times=9)
        async with on_call(flux, key=SECRET) as call:
            failed = await call.until(ev.SourceFailed)
        assert len(flux.handshakes) == 1
    assert str(status) in failed.message
    assert says in failed.message
    assert len(call.of(ev.SourceFailed)) == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://api.deepgram.com/v2/listen", "WebSocket only"),
        ("wss://api.deepgram.com/v1/listen", "/v2/listen, not /v1/listen"),
        ("wss://api.deepgram.com/v1/listen/?model=nova-3", "/v2/listen, not /v1/listen"),
        ("api.deepgram.com/v2/listen", "wss://HOST"),
    ],
)
def test_an_address_where_flux_is_not_is_told_before_the_call(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        FluxSource(url=url, key=SECRET)
    assert caught.value.field == "url"


@in_virtual_time(until=60)
async def test_an_error_before_flux_is_ready_shows_its_reason_and_no_secret(
    on_call: OnCall,
) -> None:
    script = [Cue("error", "BAD_MODEL", f"none for {SECRET}")]
    async with ScriptedFlux(*[script] * 9, connected=False) as flux:
        async with on_call(flux, key=SECRET) as call:
            failed = await call.until(ev.SourceFailed)
        assert not any(flow.audio for flow in flux.calls)
    assert "BAD_MODEL" in failed.message
    assert "none for ***" in failed.message
    assert SECRET not in failed.message
    assert [type(event) for _, event in call.events] == [ev.SourceFailed]


@in_virtual_time(until=60)
async def test_a_handshake_that_takes_too_long_is_tried_again(on_call: OnCall) -> None:
    async with ScriptedFlux(accept_delay=6.0) as flux, on_call(flux) as call:
        await flux.attempts(1)
        flux.accept_delay = 0.0
        await call.until(ev.SourceConnected)
        assert len(flux.handshakes) == 2
        assert call.now == pytest.approx(5.0, abs=0.3)
