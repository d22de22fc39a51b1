"""Calls by REST: hang up, transfer, press keys, dial; one module a carrier."""

from agentkit.callcontrol.base import CallControl, InvalidCallRequest
from agentkit.callcontrol.registry import load_control

__all__ = ["CallControl", "InvalidCallRequest", "load_control"]
