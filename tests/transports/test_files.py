"""A caller made of cues, and a recording of what was heard."""

from __future__ import annotations

import asyncio
import math
import time
import wave
from array import array
from pathlib import Path

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import first_sound, is_silent
from agentkit.audio.resample import convert
from agentkit.errors import TransportError
from agentkit.testing.backends import tone
from agentkit.testing.clock import in_virtual_time
from agentkit.transports.files import (
    AfterAgent,
    AfterCaller,
    At,
    Caller,
    Cue,
    FileTransport,
    Heard,
    IntoReply,
    Playout,
    Track,
    write_call,
)

LINE = AudioFormat()
MULAW = AudioFormat("mulaw", 8000)


def now() -> float:
    return asyncio.get_running_loop().time()


class Agent:
    """Answers each utterance: ``thinks`` seconds after 0.3 s of quiet it says the next reply."""

    def __init__(self, line: FileTransport, replies: list[bytes], thinks: float = 0.5) -> None:
        self.frames: list[tuple[float, bytes]] = []
        self.marks: list[tuple[float, str]] = []
        self.stops_at_words = False
        self._line = line
        self._replies = replies
        self._thinks = thinks
        self._quiet = math.inf

    def audio(self, data: bytes) -> None:
        self.frames.append((round(now(), 6), data))
        if not is_silent(data, self._line.input):
            if self.stops_at_words:
                self._line.clear()
            self._quiet = 0.0
            return
        self._quiet += self._line.input.seconds(len(data))
        if self._quiet >= 0.3 - 1e-9 and self._quiet < math.inf and self._replies:
            self._quiet = math.inf
            loop = asyncio.get_running_loop()
            loop.call_later(self._thinks, self._line.play, self._replies.pop(0))

    def marked(self, name: str) -> None:
        self.marks.append((round(now(), 6), name))

    def dtmf(self, digit: str) -> None:
        raise AssertionError(digit)

    @property
    def heard(self) -> bytes:
        return b"".join(data for _, data in self.frames)


def read_call(path: Path) -> tuple[int, bytes, bytes]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        both = array("h", file.readframes(file.getnframes()))
        return file.getframerate(), both[::2].tobytes(), both[1::2].tobytes()


# -------------------------------------------------------------------------------- when cues come


@in_virtual_time(until=100)
async def test_a_cue_comes_when_the_agent_has_finished() -> None:
    line = FileTransport([Cue(tone(1.0)), Cue(tone(0.5), AfterAgent(1.5))])
    await line.connect()
    line.play(tone(2.0))  # the greeting, to 2.0
    agent = Agent(line, [tone(1.0), tone(1.0)])
    assert await line.run(agent) == "caller hung up"
    # Said from 2.6 to 3.6; quiet for 0.3 s and 0.5 s of thinking: the answer from 4.4 to 5.4.
    assert line.said == pytest.approx([2.6, 6.9], abs=0.021)
    # The last answer ends about 9.2; the caller lingers for 2 s.
    assert now() == pytest.approx(11.2, abs=0.05)


@pytest.mark.parametrize("thinks", [0.1, 3.0])
@in_virtual_time(until=100)
async def test_the_conversation_holds_whatever_the_speed_of_the_agent(thinks: float) -> None:
    line = FileTransport([Cue(tone(1.0)), Cue(tone(1.0))])
    await line.connect()
    line.play(tone(1.0))
    agent = Agent(line, [tone(1.0), tone(1.0)], thinks)
    await line.run(agent)
    first, second = line.said
    assert second - first == pytest.approx(1.0 + 0.3 + thinks + 1.0 + 0.6, abs=0.05)


@in_virtual_time(until=100)
async def test_a_cue_cuts_into_a_reply() -> None:
    sheet = [Cue(tone(1.0), At(0.5)), Cue(tone(1.0), IntoReply(1.2))]
    line = FileTransport(sheet, output=AudioFormat("linear16", 24000))
    await line.connect()
    agent = Agent(line, [line.output.silence(0.4) + tone(5.0, line.output)])
    agent.stops_at_words = True
    assert await line.run(agent) == "caller hung up"
    # The reply is played from 2.3 on, begins with 0.4 s of silence, so it is heard from 2.7.
    assert line.said == pytest.approx([0.5, 3.9], abs=0.021)


@in_virtual_time(until=100)
async def test_a_cue_into_a_reply_that_is_too_short_comes_after_it() -> None:
    line = FileTransport([Cue(tone(1.0), At(0.0)), Cue(tone(1.0), IntoReply(5.0))], quiet=0.4)
    await line.connect()
    await line.run(Agent(line, [tone(1.0)]))
    assert line.said == pytest.approx([0.0, 1.0 + 0.3 + 0.5 + 1.0 + 0.4], abs=0.03)


