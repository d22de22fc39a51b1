"""Helps for users and plugin authors: scripted peers, virtual time, a line with a caller.

In memory, in virtual or real time: `ScriptedSource`, `ScriptedLLM`, `ScriptedTTS`, `FakeTransport`.
On real sockets: `ScriptedFlux`, `ScriptedOpenAI`. `run_virtual` and `in_virtual_time` run a test
whose clock jumps to the next thing that happens. `agentkit.testing.conformance` checks that a model
or a voice of your own keeps the rules of its interface.
"""

from agentkit.testing.backends import ScriptedLLM, ScriptedReply, ScriptedTTS
from agentkit.testing.clock import (
    Deadlock,
    OutOfTime,
    VirtualLoop,
    in_virtual_time,
    run_virtual,
)
from agentkit.testing.flux import Cue, ScriptedCall, ScriptedFlux
from agentkit.testing.openai import ChatReply, Delays, Fault, ScriptedOpenAI, SpeechReply
from agentkit.testing.source import ScriptedSource
from agentkit.testing.transport import FakeTransport

__all__ = [
    "ChatReply",
    "Cue",
    "Deadlock",
    "Delays",
    "FakeTransport",
    "Fault",
    "OutOfTime",
    "ScriptedCall",
    "ScriptedFlux",
    "ScriptedLLM",
    "ScriptedOpenAI",
    "ScriptedReply",
    "ScriptedSource",
    "ScriptedTTS",
    "SpeechReply",
    "VirtualLoop",
    "in_virtual_time",
    "run_virtual",
]
