"""What is sent to the far end, when, and what is taken for heard. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.core.events import Event, PlayoutReached
from agentkit.session.audio import ReplyAudio
from agentkit.session.player import Player
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.transport import FakeTransport, once

PHONE = AudioFormat("mulaw", 8000)
FRAME = 160


class Ear:
    """Hands a line's marks to the player, as a session does."""

    def __init__(self, player: Player) -> None:
        self._player = player

    def audio(self, data: bytes) -> None: ...

    def dtmf(self, digit: str) -> None: ...

    def marked(self, name: str) -> None:
        self._player.marked(name)


class Stage:
    def __init__(
        self,
        marks: Callable[[str], Iterable[float]] = once,
        latency: float = 0.0,
        jitter: float = 0.0,
    ) -> None:
        self.line = FakeTransport(output=PHONE, latency=latency, jitter=jitter, marks=marks)
        self.events: list[tuple[float, Event]] = []
        self.loop = asyncio.get_running_loop()
        self.player = Player(self.line, lambda event: self.events.append((self.loop.time(), event)))
        self.audio = ReplyAudio(0, PHONE)

    async def __aenter__(self) -> Stage:
        await self.line.connect()
        self._running = asyncio.create_task(self.line.run(Ear(self.player)))
        await self.line.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.player.stop()
        self.line.hang_up_remote()
        await self._running

    def make(self, size: int) -> None:
        self.audio.append(b"\x10" * size)
        self.player.pump()

    @property
    def sizes(self) -> list[int]:
        return [len(sent.data) for sent in self.line.sent]

    @property
    def reached(self) -> list[float]:
        return [round(e.seconds, 4) for _, e in self.events if isinstance(e, PlayoutReached)]


