"""Twilio's protocol as somebody else understands it: streamdouble calls the server."""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from pathlib import Path

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.testing.backends import tone
from agentkit.testing.carriers import Connect
from tests.server.reception import TWILIO, calling, serving

pytestmark = pytest.mark.timeout(60)


async def test_streamdouble_finds_no_fault_with_a_call(tmp_path: Path) -> None:
    speech = tmp_path / "caller.wav"
    with wave.open(str(speech), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(tone(1.0, AudioFormat("linear16", 8000)))
    async with serving() as server:
        admitted = calling(TWILIO, server)
        answer = await admitted.ask()
        assert isinstance(answer, Connect)
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "streamdouble"),
            "call",
            answer.url,
            "--audio",
            str(speech),
            "--out",
            str(tmp_path / "agent.wav"),
            "--json",
            "--quiet-period",
            "1.5",  # counted from the last audio that came, not from the last that was heard
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        ears = await server.ears()
        await asyncio.sleep(0.8)
        ears.start("hi")
        ears.end("hi there")
        out, errors = await process.communicate()
        report = json.loads(out)
        assert process.returncode == 0, errors.decode()
        await server.all_over()
        said = server.agents[0].reasons
        spoken = server.tts.seconds("Hello.") + server.tts.seconds("Good.")
    assert report["violations"] == report["unknown_events"] == []
    assert report["marks_received"] == report["marks_echoed"] >= 2
    assert report["audio_received_ms"] == pytest.approx(spoken * 1000, abs=20)
    assert report["closed_by"] is None
    assert said == ["caller hung up"]
