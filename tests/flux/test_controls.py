"""``Configure`` and ``ForceEndTurn``: when they are sent, and what their answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.audio import AudioFormat
from agentkit.core import events as ev
from agentkit.flux import FluxOptions
from agentkit.testing import ScriptedFlux
from agentkit.testing.clock import in_virtual_time

OnCall = Callable[..., Any]
Tone = Callable[..., bytes]
LINE = AudioFormat("linear16", 16000)


@in_virtual_time(until=60)
async def test_end_turn_is_behind_the_audio_that_was_fed_before_it(
    on_call: OnCall, tone: Tone
) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        call.source.feed(tone(1.05))
        call.source.end_turn()
        await flow.asked("ForceEndTurn")
        before = flow.events.index("ForceEndTurn")
        assert sum(size for _, size in flow.arrivals[:before]) == LINE.size(1.05)


@in_virtual_time(until=60)
async def test_a_refused_configure_is_undone_and_the_next_goes_out(on_call: OnCall) -> None:
    async with ScriptedFlux(configure="refuse", configure_delay=0.3) as flux, on_call(flux) as call:
        flow = await call.ready()
        call.source.configure({"eot_threshold": 0.9})
        await flow.asked("Configure")
        call.source.configure({"keyterms": ["Rosewood"]})
        second = await flow.asked("Configure", 2)
        assert second == {"type": "Configure", "keyterms": ["Rosewood"]}
        await call.until(ev.SourceOddity, 2)
        assert call.source.options == FluxOptions(), "what Flux refused is not in the next URL"
        assert call.source.stats.configures_refused == 2


@in_virtual_time(until=60)
async def test_too_many_pending_is_said_again_later(on_call: OnCall) -> None:
    async with ScriptedFlux(configure="ignore") as flux, on_call(flux) as call:
        flow = await call.ready()
        call.source.configure({"eot_threshold": 0.9})
        await flow.asked("Configure")
        await flow.configure_failure("", "Too many pending Configure messages")
        asked_at = call.now
        again = await flow.asked("Configure", 2, timeout=10)
        assert again["thresholds"] == {"eot_threshold": 0.9}
        assert call.now - asked_at == pytest.approx(5.0, abs=0.3)


@in_virtual_time(until=60)
async def test_nothing_is_replayed_on_a_new_connection(on_call: OnCall) -> None:
    async with ScriptedFlux(configure="ignore") as flux, on_call(flux) as call:
        flow = await call.ready()
        call.source.configure({"eot_threshold": 0.9})
        await flow.asked("Configure")
        call.source.configure({"eager_eot_threshold": None})
        await flow.abort()
        again = await call.ready(1)
        await again.heard(8.0, timeout=12)
        assert again.controls == []
        assert again.handshake.values("eot_threshold") == ["0.9"]
        assert again.handshake.values("eager_eot_threshold") == []


@in_virtual_time(until=60)
async def test_what_only_a_url_takes_makes_a_new_connection(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        await call.ready()
        call.source.configure({"profanity_filter": True, "tags": ["night"]})
        again = await call.ready(1)
        assert again.handshake.values("profanity_filter") == ["true"]
        assert again.handshake.values("tag") == ["night"]


@in_virtual_time(until=60)
async def test_values_that_a_url_does_not_take_do_not_end_the_call(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        call.source.configure({"keyterms": ["something new"]})
        await flow.asked("Configure")
        flux.refuse(400, "INVALID_PARAMETER: keyterm")
        await flow.abort()
        again = await call.ready(1)
        assert again.handshake.values("keyterm") == []
        assert not call.of(ev.SourceFailed)


@in_virtual_time(until=60)
@pytest.mark.parametrize("verb", ["configure", "end_turn"])
async def test_a_control_message_that_was_fatal_is_not_sent_again(
    verb: str, on_call: OnCall
) -> None:
    async with ScriptedFlux(knows={"CloseStream"}) as flux, on_call(flux) as call:
        for number in range(2):
            flow = await call.ready(number)
            if verb == "configure":
                call.source.configure({"eot_threshold": 0.8 + number / 10})
            else:
                call.source.end_turn()
            await asyncio.sleep(2.0)
        assert len(flow.controls) == 0
        lost = call.of(ev.SourceLost)
        assert len(lost) == 1
        assert "UNPARSABLE_CLIENT_MESSAGE" in lost[0].reason
        assert not (call.source.can_configure if verb == "configure" else call.source.can_end_turn)
