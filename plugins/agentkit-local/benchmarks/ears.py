"""How well and how fast the ears hear: word errors, the delay of the turn's end, and the cost.

    python benchmarks/ears.py [--prompts DIR --texts FILE.gz]

Needs the package pocketsphinx-testdata. With the prompts of asterisk-core-sounds-en-wav and their
transcripts (in asterisk-core-sounds-en's documentation) those are measured too.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import re
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from agentkit.audio.resample import Resampler
from agentkit_local.ears import FluxServer, Recognizer

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from conftest import Speech, errors, librivox, read, telephone


def floats(speech: Speech) -> Any:
    linear = speech.samples
    if speech.rate != 16000:
        resampler = Resampler(speech.rate, 16000)
        linear = resampler.push(linear) + resampler.flush()
    return np.frombuffer(linear, "<i2").astype(np.float32) / 32768


def prompts(folder: Path, texts: Path) -> list[Speech]:
    found = []
    for line in gzip.decompress(texts.read_bytes()).decode("utf-8", "replace").splitlines():
        name, colon, text = line.partition(":")
        path = folder / f"{name.strip()}.wav"
        said = re.sub(r"[\[(<].*?[\])>]", "", text).strip()
        if colon and path.is_file() and len(said.split()) >= 4 and not name.startswith(";"):
            found.append(read(path, said))
    return found


def word_errors(recognizer: Recognizer, name: str, corpus: Sequence[Speech]) -> str:
    wrong = count = 0
    took = audio = 0.0
    for speech in corpus:
        samples = floats(speech)
        began = time.thread_time()
        heard = recognizer(samples).text
        took += time.thread_time() - began
        audio += speech.seconds
        missed, said = errors(speech.text, heard)
        wrong, count = wrong + missed, count + said
    return (
        f"{name}: {100 * wrong / count:.1f} % of {count} words wrong; "
        f"{took / audio:.3f} s of CPU for a second of speech"
    )


def voiced_end(samples: Any) -> float:
    """When the last sound above -40 dBFS ends, in seconds."""
    loud = np.nonzero(np.abs(samples) > 0.01)[0]
    return float(loud[-1]) / 16000 if len(loud) else 0.0


async def one_turn(url: str, speech: Speech) -> tuple[float, float, bool, float]:
    """Eager delay, final delay (s after the last sound), cut early, and the events' lateness."""
    rate, pad = speech.rate, bytes(speech.rate * 2 * 3)
    data = speech.samples + pad
    size = rate * 2 * 80 // 1000
    end = voiced_end(floats(speech))
    eager = final = late = 0.0
    cut = False
    async with connect(url) as socket:
        began = time.perf_counter()

        async def send() -> None:
            for at in range(0, len(data), size):
                await asyncio.sleep(max(0.0, began + at / rate / 2 - time.perf_counter()))
                await socket.send(data[at : at + size])

        sending = asyncio.create_task(send())
        async for text in socket:
            message = json.loads(text)
            heard = time.perf_counter() - began
            event = message.get("event")
            if event == "EagerEndOfTurn":
                eager = message["audio_window_end"] - end
            if event == "EndOfTurn":
                final = message["audio_window_end"] - end
                late = heard - message["audio_window_end"]
                cut = final < 0
                if not cut:
                    break
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return eager, final, cut, late


async def delays(recognizer: Recognizer, corpus: Sequence[Speech]) -> list[str]:
    cpu = time.process_time()
    began = time.perf_counter()
    async with FluxServer(recognizer=recognizer) as server:
        rows = []
        for speech in corpus:
            query = f"model=flux-general-en&encoding=linear16&sample_rate={speech.rate}"
            rows.append(await one_turn(f"{server.url}?{query}&eager_eot_threshold=0.4", speech))
    cpu, took = time.process_time() - cpu, time.perf_counter() - began

    def at(values: list[float], share: float) -> float:
        return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000

    finals, eagers = [r[1] for r in rows], [r[0] for r in rows]
    lates = [r[3] for r in rows]
    early = sum(r[2] for r in rows)
    return [
        f"end of turn after the last sound: p50 {at(finals, 0.5):.0f}, p95"
        f" {at(finals, 0.95):.0f} ms (eager p50 {at(eagers, 0.5):.0f});"
        f" {early} of {len(rows)} turns cut early",
        f"the message after the audio that decided: p50 {at(lates, 0.5):.0f},"
        f" p95 {at(lates, 0.95):.0f} ms (80 ms of it is the chunk)",
        f"one live call costs {60 * cpu / took:.1f} s of CPU a minute;"
        f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB at the most",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--turns", type=int, default=40, help="turns for the delays")
    given = parser.parse_args()
    recognizer = Recognizer()
    corpora = {"novel, 16 kHz": librivox(), "novel, 8 kHz": telephone()}
    spoken = librivox()
    if given.prompts and given.texts:
        corpora["telephone prompts, 8 kHz"] = prompts(given.prompts, given.texts)
        spoken = corpora["telephone prompts, 8 kHz"]
    for name, corpus in corpora.items():
        print(word_errors(recognizer, name, corpus), flush=True)
    step = max(1, len(spoken) // given.turns)
    for line in asyncio.run(delays(recognizer, spoken[::step][: given.turns])):
        print(line)


if __name__ == "__main__":
    main()
