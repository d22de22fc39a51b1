"""What is there before it is needed: a call's backends, and speech for when the voice is down."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import structlog

from agentkit.llm.base import LLM
from agentkit.tts.base import TTS, SpeechAudio
from agentkit.turns import TurnSource

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.audio.formats import AudioFormat
    from agentkit.economy import Economy

log = structlog.get_logger(__name__)

_MOST_KEPT = 16
_kept: WeakKeyDictionary[TTS, dict[tuple[str, AudioFormat], bytes]] = WeakKeyDictionary()
"""What voices have spoken ahead: calls that share one do not pay for the same line each."""


async def open_named(
    stack: AsyncExitStack, agent: type[Agent], *, flux: Any, llm: Any, tts: Any
) -> tuple[TurnSource, LLM, TTS, Economy | None]:
    """The source of turns, the model and the voice: objects as they are, the others opened.

    With them what the settings say of drafts; None: no settings were read.

    Raises:
        ConfigError: a key is missing, or a setting cannot be right.
        PluginError: a backend could not be had.
    """
    if isinstance(flux, TurnSource) and isinstance(llm, LLM) and isinstance(tts, TTS):
        return flux, llm, tts, None
    from agentkit.backends import open_backends
    from agentkit.config import Settings

    flags = {"flux": flux, "llm": llm, "tts": tts}
    settings = Settings.load(flags=flags, env=os.environ, folder=Path.cwd(), agent=agent)
    backends = await stack.enter_async_context(open_backends(settings, agent))
    return backends.source(), backends.llm, backends.tts, backends.economy


async def voice_ahead(tts: TTS, text: str, output: AudioFormat, into: dict[str, bytes]) -> None:
    """Put the audio of a text, whole and in the format ``output``, under it (rule T14).

    A voice is asked for a line once, for all calls that share it. One that fails is logged, and
    the call goes on without.
    """
    if not text:
        return
    try:
        kept = _kept.setdefault(tts, {})
    except TypeError:
        kept = {}  # a voice that cannot be a key
    made = kept.get((text, output))
    if made is None:
        try:
            made = await _spoken(tts, text, output)
        except Exception as error:
            log.warning("the apology could not be voiced ahead", error=str(error))
            return
        if len(kept) < _MOST_KEPT:
            kept[text, output] = made
    into[text] = made


async def _spoken(tts: TTS, text: str, output: AudioFormat) -> bytes:
    stream = tts.open()
    try:
        stream.push(text)
        stream.end()
        made = b"".join([event.data async for event in stream if isinstance(event, SpeechAudio)])
    finally:
        await stream.cancel()
    if tts.format == output:
        return made
    from agentkit.audio.resample import convert

    return convert(made, tts.format, output)
