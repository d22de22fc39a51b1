"""The page's messages, byte for byte, and the wire that carries more than a call."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.carriers.base import (
    CallerAudio,
    MarkReached,
    Message,
    StreamStarted,
    StreamStopped,
    Unreadable,
)
from agentkit.carriers.browser import (
    LONGEST_TYPED,
    BrowserCodec,
    CallerMuted,
    CallerTyped,
    over,
    read_command,
    ready,
    refused,
    voice_format,
)
from agentkit.testing.clock import in_virtual_time
from agentkit.transports.browser import MOST_TOLD, PageWire
from agentkit.transports.phone import Wire

VOICE = AudioFormat("linear16", 24000)
START = '{"type":"start","version":1,"token":"t0ken"}'
FRAME = bytes(960)


def codec() -> BrowserCodec:
    """One that has read its start."""
    made = BrowserCodec(VOICE)
    made.receive(START)
    return made


def heard(epoch: Any, at: Any) -> str:
    return json.dumps({"type": "heard", "epoch": epoch, "at": at})


def test_a_start_says_what_the_socket_carries_and_brings_the_token() -> None:
    [started] = BrowserCodec(VOICE).receive(START)
    assert started == StreamStarted(
        "", "", AudioFormat("linear16", 16000), VOICE, parameters={"token": "t0ken"}
    )
    assert "t0ken" not in repr(started)


@pytest.mark.parametrize("token", ["", ',"token":7', ',"token":null'])
def test_a_start_without_a_token_brings_none(token: str) -> None:
    [started] = BrowserCodec(VOICE).receive(f'{{"type":"start","version":1{token}}}')
    assert isinstance(started, StreamStarted)
    assert started.parameters == {}


def test_a_page_of_another_version_is_not_understood() -> None:
    for version in ("", ',"version":2', ',"version":"1"'):
        [stopped] = BrowserCodec(VOICE).receive(f'{{"type":"start"{version}}}')
        assert isinstance(stopped, StreamStopped)


def test_a_socket_starts_once() -> None:
    assert codec().receive(START) == (Unreadable("a second start"),)


def test_audio_is_what_it_is() -> None:
    assert codec().receive(b"\x01\x02\x03\x04") == (CallerAudio(b"\x01\x02\x03\x04"),)
    assert codec().play(b"\x05\x06") == (b"\x05\x06",)


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(641)])
def test_half_a_sample_is_passed_over(data: bytes) -> None:
    assert codec().receive(data) == (Unreadable("audio of no whole samples"),)


def test_audio_before_the_start_is_passed_over() -> None:
    assert BrowserCodec(VOICE).receive(FRAME) == (Unreadable("audio before the start"),)


def test_marks_are_positions_in_samples_and_heard_is_what_lies_before() -> None:
    made = codec()
    made.play(FRAME)
    assert made.mark("0:960") == ('{"type":"mark","epoch":0,"at":480}',)
    made.play(FRAME * 2)
    assert made.mark("0:2880") == ('{"type":"mark","epoch":0,"at":1440}',)
    assert made.receive(heard(0, 479)) == []
    assert made.receive(heard(0, 480)) == [MarkReached("0:960")]
    assert made.receive(heard(0, 480)) == []
    assert made.receive(heard(0, 1440)) == [MarkReached("0:2880")]


def test_a_later_position_stands_for_those_before_it() -> None:
    made = codec()
    for name in "abc":
        made.play(FRAME)
        made.mark(name)
    assert made.receive(heard(0, 1440)) == [MarkReached(name) for name in "abc"]


def test_an_older_epoch_proves_nothing() -> None:
    made = codec()
    made.play(FRAME)
    made.mark("before")
    assert made.clear() == ('{"type":"clear","epoch":1}',)
    made.play(FRAME)
    assert made.mark("after") == ('{"type":"mark","epoch":1,"at":480}',)
    assert made.receive(heard(0, 480)) == ()
    assert made.receive(heard(1, 480)) == [MarkReached("after")]


@pytest.mark.parametrize(
    ("epoch", "at", "kind"),
    [
        (0, 481, "a position that was never sent"),
        (0, -1, "a position that was never sent"),
        (1, 0, "a position that was never sent"),
        (0, 1.5, "a position that is none"),
        (0, "480", "a position that is none"),
        (True, 0, "a position that is none"),
        (None, None, "a position that is none"),
    ],
)
def test_a_position_that_cannot_be_is_passed_over(epoch: Any, at: Any, kind: str) -> None:
    made = codec()
    made.play(FRAME)
    made.mark("one")
    assert made.receive(heard(epoch, at)) == (Unreadable(kind),)
    assert made.receive(heard(0, 480)) == [MarkReached("one")]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("", "a message that is no JSON"),
        ("[" * 60000, "a message that is no JSON"),
        ("[]", "a message that is no JSON object"),
        ("{}", "a message of an unknown type"),
        ('{"type":["start"]}', "a message of an unknown type"),
        ('{"type":"media"}', "a message of an unknown type"),
    ],
)
def test_what_says_nothing_is_passed_over(message: str, kind: str) -> None:
    assert codec().receive(message) == (Unreadable(kind),)


def test_both_sides_can_end_it() -> None:
    assert codec().receive('{"type":"end"}') == (StreamStopped("caller hung up"),)
    assert codec().hang_up() == ('{"type":"over","why":"closed"}',)
    leaving = codec()
    leaving.leaving = "silence"
    assert leaving.hang_up() == ('{"type":"over","why":"silence"}',)


def test_what_the_server_says_of_the_call() -> None:
    assert ready(VOICE) == '{"type":"ready","version":1,"rate":24000}'
    assert refused("full") == '{"type":"refused","why":"full"}'
    assert over("shutdown") == '{"type":"over","why":"shutdown"}'


@pytest.mark.parametrize(
    ("voice", "rate"),
    [
        (AudioFormat("linear16", 24000), 24000),
        (AudioFormat("mulaw", 8000), 8000),
        (AudioFormat("linear16", 96000), 24000),
        (AudioFormat("linear16", 4000), 24000),
    ],
)
def test_a_voice_is_played_at_its_own_rate_if_browsers_can(voice: AudioFormat, rate: int) -> None:
    assert voice_format(voice) == AudioFormat("linear16", rate)


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ('{"type":"typed","text":" two\\n words "}', CallerTyped("two words")),
        ('{"type":"typed","text":" "}', Unreadable("no words")),
        ('{"type":"typed","text":7}', Unreadable("a command without its value")),
        ('{"type":"muted","muted":true}', CallerMuted(True)),
        ('{"type":"muted","muted":1}', Unreadable("a command without its value")),
        ('{"type":"heard","epoch":0,"at":480}', None),
        ('{"type":"odd","muted":"typed"}', None),
        ('"muted"', None),
        (b'{"type":"muted","muted":true}', None),
    ],
)
def test_commands_are_told_from_the_call(message: Message, command: object) -> None:
    assert read_command(message) == command


def test_what_is_typed_is_cut_off_and_does_not_show() -> None:
    typed = read_command(json.dumps({"type": "typed", "text": "x" * (LONGEST_TYPED + 9)}))
    assert isinstance(typed, CallerTyped)
    assert len(typed.text) == LONGEST_TYPED
    assert "xx" not in repr(typed)


# -------------------------------------------------------------------------------------- the wire


class FakeWire(Wire):
    """A socket in memory, whose far end reads when it is told to."""

    def __init__(self, *received: Message) -> None:
        self.sent: list[Message] = []
        self.closed: list[int] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._received = deque(received)

    async def receive(self) -> Message | None:
        await asyncio.sleep(0)
        return self._received.popleft() if self._received else None

    async def send(self, message: Message) -> None:
        if self.closed:
            raise ConnectionError("closed")
        await self.reads.wait()
        self.sent.append(message)

    async def close(self, code: int = 1000) -> None:
        self.closed.append(code)


@in_virtual_time()
async def test_commands_are_taken_out_and_the_rest_is_the_calls() -> None:
    wire = PageWire(
        FakeWire(START, '{"type":"muted","muted":true}', FRAME, '{"type":"typed","text":7}')
    )
    commands: list[object] = []
    assert await wire.receive() == START
    wire.commanded = commands.append
    assert await wire.receive() == FRAME
    assert await wire.receive() is None
    assert commands == [CallerMuted(True)]
    assert wire.oddities == 1


@in_virtual_time()
async def test_what_was_told_first_is_sent_first() -> None:
    far = FakeWire()
    wire = PageWire(far)
    wire.tell("ready")
    await wire.send(FRAME)
    assert far.sent == ["ready", FRAME]
    telling = asyncio.create_task(wire.tell_on())
    wire.tell("story")
    await asyncio.sleep(0.01)
    assert far.sent[2:] == ["story"]
    wire.tell("last words")
    await wire.close(1008)
    assert far.sent[3:] == ["last words"]
    assert far.closed == [1008]
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


@in_virtual_time()
async def test_a_page_that_does_not_read_ends_its_call(caplog: pytest.LogCaptureFixture) -> None:
    far = FakeWire(*[FRAME] * 9)
    wire = PageWire(far)
    telling = asyncio.create_task(wire.tell_on())
    far.reads.clear()
    for number in range(MOST_TOLD + 9):
        wire.tell(str(number))
    assert await wire.receive() is None
    far.reads.set()
    await telling
    assert far.closed == [1011]


@in_virtual_time()
async def test_closing_does_not_wait_for_a_page_that_does_not_read() -> None:
    far = FakeWire()
    wire = PageWire(far)
    far.reads.clear()
    wire.tell("last words")
    before = asyncio.get_running_loop().time()
    await wire.close()
    assert asyncio.get_running_loop().time() - before == pytest.approx(1.0, abs=0.01)
    assert far.closed == [1000]
