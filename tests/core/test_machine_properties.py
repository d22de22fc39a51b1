"""Random walks: every event in any order, late, twice or missing, and the invariants after each.

The number of walks is a setting: ``AGENTKIT_WALKS`` (default 120), of ``AGENTKIT_STEPS`` steps each
(default 60).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.core.economy import Budget, Early, Pace, Prices, Tuning
from agentkit.core.history import AssistantMessage, ToolCall, ToolMessage, UserMessage
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import Digits, Interruption, Limits, Policy, Silence, Speculation
from agentkit.core.words import claims_floor
from agentkit.observe import Record, redact, replay

WALKS = int(os.environ.get("AGENTKIT_WALKS", "120"))
STEPS = int(os.environ.get("AGENTKIT_STEPS", "60"))

TEXTS = ["", "", "hello", "hello there", "Hello there.", "mm-hm", "yeah okay", "book me a table"]
TEXTS += ["lovely", "Lovely.", "so lovely", "wait", "blue?"]
FLOORS = [
    Interruption(),
    Interruption(unlisted=3, echo_words=0),
    Interruption(echo_words=0),
    Interruption(hold="words"),
    Interruption(hold="words", unlisted=3, echo_words=0),
    Interruption(hold="words", unlisted=2, claims={"en": frozenset({"hello"})}, judged=True),
]
REPLIES = ["Sure. ", "Of course, let me see. ", "What day", " suits you?", "A" * 150, "10.", "\n"]
ECONOMIES: list[dict[str, Any]] = [
    {},
    {"early": Early(rest=0.3, finished=True, confidence=0.2), "expected": 2},
    {"mode": "adaptive", "expected": 2, "tuning": Tuning(every=1.0)},
    {
        "mode": "adaptive",
        "early": Early(finished=True),
        "tuning": Tuning(second=0.001, delays=(0.1,)),
        "prices": Prices(1.0, None, 4.0, 10.0),
        "budget": Budget(price=0.001),
    },
    {"expected": 2, "budget": Budget(drafts=3, characters=60)},
    {"early": Early(rest=0.1), "budget": Budget(share=0.5, input=300, output=40)},
    {"mode": "off"},
]
TURN_EVENTS: list[type[ev.TurnEvent]] = [
    ev.TurnStarted,
    ev.TurnUpdated,
    ev.TurnMaybeEnded,
    ev.TurnResumed,
    ev.TurnEnded,
]


class Walk(RuleBasedStateMachine):
    """One call, with everything that can go wrong in it."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = TurnMachine()
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

    @initialize(
        economy=st.sampled_from(ECONOMIES),
        floor=st.sampled_from(FLOORS),
        pace=st.sampled_from([Pace(), Pace(), Pace(0.4), Pace(0.3, "turn", 0.3, seed=5)]),
        depth=st.sampled_from(["off", "llm", "speech"]),
        fit=st.sampled_from(["same_words", "courtesy"]),
        hedge=st.booleans(),
        silence=st.sampled_from([None, 4.0]),
        filler=st.sampled_from(["", "One moment."]),
        stalled=st.sampled_from([0.0, 0.2, 5.0, 10.0]),
    )
    def begin(
        self,
        economy: dict[str, Any],
        floor: Interruption,
        pace: Pace,
        depth: Any,
        fit: Any,
        hedge: bool,
        silence: Any,
        filler: str,
        stalled: float,
    ) -> None:
        self.policy = Policy(
            speculation=Speculation(depth=depth, fit=fit, **economy),
            interruption=floor,
            pace=pace,
            hedge=hedge,
            silence=Silence(silence, lines=("Are you there?",)),
            filler=filler,
            limits=Limits(stalled_reply=stalled),
            farewell="Goodbye.",
        )
        self.policy_now = self.policy
        self.machine = TurnMachine(self.policy)
        self.send(ev.CallStarted())
        self.send(ev.SourceConnected(0))

    # ----------------------------------------------------------------------------- what happens

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

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.7, 1.5, 6.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for timer, due in sorted(self.timers.items(), key=lambda item: item[1]):
            if due <= self.now and self.timers.get(timer) == due:
                del self.timers[timer]
                self.send(ev.TimerFired(timer))

    @rule(
        timer=st.sampled_from(
            [
                "hold",
                "settle",
                "first_text",
                "end_of_turn",
                "filler",
                "silence",
                "digits",
                "pace",
                "stalled_reply",
                "rest",
                "worth",
                "nonsense",
            ]
        )
    )
    def stale_timer(self, timer: str) -> None:
        self.send(ev.TimerFired(timer))

    @rule(
        kind=st.sampled_from(TURN_EVENTS),
        text=st.sampled_from(TEXTS),
        step=st.sampled_from([0, 0, 0, 0, 1, -1]),
        old=st.sampled_from([0, 0, 0, 0, 0, -1]),
        again=st.booleans(),
        onset=st.sampled_from([None, 0.0, 0.5]),
        confidence=st.sampled_from([0.0, 0.3, 0.45, 0.6, 0.95]),
    )
    def turn_event(
        self,
        kind: type[ev.TurnEvent],
        text: str,
        step: int,
        old: int,
        again: bool,
        onset: float | None,
        confidence: float,
    ) -> None:
        self.index = max(0, self.index + step)
        self.sequence += 1
        event = kind(
            connection=max(0, self.connection + old),
            index=self.index,
            text=text,
            sequence=self.sequence,
            confidence=confidence,
            speech_end=self.now - 0.2 if onset else None,
            speech_start=None if onset is None else self.now - onset,
        )
        self.send(event)  # type: ignore[arg-type]
        if again and self.sequence % 5 == 0:
            self.send(event)  # type: ignore[arg-type]
        if kind is ev.TurnEnded:
            self.index += 1

    @rule(text=st.sampled_from(TEXTS[2:]), pause=st.sampled_from([0.05, 0.2]))
    def whole_turn(self, text: str, pause: float) -> None:
        for kind in (ev.TurnStarted, ev.TurnMaybeEnded, ev.TurnEnded):
            self.sequence += 1
            self.send(
                kind(
                    connection=self.connection, index=self.index, text=text, sequence=self.sequence
                )
            )
            self.now += pause
        self.index += 1

    @rule()
    def connection_lost(self) -> None:
        self.send(ev.SourceLost(self.connection, "closed"))
        self.connection += 1
        self.index = self.sequence = 0
        self.send(ev.SourceConnected(self.connection))

    @rule()
    def source_oddity(self) -> None:
        self.send(ev.SourceOddity("unknown event"))

    @rule(timeout=st.sampled_from([0.5, 5.0, 30.0]), final=st.sampled_from([0.5, 0.7, 0.9]))
    def source_tuned(self, timeout: float, final: float) -> None:
        self.final = final
        self.send(ev.SourceTuned(timeout, 0.4, final, tunable=True))

    @rule(data=st.data(), input=st.sampled_from([10, 200]), counted=st.booleans())
    def model_asked(self, data: st.DataObject, input: int, counted: bool) -> None:
        if (reply := self.some_reply(data, live=counted)) is not None:
            self.send(ev.ModelAsked(reply, input))
            if counted:
                self.send(ev.ModelCounted(reply, input + 5, 20, 8))

    @rule(data=st.data(), end=st.booleans(), live=st.booleans())
    def model_answered(self, data: st.DataObject, end: bool, live: bool) -> None:
        if (reply := self.some_reply(data, live)) is not None:
            self.send(ev.ModelAnswered(reply, end))

    @rule(answers=st.sampled_from([(), ("hello", "Yeah, okay."), ("book me a table", "hello")]))
    def question(self, answers: tuple[str, ...]) -> None:
        """The agent asks, and knows what may be answered."""
        self.send(ev.AnswersExpected(answers))
        self.say(True)
        reply = max(self.started)
        if self.started[reply].kind == "say":
            self.send(ev.ReplyText(reply, "Shall I do that?"))
            self.send(ev.ReplyDone(reply))

    @rule(left=st.sampled_from([None, 0, 1, 2]))
    def shared_budget(self, left: int | None) -> None:
        self.shared = left
        self.send(ev.SharedBudget(left))

    @rule(pace=st.sampled_from([None, Pace(0.6, "turn")]), thresholds=st.booleans())
    def listening(self, pace: Pace | None, thresholds: bool) -> None:
        self.paced = pace
        self.send(ev.Listening(pace, thresholds))

    def some_reply(self, data: st.DataObject, live: bool = True) -> int | None:
        ids = sorted(self.live if live else self.started)
        return data.draw(st.sampled_from(ids)) if ids else None

    @rule(data=st.data(), text=st.sampled_from(REPLIES), live=st.sampled_from([True, True, False]))
    def reply_text(self, data: st.DataObject, text: str, live: bool) -> None:
        if (reply := self.some_reply(data, live)) is not None:
            self.send(ev.ReplyText(reply, text))

    @rule(data=st.data(), live=st.sampled_from([True, True, False]))
    def reply_done(self, data: st.DataObject, live: bool) -> None:
        if (reply := self.some_reply(data, live)) is not None:
            self.send(ev.ReplyDone(reply))

    @rule(
        data=st.data(),
        stage=st.sampled_from(["llm", "tts"]),
        retryable=st.booleans(),
        live=st.booleans(),
    )
    def reply_failed(self, data: st.DataObject, stage: Any, retryable: bool, live: bool) -> None:
        if (reply := self.some_reply(data, live)) is not None:
            self.send(ev.ReplyFailed(reply, stage, "llm.server", retryable))

    @rule(
        data=st.data(),
        seconds=st.sampled_from([0.0, 0.2, 1.0, 3.0]),
        end=st.booleans(),
        live=st.sampled_from([True, True, False]),
    )
    def speech(self, data: st.DataObject, seconds: float, end: bool, live: bool) -> None:
        if (reply := self.some_reply(data, live)) is not None:
            piece = data.draw(st.integers(0, max(self.pieces.get(reply, 0), 1)))
            self.send(ev.SpeechMade(reply, piece, seconds, (), end))

    @rule(data=st.data())
    def whole_reply(self, data: st.DataObject) -> None:
        """A reply is written, voiced and heard, as most are."""
        reply = self.some_reply(data)
        if reply is None:
            return
        self.send(ev.ReplyText(reply, "All right, that is done."))
        self.send(ev.ReplyDone(reply))
        for piece in range(self.pieces.get(reply, 0)):
            self.send(ev.SpeechMade(reply, piece, 1.0, (), True))
        if self.playing == reply:
            self.send(ev.SoundSent(reply, False))
            self.now += 1.0
            self.send(ev.PlayoutReached(self.epoch, 0.8))
            self.send(ev.PlayoutReached(self.epoch, 60.0))

    @rule(seconds=st.sampled_from([0.05, 0.2, 1.0, 30.0]), old=st.sampled_from([0, 0, 1]))
    def playout(self, seconds: float, old: int) -> None:
        self.send(ev.PlayoutReached(self.epoch - old, seconds))

    @rule(data=st.data(), silent=st.booleans())
    def sound(self, data: st.DataObject, silent: bool) -> None:
        if (reply := self.some_reply(data)) is not None:
            self.send(ev.SoundSent(reply, silent))

    @rule(
        data=st.data(),
        effect=st.booleans(),
        more=st.booleans(),
        filler=st.sampled_from(["", "Let me look."]),
    )
    def tools(self, data: st.DataObject, effect: bool, more: bool, filler: str) -> None:
        if (reply := self.some_reply(data)) is None or self.started[reply].kind != "answer":
            return
        calls = []
        for _ in range(1 + more):
            self.calls += 1
            calls.append(ToolCall(f"call{self.calls}", "book", "{}"))
        effects = frozenset(call.id for call in calls[: 1 + effect]) if effect else frozenset()
        self.effects |= {(reply, call_id) for call_id in effects}
        self.send(ev.ToolRequested(reply, tuple(calls), effects, filler=filler))

    @rule(data=st.data())
    def tool_returns(self, data: st.DataObject) -> None:
        if self.wanted:
            reply, call = data.draw(st.sampled_from(self.wanted))
            self.returned.add((reply, call))
            self.send(ev.ToolReturned(reply, call, "done"))
            if call.endswith("3"):
                self.send(ev.ToolReturned(reply, call, "again"))

    @rule(interruptible=st.booleans())
    def say(self, interruptible: bool) -> None:
        self.send(ev.SayRequested(self.requests, interruptible))
        self.requests += 1

    @rule()
    def ask(self) -> None:
        self.send(ev.ReplyRequested(self.requests, "Greet them."))
        self.requests += 1

    @rule(data=st.data())
    def cancel_say(self, data: st.DataObject) -> None:
        self.send(ev.SayCancelled(data.draw(st.integers(0, self.requests))))

    @rule(key=st.sampled_from("12*#"))
    def key(self, key: str) -> None:
        self.send(ev.KeyPressed(key))

    @rule(data=st.data())
    def acted_upon(self, data: st.DataObject) -> None:
        if self.committed:
            turn = data.draw(st.sampled_from(sorted(self.committed)))
            if turn in self.settled and turn not in self.closed:
                self.acted.add(turn)
            self.send(ev.ActedUpon(turn))

    @rule(text=st.sampled_from(TEXTS), takes=st.booleans())
    def judged(self, text: str, takes: bool) -> None:
        self.send(ev.FloorJudged(text, takes))

    @rule(
        event=st.sampled_from(
            [
                ev.DigitsExpected(Digits(length=2)),
                ev.DigitsExpected(None),
                ev.Muted(True),
                ev.Muted(False),
                ev.PolicyChanged(Policy(language="de", filler="Moment.")),
                ev.PolicyChanged(Policy(silence=Silence(3.0, 1))),
                ev.PolicyChanged(Policy(interruption=FLOORS[3])),
            ]
        )
    )
    def settings_change(self, event: ev.Event) -> None:
        if isinstance(event, ev.PolicyChanged):
            self.policy_now = event.policy
            self.due.clear()
            turn = self.machine.caller.turn
            self.judged_anew = None if turn is None else turn.id
        self.send(event)

    @rule(kind=st.sampled_from([ev.InterruptRequested(), ev.Touched()]))
    def user_code(self, kind: ev.Event) -> None:
        self.send(kind)

    @rule()
    def write_history(self) -> None:
        self.send(ev.HistoryWritten(UserMessage("note")))

    @precondition(lambda self: len(self.log) > 40)
    @rule(kind=st.sampled_from(["hang up", "source", "end"]))
    def ending(self, kind: str) -> None:
        if kind == "hang up":
            self.send(ev.HangUpRequested("bye"))
        elif kind == "source":
            self.send(ev.SourceFailed("flux_connection", "gone"))
        else:
            self.send(ev.CallEnded("hangup"))
            self.ended = True

    # -------------------------------------------------------------------------- what must hold

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


Walk.TestCase.settings = settings(
    max_examples=WALKS,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class TestT22RandomWalksKeepEveryInvariant(Walk.TestCase):  # type: ignore[misc,valid-type]
    pass
