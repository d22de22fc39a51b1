"""Records without what was said: tokens in place of words, which keep equality (rule T22)."""

from __future__ import annotations

import re
import secrets
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from itertools import groupby
from typing import Any, Literal, get_origin, get_type_hints

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.policy import Policy
from agentkit.core.segment import Segmenter
from agentkit.core.words import normal_words
from agentkit.observe.record import Record

_NAMES = frozenset(
    {
        "id",
        "call_id",
        "name",
        "code",
        "reason",
        "kind",
        "trigger",
        "timer",
        "message",
        "languages",
        "filler",
    }
)
"""Fields with names of things, or texts of agentkit's own. All other text is what people said, so a
field that is new is redacted unless it is listed here."""


@cache
def _plain_fields(kind: type) -> frozenset[str]:
    """The fields of a dataclass that hold nothing anybody said."""
    hints = get_type_hints(kind)
    return frozenset(
        field.name
        for field in fields(kind)
        if field.name in _NAMES or get_origin(hints[field.name]) is Literal
    )


def redact(record: Record) -> Record:
    """The same record with tokens in place of words. It still replays (see `Redactor`)."""
    entries = Redactor(record.policy).entries(record.entries)
    return Record(record.started, record.policy, tuple(entries), record.ended)


class Redactor:
    """Puts a token in place of each word of one record.

    The same word always has the same token, and different words have different ones; case, length,
    digits, spaces and punctuation stay, for they decide where a reply is cut into pieces. Keys that
    were pressed are noughts. What the machine knows stays as it is: the words of the policy's
    lists, abbreviations such as "Dr.", and the agent's fixed lines. The tokens are drawn at random
    and the key is not kept.

    It hides what was said from a reader. It is no encryption: lengths and repetitions remain.
    """

    def __init__(self, policy: Policy) -> None:
        self._kept = {"i"}
        self._keep(policy)
        self._tokens: dict[str, str] = {}
        self._used: set[str] = set()
        self._written: dict[int, str] = {}
        self._redacted: dict[int, str] = {}
        self._given: dict[int, int] = {}

    def entries(
        self, entries: Iterable[tuple[float, ev.Event, Sequence[cmd.Command]]]
    ) -> Iterator[tuple[float, ev.Event, Sequence[cmd.Command]]]:
        """The entries of a record, redacted."""
        known = list(entries)
        for _, event, commands in known:
            if isinstance(event, ev.ReplyText):
                self._written[event.reply] = self._written.get(event.reply, "") + event.text
            elif isinstance(event, ev.PolicyChanged):
                self._keep(event.policy)
            for command in commands:
                if isinstance(command, cmd.DigitsCollected):
                    self._hide_keys(command.digits)
        self._redacted = {reply: self.text(text) for reply, text in self._written.items()}
        at: dict[int, int] = {}
        for now, event, commands in known:
            hidden: ev.Event
            if isinstance(event, ev.ReplyText):
                begin = at.get(event.reply, 0)
                at[event.reply] = begin + len(event.text)
                hidden = replace(event, text=self._slice(event.reply, begin, at[event.reply]))
            elif isinstance(event, ev.KeyPressed):
                hidden = ev.KeyPressed(_hidden_keys(event.key))
            elif isinstance(event, ev.PolicyChanged | ev.DigitsExpected):
                hidden = event
            else:
                hidden = self.value(event)
            yield now, hidden, tuple(self._command(command) for command in commands)

    def _keep(self, policy: Policy) -> None:
        """The words of the lists that decide something stay themselves."""
        rules = policy.interruption
        lists = [rules.backchannels, policy.speculation.courtesy]
        if rules.unlisted > 1:
            lists.append(rules.claims)
        self._kept |= {
            part
            for known in lists
            for phrases in known.values()
            for phrase in phrases
            for part, is_word in _parts(phrase)
            if is_word
        }

    def text(self, text: str) -> str:
        """A text with its words replaced."""
        return "".join(
            chunk if chunk.isspace() or self._is_abbreviation(chunk) else self._chunk(chunk)
            for chunk, _ in _spaced(text)
        )

    def value(self, value: Any) -> Any:
        """A value of the core with all that was said in it replaced."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, tuple):
            return tuple(self.value(item) for item in value)
        if is_dataclass(value) and not isinstance(value, type):
            plain = _plain_fields(type(value))
            changed = {
                field.name: self.value(getattr(value, field.name))
                for field in fields(value)
                if field.name not in plain
            }
            return replace(value, **changed)
        return value

    def _command(self, command: cmd.Command) -> cmd.Command:
        """What the machine took out of a reply's text is taken out of its redacted text."""
        if isinstance(command, cmd.StartReply):
            return command
        if isinstance(command, cmd.Speak):
            begin = self._given.get(command.reply, 0)
            end = begin + len(command.text)
            if self._written.get(command.reply, "")[begin:end] == command.text:
                self._given[command.reply] = end
                return replace(command, text=self._slice(command.reply, begin, end))
        elif isinstance(command, cmd.ReplyEnded) and self._written.get(
            command.reply, ""
        ).startswith(command.heard):
            return replace(command, heard=self._slice(command.reply, 0, len(command.heard)))
        redacted: cmd.Command = self.value(command)
        return redacted

    def _hide_keys(self, keys: str) -> None:
        """Keys come one by one and stand together later: all of them are the same token."""
        for part, is_word in _parts(keys):
            if is_word:
                token = _hidden_keys(part)
                self._tokens["".join(normal_words(part))] = token
                self._used.add(token)

    def _slice(self, reply: int, begin: int, end: int) -> str:
        whole, hidden = self._written.get(reply, ""), self._redacted.get(reply, "")
        if len(whole) == len(hidden):
            return hidden[begin:end]
        before = len(self.text(whole[:begin]))
        return self.text(whole[:end])[before:]

    def _chunk(self, chunk: str) -> str:
        return "".join(self._token(part) if is_word else part for part, is_word in _parts(chunk))

    def _is_abbreviation(self, chunk: str) -> bool:
        """Whether a point after this word ends no clause. A single letter says no name."""
        word = chunk.rstrip(".,;:!?")
        if len(word) < 2 or len(word) > 8:
            return False
        return not Segmenter(first=1).push(f"so {word}. ")

    def _token(self, word: str) -> str:
        key = "".join(normal_words(word)) or word
        if key in self._kept:
            return word
        token = self._tokens.get(key)
        if token is None:
            token = self._tokens[key] = self._draw(key)
            self._used.add(token)
        if len(word) != len(token):
            # A sharp s is told apart from "ss" by its length alone, and lengths are counted (T9).
            return token.replace("ss", "ß", max(0, len(token) - len(word)))
        return "".join(
            letter.upper() if original.isupper() else letter
            for original, letter in zip(word, token, strict=True)
        )

    def _draw(self, key: str) -> str:
        """A token that no other word has, of the same length while there is one."""
        pattern = key
        for attempt in range(1, 1_000_000):
            token = "".join(_drawn(part) for part in _SHARP.split(pattern))
            if token != key and self._is_free(token):
                return token
            if attempt % 500 == 0:
                pattern += key[-1]
        raise AssertionError("there are more words than tokens")

    def _is_free(self, token: str) -> bool:
        taken = token in self._used or token in self._kept
        return not taken and not self._is_abbreviation(token)


_SHARP = re.compile("(ss)")
"""What a sharp s is folded into: it stays, so that a word has a token of its own length."""


def _drawn(part: str) -> str:
    if part == "ss":
        return part
    return "".join(
        secrets.choice(string.digits if letter.isdigit() else string.ascii_lowercase)
        for letter in part
    )


def _hidden_keys(keys: str) -> str:
    return "".join("0" if key.isalnum() else key for key in keys)


def _spaced(text: str) -> Iterator[tuple[str, bool]]:
    for space, letters in groupby(text, str.isspace):
        yield "".join(letters), space


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """A text cut into words and what is between them."""
    for is_word, letters in groupby(text, _in_word):
        yield "".join(letters), is_word


def _in_word(letter: str) -> bool:
    return letter.isalnum() or unicodedata.category(letter)[0] == "M"
