"""``local/PATH.gguf``: a language model in this process, by llama.cpp.

llama.cpp's own server is started on the loopback interface, with a key made for this process, and
is spoken to like any OpenAI-compatible one; closing a stream ends its generation.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from agentkit.errors import ConfigError
from agentkit.llm import LLM, Finish, LLMEvent, LLMRequest, TextDelta
from agentkit.llm.openai import OpenAILLM
from agentkit_local.tooltext import ToolText


class GgufLLM(LLM):
    """A GGUF file. Making one loads the model, which blocks for seconds: do it in a thread.

    Args:
        path: the file.
        context: tokens that the model has in view.
        threads: for the computation; None: all cores.
        max_tokens: the longest answer.
        temperature: how freely it chooses its words.

    Raises:
        ConfigError: the file is not there or cannot be loaded, or llama.cpp is not installed.
    """

    def __init__(
        self,
        path: Path,
        *,
        context: int = 4096,
        threads: int | None = None,
        max_tokens: int = 200,
        temperature: float = 0.3,
    ) -> None:
        if not path.is_file():
            raise ConfigError("llm", f"there is no model file {path}")
        try:
            import xllamacpp
        except ImportError as error:
            raise ConfigError(
                "llm", "a GGUF file needs llama.cpp: pip install 'agentkit-local[gguf]'"
            ) from error
        self.name = f"local/{path.name}"
        key = secrets.token_urlsafe(24)
        self._server = _serve(xllamacpp, path, context, threads, key)
        self._client = OpenAILLM(
            path.stem,
            api_key=key,
            base_url=f"{self._server.listening_address}/v1",
            temperature=temperature,
            max_tokens=max_tokens,
            options={"cache_prompt": True},
        )
        self._client.name = self.name  # errors name the model by it

    def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        """Generate a reply. Tool calls that the model writes as text are told as tool calls.

        Closing the stream stops the model at its next token.
        """
        return self._stream(request)

    async def _stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
        reader = ToolText({tool.name for tool in request.tools})
        async with aclosing(self._client.stream(request)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    if text := reader.push(event.text):
                        yield event if text == event.text else TextDelta(text)
                elif isinstance(event, Finish):
                    rest, calls = reader.finish()
                    if rest:
                        yield TextDelta(rest)
                    for call in calls:
                        yield call
                    yield Finish("tool_calls", event.usage) if calls else event
                else:
                    yield event

    async def warm(self) -> None:
        """Have a connection ready."""
        await self._client.warm()

    async def aclose(self) -> None:
        """Close the connections and let go of the model, which takes a moment."""
        await self._client.aclose()
        held, self._server = [self._server], None
        await asyncio.to_thread(held.clear)


def _serve(xllamacpp: Any, path: Path, context: int, threads: int | None, key: str) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = context
    params.n_parallel = 1
    params.cpuparams.n_threads = threads or os.cpu_count() or 1
    params.api_keys = [key]
    params.port = 0
    params.use_jinja = True
    params.warmup = True
    params.ui = False
    params.verbosity = -1
    try:
        return xllamacpp.Server(params)
    except Exception as error:
        raise ConfigError("llm", f"{path} could not be loaded: {error}") from error
