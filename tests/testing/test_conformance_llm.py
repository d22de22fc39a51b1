"""The checks of a model: a right one passes all, one that breaks a rule fails that one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import pytest

from agentkit.core.history import ToolCall
from agentkit.errors import ConfigError, UsageError
from agentkit.llm import base
from agentkit.llm.base import LLM, Finish, LLMEvent, LLMRequest
from agentkit.testing.backends import ScriptedLLM
from agentkit.testing.clock import in_virtual_time
from agentkit.testing.conformance import LLM_CHECKS, LLMRig, NotConforming, check_llm
from tests.testing.broken_models import BROKEN, KEY, WORDS, FarEnd, ReadsOn, Right

TOOL = ToolCall("call_1", "opening_hours", '{"day": "Sunday"}')


def rig_of(kind: Callable[[FarEnd], LLM]) -> LLMRig:
    """A rig with all that there is, around one kind of model."""
    far, refusing, calling = FarEnd(), FarEnd(), FarEnd()
    refusing.refuses, calling.asks_for = True, TOOL
    return LLMRig(
        make=lambda: kind(far),
        open_requests=lambda: far.open + refusing.open,
        fails={"auth": lambda: kind(refusing)},
        secrets=(KEY,),
        spans=0.6,
        answer=lambda _: "".join(WORDS),
        calls_tool=lambda: kind(calling),
    )


@in_virtual_time()
async def test_a_right_model_passes_all_checks() -> None:
    outcome = await check_llm(rig_of(Right))
    assert outcome.passed == tuple(check.name for check in LLM_CHECKS)
    assert not outcome.left_out


@in_virtual_time()
async def test_the_scripted_model_passes() -> None:
    made: list[ScriptedLLM] = []

    def make() -> LLM:
        made.append(ScriptedLLM(lambda _: "".join(WORDS), per_token=0.2))
        return made[-1]

    def open_requests() -> int:
        return sum(each.closed is None for llm in made for each in llm.generations)

    rig = LLMRig(make=make, open_requests=open_requests, spans=0.6)
    outcome = await check_llm(rig)
    assert set(outcome.left_out) == {
        "tool_calls_are_whole", "failures_are_typed", "secrets_do_not_show",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "check", "problem"),
    BROKEN,
    ids=[f"{kind.__name__}-{name}" for kind, name, _ in BROKEN],
)
@in_virtual_time()
async def test_each_check_bites(kind: type[Right], check: str, problem: str) -> None:
    [found] = [known for known in LLM_CHECKS if known.name == check]
    with pytest.raises(NotConforming) as raised:
        await found(rig_of(kind))
    [broken] = raised.value.broken
    assert broken.check == check
    assert problem in broken.problem
    assert f'agentkit.llm.base says: "{found.rule}"' in str(raised.value)


def test_no_check_is_without_one_that_it_bites() -> None:
    assert {name for _, name, _ in BROKEN} == {check.name for check in LLM_CHECKS}


@in_virtual_time()
async def test_all_broken_rules_are_told_at_once() -> None:
    with pytest.raises(NotConforming) as raised:
        await check_llm(rig_of(ReadsOn))
    found = {broken.check for broken in raised.value.broken}
    assert {"closing_closes_the_request", "cancelling_closes_the_request"} <= found


@in_virtual_time()
async def test_what_the_rig_does_not_give_is_told() -> None:
    far = FarEnd()
    rig = LLMRig(make=lambda: Right(far))
    outcome = await check_llm(rig)
    assert outcome.left_out == {
        "tool_calls_are_whole": ("calls_tool",),
        "closing_closes_the_request": ("open_requests",),
        "cancelling_closes_the_request": ("open_requests",),
        "failures_are_typed": ("fails",),
        "secrets_do_not_show": ("secrets",),
    }
    assert "left out: secrets_do_not_show, which needs secrets" in str(outcome)
    [check] = [known for known in LLM_CHECKS if known.name == "failures_are_typed"]
    with pytest.raises(UsageError, match="failures_are_typed needs a rig with fails"):
        await check(rig)


@in_virtual_time()
async def test_a_check_that_hangs_ends_at_its_limit() -> None:
    class Hangs(Right):
        async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
            await asyncio.sleep(1000)
            yield Finish("stop")

    [check] = [known for known in LLM_CHECKS if known.name == "one_finish_comes_last"]
    with pytest.raises(NotConforming, match=r"it was not done after 2\.0 s"):
        await check(replace(rig_of(Hangs), limit=2.0))


@in_virtual_time()
async def test_a_timeout_of_the_backend_s_own_is_no_hang() -> None:
    class TimesOut(Right):
        async def stream(self, request: LLMRequest) -> AsyncGenerator[LLMEvent, None]:
            raise TimeoutError("no answer")
            yield Finish("stop")

    [check] = [known for known in LLM_CHECKS if known.name == "one_finish_comes_last"]
    with pytest.raises(NotConforming, match="it raised TimeoutError: no answer"):
        await check(rig_of(TimesOut))


def test_the_rules_are_in_the_words_of_the_interface() -> None:
    words = " ".join(inspect.getsource(base).split())
    assert [check.name for check in LLM_CHECKS if check.rule not in words] == []


def test_a_far_end_that_is_too_quick_to_show_anything_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"spans: 0\.2 s is not more than closes_within"):
        replace(rig_of(Right), spans=0.2)
