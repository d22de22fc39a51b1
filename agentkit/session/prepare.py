"""Speech that is made before it is needed, since the voice may be down when it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agentkit.core.policy import Policy
from agentkit.tts.base import TTS, SpeechAudio

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.audio.formats import AudioFormat

log = structlog.get_logger(__name__)


class Prepared:
    """Voices the agent's apology at the start of the call (rule T14).

    Args:
        agent: whose apology.
        tts: the voice.
        output: what the far end takes.
        policy: says how the apology will be cut into pieces.
    """

    def __init__(self, agent: Agent, tts: TTS, output: AudioFormat, policy: Policy) -> None:
        self._agent = agent
        self._tts = tts
        self._output = output
        self._policy = policy

    async def voice_apology(self, into: dict[str, bytes]) -> None:
        """Put the audio of the apology, whole, under its text. A voice that is down is logged."""
        text = self._agent.spoken(self._agent.apology or "").strip()
        if not text:
            return
        stream = self._tts.open()
        try:
            stream.push(text)
            stream.end()
            made = bytearray()
            async for event in stream:
                if isinstance(event, SpeechAudio):
                    made += event.data
            into[text] = self._converted(bytes(made))
        except Exception as error:
            log.warning("the apology could not be voiced ahead", error=str(error))
        finally:
            await stream.cancel()

    def _converted(self, data: bytes) -> bytes:
        if self._tts.format == self._output:
            return data
        from agentkit.audio.resample import convert

        return convert(data, self._tts.format, self._output)
