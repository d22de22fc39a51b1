"""The language-model interface. Backends are found by entry point (``agentkit.llm``)."""

from agentkit.llm.base import (
    LLM,
    Finish,
    LLMEvent,
    LLMRequest,
    TextDelta,
    ToolSpec,
    Usage,
)

__all__ = ["LLM", "Finish", "LLMEvent", "LLMRequest", "TextDelta", "ToolSpec", "Usage"]
