"""What a carrier does to a call when it is asked over its REST interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from agentkit.errors import CallControlError


class CallControl(ABC):
    """One account at one carrier; shared by all calls of a process.

    Every method raises `agentkit.errors.CallControlError`, whose text holds no secret and no
    number, and is safe to cancel. A call that has ended already is no error for `hang_up`.

    Attributes:
        name: the carrier, as it stands in the routes.
    """

    name: ClassVar[str]

    @abstractmethod
    async def hang_up(self, call: str) -> None:
        """End the call. Nothing happens if it is over."""

    async def transfer(self, call: str, to: str) -> None:
        """Hand the caller to another number; the stream to us is then ended by the carrier."""
        raise CallControlError(f"{self.name} cannot transfer a call")

    async def send_dtmf(self, call: str, digits: str) -> None:
        """Press keys towards the far end."""
        raise CallControlError(f"{self.name} cannot press keys")

    async def dial(self, to: str, *, caller: str, answer_url: str, status_url: str = "") -> str:
        """Call a number; return the carrier's id of the call once it has been accepted.

        Args:
            to: the number, as ``+15551234567``.
            caller: the number that is shown to the one who is called; one of the account's own.
            answer_url: the webhook that is asked what to do when the call is answered.
            status_url: the webhook that is told how the call goes; "": nobody is.
        """
        raise CallControlError(f"{self.name} cannot place calls")

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""


Secrets = Mapping[str, str]
"""Settings by their names in the environment, e.g. ``TWILIO_AUTH_TOKEN``."""
