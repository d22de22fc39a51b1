"""What a carrier does to a call when it is asked over its REST interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from agentkit.carriers.documents import Document
from agentkit.errors import CallControlError


class InvalidCallRequest(CallControlError):
    """What was asked for can never work; nothing was sent. The message names field and mend."""

    code = "invalid_call_request"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.retryable = False


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
        """End the call. Nothing happens if it is over. Takes at most some 5 seconds."""

    async def transfer(self, call: str, to: str) -> None:
        """Hand the caller to another number; the stream to us is then ended by the carrier.

        Args:
            call: the carrier's id of the call.
            to: a number as ``+15551234567``, or a ``sip:`` URI.
        """
        raise InvalidCallRequest(f"{self.name} cannot transfer a call")

    def transfer_document(self, to: str) -> Document:
        """What the webhook answers that a carrier asks where to transfer a call to.

        Only carriers that take no destination with the request itself ask one: they are made
        with its address, ``transfer_url``, and find ``to`` in its query.
        """
        raise InvalidCallRequest(f"{self.name} asks no webhook where to transfer a call to")

    async def send_dtmf(self, call: str, digits: str) -> None:
        """Press keys towards the far end, each one of ``0-9 * #``."""
        raise InvalidCallRequest(f"{self.name} cannot press keys")

    async def dial(self, to: str, *, caller: str, answer_url: str, status_url: str = "") -> str:
        """Call a number; return the carrier's id of the call once it has been accepted.

        It is never tried twice, for the first try may ring although its answer was lost.

        Args:
            to: the number, as ``+15551234567``, or a ``sip:`` URI.
            caller: the number that is shown to the one who is called; one of the account's own.
            answer_url: the webhook that is asked what to do when the call is answered.
            status_url: the webhook that is told how the call goes; "": nobody is.
        """
        raise InvalidCallRequest(f"{self.name} cannot place calls")

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""


Secrets = Mapping[str, str]
"""Settings by their names in the environment, e.g. ``TWILIO_AUTH_TOKEN``."""
