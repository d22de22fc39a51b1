"""Twilio's dialect, byte for byte, and what all of its family must bear."""

from __future__ import annotations

import base64
import json
from typing import Any
from xml.etree import ElementTree

import hypothesis.strategies as st
import pytest
from hypothesis import given

from agentkit.audio.formats import AudioFormat
from agentkit.carriers.base import (
    MULAW_8K,
    CallerAudio,
    CallerKey,
    Codec,
    MarkReached,
    StreamStarted,
    StreamStopped,
    Unreadable,
)
from agentkit.carriers.documents import IncomingCall
from agentkit.carriers.plivo import PlivoCodec
from agentkit.carriers.signalwire import SignalWireCodec
from agentkit.carriers.telnyx import TelnyxCodec
from agentkit.carriers.twilio import TwilioCodec, TwilioWebhook
from agentkit.errors import ConfigError

CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
START = (
    '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC1","streamSid":"MZ1",'
    '"callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw",'
    '"sampleRate":8000,"channels":1},"customParameters":{"token":"t0k","name":"Ann"}},'
    '"streamSid":"MZ1"}'
)
MEDIA = (
    '{"event":"media","sequenceNumber":"3","media":{"track":"inbound","chunk":"1",'
    '"timestamp":"5","payload":"//9/fw=="},"streamSid":"MZ1"}'
)
CALL = IncomingCall("CA1", "+15550001", "+15550002", "AC1")


def started() -> TwilioCodec:
    codec = TwilioCodec()
    assert codec.receive(CONNECTED) == ()
    assert len(codec.receive(START)) == 1
    return codec


def start(**changes: Any) -> str:
    message = json.loads(START)
    message["start"] |= changes
    return json.dumps(message)


def changed(message: str, **changes: Any) -> str:
    return json.dumps(json.loads(message) | changes)


def kind(codec: Codec, message: str | bytes) -> str:
    """The one thing that is wrong with a message."""
    [event] = codec.receive(message)
    assert isinstance(event, Unreadable)
    return event.kind


def test_a_start_tells_the_stream_and_its_parameters() -> None:
    codec = TwilioCodec()
    assert codec.receive(CONNECTED) == ()
    assert codec.receive(START) == (
        StreamStarted(
            stream="MZ1",
            call="CA1",
            input=MULAW_8K,
            output=MULAW_8K,
            account="AC1",
            parameters={"token": "t0k", "name": "Ann"},
        ),
    )


def test_a_start_shows_no_parameter() -> None:
    assert "t0k" not in repr(TwilioCodec().receive(START))


def test_what_twilio_says() -> None:
    codec = started()
    assert codec.receive(MEDIA) == (CallerAudio(b"\xff\xff\x7f\x7f"),)
    dtmf = (
        '{"event":"dtmf","streamSid":"MZ1","sequenceNumber":"5",'
        '"dtmf":{"track":"inbound_track","digit":"#"}}'
    )
    assert codec.receive(dtmf) == (CallerKey("#"),)
    mark = '{"event":"mark","sequenceNumber":"4","streamSid":"MZ1","mark":{"name":"e1.2"}}'
    assert codec.receive(mark) == (MarkReached("e1.2"),)
    stop = (
        '{"event":"stop","sequenceNumber":"5","stop":{"accountSid":"AC1","callSid":"CA1"},'
        '"streamSid":"MZ1"}'
    )
    [stopped] = codec.receive(stop)
    assert isinstance(stopped, StreamStopped)


def test_what_twilio_is_told() -> None:
    codec = started()
    assert codec.play(b"\xff\xff\x7f\x7f") == (
        '{"event":"media","streamSid":"MZ1","media":{"payload":"//9/fw=="}}',
    )
    assert codec.mark("e1.2") == ('{"event":"mark","streamSid":"MZ1","mark":{"name":"e1.2"}}',)
    assert codec.clear() == ('{"event":"clear","streamSid":"MZ1"}',)
    assert codec.send_dtmf("1") is None
    assert codec.hang_up() == ()


