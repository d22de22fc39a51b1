"""Calls by REST: hang up, transfer, press keys, dial; one module a carrier."""

from agentkit.callcontrol.base import CallControl

__all__ = ["CallControl"]
