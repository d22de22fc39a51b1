"""What the settings say of drafts: `agentkit.economy.Wanted`."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkit.config import OF_DRAFTS, Settings
from agentkit.core.economy import Budget, Early, Pace, Prices
from agentkit.core.policy import Policy, Speculation
from agentkit.economy import Wanted
from agentkit.errors import ConfigError


def wanted(**values: str) -> Wanted:
    return Wanted({name: values.get(name) for name in OF_DRAFTS}, {n: n.upper() for n in OF_DRAFTS})


async def test_settings_of_drafts_are_read_from_text() -> None:
    economy = wanted(
        speculation="adaptive",
        draft_budget="drafts=10, price=0.05, share=0.35",
        process_draft_budget="drafts=1000",
        prices="input=0.4, cached=0.1, output=1.6, characters=15, currency=EUR",
        early_drafts="0.5, finished=true, confidence=0.2",
        expected_drafts="2",
        pace="0.4, jitter=0.2, after=turn",
    ).economy()
    policy = economy.apply(Policy())
    assert policy.speculation.mode == "adaptive"
    assert policy.speculation.budget == Budget(drafts=10, price=0.05, share=0.35)
    assert policy.speculation.prices == Prices(0.4, 0.1, 1.6, 15.0, "EUR")
    assert policy.speculation.early == Early(rest=0.5, finished=True, confidence=0.2)
    assert policy.speculation.expected == 2
    assert policy.pace == Pace(0.4, "turn", 0.2)
    assert economy.left == 1000
    assert wanted().economy().apply(Policy()) == Policy()


async def test_a_setting_turns_off_what_an_agent_has_turned_on() -> None:
    agents = Policy(Speculation(early=Early(rest=0.4), expected=2))
    assert wanted().economy().apply(agents) == agents
    economy = wanted(early_drafts="off", expected_drafts="0").economy()
    assert economy.apply(agents) == Policy()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"early_drafts": "soon"}, "EARLY_DRAFTS: rest: 'soon' is not a number"),
        ({"early_drafts": "finished=yes"}, "EARLY_DRAFTS: finished: 'yes' is neither true nor"),
        ({"early_drafts": "confidence=2"}, "EARLY_DRAFTS: early.confidence: 2.0 is not from 0"),
        ({"expected_drafts": "some"}, "EXPECTED_DRAFTS: 'some' is not 0, 1, 2, ..."),
        ({"expected_drafts": "-1"}, "EXPECTED_DRAFTS: '-1' is not 0, 1, 2, ..."),
        ({"speculation": "on"}, "SPECULATION: 'on' is not one of off, fixed, adaptive"),
        ({"draft_budget": "calls=3"}, "DRAFT_BUDGET: 'calls=3': give NAME=VALUE of drafts, input"),
        ({"draft_budget": "12"}, "DRAFT_BUDGET: '12': give NAME=VALUE"),
        ({"draft_budget": "drafts=1.5"}, "DRAFT_BUDGET: drafts: '1.5' is not a whole number"),
        ({"prices": "input=cheap"}, "PRICES: input: 'cheap' is not a number"),
        ({"prices": "input=-1"}, "PRICES: prices.input: -1.0 is not 0 or more"),
        ({"pace": "after=lunch"}, "PACE: pace.after: 'lunch' is not one of 'speech', 'turn'"),
        ({"process_draft_budget": "share=0.3"}, "PROCESS_DRAFT_BUDGET: share is of one call"),
    ],
)
def test_a_setting_that_cannot_be_right_is_named(values: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wanted(**values).economy()
    assert str(caught.value).startswith(says)


async def test_each_setting_of_drafts_is_read_from_the_environment(tmp_path: Path) -> None:
    env = {
        "AGENTKIT_SPECULATION": "adaptive",
        "AGENTKIT_EARLY_DRAFTS": "0.4",
        "AGENTKIT_EXPECTED_DRAFTS": "1",
    }
    settings = Settings.load(env=env, folder=tmp_path)
    rules = Wanted(*settings.of_drafts()).economy().apply(Policy()).speculation
    assert (rules.mode, rules.early, rules.expected) == ("adaptive", Early(rest=0.4), 1)
    wrong = Settings.load(env={"AGENTKIT_EXPECTED_DRAFTS": "two"}, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"^AGENTKIT_EXPECTED_DRAFTS \(from the environment\)"):
        Wanted(*wrong.of_drafts()).economy()
