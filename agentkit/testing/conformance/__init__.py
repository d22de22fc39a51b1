"""Checks that a backend of your own keeps the rules of its interface.

They are plain coroutines and need no test runner. A rig says how to make the backend against a far
end that the author controls, such as a scripted server on a loopback socket:

    from agentkit.testing import ScriptedOpenAI
    from agentkit.testing.conformance import LLMRig, check_llm

    async def test_it_conforms() -> None:
        slow = Delays(per_token=0.2)
        async with ScriptedOpenAI(ChatReply("We open at nine."), delays=slow) as far:
            rig = LLMRig(
                make=lambda: AcmeLLM(base_url=far.base_url, api_key="s3cret"),
                open_requests=lambda: sum(not request.over for request in far.chats),
                secrets=("s3cret",),
            )
            print(await check_llm(rig))

`check_llm` and `check_tts` raise one `NotConforming` that tells all the rules that are broken, each
with the words of the interface (`agentkit.llm.base`, `agentkit.tts.base`). What a rig does not give
(``open_requests``, ``fails``, ...) leaves the checks out that need it; they are listed in the
outcome. Each check can also be run by itself, for a test runner that shows them one by one:

    @pytest.mark.parametrize("check", LLM_CHECKS, ids=str)
    async def test_it_conforms(check: Check[LLMRig]) -> None:
        await check(rig)

They read the clock of the event loop, so that they run in virtual time, too, where the far end does
(`agentkit.testing.clock`).
"""

from agentkit.testing.conformance._checks import Broken, Check, NotConforming, Outcome
from agentkit.testing.conformance.llm import LLM_CHECKS, LLMRig, check_llm
from agentkit.testing.conformance.tts import TTS_CHECKS, TTSRig, check_tts

__all__ = [
    "LLM_CHECKS",
    "TTS_CHECKS",
    "Broken",
    "Check",
    "LLMRig",
    "NotConforming",
    "Outcome",
    "TTSRig",
    "check_llm",
    "check_tts",
]
