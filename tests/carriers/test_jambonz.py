"""jambonz's listen verb: its socket, and its webhook's verbs, as its documentation shows them."""

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
from agentkit.carriers.jambonz import JambonzCodec, JambonzWebhook

PREAMBLE: dict[str, Any] = {
    "sampleRate": 8000,
    "mixType": "mono",
    "callSid": "call-1",
    "accountSid": "account-1",
    "applicationSid": "application-1",
    "direction": "inbound",
    "from": "15550199",
    "to": "15550100",
    "sipStatus": 200,
}


def one(codec: JambonzCodec, message: Message | dict[str, Any]) -> MediaEvent:
    (event,) = codec.receive(json.dumps(message) if isinstance(message, dict) else message)
    return event


def started() -> JambonzCodec:
    codec = JambonzCodec()
    assert isinstance(one(codec, PREAMBLE), StreamStarted)
    return codec


def test_the_first_message_tells_of_the_call_and_carries_the_metadata() -> None:
    assert one(JambonzCodec(), {**PREAMBLE, TOKEN: "sesame"}) == StreamStarted(
        stream="",
        call="call-1",
        account="account-1",
        caller="15550199",
        callee="15550100",
        input=AudioFormat("linear16", 8000),
        output=AudioFormat("linear16", 8000),
        parameters={TOKEN: "sesame", "applicationSid": "application-1", "direction": "inbound"},
    )


def test_other_spellings_of_the_first_message_are_read_too() -> None:
    message = {
        "sampleRate": "16000",
        "call_sid": "call-1",
        "account_sid": "account-1",
        "metadata": {TOKEN: "sesame", "count": 3},
    }
    assert one(JambonzCodec(), message) == StreamStarted(
        stream="",
        call="call-1",
        account="account-1",
        input=AudioFormat("linear16", 16000),
        output=AudioFormat("linear16", 16000),
        parameters={TOKEN: "sesame"},
    )


def test_a_call_whose_fields_are_no_texts_starts_without_them() -> None:
    message: dict[str, Any] = {
        "sampleRate": 8000,
        "callSid": 5,
        "from": None,
        "to": [],
        "metadata": "x",
    }
    event = one(JambonzCodec(), message)
    assert isinstance(event, StreamStarted)
    assert (event.call, event.caller, event.callee, event.parameters) == ("", "", "", {})


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000, 64000])
def test_the_rate_is_the_verbs(rate: int) -> None:
    event = one(JambonzCodec(), {**PREAMBLE, "sampleRate": rate})
    assert isinstance(event, StreamStarted)
    assert event.input == AudioFormat("linear16", rate)


@pytest.mark.parametrize("rate", [None, 0, 11025, 8000.0, "8k", "", True, [8000], "9" * 5000])
def test_a_start_without_a_known_rate_is_none(rate: object) -> None:
    codec = JambonzCodec()
    kind = "a start without a sampleRate that is known"
    assert one(codec, {**PREAMBLE, "sampleRate": rate}) == Unreadable(kind)
    assert one(codec, {"callSid": "call-1"}) == Unreadable(kind)
    assert isinstance(one(codec, PREAMBLE), StreamStarted)


@pytest.mark.parametrize("mix", ["stereo", "mixed", 5, None])
def test_only_the_callers_own_voice_is_taken(mix: object) -> None:
    event = one(JambonzCodec(), {**PREAMBLE, "mixType": mix})
    assert event == Unreadable("a start whose mixType is not mono: set it to mono in the verb")


def test_a_second_start_changes_nothing() -> None:
    assert one(started(), PREAMBLE) == Unreadable("a second start")


def test_the_callers_audio_is_binary_of_any_length() -> None:
    codec = started()
    assert one(codec, b"\x01\x02\x03\x04") == CallerAudio(b"\x01\x02\x03\x04")
    assert one(codec, bytes(640)) == CallerAudio(bytes(640))


@pytest.mark.parametrize("data", [b"", b"\x01", bytes(321)])
def test_audio_that_is_no_whole_samples_is_none(data: bytes) -> None:
    assert one(started(), data) == Unreadable("audio that is no whole samples")


def test_nothing_is_heard_before_the_start() -> None:
    codec = JambonzCodec()
    assert one(codec, bytes(320)) == Unreadable("audio before the start")
    assert isinstance(one(codec, {"event": "dtmf", "dtmf": "2"}), Unreadable)


