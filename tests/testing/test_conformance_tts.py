"""The checks of a voice: a right one passes all, one that breaks a rule fails that one."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from agentkit.testing.backends import ScriptedTTS
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.conformance import TTS_CHECKS, NotConforming, TTSRig, check_tts
from agentkit.tts import base
from agentkit.tts.base import TTS
from tests.testing.broken_voices import A_SECOND, BROKEN, KEY, FarEnd, Right, Wrapped, streaming


def rig_of(kind: Callable[[FarEnd], TTS]) -> TTSRig:
    """A rig with all that there is, around one kind of voice."""
    far, refusing = FarEnd(), FarEnd()
    refusing.refuses = True
    return TTSRig(
        make=lambda: kind(far),
        open_requests=lambda: far.open + refusing.open,
        fails={"auth": lambda: kind(refusing)},
        secrets=(KEY,),
        spans=0.4,
        seconds=lambda text: len(text) / A_SECOND,
        voice="ben",
    )


@in_virtual_time()
async def test_a_right_voice_passes_all_checks() -> None:
    outcome = await check_tts(rig_of(Right))
    assert outcome.passed == tuple(check.name for check in TTS_CHECKS)
    assert not outcome.left_out


@in_virtual_time()
async def test_the_scripted_voice_passes() -> None:
    made: list[ScriptedTTS] = []

    def make() -> TTS:
        made.append(ScriptedTTS(per_character=0.06, pace=50.0, words=True))
        return made[-1]

    def open_requests() -> int:
        return sum(stream.closed_at is None for tts in made for stream in tts.streams)

    rig = TTSRig(
        make=make,
        open_requests=open_requests,
        spans=0.5,
        seconds=lambda text: 0.06 * len(text),
        voice="other",
    )
    outcome = await check_tts(rig)
    assert set(outcome.left_out) == {"failures_are_typed", "secrets_do_not_show"}


@pytest.mark.parametrize(
    ("kind", "check", "problem"),
    BROKEN,
    ids=[f"{kind.__name__}-{name}" for kind, name, _ in BROKEN],
)
@in_virtual_time()
async def test_each_check_bites(
    kind: type[Right] | type[Wrapped], check: str, problem: str
) -> None:
    [found] = [known for known in TTS_CHECKS if known.name == check]
    voice = kind if issubclass(kind, Right) else streaming(kind)
    with pytest.raises(NotConforming) as raised:
        await found(rig_of(voice))
    [broken] = raised.value.broken
    assert broken.check == check
    assert problem in broken.problem
    assert f'agentkit.tts.base says: "{found.rule}"' in str(raised.value)


def test_no_check_is_without_one_that_it_bites() -> None:
    assert {name for _, name, _ in BROKEN} == {check.name for check in TTS_CHECKS}


@in_virtual_time()
async def test_what_the_rig_does_not_give_is_told() -> None:
    far = FarEnd()
    outcome = await check_tts(TTSRig(make=lambda: Right(far)))
    assert outcome.left_out == {
        "the_format_is_true": ("seconds",),
        "audio_is_not_held_back": ("spans",),
        "another_voice_can_be_named": ("voice",),
        "cancel_closes_the_request": ("open_requests", "spans"),
        "cancelling_is_obeyed": ("spans",),
        "failures_are_typed": ("fails",),
        "secrets_do_not_show": ("secrets",),
    }


def test_the_rules_are_in_the_words_of_the_interface() -> None:
    words = " ".join(inspect.getsource(base).split())
    assert [check.name for check in TTS_CHECKS if check.rule not in words] == []
