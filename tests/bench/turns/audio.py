"""The same callers through the offline engine: real audio, in real time.

    python -m tests.bench.turns.audio [--dialogues 2] [--turns 5] [--policies speech,...]
                                      [--out out/bench]

What the callers say, and where they pause, is drawn as in the simulation, and spoken by a
synthetic voice; `agentkit flux` listens. The model and the voice keep their simulated delays. That
shows whether the picture of the simulation holds where nothing about the recogniser is assumed; the
offline engine is another recogniser than Flux, so the figures are others.

Real time waits for nobody: beside other work the engine hears late, callers lose their patience,
and turns go without an answer. How late the event loop was is told beside the figures, and a run in
which that was much is void.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from agentkit import Session, plugins
from agentkit.audio.formats import AudioFormat
from agentkit.audio.resample import convert
from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.flux import FluxOptions, FluxSource
from agentkit.transports.files import AfterAgent, Cue, FileTransport, IntoReply
from agentkit.tts.base import TTS, SpeechAudio
from tests.bench.run import machine_line
from tests.bench.turns.call import Call
from tests.bench.turns.corpus import NoCorpus, dialogue, halves
from tests.bench.turns.estimates import extra_calls, mean, percentile, pooled, saved_per_extra
from tests.bench.turns.measures import Figures, reactions
from tests.bench.turns.parameters import HELD_OUT_SEEDS, WORLDS
from tests.bench.turns.plan import Plan, Utterance, draw_plan
from tests.bench.turns.policies import OFF, Candidate, candidates
from tests.bench.turns.runs import quiet
from tests.bench.turns.speaking import LINE, CountingLLM, voice

CALLER = AudioFormat("linear16", 16000)
WORLD = replace(WORLDS["measured"], words=14, reply_words=8)
"""Short turns and replies: it is real time that passes."""
LEAST_GAP = 0.3
"""Seconds: the caller waits so long at least, since the end of a reply is not foreseen here."""


async def spoken(tts: TTS, said: Utterance) -> bytes:
    """The utterance as audio: its runs of words, with the planned pauses in between."""
    made, run = b"", list[str]()
    for n, word in enumerate(said.words):
        run.append(word.text)
        if word.silence is None:
            continue
        made += await _run(tts, " ".join(run))
        run.clear()
        if n + 1 < len(said.words):
            made += CALLER.silence(said.words[n + 1].start - word.end)
    return made


async def _run(tts: TTS, text: str) -> bytes:
    stream = tts.open()
    stream.push(text)
    stream.end()
    audio = b"".join([event.data async for event in stream if isinstance(event, SpeechAudio)])
    return trimmed(convert(audio, tts.format, CALLER))


def trimmed(audio: bytes) -> bytes:
    """Without the silence that the voice adds at both ends."""
    samples = memoryview(audio).cast("h")
    loud = [n for n, sample in enumerate(samples) if abs(sample) > 200]
    return audio[2 * loud[0] : 2 * loud[-1] + 2] if loud else b""


async def hold(plan: Plan, sounds: Sequence[bytes], candidate: Candidate, url: str) -> Figures:
    """One call of one policy, in real time."""
    by_name = {str(n): audio for n, audio in enumerate(sounds)}

    async def speak(name: str) -> bytes:
        return by_name[name]

    cues = []
    for n in range(len(plan.turns)):
        before = plan.turns[n - 1] if n else None
        gap = AfterAgent(max(LEAST_GAP, before.gap if before else 0.0))
        breaks_in = before.barge_in if before else None
        when = gap if breaks_in is None else IntoReply(breaks_in)
        cues.append(Cue(when=when, text=str(n)))
    line = FileTransport(cues, input=CALLER, output=LINE, speak=speak, linger=2.0, patience=6.0)
    call, agent = Call(plan.seed), candidate.agent()
    agent.call = call
    agent.greeting = "Hello."
    llm, tts = CountingLLM(WORLD.backends), voice(WORLD.backends)
    llm.begin(0, plan.turns[0])
    source = FluxSource(url=url, options=FluxOptions(eager_eot_threshold=candidate.eager))

    def watch(now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        call.log.append((now, event, tuple(commands)))
        index = max(0, len(line.said) - 1)
        llm.begin(index, plan.turns[index])
        tts.first_byte = plan.turns[index].first_audio

    async with Session(agent, line, flux=source, llm=llm, tts=tts, observers=[watch]) as session:
        call.record = await session.run()
    figures = Figures(plan.seed, len(plan.turns), requests=len(llm.asked))
    figures.reactions = [*reactions(call)]
    figures.starved = max(0, len(plan.turns) - len(figures.reactions))
    return figures


DISTURBED = 0.05
"""Seconds: with the event loop later than that (99th percentile) there was other work."""


async def watch_loop(late: list[float]) -> None:
    """Note how late the event loop is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.02
        await asyncio.sleep(0.02)
        late.append(loop.time() - due)


