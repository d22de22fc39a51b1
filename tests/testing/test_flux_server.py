"""The scripted Flux keeps what Deepgram guarantees of Flux, unless a test asks for a fault."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from agentkit.testing import ScriptedCall, ScriptedFlux
from agentkit.testing.clock import in_virtual_time

QUERY = "model=flux-general-en&encoding=linear16&sample_rate=16000"
CHUNK = bytes(2560)
SECONDS = 0.08


class Client:
    """Everything that came, with the seconds of audio that had been sent by then."""

    def __init__(self, wire: ClientConnection) -> None:
        self.wire = wire
        self.sent = 0.0
        self.got: list[tuple[float, dict[str, Any]]] = []

    async def read(self) -> None:
        async for data in self.wire:
            self.got.append((self.sent, json.loads(data)))

    async def speak(self) -> None:
        self.sent += SECONDS
        await self.wire.send(CHUNK)

    @property
    def turn_infos(self) -> list[dict[str, Any]]:
        return [message for _, message in self.got if message["type"] == "TurnInfo"]


async def walk(client: Client, flow: ScriptedCall, chance: random.Random, steps: int) -> int:
    """An orderly conversation; returns how often an end was asked for."""
    state, asked = "idle", 0
    may = {"idle": ["start"], "speaking": ["eager", "end"], "maybe": ["resume", "end"]}
    leads = {"start": "speaking", "eager": "maybe", "resume": "speaking", "end": "idle"}
    for step in range(steps):
        for _ in range(chance.randrange(1, 5)):
            await client.speak()
        await flow.heard(client.sent)
        verb = chance.choice([*may[state], "force", "nothing"])
        if verb == "force":
            asked += 1
            await client.wire.send(json.dumps({"type": "ForceEndTurn"}))
            await flow.asked("ForceEndTurn", asked)
            state = "idle"
        elif verb != "nothing":
            text = flow.turn.text if verb in ("resume", "end") else f"{flow.turn.text} word{step}"
            await getattr(flow, verb)(text.strip())
            state = leads[verb]
    await client.wire.send(json.dumps({"type": "CloseStream"}))
    return asked


def check_order(client: Client) -> None:
    assert [message["sequence_id"] for _, message in client.got] == list(range(len(client.got)))
    index, begins, reached, state, eager = 0, 0.0, 0.0, "EndOfTurn", None
    for sent, message in client.got:
        if message["type"] != "TurnInfo":
            continue
        event = message["event"]
        assert message["turn_index"] == index
        assert message["audio_window_start"] == pytest.approx(begins)
        assert reached <= message["audio_window_end"] <= sent + 1e-6
        reached = message["audio_window_end"]
        assert ("trigger" in message) == (event == "EndOfTurn")
        if event == "Update":
            continue
        allowed = {
            "EndOfTurn": {"StartOfTurn"},
            "StartOfTurn": {"EagerEndOfTurn", "EndOfTurn"},
            "EagerEndOfTurn": {"TurnResumed", "EndOfTurn"},
            "TurnResumed": {"EagerEndOfTurn", "EndOfTurn"},
        }[state]
        assert event in allowed
        if event == "EndOfTurn":
            assert state != "EagerEndOfTurn" or message["transcript"] == eager
            index, begins = index + 1, reached
        state, eager = event, message["transcript"]


@pytest.mark.parametrize("seed", range(5))
@in_virtual_time(until=600)
async def test_an_orderly_conversation_keeps_flux_guarantees(seed: int) -> None:
    chance = random.Random(seed)
    async with ScriptedFlux() as flux, connect(f"{flux.url}?{QUERY}") as wire:
        client = Client(wire)
        reading = asyncio.create_task(client.read())
        flow = await flux.connection()
        asked = await walk(client, flow, chance, 60)
        await reading
    check_order(client)
    manual = [info for info in client.turn_infos if info.get("trigger") == "manual"]
    warned = [message for _, message in client.got if message["type"] == "Warning"]
    assert len(manual) + len(warned) == asked, "an end that is asked for has one answer"
    assert client.got[0][1]["type"] == "Connected"
    assert client.turn_infos[-1]["event"] == "Update", "CloseStream ends no turn"
    assert wire.close_code == 1005


@in_virtual_time(until=60)
async def test_without_audio_nothing_happens_and_with_it_updates_come() -> None:
    async with ScriptedFlux() as flux, connect(f"{flux.url}?{QUERY}") as wire:
        client = Client(wire)
        reading = asyncio.create_task(client.read())
        flow = await flux.connection()
        await asyncio.sleep(10)
        assert client.turn_infos == []
        for _ in range(125):
            await client.speak()
            await asyncio.sleep(SECONDS)
        await flow.heard(10.0)
        await asyncio.sleep(0.1)
        updates = client.turn_infos
        ends = [info["audio_window_end"] for info in updates]
        assert ends == pytest.approx([0.24 * (n + 1) for n in range(41)])
        assert {info["event"] for info in updates} == {"Update"}
        await wire.close()
        await reading
