"""Speech that is made before it is needed, since the voice may be down when it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agentkit.tts.base import TTS, SpeechAudio

if TYPE_CHECKING:
    from agentkit.audio.formats import AudioFormat

log = structlog.get_logger(__name__)


async def voice_ahead(tts: TTS, text: str, output: AudioFormat, into: dict[str, bytes]) -> None:
    """Put the audio of a text, whole and in the format ``output``, under it (rule T14).

    A voice that fails is logged: the call goes on without.
    """
    if not text:
        return
    try:
        into[text] = await _spoken(tts, text, output)
    except Exception as error:
        log.warning("the apology could not be voiced ahead", error=str(error))


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
