"""A brain without a language model: `reply()` is a plain async generator.

    agentkit run examples/brains/plain.py --audio caller.wav --out call

The reply is begun while the caller may still be speaking. If the caller goes on, that draft is
discarded: its task is cancelled, so that CancelledError comes out of the `await` where it stands,
its `finally` runs, and nothing after that `await` ever happens. Text that was yielded is not heard.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence

from agentkit import Agent, Message, Turn

PARCELS = {
    "12": "is in our van and comes today",
    "34": "is at the depot in Reading",
    "56": "waits at the post office for you",
}


class ParcelDesk(Agent):
    greeting = "Rosewood Parcels. What is your parcel's number?"

    def __init__(self) -> None:
        self.parcels = dict(PARCELS)
        self.asked: list[str] = []
        self.open_drafts = 0

    async def prepare(self, turn: Turn) -> Sequence[Message]:
        """Look up what the caller may mean. It runs in drafts, so it only reads.

        `turn.scratch` belongs to this one draft: the next one begins with an empty one.
        """
        number = re.search(r"\d+", turn.text)
        turn.scratch.number = number[0] if number else ""
        turn.scratch.state = self.parcels.get(turn.scratch.number)
        return ()

    async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
        self.open_drafts += 1
        try:
            await self.prepare(turn)  # a brain of your own calls it itself
            number, state = turn.scratch.number, turn.scratch.state
            if not number:
                yield "I need the number of your parcel. It is on the receipt."
            elif state is None:
                yield f"I know no parcel {number}. Could you read me the number once more?"
            elif "return" in turn.text.lower():
                yield f"Parcel {number}, all right. "
                # Until here all of it may be a draft. What follows happens once, and only if the
                # caller does not go on: from here on the turn cannot be taken back.
                await turn.settled()
                self.send_back(number)
                yield "It goes back to the sender."
            else:
                yield f"Parcel {number} {state}."
                # The turn is over and this is the answer that is heard.
                await turn.committed()
                self.asked.append(number)
        finally:
            # Runs at the end, at an error, at a discard and at an interruption alike: let go of
            # what the reply holds. It must not do anything that only a reply that counts may do.
            self.open_drafts -= 1

    def send_back(self, number: str) -> None:
        """The effect. It does not await, so that no interruption can cut it in two.

        One that awaits would be cancelled by what interrupts the reply: make it a tool, and run it
        with `session.run_tools`, as openai_agents.py does.
        """
        self.parcels[number] = "is on its way back to the sender"
