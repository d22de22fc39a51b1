"""AudioSocket's packets, whole and in pieces, as Asterisk's source writes and reads them."""

from __future__ import annotations

import struct
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.audio.formats import AudioFormat
from agentkit.carriers.audiosocket import UUID_PACKET, AudioSocketCodec
from agentkit.carriers.base import (
    CallerAudio,
    CallerKey,
    MediaEvent,
    StreamStarted,
    StreamStopped,
    Unreadable,
)
from agentkit.errors import ConfigError

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
NARROW = AudioFormat("linear16", 8000)
WIDE = AudioFormat("linear16", 16000)
KINDS = {
    0x10: 8000,
    0x11: 12000,
    0x12: 16000,
    0x13: 24000,
    0x14: 32000,
    0x15: 44100,
    0x16: 48000,
    0x17: 96000,
    0x18: 192000,
}


def packet(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


FIRST = packet(0x01, CALL.bytes)
AUDIO = packet(0x10, b"\x01\x02" * 160)


def begun(form: AudioFormat) -> StreamStarted:
    return StreamStarted(stream=str(CALL), call=str(CALL), input=form, output=form)


def started(form: AudioFormat = NARROW) -> AudioSocketCodec:
    codec = AudioSocketCodec(form)
    assert codec.feed(FIRST) == [begun(form)]
    return codec


def test_the_first_packet_holds_the_uuid_and_the_first_audio_tells_the_rate() -> None:
    codec = AudioSocketCodec()
    assert codec.uuid is None
    assert len(FIRST) == UUID_PACKET
    assert codec.feed(FIRST) == []
    assert codec.uuid == CALL
    assert codec.feed(AUDIO) == [begun(NARROW), CallerAudio(b"\x01\x02" * 160)]
    assert codec.feed(AUDIO) == [CallerAudio(b"\x01\x02" * 160)]


@pytest.mark.parametrize(("kind", "rate"), KINDS.items())
def test_each_kind_of_audio_has_its_rate_both_ways(kind: int, rate: int) -> None:
    codec = AudioSocketCodec()
    form = AudioFormat("linear16", rate)
    frame = bytes(range(256)) * (form.size(0.02) // 256 + 1)
    frame = frame[: form.size(0.02)]
    assert codec.feed(FIRST + packet(kind, frame)) == [begun(form), CallerAudio(frame)]
    assert codec.play(frame) == [packet(kind, frame)]
    assert codec.play(frame * 3) == [packet(kind, frame)] * 3


def test_a_packet_without_payload_is_never_sent() -> None:
    assert started().play(b"") == []


def test_a_rate_that_is_known_starts_the_stream_with_the_uuid() -> None:
    codec = AudioSocketCodec(WIDE)
    assert codec.feed(FIRST) == [begun(WIDE)]
    assert codec.begin() == []
    assert codec.feed(AUDIO) == [Unreadable("audio at another rate than the stream's")]
    assert codec.feed(packet(0x12, b"\x01\x02")) == [CallerAudio(b"\x01\x02")]


@pytest.mark.parametrize("form", [AudioFormat("mulaw", 8000), AudioFormat("linear16", 11025)])
def test_a_format_that_no_kind_carries_is_refused(form: AudioFormat) -> None:
    with pytest.raises(ConfigError, match="8000, 12000, 16000"):
        AudioSocketCodec(form)


def test_without_audio_the_stream_may_begin_as_the_application_has_it() -> None:
    codec = AudioSocketCodec()
    assert codec.feed(FIRST + packet(0x03, b"5")) == []
    assert codec.begin() == [begun(NARROW), CallerKey("5")]
    assert codec.begin() == []
    assert codec.feed(AUDIO) == [CallerAudio(b"\x01\x02" * 160)]


def test_keys_before_the_rate_is_known_come_after_the_start() -> None:
    codec = AudioSocketCodec()
    assert codec.feed(FIRST + packet(0x03, b"5") + packet(0x03, b"#")) == []
    assert codec.feed(AUDIO) == [
        begun(NARROW),
        CallerKey("5"),
        CallerKey("#"),
        CallerAudio(b"\x01\x02" * 160),
    ]


@pytest.mark.parametrize("key", "0123456789*#ABCD")
def test_keys(key: str) -> None:
    assert started().feed(packet(0x03, key.encode())) == [CallerKey(key)]


@pytest.mark.parametrize("payload", [b"", b"55", b"x", b"\xff", b"5" * 1000])
def test_what_is_no_key_is_none(payload: bytes) -> None:
    assert started().feed(packet(0x03, payload)) == [Unreadable("a key that is none")]


def test_hang_up() -> None:
    codec = started()
    assert codec.hang_up() == (b"\x00\x00\x00",)
    assert codec.feed(AUDIO + packet(0x00) + AUDIO) == [
        CallerAudio(b"\x01\x02" * 160),
        StreamStopped("hang-up"),
    ]
    assert codec.feed(AUDIO) == []
    assert codec.begin() == []


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (FIRST, "a second UUID"),
        (packet(0xFF, b"\x01"), "an error that Asterisk reports"),
        (packet(0xFF), "an error that Asterisk reports"),
        (packet(0x02), "an unknown kind of packet"),
        (packet(0x19, bytes(320)), "an unknown kind of packet"),
        (packet(0x10), "audio that is no whole samples"),
        (packet(0x10, bytes(321)), "audio that is no whole samples"),
    ],
)
def test_what_says_nothing_is_counted_and_harms_nothing(odd: bytes, kind: str) -> None:
    assert started().feed(odd + AUDIO) == [Unreadable(kind), CallerAudio(b"\x01\x02" * 160)]