def test_a_mark_and_a_stream_with_quotes_in_their_names_stay_json() -> None:
    codec = TwilioCodec()
    codec.receive(start(streamSid='MZ"1\\'))
    assert json.loads(codec.play(b"\xff")[0])["streamSid"] == 'MZ"1\\'
    assert json.loads(codec.mark('a"b')[0])["mark"] == {"name": 'a"b'}


def test_what_it_can_do() -> None:
    assert TwilioCodec.name == TwilioWebhook.name == "twilio"
    assert TwilioCodec.hangs_up_on_close
    assert TwilioWebhook.codec is TwilioCodec
    assert not TwilioWebhook.token_in_path


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("{", "no JSON"),
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "no JSON object"),
        ("null", "no JSON object"),
        (b'{"event":"media"}', "a binary message"),
        ("{}", "without an event"),
        ('{"event":7}', "without an event"),
        ('{"event":"dance","streamSid":"MZ1"}', "an unknown event"),
        (START, "a second start"),
        ('{"event":"media"}', "media without audio"),
        ('{"event":"media","media":[]}', "media without audio"),
        ('{"event":"media","media":{}}', "no base64"),
        ('{"event":"media","media":{"payload":7}}', "no base64"),
        ('{"event":"media","media":{"payload":"//9"}}', "no base64"),
        ('{"event":"media","media":{"payload":"a b="}}', "no base64"),
        ('{"event":"media","media":{"payload":"\\ud800"}}', "no JSON"),
        ('{"event":"media","media":{"payload":""}}', "media without audio"),
        ('{"event":"media","media":{"track":"outbound","payload":"/w=="}}', "another track"),
        ('{"event":"media","media":{"track":[],"payload":"/w=="}}', "another track"),
        (changed(MEDIA, streamSid="MZ2"), "another stream"),
        (changed(MEDIA, streamSid=1), "another stream"),
        ('{"event":"dtmf"}', "key press that says nothing"),
        ('{"event":"dtmf","dtmf":{}}', "no key"),
        ('{"event":"dtmf","dtmf":{"digit":"12"}}', "no key"),
        ('{"event":"dtmf","dtmf":{"digit":"E"}}', "no key"),
        ('{"event":"dtmf","dtmf":{"digit":true}}', "no key"),
        ('{"event":"dtmf","dtmf":{"track":"outbound_track","digit":"1"}}', "another track"),
        ('{"event":"mark"}', "a mark without a name"),
        ('{"event":"mark","mark":{"name":null}}', "a mark without a name"),
        ('{"event":"mark","streamSid":"MZ2","mark":{"name":"x"}}', "another stream"),
        ('{"event":"stop","streamSid":"MZ2"}', "another stream"),
    ],
)
def test_a_bad_message_is_counted_and_the_call_goes_on(message: str | bytes, why: str) -> None:
    codec = started()
    assert why in kind(codec, message)
    assert codec.receive(MEDIA) == (CallerAudio(b"\xff\xff\x7f\x7f"),)
    assert codec.clear() == ('{"event":"clear","streamSid":"MZ1"}',), "the first start holds"


@pytest.mark.parametrize("event", ["media", "dtmf", "mark", "stop"])
def test_before_the_start_and_after_the_stop_nothing_counts(event: str) -> None:
    codec = TwilioCodec()
    assert kind(codec, changed(MEDIA, event=event)) == "a message before the start"
    codec.receive(START)
    codec.receive('{"event":"stop"}')
    assert kind(codec, changed(MEDIA, event=event)) == "a message after the stop"


def test_a_message_that_names_no_stream_is_of_this_one() -> None:
    codec = started()
    assert codec.receive('{"event":"media","media":{"payload":"/w=="}}') == (CallerAudio(b"\xff"),)