@pytest.mark.parametrize(("dtmf", "key"), [("2", "2"), ("#", "#"), (7, "7"), ("d", "D")])
def test_keys(dtmf: object, key: str) -> None:
    assert one(started(), {"event": "dtmf", "dtmf": dtmf, "duration": "1600"}) == CallerKey(key)


@pytest.mark.parametrize("dtmf", [None, "", "22", "x", {}, 22])
def test_what_is_no_key_is_none(dtmf: object) -> None:
    assert one(started(), {"event": "dtmf", "dtmf": dtmf}) == Unreadable("a key that is none")


def test_a_mark_comes_back_played_or_cleared() -> None:
    codec = started()
    assert codec.mark("3:4800") == ('{"type":"mark","data":{"name":"3:4800"}}',)
    played = {"type": "mark", "data": {"name": "3:4800", "event": "playout"}}
    assert one(codec, played) == MarkReached("3:4800")
    cleared = {"type": "mark", "data": {"name": "3:4800", "event": "cleared"}}
    assert codec.receive(json.dumps(cleared)) == ()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (None, "a mark without a name"),
        ("m", "a mark without a name"),
        ({"event": "playout"}, "a mark without a name"),
        ({"name": 3, "event": "playout"}, "a mark without a name"),
        ({"name": "m"}, "a mark that was neither played nor cleared"),
        ({"name": "m", "event": "more"}, "a mark that was neither played nor cleared"),
    ],
)
def test_a_mark_that_says_nothing_is_none(data: object, kind: str) -> None:
    assert one(started(), {"type": "mark", "data": data}) == Unreadable(kind)


def test_what_is_sent() -> None:
    codec = started()
    assert codec.play(b"\x01\x02" * 800) == (b"\x01\x02" * 800,)
    assert codec.play(b"") == ()
    assert codec.clear() == ('{"type":"killAudio"}',)
    assert codec.hang_up() == ('{"type":"disconnect"}',)
    assert codec.send_dtmf("1") is None


def test_what_the_dialect_can_do() -> None:
    codec = JambonzCodec()
    assert codec.subprotocols == ("audio.jambonz.org", "audio.drachtio.org")
    assert codec.name == "jambonz"
    assert not codec.hangs_up_on_close


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("", "a message that is no JSON"),
        ("sampleRate", "a message that is no JSON"),
        ("[" * 100_000, "a message that is no JSON"),
        ("[1]", "a message that is no JSON object"),
        ("{}", "an unknown event"),
        ('{"type":"playDone"}', "an unknown event"),
        ('{"type":5}', "an unknown event"),
        ('{"event":"speech"}', "an unknown event"),
    ],
)
def test_what_cannot_be_read_is_counted_and_harms_nothing(message: str, kind: str) -> None:
    codec = started()
    assert one(codec, message) == Unreadable(kind)
    assert one(codec, bytes(2)) == CallerAudio(bytes(2))


@pytest.mark.parametrize(
    ("call", "account"), [("call_sid", "account_sid"), ("callSid", "accountSid")]
)
def test_the_webhook_tells_of_the_call(call: str, account: str) -> None:
    fields = {call: "call-1", account: "account-1", "from": "15550199", "to": "15550100"}
    assert JambonzWebhook().read(fields) == IncomingCall(
        "call-1", caller="15550199", callee="15550100", account="account-1"
    )
    assert JambonzWebhook().read({}) == IncomingCall("")


def test_the_verbs_connect_to_the_socket_and_hang_up_after_it() -> None:
    document = JambonzWebhook().connect(
        "wss://bot.example.com/jambonz/media", {TOKEN: "sesame"}, IncomingCall("call-1")
    )
    assert document.content_type == "application/json"
    assert document.body == (
        '[{"verb":"answer"},'
        '{"verb":"listen","url":"wss://bot.example.com/jambonz/media","mixType":"mono",'
        '"sampleRate":16000,"passDtmf":true,'
        '"bidirectionalAudio":{"enabled":true,"streaming":true,"sampleRate":16000},'
        '"metadata":{"token":"sesame"}},'
        '{"verb":"hangup"}]'
    )


def test_a_refusal_is_said_and_the_call_ends() -> None:
    document = JambonzWebhook().refuse("We are closed.")
    assert document.content_type == "application/json"
    assert json.loads(document.body) == [
        {"verb": "say", "text": "We are closed."},
        {"verb": "hangup"},
    ]
