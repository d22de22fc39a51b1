"""How complete a sentence sounds, from its words alone.

Moonshine ends almost everything with a full stop or a comma, which tells little; what a clause
cannot end with tells more.
"""

from __future__ import annotations

import re
from typing import Literal

Wording = Literal["open", "plain", "question"]

_OPEN_ENDINGS = frozenset(
    {
        "a", "an", "the", "my", "your", "his", "her", "our", "their", "this", "these", "those",
        "some", "any", "and", "or", "but", "so", "because", "if", "when", "while", "that", "which",
        "who", "whose", "than", "as", "of", "to", "for", "from", "with", "without", "at", "by",
        "in", "into", "on", "onto", "about", "between", "after", "before", "until", "under",
        "over", "i", "we", "he", "she", "they", "i'm", "we're", "it's", "that's", "is", "are",
        "was", "were", "am", "be", "been", "have", "has", "had", "will", "would", "could",
        "should", "can", "may", "might", "must", "do", "does", "did", "not", "don't", "want",
        "need", "like", "uh", "um", "er", "erm", "uhm", "hmm", "well", "maybe", "actually", "also",
        "let's", "i'd", "i'll", "we'd", "we'll", "please", "number", "name's", "very", "really",
    }
)  # fmt: skip
_FULL_ENDINGS = (
    "yes please", "no please", "if you please", "i am", "we are", "i do", "i did", "i have",
    "i will", "i can", "i could", "i would", "it is", "they are", "as well", "i'd like",
    "come in", "the one i want", "what do you want", "all i need", "of course i would",
)  # fmt: skip
_QUESTION = re.compile(
    r"^(?:and |so |but |okay |hi |hello |sorry )*"
    r"(?:what|when|where|who|why|how|which|is|are|do|does|did|can|could|would|will|may|have|has)\b"
)
_DIGIT = re.compile(r"(?:\d+|zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple)$")
_DIGITS_IN_A_ROW = 3
"""A number that is being read out: more of it may come."""


def wording(text: str) -> Wording:
    """``open``: more has to come; ``question``: it waits for an answer; ``plain``: neither."""
    lowered = text.casefold().strip()
    words = re.findall(r"[\w'’]+", lowered.replace("’", "'"))
    if not words:
        return "open"
    joined = " ".join(words)
    if lowered.endswith(("...", "…", "-", "—")):
        return "open"
    last = words[-_DIGITS_IN_A_ROW:]
    if len(last) == _DIGITS_IN_A_ROW and all(_DIGIT.match(word) for word in last):
        return "open"
    if words[-1] in _OPEN_ENDINGS and not joined.endswith(_FULL_ENDINGS):
        return "open" if len(words) > 1 or words[-1] not in ("please", "hmm", "well") else "plain"
    if lowered.endswith("?") or _QUESTION.match(joined):
        return "question"
    return "plain"