def test_numbers_are_read_as_numbers_and_as_texts() -> None:
    codec = TwilioCodec()
    audio = {"encoding": "audio/x-mulaw", "sampleRate": "8000", "channels": "1"}
    parameters: dict[str, Any] = {"age": 7, "flag": True, "none": None, "list": [], "empty": ""}
    [event] = codec.receive(start(mediaFormat=audio, customParameters=parameters))
    assert isinstance(event, StreamStarted)
    assert (event.input, event.parameters) == (MULAW_8K, {"age": "7", "empty": ""})
    assert codec.receive('{"event":"dtmf","dtmf":{"digit":5}}') == (CallerKey("5"),)
    assert codec.receive('{"event":"dtmf","dtmf":{"digit":"d"}}') == (CallerKey("D"),)
    assert codec.receive('{"event":"mark","mark":{"name":12}}') == (MarkReached("12"),)


@pytest.mark.parametrize("parameters", [None, [], "token", 7, [1], [{"value": "x"}]])
def test_parameters_of_a_wrong_type_are_none(parameters: Any) -> None:
    [event] = TwilioCodec().receive(start(customParameters=parameters))
    assert isinstance(event, StreamStarted)
    assert event.parameters == {}


def test_a_start_may_tell_little() -> None:
    codec = TwilioCodec()
    [event] = codec.receive('{"event":"start","start":{},"streamSid":"MZ1"}')
    assert event == StreamStarted("MZ1", "", MULAW_8K, MULAW_8K)


@pytest.mark.parametrize(
    ("audio", "format"),
    [
        ({"encoding": "audio/x-mulaw"}, AudioFormat("mulaw", 8000)),
        ({"encoding": "PCMA", "sampleRate": 8000.0}, AudioFormat("alaw", 8000)),
        ({"encoding": "audio/x-L16;rate=16000", "sampleRate": 16000}, AudioFormat(rate=16000)),
        ({"encoding": "L16", "sample_rate": "24000"}, AudioFormat(rate=24000)),
    ],
)
def test_the_media_format_decides(audio: Any, format: AudioFormat) -> None:
    [event] = TwilioCodec().receive(start(mediaFormat=audio))
    assert isinstance(event, StreamStarted)
    assert (event.input, event.output) == (format, format)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mediaFormat": []}, "audio format is no object"),
        ({"mediaFormat": {}}, "an unknown encoding"),
        ({"mediaFormat": {"encoding": 7}}, "an unknown encoding"),
        ({"mediaFormat": {"encoding": "OPUS", "sampleRate": 16000}}, "a stream in OPUS"),
        ({"mediaFormat": {"encoding": "G722", "sampleRate": 8000}}, "a stream in G722"),
        ({"mediaFormat": {"encoding": "AMR-WB", "sampleRate": 16000}}, "a stream in AMR-WB"),
        ({"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 16000}}, "sampling rate"),
        ({"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": "9" * 99}}, "sampling rate"),
        ({"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": True}}, "sampling rate"),
        ({"mediaFormat": {"encoding": "L16"}}, "sampling rate"),
        ({"mediaFormat": {"encoding": "L16", "sampleRate": 11025}}, "sampling rate"),
        ({"mediaFormat": {"encoding": "audio/x-mulaw", "channels": 2}}, "not mono"),
        ({"streamSid": ""}, "without the stream's id"),
    ],
)
def test_a_start_that_cannot_be_taken_says_why(changes: Any, why: str) -> None:
    codec = TwilioCodec()
    message = start(**changes)
    if "streamSid" in changes:
        message = changed(message, streamSid=None)
    assert why in kind(codec, message)
    assert kind(codec, MEDIA) == "a message before the start"


@pytest.mark.parametrize("message", ['{"event":"start"}', '{"event":"start","start":"x"}'])
def test_a_start_without_its_object_says_nothing(message: str) -> None:
    assert kind(TwilioCodec(), message) == "a start that says nothing"


def test_half_a_sample_is_not_taken() -> None:
    codec = TwilioCodec()
    codec.receive(start(mediaFormat={"encoding": "L16", "sampleRate": 16000}))
    assert kind(codec, MEDIA.replace("//9/fw==", "/w==")) == "media that holds half a sample"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["media", "payload", "track", "chunk", "digit", "name", "encoding", "code"]
            )
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
EVENTS = ["start", "media", "dtmf", "mark", "stop", "error", "playedStream", "clearedAudio", "x"]


