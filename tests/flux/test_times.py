"""T21: when what Flux heard was said, on the session's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.audio import AudioFormat
from agentkit.core import events as ev
from agentkit.testing import ScriptedCall, ScriptedFlux
from agentkit.testing.clock import in_virtual_time

OnCall = Callable[..., Any]
Tone = Callable[..., bytes]
LINE = AudioFormat("linear16", 16000)
FRAME = 0.02


class Steps:
    """Speech of which each tenth of a second can be told from all others."""

    def __init__(self, tone: Tone) -> None:
        self._tone = tone

    def said(self, seconds: float) -> bytes:
        count = round(seconds * 10)
        return b"".join(self._tone(0.1, level=1000 + 50 * step) for step in range(count))

    def position(self, flow: ScriptedCall, step: int) -> float:
        """Where that tenth begins in a connection's audio, in seconds."""
        place = bytes(flow.audio).find(self._tone(0.02, level=1000 + 50 * step))
        assert place >= 0, f"step {step} was not received"
        return LINE.seconds(place)


@in_virtual_time(until=120)
async def test_T21_speech_end_stays_right_over_silence_catch_up_and_reconnection(
    on_call: OnCall, tone: Tone
) -> None:
    """A word that the caller ended at T on the session's clock is reported as T, always."""

    async def heard_at(flow: ScriptedCall, end: float) -> float:
        """Flux hears a word that ends at this second of the connection's audio."""
        word = {"word": "yes", "confidence": 0.9, "start": end - 0.3, "end": end}
        await flow.start("yes", words=[word])
        await flow.end("yes", words=[word])
        ended = await call.until(ev.TurnEnded, len(call.of(ev.TurnEnded)) + 1)
        assert ended.speech_start == pytest.approx(ended.speech_end - 0.3, abs=0.01)
        return float(ended.speech_end)

    steps = Steps(tone)
    position = steps.position
    exact = 0.021  # the times of audio are known no better than its frames
    async with ScriptedFlux() as flux, on_call(flux) as call:
        flow = await call.ready()
        await asyncio.sleep(1.0)  # silence is sent for it
        base = call.now
        await call.speak(2.0, steps.said(2.0))
        await flow.heard(2.8)
        assert await heard_at(flow, position(flow, 12)) == pytest.approx(base + 1.2, abs=exact)

        await asyncio.sleep(2.07)  # missing audio
        base = call.now
        spoken = asyncio.create_task(call.speak(5.0, steps.said(5.0)))
        await asyncio.sleep(1.5)
        flow.audio[:] = bytes(len(flow.audio) - LINE.size(2.0)) + flow.audio[-LINE.size(2.0) :]
        assert await heard_at(flow, position(flow, 10)) == pytest.approx(base + 1.0, abs=exact)

        await flow.stall()
        flux.accept_delay = 0.7
        await asyncio.sleep(0.6)
        await flow.abort()
        again = await flux.connection(1)
        await again.heard(2.0)
        # Caught up at 1.25 times real time, from what the old connection had not accounted for.
        assert position(again, 18) < 18 / 10 - 1.0
        assert await heard_at(again, position(again, 18)) == pytest.approx(base + 1.8, abs=exact)
        assert await heard_at(again, position(again, 30)) == pytest.approx(base + 3.0, abs=exact)
        await spoken


@in_virtual_time(until=60)
async def test_T21_a_burst_of_early_audio_is_dated_before_it_came(
    on_call: OnCall, tone: Tone
) -> None:
    await asyncio.sleep(5.0)
    early = [tone(FRAME)] * 50
    async with ScriptedFlux() as flux, on_call(flux, early=early) as call:
        flow = await call.ready()
        await flow.heard(1.0)
        word = {"word": "hi", "start": 0.2, "end": 0.5}
        await flow.start("hi", words=[word])
        started = await call.until(ev.TurnStarted)
        assert started.speech_start == pytest.approx(4.2, abs=0.05)
        assert started.speech_end == pytest.approx(4.5, abs=0.05)
