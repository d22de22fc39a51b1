"""Backends that stall, silence, length, and the keys of a telephone (T7, T23, T25)."""

from __future__ import annotations

from agentkit.core import events as ev
from agentkit.core.caller import CallerState
from agentkit.core.commands import DigitsCollected, SilenceNoticed
from agentkit.core.overlapping import Overlapping
from agentkit.core.policy import Digits
from agentkit.core.replies import Reply
from agentkit.core.replying import DIGITS, GOODBYE, SILENCE, STALLED_REPLY


class Waiting(Overlapping):
    """Gives up what is stalled, asks again after silence, takes leave in time, collects keys."""

    _quiet_since: float | None = None
    """Since when nothing is heard of the reply that has the floor, for want of its backends."""

    # ------------------------------------------------------------------- a model or a voice stalls

    def _watch_progress(self) -> None:
        """T7: time the silence in which a reply waits for its model or its voice."""
        reply = self._waiting_for_backends()
        if reply is None:
            self._quiet_since = None
            self._cancel(STALLED_REPLY)
        elif STALLED_REPLY not in self._timers:
            if self._quiet_since is None:
                self._quiet_since = self._now
            self._set(STALLED_REPLY, self._stalled_at(reply))

    def _waiting_for_backends(self) -> Reply | None:
        """The reply that has the floor, if nothing more of it is heard before they go on.

        What the agent's own code takes, be it a tool, is for that code to limit.
        """
        reply = self._floor.current
        if reply is None or not reply.playing or not self.policy.limits.stalled_reply:
            return None
        return reply if reply.lacks else None

    def _stalled_at(self, reply: Reply) -> float:
        """When it will have waited for too long."""
        since = max(self._quiet_since or 0.0, reply.progressed)
        return max(self._now, since + self.policy.limits.stalled_reply)

    def _reply_is_stalled(self) -> None:
        """What stalls without an error of its own has failed, unless it has gone on since."""
        reply = self._waiting_for_backends()
        stage = reply.lacks if reply else None
        assert reply is not None and stage is not None  # noqa: S101, PT018
        due = self._stalled_at(reply)
        if self._now < due - 1e-6:
            self._set(STALLED_REPLY, due)
        else:
            self._on_reply_failed(ev.ReplyFailed(reply.id, stage, f"{stage}.timeout", True))

    # ------------------------------------------------------------------------------------ silence

    def _watch_silence(self) -> None:
        """T23: time the silence in which nobody has anything to say or to answer."""
        if self.policy.silence.after is None:
            return
        if self._nobody_speaks() == (SILENCE in self._timers):
            return
        if SILENCE in self._timers:
            self._cancel(SILENCE)
        else:
            self._set(SILENCE, self._now + self.policy.silence.after)

    def _nobody_speaks(self) -> bool:
        turn = self.caller.turn
        return (
            self._floor.current is None
            and self._floor.last is not None
            and self._keys is None
            and self._closing is None
            and not self._muted
            and self.caller.connected
            and (turn is None or turn.state is CallerState.ENDED)
        )

    def _silence_is_long(self) -> None:
        rules = self.policy.silence
        self._silences += 1
        self._emit(SilenceNoticed(self._silences))
        if self._silences > rules.times:
            self._take_leave("silence", rules.farewell)
        elif rules.lines:
            line = rules.lines[min(self._silences, len(rules.lines)) - 1]
            self._floor.add(self._start("line", text=line))

    def _take_leave(self, reason: str, farewell: str = "") -> None:
        """End the call once all that is being said was heard, and the farewell after it."""
        if self._closing is not None:
            return
        self._closing = reason
        self._drop_draft("call_ended", park=False)
        self._drop_expected("call_ended")
        if farewell.strip():
            self._floor.add(self._start("line", text=farewell))
        self._floor.release()
        if self._floor.current is None:
            self._hang_up()
        else:
            self._set(GOODBYE, self._now + self.policy.limits.goodbye)

    def _on_muted(self, event: ev.Muted) -> None:
        self._muted = event.muted

    # ------------------------------------------------------------------------------------ keys

    def _on_digits_expected(self, event: ev.DigitsExpected) -> None:
        self._digit_rules = event.rules

    def _on_key_pressed(self, event: ev.KeyPressed) -> None:
        """T25: a key takes the floor as words do; several make one message."""
        if self._closing is not None:
            return
        rules: Digits = self._digit_rules or self.policy.digits
        keys = self._keys
        if keys is None:
            keys = self._keys = self.caller.press(self._now)
        keys.replies_before = self._next_reply
        self._drop_draft("keys", park=False)
        self._drop_expected("keys")
        self._take_back(keys)
        self._interrupt(keys)
        self._floor.hold(self._now)
        ends = event.key == rules.terminator
        if not ends or not keys.text:
            keys.text += event.key
        if ends or len(keys.text) == rules.length:
            self._end_keys()
        else:
            self._set(DIGITS, self._now + rules.quiet)

    def _end_keys(self) -> None:
        """No more keys will follow: they are a turn, and are answered."""
        keys, self._keys = self._keys, None
        if keys is None:
            return
        self._cancel(DIGITS)
        keys.state = CallerState.ENDED
        keys.ended = self._now
        keys.keys += (keys.text,)
        self._emit(DigitsCollected(keys.id, keys.text))
        self._commit(keys, keys.words)
