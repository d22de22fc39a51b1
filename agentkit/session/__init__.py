"""One conversation: the asyncio shell around the turn machine."""

from agentkit.session.handles import CallInfo, SpeechHandle, Turn
from agentkit.session.session import Session
from agentkit.session.summary import CallRecord, TurnRecord

__all__ = ["CallInfo", "CallRecord", "Session", "SpeechHandle", "Turn", "TurnRecord"]