@pytest.mark.parametrize("make", [TwilioCodec, SignalWireCodec, TelnyxCodec, PlivoCodec])
@given(data=st.data())
def test_no_message_makes_a_codec_of_the_family_raise(make: type[Codec], data: Any) -> None:
    codec = make()
    if data.draw(st.booleans()):
        ids = {"streamSid": "s", "streamId": "s", "callSid": "c"}
        codec.receive(json.dumps({"event": "start", "start": ids}))
    event = data.draw(st.sampled_from(EVENTS))
    keys = st.sampled_from([event, "extra_headers", "payload", "name", "streamSid", "start"])
    message = data.draw(st.dictionaries(keys, JSON, max_size=4)) | {"event": event}
    codec.receive(json.dumps(message))
    codec.receive(data.draw(st.text() | st.binary()))


@given(st.binary(min_size=1))
def test_audio_survives_both_ways(audio: bytes) -> None:
    codec = started()
    [message] = codec.play(audio)
    assert isinstance(message, str)
    assert base64.b64decode(json.loads(message)["media"]["payload"]) == audio
    assert codec.receive(message) == (CallerAudio(audio),)


def test_a_call_is_connected_to_its_socket() -> None:
    document = TwilioWebhook().connect("wss://bot.example/twilio/media", {"token": "t0k"}, CALL)
    assert document.content_type == "text/xml"
    assert document.body == (
        '<?xml version="1.0" encoding="UTF-8"?><Response><Connect>'
        '<Stream url="wss://bot.example/twilio/media">'
        '<Parameter name="token" value="t0k" /></Stream></Connect></Response>'
    )
    assert "t0k" not in repr(document)


@pytest.mark.parametrize("evil", ['"/><Hangup/>', "</Stream><Dial>1</Dial>", "&amp;&#10;\n'<!--"])
def test_no_parameter_becomes_markup(evil: str) -> None:
    document = TwilioWebhook().connect("wss://bot.example/&<", {evil: evil}, CALL)
    [connect] = ElementTree.fromstring(document.body)
    [stream] = connect
    [parameter] = stream
    assert stream.attrib == {"url": "wss://bot.example/&<"}
    assert parameter.attrib == {"name": evil, "value": evil}


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"note": "s3cret" * 84}, "at most 499 characters"),
        ({"note": "s3cret\x00"}, "control character"),
        ({"note": "s3cret\ud800"}, "control character"),
        ({"": "s3cret"}, "needs a name"),
    ],
)
def test_a_parameter_that_cannot_be_sent_is_an_error(parameters: Any, why: str) -> None:
    with pytest.raises(ConfigError, match="parameters") as caught:
        TwilioWebhook().connect("wss://bot.example/", parameters, CALL)
    assert why in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_the_longest_parameter_passes() -> None:
    assert "x" * 495 in TwilioWebhook().connect("wss://b/", {"note": "x" * 495}, CALL).body
    with pytest.raises(ConfigError):
        TwilioWebhook().connect("wss://b/", {"note": "x" * 496}, CALL)


def test_a_url_with_a_query_is_an_error() -> None:
    with pytest.raises(ConfigError, match="query") as caught:
        TwilioWebhook().connect("wss://bot.example/?token=s3cret", {}, CALL)
    assert "s3cret" not in str(caught.value)


def test_a_call_is_refused() -> None:
    webhook = TwilioWebhook()
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    assert webhook.refuse("We are <busy> & sorry.\x00").body == (
        f"{head}<Response><Say>We are &lt;busy&gt; &amp; sorry.</Say><Hangup /></Response>"
    )
    assert webhook.refuse("").body == f'{head}<Response><Reject reason="busy" /></Response>'


def test_what_a_webhook_says_of_a_call() -> None:
    webhook = TwilioWebhook()
    fields = {"CallSid": "CA1", "From": "+15550001", "To": "+15550002", "AccountSid": "AC1"}
    assert webhook.read(fields) == CALL
    assert webhook.read({}) == IncomingCall("")
    assert "+1555" not in repr(webhook.read(fields))
