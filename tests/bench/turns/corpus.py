"""Real wording: dialogues of the Chit-Chat Challenge (PyPI ``chitchat-dataset``, MIT).

People wrote to each other, about anything. One of the two is taken for the caller, the other for
the agent. What nobody says aloud (links, signs, strings of dots) is dropped.
"""

from __future__ import annotations

import importlib.resources
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9'’-]*[,.!?;:]?")
_SENTENCE = re.compile(r"[.!?]$")


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the caller says, and what the agent answers."""

    caller: tuple[str, ...]
    agent: str


Dialogue = tuple[Exchange, ...]


class NoCorpus(Exception):
    """The package with the dialogues is not installed."""


@cache
def corpus() -> tuple[tuple[str, ...], ...]:
    """All dialogues, as the messages of alternating writers. Raises NoCorpus."""
    try:
        path = importlib.resources.files("chitchat_dataset") / "dataset.json"
    except ModuleNotFoundError as error:
        raise NoCorpus("pip install chitchat-dataset, or: make bench-turns") from error
    data = json.loads(path.read_text("utf-8"))
    return tuple(
        tuple(" ".join(part["text"] for part in message) for message in chat["messages"])
        for chat in data.values()
    )


def halves() -> tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]:
    """The dialogues that policies are tuned with, and those that the tables are made of."""
    return corpus()[0::2], corpus()[1::2]


def spoken(text: str, most: int) -> tuple[str, ...]:
    """The words of a text as they would be said, at most so many, to the end of a sentence."""
    words = _WORD.findall(text.replace("...", ", "))
    if len(words) > most:
        ends = [n for n, word in enumerate(words[:most], 1) if _SENTENCE.search(word)]
        words = words[: ends[-1] if ends and ends[-1] >= 4 else most]
    if words and words[-1][-1] not in ".!?":
        words[-1] = words[-1].rstrip(",;:") + "."
    return tuple(words)


def dialogue(
    seed: int, chats: Sequence[Sequence[str]], *, turns: int, words: int, reply_words: int
) -> Dialogue:
    """Draw a dialogue: a chat that is long enough, from some place in it on."""
    chance = random.Random(f"dialogue {seed}")
    while True:
        chat = chats[chance.randrange(len(chats))]
        found = _exchanges(chat, words, reply_words)
        if len(found) >= turns:
            begin = chance.randrange(len(found) - turns + 1)
            return tuple(found[begin : begin + turns])


def _exchanges(chat: Sequence[str], words: int, reply_words: int) -> list[Exchange]:
    found = []
    for said, answered in zip(chat[::2], chat[1::2], strict=False):
        caller, agent = spoken(said, words), spoken(answered, reply_words)
        if caller and agent:
            found.append(Exchange(caller, " ".join(agent)))
    return found
