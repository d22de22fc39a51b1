"""SignalWire's dialect: Twilio's, with ids that may be missing, L16, and keys to press."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.carriers.base import (
    LINEAR_16K,
    LINEAR_24K,
    MULAW_8K,
    CallerAudio,
    CallerKey,
    MarkReached,
    StreamStarted,
    StreamStopped,
    Unreadable,
)
from agentkit.carriers.documents import IncomingCall
from agentkit.carriers.signalwire import SignalWireCodec, SignalWireWebhook
from agentkit.errors import ConfigError, UsageError

CONNECTED = '{"event":"connected","protocol":"Call","version":"0.2.0"}'
STREAM = "7d56cc11-536d-4a45-b4fb-ed3d55be843b"
CALL = IncomingCall("76ac3c36-56da-4a3e-a0d6-b5f8df6da9ad")


def start(encoding: str = "audio/x-mulaw", rate: Any = 8000) -> str:
    """As SignalWire's page shows it: the stream's id stands inside only."""
    return json.dumps(
        {
            "event": "start",
            "sequenceNumber": "1",
            "start": {
                "streamSid": STREAM,
                "accountSid": "b08dacad-2f6c-4de1-93d6-cc732e0c69c5",
                "callSid": CALL.call,
                "tracks": ["inbound"],
                "customParameters": {"token": "t0k"},
                "mediaFormat": {"encoding": encoding, "sampleRate": rate, "channels": 1},
            },
        }
    )


def started() -> SignalWireCodec:
    codec = SignalWireCodec()
    assert codec.receive(CONNECTED) == ()
    assert len(codec.receive(start())) == 1
    return codec


def test_what_signalwire_says_without_naming_the_stream() -> None:
    codec = SignalWireCodec()
    assert codec.receive(CONNECTED) == ()
    assert codec.receive(start()) == (
        StreamStarted(
            stream=STREAM,
            call=CALL.call,
            input=MULAW_8K,
            output=MULAW_8K,
            account="b08dacad-2f6c-4de1-93d6-cc732e0c69c5",
            parameters={"token": "t0k"},
        ),
    )
    media = (
        '{"event":"media","sequenceNumber":"42","media":{"track":"inbound","chunk":"1",'
        '"timestamp":"0","payload":"//9/fw=="}}'
    )
    assert codec.receive(media) == (CallerAudio(b"\xff\xff\x7f\x7f"),)
    dtmf = (
        f'{{"event":"dtmf","sequenceNumber":"123","streamSid":"{STREAM}",'
        '"dtmf":{"digit":"5","duration":2000}}'
    )
    assert codec.receive(dtmf) == (CallerKey("5"),)
    mark = f'{{"event":"mark","streamSid":"{STREAM}","mark":{{"name":"m"}}}}'
    assert codec.receive(mark) == (MarkReached("m"),)
    [stopped] = codec.receive('{"event":"stop","sequenceNumber":"999"}')
    assert isinstance(stopped, StreamStopped)


def test_what_signalwire_is_told() -> None:
    codec = started()
    sid = f'"streamSid":"{STREAM}"'
    assert codec.play(b"\xff\xff\x7f\x7f") == (
        f'{{"event":"media",{sid},"media":{{"payload":"//9/fw=="}}}}',
    )
    assert codec.mark("m") == (f'{{"event":"mark",{sid},"mark":{{"name":"m"}}}}',)
    assert codec.clear() == (f'{{"event":"clear",{sid}}}',)
    assert list(codec.send_dtmf("5#")) == [
        f'{{"event":"dtmf",{sid},"dtmf":{{"digit":"5"}}}}',
        f'{{"event":"dtmf",{sid},"dtmf":{{"digit":"#"}}}}',
    ]
    assert codec.send_dtmf("") == []


def test_only_keys_are_pressed_and_others_do_not_show() -> None:
    with pytest.raises(UsageError) as caught:
        started().send_dtmf("12x4")
    assert "12" not in str(caught.value)


@pytest.mark.parametrize(
    ("rate", "format"),
    [(16000, LINEAR_16K), ("16000", LINEAR_16K), (24000, LINEAR_24K)],
)
def test_linear_audio_is_taken_as_the_start_says(rate: Any, format: AudioFormat) -> None:
    codec = SignalWireCodec()
    [event] = codec.receive(start("audio/x-L16", rate))
    assert isinstance(event, StreamStarted)
    assert (event.input, event.output) == (format, format)
    [message] = codec.play(b"\x01\x02")
    assert isinstance(message, str)
    assert codec.receive(message) == (CallerAudio(b"\x01\x02"),)
    odd = '{"event":"media","media":{"payload":"AQ=="}}'
    assert codec.receive(odd) == (Unreadable("media that holds half a sample"),)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("{", "a message that is no JSON"),
        (b"\x00", "a binary message"),
        (start(), "a second start"),
        ('{"event":"media","media":{"payload":"%"}}', "media that is no base64"),
        ('{"event":"media","streamSid":"other","media":{"payload":"/w=="}}', "another stream"),
        ('{"event":"hello"}', "an unknown event"),
    ],
)
def test_a_bad_message_is_counted(message: str | bytes, why: str) -> None:
    codec = started()
    [event] = codec.receive(message)
    assert isinstance(event, Unreadable)
    assert why in event.kind
    assert codec.clear() == (f'{{"event":"clear","streamSid":"{STREAM}"}}',)


def test_media_before_the_start_is_counted() -> None:
    media = '{"event":"media","media":{"payload":"/w=="}}'
    assert SignalWireCodec().receive(media) == (Unreadable("a message before the start"),)


def test_a_call_is_connected_to_its_socket_in_mu_law() -> None:
    webhook = SignalWireWebhook()
    document = webhook.connect("wss://bot.example/signalwire/media", {"token": "t0k"}, CALL)
    assert document.body == (
        '<?xml version="1.0" encoding="UTF-8"?><Response><Connect>'
        '<Stream url="wss://bot.example/signalwire/media" codec="PCMU@8000h">'
        '<Parameter name="token" value="t0k" /></Stream></Connect></Response>'
    )
    assert (webhook.name, webhook.codec, webhook.token_in_path) == (
        "signalwire",
        SignalWireCodec,
        False,
    )
    with pytest.raises(ConfigError, match="SignalWire"):
        webhook.connect("wss://bot.example/?a=1", {}, CALL)


def test_a_call_is_refused() -> None:
    assert "<Say>Sorry.</Say><Hangup />" in SignalWireWebhook().refuse("Sorry.").body
    assert '<Reject reason="busy" />' in SignalWireWebhook().refuse(" ").body
