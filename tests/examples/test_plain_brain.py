"""`examples/brains/plain.py`: what becomes of a plain async generator, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

from agentkit.errors import DraftFenceError
from agentkit.testing import in_virtual_time


@in_virtual_time()
async def test_T4_the_draft_is_committed_and_heard(plain: Any, converse: Any) -> None:
    async with converse(plain()) as talk:
        talk.draft("where is parcel 12")
        await asyncio.sleep(0.5)
        assert (talk.agent.open_drafts, talk.agent.asked) == (1, []), "it waits for the commit"
        talk.source.end("where is parcel 12")
        await talk.line.until_quiet()
        assert talk.agent.asked == ["12"]
        assert talk.history == [
            "user: where is parcel 12",
            "assistant: Parcel 12 is in our van and comes today.",
        ]
        assert talk.agent.open_drafts == 0
    assert talk.record.drafts["committed"] == 1
    assert not talk.errors


@in_virtual_time()
async def test_T24_a_discarded_draft_leaves_no_trace(plain: Any, converse: Any) -> None:
    notes: list[Any] = []

    class Watched(plain):  # type: ignore[misc]
        async def prepare(self, turn: Any) -> Any:
            notes.append(turn.scratch)
            assert vars(turn.scratch) == {}, "a draft begins with no notes of another"
            return await super().prepare(turn)

    async with converse(Watched()) as talk:
        talk.draft("where is parcel 12")
        await asyncio.sleep(0.2)
        assert talk.agent.open_drafts == 1
        talk.source.resume("where is parcel 12 no 34")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert talk.agent.open_drafts == 0, "its `finally` has run"
        talk.source.end("where is parcel 12 no 34")
        await talk.line.until_quiet()
        assert talk.agent.asked == ["12"], "the one that was committed, once"
        assert len(notes) == 2
        assert notes[0] is not notes[1]
        assert talk.history[0] == "user: where is parcel 12 no 34"
        assert len(talk.history) == 2


@in_virtual_time()
async def test_T6_the_effect_happens_once_when_the_turn_has_settled(
    plain: Any, converse: Any
) -> None:
    sent: list[tuple[float, str]] = []

    class Watched(plain):  # type: ignore[misc]
        def send_back(self, number: str) -> None:
            sent.append((asyncio.get_running_loop().time(), number))
            super().send_back(number)

    async with converse(Watched()) as talk:
        talk.draft("please return parcel 34")
        await asyncio.sleep(1.0)
        assert sent == []
        talk.source.end("please return parcel 34")
        ended = asyncio.get_running_loop().time()
        await asyncio.sleep(3.0)
        assert [number for _, number in sent] == ["34"]
        assert abs(sent[0][0] - ended - talk.agent.limits.settle) < 1e-3
        assert talk.history[-1] == "assistant: Parcel 34, all right. It goes back to the sender."


@in_virtual_time()
async def test_T11_no_effect_for_an_end_that_was_taken_back(plain: Any, converse: Any) -> None:
    async with converse(plain()) as talk:
        talk.draft("please return parcel 34")
        await asyncio.sleep(0.5)
        talk.source.end("please return parcel 34")
        await asyncio.sleep(0.1)
        talk.source.start("no wait")
        await asyncio.sleep(1.5)
        assert talk.agent.parcels["34"] == "is at the depot in Reading"
        talk.source.end("no wait where is it")
        await talk.line.until_quiet()
        assert talk.history[0] == "user: please return parcel 34 no wait where is it"
        await asyncio.sleep(2.0)


@in_virtual_time()
async def test_T24_verbs_in_a_draft_name_the_seam(plain: Any, converse: Any) -> None:
    class Hasty(plain):  # type: ignore[misc]
        async def prepare(self, turn: Any) -> Any:
            if turn.is_draft:
                self.session.say("One moment.")
            return await super().prepare(turn)

    async with converse(Hasty()) as talk:
        talk.draft("where is parcel 12")
        await asyncio.sleep(0.1)
        assert [type(error) for error in talk.errors] == [DraftFenceError]
        assert "session.say()" in str(talk.errors[0])
        assert "turn.committed()" in str(talk.errors[0])
        assert "turn.settled()" in str(talk.errors[0])
        talk.source.end("where is parcel 12")
        await talk.line.until_quiet()
        assert talk.history[1] == "assistant: Parcel 12 is in our van and comes today."
