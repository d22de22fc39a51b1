"""A caller made of cues, and a recording of what was heard."""

from __future__ import annotations

import asyncio
import math
import struct
import time
import wave
from array import array
from pathlib import Path

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import first_sound, is_silent
from agentkit.audio.resample import convert
from agentkit.errors import ConfigError, TransportError
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
    load_cues,
    read_wav,
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


def write_wav(
    path: Path,
    samples: bytes,
    *,
    rate: int = 16000,
    tag: int = 1,
    bits: int = 16,
    channels: int = 1,
) -> Path:
    frame = channels * bits // 8
    head = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    extra = b"LIST" + struct.pack("<I", 3) + b"odd\x00"
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + extra
    body += b"data" + struct.pack("<I", len(samples)) + samples
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


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


# -------------------------------------------------------------------------------------- WAV files


def test_wav_files_of_every_kind_are_read(tmp_path: Path) -> None:
    data = tone(0.1)
    path = write_wav(tmp_path / "a.wav", data, rate=44100)
    assert read_wav(path) == (AudioFormat("linear16", 44100), data)
    for tag, encoding in ((7, "mulaw"), (6, "alaw")):
        path = write_wav(tmp_path / "b.wav", data, rate=8000, tag=tag, bits=8)
        assert read_wav(path) == (AudioFormat(encoding, 8000), data)  # type: ignore[arg-type]


def test_an_extensible_header_is_read(tmp_path: Path) -> None:
    """WAVE_FORMAT_EXTENSIBLE has the true format tag at the head of its sub-format."""
    path = write_wav(tmp_path / "a.wav", tone(0.1))
    old = path.read_bytes()
    more = struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    head = struct.pack("<I", 40) + struct.pack("<H", 0xFFFE) + old[22:36] + more
    path.write_bytes(old[:16] + head + old[36:])
    assert read_wav(path) == (LINE, tone(0.1))


def test_of_a_stereo_file_the_left_side_is_the_caller(tmp_path: Path) -> None:
    left, right = array("h", tone(0.1, pitch=1)), array("h", tone(0.1, pitch=7))
    both = array("h", (sample for pair in zip(left, right, strict=True) for sample in pair))
    path = write_wav(tmp_path / "a.wav", both.tobytes(), channels=2)
    assert read_wav(path) == (LINE, left.tobytes())


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(0.1))
    path.write_bytes(path.read_bytes()[:-101])
    assert read_wav(path) == (LINE, tone(0.1)[:-102])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "RIFF header"),
        (b"RIFF\x00\x00\x00\x00WAVE", "fmt "),
        (b"RIFF\x00\x00\x00\x00WAVEfmt \x02\x00\x00\x00\x01\x00data\x00\x00\x00\x00", "unpack"),
    ],
)
def test_what_is_no_wav_file_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(TransportError, match=rf"a\.wav cannot be read as a WAV file: .*{problem}"):
        read_wav(path)


def test_a_missing_file_and_one_of_24_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"gone\.wav cannot be read"):
        read_wav(tmp_path / "gone.wav")
    path = write_wav(tmp_path / "a.wav", bytes(300), bits=24)
    with pytest.raises(TransportError, match=r"samples of 24 bits, format 1: make it 16-bit"):
        read_wav(path)


@in_virtual_time(until=100)
async def test_files_are_converted_to_the_lines_format(tmp_path: Path) -> None:
    file = AudioFormat("linear16", 22050)
    path = write_wav(tmp_path / "a.wav", tone(1.0, file), rate=22050)
    line = FileTransport([Cue(path, At(0.0))], input=MULAW, limit=2.0)
    await line.connect()
    agent = Agent(line, [])
    await line.run(agent)
    wanted = convert(tone(1.0, file), file, MULAW)
    assert agent.heard[: len(wanted)] == wanted
    assert {len(data) for _, data in agent.frames} == {160}


# -------------------------------------------------------------------------------------- cue sheets


def test_a_cue_sheet(tmp_path: Path) -> None:
    path = tmp_path / "cues.toml"
    path.write_text(
        """
        [[cue]]
        text = "Hello"

        [[cue]]
        text = "again"
        after_agent = 1

        [[cue]]
        audio = "sub/no.wav"
        into_reply = 1.2

        [[cue]]
        text = "and"
        pause = 0.8

        [[cue]]
        text = "bye"
        at = 30.0
        """
    )
    assert load_cues(path) == [
        Cue(text="Hello"),
        Cue(text="again", when=AfterAgent(1.0)),
        Cue(tmp_path / "sub" / "no.wav", IntoReply(1.2)),
        Cue(text="and", when=AfterCaller(0.8)),
        Cue(text="bye", when=At(30.0)),
    ]


@pytest.mark.parametrize(
    ("sheet", "problem"),
    [
        ("[[cue", r"cues\.toml: cannot be read as TOML"),
        ("", r"a cue sheet is one \[\[cue\]\] after another"),
        ("cue = []", r"a cue sheet is one \[\[cue\]\] after another"),
        ("quiet = 1\n[[cue]]\ntext = 'a'", r"nothing else"),
        ("cue = ['a']", r"cue 1: the keys of a cue are audio, text, after_agent"),
        ("[[cue]]\ntext = 'a'\n[[cue]]\nsay = 'b'", r"cue 2: the keys of a cue are audio"),
        ("[[cue]]\ntext = 'a'\nat = 1\npause = 1", r"cue 1: give only one of pause, at"),
        ("[[cue]]\ntext = 1", r"cue 1, text: 1 is not a text"),
        ("[[cue]]\ntext = 'a'\nat = '1'", r"cue 1, at: '1' is not a number of seconds"),
        ("[[cue]]\ntext = 'a'\nat = true", r"cue 1, at: True is not a number of seconds"),
        ("[[cue]]\ntext = 'a'\nat = -1", r"cue 1: -1.* is no time to wait"),
        ("[[cue]]\ntext = 'a'\nat = nan", r"cue 1: nan is no time to wait"),
        ("[[cue]]\nat = 1", r"cue 1: give it either `audio`, a WAV file, or `text`"),
        ("[[cue]]\ntext = 'a'\naudio = 'a.wav'", r"cue 1: give it either `audio`"),
    ],
)
def test_a_wrong_cue_sheet_names_the_cue_and_the_mend(
    tmp_path: Path, sheet: str, problem: str
) -> None:
    path = tmp_path / "cues.toml"
    path.write_text(sheet)
    with pytest.raises(ConfigError, match=problem):
        load_cues(path)


def test_a_missing_cue_sheet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read"):
        load_cues(tmp_path / "gone.toml")


async def test_it_works_in_real_time_too() -> None:
    line = FileTransport([Cue(tone(0.1), At(0.0))], limit=0.3)
    await line.connect()
    agent = Agent(line, [])
    before = time.monotonic()
    async with asyncio.timeout(10):
        await line.run(agent)
    assert time.monotonic() - before >= 0.29
    assert agent.heard == tone(0.1) + LINE.silence(0.2)
