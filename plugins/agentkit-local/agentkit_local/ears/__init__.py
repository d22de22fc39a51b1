"""The ears of the offline engine: a server that speaks Flux's protocol and really listens.

    async with FluxServer() as server:
        ...                                # server.url is where it listens

Moonshine (tiny, English) recognises, Silero says when there is speech; both run on onnxruntime. One
model serves all calls.
"""

from agentkit_local.ears.recognizer import Recognizer, Transcript
from agentkit_local.ears.server import FluxServer

__all__ = ["FluxServer", "Recognizer", "Transcript"]