@in_virtual_time(until=100)
async def test_a_pause_is_the_callers_own() -> None:
    """The pause counts from the last sound, not from the end of a file with silence behind it."""
    sheet = [Cue(tone(1.0) + LINE.silence(0.3), At(0.0)), Cue(tone(0.5), AfterCaller(0.8))]
    line = FileTransport(sheet)
    await line.connect()
    line.play(tone(9.0))
    await line.run(Agent(line, []))
    assert line.said == pytest.approx([0.0, 1.8], abs=0.021)


@in_virtual_time(until=100)
async def test_an_agent_that_says_nothing_is_waited_for_and_left() -> None:
    line = FileTransport([Cue(tone(1.0)), Cue(tone(1.0))], patience=4.0)
    await line.connect()
    assert await line.run(Agent(line, [])) == "caller hung up"
    assert line.said == pytest.approx([4.0, 9.0], abs=0.03)
    assert now() == pytest.approx(14.0, abs=0.03)


@in_virtual_time(until=100)
async def test_cues_never_overlap() -> None:
    sheet = [Cue(tone(1.0), At(1.0)), Cue(tone(1.0), At(1.5)), Cue(tone(1.0), AfterCaller(0.0))]
    line = FileTransport(sheet, patience=1.0, linger=1.0)
    await line.connect()
    agent = Agent(line, [])
    await line.run(agent)
    assert line.said == pytest.approx([1.0, 2.0, 3.0])
    assert first_sound(agent.heard, LINE) == LINE.size(1.0)
    assert agent.heard[LINE.size(1.0) : LINE.size(4.0)] == tone(1.0) * 3
    assert now() == pytest.approx(5.0)


def test_a_caller_reads_no_clock() -> None:
    """`Caller` is driven by the times it is given."""
    caller = Caller(
        [(At(0.5), b"\x01\x02" * 400)],
        LINE,
        Playout(LINE, print),
        quiet=0.1,
        linger=0.1,
        patience=0.2,
    )
    frames: list[bytes] = []
    while (frame := caller.frame(50.0 + 0.02 * len(frames))) is not None:
        frames.append(frame)
    assert caller.said == [50.5]
    assert b"".join(frames[25:28]) == b"\x01\x02" * 400 + bytes(2 * 560)
    assert {len(frame) for frame in frames} == {640}
    assert len(frames) * 0.02 == pytest.approx(0.5 + 0.025 + 0.2, abs=0.021)


# --------------------------------------------------------------------------------------- the call


@in_virtual_time(until=100)
async def test_frames_keep_to_a_fixed_schedule() -> None:
    """A frame is delivered when it is over; after a stall what is late comes at once."""
    line = FileTransport([Cue(tone(5.0), At(0.0))], limit=1.0)
    await line.connect()
    agent = Agent(line, [])
    asyncio.get_running_loop().call_at(0.505, stall, 0.2)
    assert await line.run(agent) == "longest call reached"
    due = [round(0.02 * n, 6) for n in range(1, 51)]
    late = [at for at in due if 0.505 < at <= 0.705]
    assert [at for at, _ in agent.frames] == [0.705 if at in late else at for at in due]
    assert agent.heard == tone(1.0)


def stall(seconds: float) -> None:
    """The machine is too slow: time passes, and nothing runs. Only the loop's clock shows it."""
    asyncio.get_running_loop()._now += seconds  # type: ignore[attr-defined]


@in_virtual_time(until=100)
async def test_the_agent_can_hang_up() -> None:
    line = FileTransport([Cue(tone(5.0), At(0.0))])
    await line.connect()
    agent = Agent(line, [])
    running = asyncio.create_task(line.run(agent))
    await asyncio.sleep(1.01)
    await line.hang_up()
    await line.hang_up()
    assert await running == "agent hung up"
    assert now() < 1.03
    assert len(agent.frames) == 50
    line.play(tone(1.0))
    line.mark("late")
    line.clear()
    await asyncio.sleep(2)
    assert agent.marks == []


@in_virtual_time(until=100)
async def test_marks_and_clears_are_those_of_a_carrier() -> None:
    line = FileTransport([], patience=4.0)
    await line.connect()
    agent = Agent(line, [])
    running = asyncio.create_task(line.run(agent))
    await asyncio.sleep(0)
    line.play(tone(1.0))
    line.mark("one")
    line.play(tone(1.0))
    line.mark("two")
    await asyncio.sleep(1.5)
    line.clear()
    line.mark("idle")
    await asyncio.sleep(0.1)
    assert agent.marks == [(1.0, "one"), (1.5, "two"), (1.5, "idle")]
    await line.hang_up()
    await running


@in_virtual_time(until=100)
async def test_texts_are_spoken_before_the_call() -> None:
    async def speak(text: str) -> bytes:
        await asyncio.sleep(30)
        return tone(0.1 * len(text))

    line = FileTransport([Cue(text="0123456789", when=At(0.0))], speak=speak, limit=1.5)
    await line.connect()
    assert now() == 30.0
    agent = Agent(line, [])
    await line.run(agent)
    assert agent.heard == tone(1.0) + LINE.silence(0.5)


