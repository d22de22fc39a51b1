"""The log of a call: turns and drafts with their ids and times (rule T21), and no secrets.

Nothing here takes effect on import: a program calls `configure_logging` if it wants agentkit's
format, or sets structlog up itself, with `mask_secrets` among its processors.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import fields
from typing import Any

import structlog

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Prices
from agentkit.core.spending import Books
from agentkit.core.words import hide_keys
from agentkit.errors import ConfigError

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_MASK = "***"
_SECRET_KEY = re.compile(
    r"(api[-_]?key|access[-_]?key|secret|token|passw(or)?d|authori[sz]ation|cookie|credential"
    r"|signature|^key$|^auth$)",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?P<kept>\b(?:bearer|basic)\s+|\btoken\s+(?=\S*\d)|://[^/\s:@]*:"
    r"|[?&][\w-]*(?:key|token|secret|signature)=)(?P<rest>[^\s&\"'@,;]{6,})"
    r"|\bsk-[\w-]{8,}",
    re.IGNORECASE,
)


def configure_logging(level: str = "warning", *, json: bool = False) -> None:
    """Send agentkit's log to standard error.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``; what is below is left out.
        json: a JSON object a line, for machines; else lines for people.

    Raises:
        ConfigError: there is no such level.
    """
    if level not in LEVELS:
        raise ConfigError("log level", f"{level!r} is not one of {', '.join(LEVELS)}")
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=_to_standard_error,
    )


def _to_standard_error(*_names: Any) -> structlog.PrintLogger:
    """A logger that prints to where standard error is now: a program may send it elsewhere."""
    return structlog.PrintLogger(sys.stderr)


def mask_secrets(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor that puts ``***`` in place of keys, tokens and passwords.

    It masks texts under keys that look secret, however deep, and what looks like a credential
    inside other texts. Numbers stay: a count of tokens is no secret.
    """
    for key, value in event.items():
        event[key] = _masked(value, secret=_SECRET_KEY.search(key) is not None)
    return event


def _masked(value: Any, *, secret: bool) -> Any:
    if isinstance(value, str):
        return _MASK if secret else _SECRET_TEXT.sub(_mask, value)
    if isinstance(value, bytes):
        return _MASK if secret else value
    if isinstance(value, Mapping):
        return {
            key: _masked(item, secret=secret or _SECRET_KEY.search(str(key)) is not None)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item, secret=secret) for item in value]
    return value


def _mask(found: re.Match[str]) -> str:
    return (found["kept"] or "") + _MASK


def _logger() -> Any:
    """What the program has set structlog up for; where it has not, no more than warnings.

    As it comes, structlog prints everything, among what the program itself prints.
    """
    if structlog.is_configured():
        return structlog.get_logger(__name__)
    return structlog.wrap_logger(
        None, wrapper_class=structlog.make_filtering_bound_logger(LEVELS["warning"])
    )


