"""What has to hold in every call, whatever happens in it: checked while one is walked through."""

from __future__ import annotations

from dataclasses import replace

from hypothesis.stateful import RuleBasedStateMachine, invariant

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Pace
from agentkit.core.history import AssistantMessage, ToolMessage, UserMessage
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import Policy
from agentkit.core.words import claims_floor
from agentkit.observe import Record, redact, replay


class Watched(RuleBasedStateMachine):
    """A call whose every command is checked; what happens in it is for a subclass to say."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = self.policy_now = Policy()
        self.machine = TurnMachine(self.policy)
        self.now = 0.0
        self.connection = 0
        self.index = 0
        self.sequence = 0
        self.log: list[tuple[float, ev.Event, list[cmd.Command]]] = []
        self.timers: dict[str, float] = {}
        self.started: dict[int, cmd.StartReply] = {}
        self.drafts: set[int] = set()
        self.live: set[int] = set()
        self.dead: set[int] = set()
        self.pieces: dict[int, int] = {}
        self.playing: int | None = None
        self.epoch = 0
        self.committed: set[int] = set()
        self.closed: dict[int, str] = {}
        self.settled: set[int] = set()
        self.tools_run: set[tuple[int, str]] = set()
        self.wanted: list[tuple[int, str]] = []
        self.effects: set[tuple[int, str]] = set()
        self.returned: set[tuple[int, str]] = set()
        self.acted: set[int] = set()
        self.requests = 0
        self.calls = 0
        self.ended = False
        self.booked: dict[int, cmd.DraftBooked] = {}
        self.turns = 0
        self.characters: dict[int, int] = {}
        self.shared: int | None = None
        self.due: dict[int, float] = {}
        self.paced: Pace | None = None
        self.final = 0.9
        self.judged_anew: int | None = None
        """The turn in which the rules of the floor changed."""
        self.moves: list[tuple[float, cmd.TuneSource]] = []

    def send(self, event: ev.Event) -> None:
        commands = self.machine.handle(event, self.now)
        self.log.append((self.now, event, list(commands)))
        keyed = any(isinstance(command, cmd.DigitsCollected) for command in commands)
        for command in commands:
            if isinstance(command, cmd.TurnCommitted) and not keyed:
                pace = self.paced or self.policy_now.pace
                turn = self.machine._turns.get(command.turn)
                spoken = turn.speech_end if turn and pace.after == "speech" else None
                base = self.now if spoken is None else spoken
                self.due[command.turn] = base + pace.wait(command.turn)
        for command in commands:
            self.check(command)

    def check(self, command: cmd.Command) -> None:
        reply = getattr(command, "reply", None)
        if reply is not None and not isinstance(command, cmd.StartReply | cmd.ErrorRaised):
            assert reply in self.started, "a command for a reply that was never started"
            if not isinstance(command, cmd.ReplyEnded):
                assert reply not in self.dead, f"{command} after its end (T5)"
        match command:
            case cmd.StartReply():
                assert command.reply not in self.started
                self.started[command.reply] = command
                self.live.add(command.reply)
                assert (command.rung is not None) == command.draft
                if command.draft:
                    self.check_draft(command)
                    self.drafts.add(command.reply)
            case cmd.Adopt():
                assert self.started[command.reply].rung == "expected"
                self.started[command.reply] = replace(
                    self.started[command.reply], turn=command.turn
                )
            case cmd.DraftBooked():
                assert command.reply not in self.booked, "a draft is booked twice (T9)"
                assert self.started[command.reply].draft
                assert command.turn == self.started[command.reply].turn
                self.booked[command.reply] = command
            case cmd.TuneSource():
                rules = self.policy_now.speculation.tuning
                assert rules.lowest <= command.eager <= min(rules.highest, self.final)
                if self.moves:
                    assert self.now >= self.moves[-1][0] + rules.every, "moved too often (T9)"
                self.moves.append((self.now, command))
            case cmd.Commit():
                self.drafts.discard(command.reply)
                self.live.add(command.reply)
            case cmd.Park():
                self.live.discard(command.reply)
            case cmd.Discard():
                self.live.discard(command.reply)
                self.dead.add(command.reply)
                if command.reason == "taken_back":
                    assert self.started[command.reply].turn not in self.acted, "taken back (T24)"
                self.drafts.discard(command.reply)
                assert self.playing != command.reply, "discarded while it plays: clear first"
            case cmd.ReplyEnded():
                self.live.discard(command.reply)
                if command.reply == self.playing:
                    self.playing = None
                self.dead.add(command.reply)
            case cmd.Speak():
                self.live.add(command.reply)
                draft = command.reply in self.drafts
                depths = {self.policy.speculation.depth, self.policy_now.speculation.depth}
                assert not draft or "speech" in depths, "T8"
                self.pieces[command.reply] = command.piece + 1
                if draft:
                    self.check_characters(command)
            case cmd.Play():
                assert command.reply not in self.drafts, "a draft is heard (T1)"
                assert command.epoch > self.epoch
                self.epoch, self.playing = command.epoch, command.reply
                turn = self.started[command.reply].turn
                if turn is not None and self.started[command.reply].kind == "answer":
                    assert self.now >= self.due.get(turn, 0.0) - 1e-6, "heard before its pace"
            case cmd.ClearPlayout():
                assert command.epoch > self.epoch
                self.epoch, self.playing = command.epoch, None
            case cmd.RunTool():
                key = (command.reply, command.call.id)
                assert key not in self.tools_run, "a tool runs twice"
                draft = command.reply in self.drafts
                assert not draft or key not in self.effects, "an effect in a draft (T6)"
                turn = self.started[command.reply].turn
                if key in self.effects:
                    assert turn is None or turn in self.settled, "an effect before its turn settled"
                self.tools_run.add(key)
                running = [other for other in self.wanted if other[0] == command.reply]
                assert key not in self.effects or self.effects.isdisjoint(
                    set(running) - self.returned
                ), "two effects of a reply at once"
                self.wanted.append(key)
            case cmd.TurnCommitted():
                assert command.turn not in self.committed, "a turn is committed twice"
                self.committed.add(command.turn)
                self.turns += 1
            case cmd.TurnSettled():
                assert command.turn in self.committed
                assert command.turn not in self.settled
                self.settled.add(command.turn)
            case cmd.TurnClosed():
                assert command.turn in self.committed
                assert command.turn not in self.closed, "a turn is closed twice"
                self.closed[command.turn] = command.outcome
                self.turns -= command.outcome == "merged"
            case cmd.SetTimer():
                assert command.at >= self.now
                self.timers[command.timer] = command.at
            case cmd.CancelTimer():
                self.timers.pop(command.timer, None)
            case _:
                pass

    def at_risk(self) -> set[int]:
        """Drafts that were lost, or may yet be."""
        given_back = {reply for reply, booked in self.booked.items() if booked.adopted}
        return {one.reply for one in self.started.values() if one.draft} - given_back

    def check_draft(self, command: cmd.StartReply) -> None:
        rules = self.policy_now.speculation
        assert rules.drafts, "T9: drafts are off"
        others = {one for one in self.drafts & self.live if self.started[one].rung != "expected"}
        if command.rung == "expected":
            unasked = [one for one in self.at_risk() if self.started[one].turn is None]
            alive = [one for one in unasked if one not in self.booked]
            assert len(alive) <= rules.expected
        else:
            adopted = {one for one in self.drafts & self.live if self.started[one].turn is not None}
            assert not (others | adopted), "two live drafts (T2)"
        budget, risk = rules.budget, len(self.at_risk())
        assert budget.drafts is None or risk <= budget.drafts, "T9"
        assert budget.share is None or risk <= 1 + budget.share * (self.turns + 1), "T9"
        if self.shared is not None:
            self.shared -= 1
            assert self.shared >= 0, "T9: beyond what all calls together may"
        taken = self.machine._spending.spent(rules.prices)
        assert budget.input is None or taken.input <= budget.input, "T9"
        assert budget.price is None or taken.price <= budget.price, "T9"

    def check_characters(self, command: cmd.Speak) -> None:
        before = self.characters.get(command.reply, 0)
        self.characters[command.reply] = before + len(command.text)
        budget = self.policy_now.speculation.budget
        risk = sum(self.characters.get(reply, 0) for reply in self.at_risk())
        assert budget.characters is None or risk <= budget.characters, "T9"

    @invariant()
    def tool_calls_are_paired(self) -> None:
        messages = self.machine.messages()
        at = 0
        while at < len(messages):
            message = messages[at]
            at += 1
            if isinstance(message, AssistantMessage):
                assert message.text or message.tool_calls, "an empty assistant message (T12)"
                for call in message.tool_calls:
                    answer = messages[at]
                    assert isinstance(answer, ToolMessage)
                    assert answer.call_id == call.id
                    at += 1
            else:
                assert isinstance(message, UserMessage), "a result without its call"

    @invariant()
    def nobody_is_talked_over(self) -> None:
        """T16, T17: while words that ask for the floor stand, nothing interruptible plays."""
        turn, rules = self.machine.caller.turn, self.policy_now.interruption
        playing = None if self.playing is None else self.machine._replies.get(self.playing)
        if turn is None or not turn.open or playing is None or not playing.interruptible:
            return
        if self.machine._closing or turn.id == self.judged_anew or rules.echo_words or rules.judged:
            return
        lists = (rules.backchannels, rules.claims, self.policy_now.language)
        claims = claims_floor(turn.own_words, *lists, unlisted=rules.unlisted)
        assert not turn.own_words.strip() or not claims, "talked over"

    @invariant()
    def nobody_starves(self) -> None:
        """A committed turn is closed, or its reply lives, or its caller speaks on."""
        if self.ended:
            return
        open_turns = self.committed - self.closed.keys()
        answering = {self.started[reply].turn for reply in self.live if reply not in self.drafts}
        assert open_turns <= answering, f"turns without a reply: {open_turns - answering}"

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """A reply that has the floor is heard, or held, or waited for within a limit (T7)."""
        reply = self.machine._floor.current
        if self.ended or reply is None or not self.policy_now.limits.stalled_reply:
            return
        due = self.timers.get("stalled_reply")
        assert (due is not None) == (reply.playing and reply.lacks is not None)
        latest = self.now + self.policy_now.limits.stalled_reply
        assert due is None or due <= latest or self.policy_now is not self.policy

    def teardown(self) -> None:
        if not self.log:
            return
        if not self.ended:
            self.send(ev.CallEnded("hangup"))
        assert self.committed == self.closed.keys(), "a committed turn has no outcome"
        assert not self.live, "replies alive after the end of the call"
        drafts = {one.reply for one in self.started.values() if one.draft}
        assert self.booked.keys() == drafts, "T9: each draft is in the ledger exactly once"
        ledger = self.machine.ledger
        assert ledger.adopted == sum(one.adopted for one in self.booked.values())
        assert ledger.drafts == len(drafts)
        again = TurnMachine(self.policy)
        for now, event, commands in self.log:
            assert again.handle(event, now) == commands, "T22: the same events, other commands"
        if len(self.log) % 3 == 0:
            entries = tuple((now, event, tuple(commands)) for now, event, commands in self.log)
            hidden = redact(Record("", self.policy, entries, None))
            assert replay(hidden, TurnMachine) is None, "T22: a redacted record replays"
