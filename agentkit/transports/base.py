"""What agentkit asks of the caller's side of the audio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from agentkit.audio.formats import AudioFormat
from agentkit.errors import TransportError

AGENT_HUNG_UP = "agent hung up"
"""What `Transport.run` returns if `Transport.hang_up` ended the call."""


class TransportSink(Protocol):
    """What a transport tells the session. Called on the event loop; none of these block."""

    def audio(self, data: bytes) -> None:
        """Caller's audio, whole samples in the transport's ``input`` format, any length."""

    def marked(self, name: str) -> None:
        """All audio played before ``mark(name)`` has left the loudspeaker, or was cleared.

        After a clear some far ends return the marks that were pending, others drop them; the
        session tells them apart by their names.
        """

    def dtmf(self, digit: str) -> None:
        """A key was pressed: one of ``0-9 * # A-D``."""


class Transport(ABC):
    """One caller.

    ``run()`` is the whole life of it. The verbs ``play``, ``mark`` and ``clear`` return at once
    and take effect in the order they were called.
    """

    input: AudioFormat
    """What the caller's audio is in. Known once `connect` has returned."""

    output: AudioFormat
    """What `play` takes. Known once `connect` has returned."""

    @abstractmethod
    async def connect(self) -> None:
        """Make the transport ready. Raises TransportError."""

    @abstractmethod
    async def run(self, sink: TransportSink) -> str:
        """Deliver the caller's audio until the far end is gone; return the reason.

        Returns:
            `AGENT_HUNG_UP` if that was `hang_up`, else words for people, e.g. ``caller hung up``.

        Raises:
            TransportError: the connection broke. Cancelling closes nothing; call `aclose`.
        """

    @abstractmethod
    def play(self, data: bytes) -> None:
        """Queue audio at the far end, behind what is queued there."""

    @abstractmethod
    def mark(self, name: str) -> None:
        """Ask for `TransportSink.marked` once all audio queued so far has been heard."""

    def play_marked(self, data: bytes, name: str) -> None:
        """`play`, then `mark`; one call, since some far ends take both in one packet."""
        self.play(data)
        self.mark(name)

    @abstractmethod
    def clear(self) -> None:
        """Drop at the far end what has not been heard."""

    @abstractmethod
    async def hang_up(self) -> None:
        """End the call from our side. ``run()`` then returns. Safe to call twice, and to cancel."""

    async def transfer(self, to: str) -> None:
        """Hand the caller to another number. Raises TransportError where it cannot."""
        raise TransportError(f"{type(self).__name__} cannot transfer a call")

    async def send_dtmf(self, digits: str) -> None:
        """Press keys towards the far end. Raises TransportError where it cannot."""
        raise TransportError(f"{type(self).__name__} cannot send DTMF digits")

    @abstractmethod
    async def aclose(self) -> None:
        """Free everything. Safe to call twice."""
