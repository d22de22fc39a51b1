"""A record without the words that were said, which still replays (rule T22).

Each word becomes another of the same length, the same one wherever it comes; marks, spaces, case
and the sounds of attention stay. So equal words stay equal, other words stay other, and every
decision that was made from them is made again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

from agentkit.core import events as ev
from agentkit.core.policy import Policy
from agentkit.core.segment import ABBREVIATIONS
from agentkit.observe.record import Record, from_json, to_json

_WORD = re.compile(r"[^\W_]+")
_SPOKEN = frozenset({"text", "heard", "arguments", "instructions"})
"""Fields that hold what was said, wherever they stand."""


def redact(record: Record) -> Record:
    """The record with other words in it. Times, ids, names of tools and reasons stay."""
    words = _Words(record.policy)
    written = _written(record, words)
    entries = []
    for at, event, commands in record.entries:
        if isinstance(event, ev.ReplyText):
            event = replace(event, text=written[event.reply].pop(0))
        else:
            event = _walk(event, words)
        entries.append((at, event, tuple(_walk(command, words) for command in commands)))
    return replace(record, entries=tuple(entries))


def _written(record: Record, words: _Words) -> dict[int, list[str]]:
    """Each reply's text, cut again where it was cut: a model's tokens may be parts of words."""
    parts: defaultdict[int, list[str]] = defaultdict(list)
    for _, event, _ in record.entries:
        if isinstance(event, ev.ReplyText):
            parts[event.reply].append(event.text)
    found: dict[int, list[str]] = {}
    for reply, texts in parts.items():
        whole, at = words("".join(texts)), 0
        found[reply] = []
        for text in texts:
            found[reply].append(whole[at : at + len(text)])
            at += len(text)
    return found


def _walk(value: Any, words: _Words) -> Any:
    return from_json(_replaced(to_json(value), words))


def _replaced(value: Any, words: _Words) -> Any:
    if isinstance(value, list):
        return [_replaced(item, words) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: words(item) if key in _SPOKEN and isinstance(item, str) else _replaced(item, words)
        for key, item in value.items()
    }


class _Words:
    """Other words for words, of the same length, one for each."""

    def __init__(self, policy: Policy) -> None:
        lists = policy.interruption.backchannels.values()
        self._kept = {
            word for phrases in lists for phrase in phrases for word in _WORD.findall(phrase)
        }
        self._kept |= {part for word in ABBREVIATIONS for part in word.split(".")}
        self._other: dict[str, str] = {}
        self._used: defaultdict[str, int] = defaultdict(int)

    def __call__(self, text: str) -> str:
        return _WORD.sub(lambda match: self._for(match.group()), text)

    def _for(self, word: str) -> str:
        key = word.casefold()
        if len(word) == 1 or key in self._kept or len(key) != len(word):
            return word
        other = self._other.get(key)
        if other is None:
            other = self._other[key] = self._make(key)
        return "".join(
            new.upper() if old.isupper() else new for old, new in zip(word, other, strict=True)
        )

    def _make(self, word: str) -> str:
        """The next unused word with digits and letters in the same places."""
        shape = "".join("0" if letter.isdecimal() else "a" for letter in word)
        while True:
            number = self._used[shape]
            self._used[shape] += 1
            made = []
            for kind in reversed(shape):
                number, digit = divmod(number, 10 if kind == "0" else 26)
                made.append(chr(ord("0" if kind == "0" else "a") + digit))
            other = "".join(reversed(made))
            if other not in self._kept:
                return other
