"""A conversation on a terminal, with everything but the terminal scripted.

    python tests/talk/scene.py [ORDERS ANSWERS]

Orders come as lines of Python on one file descriptor; each is carried out, and answered with a line
on the other. Without them nothing happens. The screen is the real one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from agentkit import Agent, Turn
from agentkit.conversing import tell
from agentkit.session import Session
from agentkit.talk.command import Leaving, has_screen, signals
from agentkit.talk.screen import Screen
from agentkit.talk.typed import TypedSource
from agentkit.talk.view import TalkView
from agentkit.testing.backends import ScriptedLLM, ScriptedTTS
from agentkit.testing.source import ScriptedSource
from agentkit.testing.transport import FakeTransport


class Receptionist(Agent):
    """Says what the orders put into it."""

    farewell = "Goodbye."
    answers: asyncio.Queue[str] = asyncio.Queue()

    async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
        """What is next."""
        while part := await self.answers.get():
            yield part


class Desk(FakeTransport):
    """A line with a caller who can say that they are done."""

    call_is_over = FakeTransport.hang_up_remote


def obey(orders: int, answers: int, names: dict[str, Any]) -> None:
    """Carry out what has come."""
    text = os.read(orders, 65536).decode()
    if not text:
        asyncio.get_running_loop().remove_reader(orders)
    for order in text.splitlines():
        try:
            exec(order, names)
        except Exception as error:  # it is an order's, and told to who gave it
            os.write(answers, f"{error!r}\n".encode())
        else:
            os.write(answers, b"done\n")


async def main(orders: int | None = None, answers: int | None = None) -> None:
    """Carry out orders until the call is over."""
    assert has_screen()
    line, ears, view = Desk(), ScriptedSource(), TalkView()
    source = TypedSource(ears)
    agent, levels = Receptionist(), [-30.0, -96.0]
    session = Session(
        agent, line, flux=source, llm=ScriptedLLM([]), tts=ScriptedTTS(), observers=[view]
    )
    async with session:
        leaving: Any = Leaving(session, line)  # type: ignore[arg-type]
        screen = Screen(
            view,
            session,
            type_line=source.type_line,
            leave=leaving.ask,
            levels=lambda: (levels[0], levels[1]),
            duplex="echo canceller",
        )
        names = {"ears": ears, "line": line, "agent": agent, "view": view, "levels": levels,
                 "session": session, "say": agent.answers.put_nowait, "screen": screen,
                 "os": os, "sys": sys}  # fmt: skip
        with signals(leaving), screen:
            call = asyncio.create_task(session.run())
            await ears.ready()
            ears.connected()
            if orders is not None and answers is not None:
                loop = asyncio.get_running_loop()
                loop.add_reader(orders, partial(obey, orders, answers, names))
                os.write(answers, b"ready\n")
            record = await call
    tell(f"ended: {record.reason}")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