def test_text_is_none_of_it() -> None:
    codec = started()
    assert codec.receive("hello") == (Unreadable("text on a stream of bytes"),)
    assert codec.receive(AUDIO) == [CallerAudio(b"\x01\x02" * 160)]


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        packet(0x01, CALL.bytes[:15]),
        packet(0x01, CALL.bytes + b"\x00"),
        packet(0x01),
        packet(0x00),
        AUDIO,
        b"\x01\xff\xff",
    ],
)
def test_a_connection_that_does_not_begin_with_a_uuid_is_stopped(first: bytes) -> None:
    codec = AudioSocketCodec()
    assert codec.feed(first) == [StreamStopped("the first packet is no UUID")]
    assert codec.uuid is None
    assert codec.feed(FIRST + AUDIO) == codec.begin() == []


def test_there_are_no_marks_and_nothing_to_clear() -> None:
    codec = started()
    assert codec.mark("3:4800") == codec.clear() == ()
    assert codec.send_dtmf("1") is None
    assert codec.name == "audiosocket"
    assert codec.hangs_up_on_close


STREAM = (
    FIRST
    + packet(0x03, b"1")
    + AUDIO
    + packet(0x42, bytes(65535))
    + packet(0x10, b"\x03\x04" * 32767)
    + packet(0x03, b"#")
    + packet(0x00)
    + b"\x10"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_packets_are_the_same_however_the_stream_is_cut(cuts: list[int]) -> None:
    codec = AudioSocketCodec()
    events: list[MediaEvent] = []
    edges = [0, *sorted(cuts), len(STREAM)]
    for begin, end in pairwise(edges):
        events += codec.feed(STREAM[begin:end])
    assert events == AudioSocketCodec().feed(STREAM)
    assert [type(event) for event in events] == [
        StreamStarted,
        CallerKey,
        CallerAudio,
        Unreadable,
        CallerAudio,
        CallerKey,
        StreamStopped,
    ]


def test_a_byte_at_a_time() -> None:
    codec = AudioSocketCodec()
    events = [
        event
        for at in range(len(FIRST + AUDIO))
        for event in codec.feed((FIRST + AUDIO)[at : at + 1])
    ]
    assert events == [begun(NARROW), CallerAudio(b"\x01\x02" * 160)]


@given(st.binary(max_size=2000))
def test_no_bytes_raise_anything(data: bytes) -> None:
    AudioSocketCodec().feed(data)
    started().feed(data)
