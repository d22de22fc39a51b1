"""Numbers taken out of what was recognised (Deepgram docs, redaction). Pure.

``numbers`` takes out runs of three numerals or more, ``aggressive_numbers`` all of them; each run
becomes one ``*``. A numeral is a digit or a word for a number. While a long number is still being
said its first two numerals are a short run, and show in Updates: ``aggressive_numbers`` does not
let them through.
"""

from __future__ import annotations

import re
from typing import Literal

Word = tuple[str, float, float, float]

_NUMERALS = frozenset(
    {
        "zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
        "nineteen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
        "hundred", "thousand", "million", "billion", "double", "triple",
    }
)  # fmt: skip
_RUN = 3


def redacted(
    words: tuple[Word, ...], mode: Literal["numbers", "aggressive_numbers"]
) -> tuple[Word, ...]:
    """The words, with ``*`` in place of each run of numerals."""
    made: list[Word] = []
    run: list[Word] = []
    for word in (*words, None):
        if word is not None and _count(word[0]):
            run.append(word)
            continue
        if run:
            enough = mode == "aggressive_numbers" or sum(_count(w[0]) for w in run) >= _RUN
            made += [_star(run)] if enough else run
            run = []
        if word is not None:
            made.append(word)
    return tuple(made)


def _count(word: str) -> int:
    """How many numerals a word holds; 0: it is no number."""
    digits = sum(character.isdigit() for character in word)
    parts = re.findall(r"[a-z]+", word.casefold())
    return digits or (len(parts) if parts and all(part in _NUMERALS for part in parts) else 0)


def _star(run: list[Word]) -> Word:
    last = run[-1][0]
    mark = last[-1] if last[-1] in ".,?!;:" else ""
    return f"*{mark}", min(word[1] for word in run), run[0][2], run[-1][3]
