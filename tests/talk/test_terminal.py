"""The screen on a real pseudo-terminal, with everything else scripted."""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
import time
from pathlib import Path

from tests.talk.terminals import SCENE, Terminal, on_terminal, scene

ANSWER = "We are open from eight to six."
NOISE = "import random; [view.note(str(random.random()) * 3) for _ in range(40)]"


def test_a_conversation_is_seen_as_it_happens() -> None:
    with scene() as desk:
        desk.until("● listening")
        assert desk.lines[0].startswith(" agentkit talk: Receptionist")
        assert "echo canceller" in desk.lines[1]
        assert desk.lines[2].startswith("mic ███")
        assert "m mute" in desk.lines[-1]
        desk.do("levels[:] = [-96.0, -10.0]")
        desk.until(lambda: desk.lines[2].startswith("mic ···"))
        assert "speaker ███" in desk.lines[2]
        desk.do("ears.start('when')", "ears.update('when do you')")
        desk.until("you     when do you …")
        desk.do("ears.maybe_end('when do you open')", "say('At eight.')")
        desk.until("draft   At eight.")
        assert "● drafting" in desk.text
        assert b"\x1b[0;2mAt eight." in desk.raw
        desk.do("ears.resume('when do you open on')")
        discarded = re.compile(r'draft   \(resumed\) after \d+ ms: "At')
        desk.until(lambda: discarded.search(desk.text) is not None)
        desk.do(f"say('{ANSWER}')", "say('')", "ears.end('when do you open on Monday')")
        desk.until(f"agent   {ANSWER}")
        desk.until("last turn: reaction")
        assert "you     when do you open on Monday" in desk.text


def test_keys_mute_type_help_and_end() -> None:
    with scene() as desk:
        desk.press("m")
        desk.until("mic muted")
        desk.press("m")
        desk.until("mic ███")
        desk.press("tqm?")  # letters now
        desk.until("> qm?▏")
        assert "mic muted" in desk.text
        desk.press("\x15what about 日本?")
        desk.until("> what about 日本?▏")
        desk.do(f"say('{ANSWER}')", "say('')")
        desk.press("\r")
        desk.until("you     what about 日本?")
        desk.until(f"agent   {ANSWER}")
        desk.press("\x1b")
        desk.until("m mute")
        assert "mic ███" in desk.text
        desk.press("?")
        desk.until("it says goodbye")
        desk.press("?")
        desk.until(f"agent   {ANSWER}")
        desk.do("agent.farewell = 'Goodbye, goodbye, goodbye. ' * 20")
        desk.press("q")
        desk.until("● ending")
        desk.press("\x03")  # once more: at once
        assert desk.end() == 0
        assert desk.text.count("Goodbye") <= 1


def test_the_end_is_a_farewell_and_the_conversation_stays_to_be_read() -> None:
    with scene() as desk:
        desk.do("ears.start('hello')", f"say('{ANSWER}')", "say('')", "ears.end('hello there')")
        desk.until(f"agent   {ANSWER}")
        assert desk.screen.alternate
        assert not desk.mode[3] & termios.ECHO
        desk.press("q")
        assert desk.end() == 0
        assert desk.lines[0] == "you     hello there"
        assert "agent   Goodbye." in desk.text
        assert "ended: caller hung up" in desk.text
        given_back(desk)


def test_ctrl_backslash_ends_what_hangs_and_gives_the_terminal_back() -> None:
    with scene() as desk:
        desk.until("● listening")
        desk.tell("import time; time.sleep(60)")  # an agent's code that never lets the loop on
        desk.press("\x1c")
        assert desk.end() == -signal.SIGQUIT
        given_back(desk)


def given_back(desk: Terminal) -> None:
    assert not desk.screen.alternate
    assert not desk.screen.cursor.hidden
    assert desk.mode[3] & (termios.ECHO | termios.ICANON) == termios.ECHO | termios.ICANON


def test_a_picture_that_cannot_be_drawn_costs_the_view_and_not_the_call() -> None:
    with scene() as desk:
        desk.until("● listening")
        desk.do("screen._levels = None")
        desk.until(lambda: not desk.screen.alternate and desk.mode[3] & termios.ECHO != 0)
        given_back(desk)
        desk.until("TypeError")  # Ctrl-C drops what the terminal has not shown yet
        desk.press("\x03")
        assert desk.end() == 0
        assert "ended: caller hung up" in desk.text


def test_an_error_that_ends_all_is_read_on_the_usual_screen() -> None:
    with scene() as desk:
        desk.until("● listening")
        desk.do("session._execute.clear()")  # the session's own bug
        desk.tell("ears.start('hello')")
        assert desk.end() == 1
        given_back(desk)
        assert "KeyError" in desk.text


