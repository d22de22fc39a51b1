"""One leg of a call on a socket that a test holds the other end of, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agentkit.audio.dtmf import tones
from agentkit.audio.formats import AudioFormat
from agentkit.callcontrol import CallControl
from agentkit.carriers.asterisk import AsteriskCodec
from agentkit.carriers.base import Codec, Message
from agentkit.carriers.browser import VERSION, BrowserCodec
from agentkit.carriers.jambonz import JambonzCodec
from agentkit.carriers.plivo import PlivoCodec
from agentkit.carriers.twilio import TwilioCodec
from agentkit.errors import CallControlError, TransportError, UsageError
from agentkit.testing.clock import in_virtual_time
from agentkit.transports.phone import MOST_UNSENT, PhoneTransport, Wire, admit

MULAW = AudioFormat("mulaw", 8000)

TWILIO_START = json.dumps(
    {"event": "start", "start": {"streamSid": "MZ1", "callSid": "CA1"}, "streamSid": "MZ1"}
)
PLIVO_START = json.dumps({"event": "start", "start": {"streamId": "s1", "callId": "c1"}})
JAMBONZ_START = json.dumps({"callSid": "c1", "sampleRate": 8000, "mixType": "mono"})
ASTERISK_START = json.dumps({"event": "MEDIA_START", "format": "ulaw", "channel_id": "c1"})


class Socket(Wire):
    """Both ends of a socket in memory.

    Args:
        stalled: what is sent waits for ever.
    """

    def __init__(self, *received: Message, stalled: bool = False) -> None:
        self.sent: list[Message] = []
        self.codes: list[int] = []
        self.stalled = stalled
        self.takes_now = False
        self.packets: list[int] = []
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        for message in received:
            self._inbox.put_nowait(message)

    def comes(self, message: Message | None) -> None:
        """The far end sends this; None: it closes."""
        self._inbox.put_nowait(message)

    async def receive(self) -> Message | None:
        return None if self.codes else await self._inbox.get()

    async def send(self, message: Message) -> None:
        if self.stalled:
            await asyncio.get_running_loop().create_future()
        if self.codes:
            raise ConnectionError("the socket is closed")
        self.sent.append(message)

    def send_now(self, *messages: Message) -> bool:
        if not self.takes_now:
            return False
        self.sent.extend(messages)
        self.packets.append(len(messages))
        return True

    async def close(self, code: int = 1000) -> None:
        if not self.codes:
            self.codes.append(code)
            self._inbox.put_nowait(None)

    def events(self) -> list[str]:
        """What was sent, by the names of its events."""
        return [json.loads(one).get("event", "") for one in self.sent if isinstance(one, str)]


class Ears:
    """The sink: takes note of what it is told."""

    def __init__(self) -> None:
        self.heard = b""
        self.marks: list[str] = []
        self.keys: list[str] = []

    def audio(self, data: bytes) -> None:
        self.heard += data

    def marked(self, name: str) -> None:
        self.marks.append(name)

    def dtmf(self, digit: str) -> None:
        self.keys.append(digit)


class Control(CallControl):
    """A carrier's REST interface.

    Args:
        error: is raised by everything.
        takes: seconds.
    """

    name = "test"

    def __init__(self, error: CallControlError | None = None, takes: float = 0.0) -> None:
        self.asked: list[tuple[str, ...]] = []
        self._error = error
        self._takes = takes

    async def _do(self, *what: str) -> None:
        self.asked.append(what)
        await asyncio.sleep(self._takes)
        if self._error is not None:
            raise self._error

    async def hang_up(self, call: str) -> None:
        await self._do("hang up", call)

    async def transfer(self, call: str, to: str) -> None:
        await self._do("transfer", call, to)

    async def aclose(self) -> None:
        return


class Leg:
    """A transport that runs, its socket and its sink."""

    def __init__(self, transport: PhoneTransport, socket: Socket) -> None:
        self.transport = transport
        self.socket = socket
        self.ears = Ears()
        self.running = asyncio.create_task(transport.run(self.ears))

    async def over(self) -> str:
        return await self.running


@asynccontextmanager
async def on_line(
    codec: Codec | None = None,
    start: str = TWILIO_START,
    *,
    stalled: bool = False,
    **options: Any,
) -> AsyncIterator[Leg]:
    codec = codec or TwilioCodec()
    socket = Socket(start, stalled=stalled)
    started = await admit(codec, socket)
    leg = Leg(PhoneTransport(codec, socket, started, **options), socket)
    await asyncio.sleep(0)
    try:
        yield leg
    finally:
        await leg.transport.aclose()
        await asyncio.gather(leg.running, return_exceptions=True)


def media(data: bytes = b"\x00" * 160) -> str:
    from base64 import b64encode

    payload = b64encode(data).decode()
    return json.dumps({"event": "media", "media": {"payload": payload}, "streamSid": "MZ1"})


def mark(name: str) -> str:
    return json.dumps({"event": "mark", "mark": {"name": name}, "streamSid": "MZ1"})


def now() -> float:
    return asyncio.get_running_loop().time()


# ---------------------------------------------------------------------------- before the start


@in_virtual_time(until=60)
async def test_what_comes_before_the_start_is_passed_over() -> None:
    socket = Socket('{"event":"connected"}', media(), "no json", b"\x00", TWILIO_START)
    started = await admit(TwilioCodec(), socket)
    assert (started.stream, started.call) == ("MZ1", "CA1")


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ((None,), "closed before"),
        ((), "within 10 s"),
        ((media(),) * 100, "within 64 messages"),
        ((JAMBONZ_START,) * 64, "within 64 messages"),
    ],
)
@in_virtual_time(until=60)
async def test_a_stream_that_does_not_start_is_not_admitted(messages: Any, problem: str) -> None:
    socket = Socket()
    for message in messages:
        socket.comes(message)
    with pytest.raises(TransportError, match=problem):
        await admit(TwilioCodec(), socket)


# ------------------------------------------------------------------------------ the far end


@in_virtual_time(until=60)
async def test_what_the_far_end_says_reaches_the_sink_and_its_oddities_are_counted() -> None:
    async with on_line() as leg:
        key = json.dumps({"event": "dtmf", "dtmf": {"digit": "5"}, "streamSid": "MZ1"})
        for message in (media(b"ab"), mark("m"), key, "{", "{", TWILIO_START, media(b"cd")):
            leg.socket.comes(message)
        leg.socket.comes(None)
        assert await leg.over() == "caller hung up"
        assert (leg.ears.heard, leg.ears.marks, leg.ears.keys) == (b"abcd", ["m"], ["5"])
        assert leg.transport.oddities == {"a message that is no JSON": 2, "a second start": 1}


@in_virtual_time(until=60)
async def test_audio_and_the_mark_behind_it_go_in_one_packet_and_overtake_nothing() -> None:
    async with on_line() as leg:
        leg.transport.play_marked(bytes(160), "waits")
        leg.socket.takes_now = True
        leg.transport.play_marked(bytes(160), "behind it")
        assert leg.socket.packets == []
        await asyncio.sleep(0.01)
        leg.transport.play_marked(bytes(160), "at once")
        assert leg.socket.packets == [2]
        assert leg.socket.events() == ["media", "mark"] * 3
        marks = [json.loads(str(message))["mark"]["name"] for message in leg.socket.sent[1::2]]
        assert marks == ["waits", "behind it", "at once"]


@pytest.mark.parametrize("at_once", [True, False])
@in_virtual_time(until=60)
async def test_a_mark_that_tells_its_place_stands_behind_the_audio_it_came_with(
    at_once: bool,
) -> None:
    """A browser's mark names the position that it is for."""
    start = json.dumps({"type": "start", "version": VERSION})
    async with on_line(BrowserCodec(AudioFormat("linear16", 24000)), start) as leg:
        leg.socket.takes_now = at_once
        for count in (1, 2, 3):
            leg.transport.play_marked(bytes(960), f"1:{count}")
        await asyncio.sleep(0.01)
        marks = [json.loads(one) for one in leg.socket.sent if isinstance(one, str)]
        assert [mark["at"] for mark in marks] == [480, 960, 1440]


