"""The times of a turn, put together from the turn and its reply (rule T21)."""

from __future__ import annotations

from agentkit.core.caller import Turn
from agentkit.core.commands import TurnTimes
from agentkit.core.replies import Reply


def turn_times(turn: Turn, reply: Reply | None) -> TurnTimes:
    """All that is known of when things happened, in seconds on the session's clock."""
    if reply is None:
        return TurnTimes(turn.speech_end, turn.maybe_ended, turn.ended)
    drafted = turn.ended is not None and reply.started < turn.ended
    return TurnTimes(
        speech_end=turn.speech_end,
        maybe_ended=turn.maybe_ended,
        ended=turn.ended,
        draft_started=reply.started if drafted else None,
        first_text=reply.first_text,
        first_audio_made=reply.first_audio,
        first_audio_sent=reply.first_sent,
        first_sound_sent=reply.first_sound,
        first_heard=reply.first_heard,
        saved=saved(turn, reply) if drafted else 0.0,
    )


def saved(turn: Turn, reply: Reply) -> float:
    """Seconds by which the caller heard the reply sooner than if it had begun at the turn's end.

    That is the head start, or all the work up to the first audio if that took less. Time in which
    the draft lay parked, or its text waited to be given to the voice, was no work; and who has to
    wait for the pace of the conversation waits either way.
    """
    if turn.ended is None or reply.first_audio is None:
        return 0.0
    work = reply.first_audio - reply.started - reply.idle_before_audio
    due = turn.ended if reply.due is None else reply.due
    without, heard = max(turn.ended + work, due), max(reply.first_audio, turn.ended, due)
    return max(0.0, without - heard)