async def compare(
    dialogues: int, turns: int, names: Sequence[str]
) -> tuple[dict[str, list[Figures]], float]:
    """Let each policy hold the same calls, all of one policy at a time.

    Returns their figures, and how late the event loop was, in seconds (99th percentile).
    """
    world = replace(WORLD, turns=turns)
    caller = await asyncio.to_thread(plugins.load_tts, "local/pico:en-GB")
    plans, sounds = [], []
    for seed in HELD_OUT_SEEDS[:dialogues]:
        talk = dialogue(
            seed, halves()[1], turns=turns, words=world.words, reply_words=world.reply_words
        )
        plan = draw_plan(world, seed, talk)
        plans.append(plan)
        sounds.append([await spoken(caller, turn.said) for turn in plan.turns])
    engine = await asyncio.to_thread(plugins.load, "agentkit.flux", "local")
    found, late = {}, list[float]()
    async with AsyncExitStack() as stack:
        url: str = (await stack.enter_async_context(engine())).url
        watching = asyncio.create_task(watch_loop(late))
        stack.callback(watching.cancel)
        for candidate in candidates():
            if candidate.name not in (OFF.name, *names):
                continue
            began = time.perf_counter()
            held = [hold(p, s, candidate, url) for p, s in zip(plans, sounds, strict=True)]
            found[candidate.name] = list(await asyncio.gather(*held))
            print(f"{candidate.name}: {time.perf_counter() - began:.0f} s", flush=True)
    return found, percentile(late, 99)


def table(samples: dict[str, list[Figures]]) -> str:
    """In Markdown."""
    base = samples[OFF.name]
    lines = [
        "| policy | turns answered | reaction p50, ms | p95 | mean | extra LLM calls"
        " | saved for each, ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, sample in samples.items():
        took = pooled(sample, "reactions")
        per_extra = saved_per_extra(sample, base)
        lines.append(
            f"| {name} | {len(took)} of {sum(figures.turns for figures in sample)}"
            f" | {percentile(took, 50) * 1000:.0f} | {percentile(took, 95) * 1000:.0f}"
            f" | {mean(took) * 1000:.0f} | {extra_calls(sample, base) * 100:.0f} %"
            f" | {'-' if per_extra != per_extra else f'{per_extra * 1000:.0f}'} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 1 if half of the turns got no answer or it was disturbed, 2 without the dialogues."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dialogues", type=int, default=2, help="at the same time")
    parser.add_argument("--turns", type=int, default=5, help="of each")
    parser.add_argument("--policies", default="speech,adaptive", help="besides that without drafts")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="where the table goes")
    given = parser.parse_args(argv)
    quiet()
    try:
        names = given.policies.split(",")
        samples, late = asyncio.run(compare(given.dialogues, given.turns, names))
    except NoCorpus as error:
        print(f"There are no dialogues: {error}")
        return 2
    disturbed = " Void: there was other work on the machine." if late > DISTURBED else ""
    written = (
        f"{machine_line()}; {given.dialogues} dialogues; the event loop was {late * 1000:.0f} ms"
        f" late (p99).{disturbed}\n\n{table(samples)}"
    )
    print(f"\n{written}")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "turns-audio.md").write_text(written + "\n", encoding="utf-8")
    answered = sum(len(pooled(sample, "reactions")) for sample in samples.values())
    said = sum(figures.turns for sample in samples.values() for figures in sample)
    return 0 if answered >= said / 2 and not disturbed else 1


if __name__ == "__main__":
    raise SystemExit(main())
