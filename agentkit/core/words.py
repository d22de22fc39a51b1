"""Comparing what was said: the same words, words that came twice, sounds of attention."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

# Dropped at the edges of a word; all else counts, a final question mark too.
_EDGES = ".,!;:\"'`´“”„‟‘’‚‛«»‹›「」『』"


def normal_words(text: str) -> list[str]:
    """The words of a text in the form in which they are compared.

    Unicode NFKC and case folding; marks of punctuation and quotation at the edges of words are
    dropped, and so are extra spaces.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return [word for raw in folded.split() if (word := raw.strip(_EDGES))]


def same_words(one: str, other: str) -> bool:
    """Whether two transcripts are the same words (see the words of the rules)."""
    return one == other or normal_words(one) == normal_words(other)


def join(*parts: str) -> str:
    """The parts that are not empty, with single spaces between."""
    return " ".join(part.strip() for part in parts if part.strip())


def join_overlapping(before: str, after: str) -> str:
    """Join two stretches of speech of which the second may begin with the end of the first.

    The longest run of words that ends ``before`` and begins ``after`` is kept once. Where none
    does, ``after`` may begin in the middle of a word: its first word is then left aside and two
    or more words have to match.
    """
    return join(before, _unsaid(before, after))


def beyond(answered: str, text: str) -> str:
    """What ``text`` says beyond words that were answered already, and "" if that is nothing.

    ``text`` either tells the same stretch of speech again from its beginning, or begins
    somewhere in the part that was answered.
    """
    done, raw = normal_words(answered), text.split()
    words = [normal_words(word) for word in raw]
    at = 0
    for count, word in enumerate(words):
        if word and (at >= len(done) or word[0] != done[at]):
            break
        at += len(word)
        if at >= len(done):
            return " ".join(raw[count + 1 :])
    else:
        return ""
    return _unsaid(answered, text)


def _unsaid(before: str, after: str) -> str:
    left = normal_words(before)
    raw = [word for word in after.split() if normal_words(word)]
    right = [normal_words(word)[0] for word in raw]
    for skip in (0, 1):
        for size in range(min(len(left), len(right) - skip), skip, -1):
            if left[-size:] == right[skip : skip + size]:
                return " ".join(raw[skip + size :])
    return after


def is_backchannel(text: str, lists: Mapping[str, frozenset[str]], language: str) -> bool:
    """Whether a text is nothing but sounds of attention of that language's list.

    Several in a row ("yeah, okay") still are one. Phrases of up to three words are known as a
    whole. A language without a list knows none.
    """
    known = lists.get(language) or lists.get(language.split("-")[0], frozenset())
    words = normal_words(text)
    at = 0
    while at < len(words):
        for size in (3, 2, 1):
            if " ".join(words[at : at + size]) in known and at + size <= len(words):
                at += size
                break
        else:
            return False
    return bool(words)
