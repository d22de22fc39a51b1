"""What is seen of a conversation, and how it is drawn: no terminal, no clock."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.core import commands as cmd
from agentkit.core import events as ev
from agentkit.observe.cells import cells
from agentkit.talk.picture import Line, Seen, Span, picture
from agentkit.talk.view import TalkView

SEEN = Seen(title="agentkit talk: Clerk", duplex="echo canceller", microphone=-20.0)
HOURS = "We open at eight. We close at six."


def turn(kind: Any, text: str = "") -> ev.Event:
    event: ev.Event = kind(connection=0, index=0, text=text)
    return event


class Told:
    """A view, and what it is told, a second after another."""

    def __init__(self) -> None:
        self.view = TalkView()
        self.now = 0.0
        self(ev.CallStarted())
        self(ev.SourceConnected(0))

    def __call__(self, event: ev.Event, *commands: cmd.Command, after: float = 1.0) -> None:
        self.now += after
        self.view(self.now, event, commands)

    def lines(self, columns: int = 80, rows: int = 24, **seen: Any) -> list[str]:
        how = Seen(**{name: getattr(SEEN, name) for name in Seen.__slots__} | seen)
        drawn = picture(self.view, how, self.now, columns, rows)
        return ["".join(span.text for span in line) for line in drawn]

    def text(self, **how: Any) -> str:
        return "\n".join(self.lines(**how))

    def find(self, text: str) -> list[Span]:
        """The stretches of the line with that text."""
        drawn: list[Line] = picture(self.view, SEEN, self.now, 80, 24)
        return [
            span for line in drawn if text in "".join(each.text for each in line) for span in line
        ]

    def draft(self, reply: int = 1, text: str = HOURS) -> None:
        self(turn(ev.TurnMaybeEnded, "when"), cmd.StartReply(reply, turn=0, draft=True))
        self(ev.ReplyText(reply, text))

    def play(self, reply: int = 1, text: str = HOURS, seconds: float = 4.0) -> None:
        self(
            turn(ev.TurnEnded, "when"),
            cmd.Commit(reply),
            cmd.TurnCommitted(0, "when"),
            cmd.Play(reply, 1),
            cmd.Speak(reply, 0, text),
        )
        self(ev.SpeechMade(reply, 0, seconds))
        self(ev.SoundSent(reply, silent=False))


def test_the_state_is_said_in_a_word() -> None:
    view = TalkView()
    assert view.state == "connecting"
    told = Told()
    states = [told.view.state]

    def then(event: ev.Event, *commands: cmd.Command) -> None:
        told(event, *commands)
        states.append(told.view.state)

    then(turn(ev.TurnStarted))
    then(turn(ev.TurnMaybeEnded, "when"), cmd.StartReply(1, turn=0, draft=True))
    then(turn(ev.TurnResumed, "when do"), cmd.Discard(1, "resumed"))
    then(turn(ev.TurnEnded, "when do you open"), cmd.StartReply(2, turn=0), cmd.Play(2, 1))
    then(ev.SoundSent(2, silent=False))
    then(turn(ev.TurnStarted), cmd.ClearPlayout(2))
    then(turn(ev.TurnEnded), cmd.Play(2, 3, 0.5))
    then(ev.PlayoutReached(3, 0.2))
    then(ev.PlayoutReached(3, 0.4), cmd.ReplyEnded(2, None, 0, "At eight.", interrupted=False))
    then(ev.SourceLost(0, "closed"))
    then(ev.SourceConnected(1))
    then(ev.HangUpRequested("bye"), cmd.HangUp("bye"))
    assert states == [
        "listening", "hearing", "drafting", "hearing", "answering", "speaking", "held",
        "answering", "speaking", "listening", "lost", "listening", "ending",
    ]  # fmt: skip


def test_a_draft_is_dim_and_stays_as_a_dim_line_when_it_is_thrown_away() -> None:
    told = Told()
    told(turn(ev.TurnStarted, "when"))
    assert "you     when …" in told.text()
    told.draft()
    assert Span("dim", HOURS) in told.find("draft ")
    told(turn(ev.TurnResumed, "when do"), cmd.Discard(1, "taken_back"))
    assert f'draft   (taken back) after 2000 ms: "{HOURS}"' in told.text()
    assert {span.style for span in told.find("taken back")} == {"dim"}


def test_T3_a_parked_draft_can_become_the_reply() -> None:
    told = Told()
    told.draft()
    told(turn(ev.TurnResumed, "when"), cmd.Park(1))
    assert told.view.draft is None
    assert "(parked)" in told.text()
    told.play()
    assert f"agent   {HOURS}" in told.text()
    assert told.view.kept_drafts == told.view.drafts == 1


def test_what_was_heard_of_a_reply_is_told_from_what_was_not() -> None:
    told = Told()
    told.draft()
    told.play(seconds=4.0)
    told(ev.PlayoutReached(1, 1.0), after=0.5)
    heard, rest = told.find("agent  ")[-2:]
    assert (heard.style, rest.style) == ("agent", "dim")
    assert heard.text == "We open "  # a word is heard when it is over
    assert heard.text + rest.text == HOURS
    told.now += 5.0  # nothing is proven: it stands still soon
    assert told.find("agent  ")[-2].text == "We open at "
    told(ev.PlayoutReached(1, 4.0), after=0.0)
    assert told.find("agent  ")[-1].text == HOURS
    told(ev.PlayoutReached(7, 1.0), after=0.0)  # of another epoch
    assert told.find("agent  ")[-1].text == HOURS
    told(ev.Touched(), cmd.ReplyEnded(1, None, 0, "We open at", interrupted=True))
    assert "agent   We open at  (interrupted)" in told.text()


def test_after_a_hold_it_goes_on_where_it_was() -> None:
    told = Told()
    told.draft()
    told.play(seconds=4.0)
    told(ev.PlayoutReached(1, 3.0))
    told(turn(ev.TurnStarted), cmd.ClearPlayout(2))
    told.now += 9
    assert told.find("agent  ")[-2].text == "We open at eight. We close"
    told(turn(ev.TurnEnded), cmd.Play(1, 3, 2.0))
    assert told.find("agent  ")[-2].text == "We open at eight."


def test_the_last_turn_is_given_in_figures() -> None:
    told = Told()
    assert "no turn answered yet" in told.text()
    times = cmd.TurnTimes(ended=5.0, first_sound_sent=5.25, saved=0.4)
    told(ev.Touched(), cmd.TurnClosed(0, "heard", times))
    told.draft()
    assert (
        told.lines()[-2]
        == ("last turn: reaction 250 ms, saved 400 ms, saved in all: 0.4 s, drafts kept: 0 of 1")[
            :79
        ]
        or "saved 400 ms" in told.lines()[-2]
    )
    assert told.lines(columns=40)[-2] == "last turn: reaction 250 ms"
    told(ev.Touched(), cmd.TurnClosed(1, "heard", cmd.TurnTimes(ended=6.0, first_sound_sent=7.0)))
    assert told.lines()[-2].startswith("last turn: reaction 1000 ms, saved in all")


def test_everything_else_that_happens_has_a_line() -> None:
    told = Told()
    told(ev.SourceLost(0, "closed"))
    told(ev.SourceFailed("source", "gave up"))
    told(
        ev.Touched(),
        cmd.BackchannelHeard(0, "mm-hm"),
        cmd.EchoHeard(0, "we open at"),
        cmd.SilenceNoticed(2),
        cmd.ErrorRaised(1, "llm_timeout", retryable=True),
        cmd.TurnCommitted(3, "my number is 1234", keys=("1234",)),
    )
    text = told.text()
    for words in (
        "lost    the connection is lost (closed)", "lost    gave up",
        "you     mm-hm  (attention, no turn)", "you     we open at  (echo of the agent)",
        "silence nobody has spoken for long (2)", "error   llm_timeout",
    ):  # fmt: skip
        assert words in text
    assert "1234" not in text


def test_levels_and_mute() -> None:
    told = Told()
    assert told.lines(microphone=-96.0, loudspeaker=0.0)[2].count("█") == 20
    assert told.lines(microphone=-6.0, loudspeaker=-96.0)[2].count("█") == 20
    assert "mic muted" in told.text(silenced=True)


def test_typing_and_help() -> None:
    told = Told()
    assert told.lines()[-1].split() == ["m", "mute", "t", "type", "q", "end", "?", "help"]
    assert told.lines(typing="how about ")[-1].startswith("> how about ▏ ")
    assert "send" in told.lines(typing="")[-1]
    assert told.lines(columns=30, typing="x" * 50)[-1].startswith("> …xxx")
    assert "goodbye" in told.text(help=True)


@settings(deadline=None, max_examples=60)
@given(
    help=st.booleans(),
    columns=st.integers(1, 120),
    rows=st.integers(1, 60),
    said=st.lists(st.text(max_size=200), max_size=6),
    typing=st.none() | st.text(max_size=80),
)
def test_the_picture_fits_whatever_is_said(
    help: bool, columns: int, rows: int, said: list[str], typing: str | None
) -> None:
    told = Told()
    for at, text in enumerate(said):
        told(ev.Touched(), cmd.TurnCommitted(at, text))
    told(turn(ev.TurnUpdated, "".join(said)))
    told.draft(text="".join(said) + "日本" * 30)
    told.play(text="".join(said))
    drawn = picture(
        told.view, Seen(title="x", duplex="y", help=help, typing=typing), 9.0, columns, rows
    )
    assert len(drawn) <= rows
    for line in drawn:
        assert sum(cells(span.text) for span in line) <= max(1, columns - 1)


def test_the_newest_is_at_the_bottom_and_the_oldest_goes() -> None:
    told = Told()
    for at in range(1000):
        told(ev.Touched(), cmd.TurnCommitted(at, f"turn {at}"))
    lines = told.lines(rows=24)
    assert lines[-4] == "you     turn 999"
    assert lines[4].startswith("you     turn 98")
    assert len(told.view.lines) == 400
