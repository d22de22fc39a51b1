"""Phone carriers as a bot meets them: test clients that call it, over real sockets.

`FakeTwilio`, `FakeSignalWire`, `FakeTelnyx`, `FakePlivo`, `FakeVonage`, `FakeJambonz` and
`FakeAsterisk` speak each carrier's WebSocket protocol, and ask the webhook first if they are told
to, with the carrier's own signature. `FakeAudioSocket` is Asterisk over plain TCP. A caller speaks
in real time and hears what the bot says as the carrier would play it, so that a test asserts on
what was *heard*, not on what was sent; `FakeCarrier.protocol_errors` tells what the carrier would
have minded. `FakeCarrierRest` is what the bot asks to hang up.

    async def test_the_bot_greets() -> None:
        async with FakeTwilio(
            webhook="http://127.0.0.1:8080/twilio/voice", secret="auth-token"
        ) as caller:
            await caller.until_quiet()
            assert caller.first_sound_at() is not None
            await caller.hang_up()
        assert caller.protocol_errors == []

None of this shares code with agentkit's own side of these protocols. Time is the event loop's, so
it works in virtual time, too (`agentkit.testing.clock`).
"""

from agentkit.testing.carriers.asking import Answer, Connect, Refusal
from agentkit.testing.carriers.asterisk import FakeAsterisk
from agentkit.testing.carriers.audiosocket import FakeAudioSocket
from agentkit.testing.carriers.base import FakeCarrier
from agentkit.testing.carriers.call import Ended, FakeCall, Logged
from agentkit.testing.carriers.faults import Faults
from agentkit.testing.carriers.jambonz import FakeJambonz
from agentkit.testing.carriers.line import Network
from agentkit.testing.carriers.plivo import FakePlivo
from agentkit.testing.carriers.rest import FakeCarrierRest, RestRequest
from agentkit.testing.carriers.signalwire import FakeSignalWire
from agentkit.testing.carriers.telnyx import FakeTelnyx
from agentkit.testing.carriers.twilio import FakeTwilio
from agentkit.testing.carriers.vonage import FakeVonage
from agentkit.transports.playout import Heard

__all__ = [
    "Answer",
    "Connect",
    "Ended",
    "FakeAsterisk",
    "FakeAudioSocket",
    "FakeCall",
    "FakeCarrier",
    "FakeCarrierRest",
    "FakeJambonz",
    "FakePlivo",
    "FakeSignalWire",
    "FakeTelnyx",
    "FakeTwilio",
    "FakeVonage",
    "Faults",
    "Heard",
    "Logged",
    "Network",
    "Refusal",
    "RestRequest",
]
