"""What an extension does, as steps of Asterisk's dialplan.

agent = await asterisk.extend(answer(), dial_audiosocket("127.0.0.1", 9092, call_id))
caller = await asterisk.extend(answer(), say(recording), press("5"), hang_up())
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from uuid import UUID

Control = Literal["json", "plain-text"]


def answer() -> str:
    """Take the call, and do not wait for sound from it."""
    return "Answer(0,i)"


def send_nothing(seconds: float) -> str:
    """Listen for so long, and let the line be dead: there is not even silence on it.

    A telephone never does so; for a pause, say a WAV file of silence (`tests.pbx.sound`).
    """
    return f"Wait({seconds})"


def say(speech: Path) -> str:
    """Speak a WAV file of 16 bits and 8000 Hz."""
    return f"Playback({speech.with_suffix('')})"


def press(keys: str) -> str:
    """Press keys, a quarter of a second apart."""
    return f"SendDTMF({keys})"


def leave_after(seconds: float) -> str:
    """Hang up so many seconds from now, whatever is being said then."""
    return f"Set(TIMEOUT(absolute)={seconds})"


def hang_up() -> str:
    """End the call."""
    return "Hangup()"


def record(both: Path, heard: Path, said: Path, done: Path) -> str:
    """Record what this end of the call hears, and what it says, into WAV files that keep step.

    The file ``done`` is made when the others are complete.
    """
    return f"MixMonitor({both},Sr({heard})t({said}),touch {done})"


def run_audiosocket(host: str, port: int, call: UUID) -> str:
    """Speak with an AudioSocket server by the application, in linear samples of 8000 Hz.

    When the server hangs up, the extension goes on with its next step. The application hangs up
    itself when the caller's line is dead for two seconds.
    """
    return f"AudioSocket({call},{host}:{port})"


def dial_audiosocket(host: str, port: int, call: UUID, codec: str = "slin") -> str:
    """Speak with an AudioSocket server by the channel driver.

    When the server hangs up, the call is over. Without a codec the caller's own would go over the
    socket, still called linear.
    """
    return f"Dial(AudioSocket/{host}:{port}/{call}/c({codec}))"


def dial_websocket(
    client: str,
    codec: str,
    control: Control = "json",
    *,
    parameters: dict[str, str] | None = None,
    answers_itself: bool = True,
) -> str:
    """Speak with a WebSocket server by the channel driver.

    Args:
        client: a name that `Asterisk.connects` was given.
        codec: of the binary messages: ulaw, alaw, slin, slin16, ...
        control: the form of the text messages.
        parameters: for the query of the socket's address.
        answers_itself: the call is answered once the socket is open; else upon ``ANSWER``.
    """
    options = f"c({codec})f({control})"
    if parameters:
        options += f"v({','.join(f'{name}={value}' for name, value in parameters.items())})"
    if not answers_itself:
        options += "n"
    return f"Dial(WebSocket/{client}/{options})"
