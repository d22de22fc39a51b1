"""What Flux says: read leniently, whatever it is."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from agentkit.core import events as ev
from agentkit.flux.messages import (
    Configure,
    ConfigureFailure,
    ConfigureSuccess,
    Connected,
    ErrorMessage,
    TurnInfo,
    UnknownMessage,
    WarningMessage,
    parse_message,
    turn_event,
)


class Times:
    """The connection's audio began at 100 s of the session's clock."""

    def start_time(self, position: float) -> float | None:
        return 100.0 + position

    end_time = start_time


INFO = {
    "type": "TurnInfo",
    "request_id": "r",
    "sequence_id": 7,
    "event": "EndOfTurn",
    "turn_index": 2,
    "audio_window_start": 14.4,
    "audio_window_end": 17.92,
    "transcript": "Can you move it?",
    "words": [{"word": "Can", "confidence": 0.97, "start": 14.8, "end": 14.96}, {"word": "you"}],
    "end_of_turn_confidence": 0.81,
    "trigger": "model",
    "languages": ["en"],
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Update", ev.TurnUpdated),
        ("StartOfTurn", ev.TurnStarted),
        ("EagerEndOfTurn", ev.TurnMaybeEnded),
        ("TurnResumed", ev.TurnResumed),
        ("EndOfTurn", ev.TurnEnded),
    ],
)
def test_turn_infos_become_neutral_events(name: str, kind: type) -> None:
    info = parse_message(json.dumps(INFO | {"event": name}))
    assert isinstance(info, TurnInfo)
    event = turn_event(info, 3, Times())
    assert type(event) is kind
    assert event is not None
    assert (event.connection, event.index, event.sequence) == (3, 2, 7)
    assert event.text == "Can you move it?"
    assert event.speech_start == pytest.approx(114.8)
    assert event.speech_end is None, "the last word has no time"
    assert event.words == (ev.Word("Can", 0.97, 14.8, 14.96), ev.Word("you"))


def test_cloudflares_form_without_a_type_reads_as_well() -> None:
    plain = {k: v for k, v in INFO.items() if k not in ("type", "trigger", "languages")}
    info = parse_message(json.dumps(plain))
    assert isinstance(info, TurnInfo)
    assert isinstance(turn_event(info, 0, Times()), ev.TurnEnded)


def test_numbers_may_be_strings_and_odd_fields_are_left_out() -> None:
    odd = INFO | {"turn_index": "2", "end_of_turn_confidence": "0.81", "words": 3, "x": {}}
    info = parse_message(json.dumps(odd))
    assert isinstance(info, TurnInfo)
    assert (info.turn_index, info.end_of_turn_confidence, info.words) == (2, 0.81, ())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"type":"Connected","request_id":"x","sequence_id":0}', Connected),
        (
            '{"type":"ConfigureSuccess","thresholds":{"eot_threshold":0.8},"new":1}',
            ConfigureSuccess,
        ),
        ('{"type":"Warning","code":"C","description":"d"}', WarningMessage),
        ('{"type":"Error","sequence_id":1,"code":"C","description":"d"}', ErrorMessage),
        ('{"type":"Whistle"}', UnknownMessage),
        ("not json", UnknownMessage),
        ("[1]", UnknownMessage),
        ("{}", UnknownMessage),
        ('{"type":"TurnInfo"}', UnknownMessage),
    ],
)
def test_every_message_is_read_or_counted(text: str, kind: type) -> None:
    assert isinstance(parse_message(text), kind)


def test_an_unknown_event_is_no_neutral_event() -> None:
    info = parse_message(json.dumps(INFO | {"event": "Whistle", "trigger": "new"}))
    assert isinstance(info, TurnInfo)
    assert turn_event(info, 0, Times()) is None


def test_a_word_may_lack_confidence_and_times() -> None:
    info = parse_message(json.dumps(INFO | {"words": [{"word": "hi"}]}))
    assert isinstance(info, TurnInfo)
    event = turn_event(info, 0, Times())
    assert event is not None
    assert event.words == (ev.Word("hi", 1.0, None, None),)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*INFO, "x"]), inner),
    )
)
def test_nothing_that_can_be_sent_raises(value: object) -> None:
    parse_message(json.dumps(value))


@pytest.mark.parametrize("name", ["Update", "StartOfTurn"])
@pytest.mark.parametrize("confidence", [0.0, 0.99])
def test_a_confidence_makes_no_event_by_itself(name: str, confidence: float) -> None:
    """Flux reports high confidences in the middle of a sentence, and while nobody speaks."""
    fields = INFO | {"event": name, "end_of_turn_confidence": confidence}
    info = parse_message(json.dumps(fields))
    assert isinstance(info, TurnInfo)
    event = turn_event(info, 0, Times())
    assert type(event) is (ev.TurnUpdated if name == "Update" else ev.TurnStarted)


def test_a_refusal_without_code_and_description_is_read() -> None:
    """Older servers send neither."""
    message = parse_message('{"type":"ConfigureFailure","request_id":"r","sequence_id":3}')
    assert message == ConfigureFailure(request_id="r", sequence_id=3)


def test_what_a_configure_changes_has_its_place_and_type() -> None:
    """Flux wants ``numerals`` as a boolean beside the thresholds; null switches eager ends off."""
    sent = Configure.of({"numerals": True, "eager_eot_threshold": None, "keyterms": []}).to_json()
    assert json.loads(sent) == {
        "type": "Configure",
        "thresholds": {"eager_eot_threshold": None},
        "keyterms": [],
        "numerals": True,
    }


def test_a_configure_has_only_what_was_given() -> None:
    sent = json.loads(Configure.of({"eot_threshold": 0.8, "keyterms": ["a"]}).to_json())
    assert sent == {"type": "Configure", "thresholds": {"eot_threshold": 0.8}, "keyterms": ["a"]}