@pytest.mark.parametrize("piece", [1, 7, 159, 160, 333, 1000, 2731])
@in_virtual_time()
async def test_messages_are_whole_frames_however_the_voice_gives_its_audio(piece: int) -> None:
    async with Stage() as stage:
        stage.player.play(stage.audio, 1, 0.0)
        for _ in range(-(-8000 // piece)):
            stage.make(piece)
            await asyncio.sleep(piece / 32000)
        await stage.line.until_quiet()
        assert all(size % FRAME == 0 and size <= 1600 for size in stage.sizes)
        assert stage.line.heard_audio().rstrip(b"\xff") == b"\x10" * stage.audio.size
        assert stage.reached[-1] == pytest.approx(stage.audio.size / 8000, abs=1e-4)


@in_virtual_time()
async def test_once_there_is_a_lead_no_message_is_shorter_than_40_ms() -> None:
    async with Stage() as stage:
        stage.player.play(stage.audio, 1, 0.0)
        for _ in range(200):
            stage.make(80)
            await asyncio.sleep(0.0025)
        assert min(stage.sizes[16:]) >= 2 * FRAME


@in_virtual_time()
async def test_the_first_frame_goes_out_at_once() -> None:
    async with Stage() as stage:
        stage.player.play(stage.audio, 1, 0.0)
        stage.make(100)
        assert stage.sizes == []
        stage.make(60)
        assert stage.sizes == [160]


@in_virtual_time()
async def test_a_rest_shorter_than_a_frame_waits_and_is_filled_with_silence() -> None:
    async with Stage() as stage:
        stage.player.play(stage.audio, 1, 0.0)
        stage.make(50)
        await asyncio.sleep(0.09)
        assert stage.sizes == []
        await asyncio.sleep(0.02)
        assert stage.line.sent[0].data == b"\x10" * 50 + b"\xff" * 110
        await asyncio.sleep(0.2)
        assert stage.reached == [pytest.approx(50 / 8000, abs=1e-4)]


@in_virtual_time()
async def test_marks_stand_after_the_first_message_then_every_200_ms_and_at_the_end() -> None:
    async with Stage() as stage:
        stage.player.play(stage.audio, 1, 0.0)
        stage.make(8000)
        await stage.line.until_quiet()
        await asyncio.sleep(0.2)
        assert stage.reached == [0.2, 0.4, 0.6, 0.8, 1.0]


@in_virtual_time()
async def test_marks_stay_few_while_much_waits_to_be_sent() -> None:
    async with Stage() as stage:
        stage.player.play(stage.audio, 1, 0.0)
        stage.make(8000 * 6)
        await stage.line.until_quiet()
        await asyncio.sleep(0.2)
        assert len(stage.reached) == 30
        assert stage.reached[-1] == 6.0


@in_virtual_time()
async def test_audio_is_sent_at_most_a_second_and_a_half_ahead() -> None:
    async with Stage() as stage:
        stage.player.play(stage.audio, 1, 0.0)
        begun = stage.loop.time()
        stage.make(8000 * 10)
        for _ in range(200):
            sent = sum(stage.sizes) / 8000
            assert sent - (stage.loop.time() - begun) <= 1.701
            await asyncio.sleep(0.05)
        await stage.line.until_quiet()
        assert stage.line.heard_seconds() == 10


@pytest.mark.parametrize("lost", [1.0, 0.7, 0.3])
@in_virtual_time()
async def test_lost_marks_neither_stop_the_sound_nor_what_is_known_of_it(lost: float) -> None:
    seen = 0

    def fate(name: str) -> Iterable[float]:
        nonlocal seen
        seen += 1
        return () if (seen * 0.618) % 1 < lost else (0.0,)

    async with Stage(marks=fate) as stage:
        stage.player.play(stage.audio, 1, 0.0)
        stage.make(8000 * 6)
        begun = stage.loop.time()
        await stage.line.until_quiet()
        assert stage.line.longest_gap((begun, begun + 5.9)) == pytest.approx(0.0, abs=0.001)
        await asyncio.sleep(2.0)
        assert stage.reached == sorted(set(stage.reached))
        assert stage.reached[-1] == 6.0
        for at, event in stage.events:
            if isinstance(event, PlayoutReached):
                assert event.seconds <= at - begun + 0.001


@in_virtual_time()
async def test_a_far_end_that_lags_is_not_flooded() -> None:
    async with Stage(latency=0.8) as stage:
        stage.player.play(stage.audio, 1, 0.0)
        stage.make(8000 * 10)
        while stage.line.heard_seconds() < 10:
            proven = stage.reached[-1] if stage.reached else 0.0
            assert sum(stage.sizes) / 8000 - proven <= 2.2
            await asyncio.sleep(0.1)


@in_virtual_time()
async def test_marks_of_another_epoch_or_of_audio_never_sent_prove_nothing() -> None:
    async with Stage() as stage:
        stage.player.play(stage.audio, 3, 0.0)
        stage.make(1600)
        for name in ("2:1600", "3:1601", "3:-1", "3:", "x", "", ":1600", "3:1600x", "33:1600"):
            stage.player.marked(name)
        assert stage.reached == []
        for _ in range(500):
            stage.player.marked("3:1600")
        assert stage.reached == [0.2]


@in_virtual_time()
async def test_going_on_inside_a_frame_counts_from_where_it_was_asked() -> None:
    """The frame that holds the place is sent whole; what is told counts from the place itself."""
    async with Stage() as stage:
        stage.make(1600)
        stage.player.play(stage.audio, 1, 0.03)
        await stage.line.until_quiet()
        await asyncio.sleep(0.2)
        assert sum(stage.sizes) == 1600 - 160
        assert stage.reached[-1] == pytest.approx(0.17)


@in_virtual_time()
async def test_a_clear_drops_what_waits_and_reaches_the_far_end_also_when_nothing_is_sent() -> None:
    async with Stage() as stage:
        stage.player.play(stage.audio, 1, 0.0)
        stage.make(8000)
        await asyncio.sleep(0.35)
        stage.player.clear(2)
        stage.player.clear(3)
        assert len(stage.line.cleared_at) == 2
        before = len(stage.sizes)
        await asyncio.sleep(2.0)
        assert len(stage.sizes) == before
        assert stage.line.heard_seconds() == pytest.approx(0.35)
        assert stage.reached[-1] <= 0.35
