"""agentkit: turn-taking for voice agents, with replies drafted before the turn is over.

from agentkit import Agent, tool

class Receptionist(Agent):
    instructions = "You answer the phone at Rosewood Clinic. Short sentences."
    greeting = "Rosewood Clinic, how can I help?"
"""

from agentkit.agent import Agent
from agentkit.core.economy import Budget, Early, Pace, Prices, Tuning
from agentkit.core.history import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from agentkit.core.policy import Digits, Interruption, Limits, Silence, Speculation
from agentkit.session import CallInfo, CallRecord, Session, SpeechHandle, Turn
from agentkit.tools import Call, tool
from agentkit.turns import TurnProfile

__all__ = [
    "Agent",
    "AssistantMessage",
    "Budget",
    "Call",
    "CallInfo",
    "CallRecord",
    "Digits",
    "Early",
    "Interruption",
    "Limits",
    "Message",
    "Pace",
    "Prices",
    "Session",
    "Silence",
    "Speculation",
    "SpeechHandle",
    "ToolCall",
    "ToolMessage",
    "Tuning",
    "Turn",
    "TurnProfile",
    "UserMessage",
    "tool",
]
__version__ = "0.1.0"
