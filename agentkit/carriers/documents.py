"""What a carrier's webhook says of a call, and what it is answered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from agentkit.carriers.base import Codec


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """What a webhook says of a call. None of it is believed before its signature was checked.

    Args:
        call: the carrier's id of the call; "" if it is not told.
        caller: who calls; personal data.
        callee: who is called; personal data.
        account: whose number was called; "" if it is not told.
    """

    call: str
    caller: str = field(default="", repr=False)
    callee: str = field(default="", repr=False)
    account: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """The body of an answer, and what it is in."""

    content_type: str
    body: str = field(repr=False)


class Webhook(ABC):
    """How a carrier asks what to do with a call, and is told.

    Attributes:
        name: the carrier, as it stands in the routes.
        codec: makes the codec of a call's socket.
        token_in_path: the stream's token travels as the last segment of the socket's path;
            otherwise among the stream's parameters.
        names_stream: the webhook and the stream call the call by the same id.
    """

    name: ClassVar[str]
    codec: ClassVar[type[Codec]]
    token_in_path: ClassVar[bool] = False
    names_stream: ClassVar[bool] = True

    @abstractmethod
    def read(self, fields: Mapping[str, str]) -> IncomingCall:
        """What the fields of the request's form, query or JSON object say of the call."""

    @abstractmethod
    def connect(self, url: str, parameters: Mapping[str, str], call: IncomingCall) -> Document:
        """Connect the call to the media socket at ``url`` (``wss://...``).

        Args:
            url: where the socket is; with ``token_in_path`` the token is in it already.
            parameters: text by name, to arrive with `agentkit.carriers.StreamStarted`.
            call: what the webhook said.
        """

    @abstractmethod
    def refuse(self, sentence: str) -> Document:
        """Say a sentence with the carrier's own voice and hang up, or signal that we are busy."""
