"""What a report shows, as plain data: a record in, what JSON can hold out. No I/O.

Times are seconds from the first event, to the millisecond. Keys that were pressed are counted and
never shown (rule T25). All else that people said is here as it was said: it is the page's to show
it as text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields
from statistics import median
from typing import Any

from agentkit.core.commands import TurnTimes
from agentkit.observe.record import Record
from agentkit.observe.report.rows import log_rows
from agentkit.observe.summary import (
    CallSummary,
    DraftSummary,
    ReplySummary,
    ledger_of,
    summarise,
)

Plain = dict[str, Any]

STAGES = tuple(field.name for field in fields(TurnTimes) if field.name != "saved")
"""The times of a turn in the order of `TurnTimes` (rule T21)."""


def report_data(record: Record) -> Plain:
    """All that the page shows of a call, but for its sound.

    ``moments`` is the conversation in order; ``lanes`` is where things are on the time axis;
    ``latency`` has each turn's times in seconds from its end, so that what a draft did ahead is
    below 0; ``ledger`` is what speculation cost and gave; ``log`` has a row for each event and
    each command.
    """
    call = summarise(record.entries)
    return {
        "duration": _ms(call.duration),
        "ended": call.reason,
        "figures": _figures(call),
        "lanes": _lanes(call),
        "moments": sorted(_moments(call), key=_order),
        "latency": _latency(call),
        "ledger": {**_ledger(call), **_costs(record)},
        "oddities": sorted(call.oddities.items()),
        "log": log_rows(record.entries),
    }


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _figures(call: CallSummary) -> Plain:
    reactions = [turn.reaction for turn in call.turns if turn.reaction is not None]
    return {
        "turns": len(call.turns),
        "reaction": _ms(median(reactions)) if reactions else None,
        "slowest": _ms(max(reactions)) if reactions else None,
        "saved": _ms(call.saved),
        "drafts": len(call.drafts),
        "committed": call.fates["committed"],
        "interruptions": sum(hold.end == "interrupted" for hold in call.holds),
        "holds": len(call.holds),
        "errors": len(call.errors),
    }


# --------------------------------------------------------------------------- the time axis


def _lanes(call: CallSummary) -> Plain:
    return {
        "caller": [
            {"at": _ms(one.began), "end": _ms(one.ended), "turn": one.turn, "text": one.text}
            for one in call.speech
        ],
        "edges": [[_ms(at), edge] for one in call.speech for at, edge in one.edges],
        "drafts": [
            {"at": _ms(one.began), "end": _ms(one.ended), "fate": one.fate, "reason": one.reason}
            for one in call.drafts
        ],
        "agent": [
            {
                "at": _ms(begin),
                "end": _ms(end),
                "cut": reply.interrupted and number == len(reply.spans) - 1,
                "text": reply.heard,
            }
            for reply in call.replies
            for number, (begin, end) in enumerate(reply.spans)
        ],
        "reactions": [
            {"at": _ms(turn.times.ended), "end": _ms(turn.times.ended + turn.reaction)}
            for turn in call.turns
            if turn.times and turn.times.ended is not None and turn.reaction is not None
        ],
        "tools": [
            {"at": _ms(one.began), "end": _ms(call.duration if one.ended is None else one.ended)}
            for one in call.tools
        ],
    }


# ------------------------------------------------------------------------ the conversation


_FIRST = {"hold": 0, "caller": 1, "keys": 1, "draft": 2, "tool": 3, "end": 9}
"""Of what happened at the same time, what is told first; all else in between."""


def _order(moment: Plain) -> tuple[float, int]:
    return moment["at"], _FIRST.get(moment["kind"], 5)


def _moments(call: CallSummary) -> Iterator[Plain]:
    turns = {turn.id: turn for turn in call.turns}
    for speech in call.speech:
        turn = turns.get(speech.turn) if speech.turn is not None else None
        yield {
            "kind": "caller",
            "at": _ms(speech.began),
            "end": _ms(speech.ended),
            "text": speech.text,
            "turn": speech.turn,
            "outcome": turn.outcome if turn else None,
            "note": "attention" if speech.backchannel else "echo" if speech.echo else "",
        }
    saved = {turn.id: turn.times.saved for turn in call.turns if turn.times}
    for draft in call.drafts:
        yield _draft(draft, saved)
    drafted = {draft.reply: draft for draft in call.drafts}
    for reply in (*call.replies, *call.unplayed):
        if reply.spans or reply.heard or reply.text.strip() or reply.discarded:
            yield _reply(reply, drafted.get(reply.reply))
    for tool in call.tools:
        draft_of = drafted.get(tool.reply)
        yield {
            "kind": "tool",
            "at": _ms(tool.began),
            "end": None if tool.ended is None else _ms(tool.ended),
            "name": tool.name,
            "arguments": tool.arguments,
            "result": tool.result,
            "drafted": draft_of is not None and tool.began < draft_of.ended,
        }
    for hold in call.holds:
        yield {
            "kind": "hold",
            "at": _ms(hold.began),
            "end": _ms(hold.ended),
            "verdict": hold.end,
        }
    yield from _remarks(call)


def _remarks(call: CallSummary) -> Iterator[Plain]:
    for at, count in call.keys:
        yield {"kind": "keys", "at": _ms(at), "count": count}
    for at, count in call.silences:
        yield {"kind": "silence", "at": _ms(at), "count": count}
    for loss in call.losses:
        end = None if loss.ended is None else _ms(loss.ended)
        yield {"kind": "lost", "at": _ms(loss.began), "end": end, "reason": loss.reason}
    for at, code in call.errors:
        yield {"kind": "error", "at": _ms(at), "code": code}
    if call.reason is not None:
        yield {"kind": "end", "at": _ms(call.duration), "reason": call.reason}


def _draft(draft: DraftSummary, saved: dict[int, float]) -> Plain:
    kept = draft.fate == "committed"
    return {
        "kind": "draft",
        "at": _ms(draft.began),
        "end": _ms(draft.ended),
        "turn": draft.turn,
        "fate": draft.fate,
        "reason": draft.reason,
        "parked": draft.parked is not None,
        "saved": _ms(saved.get(draft.turn, 0.0)) if kept and draft.turn is not None else 0.0,
        "text": "" if kept else draft.text,
        "given": _length(draft.given),
    }


def _reply(reply: ReplySummary, draft: DraftSummary | None) -> Plain:
    """A reply where its sound began; one without sound where it was begun or committed."""
    rest = unheard(reply.text, reply.heard)
    begun = draft.ended if draft else reply.began
    return {
        "kind": "agent",
        "at": _ms(reply.spans[0][0] if reply.spans else begun),
        "end": _ms(reply.spans[-1][1]) if reply.spans else None,
        "turn": reply.turn,
        "says": reply.kind,
        "heard": reply.heard,
        "rest": reply.text if rest is None else rest,
        "other": rest is None,
        "cut": reply.interrupted,
        "discarded": reply.discarded,
    }


def unheard(text: str, heard: str) -> str | None:
    """What of ``text`` comes after ``heard``, spaces aside; None if it does not begin with it."""
    wanted = "".join(heard.split())
    at = 0
    for letter in wanted:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text) or text[at] != letter:
            return None
        at += 1
    return text[at:].rstrip()


# --------------------------------------------------------------------- latency, speculation


def _latency(call: CallSummary) -> Plain:
    rows: list[Plain] = []
    for turn in call.turns:
        times = turn.times
        if times is None or times.ended is None:
            continue
        stages = {stage: getattr(times, stage) for stage in STAGES}
        rows.append(
            {
                "turn": turn.id,
                "at": _ms(times.ended),
                "text": turn.text,
                "outcome": turn.outcome,
                "stages": {
                    stage: None if at is None else _ms(at - times.ended)
                    for stage, at in stages.items()
                },
                "saved": _ms(times.saved),
            }
        )
    medians = {stage: _median(row["stages"][stage] for row in rows) for stage in STAGES}
    return {"turns": rows, "medians": medians, "saved": _median(row["saved"] for row in rows)}


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _ms(median(known)) if known else None


def _ledger(call: CallSummary) -> Plain:
    """What was begun, what became of it, and what was made and never heard.

    Characters are counted with single spaces. A draft that was committed is a reply from then on,
    so that nothing is counted twice.
    """
    lost = [draft for draft in call.drafts if draft.fate != "committed"]
    kept = [draft for draft in call.drafts if draft.fate == "committed"]
    replies = [*call.replies, *call.unplayed]
    taken_back = {reply.reply for reply in replies if reply.discarded == "taken_back"}
    vain = sum(_length(draft.given) for draft in lost)
    given = [_length(reply.given) for reply in replies]
    heard = [_length(reply.heard) for reply in replies]
    return {
        "begun": len(call.drafts),
        "fates": dict(call.fates),
        "reasons": dict(Counter(draft.reason for draft in lost if draft.reason).most_common()),
        "parked": sum(draft.parked is not None for draft in call.drafts),
        "adopted": sum(draft.parked is not None for draft in kept),
        "taken_back": sum(draft.reply in taken_back for draft in kept),
        "saved": _ms(call.saved),
        "written_in_vain": sum(_length(draft.text) for draft in lost),
        "voice": {
            "given": vain + sum(given),
            "unheard_drafts": vain,
            "unheard_replies": sum(max(0, a - b) for a, b in zip(given, heard, strict=True)),
        },
    }


def _costs(record: Record) -> Plain:
    """Tokens and money, and what was not begun for the sake of them (rule T9)."""
    ledger = ledger_of(record.entries, record.policy)
    costs = {"lost": ledger.wasted, "heard": ledger.cost_adopted}
    per_extra = ledger.saved_per_extra
    return {
        "tokens": {
            name: {"input": cost.input, "cached": cost.cached, "output": cost.output}
            for name, cost in costs.items()
        },
        "estimated": ledger.estimated,
        "price": {name: round(cost.price, 6) for name, cost in costs.items()},
        "currency": ledger.currency,
        "declined": ledger.declined,
        "moves": ledger.moves,
        "per_extra": None if per_extra is None else _ms(per_extra),
    }


def _length(text: str) -> int:
    return len(" ".join(text.split()))