async def test_a_text_without_a_voice_is_refused() -> None:
    with pytest.raises(TransportError, match="no voice was given"):
        await FileTransport([Cue(text="hello")]).connect()


# ---------------------------------------------------------------------------------- the recording


@in_virtual_time(until=100)
async def test_the_recording_has_what_was_heard_on_one_time_axis(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "call.wav"
    line = FileTransport([Cue(tone(1.0), At(0.5))], recording=path, linger=1.0)
    await asyncio.sleep(7)  # the axis begins with the call, not with the clock
    await line.connect()
    line_agent = Agent(line, [tone(1.0, pitch=5)])
    await line.run(line_agent)
    await line.aclose()
    await line.aclose()
    rate, caller, agent = read_call(path)
    assert rate == 16000
    assert len(caller) == len(agent)
    assert caller == line_agent.heard.ljust(len(caller), b"\x00")
    assert first_sound(caller, LINE) == LINE.size(0.5)
    begin = first_sound(agent, LINE)
    assert begin is not None
    assert LINE.seconds(begin) == pytest.approx(0.5 + 1.0 + 0.3 + 0.5, abs=0.021)
    assert agent[begin : begin + LINE.size(1.0)] == tone(1.0, pitch=5)
    assert is_silent(agent[begin + LINE.size(1.0) :], LINE)
    assert LINE.seconds(len(caller)) == pytest.approx(now() - 7, abs=1e-3)


@in_virtual_time(until=100)
async def test_what_was_cleared_is_not_in_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    line = FileTransport([], recording=path, patience=3.0)
    await line.connect()
    loop = asyncio.get_running_loop()
    old, new = tone(2.0, pitch=1), tone(0.5, pitch=9)
    loop.call_at(0.25, line.play, old)
    loop.call_at(1.0, line.clear)
    loop.call_at(1.5, line.play, new)
    await line.run(Agent(line, []))
    await line.aclose()
    _, _, agent = read_call(path)
    wanted = LINE.silence(0.25) + old[: LINE.size(0.75)] + LINE.silence(0.5) + new
    assert agent[: len(wanted)] == wanted
    assert is_silent(agent[len(wanted) :], LINE)


@in_virtual_time(until=100)
async def test_both_sides_are_written_at_the_higher_rate(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    out = AudioFormat("linear16", 24000)
    line = FileTransport(
        [Cue(tone(1.0, MULAW), At(1.0))], recording=path, input=MULAW, output=out, limit=4.0
    )
    await line.connect()
    line.play(tone(0.5, out))
    await line.run(Agent(line, []))
    await line.aclose()
    rate, caller, agent = read_call(path)
    assert rate == 24000
    assert len(caller) == len(agent) == out.size(4.0)
    assert agent[: out.size(0.5)] == tone(0.5, out)
    start = first_sound(caller, out)
    assert start is not None
    assert out.seconds(start) == pytest.approx(1.0, abs=0.002)
    assert caller == convert(MULAW.silence(1.0) + tone(1.0, MULAW) + MULAW.silence(2.0), MULAW, out)


async def test_a_recording_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    line = FileTransport([], recording=tmp_path / "file" / "call.wav", limit=0.02)
    await line.connect()
    await line.run(Agent(line, []))
    with pytest.raises(TransportError, match=r"call\.wav cannot be written"):
        await line.aclose()


async def test_a_call_that_never_began_leaves_no_recording(tmp_path: Path) -> None:
    line = FileTransport([], recording=tmp_path / "call.wav")
    await line.connect()
    await line.aclose()
    assert not (tmp_path / "call.wav").exists()


def test_stretches_that_join_are_written_without_a_seam(tmp_path: Path) -> None:
    """Sums of floating-point times are a hair off; no sample may be lost or doubled for that."""
    data = tone(1.0, LINE)
    start = 0.1 + 0.2
    pieces = [Heard(start + 0.02 * n + 1e-9 * n, data[640 * n : 640 * n + 640]) for n in range(50)]
    path = tmp_path / "call.wav"
    write_call(path, Track(LINE, []), Track(LINE, pieces), start, start + 1.0)
    assert read_call(path) == (16000, bytes(len(data)), data)


# ------------------------------------------------------------------------------------- real time


async def test_it_works_in_real_time_too() -> None:
    line = FileTransport([Cue(tone(0.1), At(0.0))], limit=0.3)
    await line.connect()
    agent = Agent(line, [])
    before = time.monotonic()
    async with asyncio.timeout(10):
        await line.run(agent)
    assert time.monotonic() - before >= 0.29
    assert agent.heard == tone(0.1) + LINE.silence(0.2)
