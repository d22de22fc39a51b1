"""``Configure`` and ``ForceEndTurn``: when they are sent, and what their answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.audio import AudioFormat
from agentkit.core import events as ev
from agentkit.errors import FluxOptionError
from agentkit.flux import CLOUDFLARE, FluxOptions
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


@in_virtual_time(until=60)
async def test_closing_does_not_overtake_the_end_that_was_asked_for(
    on_call: OnCall, tone: Tone
) -> None:
    """After ``CloseStream`` Flux ends no turn any more."""
    async with ScriptedFlux() as flux:
        async with on_call(flux) as call:
            flow = await call.ready()
            await flow.start("goodbye then")
            await call.until(ev.TurnStarted)
            call.source.feed(tone(0.55))
            call.source.end_turn()
        controls = [control["type"] for control in flow.controls]
        assert controls == ["ForceEndTurn", "CloseStream"]
        ended = call.of(ev.TurnEnded)
        assert [(end.text, end.trigger) for end in ended] == [("goodbye then", "manual")]


@in_virtual_time(until=60)
async def test_an_end_that_is_asked_for_without_a_turn_is_warned_of_and_no_loss(
    on_call: OnCall,
) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        for count in (1, 2):
            call.source.end_turn()
            oddity = await call.until(ev.SourceOddity, count)
            assert oddity.kind == "warning FORCE_END_TURN_NO_ACTIVE_TURN"
        await flow.start("hello")
        await call.until(ev.TurnStarted)
        call.source.end_turn()
        await call.until(ev.TurnEnded)
        assert not call.of(ev.SourceLost)
        assert call.source.can_end_turn


@in_virtual_time(until=60)
async def test_without_a_connection_changes_wait_for_the_next_url(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        flux.drop(2)
        await flow.abort()
        await call.until(ev.SourceLost)
        call.source.configure({"eot_threshold": 0.9, "keyterms": ["Ann"]})
        again = await call.ready(1)
        await again.heard(6.0, timeout=10)
        assert again.controls == []
        assert again.handshake.values("eot_threshold") == ["0.9"]
        assert again.handshake.values("keyterm") == ["Ann"]


@in_virtual_time(until=60)
async def test_what_changes_during_the_handshake_is_told_as_soon_as_flux_is_ready(
    on_call: OnCall,
) -> None:
    async with ScriptedFlux(connected_delay=1.0) as flux, on_call(flux) as call:
        await flux.attempts(1)
        call.source.configure({"eot_timeout_ms": 8000})
        flow = await call.ready()
        told = await flow.asked("Configure")
        assert told == {"type": "Configure", "thresholds": {"eot_timeout_ms": 8000}}
        assert flow.handshake.values("eot_timeout_ms") == ["5000"]


@in_virtual_time(until=60)
async def test_only_what_changed_is_sent_and_terms_are_sent_whole(on_call: OnCall) -> None:
    """Flux replaces its list of terms by the one that comes."""
    options = FluxOptions(keyterms=["Ann"])
    async with ScriptedFlux() as flux, on_call(flux, options=options) as call:
        flow = await call.ready()
        wanted: list[dict[str, Any]] = [
            {"eot_threshold": 0.8, "keyterms": ["Ann"]},
            {"eot_threshold": 0.8, "keyterms": ["Ann", "Bob"]},
            {"eot_threshold": 0.8, "eager_eot_threshold": None},
            {"eot_threshold": 0.8},
            {"keyterms": []},
        ]
        for changes in wanted:
            call.source.configure(changes)
            await asyncio.sleep(0.5)
        assert flow.controls == [
            {"type": "Configure", "thresholds": {"eot_threshold": 0.8}},
            {"type": "Configure", "keyterms": ["Ann", "Bob"]},
            {"type": "Configure", "thresholds": {"eager_eot_threshold": None}},
            {"type": "Configure", "keyterms": []},
        ]
        assert len(flux.handshakes) == 1


@in_virtual_time(until=60)
@pytest.mark.parametrize("wrong", [{"eot_threshold": 0.0}, {"eager_eot_threshold": 0.9}])
async def test_a_change_that_flux_would_refuse_is_named_and_changes_nothing(
    wrong: dict[str, float], on_call: OnCall
) -> None:
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        with pytest.raises(FluxOptionError) as caught:
            call.source.configure(wrong)
        assert caught.value.field in wrong
        await asyncio.sleep(1.0)
        assert flow.controls == []
        assert call.source.options == FluxOptions()


@in_virtual_time(until=60)
async def test_an_answer_that_comes_late_counts_for_nothing_else(on_call: OnCall) -> None:
    """Acknowledgements were seen to take up to 18 s."""
    async with ScriptedFlux(configure_delay=12.0) as flux, on_call(flux) as call:
        flow = await call.ready()
        call.source.configure({"eot_threshold": 0.8})
        await flow.asked("Configure")
        await asyncio.sleep(6.0)
        call.source.configure({"eot_threshold": 0.9})
        await flow.asked("Configure", 2)
        await asyncio.sleep(20.0)
        assert call.source.options.eot_threshold == 0.9
        assert [told["thresholds"]["eot_threshold"] for told in flow.controls] == [0.8, 0.9]
        assert not call.of(ev.SourceLost)


def timeouts(call: Any) -> list[float]:
    return [event.turn_timeout for event in call.of(ev.SourceTuned)]


@in_virtual_time(until=60)
async def test_T14_the_silence_that_ends_a_turn_is_told_as_it_is_in_force(on_call: OnCall) -> None:
    """It is written down in one place: in the options."""
    options = FluxOptions.preset("manual")
    async with ScriptedFlux() as flux, on_call(flux, options=options) as call:
        flow = await call.ready()
        assert timeouts(call) == [30.0]
        call.source.configure({"eot_timeout_ms": 8000})
        await flow.asked("Configure")
        assert timeouts(call) == [30.0, 8.0]
        call.source.configure({"keyterms": ["Ann"]})
        await flow.asked("Configure", 2)
        assert timeouts(call) == [30.0, 8.0]
        flow.abort_now()
        await call.ready(1)
        assert timeouts(call) == [30.0, 8.0, 8.0]


@in_virtual_time(until=60)
async def test_T14_a_timeout_that_flux_refuses_is_not_in_force(on_call: OnCall) -> None:
    options = FluxOptions(eot_timeout_ms=None)
    async with (
        ScriptedFlux(configure="refuse") as flux,
        on_call(flux, options=options) as call,
    ):
        await call.ready()
        call.source.configure({"eot_timeout_ms": 9000})
        await call.until(ev.SourceOddity)
        assert timeouts(call) == [5.0, 9.0, 5.0]


@in_virtual_time(until=60)
async def test_T9_the_thresholds_are_told_as_they_are_in_force(on_call: OnCall) -> None:
    """The eager threshold is moved by what is told here: at most one message is on its way."""
    options = FluxOptions(eager_eot_threshold=0.4, eot_threshold=0.8)
    async with ScriptedFlux() as flux, on_call(flux, options=options) as call:
        flow = await call.ready()
        assert call.of(ev.SourceTuned) == [ev.SourceTuned(5.0, 0.4, 0.8, tunable=True)]
        call.source.configure({"eager_eot_threshold": 0.5})
        await flow.asked("Configure")
        assert flow.controls[-1]["thresholds"] == {"eager_eot_threshold": 0.5}
        assert call.of(ev.SourceTuned)[-1] == ev.SourceTuned(5.0, 0.5, 0.8, tunable=True)


@in_virtual_time(until=60)
async def test_T9_a_server_that_takes_no_changes_says_so(on_call: OnCall) -> None:
    async with ScriptedFlux() as flux, on_call(flux, dialect=CLOUDFLARE) as call:
        await call.ready()
        assert [event.tunable for event in call.of(ev.SourceTuned)] == [False]