class CallLogger:
    """Logs the life of turns and drafts. An observer of a session.

    Turns, commits and replies are logged at ``info``, drafts that come to nothing at ``debug``,
    failures at ``warning``. What the source does out of order is logged once per kind, and counted
    at the end (rule T13). Times are seconds from the first event.

    Args:
        words: log what was said, too. It is personal data: off unless asked for.
        **context: goes with every line, e.g. ``call="CA123"``.
    """

    def __init__(self, *, words: bool = False, **context: Any) -> None:
        self._log = _logger().bind(**context)
        self._words = words
        self._start: float | None = None
        self._now = 0.0
        self._drafts: dict[int, float] = {}
        self._oddities: Counter[str] = Counter()
        self._books = Books()

    def __call__(self, now: float, event: ev.Event, commands: Sequence[cmd.Command]) -> None:
        """Log an event and what followed."""
        if self._start is None:
            self._start = now
        self._now = now - self._start
        self._happened(event)
        for command in commands:
            self._decided(command)
        if isinstance(event, ev.CallEnded):
            self._add_up()

    def _happened(self, event: ev.Event) -> None:
        match event:
            case ev.CallStarted():
                self._log.info("call started")
            case ev.SourceConnected(connection=connection):
                self._log.info("source connected", connection=connection, **self._at())
            case ev.SourceLost(connection=connection, reason=reason):
                self._log.warning("source lost", connection=connection, reason=reason, **self._at())
            case ev.SourceFailed(code=code):
                self._log.error("source failed", code=code, **self._at())
            case ev.ReplyFailed(reply=reply, stage=stage, code=code, retryable=retryable):
                say = self._log.debug if reply in self._drafts else self._log.warning
                say("reply failed", reply=reply, stage=stage, code=code, retryable=retryable)
            case ev.CallEnded(reason=reason):
                counted = {"oddities": dict(self._oddities)} if self._oddities else {}
                self._log.info("call ended", reason=reason, **counted, **self._at())
            case _:
                pass

    def _decided(self, command: cmd.Command) -> None:
        match command:
            case cmd.StartReply(draft=True, reply=reply, turn=turn):
                self._drafts[reply] = self._now
                self._log.debug("draft begun", reply=reply, turn=turn, **self._at())
            case cmd.Park(reply=reply):
                self._log.debug("draft parked", reply=reply, **self._at())
            case cmd.Discard(reply=reply, reason=reason) if reply in self._drafts:
                lived = round(self._now - self._drafts.pop(reply), 4)
                self._log.debug("draft discarded", reply=reply, reason=reason, after=lived)
            case cmd.Commit(reply=reply):
                ahead = round(self._now - self._drafts.pop(reply, self._now), 4)
                self._log.info("draft committed", reply=reply, ahead=ahead, **self._at())
            case cmd.DraftBooked() | cmd.DraftDeclined() | cmd.TuneSource():
                self._accounted(command)
            case cmd.TurnCommitted(turn=turn, text=text, keys=keys):
                said = self._said(hide_keys(text, keys))
                self._log.info("turn committed", turn=turn, **self._at(), **said)
            case cmd.TurnClosed(turn=turn, outcome=outcome, times=times):
                self._log.info("turn closed", turn=turn, outcome=outcome, **self._times(times))
            case cmd.BackchannelHeard(turn=turn, text=text):
                self._log.debug("backchannel", turn=turn, **self._at(), **self._said(text))
            case cmd.EchoHeard(turn=turn, text=text):
                self._log.debug("echo", turn=turn, **self._at(), **self._said(text))
            case cmd.DigitsCollected(turn=turn, digits=digits):
                self._log.info("keys pressed", turn=turn, count=len(digits), **self._at())
            case cmd.SilenceNoticed(count=count):
                self._log.info("silence", count=count, **self._at())
            case cmd.ReplyEnded(reply=reply, turn=turn, heard=heard, interrupted=cut):
                said = self._said(heard)
                self._log.info(
                    "reply ended", reply=reply, turn=turn, interrupted=cut, **self._at(), **said
                )
            case cmd.RunTool(reply=reply, call=call):
                self._log.info("tool run", reply=reply, tool=call.name, call_id=call.id)
            case cmd.ErrorRaised(reply=reply, code=code, retryable=retryable):
                self._log.warning("error", reply=reply, code=code, retryable=retryable)
            case cmd.HangUp(reason=reason):
                self._log.info("hang up", reason=reason, **self._at())
            case cmd.Oddity(kind=kind):
                self._oddities[kind] += 1
                if self._oddities[kind] == 1:
                    self._log.warning("source out of order", kind=kind, **self._at())
            case _:
                pass

    def _accounted(self, command: cmd.DraftBooked | cmd.DraftDeclined | cmd.TuneSource) -> None:
        """What drafts cost, and what follows from it (rule T9)."""
        self._books.take(command)
        match command:
            case cmd.DraftBooked(reply=reply, rung=rung, adopted=adopted, cost=cost, saved=saved):
                self._log.debug(
                    "draft booked", reply=reply, rung=rung, adopted=adopted, input=cost.input,
                    output=cost.output, characters=cost.characters, saved=round(saved, 4),
                )  # fmt: skip
            case cmd.DraftDeclined(turn=turn, rung=rung, reason=reason, worth=worth):
                self._log.debug(
                    "draft declined", turn=turn, rung=rung, reason=reason, worth=round(worth, 4)
                )
            case cmd.TuneSource(eager=eager, before=before, reason=reason, held=held, seen=seen):
                self._log.info(
                    "eager threshold moved", to=eager, before=before, reason=reason,
                    held=round(held, 3), seen=seen, **self._at(),
                )  # fmt: skip

    def _add_up(self) -> None:
        """What the drafts of the call cost and saved in all."""
        ledger = self._books.ledger(Prices())
        if not ledger.drafts and not ledger.declined:
            return
        cost = ledger.wasted
        self._log.info(
            "drafts", adopted=ledger.adopted, lost=dict(ledger.lost), lost_input=cost.input,
            lost_output=cost.output, lost_characters=cost.characters,
            lost_price=round(cost.price, 6), saved=round(ledger.saved, 4),
            declined=dict(ledger.declined), moves=ledger.moves,
        )  # fmt: skip

    def _at(self) -> dict[str, float]:
        return {"at": round(self._now, 4)}

    def _said(self, text: str) -> dict[str, str]:
        return {"text": text} if self._words else {}

    def _times(self, times: cmd.TurnTimes) -> dict[str, float]:
        known = {"saved": round(times.saved, 4)}
        for field in fields(times):
            value = getattr(times, field.name)
            if field.name != "saved" and value is not None and self._start is not None:
                known[field.name] = round(value - self._start, 4)
        return known