@in_virtual_time(until=60)
async def test_the_stop_of_the_stream_ends_the_call() -> None:
    async with on_line() as leg:
        leg.socket.comes('{"event":"stop","stop":{},"streamSid":"MZ1"}')
        assert await leg.over() == "caller hung up"


@in_virtual_time(until=300)
async def test_a_far_end_that_is_gone_is_asked_and_then_given_up() -> None:
    control = Control()
    async with on_line(silent_for=20.0, control=control) as leg:
        assert await leg.over() == "carrier fell silent"
        assert now() == 20.0
        assert leg.socket.events() == ["mark", "mark"]
        assert leg.socket.codes == [1011]
        assert control.asked == [("hang up", "CA1")]


@in_virtual_time(until=3000)
async def test_a_caller_who_is_silent_is_not_given_up_while_the_far_end_answers() -> None:
    """Asterisk sends nothing at all for a phone that suppresses silence."""
    async with on_line(AsteriskCodec(), ASTERISK_START, silent_for=20.0) as leg:
        for count in range(1, 31):
            await asyncio.sleep(10.0)
            await asyncio.sleep(0.05)
            assert len(leg.socket.sent) == count
            asked = json.loads(leg.socket.sent[-1])
            assert asked["command"] == "MARK_MEDIA"
            answer = {"event": "MEDIA_MARK_PROCESSED", "correlation_id": asked["correlation_id"]}
            leg.socket.comes(json.dumps(answer))
        assert not leg.running.done()
        assert leg.ears.marks == []  # the player's marks are others


