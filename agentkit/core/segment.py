"""Cutting a reply into pieces for the voice, while it is being written (rule T8).

A piece is a run of whole clauses. The first is as short as it may be, since the caller waits for
it; the later ones are longer, since a voice speaks whole sentences better. All pieces of a reply
joined together are its text, character for character.
"""

from __future__ import annotations

import re

_ENDS = ".!?;:,…\n"
_CLOSERS = "\"')]}”’»"
ABBREVIATIONS = frozenset(
    {
        "mr", "mrs", "ms", "dr", "prof", "st", "mt", "no", "vs", "etc", "e.g", "i.e", "approx",
        "dept", "tel", "ext", "jr", "sr", "gen", "col", "sgt", "ave", "blvd", "rd", "inc", "ltd",
        "co", "fig", "vol", "p", "pp", "a.m", "p.m", "u.s", "u.k", "z.b", "bzw", "ca", "sra",
        "dra", "av", "mme", "mlle",
    }
)  # fmt: skip
"""A point after these ends no clause. Lower case, without their last point."""
_LAST_WORD = re.compile(r"(\S+)$")


class Pace:
    """How fast this model writes and this voice speaks, learned as a call goes on.

    Seconds and characters. Before anything was measured the first piece is asked to last
    ``first_piece`` seconds.
    """

    def __init__(self, first_piece: float = 1.0) -> None:
        self._longest = first_piece
        self._characters_per_second: float | None = None
        self._voice_delay: float | None = None
        self.seconds_per_character = 0.065
        """Of speech; a usual English rate until measured."""

    def wrote(self, characters: int, seconds: float) -> None:
        """A reply's text came at this pace after its first token."""
        if characters > 0 and seconds > 0:
            self._characters_per_second = _blend(
                self._characters_per_second, min(characters / seconds, 5000.0)
            )

    def voiced(self, delay: float) -> None:
        """The voice gave its first audio so long after it had the text."""
        self._voice_delay = _blend(self._voice_delay, max(delay, 0.0))

    def spoke(self, characters: int, seconds: float) -> None:
        """A piece of so many characters lasts so long."""
        if characters >= 8 and seconds > 0:
            self.seconds_per_character = _blend(self.seconds_per_character, seconds / characters)

    @property
    def first_characters(self) -> int:
        """How long the first piece has to be, in characters.

        It must last until the next piece is there: one more clause from the model, then the
        voice's delay, with half as much again for safety.
        """
        wanted = self._longest
        if self._characters_per_second and self._voice_delay is not None:
            ready = _CLAUSE / self._characters_per_second + self._voice_delay
            wanted = min(wanted, 1.5 * ready)
        return max(1, round(wanted / self.seconds_per_character))


_CLAUSE = 40  # characters of a usual clause


def _blend(old: float | None, new: float) -> float:
    return new if old is None else 0.7 * old + 0.3 * new


class Segmenter:
    """Takes text as it comes and gives pieces as soon as they are complete.

    Args:
        first: least characters of the first piece.
        later: least characters of each later piece, unless a sentence ends before.
        longest: a clause longer than this is cut at a space.
    """

    def __init__(self, first: int = 15, later: int = 60, longest: int = 120) -> None:
        self._first: int | None = max(1, first)
        self._later = later
        self._longest = max(20, longest)
        self._text = ""
        self._searched = 0

    def push(self, text: str) -> list[str]:
        """Add text; return the pieces that are complete now.

        A clause counts as complete with its mark of punctuation, without waiting for what
        follows, except where the mark may be part of a number ("10." of "10.30"). A new line ends
        a piece however short it is.
        """
        self._text += text
        pieces = []
        while (cut := self._cut()) is not None:
            pieces.append(self._take(cut))
        return pieces

    def finish(self) -> list[str]:
        """The text is complete: return what is left, as one piece if it says anything."""
        rest, self._text, self._searched = self._text, "", 0
        return [rest] if rest.strip() else []

    def _take(self, cut: int) -> str:
        piece, self._text = self._text[:cut], self._text[cut:]
        self._searched = 0
        self._first = None
        return piece

    def _cut(self) -> int | None:
        """Where the next piece ends, or None."""
        text = self._text
        at = self._searched
        while at < len(text):
            if text[at] not in _ENDS:
                at += 1
                continue
            end = at + 1
            while end < len(text) and text[end] in _ENDS + _CLOSERS:
                end += 1
            verdict = self._is_boundary(at, end)
            if verdict is None:
                break
            if verdict and (text[end - 1] == "\n" or self._long_enough(end)):
                return end
            at = end
        self._searched = min(at, len(text))
        if len(text) > self._longest:
            space = text.rfind(" ", 1, self._longest + 1)
            return space if space > 0 else self._longest
        return None

    def _long_enough(self, end: int) -> bool:
        said = self._text[:end].strip()
        if self._first is not None:
            return len(said) >= self._first
        return len(said) >= self._later or said.rstrip(_CLOSERS)[-1:] in ".!?…"

    def _is_boundary(self, at: int, end: int) -> bool | None:
        """Whether a clause ends at ``end``; None if only the next character can tell."""
        text = self._text
        if text[end - 1] == "\n" or text[at] == "\n":
            return bool(text[:end].strip())
        at_edge = end == len(text)
        if not at_edge and not text[end].isspace():
            return False
        before = text[at - 1] if at else ""
        if at_edge and before.isdigit() and text[at] in ".,:":
            return None
        if text[at] == ".":
            word = _LAST_WORD.search(text[:at])
            last = word.group(1).lstrip("(\"'“").lower() if word else ""
            initial = len(last) == 1 and last.isalpha() and last != "i"
            if last in ABBREVIATIONS or initial:
                return False
        return bool(text[:end].strip(_ENDS + _CLOSERS + " "))
