"""Telnyx' dialect, and its media put in order."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import hypothesis.strategies as st
import pytest
from hypothesis import given

from agentkit.carriers.base import (
    ALAW_8K,
    LINEAR_8K,
    LINEAR_16K,
    MULAW_8K,
    CallerAudio,
    CallerKey,
    MarkReached,
    MediaEvent,
    StreamStarted,
    StreamStopped,
    Unreadable,
    write_base64,
)
from agentkit.carriers.documents import IncomingCall
from agentkit.carriers.telnyx import Reorder, TelnyxCodec, TelnyxWebhook
from agentkit.errors import ConfigError

STREAM = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"
LATE = Unreadable("media that came too late or twice")


def start(encoding: str = "PCMU", rate: Any = 8000, **changes: Any) -> str:
    return json.dumps(
        {
            "event": "start",
            "sequence_number": "1",
            "start": {
                "user_id": "3E6F995F",
                "call_control_id": "v2:T02llQ",
                "call_session_id": "ff55a038",
                "from": "+13122010094",
                "to": "+13122123456",
                "tags": ["TAG1"],
                "client_state": "aGF2ZSBhIG5pY2UgZGF5ID1d",
                "media_format": {"encoding": encoding, "sample_rate": rate, "channels": 1},
                **changes,
            },
            "stream_id": STREAM,
        }
    )


def media(chunk: Any, audio: bytes = b"", **changes: Any) -> str:
    payload = write_base64(audio or f"{chunk:04}".encode())
    inner = {"track": "inbound", "chunk": chunk, "timestamp": "5", "payload": payload} | changes
    message = {"event": "media", "sequence_number": "4", "media": inner, "stream_id": STREAM}
    return json.dumps(message)


def started() -> TelnyxCodec:
    codec = TelnyxCodec()
    assert codec.receive('{"event":"connected","version":"1.0.0"}') == ()
    assert len(codec.receive(start())) == 1
    return codec


def heard(events: list[MediaEvent]) -> list[int]:
    return [int(event.data) for event in events if isinstance(event, CallerAudio)]


def play(codec: TelnyxCodec, chunks: list[int]) -> list[MediaEvent]:
    return [event for chunk in chunks for event in codec.receive(media(chunk))]


def test_a_start_tells_the_stream() -> None:
    assert TelnyxCodec().receive(start()) == (
        StreamStarted(
            stream=STREAM,
            call="v2:T02llQ",
            input=MULAW_8K,
            output=MULAW_8K,
            account="3E6F995F",
            caller="+13122010094",
            callee="+13122123456",
        ),
    )
    assert "+1312" not in repr(TelnyxCodec().receive(start()))


@pytest.mark.parametrize(
    "parameters", [{"token": "t0k", "n": 1}, [{"name": "token", "value": "t0k"}, {"name": "n"}, 3]]
)
def test_parameters_come_as_an_object_or_a_list(parameters: Any) -> None:
    [event] = TelnyxCodec().receive(start(custom_parameters=parameters))
    assert isinstance(event, StreamStarted)
    assert event.parameters["token"] == "t0k"


def test_what_telnyx_says() -> None:
    codec = started()
    exact = (
        '{"event":"media","sequence_number":"4","media":{"track":"inbound","chunk":"1",'
        f'"timestamp":"5","payload":"//9/fw=="}},"stream_id":"{STREAM}"}}'
    )
    assert list(codec.receive(exact)) == [CallerAudio(b"\xff\xff\x7f\x7f")]
    dtmf = (
        f'{{"event":"dtmf","stream_id":"{STREAM}","occurred_at":"2022-11-11T12:13:14.123456Z",'
        '"sequence_number":"5","dtmf":{"digit":"1"}}'
    )
    assert codec.receive(dtmf) == (CallerKey("1"),)
    mark = f'{{"event":"mark","sequence_number":"6","stream_id":"{STREAM}","mark":{{"name":"m"}}}}'
    assert codec.receive(mark) == (MarkReached("m"),)
    stop = (
        '{"event":"stop","sequence_number":"7","stop":{"user_id":"3E6F995F",'
        f'"call_control_id":"v2:T02llQ"}},"stream_id":"{STREAM}"}}'
    )
    [stopped] = codec.receive(stop)
    assert isinstance(stopped, StreamStopped)


def test_what_telnyx_is_told() -> None:
    codec = started()
    assert codec.play(b"\xff\xff\x7f\x7f") == ('{"event":"media","media":{"payload":"//9/fw=="}}',)
    assert codec.mark("m") == ('{"event":"mark","mark":{"name":"m"}}',)
    assert codec.clear() == ('{"event":"clear"}',)
    assert codec.send_dtmf("1") is None


def test_what_it_can_do() -> None:
    assert TelnyxCodec.name == TelnyxWebhook.name == "telnyx"
    assert not TelnyxCodec.hangs_up_on_close
    assert TelnyxWebhook.token_in_path
    assert TelnyxWebhook.codec is TelnyxCodec


def test_what_telnyx_plays_is_what_was_asked_for_not_what_it_sends() -> None:
    for encoding, rate, expected in (
        ("PCMA", 8000, ALAW_8K),
        ("audio/x-mulaw", "8000", MULAW_8K),
        ("L16", 8000, LINEAR_8K),
        ("L16", 16000, LINEAR_16K),
    ):
        [event] = TelnyxCodec().receive(start(encoding, rate))
        assert isinstance(event, StreamStarted)
        assert (event.input, event.output) == (expected, MULAW_8K)
    [event] = TelnyxCodec(LINEAR_16K).receive(start("L16", 16000))
    assert isinstance(event, StreamStarted)
    assert event.output == LINEAR_16K


@pytest.mark.parametrize("encoding", ["OPUS", "G722", "AMR-WB"])
def test_a_codec_that_is_not_taken_is_named(encoding: str) -> None:
    [event] = TelnyxCodec().receive(start(encoding, 16000))
    assert event == Unreadable(f"a stream in {encoding}, which is not taken")


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ({"code": 100003, "title": "malformed_frame", "detail": "s3cret"}, "a malformed message"),
        ({"code": "100004"}, "media that is no base64"),
        ({"code": 100005}, "too many messages"),
        ({"code": 100002}, "an unknown error"),
        ({"code": 7}, "another error"),
        ({}, "another error"),
        (None, "another error"),
        ([], "another error"),
    ],
)
def test_what_telnyx_complains_of_is_counted_by_kind(payload: Any, why: str) -> None:
    message = json.dumps({"event": "error", "payload": payload, "stream_id": STREAM})
    assert started().receive(message) == (Unreadable(f"Telnyx reports {why}"),)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("nonsense", "no JSON"),
        (b"{}", "a binary message"),
        (start(), "a second start"),
        (media(1, payload="!"), "no base64"),
        (media(1, track="outbound"), "another track"),
        (media(1).replace(STREAM, "other"), "another stream"),
        ('{"event":"dtmf"}', "key press"),
        ('{"event":"dance"}', "unknown"),
    ],
)
def test_a_bad_message_is_counted(message: str | bytes, why: str) -> None:
    codec = started()
    [event] = codec.receive(message)
    assert isinstance(event, Unreadable)
    assert why in event.kind
    assert heard(play(codec, [1])) == [1]


def test_a_start_that_names_no_stream_takes_all() -> None:
    codec = TelnyxCodec()
    codec.receive('{"event":"start","start":{}}')
    assert heard(play(codec, [1])) == [1]


def test_media_before_the_start_is_counted() -> None:
    assert TelnyxCodec().receive(media(1)) == (Unreadable("a message before the start"),)


@pytest.mark.parametrize(
    ("came", "order"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 3, 2, 4], [1, 2, 3, 4]),
        ([2, 1, 3], [1, 2, 3]),
        ([1, 4, 3, 2, 5], [1, 2, 3, 4, 5]),
        ([1, 3, 4], [1]),  # 2 is waited for
        ([1, 3, 4, 5, 6], [1, 3, 4, 5, 6]),  # three wait: 2 is given up
        ([1, 3, 5, 7], [1, 3]),  # 4 is missing too
        ([1, 3, 5, 7, 8], [1, 3, 5]),
        ([1, 3, 5, 7, 8, 9], [1, 3, 5, 7, 8, 9]),
        ([0, 1, 2], [0, 1, 2]),
        ([7, 8, 9, 10], [7, 8, 9, 10]),
    ],
)
def test_media_is_put_in_order(came: list[int], order: list[int]) -> None:
    assert heard(play(started(), came)) == order


def test_late_and_doubled_chunks_are_dropped_and_counted() -> None:
    events = play(started(), [1, 3, 4, 5, 2, 5, 7, 7, 6])
    assert heard(events) == [1, 3, 4, 5, 6, 7]
    assert events.count(LATE) == 3


def test_what_waits_is_heard_at_the_stop() -> None:
    codec = started()
    play(codec, [1, 4, 3])
    *rest, stopped = codec.receive('{"event":"stop"}')
    assert heard(rest) == [3, 4]
    assert isinstance(stopped, StreamStopped)


def test_numbers_come_as_texts_too_and_without_one_media_is_taken_as_it_comes() -> None:
    codec = started()
    assert heard([*codec.receive(media("1", b"1")), *codec.receive(media(2, b"2"))]) == [1, 2]
    assert heard(list(codec.receive(media(None, b"9")))) == [9]
    assert heard(list(codec.receive(media("x", b"9")))) == [9]


def test_a_counter_that_begins_anew_leaves_the_caller_heard() -> None:
    codec = started()
    play(codec, [*range(1, 200), 201])
    events = play(codec, list(range(1, 101)))
    assert events.count(LATE) == Reorder.restarts - 1
    assert heard(events) == [201, *range(Reorder.restarts, 101)]


@given(st.lists(st.integers(0, 30), max_size=60))
def test_order_never_breaks_nothing_is_heard_twice_and_little_waits(chunks: list[int]) -> None:
    order = Reorder()
    out: list[bytes] = []
    waiting = set()
    for chunk in chunks:
        data = str(chunk).encode()
        found = order.put(chunk, data)
        if found is None:
            continue
        waiting.add(data)
        waiting -= set(found)
        out += found
        assert len(waiting) < Reorder.waits
    numbers = [int(data) for data in [*out, *order.flush()]]
    if len(chunks) < Reorder.restarts:
        assert numbers == sorted(set(numbers))


@given(st.permutations(range(4)))
def test_a_shuffle_of_three_neighbours_loses_nothing(swap: list[int]) -> None:
    chunks = [c for block in range(0, 40, 4) for c in (block + s for s in swap)]
    order = Reorder()
    order.put(-1, b"")
    found = [data for chunk in chunks for data in order.put(chunk, str(chunk).encode()) or []]
    if swap.index(0) < 3:
        assert [int(data) for data in found] == sorted(chunks)


CALL = IncomingCall("v2:T02llQ", "+13122010094", "+13122123456", "AC1")


def test_a_call_is_connected_to_its_socket() -> None:
    url = "wss://bot.example/telnyx/media/t0k?a=1&b=2"
    document = TelnyxWebhook().connect(url, {"name": "<Ann>"}, CALL)
    assert document.body == (
        '<?xml version="1.0" encoding="UTF-8"?><Response><Connect>'
        '<Stream url="wss://bot.example/telnyx/media/t0k?a=1&amp;b=2" track="inbound_track" '
        'codec="PCMU" bidirectionalMode="rtp" bidirectionalCodec="PCMU">'
        '<Parameter name="name" value="&lt;Ann&gt;" /></Stream></Connect></Response>'
    )
    with pytest.raises(ConfigError, match="control character"):
        TelnyxWebhook().connect(url, {"name": "\x07"}, CALL)


def test_a_call_is_refused() -> None:
    [say, hang_up] = ElementTree.fromstring(TelnyxWebhook().refuse("<Dial/>").body)
    assert (say.tag, say.text, hang_up.tag) == ("Say", "<Dial/>", "Hangup")
    assert '<Reject reason="busy" />' in TelnyxWebhook().refuse("").body


def test_what_a_webhook_says_of_a_call() -> None:
    fields = {"CallSid": CALL.call, "From": CALL.caller, "To": CALL.callee, "AccountSid": "AC1"}
    assert TelnyxWebhook().read(fields) == CALL
    assert TelnyxWebhook().read({}) == IncomingCall("")
