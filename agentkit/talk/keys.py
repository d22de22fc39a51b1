"""What the keyboard sends, and the line that is typed with it."""

from __future__ import annotations

import codecs
import re
import unicodedata

_NAMES = {
    "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x15": "clear",
    "\x17": "word", "\x04": "end",
}  # fmt: skip
"""Enter, Backspace, Ctrl-U, Ctrl-W, Ctrl-D."""
# ECMA-48: a control sequence, or one letter behind SS3 (an arrow). What else follows on ESC is
# another key: who presses two in a hurry means both.
_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O.)", re.DOTALL)
_UNFINISHED = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)\Z")
_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"


class Keys:
    """Turns bytes from a terminal into keys.

    A key is a letter, or one of ``enter``, ``backspace``, ``clear``, ``word``, ``end``, ``escape``.
    Others (arrows, function keys) are left out. A line's end in pasted text is a space.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._pasting = False

    def feed(self, data: bytes) -> list[str]:
        """The keys of some bytes; what is the beginning of one waits for the rest."""
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        found: list[str] = []
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                found += self._key(text[at])
                at += 1
            elif sequence := _SEQUENCE.match(text, at):
                self._pasting = (self._pasting or sequence[0] == _PASTE) and sequence[0] != _PASTED
                at = sequence.end()
            elif _UNFINISHED.match(text, at):
                self._rest, at = text[at:], len(text)
            else:
                found.append("escape")
                at += 1
        return found

    def _key(self, letter: str) -> list[str]:
        if self._pasting and letter in "\r\n\t":
            return [" "]
        if name := _NAMES.get(letter):
            return [name]
        return [letter] if unicodedata.category(letter) not in ("Cc", "Cs") else []


class Line:
    """A line that is being typed, at its end only."""

    def __init__(self) -> None:
        self.text = ""

    def press(self, key: str) -> None:
        """Take a key of `Keys`, other than those that end the line."""
        if key == "backspace":
            self._drop_letter()
        elif key == "clear":
            self.text = ""
        elif key == "word":
            self.text = self.text.rstrip().rpartition(" ")[0]
            self.text += " " if self.text else ""
        elif len(key) == 1:
            self.text += key

    def _drop_letter(self) -> None:
        """The last letter, with the marks that combine with it."""
        while self.text:
            letter, self.text = self.text[-1], self.text[:-1]
            if unicodedata.category(letter) not in ("Mn", "Me", "Cf"):
                return
