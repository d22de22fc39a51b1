"""The scripted source, model and voice do as told, at the times told, and write it all down."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from typing import Any

import pytest

from agentkit.audio.formats import AudioFormat
from agentkit.audio.frames import first_sound, is_silent
from agentkit.core import events as ev
from agentkit.core.history import AssistantMessage, ToolCall, UserMessage
from agentkit.errors import LLMError, TTSError
from agentkit.llm.base import Finish, LLMEvent, LLMRequest, TextDelta
from agentkit.testing.backends import (
    ScriptedLLM,
    ScriptedReply,
    ScriptedSpeech,
    ScriptedTTS,
    Unscripted,
    tone,
)
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.source import ScriptedSource
from agentkit.tts.base import PieceEnd, SpeechAudio, SpeechEvent


def now() -> float:
    return asyncio.get_running_loop().time()


# ----------------------------------------------------------------------------- source of turns


async def listening(source: ScriptedSource) -> tuple[list[ev.SourceEvent], asyncio.Task[None]]:
    seen: list[ev.SourceEvent] = []
    running = asyncio.create_task(source.run(AudioFormat("mulaw", 8000), seen.append, now))
    await source.ready()
    return seen, running


@in_virtual_time()
async def test_a_source_numbers_what_it_emits_as_flux_does() -> None:
    source = ScriptedSource()
    seen, running = await listening(source)
    source.connected()
    source.start("hello")
    source.update("hello there")
    source.maybe_end("hello there")
    source.resume("hello there I")
    source.end("hello there I wait")
    source.start()
    source.lose("reset")
    source.connected()
    source.start("back")
    await source.aclose()
    await running

    turns = [event for event in seen if isinstance(event, ev.TurnEvent)]
    assert [(turn.connection, turn.index, turn.sequence) for turn in turns] == [
        (0, 0, 1),
        (0, 0, 2),
        (0, 0, 3),
        (0, 0, 4),
        (0, 0, 5),
        (0, 1, 6),
        (1, 0, 1),
    ]
    assert [type(event) for event in seen] == [
        ev.SourceConnected,
        ev.TurnStarted,
        ev.TurnUpdated,
        ev.TurnMaybeEnded,
        ev.TurnResumed,
        ev.TurnEnded,
        ev.TurnStarted,
        ev.SourceLost,
        ev.SourceConnected,
        ev.TurnStarted,
    ]
    assert turns[4].words == tuple(ev.Word(word) for word in ["hello", "there", "I", "wait"])
    assert turns[4].trigger == "model"


@in_virtual_time()
async def test_any_field_of_an_event_can_be_given() -> None:
    source = ScriptedSource()
    seen, running = await listening(source)
    source.connected()
    await asyncio.sleep(1.5)
    late = source.end("yes", index=7, sequence=99, trigger="timeout", words=(), confidence=0.1)
    assert late == ev.TurnEnded(
        connection=0,
        index=7,
        text="yes",
        sequence=99,
        confidence=0.1,
        speech_end=1.5,
        trigger="timeout",
    )
    assert seen[-1] is late
    source.oddity("Surprise")
    source.fail("flux_connection", "gave up")
    await running
    assert seen[-2:] == [
        ev.SourceOddity("Surprise"),
        ev.SourceFailed("flux_connection", "gave up"),
    ]


@in_virtual_time()
async def test_a_source_notes_what_it_is_asked() -> None:
    source = ScriptedSource(can_end_turn=False)
    _, running = await listening(source)
    source.feed(b"\x01")
    await asyncio.sleep(0.5)
    source.feed(b"\x02")
    source.configure({"eot_threshold": 0.8})
    source.end_turn()
    source.reconnect("silent")
    await source.aclose()
    await running
    assert source.audio == AudioFormat("mulaw", 8000)
    assert source.fed == [(0.0, b"\x01"), (0.5, b"\x02")]
    assert source.audio_fed() == b"\x01\x02"
    assert source.configured == [{"eot_threshold": 0.8}]
    assert source.turns_ended_at == [0.5]
    assert source.reconnects == ["silent"]
    assert source.can_configure
    assert not source.can_end_turn
    assert source.closed


@in_virtual_time()
async def test_a_source_that_nobody_listens_to_says_so() -> None:
    source = ScriptedSource()
    with pytest.raises(RuntimeError, match=r"await source\.ready"):
        source.connected()
    _, running = await listening(source)
    await source.aclose()
    await running
    with pytest.raises(RuntimeError, match="does not listen any more"):
        source.start("too late")


# ------------------------------------------------------------------------------------- model


def request(*texts: str, **fields: Any) -> LLMRequest:
    return LLMRequest("Be brief.", tuple(UserMessage(text) for text in texts), **fields)


async def all_of(llm: ScriptedLLM, *texts: str) -> list[tuple[float, LLMEvent]]:
    return [(round(now(), 6), event) async for event in llm.stream(request(*texts))]


def said(events: list[tuple[float, LLMEvent]]) -> str:
    return "".join(event.text for _, event in events if isinstance(event, TextDelta))


@in_virtual_time()
async def test_words_come_at_their_times() -> None:
    llm = ScriptedLLM(["We open\nat nine. "], first_token=0.3, per_token=0.05)
    events = await all_of(llm, "when")
    assert [(at, event.text) for at, event in events if isinstance(event, TextDelta)] == [
        (0.3, "We"),
        (0.35, " open"),
        (0.4, "\nat"),
        (0.45, " nine."),
        (0.5, " "),
    ]
    assert isinstance(events[-1][1], Finish)
    assert events[-1][1].reason == "stop"
    assert events[-1][1].usage.output == 5
    [made] = llm.generations
    assert (made.started, made.first_token, made.closed) == pytest.approx((0.0, 0.3, 0.5))
    assert made.finished
    assert not made.closed_early
    assert made.text == "We open\nat nine. "
    llm.assert_complete()


@in_virtual_time()
async def test_a_first_word_at_time_zero_is_a_first_word() -> None:
    llm = ScriptedLLM(["one two"], per_token=1.0)
    await all_of(llm)
    assert llm.generations[0].first_token == 0.0


@in_virtual_time()
async def test_replies_from_a_list_a_dict_and_a_function() -> None:
    assert said(await all_of(ScriptedLLM(["a", ScriptedReply("b")]))) == "a"

    llm = ScriptedLLM({"hello": "Hi.", "*": "Pardon?"})
    assert said(await all_of(llm, "what", "hello")) == "Hi."
    assert said(await all_of(llm, "hello", "what")) == "Pardon?"
    assert said(await all_of(llm)) == "Pardon?"

    llm = ScriptedLLM(lambda asked: f"{len(asked.messages)} messages")
    assert said(await all_of(llm, "one", "two")) == "2 messages"
    assert llm.requests == [request("one", "two")]


@in_virtual_time()
async def test_the_dict_looks_at_the_last_user_message() -> None:
    llm = ScriptedLLM({"hello": "Hi."})
    messages = (UserMessage("hello"), AssistantMessage("Yes?"))
    stream = llm.stream(LLMRequest("", messages))
    assert await anext(stream) == TextDelta("Hi.")
    await stream.aclose()


@pytest.mark.parametrize("replies", [[], {"hello": "Hi."}])
@in_virtual_time()
async def test_a_request_that_is_not_in_the_script_fails_the_test(replies: Any) -> None:
    llm = ScriptedLLM(replies)
    with pytest.raises(Unscripted, match="request 1 is not in the script of scripted/llm"):
        await all_of(llm, "bye")
    with pytest.raises(AssertionError, match="request 1 is not in the script"):
        llm.assert_complete()


@in_virtual_time()
async def test_tools_are_asked_for_after_the_text() -> None:
    call = ToolCall("c1", "book", '{"day": "Tuesday"}')
    llm = ScriptedLLM([ScriptedReply("One moment.", tools=(call,)), ScriptedReply(finish="length")])
    events = [event for _, event in await all_of(llm)]
    assert events[:3] == [TextDelta("One"), TextDelta(" moment."), call]
    assert isinstance(events[3], Finish)
    assert events[3].reason == "tool_calls"
    [(_, finish)] = await all_of(llm)
    assert isinstance(finish, Finish)
    assert finish.reason == "length"


@in_virtual_time()
async def test_an_error_comes_after_so_many_words() -> None:
    error = LLMError("overloaded", failure="server", status=503)
    reply = ScriptedReply("one two three", error=error, error_after=2, first_token=1, per_token=0.5)
    llm = ScriptedLLM([reply])
    stream = llm.stream(request())
    assert await anext(stream) == TextDelta("one")
    assert await anext(stream) == TextDelta(" two")
    with pytest.raises(LLMError, match="overloaded"):
        await anext(stream)
    assert now() == 2.0
    assert not llm.generations[0].closed_early


@pytest.mark.parametrize("by", ["closing", "cancelling"])
@in_virtual_time()
async def test_a_request_given_up_is_closed_early(by: str) -> None:
    llm = ScriptedLLM(["one two three"], per_token=10)
    if by == "closing":
        async with aclosing(llm.stream(request())) as stream:
            await anext(stream)
            await asyncio.sleep(4)
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):
                await all_of(llm)
    [made] = llm.generations
    assert made.closed == 4.0
    assert made.closed_early
    assert made.text == "one"


@in_virtual_time()
async def test_a_model_that_never_answers() -> None:
    llm = ScriptedLLM(["one"], first_token=math.inf)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(100):
            await all_of(llm)
    assert llm.generations[0].first_token is None


@in_virtual_time()
async def test_what_is_left_over_fails_the_test() -> None:
    llm = ScriptedLLM(["one", "two"])
    stream = llm.stream(request())
    await anext(stream)
    with pytest.raises(AssertionError, match="1 scripted replies were not asked for"):
        llm.assert_complete()
    other = llm.stream(request())
    await anext(other)
    with pytest.raises(AssertionError, match="2 requests are still open"):
        llm.assert_complete()
    await stream.aclose()
    await other.aclose()
    llm.assert_complete()


@in_virtual_time()
async def test_warming_and_closing_are_noted() -> None:
    llm, tts = ScriptedLLM(), ScriptedTTS()
    for backend in (llm, tts):
        await backend.warm()
        await backend.warm()
        await backend.aclose()
        assert (backend.warmed, backend.closed) == (2, True)


# ------------------------------------------------------------------------------------- voice


async def drain(stream: ScriptedSpeech) -> list[tuple[float, SpeechEvent]]:
    return [(round(now(), 6), event) async for event in stream]


def sound(events: list[tuple[float, SpeechEvent]]) -> bytes:
    return b"".join(event.data for _, event in events if isinstance(event, SpeechAudio))


def ends(events: list[tuple[float, SpeechEvent]]) -> list[float]:
    return [at for at, event in events if isinstance(event, PieceEnd)]


@in_virtual_time()
async def test_a_piece_is_as_long_as_its_text_and_always_the_same() -> None:
    tts = ScriptedTTS(per_character=0.05)
    made = []
    for _ in range(2):
        stream = tts.open("alice")
        stream.push("Hello ")
        stream.push("there.")
        stream.end()
        made.append(await drain(stream))
    assert sound(made[0]) == sound(made[1])
    assert tts.format.seconds(len(sound(made[0]))) == pytest.approx(0.6)
    assert tts.seconds("Hello there.") == pytest.approx(0.6)
    assert ends(made[0]) == [0.0]
    assert [stream.voice for stream in tts.streams] == ["alice", "alice"]
    assert [piece.text for piece in tts.pieces] == ["Hello there."] * 2
    tts.assert_complete()


@in_virtual_time()
async def test_pieces_come_in_order_at_their_times() -> None:
    tts = ScriptedTTS(per_character=0.1, first_byte=0.2, pace=2.0, chunk=0.5)
    stream = tts.open()
    stream.push("0123456789")
    stream.flush()
    stream.flush()
    stream.push("01234")
    stream.end()
    stream.end()
    events = await drain(stream)
    assert [(at, type(event).__name__) for at, event in events] == [
        (0.2, "SpeechAudio"),
        (0.45, "SpeechAudio"),
        (0.45, "PieceEnd"),
        (0.45, "PieceEnd"),
        (0.65, "SpeechAudio"),
        (0.65, "PieceEnd"),
    ]
    assert [piece.first_audio for piece in tts.pieces] == [0.2, None, pytest.approx(0.65)]
    assert [piece.done for piece in tts.pieces] == pytest.approx([0.45, 0.45, 0.65])
    assert [piece.seconds for piece in tts.pieces] == pytest.approx([1.0, 0.0, 0.5])
    assert stream.closed_at == pytest.approx(0.65)
    assert stream.cancelled_at is None


@in_virtual_time()
async def test_text_pushed_later_is_waited_for() -> None:
    tts = ScriptedTTS(first_byte=0.1)
    stream = tts.open()
    loop = asyncio.get_running_loop()
    loop.call_at(1.0, stream.push, "Hello.")
    loop.call_at(2.0, stream.flush)
    loop.call_at(3.0, stream.end)
    assert ends(await drain(stream)) == [pytest.approx(2.1)]
    assert now() == 3.0


@in_virtual_time()
async def test_words_come_with_the_stretch_they_begin_in() -> None:
    tts = ScriptedTTS(per_character=0.1, lead_in=0.25, chunk=0.5, words=True)
    stream = tts.open()
    stream.push("Good day to you")
    stream.end()
    events = [event for _, event in await drain(stream) if isinstance(event, SpeechAudio)]
    at = 0.0
    found = []
    for event in events:
        after = at + tts.format.seconds(len(event.data))
        for word in event.words:
            assert at <= word.start < after
            found.append((word.text, round(word.start, 6), round(word.end, 6)))
        at = after
    assert found == [
        ("Good", 0.25, 0.65),
        ("day", 0.75, 1.05),
        ("to", 1.15, 1.35),
        ("you", 1.45, 1.75),
    ]
    assert first_sound(b"".join(event.data for event in events), tts.format) == tts.format.size(
        0.25
    )


@pytest.mark.parametrize("when", [0.05, 0.25])
@in_virtual_time()
async def test_cancelling_ends_the_iteration(when: float) -> None:
    tts = ScriptedTTS(first_byte=0.1, pace=1.0)
    stream = tts.open()
    stream.push("A long sentence, of which little is wanted.")
    stream.flush()
    stream.flush()
    asyncio.get_running_loop().call_at(when, lambda: cancelling.append(cancel()))
    cancelling: list[asyncio.Task[None]] = []

    def cancel() -> asyncio.Task[None]:
        return asyncio.create_task(stream.cancel())

    events = await drain(stream)
    assert now() == when
    assert ends(events) == []
    assert (stream.cancelled_at, stream.closed_at) == (when, when)
    await stream.cancel()
    assert stream.cancelled_at == when
    assert await drain(stream) == []
    tts.assert_complete()


@in_virtual_time()
async def test_a_voice_fails_after_so_much_audio() -> None:
    tts = ScriptedTTS(per_character=0.1, chunk=0.1)
    tts.fail_next(TTSError("down", failure="server"), after=0.3)
    tts.fail_next(TTSError("refused", failure="auth"))
    for message, seconds in (("down", 0.3), ("refused", 0.0)):
        stream = tts.open()
        stream.push("Hello there.")
        stream.end()
        with pytest.raises(TTSError, match=message):
            await drain(stream)
        assert stream.pieces[0].seconds == pytest.approx(seconds)
        assert stream.closed_at == 0.0
    stream = tts.open()
    stream.end()
    assert await drain(stream) == []
    tts.assert_complete()


@in_virtual_time()
async def test_speech_left_open_fails_the_test() -> None:
    tts = ScriptedTTS()
    stream = tts.open()
    with pytest.raises(AssertionError, match="1 streams of speech are still open"):
        tts.assert_complete()
    await stream.cancel()
    tts.assert_complete()
    tts.fail_next(TTSError("down"))
    with pytest.raises(AssertionError, match="1 scripted failures were not met"):
        tts.assert_complete()


@pytest.mark.parametrize(
    "audio",
    [
        AudioFormat(),
        AudioFormat("linear16", 24000),
        AudioFormat("mulaw", 8000),
        AudioFormat("alaw", 8000),
    ],
)
def test_a_tone_is_sound_from_its_first_sample(audio: AudioFormat) -> None:
    data = tone(0.5, audio)
    assert audio.seconds(len(data)) == 0.5
    assert first_sound(data, audio) == 0
    assert not is_silent(data, audio)
    assert len({tone(0.1, audio, pitch=pitch) for pitch in range(16)}) >= 8
