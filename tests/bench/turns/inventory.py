"""What callers say while somebody else talks. Frozen with the parameters.

`ATTENTION` holds sounds of attention that are on none of the lists that agentkit has built in
(a test sees to that): they were taken from the messages of one to three words in the corpus, by how
often they come, before any rule was looked at. Each also serves as an answer when the agent has
finished. `FLOOR` holds what people say to get the floor.
"""

from __future__ import annotations

ATTENTION: tuple[str, ...] = (
    "nice", "true", "exactly", "cool", "interesting", "definitely", "totally", "gotcha",
    "oh nice", "oh man", "oh cool", "that's cool", "for sure", "that's awesome", "oh dang",
    "that's true", "very true", "haha yeah", "haha", "huh", "oh gotcha", "awesome", "indeed",
    "oh interesting", "no way", "sweet", "absolutely", "i agree", "yeah totally", "me too",
)  # fmt: skip

FLOOR: tuple[str, ...] = (
    "wait", "hold on", "sorry", "excuse me", "no", "actually", "stop", "one second", "but",
    "hang on", "no no", "hey",
)  # fmt: skip
