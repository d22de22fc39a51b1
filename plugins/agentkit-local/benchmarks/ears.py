"""How well and how fast the ears hear: word errors, the delay of the turn's end, and the cost.

    python benchmarks/ears.py [--prompts DIR --texts FILE.gz]

Needs the package pocketsphinx-testdata. With the prompts of asterisk-core-sounds-en-wav and their
transcripts (in asterisk-core-sounds-en's documentation) those are measured too, as far as they are
no longer than a stretch that the server recognises at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import math
import re
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from agentkit.audio.resample import Resampler
from agentkit_local.ears import FluxServer, Recognizer
from agentkit_local.ears.turns import TOO_LONG

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
            speech = read(path, said)
            if speech.seconds <= TOO_LONG:
                found.append(speech)
    return found


DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spelled(text: str) -> str:
    """A transcript may have "press 1" where the other has "press one"."""
    return re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", text)


def word_errors(recognizer: Recognizer, name: str, corpus: Sequence[Speech]) -> str:
    wrong = count = 0
    took = audio = 0.0
    for speech in corpus:
        samples = floats(speech)
        began = time.thread_time()
        heard = recognizer(samples).text
        took += time.thread_time() - began
        audio += speech.seconds
        missed, said = errors(spelled(speech.text), spelled(heard))
        wrong, count = wrong + missed, count + said
    return (
        f"{name}: {100 * wrong / count:.1f} % of {count} words wrong; "
        f"{took / audio:.3f} s of CPU for a second of speech"
    )


@dataclass
class Turn:
    """What was seen of one turn: seconds of the audio's time, None: it did not come.

    Args:
        start: StartOfTurn, after the first sound.
        eager: the last EagerEndOfTurn, after the last sound.
        final: EndOfTurn, after the last sound.
        cut: the turn ended while the caller still spoke.
        late: EndOfTurn on the socket, after the chunk that decided it was sent.
    """

    start: float | None = None
    eager: float | None = None
    final: float | None = None
    cut: bool = False
    late: float | None = None


def sound(samples: Any) -> tuple[float, float]:
    """When the first and the last sound above -40 dBFS are, in seconds."""
    loud = np.nonzero(np.abs(samples) > 0.01)[0]
    return (float(loud[0]) / 16000, float(loud[-1]) / 16000) if len(loud) else (0.0, 0.0)


async def one_turn(url: str, speech: Speech) -> Turn:
    """One recording, at the pace of a call, and silence after it."""
    rate, pad = speech.rate, bytes(speech.rate * 2 * 3)
    data = speech.samples + pad
    size = rate * 2 * 80 // 1000
    first, last = sound(floats(speech))
    turn = Turn()
    async with connect(url) as socket:
        began = time.perf_counter()

        async def send() -> None:
            for at in range(0, len(data), size):
                due = began + min(at + size, len(data)) / rate / 2  # when it would be recorded
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                await socket.send(data[at : at + size])

        sending = asyncio.create_task(send())
        async for text in socket:
            heard = time.perf_counter() - began
            message = json.loads(text)
            event, until = message.get("event"), message.get("audio_window_end", 0.0)
            if event == "StartOfTurn" and turn.start is None:
                turn.start = until - first
            elif event == "EagerEndOfTurn":
                turn.eager = until - last
            elif event == "EndOfTurn":
                turn.final, turn.cut = until - last, turn.cut or until < last
                chunk = size / rate / 2
                turn.late = heard - math.ceil(until / chunk - 1e-6) * chunk
                if until >= last:
                    break
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return turn


async def delays(recognizer: Recognizer, corpus: Sequence[Speech]) -> list[str]:
    cpu = time.process_time()
    began = time.perf_counter()
    async with FluxServer(recognizer=recognizer) as server:
        rows = []
        for speech in corpus:
            query = f"model=flux-general-en&encoding=linear16&sample_rate={speech.rate}"
            rows.append(await one_turn(f"{server.url}?{query}&eager_eot_threshold=0.4", speech))
    cpu, took = time.process_time() - cpu, time.perf_counter() - began

    def spread(values: Iterable[float | None]) -> str:
        seen = sorted(value for value in values if value is not None)
        if not seen:
            return "never"
        middle, most = (seen[min(len(seen) - 1, int(len(seen) * part))] for part in (0.5, 0.95))
        return f"p50 {middle * 1000:.0f}, p95 {most * 1000:.0f} ms (of {len(seen)})"

    whole = [row for row in rows if not row.cut]
    return [
        f"start of turn after the first sound: {spread(row.start for row in rows)}",
        f"eager end of turn after the last sound: {spread(row.eager for row in whole)}",
        f"end of turn after the last sound: {spread(row.final for row in whole)};"
        f" {len(rows) - len(whole)} of {len(rows)} turns cut early",
        f"EndOfTurn on the socket after the chunk that decided it: {spread(r.late for r in rows)}",
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
    step = max(1, len(spoken) // given.turns)
    for line in asyncio.run(delays(recognizer, spoken[::step][: given.turns])):
        print(line, flush=True)
    for name, corpus in corpora.items():
        print(word_errors(recognizer, name, corpus), flush=True)


if __name__ == "__main__":
    main()
