"""How patient the Flux client is, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxTimings:
    """How patient the client is. All in seconds, except the counts.

    Args:
        chunk: length of one audio message; Deepgram strongly advises 80 ms.
        gap: absence of audio after which silence is sent in its place.
        catch_up: how much faster than real time audio may be sent; Flux allows 1.25.
        burst: audio that may be sent at once after a short delay.
        backlog: the most audio that waits on a live connection; the oldest beyond it is dropped.
        keep: the most audio that is kept while there is no connection (rule T14).
        stall: audio sent without any message after which the connection counts as lost (T14).
        send: the longest that one message may take to be written.
        connect: the longest until Flux is ready.
        configure: how long the answer to a ``Configure`` is waited for.
        close: the longest that `aclose` waits for the last messages.
        ping_interval: between WebSocket pings; Flux wants one in 60 s.
        ping_timeout: until a ping without a pong counts as a lost connection.
        tries: how many attempts in a row may fail before the source gives up.
        healthy: how long a connection has to work before all tries are there again.
        backoff: the wait before the second attempt in a row; it doubles from there.
        longest_backoff: the wait never grows beyond it.
    """

    chunk: float = 0.08
    gap: float = 0.2
    catch_up: float = 1.25
    burst: float = 0.16
    backlog: float = 5.0
    keep: float = 3.0
    stall: float = 3.0
    send: float = 5.0
    connect: float = 5.0
    configure: float = 5.0
    close: float = 3.0
    ping_interval: float = 10.0
    ping_timeout: float = 10.0
    tries: int = 6
    healthy: float = 5.0
    backoff: float = 0.25
    longest_backoff: float = 4.0


@dataclass(slots=True)
class FluxStats:
    """What a source has done so far. Lengths are seconds of audio.

    Args:
        attempts: connections tried.
        connections: connections that Flux was ready on.
        losses: connections lost.
        messages: messages received.
        oddities: messages, events or warnings that were counted and passed over.
        audio_sent: everything sent, silence and repeats included: what Flux bills.
        silence_sent: silence in place of missing audio.
        audio_resent: audio sent again after a loss.
        audio_dropped: audio that was never sent, for want of a connection or of time.
        configures_sent: ``Configure`` messages.
        configures_acknowledged: those that Flux took.
        configures_refused: those that Flux refused.
        configures_given_up: those that Flux never answered.
        turns_ended: ``ForceEndTurn`` messages.
    """

    attempts: int = 0
    connections: int = 0
    losses: int = 0
    messages: int = 0
    oddities: int = 0
    audio_sent: float = 0.0
    silence_sent: float = 0.0
    audio_resent: float = 0.0
    audio_dropped: float = 0.0
    configures_sent: int = 0
    configures_acknowledged: int = 0
    configures_refused: int = 0
    configures_given_up: int = 0
    turns_ended: int = 0
