"""The OpenAI language model, against the scripted server and against raw answers."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.core.history import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from agentkit.errors import ConfigError, LLMError
from agentkit.llm import Finish, LLMEvent, LLMRequest, TextDelta, ToolSpec, Usage
from agentkit.llm.openai import OpenAILLM, chat_messages
from agentkit.testing._openai_script import fault_of_chat
from agentkit.testing.openai import ChatReply, Delays, Fault, ScriptedOpenAI

ASK = LLMRequest("Be short.", (UserMessage("When do you open?", 1),))
SECRET = "sk-secret-0123456789"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedOpenAI]:
    async with ScriptedOpenAI(ChatReply("We open at nine.")) as server:
        yield server


@pytest.fixture
async def llm(server: ScriptedOpenAI) -> AsyncIterator[OpenAILLM]:
    llm = OpenAILLM(base_url=server.base_url, api_key=SECRET)
    yield llm
    await llm.aclose()


async def everything(llm: OpenAILLM, request: LLMRequest = ASK) -> list[LLMEvent]:
    return [event async for event in llm.stream(request)]


def text_of(events: list[LLMEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def failure_of(llm: OpenAILLM) -> LLMError:
    with pytest.raises(LLMError) as caught:
        await everything(llm)
    return caught.value


# ------------------------------------------------------------------------------ what comes back


async def test_text_comes_token_by_token_and_finish_last(
    server: ScriptedOpenAI, llm: OpenAILLM
) -> None:
    server.chat = ChatReply("We open at nine. Café!", prompt_tokens=70, cached_tokens=64)
    server.delays = Delays(per_token=0.01)
    events = await everything(llm)
    assert events[-1] == Finish("stop", Usage(input=70, output=5, cached=64))
    assert text_of(events) == "We open at nine. Café!"
    assert len(events) == 6


async def test_first_token_is_not_held_back(server: ScriptedOpenAI, llm: OpenAILLM) -> None:
    server.chat = ChatReply("We open at nine.", fault=Fault("stall", after=1))
    stream = llm.stream(ASK)
    async with asyncio.timeout(5):
        assert await anext(stream) == TextDelta("We")
    await stream.aclose()


async def test_tool_calls_come_whole_and_once(server: ScriptedOpenAI, llm: OpenAILLM) -> None:
    calls = (
        ToolCall("call_1", "book", '{"name": "Ann", "day": "Tuesday"}'),
        ToolCall("call_2", "opening_hours", "{}"),
    )
    server.chat = ChatReply("One moment.", calls)
    events = await everything(llm)
    assert text_of(events) == "One moment."
    assert tuple(e for e in events if isinstance(e, ToolCall)) == calls
    assert isinstance(events[-1], Finish)
    assert events[-1].reason == "tool_calls"


async def test_reply_cut_at_its_longest(server: ScriptedOpenAI, llm: OpenAILLM) -> None:
    half = ToolCall("call_1", "book", '{"name": "An')
    server.chat = ChatReply("We open", (half,), finish_reason="length", usage=False)
    events = await everything(llm)
    assert events[-1] == Finish("length", Usage())
    assert not [e for e in events if isinstance(e, ToolCall)], "half a call is no call"


async def test_streams_are_independent(server: ScriptedOpenAI, llm: OpenAILLM) -> None:
    """T7: asked for once more while the first request hangs, it is on another connection."""
    server.chat = [ChatReply(fault=Fault("stall", after=-1)), ChatReply("Second.")]
    first = asyncio.ensure_future(anext(llm.stream(ASK)))
    await server.until(lambda: len(server.chats) == 1)
    assert text_of(await everything(llm)) == "Second."
    assert server.chats[0].connection != server.chats[1].connection
    assert not server.chats[0].over
    first.cancel()
    await asyncio.wait([first])
    await server.until(lambda: server.chats[0].closed_at is not None)


# ------------------------------------------------------------------------------ what is asked


async def test_request_as_the_api_wants_it(server: ScriptedOpenAI) -> None:
    schema = {"type": "object", "properties": {"day": {"type": "string"}}}
    llm = OpenAILLM(
        "gpt-4.1-mini",
        base_url=server.base_url,
        api_key=SECRET,
        temperature=0.2,
        max_tokens=200,
        options={"service_tier": "priority", "stream_options": None},
    )
    spec = ToolSpec("opening_hours", "When it is open.", schema)
    await everything(llm, LLMRequest("Be short.", ASK.messages, (spec,)))
    await llm.aclose()
    request = server.chats[0]
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.body == {
        "model": "gpt-4.1-mini",
        "stream": True,
        "temperature": 0.2,
        "max_tokens": 200,
        "service_tier": "priority",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "When do you open?"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "opening_hours",
                    "description": "When it is open.",
                    "parameters": schema,
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("gpt-5.4-mini", "none"),
        ("openai/gpt-5.6-luna", "none"),
        ("ft:gpt-6-luna:org:x", "none"),
        ("gpt-4.1-mini", None),
        ("gpt-5-mini", None),
        ("llama3.2:3b", None),
    ],
)
async def test_models_that_think_are_told_not_to(
    server: ScriptedOpenAI, model: str, effort: str | None
) -> None:
    llm = OpenAILLM(model, base_url=server.base_url)
    await everything(llm)
    await llm.aclose()
    assert server.chats[0].body.get("reasoning_effort") == effort
    assert llm.name == f"openai/{model}"


async def test_reasoning_can_be_asked_for_and_left_out(server: ScriptedOpenAI) -> None:
    asked = OpenAILLM(base_url=server.base_url, reasoning_effort="low")
    left_out = OpenAILLM(base_url=server.base_url, options={"reasoning_effort": None})
    for llm in (asked, left_out):
        await everything(llm)
        await llm.aclose()
    assert [r.body.get("reasoning_effort") for r in server.chats] == ["low", None]


CALL = ToolCall("call_1", "book", '{"name": "Ann"}')
CALL_2 = ToolCall("call_2", "look", "")


def test_tool_calls_stay_paired_with_their_results() -> None:
    messages = (
        UserMessage("Book me in."),
        AssistantMessage("", tool_calls=(CALL, CALL_2)),
        ToolMessage("call_1", "book", "booked"),
        UserMessage("Hello?"),
        UserMessage("Are you there?"),
        AssistantMessage("", interrupted=True),
        ToolMessage("call_2", "look", "found"),
        AssistantMessage("Yes.", interrupted=True),
    )
    assert chat_messages("", messages) == [
        {"role": "user", "content": "Book me in."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "book", "arguments": '{"name": "Ann"}'},
                },
                {
                    "id": "call_2",
                    "type": "function",
                    "function": {"name": "look", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "booked"},
        {"role": "tool", "tool_call_id": "call_2", "content": "still running"},
        {"role": "user", "content": "Hello?"},
        {"role": "user", "content": "Are you there?"},
        {"role": "system", "content": "The tool look has now returned: found"},
        {"role": "assistant", "content": "Yes."},
    ]


_ids = st.sampled_from(["a", "b", "c"])
_texts = st.sampled_from(["", "Hello."])
_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(UserMessage, st.just("Hi.")),
    st.builds(
        AssistantMessage,
        _texts,
        tool_calls=st.lists(_ids, max_size=2, unique=True).map(
            lambda ids: tuple(ToolCall(i, "look", "{}") for i in ids)
        ),
    ),
    st.builds(ToolMessage, _ids, st.just("look"), _texts),
)


@given(st.lists(_messages, max_size=8))
def test_no_history_makes_a_request_that_is_refused(messages: list[Message]) -> None:
    assert fault_of_chat({"model": "m", "messages": chat_messages("Be short.", messages)}) is None


# ------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("status", "code", "failure", "retryable"),
    [
        (400, "invalid_request_error", "bad_request", False),
        (401, "invalid_api_key", "auth", False),
        (403, "unsupported_country", "auth", False),
        (404, "model_not_found", "bad_request", False),
        (408, "timeout", "timeout", True),
        (409, "conflict", "server", True),
        (422, "unprocessable", "bad_request", False),
        (429, "rate_limit_exceeded", "rate_limit", True),
        (429, "insufficient_quota", "other", False),
        (500, "server_error", "server", True),
        (503, "overloaded", "server", True),
        (307, "moved", "bad_request", False),
    ],
)
async def test_http_errors(
    server: ScriptedOpenAI, llm: OpenAILLM, status: int, code: str, failure: str, retryable: bool
) -> None:
    said = f"The key {SECRET} and the words 'When do you open?' are no good."
    server.chat = ChatReply(fault=Fault("status", status=status, code=code, message=said))
    error = await failure_of(llm)
    assert (error.failure, error.status, error.retryable) == (failure, status, retryable)
    assert code in str(error)
    assert "req_scripted" in str(error)
    assert SECRET not in str(error)
    assert "When do you open" not in str(error)
    assert (error.__cause__, error.__context__) == (None, None)
    assert len(server.chats) == 1, "whether to try again is not the backend's decision"


async def test_cut_before_and_in_an_answer(server: ScriptedOpenAI, llm: OpenAILLM) -> None:
    for after in (-1, 0, 2):
        server.chat = ChatReply("a b c d", fault=Fault("cut", after=after))
        error = await failure_of(llm)
        assert (error.failure, error.retryable) == ("connection", True)
        assert (error.__cause__, error.__context__) == (None, None)


async def test_error_and_nonsense_in_an_answer(server: ScriptedOpenAI, llm: OpenAILLM) -> None:
    server.chat = ChatReply("a b", fault=Fault("error", after=1, code="server_error"))
    assert (await failure_of(llm)).failure == "server"
    server.chat = ChatReply("a b", fault=Fault("malformed", after=1))
    assert (await failure_of(llm)).failure == "protocol"


@pytest.mark.parametrize("after", [-1, 0, 1])
async def test_stall_times_out_and_closes(server: ScriptedOpenAI, after: int) -> None:
    server.chat = ChatReply("a b", fault=Fault("stall", after=after))
    llm = OpenAILLM(base_url=server.base_url, timeout=0.05)
    error = await failure_of(llm)
    assert (error.failure, error.retryable) == ("timeout", True)
    await server.until(lambda: server.chats[0].closed_at is not None)
    await llm.aclose()


async def test_nobody_listens(server: ScriptedOpenAI, llm: OpenAILLM) -> None:
    await server.aclose()
    await llm.warm()
    error = await failure_of(llm)
    assert (error.failure, error.retryable) == ("connection", True)
    assert "ConnectionRefusedError" in str(error)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"model": ""}, "model"),
        ({"temperature": 2.1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"timeout": 0}, "timeout"),
        ({"base_url": "ftp://x"}, "base_url"),
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "http://a:b"}, "base_url"),
        ({}, "OPENAI_API_KEY"),
    ],
)
def test_bad_settings_are_named(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], field: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError) as caught:
        OpenAILLM(**arguments)
    assert caught.value.field == field


async def test_environment_names_key_and_server(
    server: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    llm = OpenAILLM()
    await everything(llm)
    await llm.aclose()
    assert server.chats[0].headers["authorization"] == f"Bearer {SECRET}"
    assert SECRET not in repr(llm)


def test_longest_reply_is_named_as_the_server_knows_it() -> None:
    official = OpenAILLM(api_key="x", base_url="https://eu.api.openai.com/v1", max_tokens=9)
    other = OpenAILLM(api_key="x", base_url="http://localhost:11434/v1", max_tokens=9)
    assert official._fields.get("max_completion_tokens") == 9
    assert other._fields.get("max_tokens") == 9


def test_openai_is_imported_by_the_constructor_alone() -> None:
    script = (
        "import sys, agentkit, agentkit.llm, agentkit.tts\n"
        "import agentkit.llm.openai, agentkit.tts.openai, agentkit.tts.requests\n"
        "from importlib.metadata import entry_points\n"
        "assert 'openai' in entry_points(group='agentkit.llm').names\n"
        "assert 'openai' not in sys.modules and 'httpx2' not in sys.modules\n"
        "agentkit.llm.openai.preload()\n"
        "assert 'openai' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
