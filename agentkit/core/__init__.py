"""Every decision of a conversation, and no I/O.

`agentkit.core.machine` says how it works.
"""
