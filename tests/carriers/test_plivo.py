"""Plivo's dialect: checkpoints, keys, and parameters in extra headers."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import hypothesis.strategies as st
import pytest
from hypothesis import given

from agentkit.audio.formats import AudioFormat
from agentkit.carriers.base import (
    LINEAR_8K,
    LINEAR_16K,
    MULAW_8K,
    CallerAudio,
    CallerKey,
    MarkReached,
    StreamStarted,
    StreamStopped,
    Unreadable,
)
from agentkit.carriers.documents import IncomingCall
from agentkit.carriers.plivo import PlivoCodec, PlivoWebhook, read_headers, write_headers
from agentkit.errors import ConfigError, UsageError

CALL = IncomingCall("c-1", "15550001", "15550002", "MA1")


def start(encoding: str = "audio/x-mulaw", rate: Any = 8000, headers: Any = "token=t0k,n=1") -> str:
    return json.dumps(
        {
            "sequenceNumber": 0,
            "event": "start",
            "start": {
                "callId": "c-1",
                "streamId": "s-1",
                "accountId": "MA1",
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": encoding, "sampleRate": rate},
            },
            "extra_headers": headers,
        }
    )


def started() -> PlivoCodec:
    codec = PlivoCodec()
    assert len(codec.receive(start())) == 1
    return codec


def test_a_start_tells_the_stream_and_its_parameters() -> None:
    assert PlivoCodec().receive(start()) == (
        StreamStarted(
            stream="s-1",
            call="c-1",
            input=MULAW_8K,
            output=MULAW_8K,
            account="MA1",
            parameters={"token": "t0k", "n": "1"},
        ),
    )


def test_what_plivo_says() -> None:
    codec = started()
    media = (
        '{"sequenceNumber":42,"streamId":"s-1","event":"media","media":{"track":"inbound",'
        '"timestamp":"1714026567010","chunk":41,"payload":"//9/fw=="},"extra_headers":"{}"}'
    )
    assert codec.receive(media) == (CallerAudio(b"\xff\xff\x7f\x7f"),)
    dtmf = (
        '{"event":"dtmf","sequenceNumber":45,"streamId":"s-1","dtmf":{"track":"inbound",'
        '"digit":"5","timestamp":"1714026567010"},"extra_headers":"{}"}'
    )
    assert codec.receive(dtmf) == (CallerKey("5"),)
    played = '{"event":"playedStream","sequenceNumber":"46","streamId":"s-1","name":"m"}'
    assert codec.receive(played) == (MarkReached("m"),)
    assert codec.receive('{"event":"playedStream","name":"n"}') == (MarkReached("n"),)
    cleared = '{"sequenceNumber":47,"streamId":"s-1","event":"clearedAudio"}'
    assert codec.receive(cleared) == ()


@pytest.mark.parametrize("event", ["stop", "end"])
def test_the_end_goes_by_two_names(event: str) -> None:
    codec = started()
    [stopped] = codec.receive(json.dumps({"event": event, "streamId": "s-1"}))
    assert isinstance(stopped, StreamStopped)
    assert codec.receive('{"event":"playedStream","name":"m"}') == (
        Unreadable("a message after the stop"),
    )


def test_what_plivo_is_told() -> None:
    codec = started()
    assert codec.play(b"\xff\xff\x7f\x7f") == (
        '{"event":"playAudio","media":{"contentType":"audio/x-mulaw","sampleRate":8000,'
        '"payload":"//9/fw=="}}',
    )
    assert codec.mark("m") == ('{"event":"checkpoint","streamId":"s-1","name":"m"}',)
    assert codec.clear() == ('{"event":"clearAudio","streamId":"s-1"}',)
    assert list(codec.send_dtmf("5*d")) == [
        '{"event":"sendDTMF","dtmf":"5"}',
        '{"event":"sendDTMF","dtmf":"*"}',
        '{"event":"sendDTMF","dtmf":"D"}',
    ]
    with pytest.raises(UsageError):
        codec.send_dtmf("5w")


def test_what_it_can_do() -> None:
    assert PlivoCodec.name == PlivoWebhook.name == "plivo"
    assert not PlivoCodec.hangs_up_on_close, "keepCallAlive"
    assert PlivoWebhook.codec is PlivoCodec
    assert not PlivoWebhook.token_in_path


@pytest.mark.parametrize(("rate", "format"), [(8000, LINEAR_8K), ("16000", LINEAR_16K)])
def test_linear_audio_is_taken_and_played_as_the_start_says(rate: Any, format: AudioFormat) -> None:
    codec = PlivoCodec()
    [event] = codec.receive(start("audio/x-l16", rate))
    assert isinstance(event, StreamStarted)
    assert (event.input, event.output) == (format, format)
    assert codec.play(b"\x01\x02") == (
        '{"event":"playAudio","media":{"contentType":"audio/x-l16",'
        f'"sampleRate":{format.rate},"payload":"AQI="}}}}',
    )
    odd = '{"event":"media","media":{"payload":"AQ=="}}'
    assert codec.receive(odd) == (Unreadable("media that holds half a sample"),)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("{", "no JSON"),
        (b"{}", "a binary message"),
        (start(), "a second start"),
        ('{"event":"media","media":{"payload":"="}}', "no base64"),
        ('{"event":"media","streamId":"s-2","media":{"payload":"/w=="}}', "another stream"),
        ('{"event":"playedStream","streamId":"s-2","name":"m"}', "another stream"),
        ('{"event":"playedStream","streamId":"s-1"}', "a mark without a name"),
        ('{"event":"clearedAudio","streamId":"s-2"}', "another stream"),
        ('{"event":"checkpoint","streamId":"s-1"}', "an unknown event"),
    ],
)
def test_a_bad_message_is_counted(message: str | bytes, why: str) -> None:
    codec = started()
    [event] = codec.receive(message)
    assert isinstance(event, Unreadable)
    assert why in event.kind
    assert codec.clear() == ('{"event":"clearAudio","streamId":"s-1"}',)


@pytest.mark.parametrize("event", ["media", "dtmf", "playedStream", "clearedAudio"])
def test_before_the_start_nothing_counts(event: str) -> None:
    message = json.dumps({"event": event, "name": "m", "media": {"payload": "/w=="}})
    assert PlivoCodec().receive(message) == (Unreadable("a message before the start"),)


def test_a_start_without_a_stream_is_none() -> None:
    message = start().replace('"s-1"', '""')
    assert PlivoCodec().receive(message) == (Unreadable("a start without the stream's id"),)


@pytest.mark.parametrize(
    "headers",
    [
        "token=t0k,n=1",
        "token=t0k;n=1",
        " token = t0k ; n = 1 ",
        "X-PH-token=t0k,X-PH-n=1",
        "{X-PH-token: t0k, X-PH-n: 1}",
        "{'token': 't0k', 'n': '1'}".replace("'", '"'),
        {"token": "t0k", "n": 1},
        '{"X-PH-token":"t0k","X-PH-n":1}',
        "token=%740k,n=1",
        "token=t0k,junk,n=1,",
    ],
)
def test_extra_headers_are_read_in_all_their_forms(headers: Any) -> None:
    assert read_headers(headers) == {"token": "t0k", "n": "1"}


@pytest.mark.parametrize("headers", [None, "", "{}", [], 7, "junk", "=x", True])
def test_extra_headers_that_hold_nothing_are_none(headers: Any) -> None:
    assert read_headers(headers) == {}


TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=20
)


@given(st.dictionaries(TEXT.filter(lambda name: name != ""), TEXT, max_size=2))
def test_parameters_survive_as_extra_headers(parameters: dict[str, str]) -> None:
    try:
        headers = write_headers(parameters)
    except ConfigError:
        return
    assert len(headers.encode()) <= 512
    bare = {n[5:] if n[:5].lower() == "x-ph-" else n: v for n, v in parameters.items()}
    assert read_headers(headers) == bare
    assert read_headers(headers.replace(",", ";")) == bare


def test_parameters_that_do_not_fit_are_an_error() -> None:
    assert write_headers({"a": "x" * 510}) == "a=" + "x" * 510
    for parameters in ({"a": "x" * 511}, {"a": "é" * 86}, {"a\x00": "b"}):
        with pytest.raises(ConfigError, match="parameters") as caught:
            PlivoWebhook().connect("wss://bot.example/", parameters, CALL)
        assert "xxx" not in str(caught.value)


def test_a_call_is_connected_to_its_socket() -> None:
    webhook = PlivoWebhook()
    url = "wss://bot.example/plivo/media"
    assert webhook.connect(url, {"token": "a.b-c_d", "name": "Ann, B;"}, CALL).body == (
        '<?xml version="1.0" encoding="UTF-8"?><Response>'
        '<Stream bidirectional="true" keepCallAlive="true" audioTrack="inbound" '
        'contentType="audio/x-mulaw;rate=8000" extraHeaders="token=a.b-c_d,name=Ann%2C%20B%3B">'
        "wss://bot.example/plivo/media</Stream></Response>"
    )
    [stream] = ElementTree.fromstring(webhook.connect("wss://b/?x=1&<y>", {}, CALL).body)
    assert stream.text == "wss://b/?x=1&<y>"
    assert "extraHeaders" not in stream.attrib


def test_a_call_is_refused() -> None:
    [speak, hang_up] = ElementTree.fromstring(PlivoWebhook().refuse("<Dial/>").body)
    assert (speak.tag, speak.text) == ("Speak", "<Dial/>")
    assert (hang_up.tag, hang_up.attrib) == ("Hangup", {})
    assert '<Response><Hangup reason="busy" /></Response>' in PlivoWebhook().refuse("").body


def test_what_a_webhook_says_of_a_call() -> None:
    fields = {"CallUUID": "c-1", "From": "15550001", "To": "15550002", "ParentAuthID": "MA1"}
    assert PlivoWebhook().read(fields) == CALL
    assert PlivoWebhook().read({}) == IncomingCall("")
