"""Tool calls that a small model writes into its text."""

from __future__ import annotations

import json

import pytest

from agentkit_local.tooltext import ToolText


def read(text: str, *tools: str, step: int = 3) -> tuple[str, list[tuple[str, object]]]:
    """What is said, and the calls, of a text that comes in steps of so many characters."""
    reader = ToolText(set(tools))
    said = "".join(reader.push(text[at : at + step]) for at in range(0, len(text), step))
    rest, calls = reader.finish()
    return said + rest, [(call.name, json.loads(call.arguments)) for call in calls]


CALL = ("hours", {"day": "Monday"})


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    "text",
    [
        '{"name": "hours", "arguments": {"day": "Monday"}}',
        '```json\n{"name": "hours", "arguments": {"day": "Monday"}}\n```',
        '<tool_call>\n{"name": "hours", "arguments": {"day": "Monday"}}\n</tool_call>',
        '{{"name": "hours", "arguments": {"day": "Monday"}}}',
        '{"name": "hours", "parameters": {"day": "Monday"}}',
        '{"name": "hours", "arguments": "{\\"day\\": \\"Monday\\"}"}',
    ],
)
def test_a_call_in_any_usual_form_is_found_and_not_said(text: str, step: int) -> None:
    assert read(text, "hours", step=step) == ("", [CALL])


def test_what_is_said_before_a_call_is_said() -> None:
    text = 'Let me see. {"name": "hours", "arguments": {"day": "Monday"}}'
    assert read(text, "hours") == ("Let me see. ", [CALL])


def test_two_calls_are_two_with_ids_of_their_own() -> None:
    reader = ToolText({"hours", "book"})
    assert reader.push('{"name": "hours", "arguments": {}}\n{"name": "book"}') == ""
    rest, calls = reader.finish()
    assert (rest, [call.name for call in calls]) == ("", ["hours", "book"])
    assert len({call.id for call in calls}) == 2
    assert reader.finish() == ("", [])


@pytest.mark.parametrize(
    "text",
    [
        "We are open on Monday.",
        'It is {"name": "other", "arguments": {}} or so.',
        "It is 3 < 4, and {that is all",
        '{"name": "hours", "arguments": {"day"',
        "[1, 2] {3}",
        '{"name": ["hours"]}',
    ],
)
def test_what_is_no_call_of_a_known_tool_is_said_in_full(text: str) -> None:
    assert read(text, "hours") == (text, [])


def test_without_tools_everything_is_said_at_once() -> None:
    reader = ToolText(set())
    assert reader.push('{"name": "hours"}') == '{"name": "hours"}'
    assert reader.finish() == ("", [])
