"""Comparing what was said: the same words, words that came twice, attention and claims, echo."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher

# Dropped at the edges of a word; all else counts, a final question mark too.
_EDGES = ".,!;:\"'`´“”„‟‘’‚‛«»‹›「」『』"

_QUESTION = ("?", "\uff1f")

_ECHO_SHARE = 0.8


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


def claims_floor(
    text: str,
    attention: Mapping[str, frozenset[str]],
    claims: Mapping[str, frozenset[str]],
    language: str,
    *,
    unlisted: int,
) -> bool:
    """Whether somebody who says this while another talks asks for the floor.

    A question does, a phrase of the list of claims does, and so do as many words that are on no
    list as ``unlisted`` says. Of two phrases that begin with the same word the longer one counts,
    and of one that is on both lists that it is a sound of attention. Signs alone are as good as
    one word.
    """
    known, claiming = _of_language(attention, language), _of_language(claims, language)
    words = _listed(text)
    at, strange = 0, 0 if words else 1
    while at < len(words):
        size = _phrase(words[at:], known)
        if _phrase(words[at:], claiming) > size:
            return True
        if not size:
            if words[at].endswith(_QUESTION):
                return True
            strange += 1
        at += size or 1
    return strange >= unlisted


def without_courtesy(text: str, lists: Mapping[str, frozenset[str]], language: str) -> list[str]:
    """The normal words of a text, without what of that language's list stands at its edges.

    A text of nothing else keeps all its words: then they are what it says.
    """
    known = _of_language(lists, language)
    words = _listed(text)
    begin, end = 0, len(words)
    while begin < end and (size := _phrase(words[begin:end], known)):
        begin += size
    turned = frozenset(" ".join(reversed(phrase.split())) for phrase in known)
    while begin < end and (size := _phrase(words[begin:end][::-1], turned)):
        end -= size
    return words[begin:end] or words


def is_echo(said: str, spoken: str, least: int) -> bool:
    """Whether the caller's words are the agent's own, come back through the microphone.

    Args:
        said: what was recognised.
        spoken: what the agent was saying then, with some words to either side.
        least: fewer words than this prove nothing.

    A recogniser hears an echo imperfectly: four of five words have to be found, in order, in one
    stretch of the agent's words.
    """
    words, sounded = normal_words(said), normal_words(spoken)
    if least <= 0 or len(words) < least:
        return False
    blocks = [
        block
        for block in SequenceMatcher(None, words, sounded, autojunk=False).get_matching_blocks()
        if block.size
    ]
    found = sum(block.size for block in blocks)
    if found < _ECHO_SHARE * len(words):
        return False
    stretch = blocks[-1].b + blocks[-1].size - blocks[0].b
    return stretch <= found / _ECHO_SHARE


def _listed(text: str) -> list[str]:
    """The words as the lists write them: with straight apostrophes."""
    return [word.replace("’", "'") for word in normal_words(text)]


def hide_keys(text: str, keys: Iterable[str]) -> str:
    """The text with a dot in place of each key that was pressed."""
    for pressed in keys:
        text = text.replace(pressed, "·" * len(pressed))
    return text


def _of_language(lists: Mapping[str, frozenset[str]], language: str) -> frozenset[str]:
    return lists.get(language) or lists.get(language.split("-")[0].casefold(), frozenset())


def _phrase(words: list[str], known: frozenset[str]) -> int:
    """How many words of the beginning are one phrase that is known; 0 if none is."""
    for size in (4, 3, 2, 1):
        if size <= len(words) and " ".join(words[:size]) in known:
            return size
    return 0
