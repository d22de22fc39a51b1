"""The screen of a conversation: what is seen, and what its keys do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from agentkit.conversing import tell
from agentkit.errors import UsageError
from agentkit.talk.capture import Capture
from agentkit.talk.keys import Line
from agentkit.talk.picture import LABEL, Seen, picture
from agentkit.talk.picture import Line as PictureLine
from agentkit.talk.terminal import Terminal

if TYPE_CHECKING:
    from agentkit.session import Session
    from agentkit.talk.view import TalkView

log = structlog.get_logger(__name__)

PICTURES = 12
"""Pictures a second, at most."""
LOG = "log"
"""Stands before what was printed meanwhile."""


class Screen:
    """Has the terminal for as long as its ``with`` block lasts; then it prints what was said.

    Args:
        view: an observer of the session.
        session: the conversation.
        type_line: takes what the caller types in place of speaking.
        leave: the caller is done.
        levels: how loud the microphone and the loudspeaker are, in dB of full scale.
        duplex: how the echo is dealt with, in a few words.
    """

    def __init__(
        self,
        view: TalkView,
        session: Session,
        *,
        type_line: Callable[[str], None],
        leave: Callable[[], None],
        levels: Callable[[], tuple[float, float]],
        duplex: str,
    ) -> None:
        self._view = view
        self._session = session
        self._type_line = type_line
        self._leave = leave
        self._levels = levels
        self._duplex = duplex
        self._loop = asyncio.get_running_loop()
        self._terminal = Terminal(self.press)
        self._capture = Capture(self._printed)
        self._tick: asyncio.TimerHandle | None = None
        self._logged: list[str] = []
        self._line: Line | None = None
        self._help = False
        self._muted = False

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._capture.begin()
        self._terminal.take()
        self._draw()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Give the terminal back, and print the conversation, which its screen has taken away."""
        if self._tick is not None:
            self._tick.cancel()
        self._give_back()
        for said in self._view.lines:
            if said.label != LOG:
                tell(f"{said.label:<{LABEL}}{said.text}")
        for line in self._logged:
            tell(line)

    def _give_back(self) -> None:
        self._terminal.give_back()
        self._logged += self._capture.end()

    def press(self, key: str) -> None:
        """What a key does; see `agentkit.talk.picture.HELP`."""
        if self._line is not None:
            self._type(self._line, key)
            return
        match key.lower():
            case "m":
                self._muted = not self._muted
                self._mute()
            case "t":
                self._line = Line()
                self._mute()
            case "q" | "end":
                self._leave()
            case "?":
                self._help = not self._help
            case "escape":
                self._help = False
            case _:
                pass

    def _type(self, line: Line, key: str) -> None:
        if key in ("escape", "end") or (key == "enter" and not line.text.strip()):
            self._line = None
            self._mute()
        elif key == "enter":
            self._line = Line()
            self._type_line(line.text)
        else:
            line.press(key)

    @property
    def _silenced(self) -> bool:
        """Nobody means what the microphone hears while they type."""
        return self._muted or self._line is not None

    def _mute(self) -> None:
        with contextlib.suppress(UsageError):  # the call has not begun, or is over
            self._session.mute(self._silenced)

    def _printed(self, text: str) -> None:
        """Somebody printed a line, on whatever thread: an agent's code, the log, a library."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._view.note, text, "note", LOG)

    def _draw(self) -> None:
        """Draw a picture, and see to the next. One that fails is the last: the call goes on."""
        try:
            self._show()
        except Exception:
            self._give_back()
            log.exception("the view has failed, and is given up")
        else:
            self._tick = self._loop.call_later(1 / PICTURES, self._draw)

    def _show(self) -> None:
        self._mute()  # a key that was pressed before the call has begun
        microphone, loudspeaker = self._levels()
        seen = Seen(
            title=f"agentkit talk: {type(self._session.agent).__name__}",
            duplex=self._duplex,
            microphone=microphone,
            loudspeaker=loudspeaker,
            typing=self._line.text if self._line is not None else None,
            help=self._help,
            silenced=self._silenced,
        )

        def draw(columns: int, rows: int) -> list[PictureLine]:
            return picture(self._view, seen, self._loop.time(), columns, rows)

        self._terminal.show(draw)
