"""Cue sheets: when a caller made of recordings says what."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.errors import ConfigError
from agentkit.transports.files import (
    AfterAgent,
    AfterCaller,
    At,
    Cue,
    IntoReply,
    load_cues,
)

LINE = AudioFormat()
MULAW = AudioFormat("mulaw", 8000)


def test_a_cue_sheet(tmp_path: Path) -> None:
    path = tmp_path / "cues.toml"
    path.write_text(
        """
        [[cue]]
        text = "Hello"

        [[cue]]
        text = "again"
        after_agent = 1

        [[cue]]
        audio = "sub/no.wav"
        into_reply = 1.2

        [[cue]]
        text = "and"
        pause = 0.8

        [[cue]]
        text = "bye"
        at = 30.0
        """
    )
    assert load_cues(path) == [
        Cue(text="Hello"),
        Cue(text="again", when=AfterAgent(1.0)),
        Cue(tmp_path / "sub" / "no.wav", IntoReply(1.2)),
        Cue(text="and", when=AfterCaller(0.8)),
        Cue(text="bye", when=At(30.0)),
    ]


@pytest.mark.parametrize(
    ("sheet", "problem"),
    [
        ("[[cue", r"cues\.toml: cannot be read as TOML"),
        ("", r"a cue sheet is one \[\[cue\]\] after another"),
        ("cue = []", r"a cue sheet is one \[\[cue\]\] after another"),
        ("quiet = 1\n[[cue]]\ntext = 'a'", r"nothing else"),
        ("cue = ['a']", r"cue 1: the keys of a cue are audio, text, after_agent"),
        ("[[cue]]\ntext = 'a'\n[[cue]]\nsay = 'b'", r"cue 2: the keys of a cue are audio"),
        ("[[cue]]\ntext = 'a'\nat = 1\npause = 1", r"cue 1: give only one of pause, at"),
        ("[[cue]]\ntext = 1", r"cue 1, text: 1 is not a text"),
        ("[[cue]]\ntext = 'a'\nat = '1'", r"cue 1, at: '1' is not a number of seconds"),
        ("[[cue]]\ntext = 'a'\nat = true", r"cue 1, at: True is not a number of seconds"),
        ("[[cue]]\ntext = 'a'\nat = -1", r"cue 1: -1.* is no time to wait"),
        ("[[cue]]\ntext = 'a'\nat = nan", r"cue 1: nan is no time to wait"),
        ("[[cue]]\nat = 1", r"cue 1: give it either `audio`, a WAV file, or `text`"),
        ("[[cue]]\ntext = 'a'\naudio = 'a.wav'", r"cue 1: give it either `audio`"),
    ],
)
def test_a_wrong_cue_sheet_names_the_cue_and_the_mend(
    tmp_path: Path, sheet: str, problem: str
) -> None:
    path = tmp_path / "cues.toml"
    path.write_text(sheet)
    with pytest.raises(ConfigError, match=problem):
        load_cues(path)


def test_a_missing_cue_sheet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read"):
        load_cues(tmp_path / "gone.toml")