@in_virtual_time(until=300)
async def test_a_far_end_that_talks_is_not_asked() -> None:
    async with on_line(silent_for=20.0) as leg:
        for _ in range(100):
            await asyncio.sleep(1.0)
            leg.socket.comes(media())
        await asyncio.sleep(0.1)
        assert leg.socket.sent == []
        assert not leg.running.done()


@in_virtual_time(until=60)
async def test_a_far_end_that_does_not_read_is_given_up_before_memory_is() -> None:
    control = Control()
    async with on_line(stalled=True, control=control) as leg:
        for _ in range(int(MOST_UNSENT / 0.1) + 3):
            leg.transport.play(MULAW.silence(0.1))
        with pytest.raises(TransportError, match="does not read"):
            await leg.over()
        assert control.asked == [("hang up", "CA1")]
        assert leg.socket.codes == [1011]


@in_virtual_time(until=60)
async def test_a_clear_drops_what_was_not_sent_and_goes_out_before_what_follows() -> None:
    async with on_line() as leg:
        leg.transport.play(MULAW.silence(0.1))
        leg.transport.mark("1")
        leg.transport.clear()
        leg.transport.play(MULAW.silence(0.1))
        leg.transport.mark("2")
        await asyncio.sleep(0.1)
        assert leg.socket.events() == ["clear", "media", "mark"]


@in_virtual_time(until=60)
async def test_while_the_far_end_is_full_audio_waits_and_a_clear_does_not() -> None:
    async with on_line(AsteriskCodec(), ASTERISK_START) as leg:
        leg.socket.comes('{"event":"MEDIA_XOFF"}')
        await asyncio.sleep(0.01)
        leg.transport.play(MULAW.silence(0.1))
        await asyncio.sleep(0.1)
        assert leg.socket.sent == []
        leg.transport.clear()
        await asyncio.sleep(0.01)
        assert leg.socket.sent == ['{"command":"FLUSH_MEDIA"}']
        leg.transport.play(MULAW.silence(0.1))
        await asyncio.sleep(0.01)
        leg.socket.comes('{"event":"MEDIA_XON"}')
        await asyncio.sleep(0.01)
        assert leg.socket.sent[1:] == [MULAW.silence(0.1)]


@in_virtual_time(until=60)
async def test_nothing_is_sent_behind_the_close() -> None:
    async with on_line() as leg:
        await leg.transport.hang_up()
        leg.transport.play(MULAW.silence(0.1))
        leg.transport.mark("late")
        leg.transport.clear()
        assert await leg.over() == "agent hung up"
        assert leg.socket.sent == []


# ------------------------------------------------------------------------------------ its end


@in_virtual_time(until=60)
async def test_hanging_up_twice_asks_the_carrier_once() -> None:
    control = Control()
    async with on_line(control=control) as leg:
        await asyncio.gather(leg.transport.hang_up(), leg.transport.hang_up())
        await leg.transport.hang_up()
        assert await leg.over() == "agent hung up"
        assert control.asked == [("hang up", "CA1")]
        assert leg.socket.codes == [1000]


@in_virtual_time(until=60)
async def test_the_verb_of_the_socket_comes_behind_what_is_waiting() -> None:
    async with on_line(JambonzCodec(), JAMBONZ_START) as leg:
        leg.transport.play(b"\x00" * 320)
        await leg.transport.hang_up()
        await leg.over()
        assert leg.socket.sent == [b"\x00" * 320, '{"type":"disconnect"}']


