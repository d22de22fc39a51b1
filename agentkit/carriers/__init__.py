"""The dialects of phone carriers: what each says on a call's socket, and how it is answered.

Pure: one module a carrier, each with its `Codec` and the documents that its webhooks are answered
with. Nothing here opens a socket.
"""

from agentkit.carriers.base import (
    CallerAudio,
    CallerKey,
    Codec,
    MarkReached,
    MediaEvent,
    Message,
    SendingPaused,
    SendingResumed,
    StreamStarted,
    StreamStopped,
    Unreadable,
)

__all__ = [
    "CallerAudio",
    "CallerKey",
    "Codec",
    "MarkReached",
    "MediaEvent",
    "Message",
    "SendingPaused",
    "SendingResumed",
    "StreamStarted",
    "StreamStopped",
    "Unreadable",
]
