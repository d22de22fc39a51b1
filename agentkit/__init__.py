"""agentkit: turn-taking for voice agents, with replies drafted before the turn is over.

from agentkit import Agent, tool

class Receptionist(Agent):
    instructions = "You answer the phone at Rosewood Clinic. Short sentences."
    greeting = "Rosewood Clinic, how can I help?"
"""

from agentkit.agent import Agent
from agentkit.core.history import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from agentkit.core.policy import Digits, Interruption, Limits, Silence, Speculation
from agentkit.session import CallInfo, CallRecord, Session, SpeechHandle, Turn
from agentkit.tools import Call, tool

__all__ = [
    "Agent",
    "AssistantMessage",
    "Call",
    "CallInfo",
    "CallRecord",
    "Digits",
    "Interruption",
    "Limits",
    "Message",
    "Session",
    "Silence",
    "Speculation",
    "SpeechHandle",
    "ToolCall",
    "ToolMessage",
    "Turn",
    "UserMessage",
    "tool",
]
__version__ = "0.1.0"
