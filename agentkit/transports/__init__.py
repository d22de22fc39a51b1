"""Where the caller's audio comes from and the agent's goes."""

from agentkit.transports.base import Transport, TransportSink

__all__ = ["Transport", "TransportSink"]
