"""Random walks: every event in any order, late, twice or missing, and the invariants after each.

The number of walks is a setting: ``AGENTKIT_WALKS`` (default 120), of ``AGENTKIT_STEPS`` steps each
(default 60).
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, precondition, rule

from agentkit.core import events as ev
from agentkit.core.economy import Budget, Early, Pace, Prices, Tuning
from agentkit.core.history import ToolCall, UserMessage
from agentkit.core.machine import TurnMachine
from agentkit.core.policy import Digits, Interruption, Limits, Policy, Silence, Speculation
from tests.core.walking import Watched

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


class Walk(Watched):
    """One call, with everything that can go wrong in it."""

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


Walk.TestCase.settings = settings(
    max_examples=WALKS,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class TestT22RandomWalksKeepEveryInvariant(Walk.TestCase):  # type: ignore[misc,valid-type]
    pass
