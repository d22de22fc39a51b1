"""The tools that replies ask for, and the filler that is said meanwhile (T6, T19, T20)."""

from __future__ import annotations

from agentkit.core import events as ev
from agentkit.core.commands import RunTool, TurnSettled
from agentkit.core.history import ToolCall
from agentkit.core.replies import Reply, ReplyState
from agentkit.core.replying import FILLER, FIRST_TEXT, SETTLE, Replying


class Tooling(Replying):
    """Runs each tool at most once, at the time that its effects allow.

    Tools that only read run at once and side by side, also in a draft. Tools with effects run one
    after another in the order in which the model asked for them: the first once the turn has
    settled (or, if it waives the wait, is committed), each further one when the one before it has
    returned. One that has not begun when its reply ends never runs.
    """

    def _on_tool_requested(self, event: ev.ToolRequested) -> None:
        reply = self._live(event.reply)
        if reply is None or reply.written:
            return
        reply.waiting += reply.segmenter.finish()
        reply.calls += event.calls
        reply.effects |= event.effects
        reply.at_once |= event.at_once
        reply.filler, reply.filled = event.filler, False
        if self._answer is reply:
            self._cancel(FIRST_TEXT)
        self._feed(reply)
        self._run_tools(reply)

    def _run_tools(self, reply: Reply) -> None:
        """Run what may run now."""
        waits = not reply.effects.isdisjoint(reply.running)
        for call in tuple(reply.calls):
            if call.id in reply.effects:
                if waits or not self._may_have_effects(reply, call):
                    waits = True
                    continue
                waits = True
            reply.calls.remove(call)
            self._run_tool(reply, call)

    def _may_have_effects(self, reply: Reply, call: ToolCall) -> bool:
        if reply.state is not ReplyState.COMMITTED:
            return False
        turn = self._turns.get(reply.turn) if reply.turn is not None else None
        return turn is None or turn.settled or call.id in reply.at_once

    def _run_tool(self, reply: Reply, call: ToolCall) -> None:
        if call.id in reply.begun:
            return
        reply.begun.add(call.id)
        reply.running.add(call.id)
        if reply.state is ReplyState.COMMITTED:
            self.history.call_tool(reply.id, len(reply.text), call)
        else:
            reply.steps.append((len(reply.text), call))
        self._emit(RunTool(reply.id, call))

    def _remember_tools(self, reply: Reply) -> None:
        """The draft is the reply now: what its tools found is part of the conversation."""
        for after, call in reply.steps:
            self.history.call_tool(reply.id, after, call)
            if call.id in reply.results:
                self.history.tool_returned(reply.id, call.id, reply.results[call.id])
        reply.steps.clear()
        reply.results.clear()

    def _on_tool_returned(self, event: ev.ToolReturned) -> None:
        """T19: a result is always recorded, also when its reply was cut off."""
        reply = self._replies.get(event.reply)
        if reply is None or event.call_id not in reply.running:
            return
        reply.running.discard(event.call_id)
        if reply.state in (ReplyState.DRAFT, ReplyState.PARKED):
            reply.results[event.call_id] = event.text
            return
        self.history.tool_returned(reply.id, event.call_id, event.text)
        if reply.state is ReplyState.ENDED:
            if not reply.running:
                del self._replies[reply.id]
        else:
            self._run_tools(reply)
            self._check(reply)

    def _settle_now(self) -> None:
        """The last committed turn can no longer be taken back: its effects may happen (T6)."""
        turn, self._unsettled = self._unsettled, None
        if turn is None:
            return
        self._cancel(SETTLE)
        turn.settled = True
        self._emit(TurnSettled(turn.id))
        if self._answer and self._answer.turn == turn.id:
            self._run_tools(self._answer)
        if turn.outcome is not None:
            self._turns.pop(turn.id, None)

    # --------------------------------------------------------------------------------- fillers

    def _on_reply_text(self, event: ev.ReplyText) -> None:
        super()._on_reply_text(event)
        reply = self._replies.get(event.reply)
        if reply is not None:
            reply.filled = False

    def _on_speech_made(self, event: ev.SpeechMade) -> None:
        super()._on_speech_made(event)
        filler = self._floor.current
        if filler is None or filler.kind != "filler" or filler.heard or filler.first_sent:
            return
        if event.seconds > 0 and self._floor.waiting and self._floor.waiting[0].id == event.reply:
            self._drop(filler, "late")
            self._next()

    def _watch_waiting(self) -> None:
        """T20: time the silence in which a reply waits for its model or its tools."""
        if bool(self._filler()) == (FILLER in self._timers):
            return
        if FILLER in self._timers:
            self._cancel(FILLER)
        else:
            self._set(FILLER, self._now + self.policy.limits.filler_after)

    def _filler(self) -> str:
        """What may be said now while the reply that is being heard waits; "": nothing."""
        reply = self._floor.current
        if reply is None or reply.filled or reply.written or not reply.playing:
            return ""
        if reply.kind not in ("answer", "asked") or self._closing is not None:
            return ""
        text = (reply.filler if reply.calls or reply.running else "") or self.policy.filler
        return text if text and reply.waits else ""

    def _say_filler(self) -> None:
        text, reply = self._filler(), self._floor.current
        assert reply is not None  # noqa: S101
        reply.filled = True
        self._floor.add_aside(self._start("filler", text=text))