def test_it_fits_when_the_window_changes() -> None:
    with scene() as desk:
        desk.do("ears.start('x')", "ears.end('one two three four five six seven eight nine ten')")
        desk.until("nine ten")
        for columns, rows in ((40, 12), (24, 6), (120, 40), (80, 24)):
            desk.resize(columns, rows)
            mark = f"{columns} by {rows}"
            desk.do(f"view.note('{mark}')")
            desk.until(mark)
            assert len(desk.lines) == rows
        desk.resize(40, 20)
        desk.until("  one two three four five six seven\n  eight nine ten")
        assert desk.lines[-1].startswith("m mute")


def test_ctrl_z_gives_the_terminal_back_until_fg(tmp_path: Path) -> None:
    rc = tmp_path / "rc"
    rc.write_text("PS1='shell> '; unset HISTFILE\n")
    with on_terminal(("bash", "--noprofile", "--rcfile", str(rc), "-i")) as shell:
        shell.until("shell>")
        shell.press(f"{sys.executable} {SCENE}\n")
        shell.until("● listening")
        assert shell.screen.alternate
        shell.press("\x1a")
        shell.until("Stopped")
        assert not shell.screen.alternate
        shell.press("echo $((40 + 2))\n")
        shell.until("\n42")
        shell.press("bg\n")
        shell.until("&")
        shell.press("echo $((50 + 3))\n")  # it goes on, and leaves the shell its terminal
        shell.until("\n53")
        assert not shell.screen.alternate
        shell.press("fg\n")
        shell.until("● listening")
        assert shell.screen.alternate
        shell.press("t")
        shell.press("hello\r")
        shell.until("you     hello")
        shell.press("\x03")
        shell.until("ended: caller hung up")
        assert not shell.screen.alternate
        shell.press("echo $((60 + 4))\n")
        shell.until("\n64")


def test_what_else_is_printed_is_shown_in_its_place_and_again_at_the_end() -> None:
    simple = {"NO_COLOR": "1", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    with scene(environment=simple) as desk:
        desk.do("print('an agent prints')", "sys.stdout.flush()")
        desk.do("os.write(2, b'\\x1b[33mALSA lib pcm.c: underrun occurred\\x1b[0m\\n')")
        desk.do("view.note('caf\\xe9')")
        desk.until("caf?")
        desk.until("mic ###")
        desk.until("log     an agent prints")
        desk.until("log     ALSA lib pcm.c: underrun occurred")
        desk.press("q")
        assert desk.end() == 0
        assert desk.text.index("agent   Goodbye.") < desk.text.rindex("\nan agent prints")
        assert "\nALSA lib pcm.c: underrun occurred" in desk.text
        ours = desk.raw[: desk.raw.rindex(b"\x1b[?1049l")]
        assert not re.search(
            rb"\x1b\[[0-9;]*3[0-9]", ours
        )  # NO_COLOR: without colours there are none
        assert b"\x1b[0;2m" in ours  # but weight is no colour
        assert desk.raw.isascii()


def test_wide_letters_marks_and_text_from_right_to_left_leave_the_rest_in_its_place() -> None:
    with scene() as desk:
        words = ("日本語" * 20, "مرحبا بالعالم", "cafe\u0301 👋 ok", "\x1b[2J\u202e\x07x")
        for at, said in enumerate(words):
            desk.do(f"ears.start('x', index={at})", f"ears.end({said!r}, index={at})", "say('')")
        desk.until("[2J x")
        assert desk.lines[2].startswith("mic ███")
        assert desk.lines[-1].startswith("m mute")
        assert all(len(line) <= 80 for line in desk.lines)
        assert desk.screen.clears <= 2
        assert "you     مرحبا بالعالم" in desk.text
        assert "you     caf\xe9 👋 ok" in desk.text
        # In a second in which nothing happens the clock is drawn: one line.
        before, began = len(desk.raw), time.monotonic()
        desk.until(lambda: time.monotonic() - began > 1.2)
        assert len(desk.raw) - before < 500


def test_a_terminal_that_takes_nothing_holds_up_nobody() -> None:
    with scene() as desk:
        desk.until("● listening")
        desk.press("\x13")  # Ctrl-S stops nothing
        desk.do(NOISE)
        desk.until("0.")
        for _ in range(20):  # from now on nobody takes what is drawn: the pseudo-terminal is full
            desk.do(NOISE, "screen._show()", look=False)
        os.kill(desk.pid, signal.SIGTERM)
        assert desk.end() == 0
        given_back(desk)


def test_a_terminal_that_is_gone_ends_the_call_in_order() -> None:
    with scene() as desk:
        desk.until("● listening")
        desk.hang_up()
        assert desk.end() == 0
