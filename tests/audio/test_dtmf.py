"""The tones of keys, heard again by the filter that telephones use for it."""

from __future__ import annotations

import math
from array import array

import pytest

from agentkit.audio.dtmf import COLUMNS, KEYPAD, ROWS, as_key, tones
from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import is_silent
from agentkit.audio.g711 import decode
from agentkit.errors import UsageError

MULAW = AudioFormat("mulaw", 8000)
WIDE = AudioFormat("linear16", 16000)
FORMATS = [
    MULAW,
    WIDE,
    AudioFormat("alaw", 8000),
    AudioFormat("linear16", 8000),
    AudioFormat("linear16", 24000),
    AudioFormat("linear16", 44100),
    AudioFormat("linear16", 48000),
]
KEYS = "".join(KEYPAD)


def samples(data: bytes, form: AudioFormat) -> list[int]:
    return list(array("h", decode(data, form.encoding)))


def power(sound: list[int], hertz: float, rate: int) -> float:
    """Goertzel's filter: the mean power of one frequency, of 32,768 squared."""
    turn = 2 * math.cos(math.tau * hertz / rate)
    last = before = 0.0
    for sample in sound:
        last, before = sample + turn * last - before, last
    return 2 * (last * last + before * before - turn * last * before) / len(sound) ** 2


def heard(sound: list[int], rate: int) -> str:
    """The key whose two tones hold nearly all of the sound's power; "" if there is none."""
    total = sum(sample * sample for sample in sound) / len(sound)
    rows = [power(sound, hertz, rate) for hertz in ROWS]
    columns = [power(sound, hertz, rate) for hertz in COLUMNS]
    if total < 100 or max(rows) + max(columns) < 0.8 * total:
        return ""
    return KEYPAD[rows.index(max(rows))][columns.index(max(columns))]


@pytest.mark.parametrize("form", FORMATS, ids=str)
@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_heard_again(key: str, form: AudioFormat) -> None:
    sound = samples(tones(key, form), form)
    half = len(sound) // 2
    assert heard(sound[:half], form.rate) == key
    assert heard(sound[half:], form.rate) == ""


@pytest.mark.parametrize("form", [MULAW, WIDE], ids=str)
def test_keys_come_in_order_with_silence_between(form: AudioFormat) -> None:
    data = tones("0123456789*#ABCD", form, seconds=0.08, gap=0.06)
    size = form.size(0.14)
    assert len(data) == 16 * size
    for at, key in enumerate("0123456789*#ABCD"):
        piece = data[at * size : (at + 1) * size]
        assert heard(samples(piece, form)[: round(0.08 * form.rate)], form.rate) == key
        assert piece[form.size(0.08) :] == form.silence(0.06)


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_times_are_rounded_up_to_whole_frames(form: AudioFormat) -> None:
    frame = form.size(0.02)
    assert len(tones("5", form)) == 10 * frame
    assert len(tones("5", form, seconds=0.041, gap=0.0999)) == 8 * frame
    assert len(tones("5", form, seconds=0.04, gap=0.06)) == 5 * frame


def test_the_level_is_that_of_a_telephone() -> None:
    """About -7 dBm0 for both tones together, where a full sine is +3.17; nothing is clipped."""
    sound = samples(tones("D", WIDE, seconds=0.5), WIDE)[:8000]
    full = 32767**2 / 2
    level = 10 * math.log10(sum(sample * sample for sample in sound) / len(sound) / full) + 3.17
    assert -7.5 < level < -6.5
    assert max(map(abs, sound)) < 16384
    twist = power(sound, 1633, 16000) / power(sound, 941, 16000)
    assert 10 * math.log10(twist) == pytest.approx(2.0, abs=0.05)


def test_edges_do_not_click() -> None:
    """The fade's first and last millisecond are hardly heard, and no sample jumps out of it."""
    sound = samples(tones("5", WIDE), WIDE)[:1600]
    assert max(map(abs, sound[:16] + sound[-16:])) < 1500
    assert sound[0] == sound[-1] == 0


def test_nothing_pressed_is_nothing_heard() -> None:
    assert tones("", MULAW) == b""
    assert not is_silent(tones("1", MULAW), MULAW)


def test_small_letters_are_keys_too() -> None:
    assert tones("ad", WIDE) == tones("AD", WIDE)


@pytest.mark.parametrize("digits", ["1E", "1 2", "12,3", "+49", "１", "x5"])
def test_what_is_no_key_is_refused_without_repeating_it(digits: str) -> None:
    with pytest.raises(UsageError, match=r"^digits: .* use 0-9") as caught:
        tones(digits, MULAW)
    assert digits not in str(caught.value)


@pytest.mark.parametrize("value", [0, -1, 0.03, math.nan, math.inf])
@pytest.mark.parametrize("name", ["seconds", "gap"])
def test_times_too_short_for_a_key_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"^{name}: .* take 0\.04 s or more"):
        tones("1", MULAW, **{name: value})


@pytest.mark.parametrize(
    ("value", "key"),
    [
        *[(key, key) for key in KEYS],
        *[(number, str(number)) for number in range(10)],
        ("a", "A"),
        ("d", "D"),
        ("", None),
        ("12", None),
        ("E", None),
        (10, None),
        (-1, None),
        (True, None),
        (1.0, None),
        (None, None),
        ([], None),
        ({"digit": "1"}, None),
    ],
)
def test_what_messages_name_as_a_key(value: object, key: str | None) -> None:
    assert as_key(value) == key