@in_virtual_time(until=60)
async def test_a_stream_that_stops_first_does_not_leave_the_call_up() -> None:
    """Once `run` has returned, what still asks the carrier to end the call is cancelled."""
    control = Control(takes=2.0)
    async with on_line(PlivoCodec(), PLIVO_START, control=control) as leg:
        begun = now()
        hanging_up = asyncio.create_task(leg.transport.hang_up())
        await asyncio.sleep(0.1)
        leg.socket.comes(json.dumps({"event": "stop", "streamId": "s1"}))
        assert await leg.over() == "agent hung up"
        assert now() - begun == pytest.approx(2.0)
        assert hanging_up.done()


@pytest.mark.parametrize(
    "control",
    [Control(CallControlError("refused")), Control(takes=60.0)],
    ids=["refuses", "does not answer"],
)
@in_virtual_time(until=120)
async def test_a_carrier_that_does_not_end_the_call_does_not_hold_it_up(control: Control) -> None:
    async with on_line(control=control) as leg:
        begun = now()
        await leg.transport.hang_up()
        assert now() - begun <= 6.0
        assert leg.socket.codes == [1000]
        assert await leg.over() == "agent hung up"


@in_virtual_time(until=60)
async def test_a_far_end_that_does_not_read_does_not_hold_up_the_end() -> None:
    async with on_line(stalled=True) as leg:
        leg.transport.play(MULAW.silence(0.1))
        begun = now()
        await leg.transport.hang_up()
        assert now() - begun <= 1.0
        assert leg.socket.codes == [1000]


@in_virtual_time(until=60)
async def test_when_the_carrier_says_elsewhere_that_the_call_is_over_it_is() -> None:
    control = Control()
    async with on_line(control=control) as leg:
        leg.transport.call_is_over()
        assert await leg.over() == "caller hung up"
        await leg.transport.aclose()
        assert control.asked == []
        assert leg.socket.codes == [1000]


# ------------------------------------------------------------------------- keys and transfers


@in_virtual_time(until=60)
async def test_a_transfer_is_asked_for_and_the_carrier_ends_the_stream() -> None:
    control = Control()
    async with on_line(control=control, may_transfer=lambda to: to == "+1555") as leg:
        await leg.transport.transfer("+1555")
        await asyncio.sleep(1.0)
        assert leg.socket.codes == []
        assert not leg.running.done()
        leg.socket.comes(None)
        assert await leg.over() == "transferred"
        assert control.asked == [("transfer", "CA1", "+1555")]


@pytest.mark.parametrize("allowed", [True, False])
@in_virtual_time(until=60)
async def test_a_transfer_that_may_not_or_cannot_be_is_an_error_that_names_no_number(
    allowed: bool,
) -> None:
    control = None if allowed else Control()
    async with on_line(control=control, may_transfer=lambda to: allowed) as leg:
        with pytest.raises(TransportError) as caught:
            await leg.transport.transfer("+15550001111")
        assert "1111" not in str(caught.value)
        leg.socket.comes(None)
        assert await leg.over() == "caller hung up"


@in_virtual_time(until=60)
async def test_a_transfer_that_the_carrier_refuses_leaves_the_call_as_it_is() -> None:
    control = Control(CallControlError("refused"))
    async with on_line(control=control, may_transfer=lambda to: True) as leg:
        with pytest.raises(CallControlError):
            await leg.transport.transfer("+1555")
        leg.socket.comes(None)
        assert await leg.over() == "caller hung up"


@in_virtual_time(until=60)
async def test_keys_are_pressed_by_message_else_as_tones() -> None:
    async with on_line(PlivoCodec(), PLIVO_START, control=Control()) as leg:
        await leg.transport.send_dtmf("7#")
        await asyncio.sleep(0.1)
        assert leg.socket.events() == ["sendDTMF", "sendDTMF"]
    async with on_line(AsteriskCodec(), ASTERISK_START, control=Control()) as leg:
        await leg.transport.send_dtmf("7#")
        await asyncio.sleep(0.1)
        assert leg.socket.sent == [tones("7#", MULAW)]
        with pytest.raises(UsageError):
            await leg.transport.send_dtmf("x")
