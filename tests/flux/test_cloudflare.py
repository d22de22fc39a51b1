"""Flux at Cloudflare: every field of the model's schema, in both directions.

Source of the two tables: Cloudflare docs, "flux" (workers-ai/models/flux), the input and output
schemas of ``@cf/deepgram/flux``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from agentkit.audio import AudioFormat
from agentkit.core import events as ev
from agentkit.errors import FluxOptionError
from agentkit.flux import CLOUDFLARE, FluxOptions, FluxSource
from agentkit.flux.messages import TurnInfo, UnknownMessage, parse_message
from agentkit.testing import ScriptedCall, ScriptedFlux
from agentkit.testing.clock import in_virtual_time

OnCall = Callable[..., Any]

# ---------------------------------------------------------------------------------------- inputs


@dataclass(frozen=True)
class Input:
    """An input of the schema, all of which are strings.

    Args:
        pattern: what the schema lets through; an ``enum`` is written as one.
        option: what it is called in `FluxOptions`.
        taken: values, and the strings that they have to arrive as.
        refused: values that Cloudflare would refuse.
    """

    pattern: str
    option: str
    taken: tuple[tuple[Any, list[str]], ...]
    refused: tuple[Any, ...] = ()


INPUTS = {
    "encoding": Input(
        "linear16",
        "encoding",
        taken=((None, ["linear16"]), ("linear16", ["linear16"])),
        refused=("linear32", "mulaw", "alaw", "opus", "ogg-opus"),
    ),
    "sample_rate": Input(
        "[0-9]+",
        "sample_rate",
        taken=((None, ["16000"]), (16000, ["16000"])),
        refused=(0, 11025),
    ),
    "eager_eot_threshold": Input(
        r"0\.[3-9]\d*",
        "eager_eot_threshold",
        taken=((None, []), (0.3, ["0.3"]), (0.7, ["0.7"])),
        refused=(0.29, 0.91),
    ),
    "eot_threshold": Input(
        r"0\.[5-9]\d*",
        "eot_threshold",
        taken=((None, []), (0.5, ["0.5"]), (0.9, ["0.9"])),
        refused=(0.49, 0.91, 1.0),
    ),
    "eot_timeout_ms": Input(
        "[0-9]+",
        "eot_timeout_ms",
        taken=((None, []), (500, ["500"]), (10_000, ["10000"])),
        refused=(499, 10_001, 0),
    ),
    "keyterm": Input(
        ".+",
        "keyterms",
        taken=(((), []), (("Rosewood Clinic",), ["Rosewood Clinic"]), (("a", "b"), ["a", "b"])),
        refused=(("",), ("x" * 101,)),
    ),
    "mip_opt_out": Input(
        "true|false",
        "mip_opt_out",
        taken=((None, []), (True, ["true"]), (False, ["false"])),
    ),
    "tag": Input(
        ".+",
        "tags",
        taken=(((), []), (("night shift",), ["night shift"])),
        refused=(("a", "b"), ("",)),
    ),
}
REQUIRED = {"encoding", "sample_rate"}

FOREIGN: dict[str, dict[str, Any]] = {
    "model": {"model": "flux-general-multi"},
    "language_hints": {"model": "flux-general-multi", "language_hints": ("en",)},
    "numerals": {"numerals": True},
    "profanity_filter": {"profanity_filter": False},
    "redact": {"redact": "numbers"},
}
"""Options of Flux that the schema does not have."""


def test_every_option_is_in_the_schema_or_is_refused() -> None:
    taken = {entry.option for entry in INPUTS.values()}
    assert taken | FOREIGN.keys() == set(FluxOptions.model_fields)
    assert not taken & FOREIGN.keys()


TAKEN = [(name, *each) for name, entry in INPUTS.items() for each in entry.taken]


@in_virtual_time(until=60)
@pytest.mark.parametrize(("name", "value", "arrives"), TAKEN)
async def test_each_input_arrives_as_the_schemas_strings(
    name: str, value: Any, arrives: list[str], on_call: OnCall
) -> None:
    options = FluxOptions(**{"eager_eot_threshold": None, INPUTS[name].option: value})
    async with (
        ScriptedFlux(form="cloudflare") as flux,
        on_call(flux, options=options, dialect=CLOUDFLARE) as call,
    ):
        await call.ready()
        shake = flux.handshakes[0]
    assert shake.values(name) == arrives
    sent = {key for key, _ in shake.query}
    assert sent >= REQUIRED
    assert sent <= INPUTS.keys()
    for key, text in shake.query:
        assert re.fullmatch(INPUTS[key].pattern, text), f"{key}={text}"


REFUSED = [
    *[(e.option, {e.option: bad}) for e in INPUTS.values() for bad in e.refused],
    *FOREIGN.items(),
]


@in_virtual_time(until=60)
@pytest.mark.parametrize(("option", "given"), REFUSED)
async def test_what_cloudflare_does_not_take_is_refused_by_name_before_connecting(
    option: str, given: dict[str, Any]
) -> None:
    async with ScriptedFlux(form="cloudflare") as flux:
        with pytest.raises(FluxOptionError) as caught:
            FluxSource(
                url=flux.url,
                options=FluxOptions(**{"eager_eot_threshold": None, **given}),
                dialect=CLOUDFLARE,
            )
        assert caught.value.field == option
        assert flux.handshakes == []


def test_a_language_is_refused_as_one() -> None:
    with pytest.raises(FluxOptionError, match="Cloudflare has one model, for English"):
        FluxOptions(model="flux-general-multi").check(CLOUDFLARE)


@in_virtual_time(until=60)
async def test_audio_at_a_rate_that_flux_does_not_take_ends_the_call_before_connecting(
    on_call: OnCall,
) -> None:
    async with (
        ScriptedFlux(form="cloudflare") as flux,
        on_call(flux, audio=AudioFormat("linear16", 11025), dialect=CLOUDFLARE) as call,
    ):
        failed = await call.until(ev.SourceFailed)
        assert "sample_rate" in failed.message
        assert flux.handshakes == []


# --------------------------------------------------------------------------------------- outputs


@dataclass(frozen=True)
class Output:
    """An output of the schema.

    Args:
        value: what the server may send.
        read: what is read of it.
        wrong: values that it cannot mean anything by.
        needed: without it a message says nothing.
    """

    value: Any
    read: Any
    wrong: tuple[Any, ...] = (None, {"x": 1})
    needed: bool = False


OUTPUTS = {
    "request_id": Output("0c1f6a52-5b0e-4b7e-9a55", "0c1f6a52-5b0e-4b7e-9a55"),
    "sequence_id": Output(7, 7),
    "event": Output("StartOfTurn", "StartOfTurn", needed=True),
    "turn_index": Output(2, 2, needed=True),
    "audio_window_start": Output(14.4, 14.4),
    "audio_window_end": Output(15.280001, 15.280001),
    "transcript": Output("Can you", "Can you"),
    "words": Output(
        [{"word": "Can", "confidence": 0.97}, {"word": "you", "confidence": 1}],
        (("Can", 0.97), ("you", 1.0)),
        wrong=(None, 3, [3], [{"word": {}}]),
    ),
    "end_of_turn_confidence": Output(0.02, 0.02),
}
WORD_FIELDS = {"word", "confidence"}
EVENTS = {
    "Update": ev.TurnUpdated,
    "StartOfTurn": ev.TurnStarted,
    "EagerEndOfTurn": ev.TurnMaybeEnded,
    "TurnResumed": ev.TurnResumed,
    "EndOfTurn": ev.TurnEnded,
}
MESSAGE = {name: entry.value for name, entry in OUTPUTS.items()}


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_output_is_read(name: str) -> None:
    info = parse_message(json.dumps(MESSAGE))
    assert isinstance(info, TurnInfo)
    read = getattr(info, name)
    if name == "words":
        read = tuple((word.word, word.confidence) for word in read)
    assert read == OUTPUTS[name].read


async def take(flow: ScriptedCall, message: dict[str, Any], call: Any) -> list[ev.SourceEvent]:
    """Send a message, and one that can be read after it; the events of both."""
    before = len(call.events)
    await flow.send(json.dumps(message))
    await flow.send(json.dumps(MESSAGE | {"turn_index": 99, "sequence_id": 99}))
    while not any(event.index == 99 for event in call.of(ev.TurnEvent)):
        await call.until(ev.TurnStarted, len(call.of(ev.TurnStarted)) + 1)
    return [event for _, event in call.events[before:]]


@in_virtual_time(until=60)
@pytest.mark.parametrize(("event", "kind"), EVENTS.items())
@pytest.mark.parametrize("typed", [False, True])
async def test_each_event_arrives_with_all_that_it_says(
    event: str, kind: type[ev.TurnEvent], typed: bool, on_call: OnCall
) -> None:
    """The schema has no ``type``; sessions were seen in which there is one."""
    message = MESSAGE | {"event": event} | ({"type": "TurnInfo"} if typed else {})
    async with (
        ScriptedFlux(form="cloudflare", chatter=False) as flux,
        on_call(flux, dialect=CLOUDFLARE) as call,
    ):
        got, _ = await take(await call.ready(), message, call)
    assert got == kind(
        connection=0,
        index=2,
        text="Can you",
        words=(ev.Word("Can", 0.97), ev.Word("you", 1.0)),
        sequence=7,
        confidence=0.02,
    )


ODD = [
    *[(name, "absent", None) for name in OUTPUTS],
    *[(name, "wrong", wrong) for name, entry in OUTPUTS.items() for wrong in entry.wrong],
    ("event", "new", "Whistle"),
    *[("words", f"without {name}", [{}]) for name in sorted(WORD_FIELDS)],
    ("more", "new", {"cost": 1}),
]


@in_virtual_time(until=60)
@pytest.mark.parametrize(("name", "how", "value"), ODD)
async def test_an_output_that_is_absent_wrong_or_new_breaks_no_call(
    name: str, how: str, value: Any, on_call: OnCall
) -> None:
    message = MESSAGE | {name: value}
    if how == "absent":
        del message[name]
    async with (
        ScriptedFlux(form="cloudflare", chatter=False) as flux,
        on_call(flux, dialect=CLOUDFLARE) as call,
    ):
        *odd, last = await take(await call.ready(), message, call)
        assert len(flux.handshakes) == 1
    assert isinstance(last, ev.TurnStarted)
    if name in OUTPUTS and OUTPUTS[name].needed:
        assert [type(event) for event in odd] == [ev.SourceOddity]
    else:
        (event,) = odd
        assert isinstance(event, ev.TurnStarted)
        assert event.index == 2
        assert event.text == ("" if name == "transcript" else "Can you")


def test_the_fields_without_which_a_message_says_nothing() -> None:
    for name, entry in OUTPUTS.items():
        left = {key: value for key, value in MESSAGE.items() if key != name}
        unread = isinstance(parse_message(json.dumps(left)), UnknownMessage)
        assert unread == entry.needed, name
