"""Vonage's socket and call control objects, as its documentation shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.carriers.base import (
    TOKEN,
    CallerAudio,
    CallerKey,
    MarkReached,
    MediaEvent,
    Message,
    StreamStarted,
    Unreadable,
)
from agentkit.carriers.documents import IncomingCall
from agentkit.carriers.vonage import VonageCodec, VonageWebhook
from agentkit.errors import ConfigError

CALL = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab"
CONNECTED = {"event": "websocket:connected", "content-type": "audio/l16;rate=16000"}


def text(**fields: Any) -> str:
    return json.dumps(fields)


def started(content_type: str = "audio/l16;rate=16000") -> VonageCodec:
    codec = VonageCodec()
    (event,) = codec.receive(json.dumps({**CONNECTED, "content-type": content_type}))
    assert isinstance(event, StreamStarted)
    return codec


def one(codec: VonageCodec, message: Message) -> MediaEvent:
    (event,) = codec.receive(message)
    return event


def test_the_start_carries_the_headers_of_the_ncco() -> None:
    message = {**CONNECTED, "uuid": CALL, TOKEN: "sesame", "menu": "sales", "count": 3}
    assert VonageCodec().receive(json.dumps(message)) == (
        StreamStarted(
            stream="",
            call=CALL,
            input=AudioFormat("linear16", 16000),
            output=AudioFormat("linear16", 16000),
            parameters={TOKEN: "sesame", "menu": "sales"},
        ),
    )


@pytest.mark.parametrize(
    ("content_type", "rate"),
    [
        ("audio/l16;rate=8000", 8000),
        ("audio/l16;rate=16000", 16000),
        ("audio/l16;rate=24000", 24000),
        ("audio/L16; rate=8000", 8000),
        (' AUDIO/L16 ; Rate="16000" ', 16000),
    ],
)
def test_the_content_type_decides_the_rate(content_type: str, rate: int) -> None:
    event = one(VonageCodec(), json.dumps({**CONNECTED, "content-type": content_type}))
    assert isinstance(event, StreamStarted)
    assert event.input == event.output == AudioFormat("linear16", rate)
    assert event.call == ""


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        16000,
        "",
        "audio/l16",
        "audio/l16;rate=11025",
        "audio/pcmu;rate=8000",
        "audio/l16;rate=0",
    ],
)
def test_a_start_in_another_format_is_none(content_type: object) -> None:
    codec = VonageCodec()
    event = one(codec, json.dumps({**CONNECTED, "content-type": content_type}))
    assert event == Unreadable("a start whose content-type is not audio/l16 at a known rate")
    assert isinstance(one(codec, json.dumps(CONNECTED)), StreamStarted)


def test_a_start_without_a_content_type_is_none() -> None:
    assert isinstance(one(VonageCodec(), text(event="websocket:connected")), Unreadable)


def test_a_call_id_that_is_no_text_is_left_out() -> None:
    event = one(VonageCodec(), json.dumps({**CONNECTED, "uuid": 5}))
    assert isinstance(event, StreamStarted)
    assert event.call == ""


def test_a_second_start_changes_nothing() -> None:
    codec = started("audio/l16;rate=8000")
    assert one(codec, json.dumps(CONNECTED)) == Unreadable("a second start")
    assert codec.play(bytes(640)) == [bytes(320), bytes(320)]


@pytest.mark.parametrize("size", [640, 2, 1280])
def test_the_callers_audio_is_binary(size: int) -> None:
    assert one(started(), b"\x01\x02" * (size // 2)) == CallerAudio(b"\x01\x02" * (size // 2))


@pytest.mark.parametrize("data", [b"", b"\x01", bytes(641)])
def test_audio_that_is_no_whole_samples_is_none(data: bytes) -> None:
    assert one(started(), data) == Unreadable("audio that is no whole samples")


def test_nothing_is_heard_before_the_start() -> None:
    codec = VonageCodec()
    assert one(codec, bytes(640)) == Unreadable("audio before the start")
    key = text(event="websocket:dtmf", digit="5")
    assert one(codec, key) == Unreadable("an event before the start")


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"digit": "5", "duration": 260}, "5"),
        ({"digit": "#"}, "#"),
        ({"digit": 0}, "0"),
        ({"dtmf": {"digit": "7", "duration": 260}}, "7"),
        ({"dtmf": "*"}, "*"),
    ],
)
def test_keys_come_in_several_shapes(fields: dict[str, Any], key: str) -> None:
    assert one(started(), text(event="websocket:dtmf", **fields)) == CallerKey(key)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"digit": None},
        {"digit": "55"},
        {"digit": "x"},
        {"dtmf": {}},
        {"dtmf": [5]},
        {"dtmf": 55},
    ],
)
def test_what_is_no_key_is_none(fields: dict[str, Any]) -> None:
    event = one(started(), text(event="websocket:dtmf", **fields))
    assert event == Unreadable("a key that is none")


def test_a_mark_is_a_notification_that_comes_back() -> None:
    codec = started()
    (message,) = codec.mark("3:4800")
    assert message == '{"action":"notify","payload":{"name":"3:4800"}}'
    back = text(event="websocket:notify", payload={"name": "3:4800"})
    assert one(codec, back) == MarkReached("3:4800")


@pytest.mark.parametrize("payload", [None, "3:4800", {}, {"name": 3}, []])
def test_a_notification_that_names_nothing_is_no_mark(payload: object) -> None:
    event = one(started(), text(event="websocket:notify", payload=payload))
    assert event == Unreadable("a mark without a name")


def test_a_clear_is_acknowledged_and_proves_nothing() -> None:
    codec = started()
    assert codec.clear() == ('{"action":"clear"}',)
    assert codec.receive('{"event":"websocket:cleared"}') == ()


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_audio_goes_out_in_frames_of_20_ms_exactly(rate: int) -> None:
    codec = started(f"audio/l16;rate={rate}")
    size = rate // 50 * 2
    audio = bytes(range(256)) * (size * 3 // 256) + bytes(size * 3 % 256)
    messages = codec.play(audio)
    assert [len(message) for message in messages] == [size] * 3
    assert b"".join(message for message in messages if isinstance(message, bytes)) == audio
    assert codec.play(b"") == []


def test_closing_the_socket_leaves_the_caller_in_the_call() -> None:
    codec = started()
    assert not codec.hangs_up_on_close
    assert codec.hang_up() == ()
    assert codec.send_dtmf("1") is None
    assert codec.name == "vonage"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("", "a message that is no JSON"),
        ("{", "a message that is no JSON"),
        ("[" * 100_000, "a message that is no JSON"),
        ("[]", "a message that is no JSON object"),
        ('"websocket:connected"', "a message that is no JSON object"),
        ("null", "a message that is no JSON object"),
        ("{}", "an unknown event"),
        ('{"event":"websocket:more"}', "an unknown event"),
        ('{"event":5}', "an unknown event"),
        ('{"event":{}}', "an unknown event"),
    ],
)
def test_what_cannot_be_read_is_counted_and_harms_nothing(message: str, kind: str) -> None:
    codec = started()
    assert one(codec, message) == Unreadable(kind)
    assert one(codec, bytes(2)) == CallerAudio(bytes(2))


def test_the_webhook_tells_of_the_call() -> None:
    fields = {"to": "15550100", "from": "15550199", "uuid": CALL, "conversation_uuid": "CON-1"}
    call = VonageWebhook().read(fields)
    assert call == IncomingCall(CALL, caller="15550199", callee="15550100")
    assert VonageWebhook().read({}) == IncomingCall("")


def test_the_ncco_connects_to_the_socket() -> None:
    document = VonageWebhook().connect(
        "wss://bot.example.com/vonage/media", {TOKEN: "sesame"}, IncomingCall(CALL)
    )
    assert document.content_type == "application/json"
    assert document.body == (
        '[{"action":"connect","endpoint":[{"type":"websocket",'
        '"uri":"wss://bot.example.com/vonage/media","content-type":"audio/l16;rate=16000",'
        f'"headers":{{"token":"sesame","uuid":"{CALL}"}}}}]}}]'
    )


def test_what_the_ncco_sends_along_arrives() -> None:
    body = VonageWebhook().connect("wss://a.example", {"a": "1"}, IncomingCall(CALL)).body
    (endpoint,) = json.loads(body)[0]["endpoint"]
    message = {
        "event": "websocket:connected",
        "content-type": endpoint["content-type"],
        **endpoint["headers"],
    }
    event = one(VonageCodec(), json.dumps(message))
    assert isinstance(event, StreamStarted)
    assert (event.call, event.parameters) == (CALL, {"a": "1"})


@pytest.mark.parametrize("name", ["uuid", "event", "content-type"])
def test_a_parameter_may_not_take_the_place_of_vonages_own(name: str) -> None:
    with pytest.raises(ConfigError, match="another name"):
        VonageWebhook().connect("wss://a.example", {name: "x"}, IncomingCall(CALL))


def test_more_than_vonage_hands_on_is_refused() -> None:
    room = 512 - len(f'{{"a":"","uuid":"{CALL}"}}')
    VonageWebhook().connect("wss://a.example", {"a": "x" * room}, IncomingCall(CALL))
    with pytest.raises(ConfigError, match="513 bytes"):
        VonageWebhook().connect("wss://a.example", {"a": "x" * (room + 1)}, IncomingCall(CALL))


def test_a_refusal_is_said_and_the_call_ends() -> None:
    document = VonageWebhook().refuse('We are "closed".')
    assert json.loads(document.body) == [{"action": "talk", "text": 'We are "closed".'}]
    assert document.content_type == "application/json"
