"""One conversation: the asyncio shell around the turn machine."""

from agentkit.session.handles import CallInfo, SpeechHandle, Turn
from agentkit.session.session import Session

__all__ = ["CallInfo", "Session", "SpeechHandle", "Turn"]
