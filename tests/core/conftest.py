"""A driver for the turn machine: says what happens, keeps what was decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import Policy

C = TypeVar("C")


class Driver:
    """One call. Each verb returns the commands that followed from it, without the accounts."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.machine = TurnMachine(policy)
        self.now = 100.0
        self.connection = 0
        self.index = 0
        self.sequence = 0
        self.log: list[tuple[float, ev.Event, list[cmd.Command]]] = []
        self.timers: dict[str, float] = {}
        self.epoch = 0
        self.played = 0.0
        self.requests = 0
        self.on(ev.CallStarted())
        self.on(ev.SourceConnected(0))

    def on(self, event: ev.Event) -> list[cmd.Command]:
        commands = list(self.machine.handle(event, self.now))
        self.log.append((self.now, event, commands))
        for command in commands:
            if isinstance(command, cmd.SetTimer):
                self.timers[command.timer] = command.at
            elif isinstance(command, cmd.CancelTimer):
                del self.timers[command.timer]
            elif isinstance(command, cmd.Play | cmd.ClearPlayout):
                self.epoch, self.played = command.epoch, 0.0
        return [command for command in commands if not isinstance(command, cmd.DraftBooked)]

    def wait(self, seconds: float) -> list[cmd.Command]:
        """Let time pass; due timers fire at their time."""
        until = self.now + seconds
        out: list[cmd.Command] = []
        while due := [item for item in self.timers.items() if item[1] <= until + 1e-9]:
            timer, at = min(due, key=lambda item: item[1])
            del self.timers[timer]
            self.now = max(self.now, at)
            out += self.on(ev.TimerFired(timer))
        self.now = until
        return out

    # ------------------------------------------------------------------------------- the caller

    def _turn(self, kind: type[ev.TurnEvent], text: str, **fields: object) -> list[cmd.Command]:
        self.sequence += 1
        given: dict[str, object] = {
            "connection": self.connection,
            "index": self.index,
            "text": text,
            "sequence": self.sequence,
        }
        return self.on(kind(**{**given, **fields}))  # type: ignore[arg-type]

    def start(self, text: str = "", **fields: object) -> list[cmd.Command]:
        return self._turn(ev.TurnStarted, text, **fields)

    def update(self, text: str, **fields: object) -> list[cmd.Command]:
        return self._turn(ev.TurnUpdated, text, **fields)

    def eager(self, text: str, **fields: object) -> list[cmd.Command]:
        return self._turn(ev.TurnMaybeEnded, text, **fields)

    def resume(self, text: str = "", **fields: object) -> list[cmd.Command]:
        return self._turn(ev.TurnResumed, text, **fields)

    def end(self, text: str, **fields: object) -> list[cmd.Command]:
        out = self._turn(ev.TurnEnded, text, **fields)
        self.index += 1
        return out

    def turn(self, text: str) -> list[cmd.Command]:
        """A whole turn of one second, drafted 0.2 s before its end."""
        out = self.start(text)
        self.now += 0.8
        out += self.eager(text)
        self.now += 0.2
        return out + self.end(text)

    def lose(self) -> list[cmd.Command]:
        """The connection is lost and made again."""
        out = self.on(ev.SourceLost(self.connection, "closed"))
        self.connection += 1
        self.index = self.sequence = 0
        return out + self.on(ev.SourceConnected(self.connection))

    # -------------------------------------------------------------------------------- the agent

    def write(self, reply: int, text: str, *, done: bool = True) -> list[cmd.Command]:
        """The model writes the reply."""
        out = self.on(ev.ReplyText(reply, text))
        return out + (self.on(ev.ReplyDone(reply)) if done else [])

    def voice(self, reply: int, seconds: float = 1.0) -> list[cmd.Command]:
        """The voice speaks every piece it was given and has not spoken yet."""
        out: list[cmd.Command] = []
        spoken = {
            event.piece
            for _, event, _ in self.log
            if isinstance(event, ev.SpeechMade) and event.reply == reply and event.end
        }
        for command in self.of(cmd.Speak):
            if command.reply == reply and command.piece not in spoken:
                out += self.on(ev.SpeechMade(reply, command.piece, seconds, (), True))
        return out

    def hear(self, seconds: float) -> list[cmd.Command]:
        """Let playout go on, with a report every 0.1 s."""
        out: list[cmd.Command] = []
        base, epoch, before, passed = self.now, self.epoch, self.played, 0.0
        while passed < seconds - 1e-9 and self.epoch == epoch:
            passed = min(passed + 0.1, seconds)
            out += self.wait(base + passed - self.now)
            if self.epoch == epoch:
                self.played = round(before + passed, 3)
                out += self.on(ev.PlayoutReached(epoch, self.played))
        return out

    def answer(self, text: str, seconds: float = 1.0) -> int:
        """The newest reply is written and voiced; returns its id."""
        reply = self.of(cmd.StartReply)[-1].reply
        self.write(reply, text)
        self.voice(reply, seconds)
        return reply

    def say(self, text: str, *, interruptible: bool = True, seconds: float = 2.0) -> int:
        """The agent says something of its own; returns the reply's id."""
        self.on(ev.SayRequested(self.requests, interruptible))
        self.requests += 1
        return self.answer(text, seconds)

    # ------------------------------------------------------------------------ what was decided

    def of(self, kind: type[C]) -> list[C]:
        """All commands of a kind so far."""
        return [c for _, _, commands in self.log for c in commands if isinstance(c, kind)]

    @property
    def outcomes(self) -> dict[int, str]:
        return {command.turn: command.outcome for command in self.of(cmd.TurnClosed)}

    @property
    def said(self) -> list[str]:
        """The history, as `who: text` lines."""
        lines = []
        for message in self.machine.messages():
            who = type(message).__name__.removesuffix("Message").lower()
            cut = " (interrupted)" if getattr(message, "interrupted", False) else ""
            lines.append(f"{who}: {message.text}{cut}")
        return lines


def kinds(commands: list[cmd.Command], *wanted: type) -> list[str]:
    """The names of commands, or of those of some kinds."""
    return [type(c).__name__ for c in commands if not wanted or isinstance(c, wanted)]


@pytest.fixture
def call() -> Driver:
    return Driver()


@pytest.fixture
def call_with() -> Callable[[Policy], Driver]:
    return Driver
