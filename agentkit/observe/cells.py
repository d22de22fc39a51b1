"""Text in a terminal: how many columns it takes, and what of it may be shown.

Widths are those of Unicode's East Asian Width (UAX #11): wide letters take two columns, marks that
combine none. A terminal may see some emoji otherwise, so nothing here may rely on more than a line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

_JOINERS = "\u200c\u200d"
"""Persian is spelled with them, and emoji are put together."""


def plain(text: str) -> str:
    """Without what steers a terminal or the direction of text: people say it, or a model writes."""
    return "".join(map(_shown, text)).strip()


@lru_cache(maxsize=4096)
def _shown(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind in ("Cc", "Zl", "Zp"):
        return " "
    if kind == "Cf":
        return letter if letter in _JOINERS else ""
    return "\ufffd" if kind == "Cs" else letter


@lru_cache(maxsize=4096)
def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cells(text: str) -> int:
    """Columns that a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, room: int) -> str:
    """As much of the beginning as fits."""
    if cells(text) <= room:
        return text
    at = taken = 0
    for at, letter in enumerate(text):  # noqa: B007
        taken += _columns(letter)
        if taken > room:
            break
    return text[:at]


def ending(text: str, room: int, mark: str = "...") -> str:
    """As much of the end as fits, behind a mark where that is not all."""
    if cells(text) <= room:
        return text
    left = room - cells(mark)
    at = len(text)
    while at and _columns(text[at - 1]) <= left:
        at -= 1
        left -= _columns(text[at])
    while at < len(text) and not _columns(text[at]):
        at += 1  # a mark without its letter
    return mark + text[at:]


@lru_cache(maxsize=1024)
def wrap(text: str, room: int) -> tuple[str, ...]:
    """Lines of at most ``room`` columns, broken at spaces where there are any.

    Joined by nothing they are the text again: each space stays at the end of its line, beyond the
    room if need be.
    """
    lines: list[str] = []
    line, width = "", 0
    for word in _words(text):
        size = cells(word.rstrip())
        if line and width + size > room:
            lines.append(line)
            line, width = "", 0
        while size > room:
            part = cut(word, room) or word[0]
            lines.append(part)
            word = word[len(part) :]
            size = cells(word.rstrip())
        line += word
        width += cells(word)
    if line or not lines:
        lines.append(line)
    return tuple(lines)


def _words(text: str) -> Iterator[str]:
    """Each word with the spaces behind it."""
    begin = 0
    for at in range(1, len(text)):
        if text[at - 1] == " " and text[at] != " ":
            yield text[begin:at]
            begin = at
    if text[begin:]:
        yield text[begin:]
