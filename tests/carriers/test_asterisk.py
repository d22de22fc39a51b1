"""Asterisk's WebSocket channel, in plain words and as JSON, as its documentation shows them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.carriers.asterisk import AsteriskCodec
from agentkit.carriers.base import (
    CallerAudio,
    CallerKey,
    MarkReached,
    MediaEvent,
    Message,
    SendingPaused,
    SendingResumed,
    StreamStarted,
    Unreadable,
)

PLAIN_START = (
    "MEDIA_START connection_id:e226e283 channel:WebSocket/connectionid "
    "channel_id:pbx1-123456789.999 format:ulaw optimal_frame_size:160 ptime:20"
)
JSON_START: dict[str, Any] = {
    "event": "MEDIA_START",
    "connection_id": "e226e283",
    "channel": "WebSocket/connectionid",
    "channel_id": "pbx1-123456789.999",
    "format": "ulaw",
    "optimal_frame_size": 160,
    "ptime": 20,
    "channel_variables": {"token": "sesame", "NUMBER": 3},
}


def one(codec: AsteriskCodec, message: Message) -> MediaEvent:
    (event,) = codec.receive(message)
    return event


def plain() -> AsteriskCodec:
    codec = AsteriskCodec()
    assert isinstance(one(codec, PLAIN_START), StreamStarted)
    return codec


def in_json(**fields: Any) -> AsteriskCodec:
    codec = AsteriskCodec()
    assert isinstance(one(codec, json.dumps({**JSON_START, **fields})), StreamStarted)
    return codec


def test_a_start_in_plain_words() -> None:
    assert one(AsteriskCodec(), PLAIN_START) == StreamStarted(
        stream="e226e283",
        call="pbx1-123456789.999",
        input=AudioFormat("mulaw", 8000),
        output=AudioFormat("mulaw", 8000),
    )


def test_a_start_of_an_older_asterisk_names_no_channel_id() -> None:
    message = (
        "MEDIA_START connection_id:e226e283-c90a-4ea9-9e37-389000b9ef47 "
        "channel:WebSocket/connectionid format:ulaw optimal_frame_size:160"
    )
    event = one(AsteriskCodec(), message)
    assert isinstance(event, StreamStarted)
    assert (event.stream, event.call) == ("e226e283-c90a-4ea9-9e37-389000b9ef47", "")


def test_a_start_in_json_carries_the_channels_variables() -> None:
    assert one(AsteriskCodec(), json.dumps(JSON_START, indent=4)) == StreamStarted(
        stream="e226e283",
        call="pbx1-123456789.999",
        input=AudioFormat("mulaw", 8000),
        output=AudioFormat("mulaw", 8000),
        parameters={"token": "sesame"},
    )


@pytest.mark.parametrize(
    ("name", "form", "frame"),
    [
        ("ulaw", AudioFormat("mulaw", 8000), 160),
        ("alaw", AudioFormat("alaw", 8000), 160),
        ("slin", AudioFormat("linear16", 8000), 320),
        ("slin12", AudioFormat("linear16", 12000), 480),
        ("slin16", AudioFormat("linear16", 16000), 640),
        ("slin24", AudioFormat("linear16", 24000), 960),
        ("slin32", AudioFormat("linear16", 32000), 1280),
        ("slin44", AudioFormat("linear16", 44100), 1764),
        ("slin48", AudioFormat("linear16", 48000), 1920),
    ],
)
def test_the_formats_and_their_messages(name: str, form: AudioFormat, frame: int) -> None:
    codec = AsteriskCodec()
    event = one(codec, f"MEDIA_START connection_id:c format:{name} optimal_frame_size:{frame}")
    assert isinstance(event, StreamStarted)
    assert event.input == event.output == form
    audio = bytes(range(250)) * 1000
    audio = audio[: len(audio) // frame * frame]
    messages = [message for message in codec.play(audio) if isinstance(message, bytes)]
    assert b"".join(messages) == audio
    assert all(len(message) % frame == 0 and len(message) <= 32_000 for message in messages)
    assert len(messages) == -(-len(audio) // (32_000 // frame * frame))
    assert codec.play(b"") == []


@pytest.mark.parametrize("name", ["opus", "g722", "slin96", "ULAW", "", None, 5, ["ulaw"]])
def test_a_format_that_is_not_spoken_is_told_with_its_mend(name: object) -> None:
    codec = AsteriskCodec()
    event = one(codec, json.dumps({**JSON_START, "format": name}))
    kind = "a start in a format that is not spoken: dial c(ulaw) or c(slin16)"
    assert event == Unreadable(kind)
    assert one(codec, "MEDIA_START connection_id:c") == Unreadable(kind)
    assert isinstance(one(codec, PLAIN_START), StreamStarted)


@pytest.mark.parametrize("size", [0, -160, 240, 161, 160.0, True, "x", "9" * 5000, [], "0"])
def test_frames_that_would_be_cut_are_refused(size: object) -> None:
    event = one(AsteriskCodec(), json.dumps({**JSON_START, "optimal_frame_size": size}))
    assert event == Unreadable("a start whose frames do not fit into 20 ms")


@pytest.mark.parametrize("size", [160, 80, "160", None])
def test_frames_that_fit(size: object) -> None:
    in_json(optimal_frame_size=size)


@pytest.mark.parametrize("variables", [None, [], "x", 5])
def test_channel_variables_that_are_none(variables: object) -> None:
    event = one(AsteriskCodec(), json.dumps({**JSON_START, "channel_variables": variables}))
    assert isinstance(event, StreamStarted)
    assert event.parameters == {}


def test_ids_that_are_no_texts_are_left_out() -> None:
    event = one(AsteriskCodec(), json.dumps({**JSON_START, "connection_id": 5, "channel_id": None}))
    assert isinstance(event, StreamStarted)
    assert (event.stream, event.call) == ("", "")


@pytest.mark.parametrize("make", [plain, in_json])
def test_a_second_start_changes_nothing(make: Callable[[], AsteriskCodec]) -> None:
    codec = make()
    before = codec.clear()
    assert one(codec, PLAIN_START) == Unreadable("a second start")
    assert one(codec, json.dumps(JSON_START)) == Unreadable("a second start")
    assert codec.clear() == before


def test_it_is_answered_in_the_form_that_it_was_spoken_to_in() -> None:
    codec = plain()
    assert codec.mark("3:4800") == ("MARK_MEDIA 3:4800",)
    assert codec.clear() == ("FLUSH_MEDIA",)
    assert codec.hang_up() == ("HANGUP",)
    assert codec.answer() == ("ANSWER",)
    codec = in_json()
    assert codec.mark("3:4800") == ('{"command":"MARK_MEDIA","correlation_id":"3:4800"}',)
    assert codec.clear() == ('{"command":"FLUSH_MEDIA"}',)
    assert codec.hang_up() == ('{"command":"HANGUP"}',)
    assert codec.answer() == ('{"command":"ANSWER"}',)
    assert codec.send_dtmf("1") is None


@pytest.mark.parametrize("make", [plain, in_json])
def test_the_longest_name_of_a_mark_is_heard(make: Callable[[], AsteriskCodec]) -> None:
    (message,) = make().mark("m" * 80)
    assert len(message) <= 128


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ("DTMF_END digit:5", CallerKey("5")),
        ("DTMF_END digit:# channel_id:pbx1-1.9", CallerKey("#")),
        ('{"event":"DTMF_END","channel_id":"pbx1-1.9","digit":"*"}', CallerKey("*")),
        ("MEDIA_MARK_PROCESSED 3:4800", MarkReached("3:4800")),
        ("MEDIA_MARK_PROCESSED correlation_id:3:4800", MarkReached("3:4800")),
        ('{"event":"MEDIA_MARK_PROCESSED","correlation_id":"3:4800"}', MarkReached("3:4800")),
        ("MEDIA_XOFF", SendingPaused()),
        ("MEDIA_XON", SendingResumed()),
        ('{"event":"MEDIA_XOFF","channel_id":"pbx1-1.9"}', SendingPaused()),
        ('\n{"event":"MEDIA_XON"}', SendingResumed()),
    ],
)
@pytest.mark.parametrize("make", [plain, in_json])
def test_events_are_read_in_both_forms(
    make: Callable[[], AsteriskCodec], message: str, event: MediaEvent
) -> None:
    assert one(make(), message) == event


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("DTMF_END", "a key that is none"),
        ("DTMF_END digit:", "a key that is none"),
        ("DTMF_END digit:55", "a key that is none"),
        ('{"event":"DTMF_END","digit":{}}', "a key that is none"),
        ("MEDIA_MARK_PROCESSED", "a mark without a name"),
        ('{"event":"MEDIA_MARK_PROCESSED","correlation_id":""}', "a mark without a name"),
        ('{"event":"MEDIA_MARK_PROCESSED","correlation_id":3}', "a mark without a name"),
        (
            "ERROR channel_id:1 error_text:MARK_MEDIA not supported",
            "an error that Asterisk reports",
        ),
        ('{"event":"ERROR","error_text":"no"}', "an error that Asterisk reports"),
        ("QUEUE_DRAINED", "an unknown event"),
        ("STATUS queue_length:43 xon_level:800", "an unknown event"),
        ("MEDIA_BUFFERING_COMPLETED", "an unknown event"),
        ('{"event":5}', "an unknown event"),
        ("{}", "an unknown event"),
        ("", "a message that is no event"),
        ("   ", "a message that is no event"),
        ("media_xoff", "a message that is no event"),
        ("ÄÖÜ", "a message that is no event"),
        ("[]", "a message that is no event"),
        ("5", "a message that is no event"),
        ("{", "a message that is no JSON"),
        ('{"event":' * 100_000, "a message that is no JSON"),
    ],
)
def test_what_cannot_be_read_is_counted_and_harms_nothing(message: str, kind: str) -> None:
    codec = plain()
    assert one(codec, message) == Unreadable(kind)
    assert one(codec, b"\xff") == CallerAudio(b"\xff")


def test_nothing_is_heard_before_the_start() -> None:
    codec = AsteriskCodec()
    assert one(codec, bytes(160)) == Unreadable("audio before the start")
    assert one(codec, "DTMF_END digit:5") == Unreadable("an event before the start")
    assert one(codec, '{"event":"MEDIA_XOFF"}') == Unreadable("an event before the start")


def test_the_callers_audio_is_binary() -> None:
    assert one(plain(), b"\x01\x02\x03") == CallerAudio(b"\x01\x02\x03")
    wide = in_json(format="slin16", optimal_frame_size=640)
    assert one(wide, b"\x01\x02" * 320) == CallerAudio(b"\x01\x02" * 320)


def test_audio_that_is_no_whole_samples_is_none() -> None:
    wide = in_json(format="slin16", optimal_frame_size=640)
    for data in (b"", b"\x01", bytes(641)):
        assert one(wide, data) == Unreadable("audio that is no whole samples")
    assert one(plain(), b"") == Unreadable("audio that is no whole samples")


def test_control_that_comes_as_binary_is_sound() -> None:
    """As it is to Asterisk: nothing tells them apart but the kind of the message."""
    assert one(plain(), b"MEDIA_XOFF") == CallerAudio(b"MEDIA_XOFF")


def test_what_the_dialect_can_do() -> None:
    codec = AsteriskCodec()
    assert codec.subprotocols == ("media",)
    assert codec.name == "asterisk"
    assert codec.hangs_up_on_close
